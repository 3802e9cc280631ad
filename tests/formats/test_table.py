"""Tables of spikes as text: what is written is read back, what others write is understood, mistakes are named."""

import io
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.errors import InputError
from eqsnn.formats.load import load_targets, save_recording
from eqsnn.simulation.recording import Recording
from tests.formats.recordings import (
    assert_same_observation,
    assert_same_spikes,
    plain,
    recording,
)

pytestmark = pytest.mark.filterwarnings("error")
NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=8),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip


@st.composite
def recordings(draw):
    names = draw(NAMES)
    duration = draw(st.floats(1e-3, 1e6, allow_subnormal=False))
    n_trials, n_units = draw(st.integers(1, 3)), len(names)
    n = draw(st.integers(0, 25))
    shares = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    ids = st.lists(st.integers(0, 10**6), min_size=n, max_size=n)
    return Recording(
        spike_times=np.minimum(np.array(shares) * duration, duration),
        unit_ids=np.array(draw(ids), dtype=int) % n_units,
        trial_ids=np.array(draw(ids), dtype=int) % n_trials,
        duration=draw(st.sampled_from([float, np.float64]))(duration),
        dt=draw(st.sampled_from([1e-4, 1 / 3e4, 1e-3])),
        n_units=n_units,
        n_trials=n_trials,
        unit_names=tuple(names) if draw(st.booleans()) else (),
        description=draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)),
    )


@given(recordings(), st.sampled_from([".csv", ".tsv", ".txt"]))
@settings(deadline=None, max_examples=150)
def test_a_table_gives_back_every_spike_name_and_length_exactly(tmp_path_factory, made, suffix):
    path = tmp_path_factory.getbasetemp() / f"round{suffix}"
    save_recording(made, path)
    found = load_targets(path)
    assert_same_spikes(found, made)
    assert (found.dt, found.unit_names, found.description) == (
        made.dt, made.unit_names, made.description,
    )  # fmt: skip


def test_a_table_keeps_gaps_and_silent_units(tmp_path):
    made = plain(gaps=recording().gaps)
    save_recording(made, tmp_path / "rec.csv")
    found = load_targets(tmp_path / "rec.csv")
    assert_same_spikes(found, made)
    assert np.array_equal(found.gaps, made.gaps)
    assert_same_observation(found, made)


def test_a_table_says_that_it_cannot_hold_drives_and_traces(tmp_path):
    with pytest.warns(UserWarning) as caught:
        save_recording(recording(), tmp_path / "rec.csv")
    told = " ".join(str(w.message) for w in caught)
    assert "drives I_ext, light" in told
    assert "traces cells.v" in told


def test_pandas_reads_what_is_written_and_what_pandas_writes_is_read(tmp_path):
    made = plain()
    save_recording(made, tmp_path / "rec.csv")
    frame = pd.read_csv(tmp_path / "rec.csv", comment="#")
    assert sorted(frame["time"]) == sorted(made.spike_times)
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "shuffled.csv", index=False)
    found = load_targets(tmp_path / "shuffled.csv", duration=2.0)
    # the silent unit is not in a table without comments
    for unit, name in enumerate(sorted(set(frame["unit"]))):
        own = found.unit_names.index(name)
        assert np.array_equal(found.train(own), made.train(unit))


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("time,unit\n0.5,7\n1.25,9\n0.75,7\n", {}),
        ("0.5,7\n1.25,9\n0.75,7\n", {}),
        ("unit;t\n7;0,5\n9;1,25\n7;0,75\n", {}),
        ("time_ms\tcell\n500\t7\n1250\t9\n750\t7\n", {}),
        ("Time [ms] , Neuron\n500, 7\n1250, 9\n750, 7\n", {}),
        ("# a comment\ntime,note,cluster_id\n500,x,7\n1250,y,9\n750,,7\n", {"time_unit": "ms"}),
        ("15000 7\n37500 9\n22500 7\n", {"time_unit": "30kHz"}),
        ("\ufefftime,unit\r\n0.5,7\r\n1.25,9\r\n0.75,7\r\n", {}),
    ],
    ids=["header", "bare", "german", "tabs and ms", "blanks", "other columns", "samples", "windows"],
)  # fmt: skip
def test_the_same_three_spikes_are_read_from_many_dialects(tmp_path, text, arguments):
    path = tmp_path / "spikes.csv"
    path.write_bytes(text.encode())
    found = load_targets(path, duration=2.0, **arguments)
    assert found.unit_names == ("7", "9")
    assert np.allclose(found.train(0), [0.5, 0.75], rtol=0, atol=1e-15)
    assert np.allclose(found.train(1), [1.25], rtol=0, atol=1e-15)


def test_trials_and_units_may_be_called_anything(tmp_path):
    path = tmp_path / "spikes.csv"
    path.write_text("trial,unit,time\nleft,CA1 3,0.1\nright,CA1 3,0.2\nleft,CA3 1,0.3\n")
    found = load_targets(path, duration=1.0)
    assert (found.n_trials, found.unit_names) == (2, ("CA1 3", "CA3 1"))
    assert found.trains()[1][0] == [0.2]


def test_a_table_without_a_duration_says_what_it_assumes(tmp_path):
    path = tmp_path / "spikes.csv"
    path.write_text("time,unit\n0.1,0\n1.2345,1\n")
    with pytest.warns(UserWarning, match="does not say how long a trial lasts; 1.235 s"):
        assert load_targets(path).duration == pytest.approx(1.235)


def test_a_comment_of_another_writer_is_left_alone(tmp_path):
    path = tmp_path / "spikes.csv"
    path.write_text("# description: of Monday\n# rig: 2\n# duration: 2 s\ntime,unit\n0.5,3\n")
    found = load_targets(path)
    assert (found.description, found.duration, found.unit_names) == ("of Monday", 2.0, ("3",))


def test_times_before_zero_begin_the_trial_and_the_window_is_on_the_clock_of_the_file(tmp_path):
    path = tmp_path / "aligned.csv"
    path.write_text("time,unit\n-0.5,0\n0.25,0\n0.75,0\n")
    with pytest.warns(UserWarning, match="times go from -0.5 s on"):
        assert load_targets(path, duration=1.5).spike_times.tolist() == [0, 0.75, 1.25]
    with pytest.warns(UserWarning):
        found = load_targets(path, duration=1.5, window=(0.0, 1.0))
    assert found.spike_times.tolist() == [0.25, 0.75]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("# units: 3\n", "holds no spikes and no duration"),
        ("time,unit\n0.1,0\n0.2\n", r":3: 1 columns, but 2 in the first line"),
        ("time,unit\nsoon,0\n", r":2: `soon` is no time"),
        ("time,unit\nnan,0\n", r":2: `nan` is no time"),
        ("when,who\n0.1,0\n", "no column `time` among when, who"),
        ("time,who\n0.1,0\n", "no column `unit`"),
        ("time [ticks],unit\n0.1,0\n", "`ticks` is no unit of time; say --time-unit"),
        ("0.1,0,0,0\n", "4 columns without names"),
        ("# duration: long\n0.1,0\n", ":1: .* is not understood"),
        ("# duration: -3 s\n0.1,0\n", ":1: .* is not understood"),
        ("# units: [\"a\"]\n0.1,b\n", "spike of unit `b`, which `# units:` does not list"),
        ("# duration: 1 s\n# gaps: [[0, 1]]\n0.1,0\n", "`gaps` has shape"),
        ("# duration: 1 s\n# gaps: [[0], [1, 2]]\n0.1,0\n", "spikes.csv: "),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused_in_one_line_that_says_where(tmp_path, text, said):
    path = tmp_path / "spikes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        load_targets(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "spikes.csv").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="is no text"):
        load_targets(tmp_path / "spikes.csv")


def test_spikes_outside_the_trial_are_counted_and_left_out(tmp_path):
    path = tmp_path / "spikes.csv"
    path.write_text("time,unit\n0.1,0\n1.5,0\n1.7,0\n")
    with pytest.warns(UserWarning, match="2 of 3 spikes are outside the trials and left out"):
        assert eqsnn.load_targets(path, duration=1.0).spike_times.tolist() == [0.1]


def test_a_column_of_numpy_prints_is_read(tmp_path):
    made = np.array([[0.001, 2.0], [0.5, 0.0]])
    text = io.StringIO()
    np.savetxt(text, made)
    (tmp_path / "spikes.txt").write_text(text.getvalue())
    found = load_targets(tmp_path / "spikes.txt", duration=1.0)
    assert found.spike_times.tolist() == [0.5, 0.001]


@given(st.text(st.sampled_from("time,unit\t;\n#: 0123456789.-e[]\"'ab"), max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_text_is_read_or_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            load_targets(path)
        except InputError as error:
            assert "\n" not in str(error)
