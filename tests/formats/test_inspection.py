"""What `inspect` says of recordings whose faults are known, and of those without."""

import warnings

import elephant.statistics
import neo
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqsnn.analysis.inspection import inspect
from eqsnn.analysis.time_grid import time_grid
from eqsnn.formats.load import read_source
from eqsnn.formats.source import Reading, recording_of
from eqsnn.report.inspection_text import format_inspection, text_raster
from eqsnn.simulation.recording import Recording
from tests.formats.recordings import plain, recording


def of_trains(*trains, duration=100.0, **changes) -> Recording:
    """One trial of the given spike trains."""
    ids = [np.full(len(train), unit) for unit, train in enumerate(trains)]
    values = {"duration": duration, "dt": 1e-3, "n_units": len(trains), **changes}
    times = np.concatenate(trains)
    return Recording(times, np.concatenate(ids), np.zeros(len(times), int), **values)


def regular(interval, n, start=0.05):
    return start + np.arange(n) * interval


def told(made, **arguments) -> str:
    return "\n".join(inspect(made, **arguments).warnings)


def test_a_clean_recording_gives_no_warning():
    rng = np.random.default_rng(0)
    clean = [np.cumsum(0.004 + rng.exponential(0.2, 300)) for _ in range(3)]
    assert inspect(of_trains(*clean)).warnings == ()


def test_rate_and_cv_are_those_of_elephant_and_the_shortest_interval_that_of_numpy():
    made = plain()
    facts = inspect(made).units
    for unit in range(3):
        train = neo.SpikeTrain(made.train(unit), units="s", t_stop=made.duration)
        assert facts[unit].rate == pytest.approx(
            float(elephant.statistics.mean_firing_rate(train).rescale("Hz"))
        )
        assert facts[unit].cv == pytest.approx(
            elephant.statistics.cv(np.asarray(elephant.statistics.isi(train)))
        )
        assert facts[unit].shortest == pytest.approx(np.diff(made.train(unit)).min())


def test_violations_are_the_share_of_intervals_within_the_refractory_period():
    train = regular(0.1, 101)
    train = np.sort(np.concatenate([train, train[:10] + 0.0015]))  # 10 of 110 intervals
    facts = inspect(of_trains(train, regular(0.1, 60))).units
    assert facts[0].violations == pytest.approx(10 / 110)
    assert facts[1].violations == 0
    assert inspect(of_trains(train), refractory=1e-3).units[0].violations == 0
    said = told(of_trains(train, regular(0.1, 60), unit_names=("mixed", "fine")))
    assert "unit mixed: more than 1% of the intervals are shorter than 2 ms (worst 9.1%)" in said
    assert "several neurons" in said


@pytest.mark.parametrize(("violations", "warned"), [(1, False), (2, False), (4, True)])
def test_one_short_interval_among_a_hundred_is_no_reason_to_warn(violations, warned):
    train = regular(0.1, 101)
    made = of_trains(np.sort(np.concatenate([train, train[:violations] + 0.0015])))
    assert ("several neurons" in told(made)) == warned


def test_an_interval_that_a_gap_interrupts_does_not_count():
    made = of_trains(np.array([0.1, 0.2, 5.0, 5.1, 5.2]), gaps=np.array([[-1, 1, 4, -1]]))
    facts = inspect(made)
    assert facts.units[0].shortest == pytest.approx(0.1)
    assert facts.units[0].cv == pytest.approx(0, abs=1e-9)
    assert facts.observed == pytest.approx(0.97)


def test_spikes_that_would_share_a_step_are_as_many_as_the_grid_loses():
    made = of_trains(np.array([0.0101, 0.0104, 0.0109, 0.5, 0.5004]), regular(0.1, 60))
    for dt in (1e-3, 2e-4, 1e-2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lost = len(made.spike_times) - int(made.dense(dt).sum())
        assert sum(u.sharing_a_step for u in inspect(made, dt=dt).units) == lost
    assert "3 of 65 spikes share a step of 1 ms" in told(made)


def test_spikes_that_are_there_twice_are_counted():
    train = np.sort(np.concatenate([regular(0.1, 60), regular(0.1, 60)[:2]]))
    assert inspect(of_trains(train)).units[0].duplicates == 2
    assert "2 spikes are there twice" in told(of_trains(train))


def test_silent_and_scarce_units_are_named():
    said = told(
        of_trains(regular(0.1, 60), regular(0.1, 49), np.zeros(0), unit_names=("a", "b", "c"))
    )
    assert "unit b: fewer than 50 spikes" in said
    assert "unit c: no spikes" in said
    assert "unit a" not in said


def _read(tmp_path, text):
    path = tmp_path / "spikes.csv"
    path.write_text(text)
    source = read_source(path, Reading())
    made, notes = recording_of(source)
    return "\n".join(inspect(made, source, notes=notes).warnings)


@pytest.mark.parametrize(
    ("unit", "decimals", "said"),
    [
        (1e3, 3, "look like milliseconds"),
        (1e3, 0, "look like milliseconds"),
        (3e4, 0, "look like samples"),
        (1.0, 6, None),
    ],
)
def test_times_in_milliseconds_or_samples_are_recognised(tmp_path, unit, decimals, said):
    rng = np.random.default_rng(4)
    times = np.cumsum(0.003 + rng.exponential(0.15, 400)) * unit
    text = "time,unit\n" + "".join(f"{time:.{decimals}f},0\n" for time in times)
    found = _read(tmp_path, text)
    assert (said in found) if said else ("look like" not in found)


def test_times_out_of_order_are_told_and_those_of_different_units_are_not(tmp_path):
    rows = "".join(f"{0.1 * i},{u}\n" for u in (0, 1) for i in range(60))
    assert "order of time" not in _read(tmp_path, "time,unit\n" + rows)
    assert "order of time at 1 places" in _read(tmp_path, "time,unit\n" + rows + "0.55,1\n")


def test_a_recording_that_begins_late_is_told_with_the_window_to_choose(tmp_path):
    rows = "".join(f"{1000 + 0.1 * i},0\n" for i in range(60))
    assert "choose --window 1000s:" in _read(tmp_path, "time,unit\n" + rows)


@pytest.mark.parametrize("step", [1e-3, 1e-4, 5e-5, 1 / 30000, 1 / 24414.0625, 0.614e-3, 1 / 60])
@pytest.mark.parametrize("first", [0.0, 3.7])
def test_the_grid_of_times_is_found(step, first):
    steps = np.random.default_rng(1).integers(0, 300 / step, 2000)
    assert time_grid(first + steps * step) == pytest.approx(step, rel=1e-6)


@given(st.integers(0, 10**6))
def test_times_without_a_grid_have_none(seed):
    assert np.isnan(time_grid(np.random.default_rng(seed).uniform(0, 60, 200)))


def test_few_times_have_no_grid():
    assert np.isnan(time_grid(np.arange(5) * 1e-3))


def test_facts_are_json_without_nan():
    found = inspect(recording()).to_dict()
    assert found["n_units"] == 4
    assert found["units"][3] == {
        "unit": 3, "name": "silent", "spikes": 0, "intervals": 0, "rate": 0.0, "cv": None, "shortest": None, "violations": None,
        "sharing_a_step": 0, "duplicates": 0,
    }  # fmt: skip
    assert found["drives"]["I_ext"]["shape"] == [2, 400, 4]
    assert found["drives"]["light"]["dt"] == 1e-3


@pytest.mark.parametrize("width", [40, 100, 140])
def test_the_raster_has_a_mark_where_there_are_spikes_and_none_elsewhere(width):
    made = of_trains(np.array([0.0]), np.zeros(0), np.array([99.9, 99.95]))
    rows = text_raster(made, width)
    columns = [row.split("|")[1] for row in rows[:3]]
    assert columns[0][0] != " " and columns[0][1:].strip() == ""
    assert columns[1].strip() == ""
    assert columns[2][-1] != " " and columns[2][:-1].strip() == ""
    assert all(len(row) <= width for row in rows)


def test_the_text_has_a_row_for_every_unit_and_every_spike_is_in_some_row_of_many():
    many = of_trains(*[regular(1.0, 60)] * 90)
    text = format_inspection(inspect(many), all_units=True)
    assert (
        sum(
            line.split()[:2] == [str(unit), "60"]
            for unit in range(90)
            for line in text.splitlines()
        )
        == 90
    )
    assert "50 more; --all shows them" in format_inspection(inspect(many))
