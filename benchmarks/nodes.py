"""How far the maximum of the grid's likelihood lies from the truth, and what an evaluation costs, over nodes and precision.

Usage: python benchmarks/nodes.py [--seconds 60] [--seed 0]. The network of examples/unknown_input_network.py, 12 LIF neurons
whose strong Poisson input nobody recorded. One Newton step from the truth, in standard errors of its parameters: mean
(a bias) and root mean square (1 for a likelihood that is the model's). Time: with all scores, for a neuron and step.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measure import table

import eqsnn
from eqsnn.inference.problem import Problem, problem_of
from eqsnn.inference.scoring import information

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import unknown_input_network as network  # pyright: ignore[reportMissingImports]

NEURONS = 12
NAMES = ("cells.v_rest", "cells.tau_m", "cells.tau_g", "cells->cells.w")
GRIDS = ((32, "single"), (32, "double"), (64, "single"), (64, "double"), (128, "single"))


def off_by(problem: Problem, z) -> tuple[dict[str, torch.Tensor], float]:
    """Return the Newton step from z in standard errors, by parameter, and the seconds its scores took."""
    problem.scores(z)  # compiles
    begin = time.monotonic()
    scores = problem.scores(z)
    took = time.monotonic() - begin
    found = information(scores, problem.packing, independent=True)[0]
    covariance = torch.linalg.inv(found + 0.01 * torch.eye(len(found), dtype=found.dtype))
    step = covariance @ scores.gradient[0] / covariance.diagonal().sqrt()
    names = [problem.packing.label(k)[0] for k in range(problem.packing.size)]
    return {n: step[[k for k, own in enumerate(names) if own == n]] for n in NAMES}, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = network.model_of(NEURONS)
    truth = network.truth_of(NEURONS, np.random.default_rng(arguments.seed))
    target = eqsnn.simulate(
        model, arguments.seconds, parameters=truth, burn_in=0.5, seed=arguments.seed
    )
    values = {n: truth[n] * p.unit.scale for n, p in model.parameters().items()}
    rows = []
    for bins, precision in GRIDS:
        stage = eqsnn.Forced(
            widths=(0.001,), density="grid", bins=bins, precision=precision, window=0.25, warm_up=0.15
        )  # fmt: skip
        problem = problem_of(
            model.definition, model.parameters(), replace(target, parameters={}), stage, values
        )
        steps, took = off_by(problem, problem.at(values))
        lanes = problem.objective.lanes
        each = took / (lanes.n_steps * lanes.width * NEURONS)
        shown = [f"{s.mean():+.2f}, {s.square().mean().sqrt():.2f}" for s in steps.values()]
        rows.append([str(bins), precision, *shown, f"{1e6 * each:.2f}"])
    print(table(["nodes", "precision", *(n.split(".")[1] for n in NAMES), "microseconds"], rows))


if __name__ == "__main__":
    main()
