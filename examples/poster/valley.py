"""The valley of c and d of the Izhikevich REM neurons, input known: where its floor lies, how deep it is, how wide.

Usage: python examples/poster/valley.py [--seed 0]. For each d the best c is looked for, everything else at the truth; printed
are the van Rossum distance there (10 ms, guided by the observed spikes, mean of the REM neurons) and its largest
within 0.002 mV of c. A spike one millisecond off costs 0.095, divided by the 40 trains that the mean is of.
"""

import argparse

import experiments
import numpy as np
import protocol
import torch

from eqsnn.inference.objectives import FreeObjective, prepare
from eqsnn.inference.pipeline import GUIDED

KIND = "izhikevich"
REM = slice(protocol.EACH, 2 * protocol.EACH)
D = (1.1, 1.2, 1.25, 1.3, 1.35, 1.4, 1.5, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0, 3.5, 4.0)  # mV/ms
SLOPE = 0.58  # ms, of c along the floor, near enough to begin with
SEARCHED = ((0.12, 61), (0.012, 61), (0.002, 41))  # mV on both sides, and how many values of c
SURROGATE_WIDTH = 0.1  # no gradient is taken


def main() -> None:
    """Print a line for each d."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.set_num_threads(1)
    target = experiments.with_inputs(experiments.target_of("A", KIND, a.seed, 0.0))
    model = protocol.network(KIND)
    data = prepare(model.definition, target, torch.float64)
    objective = FreeObjective(data, GUIDED, a.seed)
    parameters = model.parameters()
    rng = np.random.default_rng(0)
    true = {n: torch.from_numpy(p.draw(rng)).double().unsqueeze(-1) for n, p in parameters.items()}

    def distances(c: np.ndarray, d: float) -> np.ndarray:
        lanes = {n: v.repeat(*[1] * (v.dim() - 1), len(c)) for n, v in true.items()}
        lanes["rem.c"][:] = torch.from_numpy(c * parameters["rem.c"].unit.scale)
        lanes["rem.d"][:] = d * parameters["rem.d"].unit.scale
        with torch.no_grad():
            return objective.by_neuron(lanes, SURROGATE_WIDTH)[REM].mean(0).numpy()

    print("| d, mV/ms | best c, mV | distance | within 0.002 mV up to |\n|---|---|---|---|")
    truth = protocol.truth_of(KIND)
    for d in D:
        c = float(truth["rem.c"][0] + SLOPE * (d - truth["rem.d"][0]))
        found = np.zeros(0)
        for width, number in SEARCHED:
            tried = np.linspace(c - width, c + width, number)
            found = distances(tried, d)
            c = float(tried[found.argmin()])
        print(f"| {d:.2f} | {c:.4f} | {found.min():.3f} | {found.max():.2f} |", flush=True)


if __name__ == "__main__":
    main()
