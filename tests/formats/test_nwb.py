"""NWB files, written and read by pynwb itself."""

import importlib
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

import eqsnn
from eqsnn.errors import InputError
from tests.formats.recordings import (
    assert_same_drives,
    assert_same_observation,
    assert_same_spikes,
    plain,
    recording,
)

pynwb: Any = importlib.import_module("pynwb")  # its types do not say what a file holds
mock_NWBFile = importlib.import_module("pynwb.testing.mock.file").mock_NWBFile
# of a mock session, which has no times that matter
pytestmark = pytest.mark.filterwarnings("ignore:.*does not say when units were observed")


def trains(rng=None):
    rng = rng or np.random.default_rng(7)
    return [np.sort(rng.uniform(100, 130, n)) for n in (200, 90, 0)]


def session(path, *, observed=None, trials=(), columns=True, series=()):
    """Write a session with three units, the times of which go from 100 to 130 s."""
    file = mock_NWBFile(
        session_description="by hand", session_start_time=datetime(2020, 5, 1, tzinfo=UTC)
    )
    device = file.create_device("probe")
    group = file.create_electrode_group("shank 1", "a shank", "CA1", device)
    for k in range(2):
        file.add_electrode(x=float(k), y=0.0, z=0.0, location=f"CA{k + 1}", group=group)
    if columns:
        file.add_unit_column("quality", "of the sorting")
    for k, times in enumerate(trains()):
        extra = (
            {"quality": ("good", "mua", "good")[k], "electrodes": [k % 2], "electrode_group": group}
            if columns
            else {}
        )
        if observed is not None:
            extra["obs_intervals"] = observed[k]
        file.add_unit(spike_times=times, id=10 + k, **extra)
    for start, stop in trials:
        file.add_trial(start_time=start, stop_time=stop)
    for one in series:
        file.add_stimulus(one)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def test_a_session_is_one_trial_on_its_own_clock(tmp_path):
    with pytest.warns(UserWarning, match="does not say when units were observed"):
        found = eqsnn.load_targets(session(tmp_path / "a.nwb"))
    assert (found.n_units, found.n_trials, found.description) == (3, 1, "by hand")
    assert found.unit_names == ("10", "11", "12")
    for unit, times in enumerate(trains()):
        assert np.array_equal(found.train(unit), times)
    assert found.duration == max(map(max, trains()[:2]))


def test_a_window_is_on_the_clock_of_the_session(tmp_path):
    found = eqsnn.load_targets(
        session(tmp_path / "a.nwb"), window=(105.0, 115.0), units=["11", "10"]
    )
    assert found.duration == 10.0
    for unit, times in enumerate(trains()[1::-1]):
        inside = times[(times >= 105) & (times < 115)]
        assert np.allclose(found.train(unit), inside - 105, rtol=0, atol=1e-12)


def test_observed_intervals_say_where_the_gaps_are(tmp_path):
    observed = [
        np.array([[100.0, 110.0], [112.0, 130.0]]),
        np.array([[100.0, 120.0]]),
        np.array([[100.0, 130.0]]),
    ]
    path = session(tmp_path / "a.nwb", observed=observed)
    with pytest.warns(UserWarning, match="where the file says that nothing was observed"):
        found = eqsnn.load_targets(path)
    assert found.duration == pytest.approx(30.0)
    assert np.allclose(found.observed_seconds(), [[28.0, 20.0, 30.0]])
    kept = trains()[0]
    kept = kept[(kept < 110) | (kept >= 112)]
    assert np.allclose(found.train(0), kept - 100, rtol=0, atol=1e-12)


def test_the_rows_of_a_table_of_intervals_are_trials_if_asked_for(tmp_path):
    rows = [(101.0, 104.0), (104.0, 106.0), (120.0, 123.0)]
    path = session(tmp_path / "a.nwb", trials=rows)
    found = eqsnn.load_targets(path, intervals="trials")
    assert (found.n_trials, found.duration) == (3, 3.0)
    for k, (start, stop) in enumerate(rows):
        for unit, times in enumerate(trains()):
            inside = times[(times >= start) & (times < stop)]
            assert np.allclose(found.train(unit, k), inside - start, rtol=0, atol=1e-12)
    assert np.allclose(found.observed_seconds()[:, 0], [3, 2, 3])
    overlapping = session(tmp_path / "b.nwb", trials=[(101.0, 104.0), (103.0, 106.0)])
    with pytest.warns(UserWarning, match="trials overlap"):
        eqsnn.load_targets(overlapping, intervals="trials")
    with pytest.raises(InputError, match="no table of intervals `epochs`; it has trials"):
        eqsnn.load_targets(path, intervals="epochs")


def test_columns_name_the_units_and_patterns_choose_them(tmp_path):
    path = session(tmp_path / "a.nwb")
    found = eqsnn.load_targets(path, names=["quality", "id"], units=["good*"])
    assert found.unit_names == ("good 10", "good 12")
    assert np.array_equal(found.train(0), trains()[0])
    places = eqsnn.load_targets(path, names=["electrode_group", "electrodes", "id"])
    assert places.unit_names == ("shank 1 0 10", "shank 1 1 11", "shank 1 0 12")
    with pytest.raises(InputError, match="no column `layer`; it has id, "):
        eqsnn.load_targets(path, names=["layer"])


def test_a_time_series_becomes_a_drive_in_the_unit_asked_for(tmp_path):
    values = np.random.default_rng(1).normal(size=(32000, 2))
    stamped = pynwb.TimeSeries(
        name="stamped", data=values[:, 0], unit="volts", timestamps=100 + np.arange(32000) * 1e-3
    )
    rated = pynwb.TimeSeries(
        name="rated", data=values, unit="amperes", rate=1000.0, starting_time=99.0, conversion=1e-9
    )
    path = session(
        tmp_path / "a.nwb", trials=[(101.0, 103.0), (110.0, 112.0)], series=[stamped, rated]
    )
    found = eqsnn.load_targets(path, intervals="trials", drives=["I=rated:pA", "v=stamped:mV"])
    assert np.allclose(found.inputs["I"], [values[2000:4000] * 1e3, values[11000:13000] * 1e3])
    assert np.allclose(
        found.inputs["v"][..., 0], [values[1000:3000, 0] * 1e3, values[10000:12000, 0] * 1e3]
    )
    assert found.input_dt["I"] == pytest.approx(1e-3)
    with pytest.raises(InputError, match="no time series `field`; the file has rated, stamped"):
        eqsnn.load_targets(path, drives=["field"])
    with pytest.raises(InputError, match="does not cover the trial"):
        eqsnn.load_targets(path, drives=["stamped"])


def test_a_recording_survives_an_nwb_file_with_its_drives_traces_and_gaps(tmp_path):
    made = recording()
    eqsnn.save_recording(made, tmp_path / "rec.nwb")
    found = eqsnn.load_targets(tmp_path / "rec.nwb")
    assert_same_spikes(found, made, atol=1e-12)
    assert_same_observation(found, made)
    assert_same_drives(found, made)
    assert (found.dt, found.unit_names, found.description) == (1e-3, made.unit_names, "made up")


def test_a_single_trial_survives_an_nwb_file_to_the_last_bit(tmp_path):
    made = plain(inputs={"light": np.arange(2000.0)}).trials([1])
    eqsnn.save_recording(made, tmp_path / "rec.nwb")
    found = eqsnn.load_targets(tmp_path / "rec.nwb")
    assert_same_spikes(found, made)
    assert_same_drives(found, made)
    assert np.array_equal(found.inputs["light"], made.inputs["light"])


def test_spikes_at_both_ends_of_every_trial_stay_in_their_trials(tmp_path):
    times = np.array([0.0, 0.5, 0.0, 0.5])
    made = plain(spike_times=times, unit_ids=[0] * 4, trial_ids=[0, 0, 1, 1], duration=0.5)
    eqsnn.save_recording(made, tmp_path / "rec.nwb")
    assert_same_spikes(eqsnn.load_targets(tmp_path / "rec.nwb"), made)


def test_what_is_written_is_valid_nwb_that_pynwb_reads(tmp_path):
    made = recording()
    eqsnn.save_recording(made, tmp_path / "rec.nwb")
    errors = pynwb.validate(path=str(tmp_path / "rec.nwb"))
    assert not (errors[0] if isinstance(errors, tuple) else errors)
    with pynwb.NWBHDF5IO(str(tmp_path / "rec.nwb"), "r") as io:
        file = io.read()
        assert list(file.units["unit_name"][:]) == list(made.unit_names)
        starts = file.trials["start_time"][:]
        stored = file.units.get_unit_spike_times(1)
    expected = np.concatenate([s + made.train(1, k) for k, s in enumerate(starts)])
    assert np.array_equal(stored, expected)


def test_neo_reads_the_same_spikes_from_what_is_written(tmp_path):
    made = plain()
    eqsnn.save_recording(made, tmp_path / "rec.nwb")
    found = eqsnn.load_targets(tmp_path / "rec.nwb", format="neo:NWBIO")
    for unit in range(3):  # Neo leaves out units without spikes
        assert np.allclose(
            found.train(unit) - found.train(unit)[0], made.train(unit) - made.train(unit)[0]
        )


def test_an_nwb_file_without_units_is_refused(tmp_path):
    with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "w") as io:
        io.write(mock_NWBFile())
    with pytest.raises(InputError, match="has no units table"):
        eqsnn.load_targets(tmp_path / "a.nwb")


@pytest.mark.parametrize("content", [b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(100)])
def test_a_broken_nwb_file_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "a.nwb").write_bytes(content)
    with pytest.raises(InputError, match="is damaged or no NWB file") as caught:
        eqsnn.load_targets(tmp_path / "a.nwb")
    assert "\n" not in str(caught.value)
