"""Uncertainty of a fit from the curvature of its likelihood: standard errors, intervals, and what the data leave open."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.inference.maximise import maximise
from eqsnn.inference.open_directions import Direction, open_directions
from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import QUARTILE, Packing, information
from eqsnn.inference.stages import Forced

NINETY = 1.6448536269514722  # standard deviations in half of a 90 % interval
STEP = 1.0  # of finite differences of the gradient, in conditional standard deviations
ROUNDS = 3  # until steps and the standard deviations that come out agree
SETTLED = 1.5  # ratio of the two
FEW_DIFFERENCES = 16  # pairs of gradients that cost no more than the fit itself did
WINDOWS_PER_UNKNOWN = 10  # from which on the outer product of scores is precise to some per cent
FEWER_WINDOWS = 2  # where second derivatives would take minutes: to a third or so
MOST_KEPT = 500  # unknowns up to which their whole covariance is kept
MOST_SHOWN = 6  # open directions in a summary
NEAR = 2.0  # nats
FAR = 3.0  # standard errors between the estimate and the maximum, from which on they count it and a user should know


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Standard errors and 90 % intervals, shaped like the parameters, nan where a synapse does not exist.

    source: `likelihood` (inverse Fisher information), `sandwich` (what was maximised is not the likelihood of the
    model: Huber 1967; White, Econometrica 50 (1982) 1) or `none`. note: how it was found, or why not. open: directions
    that the data leave open. stage, width: whose likelihood, at which level. covariance: of the unit-scaled coordinates
    that exist, in the order of the names, None where there are too many. nats: how far below the best restart the
    log-likelihood of each surviving one is.
    """

    std: Mapping[str, NDArray[np.float64]]
    low: Mapping[str, NDArray[np.float64]]
    high: Mapping[str, NDArray[np.float64]]
    source: str
    note: str = ""
    open: tuple[Direction, ...] = ()
    stage: Forced | None = None
    width: float = float("nan")
    covariance: NDArray[np.float64] | None = None
    nats: NDArray[np.float64] | None = None

    def scaled(self, scale: Mapping[str, float]) -> "Uncertainty":
        """Return the same in the units of the file, of which each is `scale` coherent ones."""
        std, low, high = (
            {name: value / scale[name] for name, value in values.items()}
            for values in (self.std, self.low, self.high)
        )
        return replace(self, std=std, low=low, high=high)

    def lines(self) -> list[str]:
        """Return what a summary says about it."""
        said = [f"standard errors: {self.source}" + (f" ({self.note})" if self.note else "")]
        if self.nats is not None and len(self.nats) > 1:
            near = int((self.nats < NEAR).sum())
            said.append(
                f"{near} of {len(self.nats)} surviving restarts reached the best within {NEAR:g} nats"
            )
        said += [f"open: {direction}" for direction in self.open[:MOST_SHOWN]]
        if len(self.open) > MOST_SHOWN:
            said.append(
                f"open: and {len(self.open) - MOST_SHOWN} more directions, see summary.json"
            )
        return said


def unknown_uncertainty(why: str) -> Uncertainty:
    """Return that nothing is known, and why."""
    return Uncertainty({}, {}, {}, "none", why)


@dataclass(frozen=True, slots=True)
class Laplace:
    """A Gaussian around the best restart in unit-scaled coordinates: covariance, and how far off the maximum it is."""

    covariance: Tensor
    data: Tensor  # minus the second derivatives of the log-likelihood alone
    off: float  # largest distance to the maximum, in standard errors of an estimate that is there
    source: str
    note: str


def laplace(problem: Problem, z: Mapping[str, Tensor], share: float = 1.0) -> Laplace:
    """Return the Gaussian approximation at coordinates `z` of one lane.

    share: of the data that the estimate was made from. The information is the observed one, -d2 log L, which describes
    these data better than its expectation (Efron & Hinkley, Biometrika 65 (1978) 457), by central differences of the
    gradient; for large blocks with many windows the outer product of scores (Berndt et al. 1974), corrected for its
    bias. Where the objective is no likelihood of the model, the sandwich. An estimate far from the maximum is off by that
    distance, too, as far as a Newton step tells it.
    """
    scores, packing = problem.scores(z), problem.packing
    outer = information(scores, packing, independent=problem.exact)[0]
    differences = _groups(packing)
    block = max(len(group) for group in _blocks(packing))
    costly = problem.is_costly(len(differences))
    enough = (FEWER_WINDOWS if costly else WINDOWS_PER_UNKNOWN) * block
    many = costly or len(differences) > FEW_DIFFERENCES
    if problem.exact and many and problem.windows >= enough:
        bent = unbiased(outer, problem.windows, block)
        how = "outer product of the scores"
    else:
        bent, how = curvature(problem, z, outer), "second derivatives of the log-likelihood"
        if problem.exact and float(torch.linalg.eigvalsh(bent)[0]) < -1:
            bent, how = outer, "outer product of the scores (not at a maximum of the likelihood)"
    prior = torch.diag(scores.curvature[0])
    bent, outer = bent * share, outer * share
    if problem.exact:
        covariance = torch.linalg.inv(_at_least_prior(bent + prior)[0])
    else:
        moved = shift(problem, z)
        covariance = _sandwich(bent + prior, outer + prior) + torch.diag(
            moved.square().clamp(max=1.0)
        )
        how = "with how far the maximum moves when the width doubles"
    step = share * (covariance @ scores.gradient[0])  # the scores are those of all data
    off = float((step.abs() / torch.diagonal(covariance).clamp(min=1e-300).sqrt()).max())
    if problem.exact and off > FAR:  # a sandwich has it in how far the maximum moves
        covariance = covariance + torch.diag(step.square().clamp(max=1.0))
    return Laplace(covariance, bent, off, "likelihood" if problem.exact else "sandwich", how)


def unbiased(outer: Tensor, windows: int, block: int) -> Tensor:
    """Return an outer product of scores whose inverse is right on average, for blocks of so many coordinates.

    That of a Wishart matrix S of n - 1 degrees of freedom is too large: E[S^-1] = C^-1/(n - block - 2), E[S] = (n - 1) C
    (Anderson 2003, 7.7).
    """
    return outer * ((windows - 1) / max(1, windows - block - 2))


def estimate(problem: Problem, z: Mapping[str, Tensor], share: float = 1.0) -> Uncertainty:
    """Return standard errors (delta method), 90 % intervals (mapped from the coordinates) and open directions.

    z: coordinates of one lane; share: see `laplace`. In coherent units.
    """
    found = laplace(problem, z, share)
    deviation = torch.diagonal(found.covariance).clamp(min=0).sqrt()
    packing = problem.packing
    zero = {n: torch.zeros_like(v) for n, v in z.items()}
    spread = packing.add(zero, deviation[:, None])
    exists = packing.add(zero, torch.ones(packing.size, 1, dtype=deviation.dtype))
    slopes = problem.slopes_of_values(z, z)
    std, low, high = {}, {}, {}
    for name, value in z.items():
        coordinate, here = problem.coordinates[name], exists[name] > 0
        centre = value.detach()
        found_here = (
            slopes[name].abs() * spread[name],
            coordinate.to_value(centre - NINETY * spread[name]),
            coordinate.to_value(centre + NINETY * spread[name]),
        )
        for store, tensor in zip((std, low, high), found_here, strict=True):
            store[name] = torch.where(here, tensor, torch.nan)[..., 0].detach().numpy()
    note = found.note
    if found.off > FAR:
        note += (
            f"; the estimate lies {found.off:.1f} standard errors from the maximum of the likelihood, and the distance is "
            "counted as an error: give the forced stage more iterations, or leave out the free-running one"
        )
    directions = open_directions(found.data, packing)
    kept = found.covariance.numpy() if packing.size <= MOST_KEPT else None
    return Uncertainty(
        std, low, high, found.source, note, directions, problem.stage, problem.width, kept
    )


def shift(problem: Problem, z: Mapping[str, Tensor]) -> Tensor:
    """Return how far the maximum moves when the width (or the diffusion) doubles, (coordinate,).

    A widened threshold biases the estimate; if the bias is proportional to the width, it is as large as this. One
    neuron's may happen to be small, so it is at least the median over the elements of the parameter, as a standard deviation.
    """
    here, _ = maximise(problem, z)
    there, _ = maximise(replace(problem, width=2 * problem.width), here)
    away = problem.packing.vector(there) - problem.packing.vector(here)
    left = problem.packing.vector(here) - problem.packing.vector(z)
    size, first = (away.square() + left.square()).sqrt()[:, 0], 0
    for name in problem.packing.names:
        own = size[first : first + len(problem.packing.places[name])]
        own.clamp_(min=float(own.median()) / QUARTILE if len(own) else 0.0)
        first += len(own)
    return size


def curvature(problem: Problem, z: Mapping[str, Tensor], outer: Tensor) -> Tensor:
    """Return minus the second derivatives of the log-likelihood, (coordinate, coordinate), by central differences.

    outer: the outer product of scores, for a first step. Steps are as long as the standard deviations that come out, so
    that it is the curvature over the width of an interval: a likelihood of few large inputs is rough below that.
    """
    deviation = (torch.diagonal(outer) + 1.0).rsqrt()
    found = torch.zeros_like(outer)
    for _ in range(ROUNDS):
        found = _differences(problem, z, STEP * deviation)
        conditional = (torch.diagonal(found).clamp(min=0) + 1.0).rsqrt()
        if bool((conditional < SETTLED * deviation).all()):
            break
        deviation = torch.maximum(deviation, conditional)
    return found


def _differences(problem: Problem, z: Mapping[str, Tensor], size: Tensor) -> Tensor:
    """One difference serves one coordinate of every block, because given the spikes blocks do not act on each other."""
    packing, n = problem.packing, problem.packing.size
    groups = _groups(packing)
    steps = torch.zeros(n, 2 * len(groups), dtype=size.dtype)
    for k, group in enumerate(groups):
        steps[group, 2 * k], steps[group, 2 * k + 1] = size[group], -size[group]
    lanes = {name: v.detach().expand(*v.shape[:-1], steps.shape[1]) for name, v in z.items()}
    slopes = problem.slopes(packing.add(lanes, steps))
    found, owners = torch.zeros(n, n, dtype=size.dtype), packing.owners
    for k, group in enumerate(groups):
        bend = slopes[2 * k + 1] - slopes[2 * k]
        for c in group.tolist():
            own = (owners == owners[c]) if owners[c] >= 0 else torch.ones(n, dtype=torch.bool)
            found[own, c] = bend[own] / (2 * size[c])
    common = owners < 0
    # what is common feels the steps of all blocks at once, so this part is known from its own steps only
    found[common[:, None] & ~common[None, :]] = found.T[common[:, None] & ~common[None, :]]
    return 0.5 * (found + found.T)


def _blocks(packing: Packing) -> list[Tensor]:
    """Return the coordinates of each block; what is common is one more."""
    return [(packing.owners == owner).nonzero().reshape(-1) for owner in packing.owners.unique()]


def _groups(packing: Packing) -> list[Tensor]:
    """Return coordinates that can be moved together: one of every block, or a common one alone."""
    own = [block for block in _blocks(packing) if packing.owners[block[0]] >= 0]
    longest = max((len(block) for block in own), default=0)
    together = [torch.stack([b[r] for b in own if len(b) > r]) for r in range(longest)]
    return together + [k.reshape(1) for k in (packing.owners < 0).nonzero().reshape(-1)]


def _at_least_prior(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Raise eigenvalues below that of the prior, 1, to it; return also the projection onto those raised."""
    values, vectors = torch.linalg.eigh(matrix)
    raised = vectors[:, values < 1]
    return (vectors * values.clamp(min=1.0)) @ vectors.T, raised @ raised.T


def _sandwich(bent: Tensor, outer: Tensor) -> Tensor:
    """H^-1 G H^-1, where the data say less than the prior its variance, and nowhere more than that."""
    sharp, open_part = _at_least_prior(bent)
    inverse = torch.linalg.inv(sharp)
    values, vectors = torch.linalg.eigh(inverse @ (outer + open_part) @ inverse)
    return (vectors * values.clamp(0.0, 1.0)) @ vectors.T
