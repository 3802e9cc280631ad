"""Lanes: windows of every trial side by side, for every restart, through a kernel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eqsnn.backends.kernel import Kernel, Noise, Outcome, Run
from eqsnn.errors import InputError
from eqsnn.inference.data import Data
from eqsnn.inference.stages import Forced, Free
from eqsnn.maths.program import Program
from eqsnn.simulation import setup

Values = Mapping[
    str, Tensor
]  # parameters in coherent units, (neuron or 1, restart) or (pre, post, restart)

NOTHING = (
    "no step of the data counts in a {} stage: every neuron that counts is unobserved there; "
    "choose other units, another validation share, or a shorter warm-up"
)
OWN_NOISE = (
    1 << 32
)  # added to the seed: a fit must not know the noise of targets simulated with the same seed


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
        whole = cut_windows(value, self.begins, self.n_steps, trials)
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


def given_of(data: Data, step: Program, stage: Forced | Free) -> dict[str, Tensor]:
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
    if isinstance(stage, Free) and math.isfinite(stage.seconds):
        # a loss may compare trials with each other, so windows are left out in all of them
        fewer = math.ceil(stage.seconds / (stage.window * trials) - 1e-9)
        fewer = min(len(starts), max(1, fewer))
        starts = [starts[k] for k in spread_over(len(starts), fewer)]
    begins = [max(0, min(start - warm, total - length)) for start in starts]
    drives = {
        name: cut_windows(value, begins, length, trials).repeat(1, 1, copies)
        for name, value in given_of(data, step, stage).items()
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
            raise InputError(NOTHING.format("teacher-forced"))
    some = isinstance(stage, Forced) and math.isfinite(stage.seconds)
    wanted = math.ceil(stage.seconds / stage.window) if some else width
    if wanted < len(places):
        places = places[spread_over(len(places), wanted)]
    return lanes.part(places) if len(places) < width else lanes


def spread_over(n: int, wanted: int) -> Tensor:
    """Return so many of n places, spread evenly."""
    return torch.linspace(0, n - 1, wanted).round().long()


def cut_windows(value: Tensor, begins: list[int], length: int, trials: int) -> Tensor:
    """Return the windows of a sequence over whole trials, (time, neuron, window * trial), the trial fastest."""
    full = value.expand(*value.shape[:2], trials)
    return torch.cat([full[begin : begin + length] for begin in begins], dim=2)
