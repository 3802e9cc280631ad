"""fit: unknown parameters from spike trains, stage by stage, all restarts side by side as lanes."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.inference.coordinates import Coordinate, coordinate_of, values_of
from eqsnn.inference.gradient_free import Searches, explore
from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.objectives import FreeObjective, prepare
from eqsnn.inference.optimisers import adam_init, adam_step
from eqsnn.inference.priors import log_prior
from eqsnn.inference.scoring import (
    EASIER,
    FIRST_DAMPING,
    HARDER,
    Packing,
    Scores,
    by_block,
    pack,
    propose,
    scores_of,
)
from eqsnn.inference.stages import Forced, Free, GradientFree, Stage
from eqsnn.inference.state import (
    HISTORY_EVERY,
    Progress,
    StageReport,
    load_progress,
    save_progress,
)
from eqsnn.inference.subset import checked_units, note_of, without_influence
from eqsnn.language.model import Model
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter, centres_first, matching
from eqsnn.simulation.recording import Recording

ENOUGH = 0.02  # nats: a step that promises less is the last
CROSSED_EVERY = 8  # iterations between two recombinations of restarts
STUCK = 1e6  # damping at which no step helps

Report = Callable[
    [str, int, int, float], None
]  # stage, iterations done, iterations in all, best objective


class Status(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not converged"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit. `validation`: share of trials (or of the time of a single trial) held out to choose by.

    units: the neurons whose spikes are to be explained; () for all.
    """

    stages: tuple[Stage, ...]
    starts: int = 16
    seed: int = 0
    validation: float = 0.2
    max_time: float = float("inf")  # seconds
    dtype: torch.dtype = torch.float64
    checkpoint_every: float = 20.0  # seconds
    backend: str = "auto"
    units: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a fit found, in coherent units: values of the surviving restarts, best first, and how it got there.

    held: which values nothing could be learned about, so that they are where they started, bool of parameter shape.
    """

    values: dict[str, NDArray[np.float64]]  # parameter shape, then restart
    known: dict[str, NDArray[np.float64]]
    restarts: NDArray[np.int64]
    objective: NDArray[np.float64]  # on the validation part, by restart
    history: list
    status: Status
    warnings: tuple[str, ...]
    validation: Recording = field(repr=False)
    seconds: float = 0.0
    held: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    reports: tuple[StageReport, ...] = ()


def split(recording: Recording, share: float) -> tuple[Recording, Recording]:
    """Return training and validation parts: the last trials, or the end of the only trial. A share of 0: all for both."""
    if not 0 <= share < 1:
        raise InputError(
            f"the validation share is {share:g}; a number from 0 to below 1 is expected"
        )
    if share == 0:
        return recording, recording
    if recording.n_trials > 1:
        held = min(recording.n_trials - 1, max(1, round(share * recording.n_trials)))
        cut = recording.n_trials - held
        return recording.trials(range(cut)), recording.trials(range(cut, recording.n_trials))
    border = round(recording.duration * (1 - share) / recording.dt) * recording.dt
    return recording.window(0.0, border), recording.window(border, recording.duration)


def search(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    settings: Settings,
    *,
    start: Mapping[str, ArrayLike] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> Found:
    """Fit the unknown `parameters` of `model` to `recording`.

    `start`: values of the starts in the units of the file, one for all or with a leading dimension per start, instead
    of draws from the distributions. Raises InputError if nothing is unknown or the recording has no spikes.
    """
    began = time.monotonic()
    unknown = {name: p for name, p in parameters.items() if p.learned}
    if not unknown:
        raise InputError(
            "nothing to learn: no parameter of the model is unknown; write `~ distribution`, or use --learn NAME"
        )
    if not len(recording.spike_times):
        raise InputError("the targets hold no spikes, so nothing can be learned from them")
    if settings.units:
        _check_units(settings, recording)
    coordinates = {name: coordinate_of(parameter) for name, parameter in unknown.items()}
    rng = np.random.default_rng(settings.seed)
    known = {
        n: torch.from_numpy(p.draw(rng)).to(settings.dtype).unsqueeze(-1)
        for n, p in parameters.items()
        if not p.learned
    }
    training, held_out = split(recording, settings.validation)
    shortest = min(training.duration, held_out.duration)
    for stage in settings.stages:
        if isinstance(stage, Free):
            seconds = min(stage.window, shortest)
            compared = settings.units or recording.recorded()
            stage.composed.check(model.dt * 1e-3, seconds=seconds, neurons=len(compared))
    fingerprint = _fingerprint(model, parameters, recording, settings, start)
    if resume and checkpoint is not None and checkpoint.exists():
        progress = load_progress(checkpoint, fingerprint)
    else:
        z = _starts(unknown, coordinates, settings, start, rng)
        progress = Progress(
            z, adam_init(z), np.arange(settings.starts), dict(z), dict(z), history=[]
        )
    walk = _Search(
        model,
        unknown,
        coordinates,
        known,
        training,
        held_out,
        settings,
        checkpoint,
        fingerprint,
        report,
        began,
    )
    with _one_torch_thread():
        status = walk.run(progress)
    order, objective = walk.rank(progress)
    values = walk.unknown_values(progress.z)
    return Found(
        values={name: value.detach().numpy()[..., order] for name, value in values.items()},
        known={name: value[..., 0].numpy() for name, value in known.items()},
        restarts=progress.alive[order],
        objective=objective[order],
        history=progress.history,
        status=status,
        warnings=tuple(dict.fromkeys(walk.warnings)),
        validation=held_out,
        seconds=time.monotonic() - began,
        reports=tuple(progress.reports),
        held={name: held.numpy() for name, held in (walk.held or {}).items()},
    )


def _check_units(settings: Settings, recording: Recording) -> None:
    checked_units(settings.units, recording)
    if any(isinstance(stage, GradientFree) for stage in settings.stages):
        raise InputError(
            "a search without gradients moves every value, so it cannot fit some units only; leave `units` out, or use "
            "an optimiser with gradients"
        )


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Leave the cores to the kernels: torch's other threads would wait for its small operations by spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _starts(
    unknown: Mapping[str, Parameter],
    coordinates: Mapping[str, Coordinate],
    settings: Settings,
    start: Mapping[str, ArrayLike] | None,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    given: dict[str, NDArray] = {}
    for name, value in (start or {}).items():
        for full in matching(unknown, name):
            given[full] = np.asarray(value, float) * unknown[full].unit.scale
    found, raw = {}, {}
    for name in centres_first(unknown):
        parameter = unknown[name]
        middle = [None] * settings.starts
        if parameter.centre in raw:
            middle = [float(value.reshape(-1)[0]) for value in raw[parameter.centre]]
        drawn = np.stack([parameter.draw_start(rng, centre) for centre in middle])
        if name in given:
            drawn = np.broadcast_to(given[name], drawn.shape)
        raw[name] = drawn
        values = torch.from_numpy(np.moveaxis(drawn, 0, -1).copy()).to(settings.dtype)
        found[name] = coordinates[name].to_real(values)
    return {name: found[name] for name in unknown}


def _fingerprint(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    settings: Settings,
    start: Mapping | None,
) -> str:
    digest = hashlib.sha256(model.text.encode())
    for array in (
        recording.spike_times,
        recording.unit_ids,
        recording.trial_ids,
        recording.gaps,
        *recording.inputs.values(),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    for name, parameter in parameters.items():
        digest.update(
            f"{name}{parameter.learned}{np.asarray(parameter.given) if not parameter.learned else ''}".encode()
        )
    for name, value in (start or {}).items():
        digest.update(name.encode() + np.asarray(value, float).tobytes())
    digest.update(
        repr(
            (settings.stages, settings.starts, settings.seed, settings.validation, settings.dtype)
        ).encode()
    )
    digest.update(repr(settings.units).encode() if settings.units else b"")
    return digest.hexdigest()


@dataclass(slots=True)
class _Walked:
    """What a stage has seen so far."""

    count: int = 0
    first: float = float("nan")
    last: float = float("nan")
    gradient: float = float("nan")
    stopped: str = "all iterations done"

    def note(self, losses: Tensor, gradient: Mapping[str, Tensor]) -> None:
        """Keep the best objective of an iteration and the size of its gradient."""
        safe = torch.where(torch.isfinite(losses), losses, torch.inf).detach()
        best = int(safe.argmin())
        self.last = float(safe[best])
        self.first = self.last if self.count == 0 else self.first
        self.count += 1
        if gradient:
            slopes = torch.cat([g[..., best].reshape(-1) for g in gradient.values()]).detach()
            self.gradient = float(slopes.square().mean().sqrt())


class _Search:
    """The loop over stages, levels and iterations; all its state that matters is in Progress."""

    def __init__(
        self,
        model: Model,
        unknown: Mapping[str, Parameter],
        coordinates: Mapping[str, Coordinate],
        known: Mapping[str, Tensor],
        training: Recording,
        held_out: Recording,
        settings: Settings,
        checkpoint: Path | None,
        fingerprint: str,
        report: Report | None,
        began: float,
    ) -> None:
        self.unknown, self.coordinates = unknown, coordinates
        self.known, self.settings = known, settings
        masked = bool(len(training.gaps) or len(held_out.gaps))
        self.training, self.held_out = (
            prepare(
                model, part, settings.dtype, settings.backend, masked=masked, units=settings.units
            )
            for part in (training, held_out)
        )
        self.checkpoint, self.fingerprint, self.report = checkpoint, fingerprint, report
        self.began = self.saved = began
        self.warnings: list[str] = []
        self.held: dict[str, Tensor] | None = None
        if settings.units:
            self.held = without_influence(self.training, unknown, Forced().warm_up)
            note = note_of(self.held, settings.units)
            self.warnings += [note] if note else []
        self.objectives: dict[tuple[Stage, str], ForcedObjective | FreeObjective] = {}
        self.reached: Scores | None = None
        self.searches: Searches | None = None
        self.walked = _Walked()
        self.total = sum(stage.iterations * len(stage.levels) for stage in settings.stages)

    def objective(
        self, stage: Stage, data_name: str, z: Mapping[str, Tensor]
    ) -> ForcedObjective | FreeObjective:
        """Return a stage's objective on the `training` or `held_out` part; z: where the stage begins."""
        if (stage, data_name) not in self.objectives:
            data = self.training if data_name == "training" else self.held_out
            aim = stage.objective if isinstance(stage, GradientFree) else stage
            other = next((o for (s, _), o in self.objectives.items() if s == stage), None)
            kernel = None if other is None else other.kernel
            seed = self.settings.seed
            made = (
                ForcedObjective(data, aim, seed, self.values(z), kernel)  # type: ignore[arg-type]
                if isinstance(aim, Forced)
                else FreeObjective(data, aim, seed, kernel)  # type: ignore[arg-type]
            )
            self.objectives[stage, data_name] = made
            if isinstance(made, FreeObjective):
                self.warnings.extend(made.warnings)
        return self.objectives[stage, data_name]

    def packing(self, z: Mapping[str, Tensor], objective: ForcedObjective) -> Packing:
        """Return the free coordinates as one vector."""
        model = self.training.model
        sizes = {n: setup.sizes_of(model, n)[0] for n in setup.spiking_populations(model)}
        post = {name: projection.post for name, projection in model.projections.items()}
        # a centre ties all that lies around it together
        centres = {parameter.centre for parameter in self.unknown.values()}
        across = objective.kernel.acting_on_others | centres
        return pack(z, self.training.synapses, sizes, post, across, held=self.held)

    def log_prior(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the log-density of the prior, (restart,)."""
        return log_prior(z, self.unknown, self.coordinates, self.training.synapses, self.known)

    def values(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all parameters, known and unknown; 0 for synapses that do not exist."""
        return {**self.known, **self.unknown_values(z)}

    def unknown_values(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the unknown parameters; 0 for synapses that do not exist."""
        values = values_of(z, self.coordinates)
        for name, exists in self.training.synapses.items():
            for full in [n for n in values if n.rsplit(".", 1)[0] == name and values[n].dim() == 3]:
                values[full] = torch.where(exists, values[full], torch.zeros_like(values[full]))
        return values

    def run(self, progress: Progress) -> Status:
        """Walk through what is left of the stages."""
        try:
            for number in range(progress.stage, len(self.settings.stages)):
                if progress.stage != number:
                    progress.stage, progress.level, progress.iteration = number, 0, 0
                    progress.before, progress.level_start = dict(progress.z), dict(progress.z)
                    progress.score = float("inf")
                self.walked = _Walked()
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
        return self.judge(progress)

    def conclude(self, progress: Progress, status: Status | None) -> None:
        """Report how the stage at hand went."""
        if progress.stage >= len(self.settings.stages):
            return
        name, walked = self.settings.stages[progress.stage].name, self.walked
        kept = len(progress.alive)
        why = walked.stopped if status is None else status.value
        progress.reports.append(
            StageReport(name, walked.count, walked.first, walked.last, walked.gradient, kept, why)
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
            if progress.level != level:
                progress.level, progress.iteration = level, 0
                progress.level_start = dict(progress.z)
            if progress.iteration == 0 and isinstance(objective, ForcedObjective):
                blocks = self.packing(progress.z, objective).n_blocks + 1
                progress.damping = torch.full((len(progress.alive), blocks), FIRST_DAMPING)
            self.reached = None
            while progress.iteration < stage.iterations:
                if (
                    isinstance(stage, Forced)
                    and isinstance(objective, ForcedObjective)
                    and stage.optimiser == "scoring"
                ):
                    self.score(progress, stage, objective, stage.levels[level])
                else:
                    self.iterate(progress, stage, objective, stage.levels[level])
                if time.monotonic() - self.began > self.settings.max_time:
                    return Status.OUT_OF_TIME
            last = level == len(stage.levels) - 1
            if not self.select(progress, stage, stage.levels[level], last=last):
                self.walked.stopped = "a narrower threshold predicts the held-out spikes worse"
                break
        return None

    def scores(
        self, z: Mapping[str, Tensor], stage: Forced, objective: ForcedObjective, width: float
    ) -> Scores:
        """Return log-likelihoods and window scores at z."""

        def by_window(lanes: Mapping[str, Tensor], restarts: int) -> Tensor:
            return objective.by_window(self.values(lanes), restarts, width)

        prior = self.log_prior if stage.prior else None
        return scores_of(by_window, prior, z, self.packing(z, objective), objective.lanes.width)

    def blocks(
        self,
        z: Mapping[str, Tensor],
        stage: Forced,
        objective: ForcedObjective,
        width: float,
        packing: Packing,
    ) -> Tensor:
        """Return the log-likelihood, or log-posterior, of each block, (restart, block)."""
        restarts = next(iter(z.values())).shape[-1]
        lanes = {n: v.repeat_interleave(objective.lanes.width, -1) for n, v in z.items()}
        by_neuron = objective.by_window(self.values(lanes), restarts, width).sum(2)
        found = by_block(by_neuron, packing, packing.blocks)
        return found + self.log_prior(z)[:, None] if stage.prior else found

    def score(
        self, progress: Progress, stage: Forced, objective: ForcedObjective, width: float
    ) -> None:
        """One damped second-order step for every surviving restart; a step that makes it worse is taken back."""
        packing = self.packing(progress.z, objective)
        if self.reached is None:
            self.reached = self.scores(progress.z, stage, objective, width)
        here = self.reached
        step = propose(here, packing, progress.damping)
        common = packing.owners < 0
        with torch.no_grad():
            before = here.likelihood
            if stage.prior:
                before = self.blocks(progress.z, stage, objective, width, packing)
            there = self.blocks(packing.add(progress.z, step), stage, objective, width, packing)
            better = there > before
            risen = there.sum(1) > before.sum(1)
            better[:, -1] = risen
            if not bool(risen.all()):
                # each block on its own: with what is common held, no block changes the likelihood of another
                own = torch.where(common[:, None], torch.zeros_like(step), step)
                alone = (
                    self.blocks(packing.add(progress.z, own), stage, objective, width, packing)
                    > before
                )
                alone[:, -1] = False
                better = torch.where(risen[:, None], better, alone)
        taken = torch.where(risen[:, None], torch.ones_like(better), better)
        place = torch.where(common, packing.n_blocks, packing.owners)
        kept = torch.where(taken[:, place].T, step, torch.zeros_like(step))
        zero = {n: torch.zeros_like(v) for n, v in progress.z.items()}
        self.note(
            progress,
            -here.likelihood.sum(1) / objective.scale,
            packing.add(zero, here.gradient.T),
        )
        progress.z = packing.add(progress.z, kept)
        progress.damping = progress.damping * torch.where(better, EASIER, HARDER)
        progress.damping = progress.damping.clamp(1e-6, 1e9)
        progress.iteration += 1
        # half of slope times step is the gain that is left, to second order
        left = by_block(0.5 * step * here.gradient.T, packing, packing.owners)
        stuck = progress.damping > STUCK
        if bool((((left < ENOUGH) & (better | (progress.damping < 1))) | stuck).all()):
            progress.iteration = stage.iterations
            self.walked.stopped = (
                "no step makes it better"
                if bool(stuck.any())
                else f"a further step promises less than {ENOUGH:g} nats"
            )
        if progress.iteration < stage.iterations:
            if progress.iteration % CROSSED_EVERY == 0:
                self.cross(progress, stage, objective, width, packing)
            self.reached = self.scores(progress.z, stage, objective, width)
        if time.monotonic() - self.saved >= self.settings.checkpoint_every:
            self.save(progress)
        if self.report is not None:
            self.report(
                stage.name,
                self.done(progress),
                self.total,
                float((-self.reached.likelihood.sum(1) / objective.scale).min()),
            )

    def cross(
        self,
        progress: Progress,
        stage: Forced,
        objective: ForcedObjective,
        width: float,
        packing: Packing,
    ) -> None:
        """Put the best of every block together: if that is better than any restart, it replaces the worst.

        Given the spikes the blocks do not act on each other, so a few starts of the network are as many of each neuron.
        """
        with torch.no_grad():
            blocks = self.blocks(progress.z, stage, objective, width, packing)
            total = blocks.sum(1)
            if len(total) < 2:
                return
            chosen = torch.cat([blocks[:, :-1].argmax(0), total.argmax().reshape(1)])
            vectors = packing.vector(progress.z)
            place = torch.where(packing.owners < 0, packing.n_blocks, packing.owners)
            mixed = vectors.gather(1, chosen[place][:, None])
            worst = int(total.argmin())
            step = torch.zeros_like(vectors)
            step[:, worst] = mixed[:, 0] - vectors[:, worst]
            moved = packing.add(progress.z, step)
            found = self.blocks(moved, stage, objective, width, packing).sum(1)
        if found[worst] > total.max():
            progress.z = moved
            progress.damping[worst] = FIRST_DAMPING

    def iterate(
        self,
        progress: Progress,
        stage: Stage,
        objective: ForcedObjective | FreeObjective,
        width: float,
    ) -> None:
        """One step of the optimiser for every surviving restart."""
        if isinstance(stage, GradientFree):
            if self.searches is None or self.searches.number != progress.stage:
                self.searches = Searches(progress, stage, self.settings.seed)
            losses = explore(progress, self.searches, lambda z: objective(self.values(z), width))
            self.note(progress, losses, {})
            self.advance(progress, stage, losses)
            return
        z = {name: value.detach().requires_grad_() for name, value in progress.z.items()}
        losses = objective(self.values(z), width)
        if isinstance(stage, Forced) and isinstance(objective, ForcedObjective) and stage.prior:
            losses = losses - self.log_prior(z) / objective.scale
        finite = torch.where(torch.isfinite(losses), losses, torch.zeros_like(losses))
        names = list(z)
        gradients = torch.autograd.grad(
            finite.sum(), [z[name] for name in names], allow_unused=True
        )
        gradient = {
            n: torch.zeros_like(z[n]) if g is None else g
            for n, g in zip(names, gradients, strict=True)
        }
        if self.held is not None:
            gradient = {
                n: torch.where(self.held[n].unsqueeze(-1), torch.zeros_like(g), g)
                for n, g in gradient.items()
            }
        self.note(progress, losses, gradient)
        share = progress.iteration / max(1, stage.iterations - 1)
        rate = stage.learning_rate * stage.final_rate**share
        detached = {name: value.detach() for name, value in z.items()}
        progress.z, progress.adam = adam_step(detached, gradient, progress.adam, learning_rate=rate)
        self.advance(progress, stage, losses)

    def advance(self, progress: Progress, stage: Stage, losses: Tensor) -> None:
        """Count an iteration; save and report where the fit stands."""
        progress.iteration += 1
        if time.monotonic() - self.saved >= self.settings.checkpoint_every:
            self.save(progress)
        if self.report is not None:
            best = losses.detach()[torch.isfinite(losses)]
            self.report(
                stage.name,
                self.done(progress),
                self.total,
                float(best.min()) if len(best) else float("nan"),
            )

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
            for name, value in gradient.items():
                known = self.held is not None and bool(self.held[name].all())
                if any(parameter.centre == name for parameter in self.unknown.values()):
                    known = True
                    self.note_centre(name)
                if not known and not bool((value != 0).any()):
                    self.warnings.append(
                        f"`{name}` has no influence on any spike in stage {progress.stage + 1}; it stays at its start"
                    )
        if progress.iteration % HISTORY_EVERY == 0:
            values = {
                name: v.detach().numpy().copy()
                for name, v in self.unknown_values(progress.z).items()
            }
            losses_by_start = np.full(self.settings.starts, np.nan)
            losses_by_start[progress.alive] = losses.detach().numpy()
            spread = {}
            for name, value in values.items():
                full = np.full((*value.shape[:-1], self.settings.starts), np.nan)
                full[..., progress.alive] = value
                spread[name] = full
            progress.history.append(
                (progress.stage, progress.level, progress.iteration, losses_by_start, spread)
            )

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
        """
        objective = self.objective(stage, "held_out", progress.z)
        with torch.no_grad():
            losses = objective(self.values(progress.z), width)
            if isinstance(stage, Forced) and stage.density == "escape":
                best = float(torch.where(torch.isfinite(losses), losses, torch.inf).min())
                if best > progress.score:
                    progress.z = dict(progress.level_start)
                    return False
                progress.score = best
            elif last:
                before = objective(self.values(progress.before), width)
                worse = ~(losses <= before)
                progress.z = {
                    n: torch.where(worse, progress.before[n], z) for n, z in progress.z.items()
                }
                losses = torch.where(worse, before, losses)
                if bool(worse.any()):
                    self.walked.stopped += f"; undone for {int(worse.sum())} of {len(worse)} restarts, worse on held-out data"
        ranking = np.argsort(
            np.where(np.isfinite(losses.numpy()), losses.numpy(), np.inf), kind="stable"
        )
        # restarts far from convergence may yet change places; those that converged do not
        settled = isinstance(stage, Forced) and stage.optimiser == "scoring"
        fewest = 1 if settled and last else (len(ranking) + 1) // 2
        kept = max(min(stage.keep, len(ranking)), fewest)
        progress.keep(np.sort(ranking[:kept]))
        return True

    def rank(self, progress: Progress) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the surviving restarts, best on the held-out part first, and what they were ranked by."""
        stage = self.settings.stages[min(progress.stage, len(self.settings.stages) - 1)]
        with torch.no_grad():
            values = self.values(progress.z)
            objective = self.objective(stage, "held_out", progress.z)
            # the width that serves best is the one the annealing settled at
            by_level = [objective(values, width).numpy() for width in stage.levels]
        finite = [np.where(np.isfinite(losses), losses, np.inf) for losses in by_level]
        level = int(np.argmin([losses.min() for losses in finite]))
        return np.argsort(finite[level], kind="stable"), by_level[level]

    def judge(self, progress: Progress) -> Status:
        """Converged: over the last fifth of the last stage the best objective moved less than 2 % of its size."""
        last = [entry for entry in progress.history if entry[0] == len(self.settings.stages) - 1]
        last = [entry for entry in last if entry[1] == last[-1][1]]
        best = np.array(
            [np.nanmin(entry[3]) if np.isfinite(entry[3]).any() else np.nan for entry in last]
        )
        tail = best[-max(2, len(best) // 5) :]
        settled = (
            len(tail) > 1
            and np.isfinite(tail).all()
            and np.ptp(tail) <= 0.02 * max(abs(tail[-1]), 1e-9)
        )
        return Status.CONVERGED if settled else Status.NOT_CONVERGED

    def save(self, progress: Progress) -> None:
        """Write the checkpoint."""
        if self.checkpoint is not None:
            save_progress(self.checkpoint, progress, self.fingerprint)
        self.saved = time.monotonic()


def unknown_noise(model: Model, recording: Recording) -> Sequence[str]:
    """Return the random subexpressions whose values the recording does not give, and `xi` where there is white noise."""
    known = set(setup.given_names(model, recording.inputs))
    found = []
    for population in model.populations:
        neuron = model.neuron_of(population)
        if any(noise.white for noise in neuron.noise):
            found.append(f"{population}.xi")
        if any(not noise.white for noise in neuron.noise):
            drawn = [name for name, v in neuron.variables.items() if v.constant_over_dt]
            found += [f"{population}.{n}" for n in drawn if f"{population}.{n}" not in known]
    return found
