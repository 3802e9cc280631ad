"""Curvature: what second-order steps take the second derivatives of a log-likelihood to be.

The outer product of the scores of the windows estimates the Fisher information (Berndt, Hall, Hall & Hausman 1974) from
the one backward pass that gives the gradient. Far from the maximum, and under a likelihood that is not quite the
model's, it is much too large in some directions, so every block bends its own by what gradients changed along its
steps (BFGS, damped: Powell 1978, doi:10.1007/BFb0067703). Given the observed spikes neurons do not act on each other,
so all blocks learn a direction in each step.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.inference.scoring import Packing, Scores

LONGEST_STEP = 1.0  # of any coordinate, in units of its prior's spread
FAINT = 1e-3  # information added everywhere: that of a prior 30 times as wide as the file's
CHANCE = 3.5  # standard deviations of a correlation of two independent scores
FLAT = 0.02  # least eigenvalue of a curvature with a diagonal of one
LEAST_SHARE = 0.2  # of the curvature expected along a step that BFGS is told at least


class Curvature(NamedTuple):
    """Minus the second derivatives within each block, (restart, own, own), in the order of `packing.own_places`."""

    packing: Packing
    blocks: tuple[Tensor, ...]

    @property
    def flat(self) -> Tensor:
        """All of it as one array, (restart, entry)."""
        return torch.cat([block.flatten(1) for block in self.blocks], 1)

    def bent(self, moved: Tensor, change: Tensor, better: Tensor) -> "Curvature":
        """Return what it is after the gradient changed by -`change` along `moved`, both (restart, coordinate).

        better: whether the step made a block better, (restart, block). One that did not was too long, so it can only
        tell of more curvature than was thought.
        """
        parts = zip(self.packing.own_places, self.blocks, better.T, strict=True)
        bent = tuple(_bfgs(block, moved[:, p], change[:, p], good) for p, block, good in parts)
        return Curvature(self.packing, bent)

    def mixed(self, restart: int, chosen: Tensor) -> "Curvature":
        """Return it with that of one restart taken from others, block by block."""
        blocks = tuple(block.clone() for block in self.blocks)
        for block, other in zip(blocks, chosen.tolist(), strict=False):
            block[restart] = block[other].clone()
        return Curvature(self.packing, blocks)

    def own_step(self, gradient: Tensor, damping: Tensor) -> Tensor:
        """Return a step of every block with what is common held, (restart, coordinate).

        gradient: (restart, coordinate); damping: (restart, block + 1).
        """
        step = torch.zeros_like(gradient)
        for b, (places, block) in enumerate(zip(self.packing.own_places, self.blocks, strict=True)):
            solved = _solve(_damped(block, damping[:, b]), gradient[:, places, None])
            step[:, places] = solved.squeeze(2)
        return step.clamp(-LONGEST_STEP, LONGEST_STEP)

    def joint_step(self, scores: Scores, damping: Tensor) -> Tensor:
        """Return a step of all coordinates, (restart, coordinate); damping: (restart, block + 1).

        What is common has the outer product of scores, which tells how it is coupled to the blocks, too. By chance it
        correlates with every coordinate, and many blocks add that up, so what may be chance is left out (Bickel &
        Levina 2008, doi:10.1214/08-AOS600). The matrix has the shape of an arrow: blocks are eliminated one by one
        (Schur complement).
        """
        packing, gradient = self.packing, scores.gradient
        common, centred = packing.common_places, scores.centred
        size = centred.square().sum(2).clamp(min=FAINT).sqrt()
        by_chance = CHANCE / math.sqrt(centred.shape[2])
        rest = _damped(_outer(scores, centred, common), damping[:, -1])
        aim = gradient[:, common]
        step = torch.zeros_like(gradient)
        kept = []
        for b, (places, block) in enumerate(zip(packing.own_places, self.blocks, strict=True)):
            across = centred[:, places] @ centred[:, common].transpose(1, 2)
            told = across.abs() > by_chance * size[:, places, None] * size[:, None, common]
            across = torch.where(told, across, torch.zeros_like(across))
            across = _stretched(block, _outer(scores, centred, places), across)
            sides = torch.cat([gradient[:, places, None], across], dim=2)
            both = _solve(_damped(block, damping[:, b]), sides)
            kept.append((places, both))
            rest = rest - across.transpose(1, 2) @ both[:, :, 1:]
            aim = aim - (across.transpose(1, 2) @ both[:, :, :1]).squeeze(2)
        step[:, common] = _solve(_raised(rest), aim.unsqueeze(2)).squeeze(2)
        for places, both in kept:
            towards = (both[:, :, 1:] @ step[:, common].unsqueeze(2)).squeeze(2)
            step[:, places] = both[:, :, 0] - towards
        return step.clamp(-LONGEST_STEP, LONGEST_STEP)


def curvature_of(scores: Scores, packing: Packing) -> Curvature:
    """Return the outer product of scores about their mean, so that it holds away from the maximum, too."""
    centred = scores.centred
    return Curvature(packing, tuple(_outer(scores, centred, p) for p in packing.own_places))


def unflatten(flat: Tensor, packing: Packing) -> Curvature:
    """Return the curvature whose `flat` this is."""
    sizes = [len(places) for places in packing.own_places]
    parts = flat.split([size * size for size in sizes], 1)
    return Curvature(packing, tuple(p.unflatten(1, (n, n)) for p, n in zip(parts, sizes, strict=True)))  # fmt: skip


def _outer(scores: Scores, centred: Tensor, places: Tensor) -> Tensor:
    part = centred[:, places]
    return part @ part.transpose(1, 2) + torch.diag_embed(scores.curvature[:, places] + FAINT)


def _bfgs(block: Tensor, moved: Tensor, change: Tensor, better: Tensor) -> Tensor:
    expected = (block @ moved[:, :, None]).squeeze(2)
    along, seen = (moved * expected).sum(1), (moved * change).sum(1)
    least = LEAST_SHARE * along
    trust = torch.where(seen >= least, torch.ones_like(seen), (along - least) / (along - seen))
    told = trust[:, None] * change + (1 - trust)[:, None] * expected
    slope = (moved * told).sum(1)
    sound = (along > 0) & (slope > 0) & torch.isfinite(told).all(1) & (better | (seen > along))
    along, slope = torch.where(sound, along, 1.0), torch.where(sound, slope, 1.0)
    bent = block + _square(told) / slope[:, None, None] - _square(expected) / along[:, None, None]
    return torch.where(sound[:, None, None], bent, block)


def _square(vectors: Tensor) -> Tensor:
    return vectors[:, :, None] * vectors[:, None, :]


def _stretched(block: Tensor, base: Tensor, cross: Tensor) -> Tensor:
    """Return what couples a block to what is common, stretched as the block has been, so that correlations stay."""
    new, failed = torch.linalg.cholesky_ex(block)
    old, also = torch.linalg.cholesky_ex(base)
    found = new @ torch.linalg.solve_triangular(old, cross, upper=False)
    return torch.where(((failed == 0) & (also == 0))[:, None, None], found, cross)


def _raised(matrix: Tensor) -> Tensor:
    """Return a symmetric matrix made positive definite, with a diagonal of one: its eigenvalues' sizes, FLAT at least."""
    scale = torch.diagonal(matrix, dim1=1, dim2=2).abs().clamp(min=FAINT).sqrt()
    each = scale[:, :, None] * scale[:, None, :]
    unit = torch.nan_to_num((matrix + matrix.transpose(1, 2)) / (2 * each))
    values, vectors = torch.linalg.eigh(unit)
    sizes = torch.diag_embed(values.abs().clamp(min=FLAT))
    return each * (vectors @ sizes @ vectors.transpose(1, 2))


def _damped(block: Tensor, damping: Tensor) -> Tensor:
    diagonal = torch.diagonal(block, dim1=1, dim2=2)
    return block + torch.diag_embed(damping[:, None].to(block.dtype) * diagonal)


def _solve(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Solve for each restart; by the diagonal alone where the matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    solved = torch.cholesky_solve(vectors, factor)
    scale = torch.diagonal(matrix, dim1=1, dim2=2).abs().clamp(min=FAINT)
    return torch.where((failed == 0)[:, None, None], solved, vectors / scale[:, :, None])
