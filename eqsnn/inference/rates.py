"""rates: the rates of the freely running network, brought to those observed along what the likelihood leaves open.

The likelihood of a neuron given everybody's spikes does not ask whether the network, left alone, fires as observed. An
exact one implies it within chance; a density on few nodes can be off by more. How a rate depends on parameters needs no
simulation: the derivative of an expected count is its covariance with the score of the likelihood (the score-function
identity: Williams 1992, doi:10.1007/BF00992696), and the windows of the fit give both.
"""

from statistics import NormalDist

import torch
from torch import Tensor

from eqsnn.backends.kernel import Kernel
from eqsnn.inference.curvature import FAINT, curvature_of
from eqsnn.inference.data import Data
from eqsnn.inference.lanes import Values
from eqsnn.inference.objectives import FreeObjective
from eqsnn.inference.problem import Problem
from eqsnn.inference.scoring import Packing, Scores, Z, by_block, centred
from eqsnn.inference.stages import Free, Rates

FALSE_ALARMS = 0.05  # share of fits in which chance alone would make any rate seem wrong
RIGHT = 1.0  # standard deviations of chance that a wrong rate may be off in the end
ATTEMPTS = 8  # at the length of a step
ASTRAY = 0.25  # what is left of a step that led away
FEWEST_PIECES = 10  # from which on the variance of counts is measured; with fewer it is that of a Poisson process


class RatesObjective:
    """How far the rates of the network left alone are from those observed, beyond chance: one value per restart.

    Half the squares of what |n - N| exceeds its standard deviation by, in standard deviations, summed over blocks
    (neurons, or populations that share parameters); N: observed spikes, n: those of the network left alone, as the mean
    of two draws of its noise. kernel: of the same objective on other data.
    """

    def __init__(
        self, data: Data, stage: Rates, seed: int, packing: Packing, kernel: Kernel | None = None
    ) -> None:
        free = Free(loss="rate", window=stage.window, warm_up=stage.warm_up)
        self.free = FreeObjective(data, free, seed, kernel)
        self.kernel, self.warnings = self.free.kernel, self.free.warnings
        self.packing = packing
        target = self.free.target.sum(0)
        self.observed = self._by_block(target.sum(1, keepdim=True))
        pieces = self._by_block(target)
        count = len(pieces)
        spread = (pieces - pieces.mean(0)).square().sum(0) * count / max(1, count - 1)
        variance = spread if count >= FEWEST_PIECES else self.observed[0]
        self.deviation = (variance.clamp(min=1.0) * (1 + 1 / self.free.copies)).sqrt()

    def _by_block(self, counts: Tensor) -> Tensor:
        """Sum (compared neuron, any) over the neurons of each block: (any, block)."""
        return by_block(counts, self.packing, self.packing.blocks[self.free.rows])[:, :-1]

    def wrong(self, differences: Tensor) -> Tensor:
        """Return which differences chance does not explain, (restart, block): by Bonferroni's bound over blocks."""
        each = FALSE_ALARMS / differences.shape[1]
        return differences.abs() > NormalDist().inv_cdf(1 - each / 2)

    def differences(self, values: Values, width: float) -> Tensor:
        """Return observed spikes minus those of the network left alone, in standard deviations: (restart, block)."""
        run = self.free.spikes if self.free.data.masked else self.free.counts
        with torch.no_grad():
            draws = torch.stack(run(values, width).draws)
        return (self.observed - self._by_block(draws.sum((1, 4, 5)).mean(0))) / self.deviation

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the objective of each restart, (restart,)."""
        return self.of(self.differences(values, width))

    def of(self, off: Tensor) -> Tensor:
        """Return the objective of restarts with these differences, (restart, block)."""
        return 0.5 * (off - off.clamp(-RIGHT, RIGHT)).square().sum(1)


class Matching:
    """Steps that bring rates to those observed, each block along its own coordinates, what is common to several held.

    Only blocks whose rates are wrong at `z` move. Among all changes of a block's parameters that change its rate by as
    much, a step takes the one that the likelihood at `z` minds least. scores: of the problem at `z`, if they are known.
    """

    def __init__(
        self, problem: Problem, objective: RatesObjective, z: Z, width: float, scores: Scores | None = None
    ) -> None:  # fmt: skip
        self.objective, self.width = objective, width
        self.values, self.packing = problem.values, (packing := problem.packing)
        self.wrong = objective.wrong(objective.differences(self.values(z), width))
        scores = problem.scores(z) if scores is None else scores
        self.curvature = curvature_of(scores, packing)
        counts = by_block(problem.objective.spikes(), packing, packing.blocks)[:, :-1]
        depends = centred(scores.by_window) @ centred(counts.T).T  # (restart, coordinate, block)
        depends = depends * (objective.observed / counts.sum(0).clamp(min=1))
        own = torch.nn.functional.pad(depends, (0, 1))
        places = packing.block_places.expand(len(own), -1)
        # of the expected count of its block by each coordinate, 0 for what is common
        self.slope = own.gather(2, places[..., None]).squeeze(2)
        easy = torch.zeros(len(own), packing.n_blocks + 1)
        self.towards = self.curvature.solve_own(self.slope, easy)
        self.spread = by_block((self.slope * self.towards).T, packing, packing.owners)[:, :-1]

    def step(self, z: Z, here: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return where a step leads, and the objective there, (restart,); one that makes it worse is not taken.

        First all the way, as if rates were linear. Where that goes too far, to between what was too little and what was
        too much; where it leads away, a quarter of the way. here: the objective's differences at z.
        """
        aim = self.objective
        best, at_best = dict(z), aim.of(here)
        off = torch.where(self.wrong & (here.abs() > RIGHT), here, 0.0)
        share = off * aim.deviation / self.spread.clamp(min=FAINT)
        share = share * self.curvature.reach(self._along(share))[:, :-1]
        low, at_low = torch.zeros_like(share), off
        high, at_high = torch.full_like(share, torch.nan), torch.zeros_like(share)
        for _ in range(ATTEMPTS):
            there = self.packing.add(z, self._along(share).T)
            found = aim.differences(self.values(there), self.width)
            after = aim.of(found)
            better = after < at_best
            best = {n: torch.where(better, v, best[n]) for n, v in there.items()}
            at_best = torch.where(better, after, at_best)
            unsettled = (off != 0) & (found.abs() > RIGHT)
            over = unsettled & (found * off < 0)
            closer = unsettled & ~over & (found.abs() < at_low.abs())
            high, at_high = torch.where(over, share, high), torch.where(over, found, at_high)
            low, at_low = torch.where(closer, share, low), torch.where(closer, found, at_low)
            astray = unsettled & ~over & ~closer
            bracketed = unsettled & ~high.isnan()
            if not bool((astray | bracketed).any()):
                break
            # half false position, half bisection: rates rise ever faster towards a burst
            between = 0.5 * (at_low / (at_low - at_high)).nan_to_num(0.5) + 0.25
            share = torch.where(
                bracketed, low + between * (high - low), torch.where(astray, ASTRAY * share, share)
            )
        return best, at_best

    def _along(self, share: Tensor) -> Tensor:
        """Return the step of all coordinates that moves every block by its share, (restart, block), of its direction."""
        return torch.nn.functional.pad(share, (0, 1))[:, self.packing.block_places] * self.towards
