"""Objectives: unknown parameters of many restarts to one number each, through a kernel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eqsnn.backends.kernel import Run
from eqsnn.backends.pytorch import TorchKernel
from eqsnn.compiler import compile_program, forced_program, free_program
from eqsnn.inference.stages import Forced, Free, Stage
from eqsnn.language.model import Model
from eqsnn.losses import LOSSES
from eqsnn.losses.van_rossum import debiased_van_rossum
from eqsnn.maths.program import Kind
from eqsnn.simulation import setup
from eqsnn.simulation.recording import Recording

Values = Mapping[
    str, Tensor
]  # parameters in coherent units, (neuron or 1, restart) or (pre, post, restart)


@dataclass(frozen=True, slots=True)
class Data:
    """A recording as tensors for a kernel: drives and observed spikes, (time, neuron or 1, trial or 1)."""

    model: Model
    recording: Recording
    known: tuple[str, ...]
    synapses: Mapping[str, Tensor]
    dtype: torch.dtype

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


def prepare(model: Model, recording: Recording, dtype: torch.dtype) -> Data:
    """Return a recording ready for objectives."""
    known = tuple(setup.given_names(model, recording.inputs))
    return Data(model, recording, known, setup.synapses_of(model), dtype)


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Inputs of a run over `width` windows or trials, the same for every restart."""

    n_steps: int
    width: int
    drives: dict[str, Tensor]  # (time, neuron or 1, width or 1)
    weights: Tensor | None  # (time, 1, width)
    begins: list[int]  # first step of each window in its trial


class ForcedObjective:
    """Negative escape log-likelihood per neuron and step of the observed spikes, one value per restart."""

    def __init__(self, data: Data, stage: Forced, seed: int) -> None:
        self.data, self.seed = data, seed
        self.outputs = tuple(
            f"{name}.log_likelihood" for name in setup.spiking_populations(data.model)
        )
        self.kernel = compile_program(forced_program(data.model, known=data.known), self.outputs)
        self.lanes = _windows(data, self.kernel, stage, seed)
        neurons = sum(
            setup.sizes_of(data.model, name)[0] for name in setup.spiking_populations(data.model)
        )
        assert self.lanes.weights is not None
        self.scale = float(self.lanes.weights.sum()) * neurons

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the objective of each restart, (restart,)."""
        outcome, restarts = _run(
            self.data, self.kernel, self.lanes, values, {"escape_width": width}, total=self.outputs
        )
        total = sum(outcome.totals[name].sum(0) for name in self.outputs)
        return -torch.as_tensor(total).reshape(restarts, self.lanes.width).sum(1) / self.scale


class FreeObjective:
    """Distance between the spikes of the free-running network and the target's, one value per restart."""

    def __init__(self, data: Data, stage: Free, seed: int) -> None:
        self.data, self.stage = data, stage
        self.outputs = tuple(f"{name}.spike" for name in setup.spiking_populations(data.model))
        program = free_program(data.model, known=data.known, detach_reset=stage.detach_reset)
        self.kernel = compile_program(program, self.outputs)
        # two independent draws of unknown noise make the distance unbiased
        self.copies = 2 if self.kernel.step.of_kind(Kind.NORMAL, Kind.UNIFORM) else 1
        self.lanes = _windows(data, self.kernel, stage, seed, self.copies)
        whole = torch.cat(list(data.observed().values()), dim=1)
        self.target = (
            _cut(whole, self.lanes.begins, self.lanes.n_steps, data.recording.n_trials)
            * self._counted()
        )

    def _counted(self) -> Tensor:
        """Return 1 in the steps of each window that count, (time, 1, window)."""
        assert self.lanes.weights is not None
        return self.lanes.weights[..., : self.lanes.width // self.copies]

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the mean loss of each restart over its trials, (restart,)."""
        outcome, restarts = _run(
            self.data,
            self.kernel,
            self.lanes,
            values,
            {"surrogate_width": width},
            record=self.outputs,
        )
        spikes = torch.cat([outcome.recorded[name] for name in self.outputs], dim=1)
        assert self.lanes.weights is not None
        spikes = spikes * self.lanes.weights.repeat(1, 1, restarts)
        trials, dt = self.lanes.width // self.copies, self.data.model.dt * 1e-3
        target = self.target.repeat(1, 1, restarts)
        if self.copies == 1:
            per_lane = LOSSES[self.stage.loss](spikes, target, self.stage.tau, dt)
        elif self.stage.loss == "van_rossum":
            draws = spikes.reshape(*spikes.shape[:2], restarts, self.copies, trials).unbind(3)
            first, second = (draw.reshape(target.shape) for draw in draws)
            per_lane = debiased_van_rossum(first, second, target, tau=self.stage.tau, dt=dt).mean(0)
        else:
            draws = spikes.reshape(*spikes.shape[:2], restarts, self.copies, trials).mean(3)
            per_lane = LOSSES[self.stage.loss](
                draws.reshape(target.shape), target, self.stage.tau, dt
            )
        return per_lane.reshape(restarts, trials).mean(1)


def _run(
    data: Data,
    kernel: TorchKernel,
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
    drives = {name: _tile(value, restarts) for name, value in lanes.drives.items()}
    weights = None if lanes.weights is None else _tile(lanes.weights, restarts)
    states = setup.initial_states(data.model, kernel.step, spread, data.synapses, restarts * width)
    run = Run(lanes.n_steps, states, spread, drives, data.synapses, weights=weights, **wanted)
    return kernel.unroll(run), restarts


def _repeat(value: Tensor, restarts: int, width: int) -> Tensor:
    if value.shape[-1] == 1:
        return value
    return (
        value.unsqueeze(-1).expand(*value.shape, width).reshape(*value.shape[:-1], restarts * width)
    )


def _tile(value: Tensor, restarts: int) -> Tensor:
    return value if value.shape[-1] == 1 else value.repeat(*([1] * (value.dim() - 1)), restarts)


def _given(data: Data, kernel: TorchKernel, seed: int) -> dict[str, Tensor]:
    """Return every per-step input over whole trials: drives, observed spikes, noise, time."""
    drives = setup.drives_of(data.model, kernel.step, data.recording, data.n_steps, data.dtype)
    drives |= {f"{name}.observed": spikes for name, spikes in data.observed().items()}
    generator = torch.Generator().manual_seed(seed)
    trials = data.recording.n_trials
    drives |= setup.draw_noise(kernel.step, data.model, data.n_steps, trials, generator, data.dtype)
    drives["t"] = setup.times(0, data.n_steps, data.model.dt, data.dtype)
    needed = {str(given.symbol) for given in kernel.step.inputs}
    return {name: value for name, value in drives.items() if name in needed}


def _windows(data: Data, kernel: TorchKernel, stage: Stage, seed: int, copies: int = 1) -> _Lanes:
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
    draws = [_given(data, kernel, seed + copy) for copy in range(copies)]
    drives = {
        name: torch.cat([_cut(draw[name], begins, length, trials) for draw in draws], dim=2)
        for name in draws[0]
    }
    weights = torch.zeros(length, 1, len(starts) * trials, dtype=data.dtype)
    for k, (start, begin) in enumerate(zip(starts, begins, strict=True)):
        weights[
            start - begin : min(start + window, total) - begin, :, k * trials : (k + 1) * trials
        ] = 1.0
    width = len(starts) * trials * copies
    return _Lanes(length, width, drives, weights.repeat(1, 1, copies), begins)


def _cut(value: Tensor, begins: list[int], length: int, trials: int) -> Tensor:
    full = value.expand(*value.shape[:2], trials)
    return torch.cat([full[begin : begin + length] for begin in begins], dim=2)
