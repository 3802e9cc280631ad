"""What of a file is taken: format, units, window, trials, step; parts of it; libraries that are missing."""

import shutil
import subprocess
import sys
from pathlib import Path

import neo
import numpy as np
import pytest
import quantities as pq
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.errors import InputError
from eqsnn.formats.load import FORMATS
from tests.formats.recordings import (
    assert_same_drives,
    assert_same_observation,
    assert_same_spikes,
    plain,
    recording,
)

DATA = Path(__file__).parents[3] / "shared" / "data"
REAL = sorted(DATA.glob("*.npz"))
needs_data = pytest.mark.skipif(not REAL, reason="the real recordings are not beside the checkout")


@pytest.fixture
def saved(tmp_path):
    recording().save(tmp_path / "rec.npz")
    return tmp_path / "rec.npz"


def test_an_npz_file_is_read_as_ever(saved):
    found, made = eqsnn.load_targets(saved), recording()
    assert_same_spikes(found, made)
    assert_same_observation(found, made)
    assert_same_drives(found, made)
    assert found.unit_names == made.unit_names


def test_units_are_chosen_by_place_or_name_in_the_order_given(saved):
    made = recording()
    for wanted, places in (
        ([2, 0], [2, 0]),
        (["c", "a"], [2, 0]),
        (["?"], [0, 1, 2]),
        (["3"], [3]),
    ):
        assert_same_spikes(eqsnn.load_targets(saved, units=wanted), made.select(places))


def test_units_without_names_are_called_by_the_places_that_they_had(tmp_path):
    plain(unit_names=()).save(tmp_path / "rec.npz")
    assert eqsnn.load_targets(tmp_path / "rec.npz", units=[2, 0]).unit_names == ("2", "0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"units": ["z"]}, "no unit `z`; the recording has a, b, c, silent"),
        ({"units": [4]}, "wanted units contains 4"),
        ({"units": ["a", 0]}, "unit 0 is chosen twice"),
        ({"trials": [2]}, "wanted trials contains 2"),
        ({"window": (1.0, 3.0)}, "window 1 to 3 s is not within the recording, from 0 to 2 s"),
        ({"dt": -1.0}, "dt is -1 s"),
        ({"dt": 1.5e-3}, "traces are on steps of 0.001 s"),
        ({"format": "xls"}, "no format `xls`; the formats are npz, csv, nwb, neo"),
        ({"time_unit": "fortnight"}, "`fortnight` is no unit of time"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(saved, arguments, said):
    with pytest.raises(InputError, match=said):
        eqsnn.load_targets(saved, **arguments)


def test_window_and_trials_are_those_of_the_recording(saved):
    made = recording()
    found = eqsnn.load_targets(saved, window=(0.25, 1.5), trials=[1])
    assert_same_spikes(found, made.trials([1]).window(0.25, 1.5))
    assert_same_observation(found, made.trials([1]).window(0.25, 1.5))


def test_another_step_keeps_spikes_and_drives_and_thins_traces(saved):
    made, found = recording(), eqsnn.load_targets(saved, dt=4e-3)
    assert found.dt == 4e-3
    assert_same_spikes(found, made)
    assert np.array_equal(found.drive("light", 2000, 1e-3), made.drive("light", 2000, 1e-3))
    assert np.array_equal(found.traces["cells.v"], made.traces["cells.v"][:, ::4])


@pytest.mark.parametrize("dt", [1e-4, 5e-4, 1e-2])
def test_another_step_keeps_the_steps_of_drives_without_one_of_their_own(tmp_path, dt):
    made = plain(inputs={"light": np.arange(2000.0)})
    made.save(tmp_path / "rec.npz")
    found = eqsnn.load_targets(tmp_path / "rec.npz", dt=dt)
    assert (found.dt, found.input_dt["light"]) == (dt, 1e-3)
    assert_same_drives(found, made)


def test_a_drive_of_an_npz_file_is_given_the_name_of_the_model(saved):
    found = eqsnn.load_targets(saved, drives=["I_light=light"])
    assert np.array_equal(found.inputs["I_light"], recording().inputs["light"])
    assert found.inputs.keys() == {"I_ext", "I_light"}
    for drive, said in (
        ("I=sound", "no drive `sound`; the file has I_ext, light"),
        ("I=light:pA", "leave the unit out"),
    ):
        with pytest.raises(InputError, match=said):
            eqsnn.load_targets(saved, drives=[drive])


def test_an_npz_file_by_another_name_is_known_by_its_content(saved):
    shutil.copy(saved, saved.with_suffix(".targets"))
    assert_same_spikes(eqsnn.load_targets(saved.with_suffix(".targets")), recording())


def test_a_model_takes_the_signals_that_its_inputs_are_called_after(tmp_path):
    model = eqsnn.loads(
        "neuron cell:\n    dv/dt = (light - v)/(10*ms) : 1\n    light : 1 (input)\n    threshold: v >= 1\n"
        "    reset: v = 0\nnetwork:\n    dt = 1*ms\n    cells : cell[4]\n"
    )
    block = eqsnn.to_neo(plain())
    signal = np.random.default_rng(0).normal(size=2000)
    block.segments[0].analogsignals.append(
        neo.AnalogSignal(signal, units="dimensionless", sampling_rate=1 * pq.kHz, name="light")
    )
    with neo.NixIO(str(tmp_path / "rec.nix"), "ow") as io:
        io.write_block(block)
    assert not eqsnn.load_targets(tmp_path / "rec.nix").inputs
    with pytest.warns(UserWarning, match="`light` is in dimensionless"):
        found = eqsnn.load_targets(tmp_path / "rec.nix", model=model)
    assert np.array_equal(found.inputs["light"], signal)


@pytest.mark.parametrize(
    ("suffix", "library", "extra"), [(".nwb", "pynwb", "nwb"), (".nix", "neo.io", "neo")]
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path, monkeypatch, suffix, library, extra
):
    eqsnn.save_recording(plain(), tmp_path / f"rec{suffix}")
    monkeypatch.setitem(sys.modules, library, None)
    for act in (
        lambda: eqsnn.load_targets(tmp_path / f"rec{suffix}"),
        lambda: eqsnn.save_recording(plain(), tmp_path / f"other{suffix}"),
    ):
        with pytest.raises(InputError, match=rf"pip install 'eqsnn\[{extra}\]'"):
            act()
    assert not (tmp_path / f"other{suffix}").exists()


def test_pynapple_is_asked_for_only_where_it_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynapple", None)
    with pytest.raises(InputError, match=r"pip install 'eqsnn\[pynapple\]'"):
        eqsnn.to_pynapple(plain())


def test_reading_npz_and_tables_loads_no_other_library(tmp_path):
    import_only = (
        "import sys, eqsnn; from eqsnn.formats.load import load_targets; load_targets(sys.argv[1]); load_targets(sys.argv[2]);"
        "print([m for m in ('neo', 'quantities', 'pynwb', 'h5py', 'pynapple', 'numba') if m in sys.modules])"
    )
    eqsnn.save_recording(plain(), tmp_path / "rec.csv")
    eqsnn.save_recording(plain(), tmp_path / "rec.npz")
    done = subprocess.run(
        [sys.executable, "-c", import_only, str(tmp_path / "rec.csv"), str(tmp_path / "rec.npz")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_name_that_cannot_be_written_is_refused_with_those_that_can(tmp_path):
    with pytest.raises(InputError, match=r"`.smr` is no format that can be written; .* .nwb, .nix"):
        eqsnn.save_recording(plain(), tmp_path / "rec.smr")


@pytest.mark.parametrize("suffix", [s for f in FORMATS.values() for s in f.written])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"rec{suffix}"
    path.write_bytes(b"precious")

    def fail(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        eqsnn.save_recording(plain(), path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".tsv", ".nwb", ".nix", ".mat"])
@pytest.mark.parametrize(
    ("n_spikes", "n_units", "n_trials"), [(0, 1, 1), (0, 2, 2), (1, 1, 1), (1, 2, 2), (2, 1, 2)]
)
def test_the_smallest_recordings_survive_every_format(
    tmp_path, n_spikes, n_units, n_trials, suffix
):
    last = np.arange(n_spikes)
    made = eqsnn.Recording(
        last * 0.25,
        np.minimum(last, n_units - 1),
        np.minimum(last, n_trials - 1),
        1.0,
        1e-3,
        n_units,
        n_trials,
    )
    eqsnn.save_recording(made, tmp_path / f"small{suffix}")
    found = eqsnn.load_targets(tmp_path / f"small{suffix}")
    assert_same_spikes(found, made, atol=1e-12)
    assert (found.unit_names, found.description, found.dt) == ((), "", pytest.approx(1e-3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".nwb", ".nix", ".mat"])
def test_a_damaged_file_is_refused_in_one_line_or_read(tmp_path, suffix):
    path, rng = tmp_path / f"rec{suffix}", np.random.default_rng(0)
    eqsnn.save_recording(recording(), path)
    whole = path.read_bytes()
    refused = 0
    for k in range(8):
        bad = bytearray(whole[: len(whole) * (k + 1) // 5])
        for place in rng.integers(0, len(bad), 5 if k >= 4 else 0):
            bad[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bad)
        try:
            eqsnn.load_targets(path)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= 3


@needs_data
@pytest.mark.parametrize(
    ("path", "suffix"),
    # NixIO takes some seconds for a hundred units
    [
        (path, suffix)
        for path in REAL
        for suffix in (".csv", ".nwb", ".nix")
        if suffix != ".nix" or "a1" in path.stem
    ],
    ids=lambda value: getattr(value, "stem", value),
)
@pytest.mark.filterwarnings("ignore:.*cannot be held by a table")
def test_real_recordings_survive_every_format(tmp_path, path, suffix):
    made = eqsnn.load_targets(path, window=(0.0, 8.0))
    eqsnn.save_recording(made, tmp_path / f"real{suffix}")
    found = eqsnn.load_targets(tmp_path / f"real{suffix}")
    assert_same_spikes(found, made)
    assert found.dt == pytest.approx(made.dt)
    if suffix != ".csv":
        assert_same_drives(found, made)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_a_split_by_time_loses_no_spike_and_counts_none_twice(data):
    made = recording(traces={})
    shares = np.array(data.draw(st.lists(st.floats(0.05, 1), min_size=2, max_size=4)))
    parts = eqsnn.split(made, (shares / shares.sum()).tolist())
    assert sum(part.duration for part in parts) == pytest.approx(made.duration)
    starts = np.cumsum([0.0] + [part.duration for part in parts])
    for k in range(made.n_trials):
        for unit in range(made.n_units):
            joined = [
                part.train(unit, k) + start for part, start in zip(parts, starts, strict=False)
            ]
            assert np.allclose(np.concatenate(joined), made.train(unit, k), rtol=0, atol=1e-9)
    for name in made.inputs:
        drives = np.concatenate([p.drive(name, p.n_steps, 1e-3) for p in parts], axis=1)
        assert np.allclose(drives, made.drive(name, made.n_steps, 1e-3))
    seen = np.concatenate([p.seen() for p in parts], axis=1)
    assert np.array_equal(seen, made.seen())


def test_a_split_by_time_cuts_traces_and_drives_alike():
    made = recording()
    parts = eqsnn.split(made, (0.5, 0.25, 0.25))
    assert [part.n_steps for part in parts] == [1000, 500, 500]
    assert np.array_equal(
        np.concatenate([p.traces["cells.v"] for p in parts], axis=1), made.traces["cells.v"]
    )
    assert np.array_equal(
        np.concatenate([p.inputs["I_ext"] for p in parts], axis=1), made.inputs["I_ext"]
    )


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_a_split_by_trial_deals_out_every_trial_once(seed):
    made = recording().trials([0, 1] * 5)
    parts = eqsnn.split(made, (0.6, 0.2, 0.2), by="trial", seed=seed)
    assert [part.n_trials for part in parts] == [6, 2, 2]
    dealt = [part.traces["cells.v"][k, 0, 0] for part in parts for k in range(part.n_trials)]
    assert sorted(dealt) == sorted(made.traces["cells.v"][:, 0, 0])
    if seed is None:
        assert dealt == made.traces["cells.v"][:, 0, 0].tolist()
    assert sum(len(part.spike_times) for part in parts) == len(made.spike_times)


@pytest.mark.parametrize(
    ("shares", "by", "said"),
    [
        ((0.5, 0.4), "time", "add up to 1"),
        ((1.0,), "time", "two or more"),
        ((1.2, -0.2), "time", "positive"),
        ((0.7, 0.15, 0.15), "trial", "2 trials are too few"),
        ((0.5, 0.5), "unit", "by `time` or by `trial`"),
    ],
)
def test_a_split_that_cannot_be_is_refused(shares, by, said):
    with pytest.raises(InputError, match=said):
        eqsnn.split(recording(), shares, by=by)
