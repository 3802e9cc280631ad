"""BlockSearches: searches without gradients for every block of a network whose neurons do not act on each other.

A block is a neuron with the weights onto it, or a population that shares parameters (scoring.Packing). One simulated
candidate holds a candidate of every block, so dividing the network costs nothing, and a search over ten numbers needs
far fewer candidates than one over all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.inference.gradient_free import Optimiser, optimiser_of
from eqsnn.inference.scoring import Packing, by_block
from eqsnn.inference.stages import GradientFree
from eqsnn.inference.state import Progress

Array = NDArray[np.float64]
COMMON_EVERY = 4  # generations: one of them searches what acts on several blocks, all blocks held
CROSSED_EVERY = 24  # generations between two recombinations of restarts


@dataclass(slots=True)
class Part:
    """A search over some places of the vector of coordinates."""

    places: NDArray[np.int64]
    optimiser: Optimiser
    asked: Array


class BlockSearches:
    """The searches of all blocks of all surviving restarts in a stage; `Searches` has the same face.

    Each restart has an incumbent, the best of every block so far, which is simulated anew in every generation, because
    its loss changes with what is common to several blocks. Every CROSSED_EVERY generations the worst restart becomes the
    best of every block of all. Losses that `tell` takes are (restart, candidate, block), the incumbent first.
    """

    def __init__(
        self, progress: Progress, stage: GradientFree, seed: int, packing: Packing
    ) -> None:
        self.number, self.packing, self.stage = progress.stage, packing, stage
        self.before = dict(progress.before)
        self.best = packing.vector(self.before).T.numpy().astype(float)
        restarts = len(self.best)
        self.block_loss = np.full((restarts, packing.n_blocks), np.inf)
        self.blocks = [places.numpy() for places in packing.own_places]
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
        """Loss of each incumbent, the mean over neurons, (restart,)."""
        return self.block_loss.sum(1) / len(self.packing.blocks)

    @property
    def together(self) -> bool:
        """Whether this generation searches what is common to several blocks."""
        return len(self.common) > 0 and self.generation % COMMON_EVERY == COMMON_EVERY - 1

    def ask(self) -> dict[str, Tensor]:
        """Return the incumbents and the next candidates, the last dimension (restart, candidate), the latter fastest."""
        asked = np.repeat(self.best[:, None], self.stage.population + 1, axis=1)
        for restart, parts in enumerate(self.parts):
            for part in self._active(parts):
                part.asked = part.optimiser.ask()
                asked[restart, 1:, part.places] = part.asked.T
        return self._named(asked.reshape(-1, asked.shape[-1]))

    def tell(self, losses: Array) -> None:
        """Take the losses of the candidates asked last, (restart, candidate, block)."""
        known = np.where(np.isfinite(losses), losses, np.nan)
        known = np.where(np.isnan(known), np.nanmax(known, initial=0.0) + 1.0, known)
        self.block_loss = known[:, 0].copy()
        for restart, parts in enumerate(self.parts):
            for block, part in enumerate(self._active(parts)):
                own = known[restart, 1:].sum(1) if self.together else known[restart, 1:, block]
                place = int(own.argmin())
                now = self.block_loss[restart]
                if own[place] < (now.sum() if self.together else now[block]):
                    self.best[restart, part.places] = part.asked[place]
                    if self.together:
                        self.block_loss[restart] = known[restart, 1 + place]
                    else:
                        self.block_loss[restart, block] = own[place]
                part.optimiser.tell(part.asked, own)
        self.generation += 1
        if self.generation % CROSSED_EVERY == 0:
            self._cross()

    def found(self) -> dict[str, Tensor]:
        """Return the incumbents."""
        return self._named(self.best)

    def losses_of(self, found: Tensor) -> Array:
        """Return what `tell` takes from the losses of neurons, (neuron, lane)."""
        losses = by_block(found, self.packing, self.packing.blocks)[:, :-1].numpy().astype(float)
        return losses.reshape(len(self.best), -1, losses.shape[1])

    def _active(self, parts: list[Part]) -> list[Part]:
        return parts[len(self.blocks) :] if self.together else parts[: len(self.blocks)]

    def _begin(self, restart: int) -> list[Part]:
        """Return new searches of a restart, one for each block and one for what is common, if anything is."""
        everything = [*self.blocks, self.common] if len(self.common) else self.blocks
        return [
            Part(places, optimiser_of(self.best[restart, places], self.stage, self.rngs[restart]), np.zeros(0))
            for places in everything
        ]  # fmt: skip

    def _cross(self) -> None:
        """Put the best of every block together in place of the worst restart, if they come from several."""
        total = self.block_loss.sum(1)
        best, worst = int(total.argmin()), int(total.argmax())
        donors = self.block_loss.argmin(0)
        if len(total) < 2 or (donors == best).all():
            return
        mixed = self.best[best].copy()
        for places, donor in zip(self.blocks, donors, strict=True):
            mixed[places] = self.best[donor, places]
        self.best[worst] = mixed
        self.block_loss[worst] = self.block_loss.min(0)
        self.parts[worst] = self._begin(worst)

    def _named(self, flat: Array) -> dict[str, Tensor]:
        """Return parameters, (..., lane), from the free coordinates of lanes, (lane, coordinate)."""
        each = len(flat) // len(self.best)
        lanes: Mapping[str, Tensor] = {
            n: z.repeat_interleave(each, -1) for n, z in self.before.items()
        }
        step = torch.from_numpy(flat.T.copy()) - self.packing.vector(lanes)
        return self.packing.add(lanes, step)


__all__ = ["BlockSearches"]
