"""Curvature: what second-order steps take the second derivatives of a log-likelihood to be.

Given the observed spikes neurons do not act on each other, so the log-likelihood is a sum over groups of blocks, each a
function of its own coordinates and of what is common. Each has a curvature of its own (partitioned quasi-Newton:
Griewank & Toint 1982, doi:10.1007/BF01399316). It is the outer product of the scores of the windows where the fit
stands, which estimates the Fisher information (Berndt, Hall, Hall & Hausman 1974) from the one backward pass that gives
the gradient. Far from the maximum, and under a likelihood that is not quite the model's, that is much too large in some
directions, so it is bent by how the gradient changed along the last step (BFGS, damped: Powell 1978,
doi:10.1007/BFb0067703).
"""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.inference.scoring import Packing, Scores, centred

LONGEST_STEP = 1.0  # of any coordinate, in units of its prior's spread
FAINT = 1e-3  # information added everywhere: that of a prior 30 times as wide as the file's
CHANCE = 3.5  # standard deviations of a correlation of two independent scores
FLAT = 1e-3  # least eigenvalue of a curvature with a diagonal of one
LEAST_SHARE = 0.6  # of the curvature expected along a step that BFGS is told at least: less leads to steps too long


class LastStep(NamedTuple):
    """The last step of every group, and what it changed, of every restart: 0 where nothing is told.

    moved: of its own coordinates and of what is common, one group after the other, (restart, entry); changed: minus the
    change of its gradient by them. Steps before it were taken elsewhere, and mislead.
    """

    moved: Tensor
    changed: Tensor

    @property
    def flat(self) -> Tensor:
        """All of it as one array, (restart, entry)."""
        return torch.cat(self, 1)

    def without(self, restart: int) -> "LastStep":
        """Return the same with that of one restart forgotten."""
        kept = torch.arange(len(self.moved)) != restart
        return LastStep(self.moved * kept[:, None], self.changed * kept[:, None])


def no_step(scores: Scores, packing: Packing) -> LastStep:
    """Return that no step was taken yet."""
    nothing = by_group(scores.by_window.new_zeros(len(scores.by_window), packing.size), packing)
    return LastStep(nothing, nothing)


def unflatten(flat: Tensor) -> LastStep:
    """Return the step whose `flat` this is."""
    return LastStep(*flat.chunk(2, 1))


def by_group(step: Tensor, packing: Packing) -> Tensor:
    """Return a step (restart, coordinate) as that of every group, one after the other, (restart, entry)."""
    common = step[:, packing.common_places]
    return torch.cat([torch.cat([step[:, p], common], 1) for p in packing.own_of_groups], 1)


def entries_of(groups: Tensor, packing: Packing) -> Tensor:
    """Return for each entry what is said of its group; groups: (..., group)."""
    return groups.repeat_interleave(torch.tensor(_sizes(packing)), -1)


def gradients(scores: Scores, packing: Packing) -> Tensor:
    """Return the gradient of every group's log-likelihood, one after the other, (restart, entry)."""
    found = [scores.of_group(g, own).sum(2) for g, own in enumerate(packing.own_of_groups)]
    return torch.nan_to_num(torch.cat(found, 1))


class Curvature(NamedTuple):
    """Minus the second derivatives of the log-likelihood of groups, (restart, own + common, own + common).

    prior: those of the log-prior, (restart, coordinate).
    """

    packing: Packing
    groups: Mapping[int, Tensor]
    prior: Tensor

    def along(self, step: Tensor) -> Tensor:
        """Return step^T C step of every group, without the prior, (restart, group); step: (restart, coordinate).

        0 for groups whose curvature was not asked for.
        """
        parts = by_group(step, self.packing).split(_sizes(self.packing), 1)
        found = step.new_zeros(len(step), len(parts))
        for g, matrix in self.groups.items():
            found[:, g] = (parts[g] * (matrix @ parts[g][:, :, None]).squeeze(2)).sum(1)
        return found

    def own_step(self, gradient: Tensor, damping: Tensor) -> Tensor:
        """Return a step of every block with what is common held, (restart, coordinate).

        gradient: (restart, coordinate); damping: (restart, block + 1).
        """
        return self.within_reach(self.solve_own(gradient, damping))

    def solve_own(self, gradient: Tensor, damping: Tensor) -> Tensor:
        """Return the inverse of every block's own curvature times a gradient, see `own_step`.

        0 for what is common, and for groups whose curvature was not asked for.
        """
        step, own = torch.zeros_like(gradient), self.packing.own_of_groups
        for g in self.groups:
            places = own[g]
            if len(places):
                solved = _solve(self._own(g, places, damping), gradient[:, places, None])
                step[:, places] = solved.squeeze(2)
        return step

    def joint_step(self, gradient: Tensor, damping: Tensor) -> Tensor:
        """Return a step of all coordinates, (restart, coordinate); damping: (restart, block + 1).

        The matrix has the shape of an arrow: groups are eliminated one by one (Schur complement).
        """
        packing = self.packing
        own, common = packing.own_of_groups, packing.common_places
        step = torch.zeros_like(gradient)
        rest = torch.diag_embed(self.prior[:, common] + FAINT)
        rest = rest + sum(_common(matrix, own[g]) for g, matrix in self.groups.items())
        rest, aim, kept = _damped(rest, damping[:, -1:]), gradient[:, common], []
        for g, places in enumerate(own):
            across = self.groups[g][:, : len(places), len(places) :]
            sides = torch.cat([gradient[:, places, None], across], dim=2)
            both = _solve(self._own(g, places, damping), sides)
            kept.append((places, both))
            rest = rest - across.transpose(1, 2) @ both[:, :, 1:]
            aim = aim - (across.transpose(1, 2) @ both[:, :, :1]).squeeze(2)
        solved = _solve(_raised(rest), aim.unsqueeze(2)).squeeze(2)
        # before blocks follow: they must not make up for what is not done
        step[:, common] = solved.clamp(-LONGEST_STEP, LONGEST_STEP)
        for places, both in kept:
            towards = (both[:, :, 1:] @ step[:, common].unsqueeze(2)).squeeze(2)
            step[:, places] = both[:, :, 0] - towards
        return self.within_reach(step)

    def within_reach(self, step: Tensor) -> Tensor:
        """Return the step with that of each block shortened to the longest, its direction kept.

        Coordinates of a neuron make up for each other, so that one cut short by itself would lead far off.
        """
        return step * self.reach(step)[:, self.packing.block_places]

    def reach(self, step: Tensor) -> Tensor:
        """Return the share of a step that each block may take, (restart, block + 1); all of what is common."""
        longest = step.new_zeros(len(step), self.packing.n_blocks + 1)
        places = self.packing.block_places.expand(len(step), -1)
        longest.scatter_reduce_(1, places, step.abs(), "amax")
        longest[:, -1] = 0
        return LONGEST_STEP / longest.clamp(min=LONGEST_STEP)

    def _own(self, group: int, places: Tensor, damping: Tensor) -> Tensor:
        part = self.groups[group][:, : len(places), : len(places)]
        part = part + torch.diag_embed(self.prior[:, places] + FAINT)
        return _damped(part, damping[:, self.packing.owners[places]])


def curvature_of(
    scores: Scores,
    packing: Packing,
    last: LastStep | None = None,
    groups: Collection[int] | None = None,
) -> Curvature:
    """Return the outer product of scores about their mean, bent by what the last step told; of all groups by default."""
    own = packing.own_of_groups
    asked = range(len(own)) if groups is None else groups
    found = {g: _outer(scores.of_group(g, own[g]), packing.owners[own[g]]) for g in asked}
    if last is not None:
        moved, changed = (part.split(_sizes(packing), 1) for part in last)
        found = {g: _bfgs(matrix, moved[g], changed[g]) for g, matrix in found.items()}
    return Curvature(packing, found, scores.curvature)


def told_by(curvature: Curvature, step: Tensor, changed: Tensor, better: Tensor) -> LastStep:
    """Return what a step (restart, coordinate) tells of every group, 0 where it says nothing.

    changed: see LastStep; better: whether the step made a group better, (restart, group). One that did not was too long,
    so it can only tell of more curvature than was thought.
    """
    packing, moved = curvature.packing, by_group(step, curvature.packing)
    places = entries_of(torch.arange(better.shape[1]), packing)
    seen = torch.zeros_like(better, dtype=moved.dtype).index_add(1, places, moved * changed)
    sound = better | (seen > curvature.along(step))
    return LastStep(moved, torch.where(sound[:, places], changed, 0.0))


def promises(scores: Scores, packing: Packing, damping: Tensor) -> Tensor:
    """Return what each block may gain by itself to second order, (restart, block), by the outer product of scores alone."""
    gradient, found = scores.gradient, torch.zeros_like(scores.likelihood[:, :-1])
    for b, places in enumerate(packing.own_places):
        part, slope = centred(scores.by_window[:, places]), gradient[:, places]
        matrix = part @ part.transpose(1, 2) + torch.diag_embed(scores.curvature[:, places] + FAINT)
        step = _solve(_damped(matrix, damping[:, b, None]), slope[:, :, None]).squeeze(2)
        found[:, b] = 0.5 * (slope * step).sum(1)
    return found


def _outer(scores: Tensor, owners: Tensor) -> Tensor:
    """Return the outer product of a group's scores, (restart, own + common, window); owners: blocks of its own coordinates.

    What may be chance between its blocks is left out: by chance the sum over several blocks of what is common correlates
    with every coordinate of each, and many blocks add that up (Bickel & Levina 2008, doi:10.1214/08-AOS600).
    """
    part = centred(scores)
    found = part @ part.transpose(1, 2)
    if len(owners.unique()) < 2:
        return found
    size = torch.diagonal(found, dim1=1, dim2=2).clamp(min=FAINT).sqrt()
    chance = CHANCE / math.sqrt(part.shape[2]) * size[:, :, None] * size[:, None, :]
    owners = torch.cat([owners, torch.full((found.shape[1] - len(owners),), -1)])
    own = owners[:, None] == owners[None, :]
    common = (owners[:, None] < 0) != (owners[None, :] < 0)
    return found * (own | (common & (found.abs() > chance)))


def _sizes(packing: Packing) -> list[int]:
    """Return the number of entries of each group: of its own coordinates, and of what is common."""
    return [len(places) + len(packing.common_places) for places in packing.own_of_groups]


def _common(matrix: Tensor, places: Tensor) -> Tensor:
    return matrix[:, len(places) :, len(places) :]


def _bfgs(matrix: Tensor, moved: Tensor, change: Tensor) -> Tensor:
    expected = (matrix @ moved[:, :, None]).squeeze(2)
    along, seen = (moved * expected).sum(1), (moved * change).sum(1)
    least = LEAST_SHARE * along
    trust = torch.where(seen >= least, torch.ones_like(seen), (along - least) / (along - seen))
    told = trust[:, None] * change + (1 - trust)[:, None] * expected
    slope = (moved * told).sum(1)
    known = (change != 0).any(1) & torch.isfinite(told).all(1)
    sound = known & (along > 0) & (slope > 0)
    along, slope = torch.where(sound, along, 1.0), torch.where(sound, slope, 1.0)
    bent = matrix + _square(told) / slope[:, None, None] - _square(expected) / along[:, None, None]
    return torch.where(sound[:, None, None], bent, matrix)


def _square(vectors: Tensor) -> Tensor:
    return vectors[:, :, None] * vectors[:, None, :]


def _raised(matrix: Tensor) -> Tensor:
    """Return a symmetric matrix made positive definite, with a diagonal of one: its eigenvalues' sizes, FLAT at least."""
    scale = torch.diagonal(matrix, dim1=1, dim2=2).abs().clamp(min=FAINT).sqrt()
    each = scale[:, :, None] * scale[:, None, :]
    unit = torch.nan_to_num((matrix + matrix.transpose(1, 2)) / (2 * each))
    values, vectors = torch.linalg.eigh(unit)
    sizes = torch.diag_embed(values.abs().clamp(min=FLAT))
    return each * (vectors @ sizes @ vectors.transpose(1, 2))


def _damped(matrix: Tensor, damping: Tensor) -> Tensor:
    """Add to the diagonal its own multiple by `damping`, (restart, coordinate or 1)."""
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    return matrix + torch.diag_embed(damping.to(matrix.dtype) * diagonal)


def _solve(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Solve for each restart; by the diagonal alone where the matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    solved = torch.cholesky_solve(vectors, factor)
    scale = torch.diagonal(matrix, dim1=1, dim2=2).abs().clamp(min=FAINT)
    return torch.where((failed == 0)[:, None, None], solved, vectors / scale[:, :, None])
