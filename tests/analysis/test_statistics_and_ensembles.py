"""Statistics against Elephant and closed forms; NMF finds ensembles that were put in."""

import json

import numpy as np
import pytest

from eqsnn import InputError, Recording
from eqsnn.analysis.compare import compare
from eqsnn.analysis.nmf import binned, choose_rank, compare_ensembles, factorise
from eqsnn.analysis.recovery import (
    absolute_error,
    recovery,
    relative_error,
    weight_correlation,
    weight_error,
)
from eqsnn.analysis.statistics import (
    block_correlation,
    correlations,
    fano_factor,
    interval_cv,
    pooled_intervals,
    psth_correlation,
)
from eqsnn.simulation.recording import from_dense


def poisson(rates, seconds, seed, dt=1e-3):
    """Spikes of independent neurons whose rates (Hz) change over time: rates (time of 1 s, neuron)."""
    rng = np.random.default_rng(seed)
    p = np.repeat(rates, round(1 / dt), axis=0)[: round(seconds / dt)] * dt
    return from_dense((rng.random(p.shape) < p).astype(np.uint8)[None], dt)


def switching(seed):
    """Three groups of four neurons take turns, a second each."""
    state = np.arange(120) % 3
    rates = np.where(state[:, None] == np.repeat(np.arange(3), 4)[None, :], 30.0, 4.0)
    return poisson(rates, 120, seed)


def regular(interval, n=100):
    times = np.arange(1, n + 1) * interval
    zeros = np.zeros(n, dtype=np.int64)
    return Recording(times, zeros, zeros, (n + 1) * interval, 1e-3, 1)


def test_a_regular_train_has_no_variation_and_a_poisson_train_as_much_as_its_mean():
    assert interval_cv(regular(0.05))[0] == pytest.approx(0, abs=1e-9)
    assert fano_factor(regular(0.05))[0] == pytest.approx(0, abs=0.01)
    trains = poisson(np.full((400, 3), 20.0), 400, 0)
    np.testing.assert_allclose(interval_cv(trains), 1, atol=0.05)
    np.testing.assert_allclose(fano_factor(trains), 1, atol=0.1)


def test_cv_and_correlation_are_elephants():
    neo = pytest.importorskip("neo")
    pq = pytest.importorskip("quantities")
    elephant_statistics = pytest.importorskip("elephant.statistics")
    conversion = pytest.importorskip("elephant.conversion")
    elephant_correlation = pytest.importorskip("elephant.spike_train_correlation")
    recording = switching(3)
    trains = [
        neo.SpikeTrain(recording.train(u) * pq.s, t_stop=recording.duration * pq.s)
        for u in range(12)
    ]
    theirs = [elephant_statistics.cv(elephant_statistics.isi(t)) for t in trains]
    np.testing.assert_allclose(interval_cv(recording), theirs, rtol=1e-9)
    # bins of 100.5 ms keep every spike off their edges
    spikes = conversion.BinnedSpikeTrain(trains, bin_size=100.5 * pq.ms, tolerance=None)
    expected = elephant_correlation.correlation_coefficient(spikes)
    np.testing.assert_allclose(correlations(recording, bin_s=0.1005), expected, atol=0.02)


def test_undefined_values_are_nan_and_never_an_error():
    silent = from_dense(np.zeros((2, 1000, 2), dtype=np.uint8), 1e-3)
    for value in (interval_cv(silent), fano_factor(silent), psth_correlation(silent, silent)):
        assert np.isnan(value).all()
    assert np.isnan(block_correlation(silent, [0], [1]))


def test_ensembles_that_take_turns_are_found_as_modules_of_unit_norm():
    recording = switching(0)
    found = factorise(binned(recording, bin_s=0.1, unit_variance=True), modules=3)
    np.testing.assert_allclose(np.linalg.norm(found.modules, axis=1), 1)
    share = (found.modules**2).reshape(3, 3, 4).sum(2)
    assert (share.max(1) > 0.85).all()
    assert sorted(share.argmax(1)) == [0, 1, 2]
    assert found.stability > 0.95


def test_the_number_of_ensembles_is_chosen_by_held_out_error():
    rank, errors = choose_rank(binned(switching(0), bin_s=0.2, unit_variance=True), largest=5)
    assert rank == 3
    assert errors[2] < errors[0]


def test_a_replicate_scores_near_one_and_shuffled_neurons_near_zero():
    target, replicate, other = (switching(seed) for seed in (0, 1, 2))
    match = compare_ensembles(target, other, replicate=replicate)
    assert match.score == pytest.approx(1, abs=0.05)
    assert match.floor < 0.7
    order = np.random.default_rng(1).permutation(12).tolist()
    assert compare_ensembles(target, other.select(order), replicate=replicate).score < 0.5


def test_the_ceiling_of_a_single_recording_comes_from_its_halves_and_says_so():
    match = compare_ensembles(switching(0), switching(1))
    assert match.ceiling_from == "halves of the target"
    assert match.ceiling > 0.9


def test_comparing_a_recording_with_itself_is_perfect_and_json_ready():
    recording = switching(0).window(0, 20)
    scores = compare(recording, recording)
    assert scores.van_rossum_score == pytest.approx(0, abs=1e-9)
    assert scores.f1 == pytest.approx(np.ones(12))
    assert scores.correlation_error == pytest.approx(0)
    assert json.loads(json.dumps(scores.to_dict()))["rate_error"] == 0
    assert "NMF score" in scores.summary()


def test_recordings_that_do_not_belong_together_are_refused():
    a, b = switching(0), switching(1)
    with pytest.raises(InputError, match="units"):
        compare(a, b.select([0, 1]))
    with pytest.raises(InputError, match="last"):
        compare(a, b.window(0, 10))


def test_counts_without_spikes_have_no_modules():
    with pytest.raises(InputError, match="modules"):
        factorise(np.zeros((10, 5)))


def test_recovery_errors_are_what_their_names_say():
    truth = np.array([[1.0, 0.0], [2.0, -2.0]])
    assert relative_error(truth * 1.1, truth) == pytest.approx(0.1)
    assert absolute_error(truth + 0.5, truth) == pytest.approx(0.5)
    assert weight_error(truth * 2, truth) == pytest.approx(1)
    assert weight_correlation(3 * truth + 1, truth) == pytest.approx(1)


def test_recovery_counts_what_exists_and_how_often_intervals_hold_the_truth():
    truth, fitted = np.array([1.0, 2.0, 4.0, 9.0]), np.array([1.1, 1.8, 4.0, 0.0])
    std = np.array([0.1, 0.1, 0.1, np.nan])  # the last does not exist
    found = recovery(
        fitted, truth, start=2 * truth, std=std, interval=(fitted - 0.15, fitted + 0.15)
    )
    assert found.elements == 3
    assert found.absolute == pytest.approx(0.1)
    assert found.relative == pytest.approx(0.1)
    assert found.start == pytest.approx(1.0)
    assert found.covered == pytest.approx(2 / 3)
    assert found.errors == pytest.approx(np.sqrt((1 + 4 + 0) / 3))
    assert found.correlation == pytest.approx(np.corrcoef(fitted[:3], truth[:3])[0, 1])


def test_recovery_of_nothing_or_without_errors_is_said_to_be_unknown():
    assert recovery([1.0], [2.0], std=[np.nan]).elements == 0
    alone = recovery([1.0], [2.0])
    assert (alone.absolute, alone.relative) == (1.0, 0.5)
    assert np.isnan([alone.correlation, alone.covered, alone.errors, alone.start]).all()


def test_pooled_intervals_join_neurons_and_trials_and_span_no_gap():
    recording = Recording(
        np.array([0.1, 0.3, 0.9, 0.2, 0.6]), np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1]), 1.0, 1e-3, 2, 2,
        gaps=np.array([[0, 0.4, 0.8, 0]]),
    )  # fmt: skip
    assert sorted(pooled_intervals(recording)) == pytest.approx([0.2, 0.4])
