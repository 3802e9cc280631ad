"""Densities of the marginal likelihood compared by the recovery they give: errors of fitted parameters, and time.

    python benchmarks/densities.py [SECONDS] [SEEDS]

Three models whose noise is not in the data: (i) a sleep LIF neuron with Poisson counts inside a steep sigmoid, (ii) a
LIF neuron with additive noise, (iii) an adaptive LIF neuron whose adaptation follows the noisy potential. Each density
fits SECONDS (default 8) of four neurons' spikes from the same far starts, by Fisher scoring, for the same
iterations. The error of a parameter is |fitted - true|/true of the best start, median over SEEDS (default 1).
The time is that of whole fits without compilation.
"""

import sys
import time
from dataclasses import replace

import numpy as np
import torch
from measure import machine, table

import eqsnn
from eqsnn.inference.choice import choose_density
from eqsnn.inference.objectives import prepare
from eqsnn.inference.stages import Forced
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.recording import Recording

SLEEP = """
neuron cell:
    dv/dt = (v_rest - v + I) / tau_m : mV
    I = 70*mV * sigmoid(k * (x - h)) : mV
    x = poisson(500*Hz * dt) : 1 (constant over dt)
    h : 1 (input)
    threshold: v >= 30*mV
    reset: v = v_rest
    method: euler
    v_rest : mV ~ normal(-45*mV, 10*mV) in [-60*mV, -20*mV] (shared)
    tau_m : ms ~ lognormal(2*ms, 0.4) in [0.6*ms, 6*ms] (shared)
    k : 1 ~ lognormal(3, 0.5) in [0.3, 15] (shared)
network:
    dt = 1*ms
    cells : cell[4]
"""
LIF = """
neuron cell:
    dv/dt = (v_rest - v + gain*h)/tau_m + sigma*sqrt(2/tau_m)*xi : mV
    h : 1 (input)
    threshold: v >= -50*mV
    reset: v = -65*mV
    initial: v = -65*mV
    method: euler
    v_rest : mV ~ normal(-60*mV, 4*mV) in [-75*mV, -45*mV] (shared)
    gain : mV ~ lognormal(8*mV, 0.5) in [1*mV, 40*mV] (shared)
    tau_m : ms ~ lognormal(14*ms, 0.4) in [3*ms, 50*ms] (shared)
    sigma : mV ~ lognormal(3*mV, 0.5) in [0.5*mV, 15*mV] (shared)
network:
    dt = 1*ms
    cells : cell[4]
"""
ADAPTIVE = """
neuron cell:
    dv/dt = (-62*mV - v + gain*h - w)/tau_m + sigma*sqrt(2/tau_m)*xi : mV
    dw/dt = (a*(v + 62*mV) - w)/tau_w : mV
    h : 1 (input)
    threshold: v >= -50*mV
    reset:
        v = -65*mV
        w += b
    initial: v = -65*mV
    method: euler
    gain : mV ~ lognormal(10*mV, 0.5) in [1*mV, 60*mV] (shared)
    a : 1 ~ lognormal(0.5, 0.5) in [0.05, 5] (shared)
    b : mV ~ lognormal(2*mV, 0.5) in [0.1*mV, 20*mV] (shared)
    tau_w : ms ~ lognormal(60*ms, 0.4) in [10*ms, 400*ms] (shared)
    tau_m : ms ~ lognormal(14*ms, 0.4) in [3*ms, 50*ms] (shared)
    sigma : mV ~ lognormal(3*mV, 0.5) in [0.5*mV, 15*mV] (shared)
network:
    dt = 1*ms
    cells : cell[4]
"""
CASES = {
    "(i) sleep LIF, Poisson counts": (SLEEP, {"v_rest": -37.0, "tau_m": 2.5, "k": 6.0}, 0.3),
    "(ii) LIF, additive noise": (
        LIF,
        {"v_rest": -57.0, "gain": 12.0, "tau_m": 10.0, "sigma": 4.0},
        1.0,
    ),
    "(iii) adaptive LIF": (
        ADAPTIVE,
        {"gain": 18.0, "a": 0.8, "b": 3.0, "tau_w": 40.0, "tau_m": 10.0, "sigma": 4.0},
        1.0,
    ),
}
DENSITIES = ("escape", "moments", "grid", "particles")


def recording(text: str, truth: dict[str, float], size: float, seconds: float, seed: int):
    """Simulate four neurons with a known slow input and noise that is not kept."""
    model = eqsnn.loads(text)
    rng = np.random.default_rng(seed)
    trials = max(1, round(seconds / 2))
    slow = rng.standard_normal((trials, 2000, 4)).cumsum(1)
    slow -= np.concatenate([np.zeros((trials, 50, 4)), slow[:, :-50]], 1)
    given = {"h": size * (0.5 + slow / slow.std())}
    chosen = {f"cells.{name}": value for name, value in truth.items()}
    return model, eqsnn.simulate(model, 2.0, trials=trials, seed=seed, inputs=given, parameters=chosen)  # fmt: skip


def rule(model: SpikingModel, targets: Recording, truth: dict[str, float]) -> str:
    """Return what `choose_density` says at the truth."""
    at = model.with_values({f"cells.{n}": v for n, v in truth.items()})
    values = {
        name: torch.tensor(np.atleast_1d(p.draw(np.random.default_rng(0)))).unsqueeze(-1)
        for name, p in at.parameters().items()
    }
    data = prepare(model.definition, targets, torch.float64)
    choice = choose_density(data, Forced(), values)
    return f"{choice.density}: {choice.reason}" + (f" WARNING {choice.warning}" * bool(choice.warning))  # fmt: skip


def main() -> None:
    """Print one table of errors for each model, and what the rule chooses."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8.0
    seeds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    print(machine())
    stage = Forced(widths=(0.1, 0.004), iterations=10, keep=1, window=0.5, optimiser="scoring")
    for title, (text, truth, size) in CASES.items():
        rows = []
        for density in DENSITIES:
            errors, took = [], []
            for seed in range(seeds):
                model, targets = recording(text, truth, size, seconds, seed)
                stages = (replace(stage, density=density),)
                short = (replace(stages[0], iterations=1),)
                eqsnn.fit(model, targets, starts=2, stages=short, seed=seed)
                started = time.perf_counter()
                fitted = eqsnn.fit(model, targets, starts=2, stages=stages, seed=seed)
                took.append(time.perf_counter() - started)
                found = {n: np.mean(fitted.parameters[f"cells.{n}"]) for n in truth}
                errors.append([abs(found[n] / truth[n] - 1) for n in truth])
            median = np.median(errors, 0)
            rows.append([density, *(f"{e:.1%}" for e in median), f"{np.mean(took):.1f} s"])
        print(f"\n{title}, {seconds:g} s of 4 neurons, {seeds} seeds")
        print(table(["density", *truth, "time"], rows))
        model, targets = recording(text, truth, size, seconds, 0)
        print(f"rule: {rule(model, targets, truth)}", flush=True)


if __name__ == "__main__":
    main()
