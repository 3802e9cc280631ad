"""Scores of the windows of a likelihood, and which coordinates belong to which neuron.

Windows run side by side, so one backward pass gives the gradient of each. Given the observed spikes neurons do not act
on each other, so every neuron (or population that shares parameters) is a block with steps of its own, and the
log-likelihood is a sum over blocks of functions of what is theirs and of what is common.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from eqsnn.simulation import setup

Z = Mapping[str, Tensor]
# of blocks whose scores of what is common are told apart: without paths each costs a backward pass of the known part,
# with them memory
MOST_GROUPS, MOST_WITH_PATHS = 64, 256
# robust standard deviations of a window's scores: beyond the first they are cut to the second
OUTLYING, CUT = 12.0, 6.0
QUARTILE = 0.6744897501960817  # of a normal distribution: the median size of its draws, in standard deviations
FEWEST_WINDOWS = 20  # that tell what is outlying


class Scores(NamedTuple):
    """Log-likelihood of each block, (restart, block), and its gradient by the free coordinates in each window.

    shared: what each group of blocks (`Packing.groups`) adds to the scores of what is common. Noises of neurons are
    independent, so its outer product, group by group, is far more precise than that of the sum over all.
    """

    likelihood: Tensor
    by_window: Tensor  # (restart, coordinate, window)
    shared: Tensor  # (restart, group, common coordinate, window)
    prior: Tensor  # gradient of the log-prior, (restart, coordinate)
    curvature: Tensor  # minus its second derivatives, (restart, coordinate)

    @property
    def gradient(self) -> Tensor:
        """Gradient of the log-posterior, (restart, coordinate)."""
        return torch.nan_to_num(self.by_window.sum(2) + self.prior)

    def of_group(self, group: int, own: Tensor) -> Tensor:
        """Return the scores of a group's log-likelihood by its own coordinates, at these places, and by what is common."""
        return torch.cat([self.by_window[:, own], self.shared[:, group]], 1)


class Part(NamedTuple):
    """Something between parameters and log-likelihood at which neurons can be told apart.

    value: (..., neuron, lane), in the graph of the parameters; slope: of the log-likelihood by it; neurons: of the
    network, at each place of the axis before the last.
    """

    value: Tensor
    slope: Tensor
    neurons: Tensor

    def slope_of(self, chosen: Tensor) -> Tensor:
        """Return the slope of the log-likelihood of some neurons; chosen: of all neurons, bool."""
        return self.slope * chosen[self.neurons][:, None]


@dataclass(frozen=True, slots=True)
class Packing:
    """Which entries of the coordinates are free, as one vector, and which of them make up a block.

    A block is a neuron with the weights onto it, or a population if it shares a parameter. places: for each name the
    flat places of its free entries. owners: the block of each entry of the vector, -1 for parameters that act on
    several blocks. blocks: the block of each neuron of the network. most_groups: of blocks told apart (`groups`).
    """

    names: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    places: Mapping[str, Tensor]
    owners: Tensor
    blocks: Tensor
    most_groups: int = MOST_GROUPS

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
    def groups(self) -> Tensor:
        """The group of each block. Without anything common every block is one of its own."""
        n = self.n_blocks
        few = min(n, self.most_groups) if len(self.common_places) else n
        return torch.arange(n) % few

    @property
    def own_of_groups(self) -> list[Tensor]:
        """For each group the places of its blocks' coordinates in the vector, block after block."""
        own, groups = self.own_places, self.groups
        return [
            torch.cat([own[b] for b in (groups == g).nonzero().reshape(-1).tolist()])
            for g in range(int(groups.max()) + 1)
        ]

    @property
    def block_places(self) -> Tensor:
        """The place in (block + 1) of each coordinate; what acts on several blocks comes last."""
        return torch.where(self.owners < 0, self.n_blocks, self.owners)

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


class TellsApart(Protocol):
    """How what is common to several blocks can be told apart in a single backward pass (`paths`)."""

    def perturbations(self, lanes: int) -> dict[str, Tensor]:
        """Return further parameters to differentiate by, all 0, with so many lanes."""
        ...

    def shared(self, by_synapse: Z, whole: Tensor, packing: Packing) -> Tensor:
        """Return `Scores.shared` from the derivatives by them."""
        ...


def scores_of(
    parts_of: Callable[[Z, Z, int], tuple[Tensor, Sequence[Part]]],
    log_prior: Callable[[Z], Tensor] | None,
    z: Z,
    packing: Packing,
    windows: int,
    paths: TellsApart | None = None,
) -> Scores:
    """Return log-likelihoods and scores at z, one backward pass through densities.

    parts_of: coordinates and perturbations of every lane and the number of restarts -> log-likelihoods (neuron, restart,
    window), and the parts through which they depend on both. A perturbation is one of the coordinate of its parameter.
    """
    restarts = next(iter(z.values())).shape[-1]
    lanes = {
        n: v.detach().repeat_interleave(windows, dim=-1).requires_grad_() for n, v in z.items()
    }
    perturbed = {} if paths is None else paths.perturbations(restarts * windows)
    found, parts = parts_of(lanes, perturbed, restarts)
    common = packing.common_places

    def by_window(slopes: Sequence[Tensor], names: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        aims = [*(lanes[n] for n in names), *perturbed.values()]
        found_by = torch.autograd.grad(
            [part.value for part in parts], aims, list(slopes), retain_graph=True, allow_unused=True,
        )  # fmt: skip
        named = {n: torch.zeros_like(v) for n, v in lanes.items()}
        named |= {n: g for n, g in zip(names, found_by, strict=False) if g is not None}
        flat = packing.vector(named).reshape(packing.size, restarts, windows)
        return flat.permute(1, 0, 2).detach(), list(found_by[len(names) :])

    whole, by_synapse = by_window([part.slope for part in parts], list(lanes))
    if paths is not None:
        pairs = {
            n: g.detach().reshape(*g.shape[:2], restarts, windows)
            for n, g in zip(perturbed, by_synapse, strict=True)
        }
        shared = paths.shared(pairs, whole[:, common], packing)
    else:
        shared = whole.new_zeros(restarts, len(packing.own_of_groups), len(common), windows)
        names = sorted({packing.label(int(k))[0] for k in common})
        group_of = packing.groups[packing.blocks]
        for g in range(shared.shape[1] if names else 0):
            chosen = [part.slope_of(group_of == g) for part in parts]
            shared[:, g] = by_window(chosen, names)[0][:, common]
    likelihood = by_block(found.detach().sum(2), packing, packing.blocks)
    prior = curvature = torch.zeros(restarts, packing.size, dtype=likelihood.dtype)
    if log_prior is not None:
        prior, curvature = prior_slopes(log_prior, z, packing)
    return Scores(likelihood, whole, shared, prior, curvature)


def by_block(values: Tensor, packing: Packing, blocks: Tensor) -> Tensor:
    """Sum (entry, restart) over the entries of each block: (restart, block); what acts on several comes last."""
    n = packing.n_blocks
    empty = torch.zeros(n + 1, values.shape[1], dtype=values.dtype)
    return empty.index_add(0, torch.where(blocks < 0, n, blocks), values).T


def prior_slopes(log_prior: Callable[[Z], Tensor], z: Z, packing: Packing) -> tuple[Tensor, Tensor]:
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


def without_outliers(scores: Scores, packing: Packing) -> Scores:
    """Return scores of which none of a group's windows lies far outside of the others', its direction kept.

    A likelihood with cliffs (whether a burst goes on) has windows that stand on one: their slope is a thousand times that of the
    others, holds over a thousandth of a standard error, and would be most of the gradient and of its outer product. A window
    further out than OUTLYING (`distances`) is cut to CUT (Hampel et al., Robust Statistics, 1986, 2.3: a bounded influence). Too
    few windows stay as they are.
    """
    if scores.by_window.shape[2] < FEWEST_WINDOWS:
        return scores
    by_window, shared = scores.by_window.clone(), scores.shared.clone()
    for group, own in enumerate(packing.own_of_groups):
        found = torch.nan_to_num(scores.of_group(group, own))
        middle, far = found.median(2, keepdim=True).values, distances(found)[:, None]
        cut = middle + (found - middle) * torch.where(far > OUTLYING, CUT / far, 1.0)
        by_window[:, own], shared[:, group] = cut[:, : len(own)], cut[:, len(own) :]
    by_window[:, packing.common_places] = shared.sum(1)
    return scores._replace(by_window=by_window, shared=shared)


def distances(scores: Tensor) -> Tensor:
    """Return how far each window of a group lies from the median, (restart, window); scores: as `Scores.of_group`.

    By the coordinate that says most, in robust standard deviations: of those windows that are not at the median.
    """
    away = (scores - scores.median(2, keepdim=True).values).abs()
    usual = torch.where(away > 0, away, torch.nan).nanmedian(2, keepdim=True).values / QUARTILE
    return torch.nan_to_num(away / usual).amax(1)


def centred(scores: Tensor) -> Tensor:
    """Return scores (..., window) about their mean over windows, so that their outer product holds away from the maximum."""
    return torch.nan_to_num(scores - scores.mean(-1, keepdim=True))


def information(scores: Scores, packing: Packing, *, independent: bool = False) -> Tensor:
    """Return the Fisher information of the free coordinates, (restart, coordinate, coordinate).

    The outer product of scores about their mean. Between blocks it is set to zero, because that is its expectation.
    independent: whether noises of neurons are, given the spikes; what is common then has the sum over groups of blocks.
    """
    flat = centred(scores.by_window)
    found, own = flat @ flat.transpose(1, 2), packing.owners
    found = found * ((own[:, None] == own[None, :]) | (own[:, None] < 0) | (own[None, :] < 0))
    common = packing.common_places
    if not (independent and len(common)):
        return found
    total = torch.zeros_like(found[:, common][:, :, common])
    for g, places in enumerate(packing.own_of_groups):
        part, shared = flat[:, places], centred(scores.shared[:, g])
        found[:, places[:, None], common] = across = part @ shared.transpose(1, 2)
        found[:, common[:, None], places] = across.transpose(1, 2)
        total += shared @ shared.transpose(1, 2)
    found[:, common[:, None], common] = total
    return found
