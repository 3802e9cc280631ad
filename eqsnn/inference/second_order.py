"""Second-order steps of all restarts at one level of a teacher-forced stage, and what makes a fit stop taking them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from eqsnn.inference.curvature import Curvature, curvature_of, unflatten
from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import Packing, Scores, by_block

FIRST_DAMPING = 1.0
EASIER, HARDER = 0.3, 6.0  # factors of the damping after a success, and after a failure
LEAST, MOST = 1e-6, 1e9
JOINT_EVERY = 3  # steps: one of them moves what acts on several blocks, and all blocks with it
ENOUGH = 0.05  # nats: a step that promises less is the last
STUCK = 1e6  # damping at which no step helps

Z = Mapping[str, Tensor]


class Ascent:
    """Damped steps up the log-likelihood of a problem, or its log-posterior where the prior counts.

    In a step every block moves by itself, what is common to several held, and keeps its step if that made it better;
    in every third, if anything is common, all moves together. damping: (restart, block + 1), the last of steps together.
    curvature: `Curvature.flat`, to go on from.
    """

    def __init__(
        self,
        problem: Problem,
        z: Z,
        damping: Tensor | None = None,
        curvature: Tensor | None = None,
    ) -> None:
        self.problem, self.packing = problem, problem.packing
        self.place = _places(self.packing)
        self.z = dict(z)
        self.here = problem.scores(z)
        self.whole = True  # whether the gradient by what is common is that of this very place
        self.ended = ""
        shape = (len(self.here.likelihood), self.packing.n_blocks + 1)
        if damping is None or curvature is None or tuple(damping.shape) != shape:
            self.damping = torch.full(shape, FIRST_DAMPING)
            self.curvature: Curvature = curvature_of(self.here, self.packing)
        else:
            self.damping, self.curvature = damping, unflatten(curvature, self.packing)

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

    def step(self, number: int) -> None:
        """Take the step of this number. `ended` says why it was the last, if it was."""
        joint = number % JOINT_EVERY == JOINT_EVERY - 1
        if joint and len(self.packing.common_places):
            self._together()
        else:
            self._apart()

    def _apart(self) -> None:
        step = self.curvature.own_step(self.here.gradient, self.damping)
        z, there, after = self._try(step)
        better = after > self.posterior
        better[:, -1] = False
        gained = self.here.gradient - there.gradient
        self.curvature = self.curvature.bent(step, gained, better[:, :-1])
        promise = self._by_block(0.5 * step * self.here.gradient)[:, :-1]
        taken = better[:, self.place] & (self.packing.owners >= 0)
        self.whole = bool(better[:, :-1].all())
        if self.whole:
            self.z = z
        else:
            self.z = self.packing.add(self.z, torch.where(taken, step, torch.zeros_like(step)).T)
        self.here = there if self.whole else _chosen(self.here, there, better, taken)
        self._damp(better[:, :-1])
        if not len(self.packing.common_places):
            self._end(promise, better[:, :-1] | (self.damping[:, :-1] < 1), self.damping[:, :-1])

    def _together(self) -> None:
        if not self.whole:
            self.here, self.whole = self.problem.scores(self.z), True
        here = self.here
        step = self.curvature.joint_step(here, self.damping)
        promise = self._by_block(0.5 * step * here.gradient)
        z, there, after = self._try(step)
        before = self.posterior
        better = (after > before)[:, :-1]
        risen = after.sum(1) > before.sum(1)
        if not bool((risen & better.all(1)).all()):
            # the blocks that got worse stay, and the rest has a second chance
            worse = torch.cat([~better, torch.zeros_like(risen)[:, None]], 1)
            left = worse[:, self.place]
            z_rest, there_rest, rest = self._try(torch.where(left, torch.zeros_like(step), step))
            second = rest.sum(1) > torch.maximum(after.sum(1), before.sum(1))
            z = {n: torch.where(second, z_rest[n], v) for n, v in z.items()}
            there = _of_restarts(there, there_rest, second)
            risen = risen | second
        self.z = {n: torch.where(risen, v, self.z[n]) for n, v in z.items()}
        self.here = _of_restarts(here, there, risen)
        self._damp(better, risen)
        sound = torch.cat([better, risen[:, None]], 1) | (self.damping < 1)
        self._end(promise, sound, self.damping)

    def _damp(self, better: Tensor, risen: Tensor | None = None) -> None:
        """Damp blocks that a step made worse more; risen: of a joint step, whether it was taken."""
        taken = torch.ones(len(better), dtype=torch.bool) if risen is None else risen
        # a step that was not taken says nothing of the blocks that it would have made better
        easier = torch.where(taken, EASIER, 1.0)[:, None].expand(better.shape)
        own = torch.where(better, easier, HARDER)
        common = torch.ones(len(better)) if risen is None else torch.where(risen, EASIER, HARDER)
        factors = torch.cat([own, common[:, None]], 1)
        self.damping = (self.damping * factors).clamp(LEAST, MOST)

    def _try(self, step: Tensor) -> tuple[dict[str, Tensor], Scores, Tensor]:
        """Return the place a step leads to, the scores there, and the log-posterior of each block."""
        z = self.packing.add(self.z, step.T)
        there = self.problem.scores(z)
        return z, there, self.problem.with_prior(there.likelihood, z)

    def _by_block(self, values: Tensor) -> Tensor:
        return by_block(values.T, self.packing, self.packing.owners)

    def _end(self, promise: Tensor, sound: Tensor, damping: Tensor) -> None:
        # half of slope times step is the gain that is left, to second order
        stuck = (damping > STUCK).all(1, keepdim=True)
        if bool((((promise < ENOUGH) & sound) | stuck).all()):
            self.ended = (
                "no step makes it better"
                if bool(stuck.any())
                else f"a further step promises less than {ENOUGH:g} nats"
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
        self.curvature = self.curvature.mixed(worst, chosen)
        self.z, self.here, self.whole = moved, self.problem.scores(moved), True
        return True


def _places(packing: Packing) -> Tensor:
    """Return the place in (block + 1) of each coordinate; what acts on several blocks comes last."""
    return torch.where(packing.owners < 0, packing.n_blocks, packing.owners)


def _chosen(here: Scores, there: Scores, blocks: Tensor, coordinates: Tensor) -> Scores:
    """Return the scores there for these blocks and coordinates, (restart, ...), those here for the rest."""
    wide = coordinates[:, :, None]
    return Scores(
        torch.where(blocks, there.likelihood, here.likelihood),
        torch.where(wide, there.by_window, here.by_window),
        torch.where(coordinates, there.prior, here.prior),
        torch.where(coordinates, there.curvature, here.curvature),
    )


def _of_restarts(here: Scores, there: Scores, chosen: Tensor) -> Scores:
    """Return the scores there for these restarts, those here for the rest."""
    one = chosen[:, None]
    return _chosen(here, there, one.expand(here.likelihood.shape), one.expand(here.prior.shape))
