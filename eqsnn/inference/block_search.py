"""BlockSearches: searches without gradients for every block of a network whose neurons do not act on each other.

A block is a neuron with the weights onto it, or a population that shares parameters (scoring.Packing). One simulated
candidate holds a candidate of every block, so dividing the network costs nothing, and a search over ten numbers needs
far fewer candidates than one over all.
"""

from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.inference.gradient_free import Optimiser, optimiser_of, with_free
from eqsnn.inference.scoring import Packing, by_block
from eqsnn.inference.stages import GradientFree
from eqsnn.inference.state import Progress

Array = NDArray[np.float64]
COMMON_EVERY = 4  # generations: one of them searches what acts on several blocks, all blocks held
CROSSED_EVERY = 24  # generations between two recombinations of restarts


@dataclass(slots=True)
class Part:
    """A search over some places of the vector of coordinates; block: whose they are, None for what is common to several."""

    block: int | None
    places: NDArray[np.int64]
    optimiser: Optimiser
    asked: Array

    @property
    def whose(self) -> slice:
        """The blocks whose losses count: what is common to several is worth what it does to all of them."""
        return slice(None) if self.block is None else slice(self.block, self.block + 1)


class BlockSearches:
    """The searches of all blocks of all surviving restarts in a stage; `Searches` has the same face.

    Each restart has an incumbent, the best of every block so far, which is simulated anew in every generation, because
    its loss changes with what is common to several blocks. What is common needs all blocks simulated, those whose
    searches have ended, too, and may have fewer candidates for that. Every CROSSED_EVERY generations the incumbent of the
    worst restart becomes the best of every block of all; its searches go on where they are. Losses that `tell` takes are
    (restart, candidate, block), the incumbent first. settled: bool (restart, block + 1), whose searches have ended; that of
    what is common, the last, once it makes no difference to blocks that have settled, by the stage's own objective.
    chosen: the neurons whose losses count, bool (neuron,); a block without anything free is not searched.
    """

    def __init__(
        self, progress: Progress, stage: GradientFree, seed: int, packing: Packing, chosen: Tensor
    ) -> None:
        self.number, self.packing, self.stage = progress.stage, packing, stage
        self.chosen = chosen
        self.before = dict(progress.before)
        self.best = packing.vector(self.before).T.numpy().astype(float)
        restarts = len(self.best)
        self.block_loss = np.full((restarts, packing.n_blocks), np.inf)
        self.settled = np.zeros((restarts, packing.n_blocks + 1), dtype=bool)
        own = enumerate(packing.own_places)
        self.blocks = {block: places.numpy() for block, places in own if len(places)}
        self.common = packing.common_places.numpy()
        self.rngs = [
            np.random.default_rng((seed, progress.stage, n)) for n in progress.alive.tolist()
        ]
        self.parts = [self._begin(restart) for restart in range(restarts)]
        self.generation = 0
        for losses in progress.told[: progress.iteration]:
            self.ask()
            self.tell(losses)

    @property
    def best_loss(self) -> Array:
        """Loss of each incumbent, the mean over chosen neurons, (restart,)."""
        return self.block_loss.sum(1) / int(self.chosen.sum())

    @property
    def is_coarse(self) -> bool:
        """Whether this generation is guided by the stage's coarse objective."""
        return self.stage.coarse is not None and self.generation < self.stage.coarse_generations

    @property
    def together(self) -> bool:
        """Whether this generation searches what is common to several blocks."""
        turn = self._turns or self.generation % COMMON_EVERY == COMMON_EVERY - 1
        left = len(self.common) > 0 and not self.settled[:, -1].all()
        return left and (turn or not self.blocks)

    @property
    def _turns(self) -> bool:
        """Whether this is the first generation that the coarse objective does not guide."""
        return self.stage.coarse is not None and self.generation == self.stage.coarse_generations

    @property
    def ended(self) -> bool:
        """Whether no search is left."""
        return bool(self.blocks) and bool(self.settled[:, list(self.blocks)].all())

    @property
    def needed(self) -> Tensor:
        """The neurons whose losses this generation compares, bool (neuron,)."""
        return self.chosen & torch.from_numpy(self._compared())[self.packing.blocks]

    def _compared(self) -> NDArray[np.bool_]:
        """Which blocks this generation compares, (block,): all where what is common or the objective changes."""
        everything = self.together or self._turns
        return np.asarray(~self.settled[:, :-1].all(0) | everything, dtype=np.bool_)

    def ask(self) -> dict[str, Tensor]:
        """Return the incumbents and the next candidates, the last dimension (restart, candidate), the latter fastest."""
        if self._turns and len(self.common):
            self._begin_common()
        active = [self._active(restart, parts) for restart, parts in enumerate(self.parts)]
        count = 0
        for part in chain.from_iterable(active):
            part.asked = part.optimiser.ask()
            count = max(count, len(part.asked))
        asked = np.repeat(self.best[:, None], count + 1, axis=1)
        for restart, parts in enumerate(active):
            for part in parts:
                asked[restart, 1:, part.places] = part.asked.T
        return with_free(self.packing, self.before, asked)

    def tell(self, losses: Array) -> None:
        """Take the losses of the candidates asked last, (restart, candidate, block)."""
        known = np.where(np.isfinite(losses), losses, np.nan)
        known = np.where(np.isnan(known), np.nanmax(known, initial=0.0) + 1.0, known)
        self.block_loss = np.where(self._compared(), known[:, 0], self.block_loss)
        active = [self._active(restart, parts) for restart, parts in enumerate(self.parts)]
        for restart, parts in enumerate(active):
            for part in parts:
                own = known[restart, 1 : 1 + len(part.asked)]
                self._keep_best(restart, part, own)
                self._settle(restart, part, own)
                part.optimiser.tell(part.asked, own[:, part.whose].sum(1))
        self.generation += 1
        if self.generation % CROSSED_EVERY == 0:
            self._cross()

    def found(self) -> dict[str, Tensor]:
        """Return the incumbents."""
        return with_free(self.packing, self.before, self.best[:, None])

    def losses_of(self, found: Tensor) -> Array:
        """Return what `tell` takes from the losses of neurons, (neuron, lane); nan of candidates that there are none of."""
        counted = torch.where(self.chosen[:, None], found, torch.zeros_like(found))
        losses = by_block(counted, self.packing, self.packing.blocks)[:, :-1].numpy().astype(float)
        losses = losses.reshape(len(self.best), -1, losses.shape[1])
        none = max(0, self.stage.population + 1 - losses.shape[1])
        return np.pad(losses, ((0, 0), (0, none), (0, 0)), constant_values=np.nan)

    def _active(self, restart: int, parts: list[Part]) -> list[Part]:
        """The searches that take this generation."""
        settled = self.settled[restart]
        if self.together:
            return [part for part in parts if part.block is None and not settled[-1]]
        return [part for part in parts if part.block is not None and not settled[part.block]]

    def _keep_best(self, restart: int, part: Part, losses: Array) -> None:
        """Take the best of a part's candidates into the incumbent if it is better; losses: (candidate, block)."""
        own = losses[:, part.whose]
        place = int(own.sum(1).argmin())
        if own[place].sum() < self.block_loss[restart, part.whose].sum():
            self.best[restart, part.places] = part.asked[place]
            self.block_loss[restart, part.whose] = own[place]

    def _settle(self, restart: int, part: Part, losses: Array) -> None:
        """End the search of a part whose candidates are close to each other; losses: (candidate, block)."""
        done = self.settled[restart]
        if part.block is not None:
            done[part.block] = _spread(losses[:, part.block]) < self.stage.settled
        elif done[:-1].any() and not self.is_coarse:
            # on little data candidates for it are soon alike
            done[-1] = _spread(losses[:, done[:-1]].sum(1)) < self.stage.settled

    def _begin(self, restart: int) -> list[Part]:
        """Return new searches of a restart, one for each block and one for what is common, if anything is."""
        everything = {**self.blocks, None: self.common} if len(self.common) else self.blocks
        return [self._part(restart, block, places) for block, places in everything.items()]

    def _part(self, restart: int, block: int | None, places: NDArray[np.int64]) -> Part:
        """Return a new search over some places from a restart's incumbent."""
        stage = self.stage
        if block is None and stage.common:
            stage = replace(stage, population=min(stage.common, stage.population))
        search = optimiser_of(self.best[restart, places], stage, self.rngs[restart])
        return Part(block, places, search, np.zeros(0))

    def _begin_common(self) -> None:
        """Begin the searches of what is common to several blocks anew, the last part of each restart.

        They are narrow where little data ended them, which may be several standard errors from where much data end.
        """
        for restart, parts in enumerate(self.parts):
            parts[-1] = self._part(restart, None, self.common)

    def _cross(self) -> None:
        """Put the best of every block together in place of the worst incumbent, if they come from several."""
        total = self.block_loss.sum(1)
        best, worst = int(total.argmin()), int(total.argmax())
        donors = self.block_loss[:, list(self.blocks)].argmin(0)
        if len(total) < 2 or (donors == best).all():
            return
        mixed, losses = self.best[best].copy(), self.block_loss[best].copy()
        for (block, places), donor in zip(self.blocks.items(), donors, strict=True):
            mixed[places] = self.best[donor, places]
            losses[block] = self.block_loss[donor, block]
        self.best[worst], self.block_loss[worst] = mixed, losses


def _spread(losses: Array) -> float:
    """Return how far half of the candidates are from the best at least."""
    return float(np.median(losses) - losses.min())


__all__ = ["BlockSearches"]
