import math

import pytest
import torch

from eqsnn.errors import InputError
from eqsnn.losses.likelihood import escape_log_likelihood, escape_loss
from eqsnn.losses.rate import debiased_firing_rate, firing_rate

DT = 1e-3


def spikes(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < 0.05).double()


def test_ten_against_twelve_hertz_cost_four_however_the_spikes_lie():
    model, target = (
        torch.zeros(1000, 1, 2, dtype=torch.float64),
        torch.zeros(1000, 1, 1, dtype=torch.float64),
    )
    model[:10, 0, 0] = 1
    model[::100, 0, 1] = 1
    target[500:512] = 1
    assert firing_rate(model, target, dt=DT).tolist() == [[pytest.approx(4), pytest.approx(4)]]


def test_the_gradient_of_the_rate_loss_is_that_of_finite_differences():
    x = torch.rand(20, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: firing_rate(s, spikes(20, 2, 1), dt=1.0), x)


def test_the_likelihood_is_the_product_of_bernoulli_probabilities():
    margin, seen = torch.randn(30, 2, 3, dtype=torch.float64), spikes(30, 2, 1, seed=2)
    p = 1 / (1 + torch.exp(-margin / 0.7))
    expected = torch.log(torch.where(seen == 1, p, 1 - p)).sum(0)
    assert torch.allclose(escape_log_likelihood(margin, seen, width=0.7), expected)


def test_at_threshold_every_step_is_a_fair_coin():
    found = escape_log_likelihood(torch.zeros(10, 1, 1), spikes(10, 1, 1).float(), width=1.0)
    assert float(found) == pytest.approx(-10 * math.log(2))


def test_the_loss_is_the_negative_sum_over_neurons():
    margin, seen = torch.randn(30, 4, 3), spikes(30, 4, 1).float()
    each = escape_log_likelihood(margin, seen, width=0.5)
    assert torch.allclose(escape_loss(margin, seen, width=0.5), -each.sum(0))


def test_the_widths_may_differ_between_lanes():
    margin, seen, width = torch.randn(30, 2, 2), spikes(30, 2, 1).float(), torch.tensor([0.1, 3.0])
    found = escape_log_likelihood(margin, seen, width=width)
    for lane in range(2):
        alone = escape_log_likelihood(margin[..., lane : lane + 1], seen, width=float(width[lane]))
        assert torch.allclose(found[:, lane : lane + 1], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hopeless_and_certain_margins_give_finite_values_and_gradients(dtype):
    margin = torch.tensor([-1e6, -50.0, 50.0, 1e6], dtype=dtype).reshape(4, 1, 1).requires_grad_()
    for seen, expected in ((1.0, -1e6 - 50), (0.0, -1e6 - 50)):
        found = escape_log_likelihood(margin, torch.full_like(margin, seen), width=1.0)
        (gradient,) = torch.autograd.grad(found.sum(), margin)
        assert found.item() == pytest.approx(expected)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() == 1


def test_gradients_of_the_likelihood_are_those_of_finite_differences():
    margin = torch.randn(10, 2, 2, dtype=torch.float64, requires_grad=True)
    width = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    seen = spikes(10, 2, 1)
    assert torch.autograd.gradcheck(
        lambda m, w: escape_log_likelihood(m, seen, width=w), (margin, width)
    )


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), torch.tensor([1.0, 0.0])])
def test_a_width_that_is_not_positive_is_refused(width):
    with pytest.raises(InputError, match="the escape width is"):
        escape_log_likelihood(torch.zeros(3, 1, 2), torch.zeros(3, 1, 2), width=width)


def test_two_draws_leave_the_variance_of_the_counts_out():
    # over T s a Poisson-like count has variance r T, so the plain square is larger by r/T at equal rates
    lanes, rate = 20_000, 20.0
    generator = torch.Generator().manual_seed(0)
    first, second = (
        (torch.rand(500, 1, lanes, generator=generator) < rate * DT).float() for _ in range(2)
    )
    target = torch.full((500, 1, 1), rate * DT)
    plain = firing_rate(first, target, dt=DT).mean()
    unbiased = debiased_firing_rate((first, second), target, dt=DT)
    assert float(plain) == pytest.approx(rate * (1 - rate * DT) / 0.5, rel=0.05)
    assert abs(float(unbiased.mean())) < 4 * float(unbiased.std()) / lanes**0.5
