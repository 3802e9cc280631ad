"""Priors of the file: densities against scipy, centres that are unknown themselves, and what a fit makes of them."""

import numpy as np
import pytest
import torch
from scipy import stats

import eqsnn
from eqsnn.errors import ModelError
from eqsnn.inference.coordinates import coordinate_of
from eqsnn.inference.priors import log_prior
from eqsnn.inference.scoring import pack, prior_slopes
from eqsnn.inference.stages import Forced
from eqsnn.language.model import Distribution
from eqsnn.simulation.parameters import draw_all

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau_m : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset: v = v_rest
    initial: v = v_rest
    mu : mV ~ normal(-60*mV, 3*mV) in [-90*mV, -46*mV] (shared)
    v_rest : mV ~ normal(mu, 2*mV) in [-90*mV, -46*mV]
    tau_m : ms = 10*ms
network:
    dt = 1*ms
    cells : lif[4]
"""

SCIPY = {
    "normal(1, 2)": stats.norm(1, 2),
    "laplace(1, 2)": stats.laplace(1, 2),
    "halfnormal(2)": stats.halfnorm(0, 2),
    "exponential(2)": None,
    "lognormal(2, 0.5)": None,
    "uniform(0, 5)": stats.uniform(0, 5),
}


def parameter(distribution, bounds=""):
    text = MODEL.replace(
        "tau_m : ms = 10*ms", f"tau_m : ms = 10*ms\n    a : 1 ~ {distribution}{bounds}"
    )
    return eqsnn.loads(text).parameters()["cells.a"]


def log_density(frozen, values):
    """The log-density of a scipy distribution, whose stubs take every frozen one for a discrete one."""
    return frozen.logpdf(values)


@pytest.mark.parametrize("distribution", SCIPY)
def test_log_densities_are_scipys_up_to_a_constant(distribution):
    p = parameter(distribution)
    values = np.array([[0.3, 0.9], [1.4, 2.0], [2.2, 0.5], [0.1, 4.0]])
    coordinate = coordinate_of(p)
    z = {"cells.a": coordinate.to_real(torch.from_numpy(values))}
    found = log_prior(z, {"cells.a": p}, {"cells.a": coordinate}, {}).numpy()
    reference = SCIPY[distribution]
    if distribution.startswith("exponential"):  # of the logarithm: the density times the value
        density = log_density(stats.expon(0, 2), values) + np.log(values)
    elif distribution.startswith("lognormal"):
        density = log_density(stats.norm(np.log(2), 0.5), np.log(values))
    else:
        density = log_density(reference, values)
    assert found[1] - found[0] == pytest.approx(density.sum(0)[1] - density.sum(0)[0], rel=1e-9)


@pytest.mark.parametrize(
    ("distribution", "bounds", "reference"),
    [
        ("laplace(1, 2)", "", stats.laplace(1, 2)),
        ("halfnormal(2)", "", stats.halfnorm(0, 2)),
        ("laplace(0, 1)", " in [-1, 1]", stats.truncnorm(-1, 1)),
    ],
)
def test_starts_are_drawn_from_the_distribution_and_stay_within_bounds(
    distribution, bounds, reference
):
    p = parameter(distribution, bounds)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([p.draw_start(rng) for _ in range(1000)])
    coordinate = coordinate_of(p)
    again = coordinate.to_value(coordinate.to_real(torch.from_numpy(drawn))).numpy()
    np.testing.assert_allclose(again, drawn, atol=1e-5)
    if bounds:
        # symmetric, and with the mean distance from 0 of exp(-x) cut at 1
        assert np.abs(drawn).mean() == pytest.approx((1 - 2 / np.e) / (1 - 1 / np.e), abs=0.02)
    else:
        assert stats.kstest(drawn, reference.cdf).pvalue > 1e-3
    far = coordinate.to_value(torch.tensor([-40.0, 40.0], dtype=torch.float64))
    assert p.low <= far[0] and far[1] <= p.high


def test_a_laplace_prior_pulls_with_the_same_force_from_any_distance():
    p = parameter("laplace(0, 0.5)")
    coordinate = coordinate_of(p)
    value = torch.tensor([[0.2], [3.0], [-1.0], [-7.0]], dtype=torch.float64)
    z = coordinate.to_real(value).requires_grad_()
    log_prior({"cells.a": z}, {"cells.a": p}, {"cells.a": coordinate}, {}).backward()
    assert z.grad is not None
    slope = z.grad[:, 0].numpy() / coordinate.spread  # dp/dz is the spread of the coordinate
    np.testing.assert_allclose(slope, [-2, -2, 2, 2])


def network(n_trials=2):
    truth = {"v_rest": np.array([-62.0, -59.0, -63.0, -58.0])}
    drive = np.random.default_rng(0).normal(14, 8, (n_trials, 300, 4))
    model = eqsnn.loads(MODEL)
    recording = eqsnn.simulate(
        model, 0.3, trials=n_trials, inputs={"drive": drive}, parameters=truth
    )
    return model, recording


def test_a_distribution_around_an_unknown_is_checked_and_shown():
    model = eqsnn.loads(MODEL)
    prior = model.parameters()["cells.v_rest"].prior
    assert prior == Distribution("normal", (-60.0, 2.0), "mu")
    assert "normal(mu, 2)" in model.show("model")
    again = eqsnn.loads(MODEL.replace("lif[4]", "lif[4] with v_rest ~ normal(mu, 1*mV) in [-80*mV, -50*mV]"))  # fmt: skip
    assert again.parameters()["cells.v_rest"].prior == Distribution("normal", (-60.0, 1.0), "mu")
    with pytest.raises(ModelError, match="the centre `tau_m` of `v_rest` has a value for every"):
        eqsnn.loads(MODEL.replace("lif[4]", "lif[4] with v_rest ~ normal(tau_m, 1*mV) in [-80*mV, -50*mV]"))  # fmt: skip


def test_what_lies_around_a_centre_is_drawn_from_the_drawn_centre():
    parameters = eqsnn.loads(MODEL.replace("lif[4]", "lif[400]")).parameters()
    for seed in range(3):
        drawn = draw_all(parameters, np.random.default_rng(seed))
        assert list(drawn) == list(parameters)
        assert drawn["cells.v_rest"].mean() == pytest.approx(drawn["cells.mu"][0], abs=0.5)


def test_the_most_probable_centre_is_the_mean_weighted_by_precisions():
    parameters = eqsnn.loads(MODEL).parameters()
    learned = {n: p for n, p in parameters.items() if p.learned}
    coordinates = {n: coordinate_of(p) for n, p in learned.items()}
    rest = torch.tensor([[-62.0], [-59.0], [-64.0], [-55.0]], dtype=torch.float64)
    z = {"cells.v_rest": coordinates["cells.v_rest"].to_real(rest)}
    mu = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([mu], max_iter=100, line_search_fn="strong_wolfe", tolerance_grad=1e-12)  # fmt: skip

    def cost():
        search.zero_grad()
        value = -log_prior({**z, "cells.mu": mu}, learned, coordinates, {}).sum()
        value.backward()
        return value

    search.step(cost)
    exact = (-60 / 3**2 + float(rest.sum()) / 2**2) / (1 / 3**2 + 4 / 2**2)
    assert float(coordinates["cells.mu"].to_value(mu.detach())) == pytest.approx(exact, abs=1e-5)


def test_the_curvature_of_a_prior_around_an_unknown_is_its_diagonal():
    parameters = eqsnn.loads(MODEL).parameters()
    learned = {n: p for n, p in parameters.items() if p.learned}
    coordinates = {n: coordinate_of(p) for n, p in learned.items()}
    rng = np.random.default_rng(1)
    z = {n: torch.from_numpy(rng.normal(0, 0.3, (*p.shape, 1))) for n, p in learned.items()}
    packing = pack(z, {}, {"cells": 4}, {}, {"cells.mu"})

    def density(values):
        return log_prior(values, learned, coordinates, {})

    _, curvature = prior_slopes(density, z, packing)
    h = 1e-4
    for k in range(packing.size):
        step = torch.zeros(packing.size, 1, dtype=torch.float64)
        step[k] = h
        second = density(packing.add(z, step)) - 2 * density(z) + density(packing.add(z, -step))
        assert float(curvature[0, k]) == pytest.approx(-float(second) / h**2, rel=1e-4)


@pytest.mark.parametrize(("optimiser", "iterations"), [("adam", 150), ("scoring", 40)])
def test_in_a_fit_the_centre_follows_what_lies_around_it(optimiser, iterations):
    model, recording = network()
    stage = Forced(widths=(0.1,), iterations=iterations, optimiser=optimiser, prior=True)
    fit = eqsnn.fit(model, recording, starts=2, stages=(stage,), validation=0)
    rest, mu = fit.parameters["cells.v_rest"], float(fit.parameters["cells.mu"][0])
    exact = (-60 / 3**2 + rest.sum() / 2**2) / (1 / 3**2 + 4 / 2**2)
    assert mu == pytest.approx(exact, abs=0.3)  # its standard error is 0.9 mV
    assert not any("undetermined" in warning for warning in fit.warnings)


def test_without_priors_the_centre_is_reported_as_undetermined():
    model, recording = network()
    fit = eqsnn.fit(model, recording, starts=1, stages=(Forced(widths=(0.1,), iterations=2),))
    assert any("`cells.mu` is undetermined" in warning for warning in fit.warnings)
    assert fit.parameters["cells.mu"] == fit.start["cells.mu"]


def test_a_fixed_centre_counts_with_its_value():
    model, recording = network()
    stage = Forced(widths=(0.1,), iterations=60, prior=True)
    pulled = []
    for mu in (-70.0, -50.0):
        known = model.with_values({"mu": mu})
        fit = eqsnn.fit(known, recording, starts=1, stages=(stage,), validation=0)
        pulled.append(fit.parameters["cells.v_rest"].mean())
    assert pulled[0] < pulled[1]
