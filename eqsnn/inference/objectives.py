"""Objectives: unknown parameters of many restarts to one number each, through a kernel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eqsnn.backends.kernel import Kernel, Noise, Run
from eqsnn.compiler import compile_program, forced_program, free_program
from eqsnn.inference.stages import Forced, Free
from eqsnn.language.model import Model
from eqsnn.losses.rate import firing_rate
from eqsnn.losses.van_rossum import debiased_van_rossum
from eqsnn.maths.append_loss import COUNTED, DECAY, TRACE, append_van_rossum
from eqsnn.maths.program import Kind
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup
from eqsnn.simulation.recording import Recording

Values = Mapping[
    str, Tensor
]  # parameters in coherent units, (neuron or 1, restart) or (pre, post, restart)


OWN_NOISE = (
    1 << 32
)  # added to the seed: a fit must not know the noise of targets simulated with the same seed


@dataclass(frozen=True, slots=True)
class Data:
    """A recording as tensors for a kernel: drives and observed spikes, (time, neuron or 1, trial or 1)."""

    model: Model
    recording: Recording
    known: tuple[str, ...]
    synapses: Mapping[str, Tensor]
    dtype: torch.dtype
    start: setup.Start
    backend: str = "auto"

    @property
    def n_steps(self) -> int:
        """Steps of the model in a trial."""
        return setup.steps_in(self.recording.duration, self.model.dt)

    def observed(self) -> dict[str, Tensor]:
        """Return the observed spikes of each spiking population."""
        dense = (
            torch.from_numpy(self.recording.dense(self.model.dt * 1e-3))
            .permute(1, 2, 0)
            .to(self.dtype)
        )
        found, start = {}, 0
        for name in setup.spiking_populations(self.model):
            (size,) = setup.sizes_of(self.model, name)
            found[name] = dense[:, start : start + size]
            start += size
        return found


def prepare(model: Model, recording: Recording, dtype: torch.dtype, backend: str = "auto") -> Data:
    """Return a recording ready for objectives."""
    known = tuple(setup.given_names(model, recording.inputs))
    return Data(
        model, recording, known, setup.synapses_of(model), dtype, setup.start_of(model), backend
    )


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Inputs of a run over `width` windows or trials, the same for every restart."""

    n_steps: int
    width: int
    drives: dict[str, Tensor]  # (time, neuron or 1, width or 1)
    weights: Tensor  # (time, 1, width)
    noise: Noise
    begins: list[int]  # first step of each window in its trial


class ForcedObjective:
    """Negative escape log-likelihood per neuron and step of the observed spikes, one value per restart.

    `kernel`: that of the same objective on other data of the same recording, to save its compilation.
    """

    def __init__(self, data: Data, stage: Forced, seed: int, kernel: Kernel | None = None) -> None:
        self.data, self.seed = data, seed
        self.outputs = tuple(
            f"{name}.log_likelihood" for name in setup.spiking_populations(data.model)
        )
        if kernel is None:
            program = forced_program(data.model, known=data.known)
            kernel = compile_program(program, self.outputs, data.backend)
        self.kernel = kernel
        self.lanes = _windows(data, self.kernel, stage, seed)
        neurons = sum(
            setup.sizes_of(data.model, name)[0] for name in setup.spiking_populations(data.model)
        )
        self.scale = float(self.lanes.weights.sum()) * neurons

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the objective of each restart, (restart,)."""
        outcome, restarts = _run(
            self.data,
            self.kernel,
            self.lanes,
            values,
            {"escape_width": width},
            total=self.outputs,
            weights=self.lanes.weights,
        )
        total = sum(outcome.totals[name].sum(0) for name in self.outputs)
        return -torch.as_tensor(total).reshape(restarts, self.lanes.width).sum(1) / self.scale


class FreeObjective:
    """Distance between the spikes of the free-running network and the target's, one value per restart.

    `kernel` as in ForcedObjective.
    """

    def __init__(self, data: Data, stage: Free, seed: int, kernel: Kernel | None = None) -> None:
        self.data, self.stage = data, stage
        self.populations = setup.spiking_populations(data.model)
        program = free_program(data.model, known=data.known, detach_reset=stage.detach_reset)
        spikes = tuple(f"{name}.spike" for name in self.populations)
        noisy = select(program, spikes).of_kind(Kind.NORMAL, Kind.UNIFORM)
        # two independent draws of unknown noise make the distance unbiased
        self.copies = 2 if noisy else 1
        # the product of two lanes' traces is no sum over lanes, so only the plain distance is part of the step
        self.fused = stage.loss == "van_rossum" and self.copies == 1
        self.outputs = spikes
        if self.fused:
            program = append_van_rossum(program, self.populations)
            self.outputs = tuple(f"{name}.van_rossum" for name in self.populations)
        self.kernel = kernel or compile_program(program, self.outputs, data.backend)
        self.lanes = _windows(data, self.kernel, stage, seed, self.copies)
        self.lanes.drives[COUNTED] = self.lanes.weights
        whole = torch.cat(list(data.observed().values()), dim=1)
        trials = data.recording.n_trials
        counted = self.lanes.weights[..., : self.lanes.width // self.copies]
        self.target = _cut(whole, self.lanes.begins, self.lanes.n_steps, trials) * counted

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the mean loss of each restart over its trials, (restart,)."""
        per_lane = self.by_step(values, width) if self.fused else self.by_spikes(values, width)
        trials = self.lanes.width // self.copies
        return per_lane.reshape(-1, trials).mean(1)

    def by_step(self, values: Values, width: float) -> Tensor:
        """The van Rossum distance as the step itself adds it up: no spike is kept."""
        decay = math.exp(-self.data.model.dt * 1e-3 / self.stage.tau)
        settings = {"surrogate_width": width, DECAY: decay}
        outcome, _ = _run(self.data, self.kernel, self.lanes, values, settings, total=self.outputs)
        distance = torch.cat([outcome.totals[name] for name in self.outputs])
        last = torch.cat([outcome.states[f"{name}.{TRACE}"] for name in self.populations])
        return (distance + decay**2 / 2 * last**2).mean(0)

    def by_spikes(self, values: Values, width: float) -> Tensor:
        """A loss of the spikes themselves."""
        settings = {"surrogate_width": width}
        dt, lanes = self.data.model.dt * 1e-3, self.lanes
        if self.stage.loss == "rate":
            outcome, restarts = _run(
                self.data,
                self.kernel,
                lanes,
                values,
                settings,
                total=self.outputs,
                weights=lanes.weights,
            )
            counts = torch.cat([outcome.totals[name] for name in self.outputs]) / lanes.n_steps
            draws = counts.reshape(1, len(counts), restarts, self.copies, -1).mean(3)
            mean = self.target.mean(0, keepdim=True).repeat(1, 1, restarts)
            return firing_rate(draws.reshape(mean.shape), mean, dt=dt).mean(0)
        outcome, restarts = _run(
            self.data, self.kernel, lanes, values, settings, record=self.outputs
        )
        spikes = torch.cat([outcome.recorded[name] for name in self.outputs], dim=1)
        spikes = spikes * lanes.weights.repeat(1, 1, restarts)
        target = self.target.repeat(1, 1, restarts)
        draws = spikes.reshape(*spikes.shape[:2], restarts, self.copies, -1).unbind(3)
        first, second = (draw.reshape(target.shape) for draw in draws)
        return debiased_van_rossum(first, second, target, tau=self.stage.tau, dt=dt).mean(0)


def _run(
    data: Data,
    kernel: Kernel,
    lanes: _Lanes,
    values: Values,
    settings: dict[str, float],
    **wanted: Any,
):
    restarts = max(value.shape[-1] for value in values.values())
    width = lanes.width
    spread: dict[str, Tensor | float] = {
        name: _repeat(value, restarts, width) for name, value in values.items()
    }
    spread |= setup.settings_of(data.model) | {"surrogate_width": 0.1} | settings
    # restarts vary slowest: lane = restart * width + window
    noise = Noise(
        lanes.noise.seed, lanes.noise.stream.repeat(restarts), lanes.noise.first.repeat(restarts)
    )
    states = setup.initial_states(
        data.model, kernel.step, spread, data.synapses, restarts * width, data.start
    )
    run = Run(
        lanes.n_steps,
        states,
        spread,
        lanes.drives,
        data.synapses,
        noise=noise,
        sizes=setup.population_sizes(data.model),
        **wanted,
    )
    return kernel.unroll(run), restarts


def _repeat(value: Tensor, restarts: int, width: int) -> Tensor:
    if value.shape[-1] == 1:
        return value
    return (
        value.unsqueeze(-1).expand(*value.shape, width).reshape(*value.shape[:-1], restarts * width)
    )


def _given(data: Data, kernel: Kernel) -> dict[str, Tensor]:
    """Return every per-step input over whole trials: drives, observed spikes, time."""
    drives = setup.drives_of(data.model, kernel.step, data.recording, data.n_steps, data.dtype)
    drives |= {f"{name}.observed": spikes for name, spikes in data.observed().items()}
    drives["t"] = setup.times(0, data.n_steps, data.model.dt, data.dtype)
    needed = {given.name for given in kernel.step.inputs}
    return {name: value for name, value in drives.items() if name in needed}


def _windows(
    data: Data, kernel: Kernel, stage: Forced | Free, seed: int, copies: int = 1
) -> _Lanes:
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
        for name, value in _given(data, kernel).items()
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
    return _Lanes(length, width, drives, weights.repeat(1, 1, copies), noise, begins)


def _cut(value: Tensor, begins: list[int], length: int, trials: int) -> Tensor:
    full = value.expand(*value.shape[:2], trials)
    return torch.cat([full[begin : begin + length] for begin in begins], dim=2)
