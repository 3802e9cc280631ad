"""The smoothed histogram against scipy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from eqsnn.errors import InputError
from eqsnn.losses.psth import psth_loss, smoothed_rates

DT = 1e-3


def trains(*shape: int, seed: int = 0, rate: float = 20.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < rate * DT).double()


def everywhere(steps: int) -> torch.Tensor:
    return torch.ones(steps, 1, 1, dtype=torch.float64)


def test_it_is_the_gaussian_filter_of_the_mean_counts():
    x = trains(800, 2, 7)
    x[:120], x[-120:] = 0, 0  # away from the ends, where the filters differ
    counts = x.numpy().mean(-1).reshape(160, 5, 2).sum(1) / 0.005
    expected = gaussian_filter1d(counts, 2.0, axis=0, mode="constant", truncate=4.0)
    found = smoothed_rates(x, everywhere(800), width=0.005, sigma=0.010, dt=DT)
    inside = slice(8, -8)
    np.testing.assert_allclose(found.numpy()[inside], expected[inside], rtol=1e-9, atol=1e-9)


def test_a_constant_rate_is_constant_up_to_the_ends_and_to_what_does_not_count():
    counted = everywhere(505)  # the last bin is cut short
    counted[:103] = 0
    x = 0.02 * counted
    found = smoothed_rates(x, counted, width=0.01, sigma=0.02, dt=DT)
    assert torch.allclose(found[10:], torch.full_like(found[10:], 20.0))


def test_a_constant_difference_costs_its_square():
    flat = torch.full((500, 2, 3), DT, dtype=torch.float64)
    found = psth_loss((12 * flat,), 10 * flat, everywhere(500), width=0.02, sigma=0.02, dt=DT)
    assert found.tolist() == [pytest.approx(4)] * 2


def test_two_draws_leave_the_variance_of_the_models_histogram_out():
    # sigma_bins in bins: the variance of the mean over R trials of Poisson trains is rate/(2 sqrt(pi) sigma R)
    lanes, trials, rate, sigma = 400, 4, 20.0, 0.02
    x1, x2 = (trains(1000, 1, lanes, trials, seed=seed, rate=rate) for seed in (0, 1))
    target, counted = torch.full((1000, 1, 1, 1), rate * DT).double(), everywhere(1000)[..., None]
    options = {"width": 0.002, "sigma": sigma, "dt": DT}
    plain = psth_loss((x1,), target, counted, **options).mean()
    unbiased = psth_loss((x1, x2), target, counted, **options)
    variance = rate * (1 - rate * DT) / (2 * math.sqrt(math.pi) * sigma * trials)
    assert float(plain) == pytest.approx(variance, rel=0.1)  # more near the ends
    assert abs(float(unbiased.mean())) < 4 * float(unbiased.std()) / lanes**0.5


def test_it_sees_when_a_rate_is_high_and_the_firing_rate_does_not():
    early, late = torch.zeros(400, 1, 1).double(), torch.zeros(400, 1, 1).double()
    early[:200], late[200:] = 0.04, 0.04
    assert psth_loss((early,), late, everywhere(400), width=0.02, sigma=0.02, dt=DT) > 500


def test_it_agrees_with_elephant_on_the_rate_of_one_train():
    pytest.importorskip("elephant")
    neo, quantities = pytest.importorskip("neo"), pytest.importorskip("quantities")
    from elephant.kernels import GaussianKernel  # noqa: PLC0415
    from elephant.statistics import instantaneous_rate  # noqa: PLC0415

    x = trains(1000, 1, 1)
    x[:100], x[-100:] = 0, 0
    times = np.flatnonzero(x[:, 0, 0].numpy()) + 0.5  # the middle of the step
    rate = instantaneous_rate(
        neo.SpikeTrain(times, units="ms", t_stop=1000),
        1 * quantities.ms,
        GaussianKernel(10 * quantities.ms),  # pyright: ignore[reportArgumentType]
        cutoff=4,
    )
    found = smoothed_rates(x, everywhere(1000), width=DT, sigma=0.010, dt=DT)
    expected = np.asarray(rate.rescale("Hz"))[:, 0]
    # both cut the Gaussian off, one before and one after it was normalised
    inside = slice(60, -60)
    np.testing.assert_allclose(found.numpy()[inside, 0], expected[inside], atol=0.05)


def test_a_bin_between_two_steps_is_refused():
    with pytest.raises(InputError, match="no multiple of the step"):
        smoothed_rates(trains(10, 1, 1), everywhere(10), width=0.0015, sigma=0.01, dt=DT)
