"""Do stated 90 % intervals hold the truth in 90 % of cases? Truths from the prior, simulated, fitted, compared.

    python benchmarks/calibration.py [KIND] [--density grid] [--fits 200] [--seconds 20] [--seed 0] [--out FIGURE]

KIND `single`: neurons without synapses, private Poisson input integrated out; `network`: rings of three neurons with
unknown weights; `known`: the input is given and spikes are deterministic, so the errors are those of the sandwich.
Given the observed spikes every neuron is a fit of its own, so hundreds run in one network.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from measure import table
from scipy.stats import binom, kstest, norm

import eqsnn
from eqsnn.inference.coordinates import coordinate_of

NEURON = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + J*x) / tau_m : mV
    dg/dt = -g / tau_g : 1
    I_syn : mV
    x = poisson(500*Hz * dt) : 1 (constant over dt)   # private, and not in the data
    threshold: v >= -45*mV
    reset:
        v = -60*mV
        g += 1
    initial: v = -60*mV
    method: euler
    J      : mV = 16*mV
    tau_g  : ms = 6*ms
    v_rest : mV ~ normal(-60*mV, 2*mV) in [-75*mV, -46*mV]
    tau_m  : ms ~ lognormal(12*ms, 0.25) in [5*ms, 40*ms]
synapse exponential:
    I_syn_post = w * g_pre : mV (summed)
    w : mV ~ normal(0*mV, 6*mV) in [-40*mV, 40*mV]
network:
    dt = 2*ms
    cells : lif
"""
NETWORK = "    cells -> cells : exponential if floor(i/3) == floor(j/3) and i != j\n"
TRIALS = 4
BINS = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the truth lies in the stated distribution of every estimate of one kind, 0 to 1, and whether in 90 %."""

    name: str
    rank: np.ndarray
    inside: np.ndarray
    z: np.ndarray


def run(kind: str, fits: int, seconds: float, seed: int, density: str = "grid") -> list[Kind]:
    """Draw, simulate and fit; return the ranks of the truths by kind of parameter."""
    text = NEURON + (NETWORK if kind == "network" else "")
    model = eqsnn.loads(text).sized(fits)
    record = ["x"] if kind == "known" else []
    targets = eqsnn.simulate(model, seconds / TRIALS, trials=TRIALS, seed=seed, record=record)
    stage = eqsnn.Forced(iterations=150) if kind == "known" else eqsnn.Forced(
        widths=(0.005,), iterations=25, window=0.25, warm_up=0.1, density=density, bins=64,
        optimiser="scoring", prior=True,
    )  # fmt: skip
    begin = time.monotonic()
    fit = eqsnn.fit(model, targets, starts=1, stages=(stage,), validation=0.0, seed=seed)
    rates = targets.rates()
    print(
        f"{kind}: {fits} fits of {seconds:g} s each, {rates.min():.0f} to {rates.max():.0f} Hz, "
        f"{fit.status.value}, {time.monotonic() - begin:.0f} s; {fit.uncertainty.source}, {fit.uncertainty.note}"
    )
    unknown = model.parameters()
    return [_kind(name, fit, unknown[name], targets) for name in fit.learned]


def _kind(name: str, fit: eqsnn.Fit, parameter, targets: eqsnn.Recording) -> Kind:
    coordinate, scale = coordinate_of(parameter), parameter.unit.scale
    (low, high), truth = fit.interval[name], targets.parameters[name]
    here = np.isfinite(low)
    low, high, best, true = (
        coordinate.to_real(torch.from_numpy(np.asarray(v)[here] * scale)).numpy()
        for v in (low, high, fit.parameters[name], truth)
    )
    z = (true - best) / ((high - low) / (2 * norm.ppf(0.95)))
    return Kind(name, norm.cdf(z), (true >= low) & (true <= high), z)


def report(kinds: list[Kind]) -> str:
    """Return coverage by kind and pooled, each with the band that 95 % of calibrated runs fall into."""
    pooled = Kind(
        "all", *(np.concatenate([getattr(k, f) for k in kinds]) for f in ("rank", "inside", "z"))
    )
    rows = []
    for k in [*kinds, pooled]:
        n = len(k.inside)
        band = " to ".join(f"{100 * binom.ppf(q, n, 0.9) / n:.1f}" for q in (0.025, 0.975))
        rows.append(
            [k.name, str(n), f"{100 * k.inside.mean():.1f}", band, f"{k.z.mean():+.2f}", f"{k.z.std():.2f}",
             f"{kstest(k.rank, 'uniform').pvalue:.2f}"]
        )  # fmt: skip
    head = [
        "parameter",
        "intervals",
        "hold the truth, %",
        "band if 90 %",
        "mean z",
        "sd z",
        "uniform, p",
    ]
    return table(head, rows)


def draw(kinds: list[Kind], path: Path) -> None:
    """Draw the rank histograms with the band of a uniform one."""
    figure, axes = plt.subplots(1, len(kinds), figsize=(3 * len(kinds), 2.6), squeeze=False)
    for ax, k in zip(axes[0], kinds, strict=True):
        n = len(k.rank)
        ax.hist(k.rank, bins=BINS, range=(0, 1), color="tab:blue")
        ax.axhspan(*binom.ppf([0.025, 0.975], n, 1 / BINS), color="0.5", alpha=0.3)
        ax.set(title=f"{k.name}, n = {n}", xlabel="rank of the truth", xticks=[0, 0.5, 1])
    axes[0][0].set_ylabel("fits")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", choices=("single", "network", "known"), default="single")
    parser.add_argument("--density", choices=("grid", "moments"), default="grid")
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kinds = run(
        arguments.kind, arguments.fits, arguments.seconds, arguments.seed, arguments.density
    )  # fmt: skip
    print(report(kinds))
    if arguments.out is not None:
        draw(kinds, arguments.out)


if __name__ == "__main__":
    main()
