"""Second-order steps of all restarts at one level of a teacher-forced stage, and what makes a fit stop taking them."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.scoring import (
    EASIER,
    FIRST_DAMPING,
    HARDER,
    Scores,
    by_block,
    propose,
    scores_of,
)
from eqsnn.inference.state import Progress
from eqsnn.inference.unknowns import Unknowns

ENOUGH = 0.02  # nats: a step that promises less is the last
STUCK = 1e6  # damping at which no step helps

Z = Mapping[str, Tensor]


class Step(NamedTuple):
    """What is left of a proposed step once all that made it worse is taken back.

    move: (coordinate, restart). damping: of the next step, (restart, block + 1). ended: why this is the last step, ""
    if it is not.
    """

    move: Tensor
    damping: Tensor
    ended: str


class Ascent:
    """Damped steps up the log-likelihood, or with `prior` the log-posterior, of a forced stage at one width.

    z: where it begins; only the shapes of the coordinates matter.
    """

    def __init__(
        self, unknowns: Unknowns, objective: ForcedObjective, z: Z, width: float, *, prior: bool
    ) -> None:
        self.unknowns, self.objective, self.width, self.prior = unknowns, objective, width, prior
        self.packing = unknowns.packing(z, objective)
        packing = self.packing
        self.common = packing.owners < 0
        self.place = torch.where(self.common, packing.n_blocks, packing.owners)
        self.reached: Scores | None = None

    def scores(self, z: Z) -> Scores:
        """Return log-likelihoods and window scores at z."""

        def by_window(lanes: Z, restarts: int) -> Tensor:
            values = self.unknowns.everything(lanes)
            return self.objective.by_window(values, restarts, self.width)

        prior = self.unknowns.log_prior if self.prior else None
        return scores_of(by_window, prior, z, self.packing, self.objective.lanes.width)

    def blocks(self, z: Z) -> Tensor:
        """Return the log-likelihood, or log-posterior, of each block, (restart, block)."""
        restarts = next(iter(z.values())).shape[-1]
        lanes = {n: v.repeat_interleave(self.objective.lanes.width, -1) for n, v in z.items()}
        values = self.unknowns.everything(lanes)
        by_neuron = self.objective.by_window(values, restarts, self.width).sum(2)
        found = by_block(by_neuron, self.packing, self.packing.blocks)
        return found + self.unknowns.log_prior(z)[:, None] if self.prior else found

    def reach(self, z: Z) -> Scores:
        """Take z as the place where the next step begins."""
        self.reached = self.scores(z)
        return self.reached

    def losses(self, here: Scores) -> Tensor:
        """Return what the objective of the stage is there, (restart,)."""
        return -here.likelihood.sum(1) / self.objective.scale

    def gradient(self, here: Scores, z: Z) -> dict[str, Tensor]:
        """Return the gradient by name, 0 for what is not free."""
        return self.packing.add({n: torch.zeros_like(v) for n, v in z.items()}, here.gradient.T)

    def step(self, here: Scores, z: Z, damping: Tensor) -> Step:
        """Return one damped step for every restart from z, where the scores are `here`."""
        step = propose(here, self.packing, damping)
        better, risen = self.compare(here, z, step)
        taken = torch.where(risen[:, None], torch.ones_like(better), better)
        move = torch.where(taken[:, self.place].T, step, torch.zeros_like(step))
        damping = (damping * torch.where(better, EASIER, HARDER)).clamp(1e-6, 1e9)
        # half of slope times step is the gain that is left, to second order
        left = by_block(0.5 * step * here.gradient.T, self.packing, self.packing.owners)
        stuck = damping > STUCK
        ended = ""
        if bool((((left < ENOUGH) & (better | (damping < 1))) | stuck).all()):
            ended = (
                "no step makes it better"
                if bool(stuck.any())
                else f"a further step promises less than {ENOUGH:g} nats"
            )
        return Step(move, damping, ended)

    def compare(self, here: Scores, z: Z, step: Tensor) -> tuple[Tensor, Tensor]:
        """Return which blocks a step makes better, (restart, block + 1), and which restarts, (restart,)."""
        with torch.no_grad():
            before = self.blocks(z) if self.prior else here.likelihood
            there = self.blocks(self.packing.add(z, step))
            better = there > before
            risen = there.sum(1) > before.sum(1)
            better[:, -1] = risen
            if not bool(risen.all()):
                # each block on its own: with what is common held, no block changes the likelihood of another
                own = torch.where(self.common[:, None], torch.zeros_like(step), step)
                alone = self.blocks(self.packing.add(z, own)) > before
                alone[:, -1] = False
                better = torch.where(risen[:, None], better, alone)
        return better, risen

    def cross(self, progress: Progress) -> None:
        """Put the best of every block together: if that is better than any restart, it replaces the worst.

        Given the spikes the blocks do not act on each other, so a few starts of the network are as many of each neuron.
        """
        with torch.no_grad():
            blocks = self.blocks(progress.z)
            total = blocks.sum(1)
            if len(total) < 2:
                return
            chosen = torch.cat([blocks[:, :-1].argmax(0), total.argmax().reshape(1)])
            vectors = self.packing.vector(progress.z)
            mixed = vectors.gather(1, chosen[self.place][:, None])
            worst = int(total.argmin())
            step = torch.zeros_like(vectors)
            step[:, worst] = mixed[:, 0] - vectors[:, worst]
            moved = self.packing.add(progress.z, step)
            found = self.blocks(moved).sum(1)
        if found[worst] > total.max():
            progress.z = moved
            progress.damping[worst] = FIRST_DAMPING
