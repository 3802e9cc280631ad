"""Hand-over to simulation-based inference: prior, simulator and proposal, by torch alone and with sbi."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import eqsnn
from eqsnn.inference.handover import Prior, simulator, statistics_of
from eqsnn.simulation.recording import from_dense

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + J*x) / tau_m : mV
    dg/dt = -g / (6*ms) : 1
    I_syn : mV
    x = poisson(200*Hz * dt) : 1 (constant over dt)
    threshold: v >= -45*mV
    reset:
        v = -60*mV
        g += 1
    initial: v = -60*mV
    method: euler
    J      : mV ~ uniform(30*mV, 50*mV)
    v_rest : mV ~ normal(-60*mV, 4*mV) in [-62*mV, -50*mV] (shared)
    tau_m  : ms ~ lognormal(12*ms, 0.25) in [5*ms, 14*ms]
synapse exponential:
    I_syn_post = w * g_pre : mV (summed)
    w : volt ~ normal(0*mV, 6*mV) in [-40*mV, 40*mV]
network:
    dt = 2*ms
    cells : lif[2]
    cells -> cells : exponential if i != j
"""
NAMES = (
    "cells.J[0]", "cells.J[1]", "cells.v_rest", "cells.tau_m[0]", "cells.tau_m[1]",
    "cells->cells.w[0, 1]", "cells->cells.w[1, 0]",
)  # fmt: skip


def test_the_prior_names_what_exists_and_keeps_within_the_bounds():
    prior = Prior(eqsnn.loads(MODEL))
    assert prior.layout.names == NAMES
    drawn = prior.sample((500,))
    assert drawn.shape == (500, 7)
    assert torch.isfinite(prior.log_prob(drawn)).all()
    assert bool(prior.support.check(drawn).all())
    outside = drawn.clone()
    outside[:, 3] = 15.0
    assert torch.isneginf(prior.log_prob(outside)).all()


def test_draws_of_the_prior_have_the_distribution_of_the_file():
    torch.manual_seed(0)
    drawn = Prior(eqsnn.loads(MODEL)).sample((2000,)).numpy()
    low, high = (-62 + 60) / 4, (-50 + 60) / 4
    assert stats.kstest(drawn[:, 2], stats.truncnorm(low, high, -60, 4).cdf).pvalue > 1e-3
    assert stats.kstest(drawn[:, 0], stats.uniform(30, 20).cdf).pvalue > 1e-3
    # volts in the file, millivolts inside
    assert stats.kstest(drawn[:, 5], stats.norm(0, 6e-3).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("place", "low", "high"), [(0, 30, 50), (2, -62, -50), (3, 5, 14), (5, -0.04, 0.04)]
)
def test_the_density_of_the_prior_integrates_to_one_over_each_unknown(place, low, high):
    prior = Prior(eqsnn.loads(MODEL))
    centre = prior.sample((1,))[0].double()

    def density(value: float) -> float:
        moved = centre.clone()
        moved[place] = value
        return float((prior.log_prob(moved) - prior.log_prob(centre)).exp())

    # given the others, the density is that of the one unknown, up to its value at the centre
    whole = integrate.quad(density, low, high, limit=200)[0]
    model = eqsnn.loads(MODEL)
    p = [p for p in model.parameters().values() if p.learned][{0: 0, 2: 1, 3: 2, 5: 3}[place]]
    assert p.prior is not None
    expected = {
        "uniform": stats.uniform(30, 20),
        "normal": stats.norm(*(a / p.unit.scale for a in p.prior.arguments)),
        "lognormal": stats.lognorm(p.prior.arguments[1], scale=p.prior.arguments[0]),
    }[p.prior.name]
    at = expected.pdf(float(centre[place]))  # pyright: ignore[reportAttributeAccessIssue]
    there = at / (expected.cdf(high) - expected.cdf(low))
    assert whole * there == pytest.approx(1.0, rel=1e-3)


def test_the_simulator_returns_the_statistics_of_a_simulation_for_each_row():
    model = eqsnn.loads(MODEL)
    targets = eqsnn.simulate(model, 2.0, trials=2, seed=1)
    prior = Prior(model)
    run = simulator(model, targets, seed=3)
    found = run(prior.sample((3,)))
    assert found.shape == (3, 2 + 2 + 1)
    assert torch.isfinite(found).all()
    again = simulator(model, targets, seed=3)
    theta = prior.sample((1,))[0]
    torch.testing.assert_close(again(theta), simulator(model, targets, seed=3)(theta))
    rest_matters = [theta.clone(), theta.clone()]
    rest_matters[0][2], rest_matters[1][2] = -62.0, -50.0
    low, high = (run(row)[:2].sum() for row in rest_matters)
    assert high > low


def test_the_statistics_are_those_of_their_definitions():
    spikes = np.zeros((1, 1000, 2))
    spikes[0, 50::100, 0] = 1  # regular
    spikes[0, [10, 500], 1] = 1
    found = statistics_of(from_dense(spikes, 1e-3)).numpy()
    assert found[:2] == pytest.approx(np.sqrt([10.0, 2.0]))
    assert found[2:4] == pytest.approx([0.0, 1.0], abs=1e-6)
    assert found[4] == 0  # one spike in every bin does not vary


def test_the_proposal_is_as_wide_as_the_fit_says():
    model = eqsnn.loads(MODEL)
    targets = eqsnn.simulate(model, 4.0, seed=1)
    stage = eqsnn.Forced(
        widths=(0.02,), iterations=6, density="grid", bins=40, optimiser="scoring", prior=True
    )
    fit = eqsnn.fit(model, targets, starts=1, stages=(stage,), validation=0.0)
    proposal = fit.proposal()
    torch.manual_seed(0)
    drawn = proposal.sample((4000,))
    low, high = np.percentile(drawn.numpy(), (5, 95), axis=0)
    told_low, told_high = (proposal.layout.vector(end) for end in (
        {n: fit.interval[n][k] for n in fit.learned} for k in (0, 1)))  # fmt: skip
    np.testing.assert_allclose(low, told_low, atol=0.08 * (told_high - told_low).max(), rtol=0.03)
    np.testing.assert_allclose(high, told_high, atol=0.08 * (told_high - told_low).max(), rtol=0.03)
    # its density is that of its draws: importance weights of a narrower one average to 1
    narrow = fit.proposal(widen=0.7)
    weights = (narrow.log_prob(drawn) - proposal.log_prob(drawn)).exp()
    assert float(weights.mean()) == pytest.approx(1.0, abs=0.2)


def test_sbi_accepts_prior_and_simulator():
    checks = pytest.importorskip("sbi.utils.user_input_checks", reason="the extra `sbi`")
    model = eqsnn.loads(MODEL)
    targets = eqsnn.simulate(model, 1.0, seed=1)
    prior, n, numpy_like = checks.process_prior(Prior(model))
    assert (n, numpy_like) == (7, False)
    run = checks.process_simulator(simulator(model, targets), prior, numpy_like)
    checks.check_sbi_inputs(run, prior)
    assert run(prior.sample((2,))).shape == (2, 5)
