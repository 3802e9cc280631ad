"""Correlograms against loops, closed forms and Elephant."""

import numpy as np
import pytest
import torch

from eqsnn.errors import InputError
from eqsnn.losses.correlogram import (
    autocorrelogram,
    autocorrelogram_loss,
    crosscorrelogram,
    crosscorrelogram_loss,
)

DT = 1e-3
BINS = {"lag": 0.02, "width": 0.005, "dt": DT}


def trains(*shape: int, seed: int = 0, rate: float = 40.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < rate * DT).double()


def everywhere(steps: int) -> torch.Tensor:
    return torch.ones(steps, 1, 1, dtype=torch.float64)


def by_loops(x: np.ndarray, lags: range) -> np.ndarray:
    """Return C_k(i, j) from counts in bins of 5 steps: (k, i, j)."""
    steps, n, trials = x.shape
    counts = x.reshape(steps // 5, 5, n, trials).sum(1)
    found = np.zeros((len(lags), n, n))
    for row, k in enumerate(lags):
        pairs = 0
        for trial in range(trials):
            for b in range(len(counts) - k):
                found[row] += np.outer(counts[b, :, trial], counts[b + k, :, trial])
                pairs += 1
        found[row] /= pairs * 0.005**2
    return found


def test_both_are_their_sums_over_pairs_of_bins():
    x = trains(500, 3, 4)
    expected = by_loops(x.numpy(), range(5))
    auto = autocorrelogram(x, everywhere(500), **BINS)
    np.testing.assert_allclose(auto.numpy(), np.diagonal(expected, axis1=1, axis2=2)[1:])
    cross = crosscorrelogram(x, everywhere(500), **BINS).numpy()
    off = 1 - np.eye(3)
    np.testing.assert_allclose(cross, expected * off)


def test_further_dimensions_are_kept_and_trials_pooled():
    x = trains(300, 2, 3, 2, 4)
    for gram in (autocorrelogram, crosscorrelogram):
        found = gram(x, torch.ones(300, 1, 1, 1, 1).double(), **BINS)
        assert found.shape[-2:] == (3, 2)
        for i in range(3):
            for j in range(2):
                alone = gram(x[:, :, i, j], everywhere(300), **BINS)
                assert torch.allclose(found[..., i, j], alone)


def test_poisson_trains_have_the_product_of_their_rates_at_every_lag():
    x = torch.cat([trains(1000, 1, 3000, rate=10.0), trains(1000, 1, 3000, seed=1, rate=30.0)], 1)
    auto = autocorrelogram(x, everywhere(1000), **BINS)
    np.testing.assert_allclose(auto.numpy(), [[100.0, 900.0]] * 4, rtol=0.05)
    cross = crosscorrelogram(x, everywhere(1000), **BINS)
    np.testing.assert_allclose(cross[:, 0, 1].numpy(), 300.0, rtol=0.05)


def test_steps_that_do_not_count_do_not_lower_it():
    counted = everywhere(1000)
    counted[:302] = 0  # in the middle of a bin
    x = trains(1000, 1, 3000, rate=20.0) * counted
    found = autocorrelogram(x, counted, **BINS)
    np.testing.assert_allclose(found.numpy(), 400.0, rtol=0.05)


def test_a_clock_is_found_at_its_period_only():
    clock = torch.zeros(500, 1, 1).double()
    clock[::20] = 1
    found = autocorrelogram(clock, everywhere(500), **BINS)[:, 0]
    assert found[:3].tolist() == [0, 0, 0]
    assert float(found[3]) == pytest.approx(24 / (96 * 0.005**2))


def test_a_neuron_that_follows_another_is_seen_at_its_delay_and_in_one_direction():
    leader = trains(5000, 1, 1)
    both = torch.cat([leader, leader.roll(10, 0)], dim=1)
    found = crosscorrelogram(both, everywhere(5000), **BINS)
    assert int(found[:, 0, 1].argmax()) == 2
    assert found[2, 0, 1] > 3 * found[:, 1, 0].max()


def test_the_losses_are_means_of_squares_relative_to_the_targets_rates():
    x, y = trains(500, 3, 4), trains(500, 3, 4, seed=1)
    rates = y.sum((0, -1)) / 2.0  # 4 trials of half a second
    auto = [autocorrelogram(each, everywhere(500), **BINS) / rates for each in (x, y)]
    expected = (auto[0] - auto[1]).square().mean()
    found = autocorrelogram_loss((x,), y, everywhere(500), **BINS)
    assert float(found) == pytest.approx(float(expected))
    scale = (rates[:, None] * rates).sqrt()
    cross = [crosscorrelogram(each, everywhere(500), **BINS) / scale for each in (x, y)]
    expected = (cross[0] - cross[1]).square().sum() / (5 * 6)
    found = crosscorrelogram_loss((x,), y, everywhere(500), **BINS)
    assert float(found) == pytest.approx(float(expected))


def test_two_draws_leave_the_variance_of_the_models_correlogram_out():
    rate, lanes = 30.0, 2000
    x1, x2 = (trains(400, 2, lanes, 2, seed=seed, rate=rate) for seed in (0, 1))
    # a target that has the expectation itself: r^2 at every lag
    target, counted = torch.full((400, 2, 1, 1), rate * DT).double(), everywhere(400)[..., None]
    for loss in (autocorrelogram_loss, crosscorrelogram_loss):
        plain = loss((x1,), target, counted, **BINS)
        unbiased = loss((x1, x2), target, counted, **BINS)
        error = float(unbiased.std()) / lanes**0.5
        assert abs(float(unbiased.mean())) < 4 * error
        assert float(plain.mean()) > 50 * error


def test_refractoriness_is_seen_where_rates_and_mean_trains_agree():
    poisson, regular = trains(1000, 1, 200, rate=20.0), torch.zeros(1000, 1, 200).double()
    for trial in range(200):
        regular[trial % 50 :: 50, 0, trial] = 1
    same = autocorrelogram_loss(
        (trains(1000, 1, 200, seed=7, rate=20.0),), poisson, everywhere(1000), **BINS
    )
    other = autocorrelogram_loss((regular,), poisson, everywhere(1000), **BINS)
    assert float(other) > 100 * float(same)


def test_a_silent_target_costs_a_finite_amount():
    for loss in (autocorrelogram_loss, crosscorrelogram_loss):
        value = loss((trains(500, 2, 1),), torch.zeros(500, 2, 1).double(), everywhere(500), **BINS)
        assert 0 < float(value) < float("inf")


def test_it_agrees_with_elephant():
    pytest.importorskip("elephant")
    neo, quantities = pytest.importorskip("neo"), pytest.importorskip("quantities")
    from elephant.conversion import BinnedSpikeTrain  # noqa: PLC0415
    from elephant.spike_train_correlation import cross_correlation_histogram  # noqa: PLC0415

    x = trains(1000, 2, 1)
    binned = [
        BinnedSpikeTrain(
            neo.SpikeTrain(np.flatnonzero(x[:, n, 0].numpy()) + 0.5, units="ms", t_stop=1000),
            bin_size=5 * quantities.ms,
        )
        for n in range(2)
    ]
    histogram, lags = cross_correlation_histogram(*binned, window=[-4, 4])  # pyright: ignore[reportArgumentType]
    assert list(lags) == list(range(-4, 5))
    pairs = 200 - np.abs(np.arange(-4, 5))
    expected = np.asarray(histogram).ravel() / (pairs * 0.005**2)
    found = crosscorrelogram(x, everywhere(1000), **BINS)
    np.testing.assert_allclose(found[:, 0, 1].numpy(), expected[4:])
    np.testing.assert_allclose(found[:, 1, 0].numpy(), expected[4::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"width": 0.0015}, "no multiple"), ({"lag": 0.001}, "0 bins"), ({"lag": 0.5}, "100 bins")],
)
def test_lags_and_bins_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        autocorrelogram(trains(500, 1, 1), everywhere(500), **BINS | change)


def test_a_crosscorrelogram_needs_two_neurons():
    with pytest.raises(InputError, match="at least 2"):
        x = trains(500, 1, 1)
        crosscorrelogram_loss((x,), x, everywhere(500), **BINS)
