"""Evaluations that second-order steps take from the maximum by moments towards that of the grid, network of unknown input.

Usage: python benchmarks/second_order_steps.py [--neurons 60] [--seconds 30] [--window 0.4] [--steps 7] [--seed 0]. The network of
examples/unknown_input_network.py. Prints after each step the evaluations of all scores so far, the log-likelihood above that of the truth
(nats) and the error of the weights.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from measure import table

import eqsnn
from eqsnn.analysis.recovery import weight_error
from eqsnn.inference.maximise import maximise
from eqsnn.inference.problem import Problem, problem_of
from eqsnn.inference.second_order import Ascent, cost_of

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import unknown_input_network as network  # pyright: ignore[reportMissingImports]

WEIGHTS = "cells->cells.w"
DAMPING = 0.1  # of the first step


class Counted:
    """A problem that counts how often its scores were asked for; those of some neurons count as their share."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.evaluations = problem, 0.0

    def __getattr__(self, name: str):
        return getattr(self.problem, name)

    def scores(self, z, needed=None):
        """Return the scores of the problem."""
        self.evaluations += 1 if needed is None else cost_of(needed)
        return self.problem.scores(z, needed)


def main() -> None:
    """Print a row for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurons", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--window", type=float, default=0.4, help="seconds")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = network.model_of(arguments.neurons)
    truth = network.truth_of(arguments.neurons, np.random.default_rng(arguments.seed))
    target = eqsnn.simulate(
        model, arguments.seconds, parameters=truth, burn_in=0.5, seed=arguments.seed
    )
    values = {n: truth[n] * p.unit.scale for n, p in model.parameters().items()}
    moments = eqsnn.Forced(widths=(0.001,), density="moments", window=0.1, warm_up=0.15)
    grid = replace(moments, density="grid", bins=32, window=arguments.window)
    given = model.definition, model.parameters(), replace(target, parameters={})
    by_moments, by_grid = (problem_of(*given, stage, values) for stage in (moments, grid))
    at_truth = float(by_grid.scores(by_grid.at(values)).likelihood.sum())
    start, _ = maximise(by_moments, by_moments.at(values), 8)
    counted = Counted(by_grid)
    ascent = Ascent(counted, start)  # type: ignore[arg-type]
    ascent.damping = torch.full_like(ascent.damping, DAMPING)
    rows = []
    for step in range(arguments.steps + 1):
        if step:
            ascent.step()
            ascent.catch_up()
        weights = by_grid.values(ascent.z)[WEIGHTS][..., 0].numpy()
        above = float(ascent.posterior.sum()) - at_truth
        error = weight_error(weights, values[WEIGHTS])
        rows.append([str(step), f"{counted.evaluations:.1f}", f"{above:.0f}", f"{error:.3f}"])
        if ascent.ended:
            break
    print(f"{by_grid.packing.size} unknowns, {by_grid.windows} windows")
    print(table(["step", "evaluations", "nats above the truth", "weight error"], rows))


if __name__ == "__main__":
    main()
