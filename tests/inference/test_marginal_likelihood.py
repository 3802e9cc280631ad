"""Private noise integrated out: every density against paths simulated in numpy, filters in closed form, and one another."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import eqsnn
from eqsnn.backends.c_density import FLOOR
from eqsnn.backends.torch_functions import normal_below
from eqsnn.errors import InputError
from eqsnn.inference.likelihood import At, ForcedObjective
from eqsnn.inference.objectives import prepare
from eqsnn.inference.stages import Forced
from eqsnn.simulation.recording import from_dense

LIF = """
neuron lif:
    dv/dt = (v_rest - v + I)/tau_m + sigma*sqrt(2/tau_m)*xi : mV
    I : mV (input)
    h : mV (input)
    threshold: v >= v_th + h
    reset:
        v = v_rest
    initial: v = v_rest
    method: euler
    v_rest : mV = -65*mV
    v_th : mV = -50*mV
    tau_m : ms ~ lognormal(10*ms, 0.5) in [2*ms, 50*ms]
    sigma : mV ~ lognormal(3*mV, 0.5) in [0.001*mV, 20*mV]
network:
    dt = 1*ms
    cells : lif
"""
REFRACTORY = LIF.replace(": mV\n    I :", ": mV (unless refractory)\n    I :").replace(
    "    initial:", "    refractory: 3*ms\n    initial:"
)
ADAPTIVE = """
neuron adaptive:
    dv/dt = (v_rest - v + I - w)/tau_m + sigma*sqrt(2/tau_m)*xi : mV
    dw/dt = (a*(v - v_rest) - w)/tau_w : mV
    I : mV (input)
    h : mV (input)
    threshold: v >= v_th + h
    reset:
        v = v_rest
        w += b
    initial: v = v_rest
    method: euler
    v_rest : mV = -65*mV
    v_th : mV = -50*mV
    a : 1 ~ lognormal(0.5, 0.5) in [0.05, 5]
    b : mV ~ lognormal(2*mV, 0.5) in [0.1*mV, 20*mV]
    tau_w : ms ~ lognormal(40*ms, 0.5) in [5*ms, 400*ms]
    tau_m : ms ~ lognormal(10*ms, 0.5) in [2*ms, 50*ms]
    sigma : mV ~ lognormal(3*mV, 0.5) in [0.001*mV, 20*mV]
network:
    dt = 1*ms
    cells : adaptive
"""
SLEEP = """
neuron sleep_lif:
    dv/dt = (v_rest - v + I) / tau_m : mV
    I = 70*mV * sigmoid(k * x) : mV
    x = poisson(500*Hz * dt) : 1 (constant over dt)
    threshold: v >= 30*mV
    reset: v = v_rest
    initial: v = v_rest
    method: euler
    v_rest : mV ~ normal(-37*mV, 10*mV) in [-60*mV, -20*mV] (shared)
    tau_m : ms ~ lognormal(2.5*ms, 0.5) in [0.55*ms, 6*ms] (shared)
    k : 1 ~ lognormal(6, 0.5) in [0.3, 15] (shared)
network:
    dt = 1*ms
    cells : sleep_lif
"""
SHOT_NOISE = """
neuron lif:
    dv/dt = (v_rest - v + 55*mV*x)/tau_m : mV
    x = poisson(250*Hz * dt) : 1 (constant over dt)
    threshold: v >= -45*mV
    reset: v = v_rest
    initial: v = v_rest
    method: euler
    v_rest : mV ~ uniform(-80*mV, -50*mV)
    tau_m : ms ~ uniform(4*ms, 60*ms)
network:
    dt = 1*ms
    cells : lif
"""
IZHIKEVICH = """
neuron izhikevich:
    v : mV
    u : mV/ms
    x = poisson(500*Hz * dt) : 1 (constant over dt)
    update:
        v = v + dt/2 * (0.04*v**2/(mV*ms) + 5*v/ms + 140*mV/ms - u + (x + drive)*mV/ms)
        v = v + dt/2 * (0.04*v**2/(mV*ms) + 5*v/ms + 140*mV/ms - u + (x + drive)*mV/ms)
        u = u + dt * a * (b*v - u)
    threshold: v >= 30*mV
    reset:
        v = c
        u = d
    initial:
        v = c
        u = d
    a : 1/ms ~ lognormal(0.12/ms, 0.3) in [0.02/ms, 0.4/ms] (shared)
    b : 1/ms ~ normal(0.25/ms, 0.01/ms) in [0.2/ms, 0.3/ms] (shared)
    c : mV = -65*mV
    d : mV/ms = 2*mV/ms
    drive : 1 = 0
network:
    dt = 1*ms
    cells : izhikevich
"""
WAKE: dict[str, Any] = {"a": 0.15, "b": 0.25}
RESTING: dict[str, Any] = {**WAKE, "drive": 0.2}
TONIC: dict[str, Any] = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0, "drive": 9.0}
BURSTING: dict[str, Any] = {"a": 0.12, "b": 0.245, "c": -42.0, "d": 1.3, "drive": 0.2}
V_REST, V_TH, TAU_M, SIGMA = -65.0, -50.0, 10.0, 4.0
HARD = 1e-4  # a threshold without width


class Task:
    """A model, spikes that were observed and what drove it."""

    def __init__(self, text, spikes, backend="auto", **inputs):
        dense = np.asarray(spikes).astype(np.uint8)
        dense = dense.reshape(len(dense), -1)
        self.model = eqsnn.loads(text).sized(dense.shape[1])
        recording = from_dense(dense[None], dt=1e-3, inputs=inputs)
        self.data = prepare(self.model.definition, recording, torch.float64, backend)

    def values(self, **parameters):
        """Every parameter, (neuron, restart); sequences are restarts."""
        model = self.model.with_values(
            {f"cells.{n}": np.asarray(np.ravel(v)[0], float) for n, v in parameters.items()}
        )
        found = {
            name: torch.tensor(np.atleast_1d(p.draw(np.random.default_rng(0)))).unsqueeze(-1)
            for name, p in model.parameters().items()
        }
        for name, v in parameters.items():
            full = found[f"cells.{name}"]
            found[f"cells.{name}"] = torch.tensor(np.ravel(v), dtype=torch.float64).expand(
                len(full), -1
            )
        return {name: v.clone().requires_grad_() for name, v in found.items()}

    def objective(self, density, values, *, seed=0, **stage):
        stage = {"window": math.inf, "warm_up": 0.0, **stage}
        if stage["window"] == math.inf:
            stage["window"] = self.data.recording.duration
        plain = {name: v.detach() for name, v in values.items()}
        return ForcedObjective(self.data, Forced(density=density, **stage), seed, plain)

    def log_likelihood(self, density, *, width=HARD, seed=0, stage=None, **parameters):
        values = self.values(**parameters)
        objective = self.objective(density, values, seed=seed, **(stage or {}))
        with torch.no_grad():
            return (-objective(values, width) * objective.scale).numpy()


def train(n_steps, *spikes):
    observed = np.zeros(n_steps)
    observed[list(spikes)] = 1
    return observed


def drive(n_steps, seed=0):
    return 13 + 5 * np.sin(np.arange(n_steps) / 7 + seed)


def driven(text, spikes, current, threshold=None, **options):
    moved = np.zeros(len(current)) if threshold is None else threshold
    return Task(text, spikes, I=current[None, :, None], h=moved[None, :, None], **options)


def simulated(text, n_steps: int, n: int = 2, seed: int = 0, **parameters):
    model = eqsnn.loads(text).sized(n)
    given = (
        {"I": np.repeat(drive(n_steps)[None, :, None], n, 2)} if "I : mV (input)" in text else {}
    )
    if given:
        given["h"] = np.zeros_like(given["I"])
    chosen = {f"cells.{name}": v for name, v in parameters.items()}
    return eqsnn.simulate(model, n_steps * 1e-3, seed=seed, inputs=given, parameters=chosen).dense(
        1e-3
    )[0]


def by_paths(spikes, current, refractory=0, paths=1_000_000):
    """The share of freely simulated paths that fire the very train, and the standard error of its logarithm."""
    rng = np.random.default_rng(1)
    v, rest, fitting = np.full(paths, V_REST), np.zeros(paths), np.ones(paths, bool)
    for t, seen in enumerate(spikes):
        active = rest <= 0
        noise = SIGMA * math.sqrt(2 / TAU_M) * rng.standard_normal(paths)
        v = np.where(active, v + (V_REST - v + current[t]) / TAU_M + noise, v)
        fired = active & (v >= V_TH)
        fitting &= fired == (seen > 0.5)
        v = np.where(fired, V_REST, v)
        rest = np.where(fired, refractory - 1, rest - 1)
    share = fitting.mean()
    return math.log(share), math.sqrt((1 - share) / (share * paths))


def by_cells(spikes, current, n=400, sigma=SIGMA):
    """The density of v on fine cells, transitions integrated exactly over each; one neuron, no refractory period."""
    edges = np.linspace(V_REST - 8 * SIGMA, V_TH, n + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    noise = sigma * math.sqrt(2 / TAU_M)
    places, shares, total = np.array([V_REST]), np.array([1.0]), 0.0
    for t, seen in enumerate(spikes):
        mean = places + (V_REST - places + current[t]) / TAU_M
        over = norm.sf(V_TH, mean, noise)
        if seen > 0.5:
            total += math.log(shares @ over)
            places, shares = np.array([V_REST]), np.array([1.0])
            continue
        moved = shares @ np.diff(norm.cdf(edges[None, :], mean[:, None], noise), axis=1)
        total += math.log(moved.sum())
        places, shares = middle, moved / moved.sum()
    return total


def by_counts(spikes, v_rest, tau_m, k, n=8000):
    """The density of the sleep neuron's potential as masses on a fine grid, all counts summed over."""
    grid = np.linspace(-100.0, 30.0, n)
    h = grid[1] - grid[0]
    weights = np.exp(-0.5) * 0.5 ** np.arange(9) / np.array([math.factorial(c) for c in range(9)])
    pushes = 70 / (1 + np.exp(-k * np.arange(9)))
    mass, total = np.zeros(n), 0.0
    mass[np.argmin(abs(grid - v_rest))] = 1.0
    for seen in spikes:
        after, over = np.zeros(n), 0.0
        for weight, push in zip(weights, pushes, strict=True):
            moved = grid + (v_rest - grid + push) / tau_m
            fired = moved >= 30.0
            over += weight * mass[fired].sum()
            place = np.clip((moved[~fired] - grid[0]) / h, 0, n - 1.001)
            j = place.astype(int)
            np.add.at(after, j, weight * mass[~fired] * (1 - place + j))
            np.add.at(after, j + 1, weight * mass[~fired] * (place - j))
        total += math.log(over if seen > 0.5 else after.sum())
        if seen > 0.5:
            mass = np.zeros(n)
            mass[np.argmin(abs(grid - v_rest))] = 1.0
        else:
            mass = after / after.sum()
    return total


def by_forced_paths(spikes, a, b, c=-65.0, d=2.0, drive=0.0, paths=50_000):
    """The log-likelihood of an Izhikevich neuron's train by paths, of which those that belie it are replaced by others."""
    rng = np.random.default_rng(2)
    v, u, total = np.full(paths, c), np.full(paths, d), 0.0
    for seen in spikes:
        x = rng.poisson(0.5, paths)
        for _ in range(2):
            v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + x + drive)
        u = u + a * (b * v - u)
        fitting = (v >= 30) == (seen > 0.5)
        total += math.log(fitting.mean())
        if seen > 0.5:
            v[:], u[:] = c, d
        else:
            chosen = rng.choice(np.flatnonzero(fitting), paths)
            v, u = np.where(fitting, v, v[chosen]), np.where(fitting, u, u[chosen])
    return total


DENSITIES = [
    ("moments", {}, 0.12),
    ("grid", {"bins": 200}, 0.02),
    ("particles", {"particles": 512}, 0.03),
]


@pytest.mark.parametrize(("density", "stage", "tolerance"), DENSITIES)
def test_the_likelihood_of_a_short_train_is_the_share_of_free_paths_that_fire_it(
    density, stage, tolerance
):
    spikes, current = train(16, 9), drive(16) + 5
    expected, error = by_paths(spikes, current)
    found = driven(LIF, spikes, current).log_likelihood(
        density, stage=stage, tau_m=TAU_M, sigma=SIGMA
    )
    assert found[0] == pytest.approx(expected, abs=tolerance + 4 * error)


@pytest.mark.parametrize(("density", "stage", "tolerance"), DENSITIES)
def test_a_refractory_neuron_says_nothing_and_starts_from_its_reset(density, stage, tolerance):
    spikes, current = train(18, 5, 15), drive(18) + 15
    expected, error = by_paths(spikes, current, refractory=3)
    task = driven(REFRACTORY, spikes, current)
    found = task.log_likelihood(density, stage=stage, tau_m=TAU_M, sigma=SIGMA)
    assert found[0] == pytest.approx(expected, abs=2 * tolerance + 4 * error)


@pytest.mark.parametrize(
    ("density", "stage", "tolerance"),
    [
        ("moments", {}, 0.01),
        # five nodes of a Gaussian noise meet the threshold: more bins do not help below one per cent
        ("grid", {"bins": 64}, 0.015),
        ("grid", {"bins": 400}, 0.015),
        ("particles", {"particles": 512}, 0.01),
    ],
)
def test_a_long_train_has_the_likelihood_of_a_fine_density(density, stage, tolerance):
    spikes = simulated(LIF, 200, n=1, tau_m=TAU_M, sigma=SIGMA)
    current = drive(200)
    expected = by_cells(spikes[:, 0], current)
    found = driven(LIF, spikes, current).log_likelihood(
        density, stage=stage, tau_m=TAU_M, sigma=SIGMA
    )
    assert found[0] == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    ("density", "stage"),
    [("moments", {}), ("grid", {"bins": 200}), ("particles", {"particles": 1024})],
)
def test_two_noisy_states_far_from_threshold_follow_the_kalman_filter(density, stage):
    """The threshold is out of reach until the last step; what it then sees is Gaussian with the filter's moments."""
    n, a, tau_w = 25, 0.5, 40.0
    current, threshold = drive(n), np.where(np.arange(n) < n - 1, 1000.0, 0.0)
    step = np.array([[1 - 1 / TAU_M, -1 / TAU_M], [a / tau_w, 1 - 1 / tau_w]])
    mean, spread = np.array([0.0, 0.0]), np.zeros((2, 2))
    for t in range(n):
        mean = step @ mean + np.array([current[t] / TAU_M, 0.0])
        spread = step @ spread @ step.T + np.diag([SIGMA**2 * 2 / TAU_M, 0.0])
    for seen, law in ((0, norm.logcdf), (1, norm.logsf)):
        spikes = train(n, n - 1) * seen
        task = driven(ADAPTIVE, spikes, current, threshold)
        expected = law(V_TH - V_REST, mean[0], math.sqrt(spread[0, 0]))
        found = task.log_likelihood(
            density, stage=stage, tau_m=TAU_M, sigma=SIGMA, a=a, b=3.0, tau_w=tau_w
        )
        assert found[0] == pytest.approx(expected, rel=1e-5 if density == "moments" else 0.02)


@pytest.mark.parametrize(
    ("density", "stage", "tolerance"),
    [("grid", {"bins": 64}, 0.02), ("grid", {"bins": 400}, 0.005), ("particles", {"particles": 1024}, 0.03)],
)  # fmt: skip
def test_poisson_counts_inside_a_sigmoid_are_summed_over(density, stage, tolerance):
    truth: dict[str, Any] = {"v_rest": -37.0, "tau_m": 2.5, "k": 6.0}
    spikes = simulated(SLEEP, 1500, n=1, **truth)
    expected = by_counts(spikes[:, 0], **truth)
    found = Task(SLEEP, spikes).log_likelihood(density, stage=stage, **truth)
    assert found[0] == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("b", [0.247, 0.25, 0.253])
def test_states_that_a_grid_carries_by_mean_and_variance_are_those_of_free_paths(b):
    """Without the variance of u the density would be too narrow, and b a percent too high."""
    spikes = simulated(IZHIKEVICH, 1200, n=1, **WAKE)
    changed = WAKE | {"b": b}
    expected = by_forced_paths(spikes[:, 0], **changed)
    found = Task(IZHIKEVICH, spikes).log_likelihood("grid", width=0.001, **changed)
    assert spikes.sum() >= 4
    assert found[0] == pytest.approx(expected, abs=1.0)


def test_single_counts_decide_within_bursts_and_a_grid_keeps_them_apart():
    """After each reset the potential takes few values, which the upstroke drives apart; a smooth density is 8 nats off."""
    spikes = simulated(IZHIKEVICH, 1500, n=1, **BURSTING)
    expected = by_forced_paths(spikes[:, 0], **BURSTING)
    found = Task(IZHIKEVICH, spikes).log_likelihood("grid", width=0.001, **BURSTING)
    assert spikes.sum() > 200
    assert found[0] == pytest.approx(expected, abs=1.0)


def test_a_neuron_with_an_upstroke_that_was_seen_silent_misses_one_spike_after_the_other():
    """It does not run away: each of its own spikes that were not seen costs the least probability there is, once."""
    driven_by: dict[str, Any] = {"a": 0.1, "b": 0.2, "c": -65.0, "d": 8.0, "drive": 20.0}
    free = simulated(IZHIKEVICH, 300, n=1, **driven_by)[:, 0]
    found = Task(IZHIKEVICH, np.zeros(300)).log_likelihood("grid", **driven_by)[0]
    assert free.sum() > 3
    assert found == pytest.approx(free.sum() * math.log(FLOOR), rel=0.2)


def with_gradient(objective, values, width):
    found = -objective(values, width).sum() * objective.scale
    slopes = torch.autograd.grad(found, list(values.values()), allow_unused=True)
    return float(found.detach()), {
        name: float(s.sum()) for name, s in zip(values, slopes, strict=True) if s is not None
    }


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "lif": (LIF, {"tau_m": TAU_M, "sigma": SIGMA}),
    "refractory": (REFRACTORY, {"tau_m": TAU_M, "sigma": SIGMA}),
    "adaptive": (ADAPTIVE, {"tau_m": TAU_M, "sigma": SIGMA, "a": 0.5, "b": 3.0, "tau_w": 40.0}),
    "sleep": (SLEEP, {"v_rest": -37.0, "tau_m": 2.5, "k": 6.0}),
    "izhikevich": (IZHIKEVICH, WAKE),
}


def task_of(name, n_steps=120, **options):
    text, truth = MODELS[name]
    spikes = simulated(text, n_steps, **truth)
    if text in (SLEEP, IZHIKEVICH):
        return Task(text, spikes, **options), truth
    return driven(text, spikes, drive(n_steps), **options), truth


@pytest.mark.parametrize("density", ["grid", "particles"])
@pytest.mark.parametrize("name", MODELS)
def test_compiled_c_and_torch_give_the_same_likelihood_and_gradient(name, density):
    task, truth = task_of(name)
    values = task.values(**truth)
    objective = task.objective(
        density, values, bins=48, particles=24, window=0.05, warm_up=0.02, precision="double"
    )
    found = with_gradient(objective, values, 0.02)
    kernels = [grid.kernel for grid in objective.kernel.grids] or objective.kernel.filters
    for kernel in kernels:
        kernel.library = None
    expected = with_gradient(objective, values, 0.02)
    assert found[0] == pytest.approx(expected[0], rel=1e-9)
    assert found[1] == pytest.approx(expected[1], rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("name", ["lif", "refractory"])
def test_what_was_before_the_last_spike_of_a_warm_up_is_not_even_read(name):
    task, truth = task_of(name, n_steps=400)
    values = task.values(**truth)
    objective = task.objective("grid", values, bins=48, window=0.1, warm_up=0.1)
    (grid,) = objective.kernel.grids
    (observed,) = (v for n, v in objective.lanes.drives.items() if n.endswith(".observed"))
    before = torch.where(objective.lanes.weights > 0, 0.0, observed)
    unread = before.flip(0).cumsum(0).flip(0) - before > 0  # a spike of the warm-up follows
    restarts, level = 1, objective.settings(0.02)
    spread = {n: v.expand(*v.shape[:-1], objective.lanes.width) for n, v in values.items()}
    feeds = objective.known_part(spread, restarts, 0.02).recorded
    broken = {n: torch.where(unread, -1e9, feed).requires_grad_() for n, feed in feeds.items()}
    found = objective.of(grid, At(spread, broken, restarts, level))
    slopes = torch.autograd.grad(found.sum(), list(broken.values()))
    assert bool(unread.any())
    assert torch.equal(found, objective.of(grid, At(spread, feeds, restarts, level)))
    assert all(bool((slope[unread] == 0).all()) for slope in slopes)


@pytest.mark.parametrize("name", MODELS)
def test_a_grid_in_single_precision_gives_the_likelihood_of_one_in_double(name):
    task, truth = task_of(name)
    values = task.values(**truth)
    single, double = (
        with_gradient(task.objective("grid", values, bins=64, precision=precision), values, 0.005)
        for precision in ("single", "double")
    )
    assert single[0] == pytest.approx(double[0], rel=2e-5)
    tolerance = 2e-2 if name == "izhikevich" else 2e-3  # an upstroke magnifies rounding
    assert single[1] == pytest.approx(double[1], rel=tolerance, abs=2e-3)


@pytest.mark.parametrize("density", ["grid", "moments"])
@pytest.mark.parametrize("name", ["lif", "adaptive", "sleep"])
def test_the_gradient_is_that_of_finite_differences(name, density):
    task, truth = task_of(name)
    values = task.values(**truth)
    # the nodes of a grid and the width of its threshold follow the reset and the step: neither is differentiated
    tolerance = 0.03 if density == "grid" else 1e-3
    objective = task.objective(density, values, bins=400, precision="double")
    _, slopes = with_gradient(objective, values, 0.05)
    for parameter, value in truth.items():
        if density == "grid" and parameter == "v_rest":
            continue
        ends = []
        for sign in (1, -1):
            moved = task.values(**{**truth, parameter: value * (1 + sign * 1e-4)})
            ends.append(float(-objective(moved, 0.05).detach().sum() * objective.scale))
        slope = (ends[0] - ends[1]) / (2e-4 * value)
        assert slopes[f"cells.{parameter}"] == pytest.approx(slope, rel=tolerance, abs=2e-3)


def test_derivatives_over_few_nodes_do_not_explode_where_spikes_are_rare():
    """Along paths over the grid itself they are millions here: small moves of a place part and part again until a spike."""
    task = Task(SHOT_NOISE, simulated(SHOT_NOISE, 8000, n=1, seed=1, v_rest=-72.0, tau_m=19.0))
    values = task.values(v_rest=-60.0, tau_m=45.0)
    windows: dict[str, Any] = {"window": 1.0, "warm_up": 0.15}
    (few, found), (many, expected) = (
        with_gradient(task.objective("grid", values, bins=bins, **windows), values, 0.001)
        for bins in (32, 400)
    )
    assert few == pytest.approx(many, rel=0.02)
    for name in ("cells.v_rest", "cells.tau_m"):
        assert found[name] == pytest.approx(expected[name], rel=0.3)


@pytest.mark.parametrize("name", ["lif", "izhikevich"])
def test_neurons_whose_likelihood_is_not_asked_for_change_nothing_for_the_others(name):
    task, truth = task_of(name)
    values = task.values(**truth)
    objective = task.objective("grid", values, bins=48, window=0.1, warm_up=0.1)
    whole = objective.by_neuron(values, 0.02)
    part = objective.by_neuron(values, 0.02, torch.tensor([False, True]))
    slopes = [
        torch.autograd.grad(v[1].sum(), list(values.values()), allow_unused=True)
        for v in (whole, part)
    ]
    assert torch.equal(part[1], whole[1])
    assert bool((part[0] == 0).all())
    assert all(a is b or torch.equal(a, b) for a, b in zip(*slopes, strict=True))


@pytest.mark.parametrize(
    ("truth", "reach"),
    [
        (RESTING, {"a": 0.3, "b": 0.02, "drive": 1.0}),
        (TONIC, {"a": 0.03, "b": 0.02, "d": 0.12, "drive": 0.02}),
        (BURSTING, {"a": -0.02, "b": -0.006, "drive": 0.2}),
    ],
)
def test_gradients_of_an_upstroke_add_up_to_what_the_likelihood_gains(truth, reach):
    """Over differences that data can tell; that of a single path grows by orders of magnitude with every spike.

    reach: of each parameter, relative, from the truth on.
    """
    task = Task(IZHIKEVICH, simulated(IZHIKEVICH, 600, **truth))
    # a model may begin at its d, and the initial state of a window is not differentiated
    objective = task.objective("grid", task.values(**truth), bins=128, window=0.5, warm_up=0.1)
    for parameter, share in reach.items():
        places = truth[parameter] * (1 + share * np.linspace(0, 1, 9))
        found = [
            with_gradient(objective, task.values(**{**truth, parameter: place}), 0.05)
            for place in places
        ]
        slopes = [slopes[f"cells.{parameter}"] for _, slopes in found]
        gained = found[-1][0] - found[0][0]
        assert np.trapezoid(slopes, places) == pytest.approx(gained, rel=0.1, abs=0.3)


def test_the_gradient_by_particles_is_that_of_the_exact_likelihood_on_average():
    task, truth = task_of("lif", 300)
    values = task.values(**truth)
    _, exact = with_gradient(task.objective("grid", values, bins=400), values, HARD)
    samples = [
        with_gradient(task.objective("particles", values, particles=256, seed=s), values, HARD)[1]
        for s in range(12)
    ]
    for name in ("cells.tau_m", "cells.sigma"):
        found = np.array([slopes[name] for slopes in samples])
        error = found.std(ddof=1) / math.sqrt(len(found))
        assert abs(found.mean() - exact[name]) < 4 * error + 0.05 * abs(exact[name])
        assert found.std() < 3.0  # nats per ms or mV: far below what a hundred spikes say


def test_more_particles_bring_the_estimate_closer():
    spikes, current = simulated(LIF, 200, n=1, tau_m=TAU_M, sigma=SIGMA), drive(200)
    expected, task = by_cells(spikes[:, 0], current), driven(LIF, spikes, current)

    def error(n):
        found = [
            task.log_likelihood("particles", stage={"particles": n}, seed=s, tau_m=TAU_M, sigma=SIGMA)
            for s in range(6)
        ]  # fmt: skip
        return float(np.sqrt(np.mean((np.array(found) - expected) ** 2)))

    few, many = error(16), error(256)
    assert many < few / 4


def test_without_noise_a_grid_gives_the_escape_likelihood():
    task, truth = task_of("lif")
    truth = {**truth, "sigma": 0.001}
    escape = task.log_likelihood("escape", width=0.2, **truth)
    grid = task.log_likelihood("grid", width=0.2, stage={"bins": 800}, **truth)
    assert grid == pytest.approx(escape, rel=5e-3)


@pytest.mark.parametrize("density", ["moments", "particles"])
def test_without_noise_the_threshold_keeps_its_width_as_a_normal_distribution(density):
    spikes, current = simulated(LIF, 120, n=1, tau_m=TAU_M, sigma=SIGMA), drive(120)
    v, expected, width = V_REST, 0.0, 0.2 * (V_TH - V_REST)
    for t, seen in enumerate(spikes[:, 0]):
        v += (V_REST - v + current[t]) / TAU_M
        expected += norm.logcdf((1 if seen > 0.5 else -1) * (v - V_TH) / width)
        v = V_REST if seen > 0.5 else v
    found = driven(LIF, spikes, current).log_likelihood(
        density, width=0.2, tau_m=TAU_M, sigma=0.001
    )
    assert found[0] == pytest.approx(expected, rel=1e-3)


TWO_TRUTH = {"cells.sigma": SIGMA, "cells.tau_m": TAU_M, "quiet.tau": 9.0}
TWO = LIF.replace("cells : lif", "cells : lif[1]\n    quiet : plain[1]").replace(
    "network:",
    "neuron plain:\n"
    "    dv/dt = (-65*mV - v + J)/tau : mV\n"
    "    J : mV (input)\n"
    "    threshold: v >= -50*mV\n"
    "    reset: v = -65*mV\n"
    "    initial: v = -65*mV\n"
    "    method: euler\n"
    "    tau : ms ~ lognormal(10*ms, 0.5) in [2*ms, 50*ms]\n"
    "network:",
)


@pytest.mark.parametrize("density", ["moments", "grid", "particles"])
def test_a_population_without_noise_keeps_its_escape_likelihood(density):
    model = eqsnn.loads(TWO)
    given = {"I": drive(200), "J": drive(200) + 8, "h": np.zeros(200)}
    given = {name: v[None, :, None] for name, v in given.items()}
    recording = eqsnn.simulate(model, 0.2, inputs=given, parameters=TWO_TRUTH)  # fmt: skip
    data = prepare(model.definition, recording, torch.float64)
    values = {
        name: torch.tensor(np.atleast_1d(v)).unsqueeze(-1)
        for name, v in {**TWO_TRUTH, "cells.v_rest": V_REST, "cells.v_th": V_TH}.items()
    }
    found = {}
    for each in ("escape", density):
        objective = ForcedObjective(data, Forced(density=each, window=0.2, warm_up=0), 0, values)
        found[each] = objective.by_window(values, 1, 0.05)
    assert torch.allclose(found[density][1], found["escape"][1], rtol=1e-9)
    assert not torch.allclose(found[density][0], found["escape"][0], rtol=1e-2)


ANY_DENSITY = pytest.mark.parametrize("density", ["moments", "grid", "particles"])


@ANY_DENSITY
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["lif", "adaptive", "sleep"]), st.data())
def test_a_log_likelihood_is_a_finite_negative_number_up_to_the_bounds(density, name, data):
    task, truth = task_of(name, 60)
    bounds = {n.removeprefix("cells."): (p.low, p.high) for n, p in task.model.parameters().items()}
    chosen = {
        n: data.draw(st.one_of(st.sampled_from([low, high]), st.floats(low, high)), label=n)
        for n, (low, high) in bounds.items()
        if n in truth
    }
    found = task.log_likelihood(density, width=0.01, stage={"particles": 32}, **chosen)
    assert np.isfinite(found).all()
    assert (found <= 1e-6).all()


@ANY_DENSITY
def test_a_restart_has_the_likelihood_it_has_alone(density):
    task, truth = task_of("adaptive")
    stage = {"particles": 32, "window": 0.03, "warm_up": 0.02}
    taus = [8.0, 10.0, 13.0]
    together = task.log_likelihood(density, width=0.02, stage=stage, **{**truth, "tau_m": taus})
    alone = [
        task.log_likelihood(density, width=0.02, stage=stage, **{**truth, "tau_m": tau})[0]
        for tau in taus
    ]
    tolerance = 1e-3 if density == "grid" else 1e-9  # all restarts share the depth of a grid
    assert together == pytest.approx(alone, rel=tolerance)


@pytest.mark.parametrize("step", [0.05, -0.05])
def test_on_a_grid_the_truth_scores_better_than_what_surrounds_it(step):
    truth: dict[str, Any] = {"v_rest": -37.0, "tau_m": 2.5, "k": 6.0}
    task = Task(SLEEP, simulated(SLEEP, 20000, n=8, **truth))
    stage = {"window": 0.5, "warm_up": 0.05, "bins": 256}
    values = task.values(**truth)
    objective = task.objective("grid", values, **stage)

    def score(**moved):
        with torch.no_grad():
            return float(-objective(task.values(**{**truth, **moved}), 0.004) * objective.scale)

    best = score()
    assert best > score(tau_m=2.5 * (1 + step)) + 3
    assert best > score(v_rest=-37 * (1 + step)) + 3
    assert best > score(k=6 * (1 + 6 * step)) + 3


@pytest.mark.parametrize("name", ["lif", "izhikevich"])
def test_the_likelihood_after_spikes_is_that_of_what_came_next_given_what_was_before(name):
    n_steps, spikes, steps = 150, (40, 55, 100), 12
    current = drive(n_steps)

    def found(n, **stage):
        given = {"precision": "double", "bins": 64, **stage}
        if name == "lif":
            return driven(LIF, train(n_steps, *spikes)[:n], current[:n]).log_likelihood("grid", stage=given, sigma=SIGMA)[0]  # fmt: skip
        return Task(IZHIKEVICH, train(n_steps, *spikes)[:n]).log_likelihood("grid", stage=given, **RESTING)[0]  # fmt: skip

    # the steps 41 to 52, 56 to 67 and 101 to 112
    expected = sum(found(s + steps + 1) - found(s + 1) for s in (40, 55, 100))
    assert found(n_steps, after_spike=steps * 1e-3) == pytest.approx(expected, abs=1e-6)
    assert found(n_steps, after_spike=15e-3) != pytest.approx(expected, abs=1e-3)


def test_windows_that_count_as_a_whole_have_the_whole_likelihood():
    spikes = simulated(SLEEP, 400)
    task = Task(SLEEP, spikes)
    stage: dict[str, Any] = {"window": 0.1, "warm_up": 0.0}
    values = task.values()
    plain = task.objective("grid", values, **stage)
    whole = task.objective("grid", values, **stage, after_spike=1e-3, whole=0.4)
    half = task.objective("grid", values, **stage, after_spike=1e-3, whole=0.2)
    with torch.no_grad():
        at = [objective.by_window(values_of(objective, values), 1, HARD) for objective in (plain, whole, half)]  # fmt: skip
    torch.testing.assert_close(at[0], at[1])
    torch.testing.assert_close(at[2][..., [0, 3]], at[0][..., [0, 3]])
    assert bool((at[2][..., 1:3] != at[0][..., 1:3]).all())
    inside = spikes.reshape(4, 100, 2)
    counted = sum(int((np.roll(inside[k], 1, 0) > 0)[1:].sum()) for k in (1, 2))
    assert half.scale == 2 * 200 + counted
    assert whole.scale == plain.scale == 800


def values_of(objective, values):
    """The values of one restart for every window."""
    return {n: v.detach().expand(*v.shape[:-1], objective.lanes.width) for n, v in values.items()}


def test_only_a_grid_counts_steps_after_spikes_alone():
    with pytest.raises(InputError, match="not the density `moments`"):
        Forced(density="moments", after_spike=0.02)


def test_an_unknown_density_is_refused_with_the_names_of_those_there_are():
    task, truth = task_of("lif")
    with pytest.raises(InputError, match="escape, moments, grid, particles"):
        task.log_likelihood("gaussian", **truth)


def test_truncated_normal_numbers_follow_the_inverse_of_the_distribution():
    b = torch.tensor([-29.9, -12.0, -3.0, 0.0, 2.0, 9.0], dtype=torch.float64).unsqueeze(1)
    u = torch.tensor([0.01, 0.3, 0.9], dtype=torch.float64)
    b.requires_grad_()
    y = normal_below(u, b)
    with torch.no_grad():
        below = torch.special.log_ndtr(y) - torch.special.log_ndtr(b)
    assert torch.allclose(below, torch.log(u).expand_as(below), atol=1e-9)
    (slope,) = torch.autograd.grad(y.sum(), b)
    expected = (u * torch.exp((y**2 - b**2) / 2)).sum(1, keepdim=True)
    assert torch.allclose(slope, expected, rtol=1e-6)
