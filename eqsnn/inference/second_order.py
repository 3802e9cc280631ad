"""Second-order steps of all restarts at one level of a teacher-forced stage, and what makes a fit stop taking them."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import (
    EASIER,
    FIRST_DAMPING,
    HARDER,
    Packing,
    Scores,
    by_block,
    propose,
)
from eqsnn.inference.state import Progress

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
    """Damped steps up the log-likelihood of a problem, or its log-posterior where the prior counts."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.packing = problem, problem.packing
        self.place = places_of(self.packing)
        self.reached: Scores | None = None

    def reach(self, z: Z) -> Scores:
        """Take z as the place where the next step begins."""
        self.reached = self.problem.scores(z)
        return self.reached

    def losses(self, here: Scores) -> Tensor:
        """Return what the objective of the stage is there, (restart,)."""
        return -here.likelihood.sum(1) / self.problem.objective.scale

    def gradient(self, here: Scores, z: Z) -> dict[str, Tensor]:
        """Return the gradient by name, 0 for what is not free."""
        return self.packing.add({n: torch.zeros_like(v) for n, v in z.items()}, here.gradient.T)

    def step(self, here: Scores, z: Z, damping: Tensor) -> Step:
        """Return one damped step for every restart from z, where the scores are `here`."""
        step = propose(here, self.packing, damping)
        before = self.problem.with_prior(here.likelihood, z)
        better, risen = compare(self.problem, before, z, step)
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

    def cross(self, progress: Progress) -> bool:
        """Put the best of every block together: if that is better than any restart, it replaces the worst; whether it did.

        Given the spikes the blocks do not act on each other, so a few starts of the network are as many of each neuron.
        """
        with torch.no_grad():
            blocks = self.problem.posterior(progress.z)
            total = blocks.sum(1)
            if len(total) < 2:
                return False
            chosen = torch.cat([blocks[:, :-1].argmax(0), total.argmax().reshape(1)])
            vectors = self.packing.vector(progress.z)
            mixed = vectors.gather(1, chosen[self.place][:, None])
            worst = int(total.argmin())
            step = torch.zeros_like(vectors)
            step[:, worst] = mixed[:, 0] - vectors[:, worst]
            moved = self.packing.add(progress.z, step)
            found = self.problem.posterior(moved).sum(1)
        if found[worst] <= total.max():
            return False
        progress.z = moved
        progress.damping[worst] = FIRST_DAMPING
        return True


def places_of(packing: Packing) -> Tensor:
    """Return the place in (block + 1) of each coordinate; what acts on several blocks comes last."""
    return torch.where(packing.owners < 0, packing.n_blocks, packing.owners)


def compare(problem: Problem, before: Tensor, z: Z, step: Tensor) -> tuple[Tensor, Tensor]:
    """Return which blocks a step makes better, (restart, block + 1), and which restarts, (restart,).

    before: the log-posterior of each block at z.
    """
    there = problem.posterior(problem.packing.add(z, step))
    better = there > before
    risen = there.sum(1) > before.sum(1)
    better[:, -1] = risen
    if not bool(risen.all()):
        # each block on its own: with what is common held, no block changes the likelihood of another
        common = (problem.packing.owners < 0)[:, None]
        own = torch.where(common, torch.zeros_like(step), step)
        alone = problem.posterior(problem.packing.add(z, own)) > before
        alone[:, -1] = False
        better = torch.where(risen[:, None], better, alone)
    return better, risen
