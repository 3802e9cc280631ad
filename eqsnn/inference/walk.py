"""The walk of a fit: over stages, their levels and iterations, all restarts side by side as lanes."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.compiler import acting_on_several
from eqsnn.inference.block_search import BlockSearches
from eqsnn.inference.data import Data
from eqsnn.inference.gradient_free import Searches, explore
from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.objectives import FreeObjective
from eqsnn.inference.one_step import one_step
from eqsnn.inference.optimisers import adam_step
from eqsnn.inference.problem import Problem
from eqsnn.inference.rates import Matching, RatesObjective
from eqsnn.inference.scoring import Packing, Z
from eqsnn.inference.second_order import Ascent
from eqsnn.inference.settings import Report, Settings, Status
from eqsnn.inference.stages import Forced, Free, GradientFree, Rates, Stage
from eqsnn.inference.state import HISTORY_EVERY, Progress, StageReport
from eqsnn.inference.trace import Walked, has_settled, record
from eqsnn.inference.unknowns import Unknowns

CROSSED_EVERY = 6  # iterations between two recombinations of restarts
HANDED_DAMPING = 0.01  # of the first step on more data
NEAR_DAMPING = 0.1  # of the first step from the maximum by another density
ENDING_SHARE = 0.15  # of the longest time of a fit, that is left to the stage that brings rates to those observed

Objective = ForcedObjective | FreeObjective | RatesObjective
RATES_RIGHT = "no rate differs by more than chance"
RATES_AGREE = "all rates agree within chance"
RATES_STUCK = "no step brings the rates closer"


class Walk:
    """The loop over stages, levels and iterations; all its state that matters is in Progress.

    save: writes a checkpoint; None to keep none. report: told after every iteration. began: `time.monotonic()` when
    the fit began, from which its `max_time` counts. warnings: what a user should know, in the order it was noticed.
    """

    def __init__(
        self,
        unknowns: Unknowns,
        training: Data,
        held_out: Data,
        settings: Settings,
        *,
        save: Callable[[Progress], None] | None,
        report: Report | None,
        began: float,
    ) -> None:
        self.unknowns, self.settings = unknowns, settings
        self.training, self.held_out = training, held_out
        self.write, self.report = save, report
        self.began = self.saved = began
        self.warnings: list[str] = []
        self.objectives: dict[tuple[Stage, str], Objective] = {}
        self.searches: Searches | BlockSearches | None = None
        self.matching: Matching | None = None
        self.climbed: Ascent | None = None  # the last second-order steps
        self.walked = Walked()
        self.has_stepped = False  # so that a fit resumed time and again gets on
        self.total = sum(stage.iterations * len(stage.levels) for stage in settings.stages)

    def objective(self, stage: Stage, data_name: str, z: Mapping[str, Tensor]) -> Objective:
        """Return a stage's objective on the `training` or `held_out` part; z: where the stage begins."""
        if (stage, data_name) not in self.objectives:
            data = self.training if data_name == "training" else self.held_out
            aim = stage.objective if isinstance(stage, GradientFree) else stage
            other = next((o for (s, _), o in self.objectives.items() if s == stage), None)
            kernel = None if other is None else other.kernel
            seed = self.settings.seed
            made: Objective
            if isinstance(aim, Forced):
                made = ForcedObjective(data, aim, seed, self.unknowns.everything(z), kernel)  # type: ignore[arg-type]
            elif isinstance(aim, Rates):
                made = RatesObjective(data, aim, seed, self.packing(z), kernel)  # type: ignore[arg-type]
            else:
                made = FreeObjective(data, aim, seed, kernel)  # type: ignore[arg-type]
            self.objectives[stage, data_name] = made
            if not isinstance(made, ForcedObjective):
                self.warnings.extend(made.warnings)
        return self.objectives[stage, data_name]

    def packing(self, z: Mapping[str, Tensor]) -> Packing:
        """Return the free coordinates as one vector; what acts on several neurons, given the observed spikes, is common."""
        across = acting_on_several(self.unknowns.model, known=self.training.known)
        return self.unknowns.packing(z, across)

    def run(self, progress: Progress) -> Status:
        """Walk through what is left of the stages. Out of time on all data, rates are matched all the same."""
        stages = self.settings.stages
        status = self.go_through(progress, range(progress.stage, len(stages)))
        if status is Status.OUT_OF_TIME and self.is_in_time and self.has_ending(progress):
            self.write = None  # so that a longer fit goes on from where time ran out
            status = self.go_through(progress, range(len(stages) - 1, len(stages))) or status
        return self.settled(progress) if status is None else status

    def go_through(self, progress: Progress, numbers: range) -> Status | None:
        """Run these stages, or what is left of the one at hand; None if all ended."""
        try:
            for number in numbers:
                if progress.stage != number:
                    progress.stage, progress.level, progress.iteration = number, 0, 0
                    progress.before, progress.level_start = dict(progress.z), dict(progress.z)
                    progress.score = self.to_beat(progress)
                self.walked = Walked()
                status = self.run_stage(progress, self.settings.stages[number])
                self.conclude(progress, status)
                if status is not None:
                    return status
            progress.stage = len(self.settings.stages)
        except KeyboardInterrupt:
            self.conclude(progress, Status.INTERRUPTED)
            return Status.INTERRUPTED
        finally:
            self.save(progress)
        return None

    def has_ending(self, progress: Progress) -> bool:
        """Return whether a stage that matches rates follows the one at hand, which sees all data."""
        *_, last = stages = self.settings.stages
        here = stages[progress.stage]
        return isinstance(last, Rates) and isinstance(here, Forced) and math.isinf(here.seconds)

    @property
    def is_in_time(self) -> bool:
        """Whether the longest time of the fit has not passed."""
        return time.monotonic() - self.began < self.settings.max_time

    def has_time(self, progress: Progress, seconds: float) -> bool:
        """Return whether something that takes so long ends in time, that of the ending left to it."""
        share = 1 - ENDING_SHARE if self.has_ending(progress) else 1.0
        return time.monotonic() + seconds - self.began <= share * self.settings.max_time

    def settled(self, progress: Progress) -> Status:
        """Return whether a fit that went through all stages has converged."""
        stages = self.settings.stages
        last = len(stages) - 1
        if isinstance(stages[last], Rates) and last:
            last -= 1
        stage = stages[last]
        if isinstance(stage, Forced) and stage.optimiser == "scoring":
            settled = progress.reports[last].is_exhausted  # it knows what a further step promises
        else:
            settled = has_settled(progress.history, last)
        return Status.CONVERGED if settled else Status.NOT_CONVERGED

    def to_beat(self, progress: Progress) -> float:
        """Return the held-out objective that an escape likelihood at a narrower width has to beat, if one was before."""
        before, stage = (self.settings.stages[k] for k in (progress.stage - 1, progress.stage))
        if not (isinstance(before, Forced) and isinstance(stage, Forced)):
            return float("inf")
        if before.density != "escape" or stage.density != "escape":
            return float("inf")
        objective, values = self.objective(stage, "held_out", progress.z), self.unknowns.everything(progress.z)  # fmt: skip
        with torch.no_grad():
            found = torch.stack([objective(values, width) for width in before.levels])
        return float(torch.where(torch.isfinite(found), found, torch.inf).min())

    def conclude(self, progress: Progress, status: Status | None) -> None:
        """Report how the stage at hand went."""
        if progress.stage >= len(self.settings.stages):
            return
        name, walked = self.settings.stages[progress.stage].name, self.walked
        kept = len(progress.alive)
        why = walked.stopped if status is None else status.value
        progress.reports.append(
            StageReport(
                name,
                walked.count,
                walked.first,
                walked.last,
                walked.gradient,
                kept,
                why,
                walked.undone,
            )
        )
        if status is None and walked.gradient == 0:
            self.warnings.append(
                f"in stage `{name}` the gradient is 0 for every parameter: at these values no neuron comes near a spike; "
                "begin with a Forced stage, or with starts that fire"
            )

    def run_stage(self, progress: Progress, stage: Stage) -> Status | None:
        """Run what is left of one stage; None if it ended."""
        objective = self.objective(stage, "training", progress.z)
        for level in range(progress.level, len(stage.levels)):
            width = stage.levels[level]
            if progress.level != level:
                progress.level, progress.iteration = level, 0
                progress.level_start = dict(progress.z)
            if progress.iteration == 0 and isinstance(objective, ForcedObjective):
                self.hand_down(progress, stage, level, objective)
            status = self.run_level(progress, stage, objective, width)
            if status is not None:
                return status
            last = level == len(stage.levels) - 1
            if not self.select(progress, stage, width, last=last):
                self.walked.stopped = "a narrower threshold predicts the held-out spikes worse"
                break
        return None

    def run_level(
        self, progress: Progress, stage: Stage, objective: Objective, width: float
    ) -> Status | None:
        """Take what steps are left of a level; None if there is time for all. None is begun that would not end in time."""
        began = time.monotonic()
        ascent = self.ascent(progress, stage, objective, width)
        self.climbed = ascent or self.climbed
        # a second-order step takes at least one evaluation more
        longest = time.monotonic() - began
        while progress.iteration < stage.iterations:
            if self.has_stepped and not self.has_time(progress, longest):
                return Status.OUT_OF_TIME
            began = time.monotonic()
            if ascent is not None:
                self.climb(progress, stage, ascent)
            elif isinstance(stage, GradientFree):
                self.explore(progress, stage, objective, width)  # type: ignore[arg-type]
            elif isinstance(objective, RatesObjective):
                self.match(progress, stage, objective, width)  # type: ignore[arg-type]
            else:
                self.descend(progress, stage, objective, width)  # type: ignore[arg-type]
            self.has_stepped = True
            longest = max(longest, time.monotonic() - began)
            if ascent is not None:
                self.catch_up(progress, ascent, longest)
            if not self.has_time(progress, 0.0):
                return Status.OUT_OF_TIME
        return None

    def hand_down(
        self, progress: Progress, stage: Stage, level: int, objective: ForcedObjective
    ) -> None:
        """Give second-order steps a damping that those before make right, if they integrated the noise out, too."""
        before = stage if level else self.settings.stages[max(progress.stage - 1, 0)]
        there = self.objective(before, "training", progress.z) if len(progress.damping) else None
        if isinstance(there, ForcedObjective) and there.stage.density == objective.stage.density:
            progress.last_step = progress.last_step[:, :0]
            own = torch.full_like(progress.damping[:, :-1], HANDED_DAMPING)
            common = progress.damping[:, -1:].clamp(max=HANDED_DAMPING)
            progress.damping = torch.cat([own, common], 1)
        elif isinstance(there, ForcedObjective) and "escape" not in (
            there.stage.density,
            objective.stage.density,
        ):
            progress.last_step = progress.last_step[:, :0]
            progress.damping = torch.full_like(progress.damping, NEAR_DAMPING)
        else:
            progress.damping = progress.last_step = torch.ones(0)

    def ascent(
        self,
        progress: Progress,
        stage: Stage,
        objective: Objective,
        width: float,
    ) -> Ascent | None:
        """Return the second-order steps of a level, None for a stage that takes others."""
        if not isinstance(stage, Forced) or not isinstance(objective, ForcedObjective):
            return None
        if stage.optimiser != "scoring":
            return None
        problem = Problem.at_level(self.unknowns, objective, width, progress.z)
        return Ascent(problem, progress.z, progress.damping, progress.last_step)

    def climb(self, progress: Progress, stage: Stage, ascent: Ascent) -> None:
        """One damped second-order step of every block of every surviving restart, or of all blocks together."""
        self.note(progress, ascent.losses, ascent.gradient)
        ascent.step()
        progress.iteration += 1
        if ascent.ended:
            progress.iteration = stage.iterations
            self.walked.stopped = ascent.ended
        elif progress.iteration < stage.iterations and progress.iteration % CROSSED_EVERY == 0:
            ascent.cross()
        _take_over(progress, ascent)
        self.tell(progress, stage, float(ascent.losses.min()))

    def catch_up(self, progress: Progress, ascent: Ascent, seconds: float) -> None:
        """Second-order steps of blocks far behind, those that end in time; seconds: what a step of all takes."""
        ascent.catch_up(lambda share: self.has_time(progress, share * seconds))
        _take_over(progress, ascent)

    def explore(
        self,
        progress: Progress,
        stage: GradientFree,
        objective: ForcedObjective | FreeObjective,
        width: float,
    ) -> None:
        """One generation of candidates for every surviving restart."""
        if self.searches is None or self.searches.number != progress.stage:
            self.searches = self.begin_search(progress, stage, objective)
        searches = self.searches
        if isinstance(searches, BlockSearches) and searches.is_coarse and stage.coarse:
            cheaper = replace(stage, objective=stage.coarse)
            objective = self.objective(cheaper, "training", progress.z)  # type: ignore[assignment]

        def worth(z: Mapping[str, Tensor]) -> Tensor:
            values = self.unknowns.everything(z)
            if not isinstance(searches, BlockSearches):
                return objective(values, width)
            if isinstance(objective, ForcedObjective):
                return objective.by_neuron(values, width, searches.needed)
            return objective.by_neuron(values, width)

        losses = explore(progress, searches, worth)
        self.note(progress, losses, {})
        ended = isinstance(searches, BlockSearches) and searches.ended
        self.advance(progress, stage, losses)
        if ended:
            progress.iteration = stage.iterations
            self.walked.stopped = (
                f"of every neuron, candidates are within {stage.settled:g} nats of the best"
            )

    def begin_search(
        self, progress: Progress, stage: GradientFree, objective: ForcedObjective | FreeObjective
    ) -> Searches | BlockSearches:
        """Return the searches of a stage: one for each block if these do not act on each other."""
        seed = self.settings.seed
        if stage.together or not objective.by_blocks:
            return Searches(progress, stage, seed, self.unknowns.packing(progress.z, frozenset()))
        packing = self.packing(progress.z)
        return BlockSearches(progress, stage, seed, packing, self.training.chosen)

    def match(
        self, progress: Progress, stage: Rates, objective: RatesObjective, width: float
    ) -> None:
        """One step of every surviving restart towards the observed rates."""
        off = objective.differences(self.unknowns.everything(progress.z), width)
        before = objective.of(off)
        if progress.iteration == 0:
            self.note(progress, before, {})
            if not bool(objective.wrong(off).any()):
                progress.iteration = stage.iterations
                self.walked.stopped = RATES_RIGHT
                self.tell(progress, stage, float(before.min()))
                return
        progress.z, after = self.matched(progress, stage, objective, width).step(progress.z, off)
        self.note(progress, after, {})
        progress.iteration += 1
        if bool((after == 0).all()) or not bool((after < before).any()):
            progress.iteration = stage.iterations
            self.walked.stopped = RATES_AGREE if bool((after == 0).any()) else RATES_STUCK
        self.tell(progress, stage, float(after.min()))

    def matched(
        self, progress: Progress, stage: Rates, objective: RatesObjective, width: float
    ) -> Matching:
        """Return the steps of a stage, from the likelihood where it began."""
        if self.matching is None or self.matching.objective is not objective:
            z = progress.before
            likelihood = self.objective(stage.likelihood, "training", z)
            problem = Problem.at_level(self.unknowns, likelihood, width, z)  # type: ignore[arg-type]
            climbed, scores = self.climbed, None
            if climbed is not None and climbed.problem.objective is likelihood:
                scores = climbed.scores_at(z)
            self.matching = Matching(problem, objective, z, width, scores)
        return self.matching

    def descend(
        self,
        progress: Progress,
        stage: Forced | Free,
        objective: ForcedObjective | FreeObjective,
        width: float,
    ) -> None:
        """One step down the gradient for every surviving restart."""
        z = {name: value.detach().requires_grad_() for name, value in progress.z.items()}
        losses = objective(self.unknowns.everything(z), width)
        if isinstance(stage, Forced) and isinstance(objective, ForcedObjective) and stage.prior:
            losses = losses - self.unknowns.log_prior(z) / objective.scale
        finite = torch.where(torch.isfinite(losses), losses, torch.zeros_like(losses))
        names = list(z)
        gradients = torch.autograd.grad(
            finite.sum(), [z[name] for name in names], allow_unused=True
        )
        gradient = {
            n: torch.zeros_like(z[n]) if g is None else g
            for n, g in zip(names, gradients, strict=True)
        }
        gradient = self.unknowns.freed(gradient)
        self.note(progress, losses, gradient)
        share = progress.iteration / max(1, stage.iterations - 1)
        rate = stage.learning_rate * stage.final_rate**share
        detached = {name: value.detach() for name, value in z.items()}
        progress.z, progress.adam = adam_step(detached, gradient, progress.adam, learning_rate=rate)
        self.advance(progress, stage, losses)

    def advance(self, progress: Progress, stage: Stage, losses: Tensor) -> None:
        """Count an iteration; save and report where the fit stands."""
        progress.iteration += 1
        best = losses.detach()[torch.isfinite(losses)]
        self.tell(progress, stage, float(best.min()) if len(best) else float("nan"))

    def tell(self, progress: Progress, stage: Stage, best: float) -> None:
        """Save if it is time to, and report where the fit stands; best: the objective of the best restart."""
        if time.monotonic() - self.saved >= self.settings.checkpoint_every:
            self.save(progress)
        if self.report is not None:
            self.report(stage.name, self.done(progress), self.total, best)

    def done(self, progress: Progress) -> int:
        """Return the number of iterations behind us."""
        stages = self.settings.stages
        earlier = sum(stage.iterations * len(stage.levels) for stage in stages[: progress.stage])
        return earlier + progress.level * stages[progress.stage].iterations + progress.iteration

    def note(self, progress: Progress, losses: Tensor, gradient: Mapping[str, Tensor]) -> None:
        """Keep a trace of values; warn of what a user should know."""
        if not bool(torch.isfinite(losses).any()):
            self.warnings.append(
                "every restart has an objective that is not finite; check the bounds of the parameters"
            )
        self.walked.note(losses, gradient)
        if progress.iteration == 0:
            held = self.unknowns.held
            for name, value in gradient.items():
                known = held is not None and bool(held[name].all())
                if name in self.unknowns.centres:
                    known = True
                    self.note_centre(name)
                if not known and not bool((value != 0).any()):
                    self.warnings.append(
                        f"`{name}` has no influence on any spike in stage {progress.stage + 1}; it stays at its start"
                    )
        if progress.iteration % HISTORY_EVERY == 0:
            values = self.unknowns.values(progress.z)
            record(progress, losses, values, self.settings.starts)

    def note_centre(self, name: str) -> None:
        """Warn of a centre of priors in a fit without them."""
        stages = self.settings.stages
        if not any(isinstance(stage, Forced) and stage.prior for stage in stages):
            self.warnings.append(
                f"`{name}` is undetermined and stays at its start: it is the centre of a prior, and this fit leaves "
                "priors out; switch them on, or fix it"
            )

    def select(self, progress: Progress, stage: Stage, width: float, *, last: bool) -> bool:
        """After a level, drop the worse restarts; return whether to go on to a narrower threshold.

        Noisy spikes are best predicted by a threshold of finite width: a level that predicts the held-out spikes worse
        than the one before is undone, and annealing ends. Any other stage is undone for each restart that it made worse.
        What is worse `judged` says.
        """
        with torch.no_grad():
            losses = self.judged(stage, progress.z, width)
            if isinstance(stage, Forced) and stage.density == "escape":
                best = float(torch.where(torch.isfinite(losses), losses, torch.inf).min())
                if best > progress.score:
                    progress.z = dict(progress.level_start)
                    return False
                progress.score = best
            elif last and not _same(progress.z, progress.before):
                before = self.judged(stage, progress.before, width)
                worse = ~(losses <= before)
                progress.z = {
                    n: torch.where(worse, progress.before[n], z) for n, z in progress.z.items()
                }
                losses = torch.where(worse, before, losses)
                if bool(worse.any()):
                    self.walked.undone = int(worse.sum())
                    where = "all" if isinstance(stage, Rates) else "held-out"
                    self.walked.stopped += f"; undone for {self.walked.undone} of {len(worse)} restarts, worse on {where} data"
        ranking = np.argsort(
            np.where(np.isfinite(losses.numpy()), losses.numpy(), np.inf), kind="stable"
        )
        # restarts far from convergence may yet change places; those that converged do not, nor do those of a search,
        # which has begun anew whenever it had converged
        settled = isinstance(stage, GradientFree) or (
            isinstance(stage, Forced) and stage.optimiser == "scoring"
        )
        fewest = 1 if settled and last else (len(ranking) + 1) // 2
        kept = max(min(stage.keep, len(ranking)), fewest)
        progress.keep(np.sort(ranking[:kept]))
        return True

    def judged(self, stage: Stage, z: Z, width: float) -> Tensor:
        """Return what a stage is judged by: its objective on held-out data, (restart,).

        Rates are judged by all data. They are few numbers that hardly adapt to data, and of a short part chance.
        """
        parts = ("training", "held_out") if isinstance(stage, Rates) else ("held_out",)
        values = self.unknowns.everything(z)
        return torch.stack([self.objective(stage, part, z)(values, width) for part in parts]).sum(0)

    def rank(self, progress: Progress) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the surviving restarts, best on the held-out part first, and what they were ranked by."""
        stage = self.settings.stages[min(progress.stage, len(self.settings.stages) - 1)]
        with torch.no_grad():
            values = self.unknowns.everything(progress.z)
            objective = self.objective(stage, "held_out", progress.z)
            # the width that serves best is the one the annealing settled at
            by_level = [objective(values, width).numpy() for width in stage.levels]
        finite = [np.where(np.isfinite(losses), losses, np.inf) for losses in by_level]
        level = int(np.argmin([losses.min() for losses in finite]))
        return np.argsort(finite[level], kind="stable"), by_level[level]

    def end_on_everything(self, progress: Progress, place: int) -> Z | None:
        """Return where one step on training and held-out data leads a surviving restart, and report it; None if nowhere.

        It is a step up the model's own likelihood, so it is taken only from where such steps ended, with all training
        data: not after steps that held-out data undid, nor after a stage that sought something else, unless that left the
        parameters as they were; nor once time is up.
        """
        number, report = min(progress.stage, len(self.settings.stages) - 1), progress.reports[-1]
        if (
            number
            and isinstance(self.settings.stages[number], Rates)
            and _same(progress.z, progress.before)
        ):
            number, report = number - 1, progress.reports[-2]
        stage = self.settings.stages[number]
        if not isinstance(stage, Forced) or stage.optimiser != "scoring" or report.undone:
            return None
        if self.climbed is not None:  # time may have run out before the last stage
            stage = self.climbed.problem.stage
        if self.settings.validation == 0 or math.isfinite(stage.seconds) or not self.is_in_time:
            return None
        if self.climbed is None:
            objective = self.objective(stage, "training", progress.z)
            training = Problem.at_level(self.unknowns, objective, stage.levels[-1], progress.z)  # type: ignore[arg-type]
        else:
            training = self.climbed.problem
        if not training.exact:
            return None
        held_out = replace(training, objective=self.objective(stage, "held_out", progress.z))  # type: ignore[arg-type]
        z = {n: v[..., place : place + 1] for n, v in progress.z.items()}
        damping = progress.damping[place : place + 1] if len(progress.damping) else None
        here = self.climbed and self.climbed.scores_at(z)
        found = one_step(training, held_out, z, here, damping)
        if found is None:
            return None
        there, report = found
        progress.reports.append(report)
        return there

    def save(self, progress: Progress) -> None:
        """Write the checkpoint."""
        if self.write is not None:
            self.write(progress)
        self.saved = time.monotonic()


def _take_over(progress: Progress, ascent: Ascent) -> None:
    """Let a fit stand where its second-order steps do."""
    progress.z, progress.damping = ascent.z, ascent.damping
    progress.last_step = ascent.last.flat


def _same(here: Z, there: Z) -> bool:
    return all(torch.equal(value, there[name]) for name, value in here.items())
