"""Objectives: unknown parameters of many restarts to one number each, through a kernel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eqsnn.backends.kernel import Kernel, Noise, Outcome, Run
from eqsnn.compiler import compile_program, exact_program, free_program, partly_forced_program
from eqsnn.errors import InputError
from eqsnn.inference.stages import Forced, Free
from eqsnn.language.model import Model
from eqsnn.losses.composition import Loss
from eqsnn.losses.spike_times import Trains
from eqsnn.losses.terms import PlainVanRossum, Sample, TimedSample, VanRossum
from eqsnn.maths.append_loss import COUNTED, DECAY, TRACE, append_van_rossum
from eqsnn.maths.program import Kind, Program
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup
from eqsnn.simulation.offsets import spike_offsets
from eqsnn.simulation.recording import Recording

Values = Mapping[
    str, Tensor
]  # parameters in coherent units, (neuron or 1, restart) or (pre, post, restart)


_NOTHING = (
    "no step of the data counts in a {} stage: every neuron that counts is unobserved there; "
    "choose other units, another validation share, or a shorter warm-up"
)
OWN_NOISE = (
    1 << 32
)  # added to the seed: a fit must not know the noise of targets simulated with the same seed


@dataclass(frozen=True, slots=True)
class Data:
    """A recording as tensors for a kernel: drives and observed spikes, (time, neuron or 1, trial or 1).

    masked: whether programs have to know which steps were observed; units: the neurons whose spikes count, () for all.
    """

    model: Model
    recording: Recording
    known: tuple[str, ...]
    synapses: Mapping[str, Tensor]
    dtype: torch.dtype
    start: setup.Start
    backend: str = "auto"
    masked: bool = False
    units: tuple[int, ...] = ()

    @property
    def n_steps(self) -> int:
        """Steps of the model in a trial."""
        return setup.steps_in(self.recording.duration, self.model.dt)

    @property
    def chosen(self) -> Tensor:
        """Which neurons count, bool (neuron,)."""
        n = self.recording.n_units
        return (
            torch.isin(torch.arange(n), torch.tensor(self.units))
            if self.units
            else torch.ones(n, dtype=torch.bool)
        )

    def observed(self, *, expected: bool = False) -> dict[str, Tensor]:
        """Return the observed spikes of each spiking population; 0 in gaps.

        expected: in gaps the mean number of spikes that the neuron has in an observed step, 0 if there is none.
        """
        dense = self._tensor(self.recording.dense(self.model.dt * 1e-3))
        if self.masked:
            seen = self.seen()
            usual = (dense * seen).sum((0, 2)) / seen.sum((0, 2)).clamp(min=1) if expected else 0.0
            fill = torch.as_tensor(usual, dtype=self.dtype).reshape(1, -1, 1)
            dense = torch.where(seen > 0, dense, fill)
        return self.by_population(dense)

    def seen(self) -> Tensor:
        """Return 1 for the steps of each neuron of the network that were observed, else 0: (time, neuron, trial)."""
        return self._tensor(self.recording.seen(self.model.dt * 1e-3))

    def counted(self, warm_up: float) -> Tensor:
        """Return 1 for the steps of each neuron whose likelihood counts, else 0: (time, neuron, trial).

        After a gap nobody knows the state of a neuron: its steps count again after its first observed spike, or once
        `warm_up` seconds have passed.
        """
        step = self.model.dt * 1e-3
        seen = np.moveaxis(self.recording.seen(step), 0, 2)
        spikes = np.moveaxis(self.recording.dense(step), 0, 2).astype(bool) & seen
        never = -(10**9)
        steps = np.arange(len(seen)).reshape(-1, 1, 1)
        gap = np.maximum.accumulate(np.where(seen, never, steps), axis=0)
        spike = np.maximum.accumulate(np.where(spikes, steps, never), axis=0)
        spike = np.concatenate([np.full_like(spike[:1], never), spike[:-1]])
        ready = (steps - gap > round(warm_up / step)) | (spike > gap)
        counts = torch.from_numpy(seen & ready).to(self.dtype)
        return counts * self.chosen.to(self.dtype).reshape(1, -1, 1)

    def gates(self, stage: Forced | Free) -> dict[str, Tensor]:
        """Return what a masked program of a stage needs to know of each population: which steps are observed, and count."""
        if isinstance(stage, Forced):
            found = (
                {"seen": self.seen(), "counted": self.counted(stage.warm_up)} if self.masked else {}
            )
        else:
            seen = self.seen()
            # the chosen run on their own spikes, the others follow theirs wherever these are known
            found = {
                "compared": seen,
                "seen": seen * (~self.chosen).to(self.dtype).reshape(1, -1, 1),
            }
        return {
            f"{name}.{what}": part
            for what, whole in found.items()
            for name, part in self.by_population(whole).items()
        }

    def by_population(self, whole: Tensor) -> dict[str, Tensor]:
        """Split (time, neuron, trial) of the whole network into its spiking populations."""
        found, start = {}, 0
        for name in setup.spiking_populations(self.model):
            (size,) = setup.sizes_of(self.model, name)
            found[name] = whole[:, start : start + size]
            start += size
        return found

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).permute(1, 2, 0).to(self.dtype)

    def timed(self) -> Trains:
        """Return the observed spikes of all neurons with their fractions of a step, (time, neuron, trial)."""
        found = spike_offsets(self.recording, self.model.dt * 1e-3, self.n_steps)
        return Trains(*(torch.from_numpy(x).permute(1, 2, 0).to(self.dtype) for x in found))


def prepare(
    model: Model,
    recording: Recording,
    dtype: torch.dtype,
    backend: str = "auto",
    *,
    masked: bool | None = None,
    units: tuple[int, ...] = (),
) -> Data:
    """Return a recording ready for objectives; masked: see Data, by default whether the recording has gaps."""
    known = tuple(setup.given_names(model, recording.inputs))
    gaps = bool(len(recording.gaps)) if masked is None else masked
    start = setup.start_of(model)
    return Data(
        model, recording, known, setup.synapses_of(model), dtype, start, backend, gaps, units
    )


@dataclass(frozen=True, slots=True)
class Lanes:
    """Inputs of a run over `width` windows or trials, the same for every restart."""

    n_steps: int
    width: int
    drives: dict[str, Tensor]  # (time, neuron or 1, width or 1)
    weights: Tensor  # (time, 1, width)
    noise: Noise
    begins: list[int]  # first step of each window in its trial

    chosen: Tensor | None = None  # places of these windows among all, where only some are used

    def cut(self, value: Tensor, trials: int) -> Tensor:
        """Return the windows of a sequence over whole trials, (time, neuron, width)."""
        whole = _cut(value, self.begins, self.n_steps, trials)
        return whole if self.chosen is None else whole[..., self.chosen]

    def part(self, places: Tensor) -> "Lanes":
        """Return these of the windows."""
        drives = {
            n: v[..., places].contiguous() if v.shape[-1] == self.width else v
            for n, v in self.drives.items()
        }
        noise = Noise(self.noise.seed, self.noise.stream[places], self.noise.first[places])
        weights = self.weights[..., places].contiguous()
        return Lanes(self.n_steps, len(places), drives, weights, noise, self.begins, places)


class FreeObjective:
    """Loss between the spikes of the free-running network and the target's, one value per restart.

    `kernel` as in ForcedObjective. `warnings`: what a user should know about this loss on this model.
    """

    def __init__(self, data: Data, stage: Free, seed: int, kernel: Kernel | None = None) -> None:
        self.data, self.loss = data, stage.composed
        self.populations = setup.spiking_populations(data.model)
        self.timed = stage.gradient == "exact"
        if self.timed and (data.masked or data.units):
            raise InputError(
                'the exact gradient needs all neurons observed and fitted; use gradient="surrogate" for data with gaps '
                "or for some of the units"
            )
        make = partly_forced_program if data.units else free_program
        program = (
            exact_program(data.model, known=data.known)
            if self.timed
            else make(data.model, known=data.known, detach_reset=stage.detach_reset)
        )
        spikes = tuple(f"{name}.spike" for name in self.populations)
        noisy = bool(select(program, spikes).of_kind(Kind.NORMAL, Kind.UNIFORM))
        self.warnings = _warnings_of(self.loss) if noisy else ()
        plain = all(isinstance(term, PlainVanRossum) for term in self.loss.terms)
        # two independent draws of unknown noise make a loss unbiased
        self.copies = 2 if noisy and not plain else 1
        # the product of two lanes' traces is no sum over lanes, so only the plain distance is part of the step
        self.fused = _single_tau(self.loss) is not None and self.copies == 1 and not self.timed
        self.outputs = spikes
        if self.timed:
            self.outputs += tuple(f"{name}.offset" for name in self.populations)
        if self.fused:
            program = append_van_rossum(program, self.populations, masked=data.masked)
            self.outputs = tuple(f"{name}.van_rossum" for name in self.populations)
        self.kernel = kernel or compile_program(program, self.outputs, data.backend)
        self.lanes = windows(data, self.kernel.step, stage, seed, self.copies)
        self.repeated = all(
            bool((drive == drive[..., :1]).all())
            for drive in _given(data, self.kernel.step, stage).values()
            if drive.shape[-1] > 1
        )
        self.lanes.drives[COUNTED] = self.lanes.weights
        self.trials = data.recording.n_trials
        self.counted = self.lanes.weights[..., : self.lanes.width // self.copies]
        whole = torch.cat(list(data.observed().values()), dim=1)
        self.rows = data.chosen.nonzero().reshape(-1)
        if data.masked:
            compared = _cut(data.seen(), self.lanes.begins, self.lanes.n_steps, self.trials)
            compared = self.counted * compared
            self.rows = (compared.sum((0, 2)) > 0).logical_and(data.chosen).nonzero().reshape(-1)
            self.counted = compared[:, self.rows]
            if not len(self.rows):
                raise InputError(_NOTHING.format("free-running"))
        self.gate = self.counted.repeat(1, 1, self.copies)
        cut = _cut(whole[:, self.rows], self.lanes.begins, self.lanes.n_steps, self.trials)
        self.target = cut * self.counted
        if self.timed:
            spikes, offsets = (self.lanes.cut(each, self.trials) for each in data.timed())
            self.times = Trains(
                *(each[:, :, None, :, None] for each in (spikes * self.counted, offsets))
            )

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the loss of each restart, (restart,). The exact gradient has no width."""
        if self.timed:
            return self.by_times(values)
        if self.fused:
            return self.by_step(values, width)
        # a sum over steps has one weight for all neurons
        few = self.loss.of_rates_only and not self.data.masked
        return self.loss(self.counts(values, width) if few else self.spikes(values, width))

    def by_step(self, values: Values, width: float) -> Tensor:
        """The van Rossum distance as the step itself adds it up: no spike is kept."""
        tau, weight = _single_tau(self.loss) or (math.nan, math.nan)
        decay = math.exp(-self.data.model.dt * 1e-3 / tau)
        settings = {"surrogate_width": width, DECAY: decay}
        outcome, _ = _run(self.data, self.kernel, self.lanes, values, settings, total=self.outputs)
        distance = torch.cat([outcome.totals[name] for name in self.outputs])
        last = torch.cat([outcome.states[f"{name}.{TRACE}"] for name in self.populations])
        per_lane = (distance + decay**2 / 2 * last**2)[self.rows].mean(0)
        return weight * per_lane.reshape(-1, self.lanes.width).mean(1)

    def by_times(self, values: Values) -> Tensor:
        """The van Rossum distance between spike times, differentiable in the times."""
        outcome, restarts = _run(
            self.data, self.kernel, self.lanes, values, {}, record=self.outputs
        )
        lanes = (restarts, self.copies, self.lanes.width // self.copies, 1)
        spikes, offsets = (
            torch.cat([outcome.recorded[f"{name}.{x}"] for name in self.populations], dim=1)
            for x in ("spike", "offset")
        )
        spikes = spikes * self.lanes.weights.repeat(1, 1, restarts)
        both = (each.reshape(*each.shape[:2], *lanes).unbind(3) for each in (spikes, offsets))
        draws = tuple(Trains(*draw) for draw in zip(*both, strict=True))
        sample = TimedSample(draws, self.times, self.data.model.dt * 1e-3)
        found = [
            weight * term.timed(sample)
            for weight, term in self.loss.parts
            if isinstance(term, VanRossum | PlainVanRossum)
        ]
        return sum(found[1:], found[0])

    def counts(self, values: Values, width: float) -> Sample:
        """The number of spikes of each lane, as a single step that lasts all of the counted time."""
        outcome, restarts = _run(
            self.data,
            self.kernel,
            self.lanes,
            values,
            {"surrogate_width": width},
            total=self.outputs,
            weights=self.lanes.weights,
        )
        counts = torch.cat([outcome.totals[name] for name in self.outputs])[None, self.rows]
        target, counted = (each.sum(0, keepdim=True) for each in (self.target, self.counted))
        return self.sample(counts, target, counted, restarts)

    def spikes(self, values: Values, width: float) -> Sample:
        """The spikes of all lanes in the steps that count."""
        spikes, restarts = self.run(values, width)
        return self.sample(
            spikes[:, self.rows] * self.gate.repeat(1, 1, restarts),
            self.target,
            self.counted,
            restarts,
        )

    def run(self, values: Values, width: float) -> tuple[Tensor, int]:
        """Return the spikes of all lanes, (time, neuron, lane), and the number of restarts."""
        outcome, restarts = _run(
            self.data,
            self.kernel,
            self.lanes,
            values,
            {"surrogate_width": width},
            record=self.outputs,
        )
        return torch.cat([outcome.recorded[name] for name in self.outputs], dim=1), restarts

    def sample(self, spikes: Tensor, target: Tensor, counted: Tensor, restarts: int) -> Sample:
        """Return lanes (restart, copy, window, trial) as independent draws and target."""
        windows = len(self.lanes.begins)
        lanes = (restarts, self.copies, windows, self.trials)
        draws = spikes.reshape(*spikes.shape[:2], *lanes).unbind(3)
        whole, steps = (
            each.reshape(*each.shape[:2], 1, windows, self.trials) for each in (target, counted)
        )
        return Sample(draws, whole, steps, self.data.model.dt * 1e-3, self.repeated)


def _single_tau(loss: Loss) -> tuple[float, float] | None:
    """Return tau and weight of a loss that is one van Rossum distance with one tau, else None."""
    weight, term = loss.parts[0]
    if len(loss.parts) == 1 and isinstance(term, VanRossum | PlainVanRossum) and len(term.tau) == 1:
        return term.tau[0], weight
    return None


def _warnings_of(loss: Loss) -> tuple[str, ...]:
    """Warn of terms that are biased when the model has noise that the data do not hold."""
    return tuple(
        f"the plain van Rossum distance between trains with independent noise is smallest at too low rates, by about "
        f"1/(4 tau) = {1 / (4 * max(term.tau)):.3g} Hz at tau = {max(term.tau) * 1e3:g} ms (and a silent model beats "
        "the truth below that rate); use van_rossum(...), which is unbiased, or give the noise as an array"
        for term in loss.terms
        if isinstance(term, PlainVanRossum)
    )


def _run(
    data: Data,
    kernel: Kernel,
    lanes: Lanes,
    values: Values,
    settings: dict[str, float],
    **wanted: Any,
):
    restarts = max(value.shape[-1] for value in values.values())
    spread = {name: repeat(value, restarts, lanes.width) for name, value in values.items()}
    return run_lanes(data, kernel, lanes, spread, restarts, settings, **wanted), restarts


def run_lanes(
    data: Data,
    kernel: Kernel,
    lanes: Lanes,
    values: Values,
    restarts: int,
    settings: Mapping[str, float],
    **wanted: Any,
) -> Outcome:
    """Run every window of every restart; values have one lane for each, or one for all.

    Restarts vary slowest: lane = restart * width + window.
    """
    spread: dict[str, Tensor | float] = dict(values)
    spread |= setup.settings_of(data.model) | {"surrogate_width": 0.1} | dict(settings)
    noise = Noise(
        lanes.noise.seed, lanes.noise.stream.repeat(restarts), lanes.noise.first.repeat(restarts)
    )
    states = setup.initial_states(
        data.model, kernel.step, spread, data.synapses, restarts * lanes.width, data.start
    )
    needed = {given.name for given in kernel.step.inputs}
    run = Run(
        lanes.n_steps,
        states,
        spread,
        {name: drive for name, drive in lanes.drives.items() if name in needed},
        data.synapses,
        noise=noise,
        sizes=setup.population_sizes(data.model),
        **wanted,
    )
    return kernel.unroll(run)


def repeat(value: Tensor, restarts: int, width: int) -> Tensor:
    """Return the value of each restart for each of its `width` lanes."""
    if value.shape[-1] == 1:
        return value
    return (
        value.unsqueeze(-1).expand(*value.shape, width).reshape(*value.shape[:-1], restarts * width)
    )


def _given(data: Data, step: Program, stage: Forced | Free) -> dict[str, Tensor]:
    """Return every per-step input over whole trials: drives, observed spikes and what is known of them, time."""
    drives = setup.drives_of(data.model, step, data.recording, data.n_steps, data.dtype)
    drives |= forcing(data, stage)
    drives["t"] = setup.times(0, data.n_steps, data.model.dt, data.dtype)
    needed = {given.name for given in step.inputs}
    return {name: value for name, value in drives.items() if name in needed}


def forcing(data: Data, stage: Forced | Free) -> dict[str, Tensor]:
    """Return the observed spikes, and where they are known, over whole trials, (time, neuron, trial)."""
    expected = isinstance(stage, Forced) and stage.density != "escape"
    found = {f"{n}.observed": s for n, s in data.observed(expected=expected).items()}
    return found | (data.gates(stage) if data.masked or data.units else {})


def windows(data: Data, step: Program, stage: Forced | Free, seed: int, copies: int = 1) -> Lanes:
    """Cut trials into overlapping windows; only the part of a window after its warm-up counts.

    Lanes are ordered copy, window, trial, the last fastest.
    """
    dt = data.model.dt * 1e-3
    total = data.n_steps
    warm = min(round(stage.warm_up / dt), total // 4)
    window = min(max(1, round(stage.window / dt)), total - warm)
    starts = list(range(warm, total, window))
    length = warm + window
    trials = data.recording.n_trials
    begins = [max(0, min(start - warm, total - length)) for start in starts]
    drives = {
        name: _cut(value, begins, length, trials).repeat(1, 1, copies)
        for name, value in _given(data, step, stage).items()
    }
    # lanes in the order copy, window, trial; a trial has the same noise in each of its overlapping windows
    own = torch.arange(copies)[:, None, None] * trials + torch.arange(trials)
    stream = own.expand(copies, len(starts), trials).reshape(-1)
    first = torch.tensor(begins)[None, :, None].expand(copies, len(starts), trials).reshape(-1)
    noise = Noise(seed + OWN_NOISE, stream, first)
    weights = torch.zeros(length, 1, len(starts) * trials, dtype=data.dtype)
    for k, (start, begin) in enumerate(zip(starts, begins, strict=True)):
        weights[
            start - begin : min(start + window, total) - begin, :, k * trials : (k + 1) * trials
        ] = 1.0
    width = len(starts) * trials * copies
    lanes = Lanes(length, width, drives, weights.repeat(1, 1, copies), noise, begins)
    places = torch.arange(width)
    if data.masked and isinstance(stage, Forced):
        # a window in which nothing counts would cost as much as any other
        counted = lanes.cut(data.counted(stage.warm_up), trials) * lanes.weights
        places = (counted.sum((0, 1)) > 0).nonzero().reshape(-1)
        if not len(places):
            raise InputError(_NOTHING.format("teacher-forced"))
    wanted = math.ceil(stage.seconds / stage.window) if math.isfinite(stage.seconds) else width
    if wanted < len(places):
        places = places[torch.linspace(0, len(places) - 1, wanted).round().long()]
    return lanes.part(places) if len(places) < width else lanes


def _cut(value: Tensor, begins: list[int], length: int, trials: int) -> Tensor:
    full = value.expand(*value.shape[:2], trials)
    return torch.cat([full[begin : begin + length] for begin in begins], dim=2)
