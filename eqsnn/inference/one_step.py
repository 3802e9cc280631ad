"""one_step: what was held out to choose by counts in the end, too.

One step of Newton's method up the likelihood of everything, from an estimate made from most of it, is as efficient as
the maximum of that likelihood (Le Cam's one-step estimator: van der Vaart, Asymptotic Statistics, 1998, 5.7). It costs the
scores of the held-out part and a likelihood or two, where a step of the fit costs all scores.
"""

import torch
from torch import Tensor

from eqsnn.inference.curvature import curvature_of
from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import Scores, Z
from eqsnn.inference.state import StageReport

NAME = "one step"
ATTEMPTS = 3
# nats that one block may lose for the others: chance alone puts a maximum half a nat for each coordinate above the truth
LOSS = 1.0


def one_step(
    training: Problem,
    held_out: Problem,
    z: Z,
    here: Scores | None = None,
    damping: Tensor | None = None,
) -> tuple[dict[str, Tensor], StageReport] | None:
    """Return where a step up the log-likelihood of both parts leads, with the log-prior if that counts; None if not up.

    A neuron that it would take too far stays where it is, but for what it has in common with others. If some lose all the
    same, it is the attempt that most is gained by in all.
    z: coordinates of one lane; here: the scores of the training part there, if they are known; damping: (1, block + 1) that
    steps before needed there, none if they converged. The report is of minus the log-likelihood for each neuron and step.
    """
    packing = training.packing
    scores = _joined(training.scores(z) if here is None else here, held_out.scores(z))
    curvature = curvature_of(scores, packing)
    damping = torch.zeros(1, packing.n_blocks + 1) if damping is None else damping
    before = training.with_prior(scores.likelihood, z)
    lost = torch.zeros_like(before, dtype=torch.bool)
    most, best = 0.0, None
    for _ in range(ATTEMPTS):
        # those that lost go along with what is common, and no further
        gradient = torch.where(lost[:, packing.block_places], 0.0, scores.gradient)
        there = packing.add(z, curvature.joint_step(gradient, damping).T)
        likelihood = training.likelihood(there) + held_out.likelihood(there)
        gained = training.with_prior(likelihood, there) - before
        worse = ~(gained[:, :-1] >= -LOSS)  # or not a number
        total, nobody_lost = float(gained.sum()), not bool(worse.any())
        if total > 0 and nobody_lost:
            best = there, likelihood
            break
        if total > most:
            most, best = total, (there, likelihood)
        lost[:, :-1] |= gained[:, :-1] <= 0 if nobody_lost else worse
    if best is None:
        return None
    there, likelihood = best
    size = training.objective.scale + held_out.objective.scale
    first, last = (-float(v.sum()) / size for v in (scores.likelihood, likelihood))
    slope = float(scores.gradient.square().mean().sqrt())
    return there, StageReport(NAME, 1, first, last, slope, 1, "what was held out counts, too")


def _joined(one: Scores, other: Scores) -> Scores:
    """Return the scores of two parts of the data, whose windows are as long; the prior counts once."""
    return Scores(
        one.likelihood + other.likelihood,
        torch.cat([one.by_window, other.by_window], 2),
        torch.cat([one.shared, other.shared], 3),
        one.prior,
        one.curvature,
    )
