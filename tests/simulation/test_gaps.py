"""What was not observed: rows of trial, start, end, unit, through every way to cut a recording and through files."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

import eqsnn
from eqsnn.analysis.compare import compare
from eqsnn.analysis.statistics import correlations, fano_factor, interval_cv
from eqsnn.simulation.recording import Recording, from_dense

GAPS = np.array([[0, 0.2, 0.4, 1], [-1, 0.5, 0.6, -1], [1, 0.0, 0.1, 2]])


def recording(gaps: ArrayLike = GAPS, *, seed=0):
    dense = (np.random.default_rng(seed).random((2, 1000, 3)) < 0.05).astype(np.uint8)
    return from_dense(dense, 1e-3).hiding(np.asarray(gaps))


def by_hand(gaps=GAPS):
    """Which steps were observed, one step at a time."""
    seen = np.ones((2, 1000, 3), dtype=bool)
    for trial, start, end, unit in np.asarray(gaps):
        for step in range(round(start * 1000), round(end * 1000)):
            for k in range(2) if trial < 0 else [int(trial)]:
                for u in range(3) if unit < 0 else [int(unit)]:
                    seen[k, step, u] = False
    return seen


def test_steps_within_a_gap_are_not_seen_and_hold_no_spike():
    found = recording()
    np.testing.assert_array_equal(found.seen(), by_hand())
    assert not found.dense()[~by_hand()].any()
    np.testing.assert_allclose(found.observed_seconds(), by_hand().sum(1) * 1e-3)
    counts = (recording([]).dense() * by_hand()).sum((0, 1))
    np.testing.assert_allclose(found.rates(), counts / (by_hand().sum((0, 1)) * 1e-3))


def test_a_step_that_a_gap_covers_in_part_is_not_seen():
    found = recording([[0, 0.2004, 0.2006, 0]])
    assert np.flatnonzero(~found.seen()[0, :, 0]).tolist() == [200]


def test_gaps_are_cut_with_windows_trials_and_units():
    found = recording()
    np.testing.assert_array_equal(found.window(0.3, 0.55).seen(), by_hand()[:, 300:550])
    np.testing.assert_array_equal(found.trials([1, 0, 1]).seen(), by_hand()[[1, 0, 1]])
    np.testing.assert_array_equal(found.select([2, 1]).seen(), by_hand()[..., [2, 1]])


def test_a_file_carries_gaps_and_units_never_recorded(tmp_path):
    recording().save(tmp_path / "a.npz")
    np.testing.assert_array_equal(eqsnn.load_targets(tmp_path / "a.npz").seen(), by_hand())
    np.savez(
        tmp_path / "b.npz",
        spike_times=[0.1],
        unit_ids=[3],
        duration=1.0,
        n_units=5,
        recorded_units=[0, 3],
    )
    found = eqsnn.load_targets(tmp_path / "b.npz")
    assert found.recorded().tolist() == [0, 3]
    assert np.isnan(found.rates()[[1, 2, 4]]).all()


def test_recorded_units_take_their_places_in_a_larger_network():
    found = recording().placed([4, 0, 2], 5)
    assert found.recorded().tolist() == [0, 2, 4]
    for place, unit in ((4, 0), (0, 1), (2, 2)):
        np.testing.assert_array_equal(found.train(place), recording().train(unit))
        np.testing.assert_array_equal(found.seen()[..., place], by_hand()[..., unit])


@pytest.mark.parametrize(
    ("gaps", "message"),
    [
        ([[0, 0.2, 0.4]], r"shape \(1, 3\); rows of trial, start"),
        ([[0, 0.4, 0.2, 0]], "start < end"),
        ([[0, 0.4, 1.2, 0]], "does not lie within the trial of 1 s"),
        ([[2, 0.1, 0.2, 0]], "trial 2 is not there; whole numbers from 0 to 1, or -1"),
        ([[0, 0.1, 0.2, 0.5]], "unit 0.5 is not there"),
        ([[0, 0.1, np.nan, 0]], "not finite"),
    ],
)
def test_rows_that_are_no_gap_are_refused(gaps, message):
    with pytest.raises(eqsnn.InputError, match=message):
        recording(gaps)


def test_a_spike_within_a_gap_is_a_contradiction():
    zero, gap = np.array([0]), np.array([[-1, 0.4, 0.6, 0]])
    with pytest.raises(
        eqsnn.InputError, match=r"unit 0 has a spike at 0.5 s of trial 0, within a gap"
    ):
        Recording(np.array([0.5]), zero, zero, 1.0, 1e-3, 2, gaps=gap)


def test_places_that_do_not_fit_are_refused():
    with pytest.raises(eqsnn.InputError, match="2 places are given for 3 recorded units"):
        recording().placed([0, 1], 5)
    with pytest.raises(eqsnn.InputError, match="contains 5; whole numbers from 0 to 4"):
        recording().placed([0, 1, 5], 5)


def test_faulty_arrays_of_a_file_are_named_with_the_file(tmp_path):
    file = tmp_path / "t.npz"
    spikes = {"spike_times": [0.1], "unit_ids": [0], "duration": 1.0, "n_units": 2}
    np.savez(file, **spikes, gaps=[[0, 0.5, 2.0, 0]])
    with pytest.raises(eqsnn.InputError, match=r"t.npz: the gap \[0, 0.5, 2, 0\]"):
        eqsnn.load_targets(file)
    np.savez(file, **spikes, recorded_units=[2])
    with pytest.raises(eqsnn.InputError, match=r"`recorded_units` must be .* from 0 to 1"):
        eqsnn.load_targets(file)


def test_what_happens_in_a_gap_changes_no_score():
    target = recording()
    noise = recording([], seed=1).dense()
    first = from_dense(recording([], seed=2).dense(), 1e-3)
    second = from_dense(np.where(by_hand(), first.dense(), noise), 1e-3)
    one, two = compare(target, first).to_dict(), compare(target, second).to_dict()
    assert one == two
    assert compare(target, recording([])).van_rossum_score == 0


def test_a_neuron_that_was_never_recorded_is_not_scored():
    target = recording([[-1, 0, 1, 1]])
    found = compare(target, recording([], seed=1))
    assert found.gamma.shape == (2,)
    assert found.van_rossum_score == compare(
        recording([]).select([0, 2]), recording([], seed=1).select([0, 2])
    ).van_rossum_score  # fmt: skip


def test_statistics_are_those_of_observed_time():
    whole, missing = recording([]), recording([[0, 0.0, 1.0, -1]])
    alone = whole.trials([1])
    np.testing.assert_allclose(interval_cv(missing), interval_cv(alone))
    np.testing.assert_allclose(fano_factor(missing), fano_factor(alone))
    np.testing.assert_allclose(correlations(missing), correlations(alone), atol=1e-12)


def test_an_interval_across_a_gap_is_none():
    times = np.array([0.1, 0.2, 0.3, 0.8, 0.9])
    zero = np.zeros(5, dtype=int)
    found = Recording(times, zero, zero, 1.0, 1e-3, 1, gaps=np.array([[0, 0.35, 0.7, 0]]))
    np.testing.assert_allclose(interval_cv(found), 0, atol=1e-9)
