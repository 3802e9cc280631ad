import random
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eqsnn.errors import InputError
from eqsnn.simulation.recording import Recording, from_dense, load_inputs, load_targets

GRIDS = arrays(
    np.uint8,
    st.tuples(st.integers(1, 3), st.integers(1, 60), st.integers(1, 4)),
    elements=st.integers(0, 1),
)
STEPS = st.sampled_from([1e-3, 1e-4, 5e-5, 0.1, 1 / 3, 0.614e-3, 2.5e-2])
DATA = Path(__file__).parents[3] / "shared" / "data"


def recording(**changes) -> Recording:
    """Two trials of 1 s, three neurons, drives of each shape, a trace."""
    rng = np.random.default_rng(0)
    values = {
        "spike_times": np.array([0.001, 0.5, 0.25, 0.999, 0.3]),
        "unit_ids": np.array([0, 0, 1, 2, 1]),
        "trial_ids": np.array([0, 0, 1, 1, 0]),
        "duration": 1.0,
        "dt": 1e-3,
        "n_units": 3,
        "n_trials": 2,
        "inputs": {
            "I": rng.normal(size=1000),
            "I_ext": rng.normal(size=(100, 3)),
            "stimulus": rng.normal(size=(2, 20000, 1)),
        },
        "input_dt": {"I_ext": 1e-2, "stimulus": 5e-5},
        "traces": {"cells.v": rng.normal(size=(2, 1000, 3))},
        "parameters": {"cells.tau_m": np.array([10.0, 12.0, 14.0]), "cells->cells.w": np.eye(3)},
        "unit_names": ("a", "b", "c"),
        "description": "made up",
    }
    return Recording(**{**values, **changes})  # type: ignore[arg-type]


def same(a: Recording, b: Recording) -> bool:
    mappings = ("traces", "inputs", "input_dt", "parameters")
    plain = ("duration", "dt", "n_units", "n_trials", "unit_names", "description")
    one, other = a.trains(), b.trains()
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and all(
            getattr(a, m).keys() == getattr(b, m).keys()
            and all(np.array_equal(getattr(a, m)[k], getattr(b, m)[k]) for k in getattr(a, m))
            for m in mappings
        )
        and all(
            np.array_equal(x, y)
            for s, t in zip(one, other, strict=True)
            for x, y in zip(s, t, strict=True)
        )
    )


@given(GRIDS, STEPS)
def test_a_grid_of_spikes_comes_back_exactly(grid, dt):
    assert np.array_equal(from_dense(grid, dt).dense(), grid)


@pytest.mark.parametrize("dt", [1e-3, 1e-4, 5e-5, 0.614e-3, 1 / 3, 0.7])
def test_every_one_of_a_hundred_thousand_stamps_comes_back_exactly(dt):
    grid = np.ones((1, 100_000, 1), np.uint8)
    found = from_dense(grid, dt)
    assert np.array_equal(found.dense(), grid)
    assert np.array_equal(found.spike_times, np.arange(100_000) * dt)


@settings(max_examples=40, deadline=None)
@given(GRIDS, STEPS)
def test_a_saved_recording_is_read_back_equal(tmp_path_factory, grid, dt):
    path = tmp_path_factory.mktemp("recordings") / "r.npz"
    original = from_dense(grid, dt, description="grid")
    original.save(path)
    again = load_targets(path)
    assert same(original, again)
    assert np.array_equal(again.dense(), grid)


def test_drives_traces_parameters_and_names_are_saved_too(tmp_path):
    original = recording()
    original.save(tmp_path / "r.npz")
    assert same(load_targets(tmp_path / "r.npz"), original)


def test_saving_leaves_nothing_but_the_file(tmp_path):
    recording().save(tmp_path / "r.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["r.npz"]


def test_a_saved_file_is_readable_without_pickle_and_holds_the_promised_names(tmp_path):
    recording().save(tmp_path / "r.npz")
    with np.load(tmp_path / "r.npz", allow_pickle=False) as file:
        promised = {
            "spike_times",
            "unit_ids",
            "trial_ids",
            "duration",
            "n_units",
            "dt",
            "unit_names",
            "description",
        }
        assert promised | {"I", "I_ext", "I_ext_dt", "stimulus", "stimulus_dt"} <= set(file.files)
        assert file["spike_times"].dtype == np.float64


def test_a_dense_file_is_read_as_its_spikes(tmp_path):
    grid = (np.random.default_rng(1).random((2, 50, 3)) < 0.2).astype(np.uint8)
    np.savez(tmp_path / "r.npz", spikes=grid, dt=2e-3, I_ext=np.zeros(50))
    found = load_targets(tmp_path / "r.npz")
    assert np.array_equal(found.dense(), grid)
    assert (found.duration, found.dt) == (pytest.approx(0.1), 2e-3)
    assert set(found.inputs) == {"I_ext"}


def test_unsorted_spikes_are_sorted_and_the_optional_arrays_may_be_left_out(tmp_path):
    np.savez(tmp_path / "r.npz", spike_times=[0.3, 0.1, 0.2], unit_ids=[1, 0, 1], duration=1.0)
    found = load_targets(tmp_path / "r.npz")
    assert (found.n_units, found.n_trials, found.dt) == (2, 1, 1e-3)
    assert [list(train) for train in found.trains()[0]] == [[0.1], [0.2, 0.3]]


def test_units_without_spikes_count_if_the_file_says_so(tmp_path):
    np.savez(
        tmp_path / "r.npz", spike_times=[0.3], unit_ids=[1], duration=1.0, n_units=5, n_trials=2
    )
    assert list(load_targets(tmp_path / "r.npz").rates()) == [0, 0.5, 0, 0, 0]


def test_texts_and_single_numbers_of_other_names_are_notes(tmp_path):
    np.savez(
        tmp_path / "r.npz",
        spike_times=[0.3],
        unit_ids=[0],
        duration=1.0,
        stimulus_units="dB",
        session=7,
    )
    assert load_targets(tmp_path / "r.npz").inputs == {}


@pytest.mark.skipif(not DATA.exists(), reason="the real recordings are not here")
@pytest.mark.parametrize(
    ("name", "units", "spikes"),
    [
        ("a1_grasshopper_receptor_stim1", 1, 929),
        ("b1_aplysia_pedal_Jan1912da02", 102, 11864),
        ("b1_aplysia_pedal_Feb1312da06", 125, 17059),
    ],
)
def test_real_recordings_are_read(name, units, spikes):
    found = load_targets(DATA / f"{name}.npz")
    assert (found.n_units, len(found.spike_times)) == (units, spikes)


GOOD = {
    "spike_times": np.array([0.1, 0.2]),
    "unit_ids": np.array([0, 1]),
    "trial_ids": np.array([0, 0]),
    "duration": 1.0,
    "dt": 1e-3,
    "I_ext": np.zeros(1000),
}
DENSE = {"spikes": np.zeros((1, 10, 2)), "dt": 1e-3}
BAD = {
    "NaN spike": ({**GOOD, "spike_times": [0.1, np.nan]}, "`spike_times` contains NaN"),
    "infinite duration": ({**GOOD, "duration": np.inf}, "`duration` contains NaN or infinity"),
    "NaN drive": ({**GOOD, "I_ext": [0, np.nan]}, "`I_ext` contains NaN"),
    "object array": ({**GOOD, "unit_ids": np.array([0, None])}, "Python objects"),
    "text for numbers": ({**GOOD, "spike_times": ["a", "b"]}, "numbers are expected"),
    "2-d times": ({**GOOD, "spike_times": [[0.1, 0.2]]}, "one dimension is expected"),
    "short ids": ({**GOOD, "unit_ids": [0]}, "there are 2 spike times"),
    "negative id": ({**GOOD, "unit_ids": [0, -1]}, "whole numbers from 0"),
    "fractional id": ({**GOOD, "trial_ids": [0, 0.5]}, "whole numbers from 0"),
    "no ids": ({k: v for k, v in GOOD.items() if k != "unit_ids"}, "`unit_ids` is missing"),
    "no duration": ({k: v for k, v in GOOD.items() if k != "duration"}, "`duration` is missing"),
    "negative duration": ({**GOOD, "duration": -1.0}, "a positive number of seconds"),
    "several durations": ({**GOOD, "duration": [1.0, 2.0]}, "one number of seconds"),
    "spike after the end": ({**GOOD, "spike_times": [0.1, 100.0]}, "outside the trial of 1 s"),
    "spike before the start": ({**GOOD, "spike_times": [-0.1, 0.2]}, "a spike at -0.1 s"),
    "too few units": ({**GOOD, "n_units": 1}, "ids go up to 1"),
    "fractional n_units": ({**GOOD, "n_units": 2.5}, "one whole number"),
    "names of others": ({**GOOD, "unit_names": ["a"]}, "1 unit_names for 2 units"),
    "step longer than the trial": ({**GOOD, "dt": 2.0}, "longer than the trial"),
    "drive of four dimensions": (
        {**GOOD, "I_ext": np.zeros((1, 2, 3, 4))},
        r"has shape \(1, 2, 3, 4\)",
    ),
    "empty drive": ({**GOOD, "I_ext": np.zeros(0)}, "none of them empty"),
    "drive of other trials": (
        {**GOOD, "I_ext": np.zeros((3, 10, 2))},
        "has 3 trials, but there are 1",
    ),
    "drive without a step": (
        {k: v for k, v in GOOD.items() if k != "dt"},
        "`I_ext` has no time step",
    ),
    "both formats": ({**GOOD, **DENSE}, "both `spikes` and `spike_times`"),
    "neither format": (
        {"rates": np.ones(3)},
        "holds rates; `spike_times` and `unit_ids`, or `spikes`",
    ),
    "nothing": ({}, "holds nothing"),
    "dense without dt": ({"spikes": np.zeros((1, 10, 2))}, "need `dt`"),
    "dense of two dimensions": (
        {**DENSE, "spikes": np.zeros((10, 2))},
        r"\(trial, time, neuron\) is expected",
    ),
    "dense without trials": ({**DENSE, "spikes": np.zeros((0, 10, 2))}, "none of them empty"),
    "dense counts": ({**DENSE, "spikes": np.full((1, 10, 2), 2)}, "other values than 0 and 1"),
    "dense probabilities": (
        {**DENSE, "spikes": np.full((1, 10, 2), 0.5)},
        "other values than 0 and 1",
    ),
    "dense of another duration": ({**DENSE, "duration": 5.0}, "10 steps of 0.001 s"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_in_a_file_gets_one_clear_message_that_names_the_file(tmp_path, mistake):
    values, message = BAD[mistake]
    path = tmp_path / "targets.npz"
    np.savez(path, **values)
    with pytest.raises(InputError, match=message) as error:
        load_targets(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_what_the_mistakes_were_made_from_is_read(tmp_path):
    for values in (GOOD, DENSE):
        np.savez(tmp_path / "r.npz", **values)  # type: ignore[arg-type]
        assert load_targets(tmp_path / "r.npz").n_units == 2


def broken_files(folder: Path) -> dict[str, Path]:
    found = {
        name: folder / f"{name}.npz"
        for name in ("missing", "empty", "text", "array", "folder", "foreign", "cut")
    }
    found["empty"].touch()
    found["text"].write_text("spike_times, unit_ids\n0.1, 0\n")
    with found["array"].open("wb") as stream:
        np.save(stream, np.zeros(3))
    found["folder"].mkdir()
    with zipfile.ZipFile(found["foreign"], "w") as archive:
        archive.writestr("spike_times", "0.1 0.2")
    recording().save(folder / "good.npz")
    found["cut"].write_bytes((folder / "good.npz").read_bytes()[:1000])
    return found


@pytest.mark.parametrize("what", ["missing", "empty", "text", "array", "folder", "foreign", "cut"])
def test_a_file_that_is_no_archive_of_arrays_is_refused(tmp_path, what):
    path = broken_files(tmp_path)[what]
    with pytest.raises(InputError) as error:
        load_targets(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "pickle" not in str(error.value)


def test_no_damage_to_a_file_ends_in_anything_but_a_recording_or_a_clear_error(tmp_path):
    small = from_dense(np.random.default_rng(0).random((2, 300, 4)) < 0.05, 1e-3)
    small.save(tmp_path / "good.npz")
    good, rng, refused = (tmp_path / "good.npz").read_bytes(), random.Random(0), 0
    for _ in range(600):
        damaged = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        (tmp_path / "bad.npz").write_bytes(damaged)
        try:
            load_targets(tmp_path / "bad.npz")
        except InputError:
            refused += 1
    assert refused > 400


def test_a_file_of_drives_needs_no_spikes(tmp_path):
    np.savez(
        tmp_path / "drives.npz",
        I_ext=np.zeros((3, 200, 4)),
        pulse=np.ones(500),
        dt=1e-3,
        pulse_dt=2e-3,
    )
    found = load_inputs(tmp_path / "drives.npz")
    assert (found.n_trials, found.n_units, found.duration) == (3, 0, pytest.approx(0.2))
    assert found.drive("I_ext", 200, 1e-3).shape == (3, 200, 4)
    with pytest.raises(InputError, match="expected"):
        load_targets(tmp_path / "drives.npz")


def test_a_file_without_drives_is_no_file_of_drives(tmp_path):
    np.savez(tmp_path / "drives.npz", dt=1e-3, note="nothing here")
    with pytest.raises(InputError, match="holds no drive"):
        load_inputs(tmp_path / "drives.npz")


CONTRADICTIONS = {
    "lengths": ({"unit_ids": [0]}, "equal length"),
    "units": ({"unit_ids": [0, 0, 1, 3, 1]}, "unit_ids contains 3; whole numbers from 0 to 2"),
    "trials": ({"trial_ids": [0, 0, 1, -1, 0]}, "trial_ids contains -1"),
    "time": ({"duration": 0.5}, "outside the trial of 0.5 s"),
    "NaN": ({"spike_times": [np.nan, 0.5, 0.25, 0.9, 0.3]}, "a spike at nan s"),
    "dt": ({"dt": 0.0}, "dt is 0 s"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_a_recording_that_contradicts_itself_cannot_be_made(what):
    changes, message = CONTRADICTIONS[what]
    with pytest.raises(InputError, match=message):
        recording(**changes)


def test_spikes_that_share_a_step_are_counted_once_and_reported():
    crowded = Recording(
        np.array([0.1, 0.1004, 0.5]), np.array([0, 0, 0]), np.zeros(3, int), 1.0, 1e-3, 1
    )
    with pytest.warns(UserWarning, match="1 of 3 spikes share a step of 0.001 s"):
        assert crowded.dense().sum() == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert crowded.dense(1e-4).sum() == 3


def test_no_spike_is_lost_at_the_end_of_a_trial():
    last = Recording(np.array([0.0, 1.0]), np.zeros(2, int), np.zeros(2, int), 1.0, 1e-3, 1)
    assert np.flatnonzero(last.dense()[0, :, 0]).tolist() == [0, 999]
    assert last.counts(0.1)[0, :, 0].tolist() == [1] + [0] * 8 + [1]
    odd = Recording(np.array([0.0, 0.9999]), np.zeros(2, int), np.zeros(2, int), 1.0, 3e-3, 1)
    assert odd.n_steps == odd.dense().shape[1] == 334
    assert odd.dense().sum() == 2


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30), st.sampled_from([0.1, 0.25, 0.3, 0.07, 1.0]))
def test_counts_agree_with_a_histogram_of_the_complete_bins(times, bin_s):
    found = Recording(
        np.array(times), np.zeros(len(times), int), np.zeros(len(times), int), 1.0, 1e-9, 1
    )
    edges = np.arange(int(1 / bin_s + 1e-9) + 1) * bin_s
    away = [t for t in times if np.abs(t - edges).min() > 1e-9]
    kept = Recording(
        np.array(away), np.zeros(len(away), int), np.zeros(len(away), int), 1.0, 1e-9, 1
    )
    assert np.array_equal(kept.counts(bin_s)[0, :, 0], np.histogram(away, edges)[0])
    assert found.counts(bin_s).sum() <= len(times)


def test_a_bin_longer_than_the_trial_and_a_grid_beyond_memory_are_refused():
    with pytest.raises(InputError, match="no bin of 2 s fits"):
        recording().counts(2.0)
    with pytest.raises(InputError, match="do not fit into memory"):
        recording(n_units=10**9, unit_names=()).dense()


def test_rates_are_spikes_per_second_over_all_trials():
    assert recording().rates().tolist() == [1.0, 1.0, 0.5]


def test_trains_are_sorted_by_trial_and_unit():
    found = recording()
    assert [[list(t) for t in trial] for trial in found.trains()] == [
        [[0.001, 0.5], [0.3], []],
        [[], [0.25], [0.999]],
    ]
    assert found.train(0).tolist() == [0.001, 0.5]


@given(GRIDS, STEPS, st.data())
def test_two_neighbouring_windows_hold_the_whole_grid(grid, dt, data):
    if grid.shape[1] < 2:
        return
    border = data.draw(st.integers(1, grid.shape[1] - 1))
    found = from_dense(grid, dt, inputs={"I": np.arange(grid.shape[1], dtype=float)})
    parts = [found.window(0, border * dt), found.window(border * dt, found.duration)]
    assert np.array_equal(np.concatenate([part.dense() for part in parts], axis=1), grid)
    assert np.array_equal(
        np.concatenate([part.inputs["I"] for part in parts]), np.arange(grid.shape[1])
    )


def test_a_window_cuts_drives_of_every_shape_and_step_and_the_traces():
    whole = recording()
    part = whole.window(0.1, 0.35)
    for name, dt in (("I", 1e-3), ("I_ext", 1e-3), ("stimulus", 1e-3), ("stimulus", 5e-5)):
        n = round(0.25 / dt)
        late = whole.drive(name, round(0.35 / dt), dt)[:, -n:]
        assert np.allclose(part.drive(name, n, dt), late, atol=1e-12)
    assert np.array_equal(part.traces["cells.v"], whole.traces["cells.v"][:, 100:350])
    assert part.train(1, 0).tolist() == pytest.approx([0.2])


def test_a_window_that_starts_within_a_sample_of_a_slow_drive_keeps_the_drive_in_time():
    slow = recording(inputs={"I": np.arange(10.0)}, input_dt={"I": 0.1}, traces={})
    part = slow.window(0.25, 0.6)
    assert np.array_equal(
        part.drive("I", 350, 1e-3)[0, :, 0], slow.drive("I", 600, 1e-3)[0, 250:, 0]
    )


def test_a_window_outside_the_trial_or_between_steps_is_refused():
    with pytest.raises(InputError, match=r"not within the 1 s of a trial"):
        recording().window(0.5, 1.5)
    with pytest.raises(InputError, match="between two steps"):
        recording().window(0.1005, 0.5)


def test_trials_are_taken_in_the_order_asked_for_and_may_repeat():
    found = recording().trials([1, 0, 1])
    assert [[list(t) for t in trial] for trial in found.trains()] == [
        [[], [0.25], [0.999]],
        [[0.001, 0.5], [0.3], []],
        [[], [0.25], [0.999]],
    ]
    assert np.array_equal(found.inputs["stimulus"], recording().inputs["stimulus"][[1, 0, 1]])
    assert found.inputs["I"].shape == (1000,)
    assert found.traces["cells.v"].shape == (3, 1000, 3)


def test_units_are_taken_with_their_names_columns_and_traces():
    found = recording().select([2, 1])
    assert found.unit_names == ("c", "b")
    assert [[list(t) for t in trial] for trial in found.trains()] == [
        [[], [0.3]],
        [[0.999], [0.25]],
    ]
    assert np.array_equal(found.inputs["I_ext"], recording().inputs["I_ext"][:, [2, 1]])
    assert np.array_equal(found.traces["cells.v"], recording().traces["cells.v"][..., [2, 1]])
    assert found.inputs["stimulus"].shape == (2, 20000, 1)


@pytest.mark.parametrize("take", [lambda r: r.trials([2]), lambda r: r.select([-1])])
def test_trials_and_units_that_are_not_there_are_refused(take):
    with pytest.raises(InputError, match="wanted"):
        take(recording())


def test_a_coarse_drive_is_held_and_a_fine_one_is_averaged():
    drives = recording(
        inputs={"slow": np.array([1.0, 2.0]), "fast": np.arange(40.0)},
        input_dt={"slow": 0.5, "fast": 0.025},
    )
    assert drives.drive("slow", 4, 0.25)[0, :, 0].tolist() == [1, 1, 2, 2]
    assert drives.drive("fast", 4, 0.1)[0, :, 0].tolist() == [1.5, 5.5, 9.5, 13.5]
    # 0.06 s holds 2.4 samples: (0*1 + 1*1 + 2*.4)/2.4, then (2*.6 + 3*1 + 4*.8)/2.4
    assert drives.drive("fast", 2, 0.06)[0, :, 0] == pytest.approx([1.8 / 2.4, 7.4 / 2.4])


@settings(deadline=None)
@given(st.integers(1, 50), st.floats(1.0, 7.0))
def test_averaging_a_drive_keeps_its_integral(n_steps, ratio):
    own, dt = 1e-3, 1e-3 * ratio
    samples = np.random.default_rng(n_steps).normal(size=int(np.ceil(n_steps * ratio)) + 1)
    found = recording(inputs={"I": samples}, input_dt={"I": own}).drive("I", n_steps, dt)[0, :, 0]
    end = n_steps * ratio
    integral = samples[: int(end)].sum() + (end - int(end)) * samples[int(end)]
    assert (found * ratio).sum() == pytest.approx(integral, abs=1e-5)


def test_a_step_rounded_in_the_file_does_not_make_a_drive_too_short():
    drives = recording(inputs={"I": np.ones(20000)}, input_dt={"I": 4.9999e-5})
    assert drives.drive("I", 1000, 1e-3)[0, :, 0] == pytest.approx(np.ones(1000))


@given(st.floats(-1e3, 1e3), st.floats(0.05, 20.0))
def test_a_constant_drive_stays_constant_on_every_step(value, ratio):
    drives = recording(inputs={"I": np.full(2000, value)})
    assert drives.drive("I", 50, 1e-3 * ratio)[0, :, 0] == pytest.approx(np.full(50, value))


def test_a_missing_or_short_drive_is_refused():
    with pytest.raises(
        InputError, match="there is no drive `J`; the recording has I, I_ext, stimulus"
    ):
        recording().drive("J", 10, 1e-3)
    with pytest.raises(InputError, match="`I` is too short: 1000 samples"):
        recording().drive("I", 1001, 1e-3)


@pytest.mark.parametrize("names", [{"dt"}, {"spikes"}, {"cells.v"}, {"I", "I_dt"}, {"file"}])
def test_a_drive_whose_name_would_collide_in_the_file_is_not_saved(tmp_path, names):
    with pytest.raises(InputError, match="would collide"):
        recording(inputs={name: np.zeros(1000) for name in names}, input_dt={}).save(
            tmp_path / "r.npz"
        )
    assert not list(tmp_path.iterdir())


def test_a_recording_without_spiking_neurons_is_saved_and_read(tmp_path):
    none = np.zeros(0)
    rates = Recording(none, none, none, 1.0, 1e-3, 0, traces={"w.f": np.ones((1, 1000, 1))})  # type: ignore[arg-type]
    rates.save(tmp_path / "r.npz")
    assert load_targets(tmp_path / "r.npz").traces["w.f"].sum() == 1000
