"""Second-order steps of all restarts at one level of a teacher-forced stage, and what makes a fit stop taking them."""

from collections.abc import Callable

import torch
from torch import Tensor

from eqsnn.inference.curvature import (
    Curvature,
    LastStep,
    curvature_of,
    entries_of,
    gradients,
    no_step,
    promises,
    told_by,
    unflatten,
)
from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import Scores, Z, by_block

FIRST_DAMPING = 1.0
EASIER, HARDER = 0.3, 6.0  # factors of the damping after a success, and after a failure
COMMON_HARDER = 2.0  # of what is common after a failure, for which blocks may be to blame
# share of the gain expected from a step: from which on it is a success, below which a failure
GOOD, POOR = 0.5, 0.25
LEAST, MOST = 1e-6, 1e9
# nats for each coordinate: a step that promises less is the last. Chance alone puts a maximum half a nat for each above
# the truth, so a hundredth of that does not matter.
ENOUGH = 0.005
# blocks that hold most of what all promise by themselves are behind, if they have few of the neurons, as shares of all
MOST_OF, FEW = 2 / 3, 0.34
# what steps of theirs may cost after one of all, and what scores of no neuron cost, as shares of scores of all
LONGEST, OVERHEAD = 2.0, 0.05
STUCK = 1e6  # damping at which no step helps


class Ascent:
    """Damped steps up the log-likelihood of a problem, or its log-posterior where the prior counts.

    In a step all coordinates of a restart move together. If that made it worse, every block moves by itself, what is
    common to several held, and keeps its step if that made it better. Without anything common blocks always do. Blocks
    far behind catch up.
    damping: (restart, block + 1), the last of what is common. last: `LastStep.flat`, to go on from.
    """

    def __init__(
        self, problem: Problem, z: Z, damping: Tensor | None = None, last: Tensor | None = None
    ) -> None:
        self.problem, self.packing = problem, problem.packing
        self.place = self.packing.block_places
        self.z = dict(z)
        self.here = problem.scores(z)
        self.ended = ""
        shape = (len(self.here.likelihood), self.packing.n_blocks + 1)
        self.damping, self.last = torch.full(shape, FIRST_DAMPING), no_step(self.here, self.packing)
        if damping is not None and tuple(damping.shape) == shape:
            self.damping = damping
            if last is not None and last.shape == self.last.flat.shape:
                self.last = unflatten(last)

    @property
    def posterior(self) -> Tensor:
        """Log-posterior of every block here, (restart, block + 1)."""
        return self.problem.with_prior(self.here.likelihood, self.z)

    @property
    def losses(self) -> Tensor:
        """What the objective of the stage is here, (restart,)."""
        return -self.here.likelihood.sum(1) / self.problem.objective.scale

    @property
    def gradient(self) -> dict[str, Tensor]:
        """The gradient by name, 0 for what is not free."""
        empty = {n: torch.zeros_like(v) for n, v in self.z.items()}
        return self.packing.add(empty, self.here.gradient.T)

    def scores_at(self, z: Z) -> Scores | None:
        """Return the scores of the restart that stands at these coordinates of one lane, None if none does."""
        for k in range(len(self.damping)):
            if all(torch.equal(v[..., k : k + 1], z[n]) for n, v in self.z.items()):
                return Scores(*(part[k : k + 1] for part in self.here))
        return None

    def step(self) -> None:
        """Take a step. `ended` says why it was the last, if it was."""
        apart = torch.ones_like(self.damping[:, :-1], dtype=torch.bool)
        if len(self.packing.common_places):
            apart = self._together()
        if bool(apart.any()):
            self._apart(apart)

    def catch_up(self, has_time: Callable[[float], bool] = lambda _: True) -> None:
        """Move blocks on by themselves that are far behind the others, what is common held; none if `has_time` says no.

        Where a fit stands some spikes are next to impossible for a few neurons, which need many steps from there. Scores of
        few neurons cost little. has_time: whether there is time for this share of what scores of all take.
        """
        spent = 0.0
        while self.problem.spares and self._told_apart and not self.ended:
            behind = self._behind()
            share = cost_of(behind[self.packing.blocks])
            spent += share
            if not bool(behind.any()) or spent > LONGEST or not has_time(share):
                return
            self._apart(behind.expand(len(self.damping), -1))

    def _together(self) -> Tensor:
        """Move all coordinates of every restart; return which blocks have yet to move, those of restarts that got worse.

        In a large network some neuron nearly always steps too far, and loses more than all others gain. So there is a
        second attempt, in which those that lost follow what is common to all, but take no step of their own. If what others
        gained would not be worth it, there is none, and those that lost alone have yet to move.
        """
        curvature = curvature_of(self.here, self.packing, self.last)
        gradient = self.here.gradient
        step = curvature.joint_step(gradient, self.damping)
        promise = 0.5 * (step * gradient).sum(1)
        z, there, after = self._try(step)
        gained = after - self.posterior
        lost = ~(gained > 0)
        lost[:, -1] = False
        failed = ~(gained.sum(1) > 0)
        worth = gained.clamp(min=0).sum(1) > ENOUGH * self.packing.size
        again = failed & worth & ~lost[:, :-1].all(1)
        yet = torch.where(worth[:, None], True, lost[:, :-1])
        lost = lost & again[:, None]
        if bool(again.any()):
            gradient = torch.where(lost[:, self.place], 0.0, gradient)
            step = curvature.joint_step(gradient, self.damping)
            z, there, after = self._try(step)
            gained = torch.where(again[:, None], after - self.posterior, gained)
        hoped = (step * gradient).sum(1) - 0.5 * self._bend(curvature, step)
        total = gained.sum(1)
        risen, better = total > 0, gained[:, :-1] > 0
        self._learn(curvature, step, there, better, torch.ones_like(better))
        # a step that was not taken says nothing of the blocks that it would have made better
        own = torch.where(better & ~lost[:, :-1], torch.where(risen[:, None], EASIER, 1.0), HARDER)
        common = torch.where(total > GOOD * hoped, EASIER, torch.where(total < POOR * hoped, COMMON_HARDER, 1.0))  # fmt: skip
        self.damping = (self.damping * torch.cat([own, common[:, None]], 1)).clamp(LEAST, MOST)
        self.z = {n: torch.where(risen, v, self.z[n]) for n, v in z.items()}
        self.here = _of_restarts(self.here, there, risen)
        sound = risen | (self.damping[:, -1] < 1)
        self._end((promise < ENOUGH * self.packing.size) & sound)
        return yet & ~risen[:, None]

    def _apart(self, chosen: Tensor) -> None:
        """Move blocks by themselves, what is common held; chosen: bool (restart, block)."""
        packing, gradient = self.packing, self.here.gradient
        asked = chosen.any(0)
        everybody = bool(asked.all())
        groups = None if everybody else packing.groups[asked].unique().tolist()
        curvature = curvature_of(self.here, packing, self.last, groups)
        step = curvature.own_step(gradient, self.damping)
        chosen = torch.cat([chosen, torch.zeros_like(chosen[:, :1])], 1)
        step = torch.where(chosen[:, self.place], step, 0.0)
        _, there, after = self._try(step, None if everybody else asked[packing.blocks])
        better = (after > self.posterior) & chosen
        self._learn(curvature, step, there, better[:, :-1], chosen[:, :-1])
        taken = better[:, self.place]
        self.z = packing.add(self.z, torch.where(taken, step, 0.0).T)
        if self._told_apart or bool((better[:, :-1] == better[:, :1]).all()):
            self.here = self._of_blocks(there, better, taken)
        else:  # what is common to blocks of which some went and some stayed was seen at neither place
            self.here = self.problem.scores(self.z)
        own = torch.where(chosen, torch.where(better, EASIER, HARDER), 1.0)
        self.damping = (self.damping * own).clamp(LEAST, MOST)
        if not len(packing.common_places) and everybody:
            sound = better[:, :-1] | (self.damping[:, :-1] < 1)
            promise = self._by_block(0.5 * step * gradient)[:, :-1]
            sizes = torch.tensor([len(places) for places in packing.own_places])
            self._end(((promise <= ENOUGH * sizes) & sound).all(1))

    @property
    def _told_apart(self) -> bool:
        """Whether every block is a group of its own."""
        return len(self.packing.own_of_groups) == self.packing.n_blocks

    def _behind(self) -> Tensor:
        """Return which blocks have most of what all have to gain by themselves; none if they are many, bool (block,)."""
        packing = self.packing
        promise = promises(self.here, packing, self.damping).sum(0)
        order = promise.argsort(descending=True)
        most = promise[order].cumsum(0) >= MOST_OF * promise.sum()
        behind = torch.zeros_like(promise, dtype=torch.bool)
        behind[order[: int(most.double().argmax()) + 1]] = True
        few = int(behind[packing.blocks].sum()) <= FEW * len(packing.blocks)
        much = float(promise.sum()) > ENOUGH * packing.size * len(self.damping)
        return behind & few & much

    def _of_blocks(self, there: Scores, blocks: Tensor, coordinates: Tensor) -> Scores:
        """Return the scores there for these blocks and coordinates, (restart, ...), those here for the rest."""
        here = self.here
        groups = blocks[:, : here.shared.shape[1], None, None]
        shared = torch.where(groups, there.shared, here.shared)
        by_window = torch.where(coordinates[:, :, None], there.by_window, here.by_window)
        by_window[:, self.packing.common_places] = shared.sum(1)
        prior, curvature = here.prior, here.curvature
        if self.problem.stage.prior:  # that of a centre depends on what moved around it
            prior, curvature = self.problem.prior_slopes(self.z)
        likelihood = torch.where(blocks, there.likelihood, here.likelihood)
        return Scores(likelihood, by_window, shared, prior, curvature)

    def _try(
        self, step: Tensor, needed: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Scores, Tensor]:
        """Return the place a step leads to, the scores there, and the log-posterior of each block.

        needed: bool (neuron,), those of which they have to be, None: all.
        """
        z = self.packing.add(self.z, step.T)
        there = self.problem.scores(z, needed)
        return z, there, self.problem.with_prior(there.likelihood, z)

    def _learn(
        self, curvature: Curvature, step: Tensor, there: Scores, better: Tensor, moved: Tensor
    ) -> None:
        """Remember how the gradient of blocks that were moved changed along a step; better, moved: (restart, block)."""
        change = gradients(self.here, self.packing) - gradients(there, self.packing)
        groups, n = self.packing.groups, len(self.packing.own_of_groups)
        whole = torch.stack([better[:, groups == g].all(1) for g in range(n)], 1)
        asked = torch.stack([moved[:, groups == g].any(1) for g in range(n)], 1)
        told = told_by(curvature, step, change, whole)
        asked = entries_of(asked, self.packing)
        self.last = LastStep(
            *(torch.where(asked, new, old) for new, old in zip(told, self.last, strict=True))
        )

    def _bend(self, curvature: Curvature, step: Tensor) -> Tensor:
        """Return step^T C step of each restart."""
        return curvature.along(step).sum(1) + (curvature.prior * step.square()).sum(1)

    def _by_block(self, values: Tensor) -> Tensor:
        return by_block(values.T, self.packing, self.packing.owners)

    def _end(self, done: Tensor) -> None:
        """End if all restarts are done: half of slope times step is the gain that is left, to second order."""
        stuck = (self.damping > STUCK).all(1)
        if bool((done | stuck).all()):
            self.ended = (
                "no step makes it better"
                if bool(stuck.any())
                else f"a further step promises less than {ENOUGH:g} nats for each unknown"
            )

    def cross(self) -> bool:
        """Put the best of every block together: if that is better than any restart, it replaces the worst; whether it did.

        Given the spikes the blocks do not act on each other, so a few starts of the network are as many of each neuron.
        """
        blocks = self.posterior
        total = blocks.sum(1)
        if len(total) < 2:
            return False
        chosen = torch.cat([blocks[:, :-1].argmax(0), total.argmax().reshape(1)])
        vectors = self.packing.vector(self.z)
        mixed = vectors.gather(1, chosen[self.place][:, None])
        worst = int(total.argmin())
        step = torch.zeros_like(vectors)
        step[:, worst] = mixed[:, 0] - vectors[:, worst]
        moved = self.packing.add(self.z, step)
        found = self.problem.posterior(moved).sum(1)
        if found[worst] <= total.max():
            return False
        self.damping = self.damping.clone()
        self.damping[worst] = FIRST_DAMPING
        self.last = self.last.without(worst)
        self.z, self.here = moved, self.problem.scores(moved)
        return True


def cost_of(needed: Tensor) -> float:
    """Return what scores of some neurons cost, as a share of those of all; needed: bool (neuron,)."""
    return OVERHEAD + float(needed.double().mean())


def _of_restarts(here: Scores, there: Scores, chosen: Tensor) -> Scores:
    """Return the scores there for these restarts, those here for the rest."""
    return Scores(
        *(
            torch.where(chosen.reshape(-1, *[1] * (a.dim() - 1)), b, a)
            for a, b in zip(here, there, strict=True)
        )
    )
