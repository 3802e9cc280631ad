"""LIF networks whose strong Poisson input nobody recorded: weights and neurons from spikes alone, far starts.

Usage: python examples/unknown_input_network.py [--neurons 12] [--seconds 30,100] [--starts 6] [--seed 0]. Private noise
(250 events a second of 55 mV) is integrated out. Prints ||W - W*||/||W*||, the correlation of W with W*, the mean error
of v_rest (mV), median relative errors of tau_m and tau_g, and how many stated 90 % intervals hold the truth.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch

import eqsnn
from eqsnn.analysis.recovery import absolute_error, relative_error, weight_error

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + 55*mV*x)/tau_m : mV
    dg/dt = -g/tau_g : 1
    x = poisson(250*Hz * dt) : 1 (constant over dt)
    I_syn : mV
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
    cells : lif[{n}]
    cells -> cells : exponential if i != j
"""


def truth_of(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a network with Dale signs; 60 % of 12 neurons are connected, of more as many inputs each."""
    sign = np.where(np.arange(n) < 0.75 * n, 1.0, -1.0)[:, None]
    exists = (rng.random((n, n)) < min(0.6, 7.0 / n)) & ~np.eye(n, dtype=bool)
    return {
        "cells->cells.w": np.abs(rng.normal(6, 3, (n, n))) * sign * exists,
        "cells.v_rest": rng.uniform(-65, -55, n),
        "cells.tau_m": rng.uniform(8, 20, n),
        "cells.tau_g": rng.uniform(3, 8, n),
    }


def main() -> None:
    """Fit the same network from recordings of several lengths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=12)
    parser.add_argument("--seconds", default="30,100")
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = eqsnn.loads(MODEL.replace("{n}", str(arguments.neurons)))
    truth = truth_of(arguments.neurons, np.random.default_rng(arguments.seed))
    for seconds in (float(text) for text in arguments.seconds.split(",")):
        target = eqsnn.simulate(model, seconds, parameters=truth, burn_in=0.5, seed=arguments.seed)
        fit = eqsnn.fit(
            model, replace(target, parameters={}), starts=arguments.starts, seed=arguments.seed, validation=0.1
        )  # fmt: skip
        w, known = fit.parameters["cells->cells.w"], truth["cells->cells.w"]
        pairs = ~np.eye(len(w), dtype=bool)
        held = [
            ((low <= truth[name]) & (truth[name] <= high))[np.isfinite(low)]
            for name, (low, high) in fit.interval.items()
        ]
        print(
            f"{seconds:g} s, {target.rates().mean():.0f} Hz: weight error {weight_error(w, known):.3f}, "
            f"correlation {np.corrcoef(w[pairs], known[pairs])[0, 1]:.4f}, "
            f"v_rest {absolute_error(fit.parameters['cells.v_rest'], truth['cells.v_rest']):.2f} mV, "
            f"tau_m {relative_error(fit.parameters['cells.tau_m'], truth['cells.tau_m']):.1%}, "
            f"tau_g {relative_error(fit.parameters['cells.tau_g'], truth['cells.tau_g']):.1%}, "
            f"90 % intervals hold {np.mean(np.concatenate(held)):.0%}, "
            f"{fit.seconds:.0f} s",
            flush=True,
        )
        for report in fit.stages:
            print(f"    {report}", flush=True)


if __name__ == "__main__":
    main()
