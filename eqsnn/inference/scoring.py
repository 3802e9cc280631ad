"""Scores of the windows of a likelihood, and which coordinates belong to which neuron.

Windows run side by side, so one backward pass gives the gradient of each. Given the observed spikes neurons do not act
on each other, so every neuron (or population that shares parameters) is a block with steps of its own.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.simulation import setup

Z = Mapping[str, Tensor]


class Scores(NamedTuple):
    """Log-likelihood of each block, (restart, block), and its gradient by the free coordinates in each window."""

    likelihood: Tensor
    by_window: Tensor  # (restart, coordinate, window)
    prior: Tensor  # gradient of the log-prior, (restart, coordinate)
    curvature: Tensor  # minus its second derivatives, (restart, coordinate)

    @property
    def centred(self) -> Tensor:
        """The scores about their mean over windows, whose outer product holds away from the maximum, too."""
        return torch.nan_to_num(self.by_window - self.by_window.mean(2, keepdim=True))

    @property
    def gradient(self) -> Tensor:
        """Gradient of the log-posterior, (restart, coordinate)."""
        return torch.nan_to_num(self.by_window.sum(2) + self.prior)


@dataclass(frozen=True, slots=True)
class Packing:
    """Which entries of the coordinates are free, as one vector, and which of them make up a block.

    A block is a neuron with the weights onto it, or a population if it shares a parameter. places: for each name the
    flat places of its free entries. owners: the block of each entry of the vector, -1 for parameters that act on
    several blocks. blocks: the block of each neuron of the network.
    """

    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    places: Mapping[str, Tensor]
    owners: Tensor
    blocks: Tensor

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return int(self.blocks.max()) + 1

    @property
    def size(self) -> int:
        """Number of free coordinates."""
        return len(self.owners)

    @property
    def own_places(self) -> list[Tensor]:
        """For each block the places of its coordinates in the vector."""
        return [(self.owners == b).nonzero().reshape(-1) for b in range(self.n_blocks)]

    @property
    def common_places(self) -> Tensor:
        """The places in the vector of what acts on several blocks."""
        return (self.owners < 0).nonzero().reshape(-1)

    def vector(self, values: Z) -> Tensor:
        """Return (coordinate, lane) from named values whose last dimension is the lane."""
        flat = [values[n].reshape(-1, values[n].shape[-1])[self.places[n]] for n in self.names]
        return torch.cat(flat)

    def add(self, values: Z, step: Tensor) -> dict[str, Tensor]:
        """Return the values moved by a vector, (coordinate, lane)."""
        moved, first = {}, 0
        for n in self.names:
            count = len(self.places[n])
            flat = values[n].reshape(-1, values[n].shape[-1]).clone()
            flat[self.places[n]] += step[first : first + count]
            moved[n] = flat.reshape(values[n].shape)
            first += count
        return moved

    def label(self, k: int) -> tuple[str, int]:
        """Return the name and flat place of an entry of the vector."""
        for n in self.names:
            if k < len(self.places[n]):
                return n, int(self.places[n][k])
            k -= len(self.places[n])
        raise IndexError(k)


def pack(
    z: Z,
    exists: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    post: Mapping[str, str],
    global_names: Collection[str],
    *,
    held: Mapping[str, Tensor] | None = None,
) -> Packing:
    """Return the packing of coordinates; weights of synapses that do not exist are left out.

    exists: for each projection its pairs, (pre, post, 1). sizes: neurons of each spiking population, in the order of
    the network. post: the population each projection ends on. global_names: parameters that act on several blocks.
    held: entries that are not free, bool of each name's shape.
    """
    shared = {
        post.get(group, group)
        for name, value in z.items()
        if name not in global_names
        and value.shape[:-1].numel() == 1
        and sizes[post.get(group := name.rsplit(".", 1)[0], group)] > 1
    }
    first, count, blocks = {}, 0, []
    for name, size in sizes.items():
        first[name] = count
        own = 1 if name in shared else size
        blocks.append(count + torch.arange(size) % own if own > 1 else torch.full((size,), count))
        count += own
    places, shapes, owners = {}, {}, []
    for name, value in z.items():
        group, shape = name.rsplit(".", 1)[0], tuple(value.shape[:-1])
        free = setup.existing(name, shape, exists)
        if held is not None:
            free = free & ~held[name]
        places[name] = free.reshape(-1).nonzero().reshape(-1)
        shapes[name] = shape
        population = post.get(group, group)
        own = (
            places[name] % shape[-1] if population not in shared else torch.zeros_like(places[name])
        )
        own = own + first[population]
        owners.append(torch.full_like(own, -1) if name in global_names else own)
    return Packing(tuple(z), shapes, places, torch.cat(owners), torch.cat(blocks))


def scores_of(
    by_window: Callable[[Z, int], Tensor],
    log_prior: Callable[[Z], Tensor] | None,
    z: Z,
    packing: Packing,
    windows: int,
) -> Scores:
    """Return log-likelihoods and scores at z, one backward pass.

    by_window: coordinates of every lane and the number of restarts -> log-likelihoods (neuron, restart, window).
    """
    restarts = next(iter(z.values())).shape[-1]
    lanes = {
        n: v.detach().repeat_interleave(windows, dim=-1).requires_grad_() for n, v in z.items()
    }
    found = by_window(lanes, restarts)
    slopes = torch.autograd.grad(found.sum(), list(lanes.values()), allow_unused=True)
    named = {
        n: torch.zeros_like(lanes[n]) if g is None else g
        for n, g in zip(lanes, slopes, strict=True)
    }
    flat = packing.vector(named).reshape(packing.size, restarts, windows).permute(1, 0, 2)
    likelihood = by_block(found.detach().sum(2), packing, packing.blocks)
    prior = curvature = torch.zeros(restarts, packing.size, dtype=likelihood.dtype)
    if log_prior is not None:
        prior, curvature = _slopes(log_prior, z, packing)
    return Scores(likelihood, flat.detach(), prior, curvature)


def by_block(values: Tensor, packing: Packing, blocks: Tensor) -> Tensor:
    """Sum (entry, restart) over the entries of each block: (restart, block); what acts on several comes last."""
    n = packing.n_blocks
    empty = torch.zeros(n + 1, values.shape[1], dtype=values.dtype)
    return empty.index_add(0, torch.where(blocks < 0, n, blocks), values).T


def _slopes(log_prior: Callable[[Z], Tensor], z: Z, packing: Packing) -> tuple[Tensor, Tensor]:
    """Return first derivatives of the log-prior and minus its second ones, (restart, coordinate)."""
    held = {n: v.detach().requires_grad_() for n, v in z.items()}
    value = log_prior(held)
    slopes = torch.autograd.grad(value.sum(), list(held.values()), create_graph=True, allow_unused=True)  # fmt: skip
    named = {
        n: torch.zeros_like(held[n]) if g is None else g for n, g in zip(held, slopes, strict=True)
    }
    # one name at a time, because a prior around another unknown has mixed derivatives as well
    seconds = [
        torch.autograd.grad(g.sum(), held[n], retain_graph=True, allow_unused=True)[0]
        if g.requires_grad
        else None
        for n, g in named.items()
    ]
    curved = {
        n: torch.zeros_like(held[n]) if g is None else -g
        for n, g in zip(held, seconds, strict=True)
    }
    slope = packing.vector({n: g.detach() for n, g in named.items()}).T
    return slope, packing.vector(curved).T.clamp(min=0)


def information(scores: Scores, packing: Packing, *, whole: bool = False) -> Tensor:
    """Return the Fisher information of the free coordinates, (restart, coordinate, coordinate).

    The outer product of scores about their mean, so that it holds away from the optimum, too. Between blocks it is set
    to zero unless `whole`, because that is its expectation.
    """
    centred = scores.centred
    found = centred @ centred.transpose(1, 2)
    if whole:
        return found
    own = packing.owners
    return found * ((own[:, None] == own[None, :]) | (own[:, None] < 0) | (own[None, :] < 0))
