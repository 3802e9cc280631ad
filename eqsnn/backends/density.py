"""DensityKernel: the log-likelihood of observed spikes with private noise integrated out on a grid, differentiable.

Compiled C where there is a compiler, else torch operations (the reference, slow).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from sympy import Expr
from torch import Tensor

from eqsnn.backends.c_density import CUT, FLOOR, LOST, POINT, ROUNDING, SKIPPED, emit_density
from eqsnn.backends.compile_c import Compiler, load_library
from eqsnn.backends.pairs import evaluate, load_pairs, modulo, run_pairs
from eqsnn.backends.pytorch import compile_once
from eqsnn.language.functions import symbol
from eqsnn.maths.hidden import Hidden, nodes_of
from eqsnn.maths.program import Assign, Input, Kind, Program


@dataclass(frozen=True, slots=True)
class Window:
    """What a call needs besides parameters. Tensors of 64-bit floats.

    observed: (time, neuron, some lanes). counted: (time, neuron or 1, some lanes), the weight of each step. scale:
    the distance from reset to threshold, initial: of each noisy state, all (neuron, lane). seen: as observed, 1 where
    that is known; in other steps the density is only predicted. None: known everywhere. Of fewer lanes than the run,
    lane l reads l modulo their number.
    """

    observed: Tensor
    counted: Tensor
    scale: Tensor
    initial: tuple[Tensor, ...]
    seen: Tensor | None = None


class DensityKernel:
    """The density of one population. `n_bins`: nodes of the grid over the potential.

    double: whether C computes in double precision; single is 1.6 times as fast, and its log-likelihoods are off by some
    1e-7 of a nat for each neuron and step.
    """

    def __init__(
        self, hidden: Hidden, n_bins: int, compiler: Compiler | None, *, double: bool = True
    ) -> None:
        self.hidden, self.n_bins = hidden, n_bins
        self.written = emit_density(hidden, n_bins, double=double)
        self.held, self.feeds = self.written.held, self.written.feeds
        self.library = None
        if compiler is not None:
            self.library = load_library(self.written.text, compiler)
            load_pairs(self.library, "density", sizes=7)

    def __call__(
        self,
        held: Mapping[str, Tensor | float],
        feeds: Mapping[str, Tensor],
        window: Window,
        escape_width: float,
    ) -> Tensor:
        """Return the log-likelihood of the counted steps, (neuron, lane).

        held: parameters and settings, (neuron or 1, lane or 1) or floats; feeds: (time, neuron, lane).
        """
        return evaluate(self, held, feeds, window, escape_width, window.scale.shape)

    def by_c(
        self, window: Window, escape_width: float, wanted: bool, values: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the log-likelihood and, if wanted, its derivatives by every value."""
        assert self.library is not None
        library, (n_neurons, n_lanes) = self.library, window.scale.shape
        n_steps = len(window.observed)

        def call(inputs: Any, results: Any, pair: int, team: Any, arena: int) -> int:
            return library.density(
                inputs, results, pair, n_steps, n_neurons, n_lanes, window.observed.shape[2],
                window.counted.shape[2], window.counted.shape[1], escape_width, int(wanted), team, arena,
            )  # fmt: skip

        lone = [window.observed, window.counted, window.scale, *window.initial, window.seen]
        doubles = [None if v is None else v.to(torch.float64) for v in lone]
        needed = library.arena_bytes(n_steps, int(wanted))
        return run_pairs(call, values, doubles, (n_neurons, n_lanes), needed, wanted)

    def by_torch(
        self, held: list[Tensor], feeds: list[Tensor], window: Window, escape_width: float
    ) -> Tensor:
        """Return the same by torch operations: the independent reference."""
        draw, run = (compile_once(program) for program in _functions(self.hidden))
        spikes = f"{self.hidden.population}.observed"
        sources = [str(source.symbol) for source in self.hidden.sources]
        states = [str(s) for s in self.hidden.states]
        carried = [*states, *map(str, self.hidden.deviations)]
        n, k = self.n_bins, len(nodes_of(self.hidden.sources))
        neurons, lanes = window.scale.shape
        seen_by = modulo(window.observed, lanes)
        counted = modulo(window.counted, lanes)
        known = None if window.seen is None else modulo(window.seen, lanes)
        point = POINT * window.scale
        one = torch.ones(1, neurons, lanes, dtype=torch.float64)
        grid = _Grid.around(one, window.initial[0][None], point, n)
        density, _ = grid.deposit(one, window.initial[0][None], [])
        grid = grid.with_density(density)
        others = [v.expand(n, neurons, lanes) for v in window.initial[1:]]
        others += [torch.zeros_like(v) for v in others]  # their standard deviations
        total = torch.zeros(neurons, lanes, dtype=torch.float64)
        constants = dict(zip(self.held, held, strict=True))
        for t in range(len(seen_by)):
            named: dict[str, Any] = dict(constants)
            named |= {name: fed[t] for name, fed in zip(self.feeds, feeds, strict=True)}
            named[spikes] = seen_by[t]
            drawn = {
                name: torch.as_tensor(v, dtype=torch.float64).expand(neurons, lanes)
                for name, v in draw(named, {}, torch.float64).items()
            }
            named |= {s: torch.stack([drawn[f"{s} {q}"] for q in range(k)]) for s in sources}
            at, spacing = grid.nodes()
            named |= {
                name: v.unsqueeze(1).expand(n, k, neurons, lanes)
                for name, v in zip(carried, (at, *others), strict=True)
            }
            out = run(named, {}, torch.float64)
            sign = torch.where(seen_by[t] > 0.5, 1.0, -1.0)
            acting = torch.as_tensor(out.get("active", 1.0)) > 0.5
            counts = acting if known is None else acting & (known[t] > 0.5)
            chance = _chance(out, sign, spacing.unsqueeze(1), escape_width)
            chance = torch.where(counts, chance, torch.ones_like(chance))
            arriving = density.unsqueeze(1) * torch.stack([drawn[f"weight {q}"] for q in range(k)])
            worth = (arriving >= SKIPPED) & (density.unsqueeze(1) >= SKIPPED)
            mass = torch.where(worth, arriving, torch.zeros_like(arriving)) * chance
            rescued = (mass.sum((0, 1)) < LOST) & (sign < 0) & self.hidden.regenerative
            if bool(rescued.any()):
                named[spikes] = torch.where(rescued, 1.0, seen_by[t])
                out |= run(named, {}, torch.float64)
            moved = [torch.as_tensor(out[f"next.{s}"]).expand(n, k, neurons, lanes) for s in states]
            # what has crossed and is not known to have spiked is at threshold at most
            crossed = (sign < 0) & (out["margin"] > 0) & acting & ~rescued
            above = torch.where(crossed, out["margin"], 0.0)
            potential = torch.where(mass > 0, moved[0] - above, grid.mean)
            flat = [v.reshape(n * k, neurons, lanes) for v in (mass, potential, *moved[1:])]
            grid = _Grid.around(flat[0], flat[1], point, n)
            whole, others = _carried(grid, flat[0], flat[1], flat[2:])
            total = total + counted[t] * torch.log(whole.sum(0))
            density = whole / whole.sum(0)
            grid = grid.with_density(density)
        return total


@dataclass(frozen=True, slots=True)
class _Grid:
    """Nodes at mean + spread sinh(first + k step), all (neuron, lane); pulled: how much, and about which mean."""

    n: int
    mean: Tensor
    spread: Tensor
    first: Tensor
    step: Tensor
    variance: Tensor  # of what is spread over the nodes
    pull: Tensor
    mean_of_nodes: Tensor
    point: Tensor

    @classmethod
    def around(cls, mass: Tensor, place: Tensor, point: Tensor, n: int) -> "_Grid":
        """Lay `n` nodes around masses at places, both (points, neuron, lane)."""
        whole = mass.sum(0)
        mean = (mass * place).sum(0) / whole
        worth = mass > SKIPPED * whole
        counted, off = torch.where(worth, mass, 0.0), place - mean
        spread = torch.maximum((counted * off.abs()).sum(0) / whole, point)
        with torch.no_grad():
            low = torch.asinh((torch.where(worth, place, mean).amin(0) - mean) / spread)
            high = torch.asinh((torch.where(worth, place, mean).amax(0) - mean) / spread)
            step = ((high - low) / (n - 4)).clamp(min=1e-3)
            first = 0.5 * (low + high) - 0.5 * (n - 1) * step
        variance = (counted * off**2).sum(0) / whole
        return cls(n, mean, spread, first, step, variance, torch.ones_like(mean), mean, point)

    def raw(self) -> Tensor:
        """Return the nodes before they are pulled, (node, neuron, lane)."""
        count = torch.arange(self.n, dtype=torch.float64).reshape(-1, 1, 1)
        return self.mean + self.spread * torch.sinh(self.first + count * self.step)

    def with_density(self, density: Tensor) -> "_Grid":
        """Return the grid with the pull that gives this density on its nodes the variance of what was spread."""
        raw = self.raw()
        mean = (density * raw).sum(0)
        variance = (density * (raw - mean) ** 2).sum(0)
        left = self.variance / variance.clamp(min=1e-300)
        smooth = (left < 1) & (self.variance > self.point**2)
        pull = torch.where(smooth, left, 1.0).sqrt()
        still = torch.where(left < 1, left, 1.0).detach().sqrt()
        return replace(self, pull=torch.where(smooth, pull, still), mean_of_nodes=mean)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Return nodes and their spacing, both (node, neuron, lane)."""
        raw = self.raw()
        spacing = self.pull * self.step * ((raw - self.mean) ** 2 + self.spread**2).sqrt()
        return self.mean + self.pull * (raw - self.mean_of_nodes), spacing

    def deposit(
        self, mass: Tensor, place: Tensor, means: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Spread masses over the three nearest nodes each; (points, neuron, lane) -> (node, neuron, lane)."""
        where = (torch.asinh((place - self.mean) / self.spread) - self.first) / self.step
        where = where.clamp(1, self.n - 2)
        j = (where.detach() + 0.5).floor().long()
        d = where - j
        left, right = 0.5 * (0.5 - d) ** 2, 0.5 * (0.5 + d) ** 2

        def spread(value: Tensor) -> Tensor:
            empty = torch.zeros(self.n, *value.shape[1:], dtype=value.dtype)
            shares = ((j - 1, left), (j, 1 - left - right), (j + 1, right))
            for node, share in shares:
                empty = empty.scatter_add(0, node, value * share)
            return empty

        return spread(mass), [spread(mass * m) for m in means]


def _chance(out: Mapping[str, Any], sign: Tensor, spacing: Tensor, escape_width: float) -> Tensor:
    """Return the probability of what was observed, sign 1 for a spike and -1 for none, at each margin above threshold."""
    steep, scale = (
        torch.as_tensor(out[name], dtype=torch.float64).detach() for name in ("steep", "scale")
    )
    width = escape_width * scale + CUT * spacing * steep + 1e-12
    return torch.sigmoid((sign * out["margin"] / width).clamp(-70, 40)).clamp(min=FLOOR)


def _carried(
    grid: _Grid, mass: Tensor, place: Tensor, states: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the mass at each node, and there the means of these states and then their standard deviations."""
    heaviest = mass.argmax(0, keepdim=True)
    origins = [m.detach().gather(0, heaviest) for m in states]
    off = [m - origin for m, origin in zip(states, origins, strict=True)]
    whole, sums = grid.deposit(mass, place, [*off, *(m**2 for m in off)])
    some = whole > 1e-280
    safe = torch.where(some, whole, torch.ones_like(whole))
    means = [torch.where(some, m / safe, torch.zeros_like(m)) for m in sums]
    first, squares = means[: len(off)], means[len(off) :]
    others = [m + origin for m, origin in zip(first, origins, strict=True)]
    return whole, others + [_deviation(m, q) for m, q in zip(first, squares, strict=True)]


def _deviation(mean: Tensor, square: Tensor) -> Tensor:
    """Return the standard deviation from mean and mean square, 0 where it is rounding."""
    variance = square - mean**2
    sound = variance > ROUNDING * square
    return torch.where(sound, torch.where(sound, variance, 1.0).sqrt(), 0.0)


def _functions(hidden: Hidden) -> tuple[Program, Program]:
    """The nodes of the noise, and the noisy step, as functions of all their inputs."""
    space, nodes = hidden.population, nodes_of(hidden.sources)
    known = [
        replace(g, kind=Kind.PARAMETER)
        for g in hidden.step.inputs
        if g.symbol not in {source.symbol for source in hidden.sources}
    ]
    drawn = [Input(source.symbol, space, Kind.PARAMETER) for source in hidden.sources]
    weights = {f"weight {q}": weight for q, (_, weight) in enumerate(nodes)}
    weights |= {f"{s} {q}": v for q, (values, _) in enumerate(nodes) for s, v in values.items()}
    composed = hidden.composed()
    composed["steep"] = abs(composed["margin"].diff(hidden.states[0]))  # type: ignore[arg-type]

    def function(allowed: list[Input], results: Mapping[str, Expr]) -> Program:
        read = {s for e in results.values() for s in e.free_symbols}
        inputs = [g for g in allowed if g.symbol in read]
        targets = {name: symbol(f"(result {name})") for name in results}
        return Program(
            spaces=hidden.step.spaces,
            inputs=tuple(inputs),
            statements=tuple(Assign(targets[n], space, e) for n, e in results.items()),
            next_states={},
            outputs=dict(targets),
            surrogate=hidden.step.surrogate,
        )

    return function(known, weights), function([*known, *drawn], composed)
