"""Neo's blocks and files, built, written and read by Neo itself."""

import pickle

import neo
import numpy as np
import pytest
import quantities as pq

import eqsnn
from eqsnn.errors import InputError
from tests.formats.recordings import (
    assert_same_drives,
    assert_same_observation,
    assert_same_spikes,
    plain,
    recording,
)


def block(t_start=(0.0, 0.0), units="ms"):
    """Two segments of 2 s with two units, times in ms, and a current of three channels sampled every 0.5 ms."""
    rng = np.random.default_rng(5)
    made = neo.Block(description="by hand")
    for k, start in enumerate(t_start):
        segment = neo.Segment(index=k)
        for name in ("left", "right"):
            times = np.sort(rng.uniform(start, start + 2.0, 40))
            segment.spiketrains.append(
                neo.SpikeTrain(
                    pq.Quantity(times, "s").rescale(units), t_start=start * pq.s, t_stop=(start + 2) * pq.s, name=name
                )
            )  # fmt: skip
        segment.analogsignals.append(
            neo.AnalogSignal(
                rng.normal(size=(4000, 3)), units="nA", sampling_rate=2 * pq.kHz, t_start=start * pq.s, name="stim",
                array_annotations={"channel_names": ["stim 0", "stim 1", "stim 2"]},
            )
        )  # fmt: skip
        made.segments.append(segment)
    return made


def test_segments_are_trials_and_spike_trains_are_units_in_seconds():
    made = block()
    found = eqsnn.from_neo(made)
    assert (found.n_trials, found.n_units, found.duration) == (2, 2, 2.0)
    assert (found.unit_names, found.description, found.dt) == (("left", "right"), "by hand", 1e-3)
    for segment, trial in zip(made.segments, found.trains(), strict=True):
        for train, times in zip(segment.spiketrains, trial, strict=True):
            assert np.allclose(times, train.rescale("s").magnitude, rtol=0, atol=1e-15)


def test_a_trial_begins_at_the_start_of_its_segment():
    late, found = block((10.0, 20.5)), eqsnn.from_neo(block((10.0, 20.5)))
    for segment, trial, start in zip(late.segments, found.trains(), (10.0, 20.5), strict=True):
        for train, times in zip(segment.spiketrains, trial, strict=True):
            assert np.allclose(times, train.rescale("s").magnitude - start, rtol=0, atol=1e-12)


def test_what_a_train_or_a_segment_lacks_of_the_longest_trial_is_a_gap():
    made = block()
    short = made.segments[1]
    short.spiketrains[1] = short.spiketrains[1].time_slice(0.5 * pq.s, 1.0 * pq.s)
    short.spiketrains[0] = short.spiketrains[0].time_slice(0.0 * pq.s, 1.5 * pq.s)
    found = eqsnn.from_neo(made)
    assert np.allclose(found.observed_seconds(), [[2.0, 2.0], [1.5, 0.5]])


def test_units_are_matched_by_name_and_a_unit_missing_in_a_segment_was_not_observed_there():
    made = block()
    first, second = made.segments[1].spiketrains
    made.segments[1].spiketrains = [second]
    found = eqsnn.from_neo(made)
    assert found.unit_names == ("left", "right")
    assert np.allclose(found.observed_seconds(), [[2, 2], [0, 2]])
    assert np.allclose(found.train(1, 1), second.rescale("s").magnitude)
    assert len(found.train(0, 1)) == 0 < len(first)


def test_an_analog_signal_becomes_a_drive_in_the_unit_asked_for():
    made = block()
    found = eqsnn.from_neo(made, drives=["I=stim:pA"])
    expected = np.stack([s.analogsignals[0].rescale("pA").magnitude for s in made.segments])
    assert np.allclose(found.inputs["I"], expected)
    assert found.input_dt["I"] == pytest.approx(5e-4)
    one = eqsnn.from_neo(made, drives=["I=stim 1:pA"])
    assert np.allclose(one.inputs["I"], expected[:, :, 1:2])


def test_a_drive_without_a_unit_is_taken_as_it_is_and_said_so():
    with pytest.warns(UserWarning, match="`stim` is in nA in the file"):
        found = eqsnn.from_neo(block(), drives=["stim"])
    assert np.allclose(found.inputs["stim"][0], block().segments[0].analogsignals[0].magnitude)


@pytest.mark.parametrize(
    ("drive", "said"),
    [
        ("I=stim:mV", "cannot be turned into mV"),
        ("I=stim:furlong", "no unit of the language"),
        ("field", "no analog signal `field` in segment 0; it has stim, stim 0, stim 1, stim 2"),
        ("=stim", "names no drive"),
    ],
)
def test_a_drive_that_cannot_be_had_is_refused(drive, said):
    with pytest.raises(InputError, match=said):
        eqsnn.from_neo(block(), drives=[drive])


def test_a_signal_that_does_not_cover_the_trial_is_refused():
    made = block()
    made.segments[0].analogsignals[0] = (
        made.segments[0].analogsignals[0].time_slice(0 * pq.s, 1 * pq.s)
    )
    with pytest.raises(InputError, match="does not cover the trial from 0 to 2 s"):
        eqsnn.from_neo(made, drives=["stim"])


def test_a_recording_survives_a_block_with_its_drives_traces_and_gaps():
    made = recording()
    found = eqsnn.from_neo(eqsnn.to_neo(made))
    assert_same_spikes(found, made)
    assert_same_observation(found, made)
    assert_same_drives(found, made)
    assert found.dt == pytest.approx(made.dt)
    assert (found.unit_names, found.description) == (made.unit_names, made.description)


def test_a_block_says_that_it_cannot_hold_parameters():
    with pytest.warns(
        UserWarning, match="parameters that the recording was made with are left out"
    ):
        eqsnn.to_neo(plain(parameters={"cells.tau_m": np.array(10.0)}))


def test_a_recording_survives_a_nix_file(tmp_path):
    made = recording()
    eqsnn.save_recording(made, tmp_path / "rec.nix")
    before = (tmp_path / "rec.nix").read_bytes()
    found = eqsnn.load_targets(tmp_path / "rec.nix")
    assert_same_spikes(found, made)
    assert_same_observation(found, made)
    assert_same_drives(found, made)
    assert found.dt == made.dt
    assert (tmp_path / "rec.nix").read_bytes() == before  # NixIO by itself opens a file for writing


def test_a_recording_survives_a_matlab_file(tmp_path):
    made = recording()
    eqsnn.save_recording(made, tmp_path / "rec.mat")
    found = eqsnn.load_targets(tmp_path / "rec.mat")
    assert_same_spikes(found, made)
    assert_same_observation(found, made)
    assert_same_drives(found, made)


def test_a_file_that_neo_wrote_is_read(tmp_path):
    made = block((3.0, 7.0))
    with neo.NixIO(str(tmp_path / "neo.nix"), "ow") as io:
        io.write_block(made)
    found = eqsnn.load_targets(tmp_path / "neo.nix", drives=["I=stim:pA"], units=["right"])
    assert_same_spikes(found, eqsnn.from_neo(made).select([1]))
    assert found.inputs["I"].shape == (2, 4000, 3)


def test_a_class_of_neo_can_be_named(tmp_path):
    trains = [np.array([0.5, 1.25, 1.5]), np.array([0.125])]
    text = "\n".join("\t".join(map(str, train)) for train in trains)
    (tmp_path / "spikes.txt").write_text(text + "\n")
    found = eqsnn.load_targets(
        tmp_path / "spikes.txt", format="neo:AsciiSpikeTrainIO", duration=2.0
    )
    assert [train.tolist() for train in found.trains()[0]] == [t.tolist() for t in trains]
    assert found.observed_seconds().tolist() == [[2.0, 2.0]]


def test_trains_that_end_with_their_last_spike_are_observed_to_the_end_of_the_trial(tmp_path):
    (tmp_path / "spikes.txt").write_text("0.5\t1.25\t1.5\n0.125\n")
    with pytest.warns(UserWarning, match="does not say how long a trial lasts"):
        found = eqsnn.load_targets(tmp_path / "spikes.txt", format="neo:AsciiSpikeTrainIO")
    assert found.observed_seconds().tolist() == [[1.5, 1.5]]


def test_a_pickle_is_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    (tmp_path / "rec.pkl").write_bytes(pickle.dumps(Bomb()))
    for name in (None, "neo:PickleIO"):
        with pytest.raises(InputError, match="is a pickle, which could run any code"):
            eqsnn.load_targets(tmp_path / "rec.pkl", format=name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["rec.nix", "rec.mat", "rec.smr", "rec.nev"])
def test_a_file_that_is_not_what_its_name_says_is_refused_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(InputError, match="cannot be read by Neo") as caught:
        eqsnn.load_targets(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_name_that_nobody_knows_is_refused_with_the_formats_there_are(tmp_path):
    (tmp_path / "spikes.xyz").write_text("0.1 0\n")
    with pytest.raises(InputError, match=r"no format that Neo knows.*npz, \.csv"):
        eqsnn.load_targets(tmp_path / "spikes.xyz")


def test_a_block_without_spikes_is_refused():
    with pytest.raises(InputError, match="holds no spike trains"):
        eqsnn.from_neo(neo.Block())
