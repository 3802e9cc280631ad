"""The grid's likelihood of the Izhikevich sleep network against that of free paths, where one parameter is changed.

Usage: python benchmarks/free_paths.py [wake rem nrem] [--seconds 20] [--paths 10000] [--bins 64] [--seed 0]. Paths
follow the model's equations in numpy with counts of their own; after each step those that belie the observed spikes are
replaced by others. Nothing is approximated but by their number. Prints nats: at the truth, and changes from there.
"""

import argparse
import time

import numpy as np
import torch
from numpy.typing import NDArray
from sleep import EACH, POPULATIONS, WIDTH, log_likelihoods, simulated, values_at

import eqsnn
from eqsnn.inference.likelihood import ForcedObjective

Array = NDArray[np.float64]
WARM_UP_S = 1.0
CHANGES = (
    ("a", 0.9), ("a", 1.1), ("b", 0.995), ("b", 1.005), ("c", 0.9995), ("c", 1.0005), ("d", 0.9), ("d", 1.1),
)  # fmt: skip


def synaptic_input(spikes: Array, known: dict[str, float], population: str) -> Array:
    """Return what the observed spikes, (time, neuron), send to a population in each step; known: all parameters."""
    tau = np.repeat([known[f"{p}.tau_g"] for p in POPULATIONS], EACH)
    weight = np.repeat([known[f"{p}->{population}.w"] for p in POPULATIONS], EACH)  # fmt: skip
    trace, sent = np.zeros(len(tau)), np.zeros(len(spikes))
    for t, fired in enumerate(spikes > 0):
        sent[t] = weight @ trace
        trace = np.where(fired, 1.0, trace - trace / tau)
    return sent


def by_paths(spikes: Array, sent: Array, neuron: dict[str, float], paths: int, seed: int) -> float:
    """Return the log-likelihood of the trains of a population, (time, neuron), after the warm-up."""
    rng = np.random.default_rng(seed)
    shape = (spikes.shape[1], paths)
    v, u, total = np.full(shape, neuron["c"]), np.full(shape, neuron["d"]), 0.0
    for t, seen in enumerate(spikes > 0.5):
        drive = sent[t] + rng.poisson(0.5, shape)
        for _ in range(2):
            v = v + 0.5 * (0.04 * v * v + 5 * v + 140 - u + drive)
        u = u + neuron["a"] * (neuron["b"] * v - u)
        fitting = (v >= 30) == seen[:, None]
        if t >= WARM_UP_S * 1000:
            total += np.log(np.maximum(fitting.sum(1), 0.01) / paths).sum()
        reset = seen | ~fitting.any(1)
        v[reset], u[reset] = neuron["c"], neuron["d"]
        for n in np.flatnonzero(~reset & ~fitting.all(1)):
            lost = np.flatnonzero(~fitting[n])
            chosen = rng.choice(np.flatnonzero(fitting[n]), len(lost))
            v[n, lost], u[n, lost] = v[n, chosen], u[n, chosen]
    return total


def main() -> None:
    """Evaluate the truth and each change of it, population by population."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("populations", nargs="*", default=[], choices=[*POPULATIONS, []])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--paths", type=int, default=10000)
    parser.add_argument("--bins", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    model, target, data, known = simulated("izhikevich", a.seconds, a.seed)
    whole = eqsnn.Forced(
        widths=(WIDTH,),
        density="grid",
        bins=a.bins,
        window=a.seconds - WARM_UP_S,
        warm_up=WARM_UP_S,
    )

    objective = ForcedObjective(data, whole, 0, values_at(model, {}))

    spikes = target.dense()[0].astype(float)
    chosen = [p for p in POPULATIONS if p in (a.populations or POPULATIONS)]
    print("| change | " + " | ".join(f"{p}, paths | {p}, grid" for p in chosen) + " |")
    print("|---" * (1 + 2 * len(chosen)) + "|")
    sent = {p: synaptic_input(spikes, known, p) for p in chosen}
    started, truth = time.perf_counter(), {}
    for quantity, factor in ((None, 1.0), *CHANGES):
        changed = {f"{p}.{quantity}": known[f"{p}.{quantity}"] * factor for p in POPULATIONS} if quantity else {}  # fmt: skip
        grid, cells = log_likelihoods(objective, values_at(model, changed))[:, 0], []
        for p in chosen:
            place = POPULATIONS.index(p)
            neuron = {q: (known | changed)[f"{p}.{q}"] for q in "abcd"}
            own = spikes[:, EACH * place : EACH * (place + 1)]
            paths = by_paths(own, sent[p], neuron, a.paths, a.seed)
            here = (paths, float(grid[place]))
            truth.setdefault(p, here)
            cells += [x - t if quantity else x for x, t in zip(here, truth[p], strict=True)]
        name = f"{quantity} x {factor:g}" if quantity else "truth"
        print(f"| {name} | " + " | ".join(f"{x:.0f}" for x in cells) + " |", flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
