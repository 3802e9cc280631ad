"""maximise: the nearest maximum of a problem's likelihood by scoring steps, for several points side by side."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import EASIER, HARDER, propose
from eqsnn.inference.second_order import compare, places_of

ENOUGH = 0.01  # nats: a step that promises less is the last
FIRST_DAMPING = 0.01  # near the maximum already
MOST_STEPS = 20


def maximise(
    problem: Problem, z: Mapping[str, Tensor], steps: int = MOST_STEPS
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the coordinates of a maximum near each point, and its log-likelihood (with the prior, if it counts).

    z: coordinates, points last. A step of a block that makes it worse is taken back and damped.
    """
    packing, z = problem.packing, {n: v.detach() for n, v in z.items()}
    value = problem.posterior(z)
    damping = torch.full_like(value, FIRST_DAMPING)
    place = places_of(packing)
    for _ in range(steps):
        scores = problem.scores(z)
        step = propose(scores, packing, damping)
        # half of slope times step is the gain that is left, to second order
        if float((0.5 * step * scores.gradient.T).sum(0).max()) < ENOUGH:
            break
        better, risen = compare(problem, value, z, step)
        better = better | risen[:, None]
        kept = torch.where(better[:, place].T, step, torch.zeros_like(step))
        moved = packing.add(z, kept)
        reached = problem.posterior(moved)
        worse = reached.sum(1) < value.sum(1)
        z = {n: torch.where(worse, z[n], v) for n, v in moved.items()}
        value = torch.where(worse[:, None], value, reached)
        damping = (damping * torch.where(better & ~worse[:, None], EASIER, HARDER)).clamp(1e-6, 1e9)
    return z, value.sum(1)


def holding(problem: Problem, k: int) -> Problem:
    """Return the problem with one coordinate of its vector held where it is."""
    packing = problem.packing
    name, flat = packing.label(k)
    places = {**packing.places, name: packing.places[name][packing.places[name] != flat]}
    owners = torch.cat([packing.owners[:k], packing.owners[k + 1 :]])
    return replace(problem, packing=replace(packing, places=places, owners=owners))
