"""What windows that stand on a cliff of a bursting neuron's likelihood do to steps and standard errors.

Usage: python benchmarks/cliffs.py [--seconds 60] [--seed 0]. The Izhikevich sleep network, its input unknown, at the truth and near
it. Prints how far the scores of REM's furthest window lie from the median (in robust standard deviations), what a
second-order step gains (nats; damping 1), and the standard error of tau_g of REM (per cent), with all scores and without outliers.
"""

import argparse
import warnings

import torch
from measure import table
from sleep import POPULATIONS, WIDTH, simulated, values_at

import eqsnn
from eqsnn.inference.curvature import curvature_of
from eqsnn.inference.problem import Problem, problem_of
from eqsnn.inference.scoring import (
    Packing,
    Scores,
    Z,
    distances,
    information,
    without_outliers,
)

PLACES: tuple[dict[str, float], ...] = (
    {}, {"rem.tau_g": 1.1, "rem->rem.w": 0.95}, {"rem.a": 0.97}, {"rem.d": 1.03}, {"rem.b": 0.998},
)  # fmt: skip
LEARNED = ["a", "b", "c", "d", "tau_g", "w"]
REM = POPULATIONS.index("rem")
NAMED = "rem.tau_g"


def furthest(scores: Scores, packing: Packing) -> float:
    """Return the largest distance from the median of REM's scores, in robust standard deviations."""
    return float(distances(scores.of_group(REM, packing.own_of_groups[REM])).max())


def gain(problem: Problem, z: Z, scores: Scores, before: float) -> float:
    """Return what a step by these scores gains, nats."""
    packing = problem.packing
    damping = torch.ones(1, packing.n_blocks + 1)
    step = curvature_of(scores, packing).joint_step(scores.gradient, damping)
    return float(problem.likelihood(packing.add(z, step.T)).sum()) - before


def error(problem: Problem, z: Z, scores: Scores) -> float:
    """Return the standard error of NAMED by these scores, in per cent of its value."""
    packing = problem.packing
    spread = information(scores, packing, independent=True)[0] + torch.eye(packing.size)
    place = next(k for k in range(packing.size) if packing.label(k)[0] == NAMED)
    deviation = float(torch.linalg.inv(spread)[place, place].sqrt())
    slope = float(problem.slopes_of_values(z, [NAMED])[NAMED].squeeze())
    return 100 * deviation * slope / float(problem.values(z)[NAMED].squeeze())


def main() -> None:
    """Compare both at each place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    warnings.simplefilter("ignore")
    model, target, _, known = simulated("izhikevich", a.seconds, a.seed)
    stage = eqsnn.Forced(
        widths=(WIDTH,), density="grid", bins=96, window=1.0, warm_up=1.0, precision="single"
    )
    learner, rows = model.learning(LEARNED), []
    for changes in PLACES:
        lane = values_at(model, {n: known[n] * f for n, f in changes.items()})
        best = {n: v[..., 0].numpy() for n, v in lane.items()}
        problem = problem_of(learner.definition, learner.parameters(), target, stage, best)
        z = problem.at(best)
        raw = problem.raw_scores(z)
        both = (raw, without_outliers(raw, problem.packing))
        before = float(raw.likelihood.sum())
        numbers = [f"{gain(problem, z, scores, before):.1f}" for scores in both]
        numbers += [f"{error(problem, z, scores):.2f}" for scores in both]
        where = ", ".join(f"{n} x {f:g}" for n, f in changes.items()) or "truth"
        rows.append([where, f"{furthest(raw, problem.packing):.0f}", *numbers])
    head = ["at", "furthest", "gain", "without outliers", "error of tau_g, %", "without outliers"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
