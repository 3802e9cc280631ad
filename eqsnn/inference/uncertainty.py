"""Uncertainty of a fit from the curvature of its likelihood: standard errors, intervals, and what the data leave open."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.inference.coordinates import Coordinate
from eqsnn.inference.scoring import FAINT, Packing, Scores, information

WINDOWS_PER_UNKNOWN = 5  # fewer than this, and the information between blocks is taken as its expectation, 0
OPEN = 1.0  # standard deviation, in units of the prior's, from which on the data say less than the file
SHARE = 0.3  # of a direction's largest component, below which a parameter is no part of it
NINETY = 1.6448536269514722  # standard deviations in half of a 90 % interval
STEP = 1e-3  # of finite differences of the gradient, in unit-scaled coordinates
MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Direction:
    """A combination of unknowns that the data hardly determine; components by name, in unit-scaled coordinates."""

    deviation: float  # in units of the prior's
    components: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        parts = " ".join(f"{value:+.2f} {name}" for name, value in self.components)
        return f"{parts} (known to {self.deviation:.3g} of its prior's spread)"


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard errors and 90 % intervals in coherent units, nan where a synapse does not exist.

    source: `likelihood` (inverse Fisher information) or `sandwich` (the objective is not the likelihood of the model:
    Huber 1967, White 1982). open: directions that the data leave open.
    """

    std: Mapping[str, NDArray[np.float64]]
    low: Mapping[str, NDArray[np.float64]]
    high: Mapping[str, NDArray[np.float64]]
    source: str
    open: tuple[Direction, ...]


def covariance(
    scores: Scores, packing: Packing, curvature: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the covariance of the free coordinates of the first restart, and the matrix whose flat directions count.

    curvature: minus the second derivatives of the objective; with it the covariance is the sandwich
    H^-1 G H^-1, without it the inverse of the information G (Berndt et al. 1974).
    """
    whole = scores.by_window.shape[2] >= WINDOWS_PER_UNKNOWN * packing.size
    spread = information(scores, packing, whole=whole)[0]
    prior = torch.diag(scores.curvature[0] + FAINT)
    if curvature is None:
        total = _positive(spread + prior)
        return torch.linalg.inv(total), total
    bent = _positive(0.5 * (curvature + curvature.T) + prior)
    inverse = torch.linalg.inv(bent)
    return inverse @ (spread + prior) @ inverse, bent


def _positive(matrix: Tensor) -> Tensor:
    """Raise eigenvalues below that of a faint prior to it."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=FAINT)) @ vectors.T


def curvature_of(
    gradient: Callable[[Mapping[str, Tensor]], Tensor], z: Mapping[str, Tensor], packing: Packing
) -> Tensor:
    """Return minus the second derivatives of the objective, (coordinate, coordinate), by differences of its gradient.

    gradient: coordinates of several restarts -> (restart, coordinate). One difference serves one coordinate of every
    block at once, because given the spikes blocks do not act on each other.
    """
    n, owners = packing.size, packing.owners
    base = gradient(z)[0]
    found = torch.zeros(n, n, dtype=base.dtype)
    rank = torch.zeros(n, dtype=torch.long)
    for owner in owners.unique():
        own = (owners == owner).nonzero().reshape(-1)
        rank[own] = torch.arange(len(own))
    groups = [torch.tensor([k]) for k in (owners < 0).nonzero().reshape(-1)]
    inner = owners >= 0
    if bool(inner.any()):
        groups += [
            (inner & (rank == r)).nonzero().reshape(-1) for r in range(int(rank[inner].max()) + 1)
        ]
    for group in groups:
        step = torch.zeros(n, 1, dtype=base.dtype)
        step[group] = STEP
        slope = (base - gradient(packing.add(z, step))[0]) / STEP
        for k in group:
            same = (owners == owners[k]) | (owners[k] < 0)
            found[same, k] = slope[same]
    across = owners < 0
    found[across[:, None] & ~across[None, :]] = found.T[across[:, None] & ~across[None, :]]
    return found


def uncertainty_of(
    matrix: Tensor,
    bent: Tensor,
    z: Mapping[str, Tensor],
    packing: Packing,
    coordinates: Mapping[str, Coordinate],
    source: str,
) -> Uncertainty:
    """Return standard errors (delta method), 90 % intervals (mapped from the coordinates) and open directions."""
    deviation = torch.diagonal(matrix).clamp(min=0).sqrt()
    blank = {n: torch.full_like(v[..., :1], float("nan")) for n, v in z.items()}
    spread = packing.add({n: torch.zeros_like(v) for n, v in blank.items()}, deviation[:, None])
    exists = packing.add(
        {n: torch.zeros_like(v) for n, v in blank.items()}, torch.ones(packing.size, 1)
    )
    std, low, high = {}, {}, {}
    for name, value in z.items():
        centre = value[..., :1].detach().requires_grad_()
        p = coordinates[name].to_value(centre)
        (slope,) = torch.autograd.grad(p.sum(), centre)
        here = exists[name][..., 0] > 0

        def finished(tensor: Tensor, here: Tensor = here) -> NDArray[np.float64]:
            return torch.where(here, tensor[..., 0], torch.nan).detach().numpy()

        std[name] = finished(slope.abs() * spread[name])
        low[name] = finished(coordinates[name].to_value(centre - NINETY * spread[name]))
        high[name] = finished(coordinates[name].to_value(centre + NINETY * spread[name]))
    return Uncertainty(std, low, high, source, _open(bent, packing))


def _open(bent: Tensor, packing: Packing) -> tuple[Direction, ...]:
    values, vectors = torch.linalg.eigh(bent)
    found = []
    for value, vector in zip(values.tolist(), vectors.T, strict=True):
        deviation = max(value, FAINT) ** -0.5
        if deviation < OPEN:
            break
        order = vector.abs().argsort(descending=True)[:MOST_NAMED]
        largest = float(vector[order[0]])
        parts = []
        for k in order.tolist():
            if abs(float(vector[k])) < SHARE * abs(largest):
                break
            name, place = packing.label(k)
            shape = packing.shapes[name]
            where = np.unravel_index(place, shape) if np.prod(shape) > 1 else ()
            index = f"[{', '.join(str(int(i)) for i in where)}]" if len(where) else ""
            parts.append((name + index, float(vector[k]) * np.sign(largest)))
        found.append(Direction(deviation, tuple(parts)))
    return tuple(found)
