"""Likelihood of the observed spikes under teacher forcing, private noise integrated out, window by window."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.backends.density import DensityKernel, Window
from eqsnn.backends.kernel import Kernel, Noise, Outcome
from eqsnn.backends.particles import ParticleKernel, Sampled
from eqsnn.backends.pytorch import compile_once
from eqsnn.compiler import (
    compile_density,
    compile_particles,
    compile_program,
    forced_program,
    moments_program,
    separated_program,
)
from eqsnn.errors import InputError
from eqsnn.inference.data import Data
from eqsnn.inference.lanes import (
    Lanes,
    Values,
    forcing,
    repeat,
    run_lanes,
    spread_over,
    windows,
)
from eqsnn.inference.scoring import Part
from eqsnn.inference.stages import Forced
from eqsnn.maths.by_synapse import BySynapse, split_by_synapse
from eqsnn.maths.escape import ESCAPE_WIDTH
from eqsnn.maths.force import fully_observed
from eqsnn.maths.hidden import DIFFUSION, Hidden, Separated, reset_scale
from eqsnn.maths.program import Program
from eqsnn.maths.reach import acting_on_others
from eqsnn.simulation import setup

DENSITIES = ("escape", "moments", "grid", "particles")


@dataclass(frozen=True, slots=True)
class Grid:
    """A density kernel, and how to find the distance from reset to threshold."""

    kernel: DensityKernel
    frame: Program


@dataclass(frozen=True, slots=True)
class Split:
    """The known part with perturbations of synapses (`by_synapse`), compiled."""

    by_synapse: BySynapse
    kernel: Kernel


@dataclass(frozen=True, slots=True)
class Machinery:
    """What computes a likelihood: the kernel of the known part, and a density of each population with hidden noise."""

    kernel: Kernel
    outputs: tuple[str, ...]  # log-likelihoods that the kernel itself sums
    grids: tuple[Grid, ...] = ()
    filters: tuple[ParticleKernel, ...] = ()
    backend: str = "auto"
    splits: dict[frozenset[str], Split | None] = field(default_factory=dict)

    @property
    def densities(self) -> "tuple[Grid | ParticleKernel, ...]":
        """What integrates noise out, one for each population that has some."""
        return (*self.grids, *self.filters)

    @property
    def has_cliffs(self) -> bool:
        """Whether the likelihood is that of regenerative neurons, a step where it is open whether a burst goes on."""
        return any(grid.kernel.hidden.regenerative for grid in self.grids)

    @property
    def feeds(self) -> tuple[str, ...]:
        """What the densities need of the known part."""
        return tuple(dict.fromkeys(feed for each in self.densities for feed in _kernel(each).feeds))

    @property
    def held(self) -> frozenset[str]:
        """The parameters that the densities themselves read."""
        return frozenset(name for each in self.densities for name in _kernel(each).held)

    @property
    def acting_on_others(self) -> frozenset[str]:
        """The parameters that act on several neurons, given the spikes of all neurons."""
        return acting_on_others(fully_observed(self.kernel.program))

    def split(self, parameters: frozenset[str]) -> Split | None:
        """Return the known part with what these parameters do told apart by synapse, None if it cannot be."""
        if parameters not in self.splits:
            found = split_by_synapse(self.kernel.program, parameters)
            wanted = tuple(dict.fromkeys((*self.outputs, *self.feeds)))
            self.splits[parameters] = found and Split(
                found, compile_program(found.program, wanted, self.backend)
            )
        return self.splits[parameters]


class At(NamedTuple):
    """Where a density is evaluated: parameters (see run_lanes), what it is fed, and settings of the step."""

    values: Values
    feeds: Mapping[str, Tensor]
    restarts: int
    settings: Mapping[str, float]
    needed: Tensor | None = None  # bool (neuron,), whose likelihood is asked for; None: of all


class ForcedObjective:
    """Negative log-likelihood per neuron and step of the observed spikes, one value per restart.

    `like`: the same objective on other data of the same recording, to save its compilation.
    """

    by_blocks = True  # given the observed spikes neurons do not act on each other: each can be searched by itself

    def __init__(
        self, data: Data, stage: Forced, seed: int, values: Values, like: Machinery | None = None
    ) -> None:
        self.data, self.stage = data, stage
        self.populations = setup.spiking_populations(data.model)
        self.kernel = like or _build(data, stage, values)
        self.lanes = windows(data, self.kernel.kernel.step, stage, seed)
        trials = data.recording.n_trials
        for name, given in forcing(data, stage).items():
            if name not in self.lanes.drives:
                self.lanes.drives[name] = self.lanes.cut(given, trials)
        neurons = sum(setup.sizes_of(data.model, name)[0] for name in self.populations)
        self.scale = float(self.lanes.weights.sum()) * (len(data.units) or neurons)
        partial = stage.after_spike < math.inf
        if partial:
            self._count_after_spikes()
        if data.masked or partial:
            self.scale = sum(float(self.counted(name).sum()) for name in self.populations)

    def _count_after_spikes(self) -> None:
        """Count the steps after spikes alone, but in as many windows as are to count as a whole."""
        stage, lanes = self.stage, self.lanes
        steps = max(1, round(stage.after_spike * 1e3 / self.data.model.dt))
        whole = spread_over(lanes.width, min(lanes.width, round(stage.whole / stage.window)))
        for name in self.populations:
            # where nobody looked spikes are expected ones
            seen = lanes.drives.get(f"{name}.seen", 1.0)
            spikes = lanes.drives[f"{name}.observed"] * seen
            so_far = spikes.cumsum(0)
            after = torch.zeros_like(spikes)
            after[1:] = so_far[:-1]
            after[steps + 1 :] -= so_far[: -steps - 1]
            after = (after > 0).to(spikes.dtype)
            after[..., whole] = 1
            chosen = self.data.chosen[self.neurons(name)].to(after.dtype)[:, None]
            counted = lanes.drives.get(f"{name}.counted", 1.0)
            lanes.drives[f"{name}.counted"] = after * chosen * counted

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the objective of each restart, (restart,)."""
        return self.by_neuron(values, width).sum(0) / self.scale

    def by_neuron(self, values: Values, width: float, needed: Tensor | None = None) -> Tensor:
        """Return the negative log-likelihood of each neuron, (neuron, restart).

        needed: bool (neuron,), whose it has to be. That of others may be 0, which saves what it costs.
        """
        restarts = max(value.shape[-1] for value in values.values())
        spread = {name: repeat(v, restarts, self.lanes.width) for name, v in values.items()}
        return -self.by_window(spread, restarts, width, needed).sum(2)

    def settings(self, width: float) -> dict[str, float]:
        """Return the settings of the step at a level of the stage."""
        if self.stage.diffusion:
            return {DIFFUSION: width, ESCAPE_WIDTH: self.stage.threshold_width}
        return {ESCAPE_WIDTH: width}

    def by_window(
        self, values: Values, restarts: int, width: float, needed: Tensor | None = None
    ) -> Tensor:
        """Return the log-likelihood of each neuron and window, (neuron, restart, window); values: see run_lanes.

        needed: as in `by_neuron`.
        """
        outcome = self.known_part(values, restarts, width)
        at = At(values, outcome.recorded, restarts, self.settings(width), needed)
        found = self.summed(outcome)
        for density in self.kernel.densities:
            found[_kernel(density).hidden.population] = self.of(density, at)
        return self.of_neurons(found, restarts)

    def parts(
        self,
        values: Values,
        restarts: int,
        width: float,
        split: Split | None = None,
        needed: Tensor | None = None,
    ) -> tuple[Tensor, list[Part]]:
        """Return the same, without a graph, and what it depends on the values through.

        split: the known part to use instead, whose perturbations are among the values. needed: as in `by_neuron`.
        """
        outcome = self.known_part(values, restarts, width, split)
        at = At(values, outcome.recorded, restarts, self.settings(width), needed)
        found, parts = self.summed(outcome), []
        for population, total in found.items():
            parts.append(Part(total, self.chosen(population, total), self.neurons(population)))
        for density in self.kernel.densities:
            total, own = self.parts_of(density, at)
            found[_kernel(density).hidden.population] = total
            parts += own
        return self.of_neurons({n: v.detach() for n, v in found.items()}, restarts), parts

    def parts_of(self, density: Grid | ParticleKernel, at: At) -> tuple[Tensor, list[Part]]:
        """Return the log-likelihoods of a density's population, (neuron, lane), and what they depend on the values through.

        A density is differentiated once, by what it is fed and by values: from there on back neurons can be told apart
        without it.
        """
        kernel = _kernel(density)
        population = kernel.hidden.population
        neurons = self.neurons(population)
        begins = {
            n: v.expand(len(v), len(neurons), -1)
            for n in kernel.feeds
            if (v := at.feeds[n]).requires_grad
        }
        fed = {n: v.detach().contiguous().requires_grad_() for n, v in begins.items()}
        held = {n: v.detach().requires_grad_() for n, v in at.values.items() if v.requires_grad}
        apart = at._replace(values={**at.values, **held}, feeds={**at.feeds, **fed})
        total = self.of(density, apart)
        ends = [*fed.values(), *held.values()]
        slopes = torch.autograd.grad(total, ends, self.chosen(population, total), allow_unused=True)
        places = [*begins.values(), *(at.values[n] for n in held)]
        parts = [
            Part(v, slope, neurons if v.shape[-2] == len(neurons) else neurons[:1])
            for v, slope in zip(places, slopes, strict=True)
            if slope is not None
        ]
        return total.detach(), parts

    def known_part(
        self, values: Values, restarts: int, width: float, split: Split | None = None
    ) -> Outcome:
        """Run what the observed spikes make known: log-likelihoods without hidden noise, and what densities are fed."""
        machinery, lanes = self.kernel, self.lanes
        return run_lanes(
            self.data,
            machinery.kernel if split is None else split.kernel,
            lanes,
            values,
            restarts,
            self.settings(width),
            record=machinery.feeds,
            total=machinery.outputs,
            weights=lanes.weights,
        )

    def summed(self, outcome: Outcome) -> dict[str, Tensor]:
        """Return the log-likelihoods that the kernel itself sums, (neuron, lane), by population."""
        return {name.rsplit(".", 1)[0]: outcome.totals[name] for name in self.kernel.outputs}

    def of(self, density: Grid | ParticleKernel, at: At) -> Tensor:
        """Return the log-likelihood of each neuron of a density's population, (neuron, lane)."""
        run = self.on_grid if isinstance(density, Grid) else self.sampled
        return run(density, at)  # type: ignore[arg-type]

    def of_neurons(self, found: Mapping[str, Tensor], restarts: int) -> Tensor:
        """Return the log-likelihoods of populations as (neuron, restart, window), 0 for neurons that do not count."""
        neurons = torch.cat([found[population] for population in self.populations])
        if self.data.units:
            neurons = torch.where(self.data.chosen[:, None], neurons, torch.zeros_like(neurons))
        return neurons.reshape(len(neurons), restarts, self.lanes.width)

    def spikes(self) -> Tensor:
        """Return the observed spikes that count, (neuron, window)."""
        observed = ((n, self.lanes.drives[f"{n}.observed"]) for n in self.populations)
        return torch.cat([(spikes * self.counted(name)).sum(0) for name, spikes in observed])

    def counted(self, population: str) -> Tensor:
        """Return the weight of each step of a population, (time, neuron or 1, window)."""
        return self.lanes.weights * self.lanes.drives.get(f"{population}.counted", 1.0)

    def neurons(self, population: str) -> Tensor:
        """Return the places of a population's neurons among all."""
        sizes = {n: setup.sizes_of(self.data.model, n)[0] for n in self.populations}
        first = sum(sizes[n] for n in self.populations[: self.populations.index(population)])
        return first + torch.arange(sizes[population])

    def chosen(self, population: str, total: Tensor) -> Tensor:
        """Return 1 for the log-likelihoods (neuron, lane) of a population that count, 0 for the others."""
        if not self.data.units:
            return torch.ones_like(total)
        counts = self.data.chosen[self.neurons(population)]
        return counts[:, None].to(total.dtype).expand_as(total)

    def on_grid(self, grid: Grid, at: At) -> Tensor:
        """Return the log-likelihood of each neuron of a population, (neuron, lane)."""
        lanes, hidden = self.lanes, grid.kernel.hidden
        held, plain = self.given(at.values, at.settings)
        initial = self.initial(hidden, plain, at.restarts)
        with torch.no_grad():
            frame = compile_once(grid.frame)(plain | _at_most(at.feeds), {}, torch.float64)
            scale = torch.as_tensor(frame["scale"], dtype=torch.float64).expand(initial[0].shape)
        counted = self.counted(hidden.population)
        if at.needed is not None:
            own = at.needed[self.neurons(hidden.population)]
            counted = counted * own[:, None].to(counted.dtype)
        window = Window(
            lanes.drives[f"{hidden.population}.observed"],
            counted,
            scale.contiguous(),
            initial,
            lanes.drives.get(f"{hidden.population}.seen"),
        )
        return grid.kernel(held, at.feeds, window, at.settings[ESCAPE_WIDTH])

    def sampled(self, kernel: ParticleKernel, at: At) -> Tensor:
        """Return the log-likelihood of each neuron of a population by particles, (neuron, lane)."""
        lanes = self.lanes
        held, plain = self.given(at.values, at.settings)
        window = Sampled(
            lanes.drives[f"{kernel.hidden.population}.observed"],
            lanes.weights.reshape(lanes.n_steps, -1),
            self.initial(kernel.hidden, plain, at.restarts),
            Noise(lanes.noise.seed, lanes.noise.stream, lanes.noise.first),
        )
        return kernel(held, at.feeds, window, at.settings[ESCAPE_WIDTH])

    def given(
        self, values: Values, settings: Mapping[str, float]
    ) -> tuple[dict[str, Tensor | float], dict[str, Tensor | float]]:
        """Return everything constant over a run, and the same as constants of differentiation."""
        held: dict[str, Tensor | float] = dict(values)
        held |= setup.settings_of(self.data.model) | {"surrogate_width": 0.1} | dict(settings)
        plain: dict[str, Tensor | float] = {
            n: v.detach() if isinstance(v, Tensor) else v for n, v in held.items()
        }
        return held, plain

    def initial(
        self, hidden: Hidden, plain: Mapping[str, Tensor | float], restarts: int
    ) -> tuple[Tensor, ...]:
        """Return the initial value of each noisy state, (neuron, lane)."""
        data = self.data
        shape = (
            *setup.sizes_of(data.model, hidden.population),
            restarts * self.lanes.width,
        )
        with torch.no_grad():
            start = data.start(plain, data.synapses, torch.float64)
            return tuple(
                torch.as_tensor(start[str(s)], dtype=torch.float64).expand(shape).contiguous()
                for s in hidden.states
            )


def _kernel(density: Grid | ParticleKernel) -> DensityKernel | ParticleKernel:
    return density.kernel if isinstance(density, Grid) else density


def _at_most(feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: feed.detach().amax(0) for name, feed in feeds.items()}


def separated_for(data: Data, stage: Forced, values: Values) -> Separated:
    """Return the forced step in two parts: what the spikes make known, and what private noise reaches.

    values: plausible parameters, to know how many counts of a Poisson source matter.
    """
    typical = {name: float(value.detach().max()) for name, value in values.items()}
    typical |= {n: v for n, v in setup.settings_of(data.model).items() if isinstance(v, float)}
    return separated_program(
        data.model, typical, known=data.known, diffusion=stage.diffusion, masked=data.masked
    )


def _build(data: Data, stage: Forced, values: Values) -> Machinery:
    populations, backend = setup.spiking_populations(data.model), data.backend
    outputs = tuple(f"{name}.log_likelihood" for name in populations)
    if stage.density == "escape":
        program = forced_program(data.model, known=data.known, masked=data.masked)
        return Machinery(compile_program(program, outputs, backend), outputs, backend=backend)
    separated = separated_for(data, stage, values)
    if stage.density == "moments":
        program = moments_program(separated, masked=data.masked)
        return Machinery(compile_program(program, outputs, backend), outputs, backend=backend)
    noisy = {hidden.population for hidden in separated.hidden}
    summed = tuple(f"{name}.log_likelihood" for name in populations if name not in noisy)
    fed = tuple(dict.fromkeys(str(f) for hidden in separated.hidden for f in hidden.feeds))
    kernel = compile_program(separated.given, (*summed, *fed), backend)
    if stage.density == "particles":
        if data.masked:
            raise InputError(
                "particles need every neuron observed all the time; use the density `grid` or `moments` for data with gaps"
            )
        filters = tuple(
            compile_particles(hidden, stage.particles, backend) for hidden in separated.hidden
        )
        return Machinery(kernel, summed, (), filters, backend)
    if stage.density != "grid":
        raise InputError(
            f"there is no density `{stage.density}`; the densities are {', '.join(DENSITIES)}"
        )
    double = stage.precision == "double"
    grids = tuple(
        Grid(
            compile_density(hidden, stage.bins, data.model.dt, backend, double=double),
            reset_scale(hidden),
        )
        for hidden in separated.hidden
    )
    return Machinery(kernel, summed, grids, backend=backend)


__all__ = ["ForcedObjective", "Lanes", "Machinery"]
