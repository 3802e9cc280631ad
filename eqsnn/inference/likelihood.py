"""Likelihood of the observed spikes under teacher forcing, private noise integrated out, window by window."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from eqsnn.backends.density import DensityKernel, Window
from eqsnn.backends.kernel import Kernel
from eqsnn.backends.pytorch import compile_once
from eqsnn.compiler import (
    compile_density,
    compile_program,
    forced_program,
    moments_program,
    separated_program,
)
from eqsnn.errors import InputError
from eqsnn.inference.objectives import Data, Lanes, Values, forcing, repeat, run_lanes, windows
from eqsnn.inference.stages import Forced
from eqsnn.maths.escape import ESCAPE_WIDTH
from eqsnn.maths.force import fully_observed
from eqsnn.maths.hidden import DIFFUSION, Hidden, grid_frame
from eqsnn.maths.program import Program
from eqsnn.maths.reach import acting_on_others
from eqsnn.simulation import setup

SPARE = 0.15  # of the range of the potential, left free below what was seen
CHARACTERISTIC = 1.0  # seconds of a trial that show the range of the potential


@dataclass(frozen=True, slots=True)
class Grid:
    """A density kernel, how to find its frame (threshold, distance to the reset), and its lowest node in that frame."""

    kernel: DensityKernel
    frame: Program
    lowest: float


@dataclass(frozen=True, slots=True)
class Machinery:
    """What computes a likelihood: the kernel of the known part, and a grid for each population with hidden noise."""

    kernel: Kernel
    outputs: tuple[str, ...]  # log-likelihoods that the kernel itself sums
    grids: tuple[Grid, ...] = ()

    @property
    def acting_on_others(self) -> frozenset[str]:
        """The parameters that act on several neurons, given the spikes of all neurons."""
        return acting_on_others(fully_observed(self.kernel.program))


class ForcedObjective:
    """Negative log-likelihood per neuron and step of the observed spikes, one value per restart.

    `like`: the same objective on other data of the same recording, to save its compilation.
    """

    def __init__(
        self, data: Data, stage: Forced, seed: int, values: Values, like: Machinery | None = None
    ) -> None:
        self.data, self.stage = data, stage
        self.populations = setup.spiking_populations(data.model)
        self.kernel = like or _build(data, stage, seed, values)
        self.lanes = windows(data, self.kernel.kernel.step, stage, seed)
        trials = data.recording.n_trials
        for name, given in forcing(data, stage).items():
            if name not in self.lanes.drives:
                self.lanes.drives[name] = self.lanes.cut(given, trials)
        neurons = sum(setup.sizes_of(data.model, name)[0] for name in self.populations)
        self.scale = float(self.lanes.weights.sum()) * (len(data.units) or neurons)
        if data.masked:
            counted = self.lanes.cut(data.counted(stage.warm_up), trials)
            self.scale = float((self.lanes.weights * counted).sum())

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the objective of each restart, (restart,)."""
        restarts = max(value.shape[-1] for value in values.values())
        spread = {name: repeat(v, restarts, self.lanes.width) for name, v in values.items()}
        return -self.by_window(spread, restarts, width).sum((0, 2)) / self.scale

    def settings(self, width: float) -> dict[str, float]:
        """Return the settings of the step at a level of the stage."""
        if self.stage.diffusion:
            return {DIFFUSION: width, ESCAPE_WIDTH: self.stage.threshold_width}
        return {ESCAPE_WIDTH: width}

    def by_window(self, values: Values, restarts: int, width: float) -> Tensor:
        """Return the log-likelihood of each neuron and window, (neuron, restart, window); values: see run_lanes."""
        machinery, lanes, settings = self.kernel, self.lanes, self.settings(width)
        record = tuple(dict.fromkeys(f for grid in machinery.grids for f in grid.kernel.feeds))
        outcome = run_lanes(
            self.data,
            machinery.kernel,
            lanes,
            values,
            restarts,
            settings,
            record=record,
            total=machinery.outputs,
            weights=lanes.weights,
        )
        found = {name.rsplit(".", 1)[0]: outcome.totals[name] for name in machinery.outputs}
        for grid in machinery.grids:
            population = grid.kernel.hidden.population
            found[population] = self.on_grid(grid, values, outcome.recorded, restarts, settings)
        neurons = torch.cat([found[population] for population in self.populations])
        if self.data.units:
            neurons = torch.where(self.data.chosen[:, None], neurons, torch.zeros_like(neurons))
        return neurons.reshape(len(neurons), restarts, lanes.width)

    def on_grid(
        self,
        grid: Grid,
        values: Values,
        feeds: Mapping[str, Tensor],
        restarts: int,
        settings: Mapping[str, float],
    ) -> Tensor:
        """Return the log-likelihood of each neuron of a population, (neuron, lane)."""
        data, lanes, hidden = self.data, self.lanes, grid.kernel.hidden
        held: dict[str, Tensor | float] = dict(values)
        held |= setup.settings_of(data.model) | {"surrogate_width": 0.1} | dict(settings)
        shape = (*setup.sizes_of(data.model, hidden.population), restarts * lanes.width)
        with torch.no_grad():
            plain = {n: v.detach() if isinstance(v, Tensor) else v for n, v in held.items()}
            low, high = _ends(grid, plain, feeds, shape)
            start = data.start(plain, data.synapses, torch.float64)
            initial = tuple(
                torch.as_tensor(start[str(s)], dtype=torch.float64).expand(shape).contiguous()
                for s in hidden.states
            )
        window = Window(
            lanes.drives[f"{hidden.population}.observed"],
            lanes.weights * lanes.drives.get(f"{hidden.population}.counted", 1.0),
            low,
            high,
            initial,
            lanes.drives.get(f"{hidden.population}.seen"),
        )
        return grid.kernel(held, feeds, window, settings[ESCAPE_WIDTH])


def _ends(
    grid: Grid, held: Mapping[str, Tensor | float], feeds: Mapping[str, Tensor], shape: tuple
) -> tuple[Tensor, Tensor]:
    """Return the ends of the grid for each neuron and lane; a moving threshold counts at its highest."""
    given = {**held, **{name: feed.detach().amax(0) for name, feed in feeds.items()}}
    frame = compile_once(grid.frame)(given, {}, torch.float64)
    level, scale = (
        torch.as_tensor(frame[n], dtype=torch.float64).expand(shape) for n in ("level", "scale")
    )
    step = scale * (1 - grid.lowest) / (grid.kernel.n_bins - 1)
    return (level - scale * (1 - grid.lowest)).contiguous(), (level + step).contiguous()


def _build(data: Data, stage: Forced, seed: int, values: Values) -> Machinery:
    populations = setup.spiking_populations(data.model)
    outputs = tuple(f"{name}.log_likelihood" for name in populations)
    if stage.density == "escape":
        program = forced_program(data.model, known=data.known, masked=data.masked)
        return Machinery(compile_program(program, outputs, data.backend), outputs)
    typical = {name: float(value.max()) for name, value in values.items()}
    typical |= {n: v for n, v in setup.settings_of(data.model).items() if isinstance(v, float)}
    separated = separated_program(
        data.model, typical, known=data.known, diffusion=stage.diffusion, masked=data.masked
    )
    if stage.density == "moments":
        program = moments_program(separated, masked=data.masked)
        return Machinery(compile_program(program, outputs, data.backend), outputs)
    noisy = {hidden.population for hidden in separated.hidden}
    summed = tuple(f"{name}.log_likelihood" for name in populations if name not in noisy)
    fed = tuple(dict.fromkeys(str(f) for hidden in separated.hidden for f in hidden.feeds))
    kernel = compile_program(separated.given, (*summed, *fed), data.backend)
    grids = tuple(_grid(data, stage, seed, values, hidden) for hidden in separated.hidden)
    return Machinery(kernel, summed, grids)


def _grid(data: Data, stage: Forced, seed: int, values: Values, hidden: Hidden) -> Grid:
    frame = grid_frame(hidden)
    if frame is None:
        raise InputError(
            f"the threshold of `{hidden.population}` moves with its noise, so its density does not fit on one grid; "
            "use the moments instead"
        )
    kernel = compile_density(hidden, stage.bins, data.backend)
    return Grid(kernel, frame, _lowest(data, seed, values, hidden, frame))


def _lowest(data: Data, seed: int, values: Values, hidden: Hidden, frame: Program) -> float:
    """Return how deep the potential goes in a stretch of data, where 0 is the reset and 1 the threshold."""
    potential = str(hidden.states[0])
    program = forced_program(data.model, known=data.known)
    kernel = compile_program(program, (potential,), data.backend)
    pilot = Forced(window=CHARACTERISTIC, warm_up=0.0)
    lanes = windows(data, kernel.step, pilot, seed)
    restarts = max(value.shape[-1] for value in values.values())
    with torch.no_grad():
        plain = {name: value.detach() for name, value in values.items()}
        spread = {name: repeat(v, restarts, lanes.width) for name, v in plain.items()}
        outcome = run_lanes(data, kernel, lanes, spread, restarts, {ESCAPE_WIDTH: 0.1}, record=(potential,))  # fmt: skip
        held = spread | setup.settings_of(data.model)
        given = {**held, **{str(f): torch.tensor(0.0, dtype=torch.float64) for f in hidden.feeds}}
        out = compile_once(frame)(given, {}, torch.float64)
    depth = (outcome.recorded[potential] - torch.as_tensor(out["level"])) / torch.as_tensor(
        out["scale"]
    ) + 1
    lowest = float(depth[torch.isfinite(depth)].min())
    return max(min(lowest, 0.0) - SPARE * (1 - min(lowest, 0.0)), -4.0)


__all__ = ["ForcedObjective", "Lanes", "Machinery"]
