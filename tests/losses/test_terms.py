"""What holds for every term of a loss."""

import pytest
import torch

from eqsnn.losses import TERMS, Sample, parse_loss
from eqsnn.losses.terms import Energy, Rate, VanRossum
from eqsnn.losses.van_rossum import debiased_van_rossum, van_rossum

DT = 1e-3
EVERY = sorted(TERMS)


def spikes(*shape: int, seed: int = 0, share: float = 0.05) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < share).double()


def sample(draws, target, counted=None, *, repeated=True) -> Sample:
    everything = torch.ones(len(target), 1, 1, *target.shape[-2:], dtype=torch.float64)
    return Sample(tuple(draws), target, everything if counted is None else counted, DT, repeated)


@pytest.mark.parametrize("name", EVERY)
def test_a_term_gives_one_value_per_restart_zero_for_the_target_itself(name):
    one = spikes(400, 3, 1, 2, 1).expand(400, 3, 5, 2, 4)  # all trials alike
    other, target = spikes(400, 3, 5, 2, 4, seed=1), one[:, :, :1]
    # exactly, so a fit that is there stays there
    assert TERMS[name]()(sample([one], target)).tolist() == [0] * 5
    found = TERMS[name]()(sample([other], target))
    assert found.shape == (5,)
    assert (found > 0).all()


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("repeated", [True, False])
def test_each_restart_has_its_own_value_whatever_stands_beside_it(name, repeated):
    first, second = (spikes(300, 3, 4, 2, 3, seed=seed) for seed in (1, 2))
    target = spikes(300, 3, 1, 2, 3, seed=3)
    found = TERMS[name]()(sample([first, second], target, repeated=repeated))
    for restart in range(4):
        alone = [draw[:, :, restart : restart + 1] for draw in (first, second)]
        value = TERMS[name]()(sample(alone, target, repeated=repeated))
        assert torch.allclose(found[restart], value)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("n_draws", [1, 2])
def test_gradients_are_those_of_finite_differences(name, n_draws, repeated):
    draws = [
        torch.rand(45, 2, 1, 1, 2, dtype=torch.float64, requires_grad=True) for _ in range(n_draws)
    ]
    target, counted = spikes(45, 2, 1, 1, 2), torch.ones(45, 1, 1, 1, 2, dtype=torch.float64)
    counted[:7] = 0
    short = f"{name}(lag=20ms)" if "correlogram" in name else name
    term = parse_loss(short)

    def value(*relaxed):
        return term(
            sample([x * counted for x in relaxed], target * counted, counted, repeated=repeated)
        )

    assert torch.autograd.gradcheck(value, tuple(draws))


@pytest.mark.parametrize("name", EVERY)
def test_gradients_at_the_target_itself_are_finite(name):
    target = spikes(200, 2, 1, 1, 2)
    x = target.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(TERMS[name]()(sample([x], target)).sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", EVERY)
def test_what_was_not_counted_has_no_influence(name):
    # a warm-up of silence, not counted, changes nothing but the phase of the bins, here a whole number of them
    draws = [spikes(400, 2, 2, 1, 3, seed=seed) for seed in (1, 2)]
    target = spikes(400, 2, 1, 1, 3)
    warm = [torch.cat([torch.zeros_like(each[:100]), each]) for each in (*draws, target)]
    counted = torch.ones(500, 1, 1, 1, 3, dtype=torch.float64)
    counted[:100] = 0
    term = TERMS[name]()
    assert torch.allclose(term(sample(warm[:2], warm[2], counted)), term(sample(draws, target)))


def test_van_rossum_is_unbiased_with_two_draws_and_plain_with_one():
    x, z, y = (spikes(300, 3, n, 2, 2, seed=n) for n in (4, 4, 1))
    z = spikes(300, 3, 4, 2, 2, seed=9)
    plain = van_rossum(x, y, tau=0.01, dt=DT).mean((0, 2, 3))
    assert torch.allclose(VanRossum()(sample([x], y)), plain)
    unbiased = debiased_van_rossum(x, z, y, tau=0.01, dt=DT).mean((0, 2, 3))
    assert torch.allclose(VanRossum()(sample([x, z], y)), unbiased)
    both = (plain + van_rossum(z, y, tau=0.01, dt=DT).mean((0, 2, 3))) / 2
    assert torch.allclose(TERMS["plain_van_rossum"]()(sample([x, z], y)), both)


def test_rates_are_in_hertz_of_the_counted_time_of_a_trial():
    # 30 spikes against 20 in two windows of 200 ms and 300 ms that count: 60 Hz against 40 Hz
    model, target = (torch.zeros(400, 1, 1, 2, 1, dtype=torch.float64) for _ in range(2))
    counted = torch.zeros(400, 1, 1, 2, 1, dtype=torch.float64)
    counted[200:, ..., 0, :], counted[100:, ..., 1, :] = 1, 1
    model[200:220, ..., 0, :], model[200:210, ..., 1, :], target[300:320, ..., 1, :] = 1, 1, 1
    found = Rate()(sample([model], target, counted))
    assert found.tolist() == [pytest.approx((60 - 40) ** 2)]


def test_only_repetitions_are_compared_with_one_another():
    # trials of different input: each model trial equals its own target trial, and no other
    target = spikes(300, 2, 1, 1, 4)
    alike = sample([target], target, repeated=False)
    assert Energy()(alike).tolist() == [0]
