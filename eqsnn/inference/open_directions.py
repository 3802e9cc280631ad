"""What the data leave open: combinations of unknowns along which the likelihood hardly changes, by name."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eqsnn.inference.scoring import Packing

OPEN = 1.0  # information, in units of the prior's, below which the data say less than the file
FLAT = 1e-2  # of it, below which they say nothing
SHARE = 0.25  # of a direction's largest component, below which a parameter is no part of it
ROTATIONS = 100


@dataclass(frozen=True, slots=True)
class Direction:
    """A combination of unknowns that the data hardly determine; components by name, in units of the priors' spreads.

    information: what the data say about it, in units of what the prior says; 0: nothing.
    """

    information: float
    components: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        moves = [f"{name} {'up' if value > 0 else 'down'}" for name, value in self.components]
        if len(moves) == 1:
            name = self.components[0][0]
            return f"{name}: the spikes say less about it than the model file does"
        hardly = "" if self.information < FLAT else "hardly "
        verb = f"{hardly}change the spikes" if hardly else "leave the spikes unchanged"
        return f"{', '.join(moves)} {verb}"


def open_directions(data: Tensor, packing: Packing) -> tuple[Direction, ...]:
    """Return the directions that the data leave open, the most open first.

    data: minus the second derivatives of the log-likelihood by unit-scaled coordinates, without a prior. Within the
    space of open directions any basis would do; it is turned so that each names few parameters (varimax: Kaiser,
    Psychometrika 23 (1958) 187).
    """
    values, vectors = torch.linalg.eigh(data)
    found: list[Direction] = []
    for chosen in (values < FLAT, (values >= FLAT) & (values < OPEN)):
        if not bool(chosen.any()):
            continue
        for vector in varimax(vectors[:, chosen].numpy()).T:
            known = max(0.0, float(vector @ data.numpy() @ vector))
            found.append(Direction(known, _components(vector, packing)))
    return tuple(sorted(found, key=lambda direction: direction.information))


def varimax(basis: np.ndarray) -> np.ndarray:
    """Return a basis of the same space, (coordinate, direction), turned until its vectors are sparse."""
    n, k = basis.shape
    rotation, before = np.eye(k), 0.0
    for _ in range(ROTATIONS):
        turned = basis @ rotation
        aim = basis.T @ (turned**3 - turned * (turned**2).sum(0) / n)
        left, strength, right = np.linalg.svd(aim)
        rotation = left @ right
        if strength.sum() < before * (1 + 1e-8):
            break
        before = strength.sum()
    return basis @ rotation


def _components(vector: np.ndarray, packing: Packing) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-np.abs(vector))
    largest = vector[order[0]]
    chosen = [int(k) for k in order if abs(vector[k]) >= SHARE * abs(largest)]
    return tuple((_name(k, packing), float(vector[k] * np.sign(largest))) for k in chosen)


def _name(k: int, packing: Packing) -> str:
    name, place = packing.label(k)
    shape = packing.shapes[name]
    if int(np.prod(shape)) == 1:
        return name
    return f"{name}[{', '.join(str(int(i)) for i in np.unravel_index(place, shape))}]"
