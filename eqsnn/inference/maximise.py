"""maximise: the nearest maximum of a problem's likelihood by scoring steps, for several points side by side."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from eqsnn.inference.problem import Problem
from eqsnn.inference.second_order import Ascent

FIRST_DAMPING = 0.01  # near the maximum already
MOST_STEPS = 30


def maximise(
    problem: Problem, z: Mapping[str, Tensor], steps: int = MOST_STEPS
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the coordinates of a maximum near each point, and its log-likelihood (with the prior, if it counts).

    z: coordinates, points last. A step of a block that makes it worse is taken back and damped.
    """
    ascent = Ascent(problem, {n: v.detach() for n, v in z.items()})
    ascent.damping = torch.full_like(ascent.damping, FIRST_DAMPING)
    for _ in range(steps):
        ascent.step()
        ascent.catch_up()
        if ascent.ended:
            break
    return ascent.z, ascent.posterior.sum(1)


def holding(problem: Problem, k: int) -> Problem:
    """Return the problem with one coordinate of its vector held where it is."""
    packing = problem.packing
    name, flat = packing.label(k)
    places = {**packing.places, name: packing.places[name][packing.places[name] != flat]}
    owners = torch.cat([packing.owners[:k], packing.owners[k + 1 :]])
    return replace(problem, packing=replace(packing, places=places, owners=owners))
