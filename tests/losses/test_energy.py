"""The energy distance against its definition, and what it sees that the linear form does not."""

import numpy as np
import pytest
import torch

from eqsnn.analysis.distances import van_rossum_distance
from eqsnn.losses.energy import energy_distance
from eqsnn.losses.van_rossum import debiased_van_rossum, van_rossum

DT = 1e-3


def poisson(n: int, seed: int, *, rate: float = 20.0, steps: int = 1000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, 1, n, generator=generator, dtype=torch.float64) < rate * DT).double()


def regular(n: int, seed: int, *, period: int = 50, steps: int = 1000) -> torch.Tensor:
    phases = torch.randint(period, (n,), generator=torch.Generator().manual_seed(seed))
    return (torch.arange(steps)[:, None, None] % period == phases).double()


def root(a: torch.Tensor, b: torch.Tensor, tau: float) -> float:
    """D of two sets of trains (time, neuron), by the times of the spikes."""
    times = [[np.flatnonzero(x[:, n].numpy()) * DT for n in range(x.shape[1])] for x in (a, b)]
    return sum(van_rossum_distance(x, y, tau=tau) for x, y in zip(*times, strict=True)) ** 0.5


def test_it_is_its_definition_over_all_pairs():
    generator = torch.Generator().manual_seed(0)
    x1, x2, y = ((torch.rand(200, 3, 3, generator=generator) < 0.05).double() for _ in range(3))
    xs = [x[..., k] for x in (x1, x2) for k in range(3)]
    ys = [y[..., k] for k in range(3)]
    expected = 0.0
    for tau in (0.005, 0.03):
        across = np.mean([root(a, b, tau) for a in xs for b in ys])
        within = [
            np.mean([root(a, b, tau) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])
            for z in (xs, ys)
        ]
        expected += (2 * across - sum(within)) / 2
    found = energy_distance((x1, x2), y, tau=(0.005, 0.03), dt=DT)
    assert found.shape == ()
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_without_pairs_it_leaves_terms_out():
    x, y = poisson(1, 0), poisson(1, 1)
    expected = 2 * van_rossum(x, y, tau=0.01, dt=DT).sum().sqrt()
    assert float(energy_distance((x,), y, tau=0.01, dt=DT)) == pytest.approx(float(expected))


def test_it_separates_regular_from_poisson_trains_of_the_same_rate_where_the_linear_form_is_blind():
    tau, n = 0.02, 300
    y = poisson(n, 0)
    energies, linear, standard_errors = {}, {}, {}
    for name, make in (("poisson", poisson), ("regular", regular)):
        x1, x2 = make(n, 1), make(n, 2)
        energies[name] = float(energy_distance((x1, x2), y, tau=tau, dt=DT))
        # against another target trial for each run, and the target's own variance taken off in the same way
        both = debiased_van_rossum(x1, x2, y, tau=tau, dt=DT) - (
            debiased_van_rossum(y.roll(1, -1), y.roll(2, -1), y, tau=tau, dt=DT)
        )
        linear[name] = float(both.mean())
        standard_errors[name] = float(both.std()) / n**0.5
    assert abs(energies["poisson"]) < 0.02
    assert energies["regular"] > 0.2
    for name, value in linear.items():
        assert abs(value) < 4 * standard_errors[name]


def test_the_plain_distance_prefers_the_wrong_regular_model_and_the_energy_distance_does_not():
    y, wrong, right = poisson(300, 0), regular(300, 1), poisson(300, 2)
    plain = [float(van_rossum(x, y, tau=0.02, dt=DT).mean()) for x in (wrong, right)]
    energy = [float(energy_distance((x,), y, tau=0.02, dt=DT)) for x in (wrong, right)]
    assert plain[0] < plain[1]
    assert energy[0] > energy[1]


def test_it_sees_correlations_between_neurons_that_each_neuron_alone_does_not_show():
    target, other = (poisson(6 * 200, seed).reshape(1000, 6, 200) for seed in (0, 1))
    alike = poisson(200, 2).expand(1000, 6, 200)
    found = [float(energy_distance((x,), target, tau=0.02, dt=DT)) for x in (alike, other)]
    assert found[0] > 0.02
    assert abs(found[1]) < 0.005


def test_it_is_unbiased_with_few_trials():
    # 500 experiments of 3 trials: between equal distributions the mean is 0
    x, y = (poisson(1500, seed, steps=300).unflatten(-1, (500, 3)) for seed in (0, 1))
    found = energy_distance((x,), y, tau=0.02, dt=DT)
    assert found.shape == (500,)
    assert abs(float(found.mean())) < 4 * float(found.std()) / 500**0.5
