"""Twelve LIF neurons whose input is known: a far start, by teacher forcing and by surrogate gradients alone.

Usage: python examples/known_input_network.py [--starts 4] [--trials 9] [--baseline 60] [--seed 0]. One trial of 2 s is
held out. Prints, for every surviving restart, ||W - W*||/||W*||, the mean error of v_rest (mV) and the median relative
errors of tau_m and tau_g.
"""

import argparse

import numpy as np
import torch

import eqsnn
from eqsnn.analysis.recovery import absolute_error, relative_error, weight_error
from eqsnn.inference.stages import surrogate_only

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + drive)/tau_m : mV
    dg/dt = -g/tau_g : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    method: euler
    v_rest : mV ~ uniform(-75*mV, -50*mV)
    tau_m  : ms ~ uniform(4*ms, 40*ms)
    tau_g  : ms ~ uniform(2*ms, 20*ms)

synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-30*mV, 30*mV]

network:
    dt = 1*ms
    cells : lif[12]
    cells -> cells : exponential if i != j
"""
N, SECONDS = 12, 2.0


def network(seed: int, trials: int) -> tuple[eqsnn.Model, eqsnn.Recording, dict[str, np.ndarray]]:
    """Return the model, the trials, of which the last is held out, and the truth (Dale signs, 60 % connectivity)."""
    rng = np.random.default_rng(seed)
    sign = np.where(np.arange(N) < 9, 1.0, -1.0)[:, None]
    exists = (rng.random((N, N)) < 0.6) & ~np.eye(N, dtype=bool)
    truth = {
        "cells->cells.w": np.abs(rng.normal(6, 3, (N, N))) * sign * exists,
        "cells.v_rest": rng.uniform(-65, -55, N),
        "cells.tau_m": rng.uniform(8, 20, N),
        "cells.tau_g": rng.uniform(3, 8, N),
    }
    drive = rng.poisson(0.25, (trials, round(SECONDS * 1000), N)) * 55.0
    model = eqsnn.loads(MODEL)
    return (
        model,
        eqsnn.simulate(model, SECONDS, trials=trials, inputs={"drive": drive}, parameters=truth),
        truth,
    )


def report(title: str, fit: eqsnn.Fit, truth: dict[str, np.ndarray]) -> None:
    """Print the errors of every restart that survived, and their medians."""
    rows = []
    for k in range(fit.objective.size):
        value = {name: fit.restarts[name][..., k] for name in truth}
        rows.append(
            (
                weight_error(value["cells->cells.w"], truth["cells->cells.w"]),
                absolute_error(value["cells.v_rest"], truth["cells.v_rest"]),
                relative_error(value["cells.tau_m"], truth["cells.tau_m"]),
                relative_error(value["cells.tau_g"], truth["cells.tau_g"]),
            )
        )
    median = np.median(rows, axis=0)
    print(
        f"{title}: weight error {median[0]:.3f}, v_rest {median[1]:.2f} mV, tau_m {median[2]:.1%}, tau_g {median[3]:.1%}"
    )
    print(
        f"    median of {len(rows)} restarts, {fit.seconds:.0f} s; weight errors {' '.join(f'{row[0]:.3f}' for row in rows)}"
    )


def main() -> None:
    """Run both methods from the same starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument(
        "--baseline",
        type=int,
        default=60,
        help="iterations of the surrogate gradient alone; 0: leave it out",
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, target, truth = network(arguments.seed, arguments.trials)
    rates = target.rates()
    print(
        f"target: {rates.min():.0f} to {rates.max():.0f} Hz, {arguments.trials} trials of {SECONDS:g} s"
    )
    forced = [s for s in eqsnn.plan(model, target).stages if isinstance(s, eqsnn.Forced)]
    fit = eqsnn.fit(
        model,
        target,
        starts=arguments.starts,
        seed=arguments.seed,
        validation=1 / arguments.trials,
        stages=tuple(forced),
        uncertainty=False,
    )
    report("teacher-forced likelihood, far start", fit, truth)
    if not arguments.baseline:
        return
    stages = surrogate_only(iterations=arguments.baseline)
    baseline = eqsnn.fit(model, target, starts=arguments.starts, seed=arguments.seed, stages=stages)
    report("free-running surrogate van Rossum alone, far start", baseline, truth)


if __name__ == "__main__":
    main()
