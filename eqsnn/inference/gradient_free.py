"""Searches without gradients, on the coordinates and objectives of every other fit: they show what gradients buy.

Each restart has a search of its own, begun at its start; the candidates of all restarts run side by side as lanes.
"""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.inference.scoring import Packing
from eqsnn.inference.stages import GradientFree
from eqsnn.inference.state import Progress

WITHIN = 3.0  # spreads of the priors, in which restarts of a search lie
WIDE = 0.3  # of them, from which on the step of a first generation is that of a search without a good start
VALLEY_STEP, VALLEYS = 0.3, 12
FLAT_GENERATIONS = 10  # in which all candidates are worth the same

Loss = Callable[[Mapping[str, Tensor]], Tensor]  # coordinates of many candidates to one number each


class Optimiser(Protocol):
    """Proposes the candidates of one restart and learns what they were worth; smaller is better."""

    def ask(self) -> NDArray[np.float64]:
        """Return the next generation, (candidate, coordinate)."""
        ...

    def tell(self, candidates: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        """Learn the losses, (candidate,), of what was asked last; all of them are finite."""
        ...


class RandomSearch:
    """Independent draws, in every coordinate about as wide as the prior; what any other search has to beat."""

    def __init__(
        self, start: NDArray[np.float64], stage: GradientFree, rng: np.random.Generator
    ) -> None:
        self.shape, self.rng = (stage.population, len(start)), rng

    def ask(self) -> NDArray[np.float64]:
        """Return the next generation, (candidate, coordinate)."""
        return self.rng.standard_normal(self.shape)

    def tell(self, candidates: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        """Learn nothing."""


class CmaEs:
    """CMA-ES, begun anew whenever it has converged: a wide search at a random place, a narrow one along a valley.

    Candidates stay within WITHIN spreads of the priors, or as far out as the start is: beyond, a landscape is full of
    optima that mean nothing. A valley is that of two coordinates that trade against each other, all others held at the
    best so far: it may be a thousand times as long as wide and have steps along its floor, on which a search over
    everything ends. After VALLEYS of them everything is searched again. Raises InputError if the package `cma` is not
    there. Source: Hansen 2016, arXiv:1604.00772.
    """

    def __init__(
        self, start: NDArray[np.float64], stage: GradientFree, rng: np.random.Generator
    ) -> None:
        self.cma, self.stage, self.rng = _package(), stage, rng
        self.size = len(start)
        self.best, self.best_loss = start.copy(), np.inf
        self.correlation, self.valleys = np.eye(self.size), 0
        self.begin(start, np.arange(self.size), stage.step)

    def begin(self, start: NDArray[np.float64], free: NDArray[np.int64], step: float) -> None:
        """Forget everything and begin at `start`, where some coordinates are free."""
        self.held, self.free = start.copy(), free
        # cma refuses a single coordinate; a second one that nothing depends on does no harm
        centre = np.concatenate([start[free], np.zeros(max(0, 2 - len(free)))])
        options = {
            "popsize": self.stage.population,
            "verbose": -9,
            "bounds": [np.minimum(-WITHIN, centre - 1.0), np.maximum(WITHIN, centre + 1.0)],
            # a distance between spike trains has steps: that candidates are equal does not mean that nothing is better
            "tolflatfitness": FLAT_GENERATIONS,
            # numpy's global generator belongs to the user
            "seed": np.nan,
            "randn": lambda *shape: self.rng.standard_normal(shape),
        }
        self.strategy = self.cma.CMAEvolutionStrategy(centre, step, options)

    def again(self) -> None:
        """Begin anew after convergence."""
        everything, step = np.arange(self.size), self.stage.step
        if step >= WIDE:
            drawn = np.clip(self.rng.standard_normal(self.size), 1.0 - WITHIN, WITHIN - 1.0)
            return self.begin(drawn, everything, step)
        if len(self.free) == self.size:
            self.correlation = self.strategy.sm.correlation_matrix
        self.valleys = (self.valleys + 1) % (VALLEYS + 1)
        if self.size > 2 and self.valleys:
            return self.begin(self.best, self._valley(), VALLEY_STEP)
        return self.begin(self.best, everything, step)

    def _valley(self) -> NDArray[np.int64]:
        """Return two coordinates, drawn by how much they trade against each other."""
        pairs = np.stack(np.triu_indices(self.size, 1), axis=1)
        shared = np.clip(self.correlation[pairs[:, 0], pairs[:, 1]] ** 2, 1e-6, 1.0 - 1e-6)
        odds = shared / (1.0 - shared)
        return pairs[self.rng.choice(len(pairs), p=odds / odds.sum())]

    def ask(self) -> NDArray[np.float64]:
        """Return the next generation, (candidate, coordinate)."""
        if self.strategy.stop():
            self.again()
        self.asked = self.strategy.ask()
        found = np.repeat(self.held[None], len(self.asked), axis=0)
        found[:, self.free] = np.array(self.asked)[:, : len(self.free)]
        return found

    def tell(self, candidates: NDArray[np.float64], losses: NDArray[np.float64]) -> None:
        """Move and reshape the distribution that candidates are drawn from."""
        place = int(np.argmin(losses))
        if losses[place] < self.best_loss:
            self.best, self.best_loss = candidates[place].copy(), float(losses[place])
        told = np.array(self.asked)
        told[:, : len(self.free)] = candidates[:, self.free]
        self.strategy.tell(list(told), list(losses))


OPTIMISERS: dict[
    str, Callable[[NDArray[np.float64], GradientFree, np.random.Generator], Optimiser]
] = {"cmaes": CmaEs, "random": RandomSearch}


def optimiser_of(
    start: NDArray[np.float64], stage: GradientFree, rng: np.random.Generator
) -> Optimiser:
    """Return the search that a stage names, begun at `start`. Raises InputError for a name that there is not."""
    if stage.optimiser not in OPTIMISERS:
        raise InputError(
            f"there is no optimiser `{stage.optimiser}`; there are {', '.join(OPTIMISERS)}"
        )
    return OPTIMISERS[stage.optimiser](start, stage, rng)


def _package() -> ModuleType:
    """Return `cma`, named at run time, since it loads pyplot, which takes longer than eqsnn does."""
    try:
        return importlib.import_module("cma")
    except ImportError:
        raise InputError(
            "CMA-ES needs the package `cma`, which is not here: pip install cma; or use --optimiser random"
        ) from None


class Searches:
    """The searches of all surviving restarts in a stage, over all that is free.

    They hold nothing that their seed and the losses they were told do not determine, and a checkpoint holds those:
    a resumed search asks for the same candidates again and is told what they were worth, without simulating them.
    """

    def __init__(
        self, progress: Progress, stage: GradientFree, seed: int, packing: Packing
    ) -> None:
        self.number, self.packing = progress.stage, packing
        self.before = dict(progress.before)
        self.best = packing.vector(self.before).T.numpy().astype(float)
        self.start: NDArray | None = self.best.copy()
        self.best_loss: NDArray[np.float64] = np.full(len(self.best), np.inf)
        self.optimisers = [
            optimiser_of(start, stage, np.random.default_rng((seed, progress.stage, number)))
            for start, number in zip(self.best, progress.alive.tolist(), strict=True)
        ]
        for losses in progress.told[: progress.iteration]:
            self.ask()
            self.tell(losses)

    def ask(self) -> dict[str, Tensor]:
        """Return the next candidates, the last dimension of each coordinate (restart, candidate), the latter fastest."""
        self.asked = np.stack([optimiser.ask() for optimiser in self.optimisers])
        if self.start is not None:
            # nothing worse than its start is ever returned
            self.asked[:, 0], self.start = self.start, None
        return with_free(self.packing, self.before, self.asked)

    def tell(self, losses: NDArray[np.float64]) -> None:
        """Take the losses of the candidates asked last, (restart, candidate)."""
        finite = np.where(np.isfinite(losses), losses, np.inf)
        for n, optimiser in enumerate(self.optimisers):
            own = finite[n]
            place = int(np.argmin(own))
            if own[place] < self.best_loss[n]:
                self.best_loss[n], self.best[n] = own[place], self.asked[n, place]
            # only their order counts
            worst = own[np.isfinite(own)].max(initial=0.0) + 1.0
            optimiser.tell(self.asked[n], np.where(np.isfinite(own), own, worst))

    def found(self) -> dict[str, Tensor]:
        """Return the best coordinates of each restart so far."""
        return with_free(self.packing, self.before, self.best[:, None])

    def losses_of(self, found: Tensor) -> NDArray[np.float64]:
        """Return losses by restart and candidate from those by lane."""
        return found.numpy().astype(float).reshape(len(self.optimisers), -1)


def with_free(
    packing: Packing, before: Mapping[str, Tensor], free: NDArray[np.float64]
) -> dict[str, Tensor]:
    """Return coordinates by name whose free entries are (restart, candidate, coordinate), and all others as `before`.

    The last dimension of before is the restart, that of the result (restart, candidate), the latter fastest.
    """
    lanes = {n: z.repeat_interleave(free.shape[1], -1) for n, z in before.items()}
    wanted = torch.from_numpy(free.reshape(-1, free.shape[-1]).T.copy())
    return packing.add(lanes, wanted - packing.vector(lanes))


class Searching(Protocol):
    """What a stage without gradients asks for candidates, generation after generation."""

    number: int  # of the stage

    @property
    def best_loss(self) -> NDArray[np.float64]:
        """Loss of the best of each restart so far, (restart,)."""
        ...

    def ask(self) -> dict[str, Tensor]:
        """Return the next candidates of all restarts."""
        ...

    def tell(self, losses: NDArray[np.float64]) -> None:
        """Take the losses of the candidates asked last."""
        ...

    def found(self) -> dict[str, Tensor]:
        """Return the best coordinates of each restart so far."""
        ...

    def losses_of(self, found: Tensor) -> NDArray[np.float64]:
        """Return what `tell` takes from what the objective returned."""
        ...


def explore(progress: Progress, searches: Searching, loss: Loss) -> Tensor:
    """Try one generation for every surviving restart; return the best objective of each so far, (restart,).

    The coordinates in `progress` are the best so far at any moment, so that a fit may be interrupted here.
    """
    with torch.no_grad():
        losses = searches.losses_of(loss(searches.ask()))
    searches.tell(losses)
    progress.told = np.concatenate(
        [progress.told[: progress.iteration].reshape(-1, *losses.shape), losses[None]]
    )
    progress.z = searches.found()
    return torch.from_numpy(searches.best_loss.copy())
