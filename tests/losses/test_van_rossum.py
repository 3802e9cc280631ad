import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter

from eqsnn.analysis.distances import van_rossum_distance
from eqsnn.errors import InputError
from eqsnn.losses.van_rossum import debiased_van_rossum, exponential_filter, van_rossum

DT = 1e-3
TAUS = [0.002, 0.012, 0.020, 0.1]
TRAINS = arrays(np.float64, st.integers(1, 300), elements=st.sampled_from([0.0, 0.0, 0.0, 1.0]))


def train(steps: list[int], n_steps: int = 200) -> torch.Tensor:
    """One neuron, one lane, with spikes at these steps."""
    found = torch.zeros(n_steps, 1, 1, dtype=torch.float64)
    found[steps] = 1
    return found


def random_spikes(*shape: int, seed: int = 0, share: float = 0.05) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) < share).double()


def distance(a: torch.Tensor, b: torch.Tensor, tau: float = 0.012) -> float:
    return float(van_rossum(a, b, tau=tau, dt=DT))


@pytest.mark.parametrize("n_steps", [1, 2, 63, 64, 65, 128, 129, 5000])
@pytest.mark.parametrize("tau", [1e-3, 0.01, 1.0])
def test_the_filter_is_its_recursion(n_steps, tau):
    values = np.random.default_rng(n_steps).normal(size=(n_steps, 3, 2))
    expected = lfilter([1], [1, -np.exp(-DT / tau)], values, axis=0)
    found = exponential_filter(torch.from_numpy(values), tau=tau, dt=DT)
    assert np.allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_the_filter_of_no_steps_is_empty():
    assert exponential_filter(torch.zeros(0, 2, 3), tau=0.01, dt=DT).shape == (0, 2, 3)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("step", [0, 17, 199])
def test_one_spike_against_none_costs_one_half_wherever_it_is(tau, step):
    assert distance(train([step]), train([]), tau) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("tau", TAUS)
def test_its_root_is_the_published_distance_of_a_lone_spike(tau):
    assert distance(train([3]), train([]), tau) ** 0.5 == pytest.approx(0.7071, abs=1e-4)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("apart", [1, 5, 50])
def test_two_spikes_apart_cost_one_minus_the_exponential_of_their_interval(tau, apart):
    expected = 1 - np.exp(-apart * DT / tau)
    assert distance(train([100]), train([100 + apart]), tau) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None)
@given(TRAINS, st.sampled_from(TAUS), st.data())
def test_it_equals_the_distance_of_the_spike_times(a, tau, data):
    b = data.draw(arrays(np.float64, len(a), elements=st.sampled_from([0.0, 0.0, 1.0])))
    found = van_rossum(*(torch.from_numpy(x)[:, None, None] for x in (a, b)), tau=tau, dt=DT)
    expected = van_rossum_distance(
        *(np.flatnonzero(x).astype(np.float64) * DT for x in (a, b)), tau=tau
    )
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_plain_sum_over_the_grid_would_be_biased_as_published():
    # what the closed form corrects: the same filter, summed at 1 ms, for one spike
    for tau, biased in ((2, 0.791), (12, 0.543), (20, 0.525)):
        f = exponential_filter(train([0], 4000), tau=tau, dt=1.0)
        assert float((f**2).sum() / tau) == pytest.approx(biased, abs=1e-3)
        assert float(van_rossum(train([0]), train([]), tau=tau, dt=1.0)) == pytest.approx(0.5)


@pytest.mark.parametrize("finer", [2, 10])
def test_the_same_spikes_on_a_finer_grid_have_the_same_distance(finer):
    a, b = train([3, 50, 51]), train([10, 52])
    fine = [train([s * finer for s in steps], 200 * finer) for steps in ([3, 50, 51], [10, 52])]
    found = float(van_rossum(*fine, tau=0.012, dt=DT / finer))
    assert found == pytest.approx(distance(a, b), rel=1e-12)


def test_every_neuron_and_lane_has_its_own_value_against_one_target():
    spikes, target = random_spikes(150, 3, 4), random_spikes(150, 3, 1, seed=1)
    found = van_rossum(spikes, target, tau=0.01, dt=DT)
    assert found.shape == (3, 4)
    for neuron in range(3):
        for lane in range(4):
            one = spikes[:, neuron, lane], target[:, neuron, 0]
            assert float(found[neuron, lane]) == pytest.approx(distance(*one, tau=0.01))


def test_several_taus_are_averaged():
    a, b = random_spikes(150, 3, 4), random_spikes(150, 3, 4, seed=1)
    each = torch.stack([van_rossum(a, b, tau=tau, dt=DT) for tau in TAUS])
    assert torch.allclose(van_rossum(a, b, tau=TAUS, dt=DT), each.mean(0))


def test_single_precision_agrees_with_double():
    a, b = random_spikes(5000, 4, 2), random_spikes(5000, 4, 2, seed=1)
    double = van_rossum(a, b, tau=0.02, dt=DT)
    single = van_rossum(a.float(), b.float(), tau=0.02, dt=DT)
    assert single.dtype == torch.float32
    assert torch.allclose(single.double(), double, rtol=1e-4)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from(TAUS))
def test_it_is_a_metric(seed, tau):
    a, b, c = (random_spikes(120, 1, 1, seed=3 * seed + k, share=0.1) for k in range(3))
    ab, ba, bc, ac = (distance(x, y, tau) for x, y in ((a, b), (b, a), (b, c), (a, c)))
    assert distance(a, a, tau) == 0
    assert ab == pytest.approx(ba)
    assert ac**0.5 <= ab**0.5 + bc**0.5 + 1e-12
    assert ab > 0 or torch.equal(a, b)


def test_gradients_are_those_of_finite_differences():
    x = torch.rand(70, 2, 2, dtype=torch.float64, requires_grad=True)
    z = torch.rand(70, 2, 2, dtype=torch.float64, requires_grad=True)
    y = random_spikes(70, 2, 1)
    assert torch.autograd.gradcheck(lambda s: van_rossum(s, y, tau=[0.005, 0.03], dt=DT), x)
    both = (x, z)
    assert torch.autograd.gradcheck(
        lambda s, t: debiased_van_rossum(s, t, y, tau=0.01, dt=DT), both
    )
    assert torch.autograd.gradgradcheck(lambda s: van_rossum(s, y, tau=0.01, dt=DT).sum(), x)


def test_gradients_in_the_longest_runs_are_finite():
    x = random_spikes(20_000, 1, 1).float().requires_grad_()
    van_rossum(x, torch.zeros(20_000, 1, 1), tau=DT, dt=DT).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("tau", [1e-4, 0.0, -1.0, float("nan"), [0.01, 1e-4]])
def test_a_time_constant_below_one_step_is_refused(tau):
    with pytest.raises(InputError, match="shorter than one step"):
        van_rossum(train([1]), train([2]), tau=tau, dt=DT)


def test_no_time_constants_or_no_steps_are_refused():
    with pytest.raises(InputError, match="0 tau for 200 steps"):
        van_rossum(train([1]), train([2]), tau=[], dt=DT)
    with pytest.raises(InputError, match="1 tau for 0 steps"):
        van_rossum(torch.zeros(0, 1, 1), torch.zeros(0, 1, 1), tau=0.01, dt=DT)


def test_the_unbiased_form_of_one_run_with_itself_is_the_distance():
    x, y = random_spikes(150, 3, 4), random_spikes(150, 3, 1, seed=1)
    assert torch.allclose(
        debiased_van_rossum(x, x, y, tau=0.01, dt=DT), van_rossum(x, y, tau=0.01, dt=DT)
    )


def test_the_unbiased_form_has_the_expectation_without_the_variance_of_the_model():
    # Poisson trains of r1 and r2 Hz for T s, the target itself drawn once per lane:
    # E D^2 = T (tau (r1 - r2)^2 + (r1 + r2)/2), and without the model's variance T r1/2 less
    lanes, seconds, tau, r1, r2 = 6000, 2.0, 0.02, 10.0, 20.0
    steps = round(seconds / DT)
    x1, x2, y = (
        random_spikes(steps, 1, lanes, seed=k, share=r * DT).float()
        for k, r in enumerate((r1, r1, r2))
    )
    plain, debiased = (
        van_rossum(x1, y, tau=tau, dt=DT),
        debiased_van_rossum(x1, x2, y, tau=tau, dt=DT),
    )
    expected = seconds * (tau * (r1 - r2) ** 2 + (r1 + r2) / 2)
    # spikes on a grid are Bernoulli, and the ends of a trial matter: 3 % cover both
    assert float(plain.mean()) == pytest.approx(expected, rel=0.03)
    assert float(debiased.mean()) == pytest.approx(expected - seconds * r1 / 2, rel=0.03)


def test_the_plain_distance_prefers_silence_to_the_truth_and_the_unbiased_form_does_not():
    lanes, tau, rate = 4000, 0.01, 20.0
    x1, x2, y = (random_spikes(1000, 1, lanes, seed=k, share=rate * DT).float() for k in range(3))
    silent = torch.zeros_like(x1)
    assert van_rossum(silent, y, tau=tau, dt=DT).mean() < van_rossum(x1, y, tau=tau, dt=DT).mean()
    nothing, truth = (
        debiased_van_rossum(silent, silent, y, tau=tau, dt=DT),
        debiased_van_rossum(x1, x2, y, tau=tau, dt=DT),
    )
    assert truth.mean() < nothing.mean() - 2 * (truth - nothing).std() / lanes**0.5


def test_the_plain_distance_is_smallest_at_a_rate_too_low_by_a_quarter_of_one_over_tau():
    # the same random numbers at every rate, so that the values lie on a smooth curve
    lanes, steps, tau, truth = 500, 2000, 0.02, 30.0
    generator = torch.Generator().manual_seed(0)
    u1, u2, uy = (torch.rand(steps, 1, lanes, generator=generator) for _ in range(3))
    y, rates = (uy < truth * DT).float(), np.arange(5.0, 50.0, 2.5)
    draws = [[(u < float(rate) * DT).float() for u in (u1, u2)] for rate in rates]
    plain = [float(van_rossum(x, y, tau=tau, dt=DT).mean()) for x, _ in draws]
    unbiased = [float(debiased_van_rossum(x, z, y, tau=tau, dt=DT).mean()) for x, z in draws]
    for values, expected in ((plain, truth - 1 / (4 * tau)), (unbiased, truth)):
        curve, slope, _ = np.polyfit(rates, values, 2)
        assert -slope / (2 * curve) == pytest.approx(expected, abs=1.0)


def test_the_unbiased_form_is_zero_at_equal_rates():
    lanes, rate = 4000, 20.0
    x1, x2 = (random_spikes(1000, 1, lanes, seed=k, share=rate * DT).float() for k in range(2))
    mean = torch.full((1000, 1, 1), rate * DT)  # the mean train of the target
    found = debiased_van_rossum(x1, x2, mean, tau=0.01, dt=DT)
    assert abs(float(found.mean())) < 4 * float(found.std()) / lanes**0.5
