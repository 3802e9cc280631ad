"""LIF networks whose strong Poisson input nobody recorded: weights and neurons from spikes alone, far starts.

Usage: python examples/unknown_input_network.py [--neurons 12] [--seconds 30,100] [--starts 6] [--seed 0] [--max-time
SECONDS] [--bound] [--plot FILE]. Private noise (250 events a second of 55 mV) is integrated out. Prints ||W - W*||/||W*||, the
correlation of W with W*, the mean error of v_rest (mV), median relative errors of tau_m and tau_g, and how many stated
90 % intervals hold the truth. Up to 12 neurons any pair may be connected and 60 % are; of more, a tenth of all
pairs is, and the fit knows which. --bound fits nothing: it prints the weight error that no unbiased estimate is expected to
be below, from the Fisher information at the truth (Cramer & Rao). --plot draws the errors over the length of the recording.
"""

import argparse
import math
import time
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import LogLocator

import eqsnn
from eqsnn.analysis.recovery import absolute_error, relative_error, weight_error
from eqsnn.inference.curvature import FAINT
from eqsnn.inference.problem import last_forced, problem_of
from eqsnn.inference.scoring import information
from eqsnn.inference.uncertainty import unbiased

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
    cells -> cells : exponential if {pairs}
"""
SPARSE = "i != j and (i*i + 3*j)*(j*j + 5*i) % 101 % 11 == 0"  # a tenth of all pairs
INHIBITION = 3.0  # times as strong in these larger networks, so that excitation does not run away
UNSCALED = 50  # neurons, from which on weights shrink with the square root of the number of inputs


def model_of(n: int) -> eqsnn.Model:
    """Return the network of n neurons with its unknowns."""
    return eqsnn.loads(
        MODEL.replace("{n}", str(n)).replace("{pairs}", "i != j" if n <= 12 else SPARSE)
    )


def truth_of(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a network with Dale signs."""
    sign = np.where(np.arange(n) < 0.75 * n, 1.0, -1.0)[:, None]
    i, j = np.indices((n, n))
    exists = rng.random((n, n)) < 0.6
    if n > 12:
        exists = (i * i + 3 * j) * (j * j + 5 * i) % 101 % 11 == 0
        sign = np.where(sign < 0, INHIBITION * sign, sign) * min(1.0, math.sqrt(UNSCALED / n))
    return {
        "cells->cells.w": np.abs(rng.normal(6, 3, (n, n))) * sign * (exists & (i != j)),
        "cells.v_rest": rng.uniform(-65, -55, n),
        "cells.tau_m": rng.uniform(8, 20, n),
        "cells.tau_g": rng.uniform(3, 8, n),
    }


def bound(model: eqsnn.Model, truth: dict[str, np.ndarray], target: eqsnn.Recording) -> float:
    """Return the expected error of the weights of an efficient estimate, relative to their size."""
    forced = last_forced(eqsnn.plan(model, target).stages)
    assert forced is not None  # the noise is unknown
    sized = model.sized(target.n_units)
    scale = {name: p.unit.scale for name, p in sized.parameters().items()}
    best = {name: truth[name] * scale[name] for name in scale}
    problem = problem_of(sized.definition, sized.parameters(), target, forced, best)
    z, packing = problem.at(best), problem.packing
    found = information(problem.scores(z), packing, independent=True)[0]
    found = unbiased(found, problem.windows, len(packing.own_places[0]))
    found = found + FAINT * torch.eye(len(found), dtype=found.dtype)
    spread = torch.linalg.inv(found).diagonal().sqrt()[:, None]
    deviation = packing.add({n: torch.zeros_like(v) for n, v in z.items()}, spread)
    name = "cells->cells.w"
    error = (problem.slopes_of_values(z, [name])[name] * deviation[name])[..., 0].numpy()
    return float(np.linalg.norm(error) / np.linalg.norm(best[name]))


def draw(path: str, seconds: list[float], found: list[dict[str, float]]) -> None:
    """Draw each error over the length of the recording, with the slope of 1/sqrt(T)."""
    figure, axes = plt.subplots(
        1, len(found[0]), figsize=(3 * len(found[0]), 2.8), layout="constrained"
    )
    for axis, name in zip(axes, found[0], strict=True):
        values = [errors[name] for errors in found]
        axis.loglog(seconds, values, "o-", label="fit")
        middle = np.exp(np.mean(np.log(np.array(values) * np.sqrt(seconds))))
        axis.loglog(seconds, middle / np.sqrt(seconds), "k:", label=r"$1/\sqrt{T}$")
        axis.set_xticks(seconds, [f"{length:g}" for length in seconds])
        axis.minorticks_off()
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.set(title=name, xlabel="recording (s)")
    axes[0].legend()
    figure.savefig(path)


def main() -> None:
    """Fit the same network from recordings of several lengths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=12)
    parser.add_argument("--seconds", default="30,100")
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-time", type=float, default=float("inf"))
    parser.add_argument("--bound", action="store_true")
    parser.add_argument("--plot")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = model_of(arguments.neurons)
    truth = truth_of(arguments.neurons, np.random.default_rng(arguments.seed))
    lengths, found = [float(text) for text in arguments.seconds.split(",")], []
    for seconds in lengths:
        target = eqsnn.simulate(model, seconds, parameters=truth, burn_in=0.5, seed=arguments.seed)
        target = replace(target, parameters={})
        if arguments.bound:
            print(
                f"{seconds:g} s: weight error of an efficient estimate {bound(model, truth, target):.3f}",
                flush=True,
            )
            continue
        began = time.monotonic()
        fit = eqsnn.fit(
            model, target, starts=arguments.starts, seed=arguments.seed, validation=0.1,
            max_time=arguments.max_time,
        )  # fmt: skip
        took = time.monotonic() - began
        w, known = fit.parameters["cells->cells.w"], truth["cells->cells.w"]
        pairs = ~np.eye(len(w), dtype=bool) if len(w) <= 12 else known != 0
        held = [
            ((low <= truth[name]) & (truth[name] <= high))[np.isfinite(low)]
            for name, (low, high) in fit.interval.items()
        ]
        errors = {
            "weights": weight_error(w, known),
            "v_rest (mV)": absolute_error(fit.parameters["cells.v_rest"], truth["cells.v_rest"]),
            "tau_m": relative_error(fit.parameters["cells.tau_m"], truth["cells.tau_m"]),
            "tau_g": relative_error(fit.parameters["cells.tau_g"], truth["cells.tau_g"]),
        }
        found.append(errors)
        print(
            f"{seconds:g} s, {target.rates().mean():.0f} Hz: weight error {errors['weights']:.3f}, "
            f"correlation {np.corrcoef(w[pairs], known[pairs])[0, 1]:.4f}, v_rest {errors['v_rest (mV)']:.2f} mV, "
            f"tau_m {errors['tau_m']:.1%}, tau_g {errors['tau_g']:.1%}, "
            f"90 % intervals hold {np.mean(np.concatenate(held)) if held else math.nan:.0%}, {took:.0f} s, {fit.status.value}",
            flush=True,
        )
        for report in fit.stages:
            print(f"    {report}", flush=True)
    if arguments.plot:
        draw(arguments.plot, lengths, found)


if __name__ == "__main__":
    main()
