"""DensityKernel: the log-likelihood of observed spikes with private noise integrated out on a grid, differentiable.

Compiled C where there is a compiler, else torch operations (the reference, slow).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from sympy import Expr
from torch import Tensor

from eqsnn.backends.c_density import (
    CUT,
    FAINT,
    FLOOR,
    LOST,
    POINT,
    ROUNDING,
    SKIPPED,
    calm_nodes,
    emit_density,
    paths_part,
)
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

    settled: steps after a spike from which on a neuron with an upstroke takes half of them (`calm_nodes`).
    double: whether C computes in double precision; single is 1.6 times as fast, and its log-likelihoods are off by some
    1e-7 of a nat for each neuron and step.
    """

    def __init__(
        self,
        hidden: Hidden,
        n_bins: int,
        compiler: Compiler | None,
        *,
        settled: int,
        double: bool = True,
    ) -> None:
        self.hidden, self.n_bins, self.settled = hidden, n_bins, settled
        self.written = emit_density(hidden, n_bins, settled=settled, double=double)
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

    def used(self, observed: Tensor, known: Tensor | None) -> Tensor:
        """Return how many nodes are laid after each step, (time, neuron, lane)."""
        recent = observed > 0.5 if known is None else (observed > 0.5) | (known < 0.5)
        steps = torch.arange(len(recent))[:, None, None]
        since = steps - torch.where(recent, steps, -1).cummax(0).values
        return torch.where(since < self.settled, self.n_bins, calm_nodes(self.hidden, self.n_bins))

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
        seen_by, counted = (modulo(v, lanes) for v in (window.observed, window.counted))
        known = None if window.seen is None else modulo(window.seen, lanes)
        point = POINT * window.scale
        one = torch.ones(1, neurons, lanes, dtype=torch.float64)
        used = self.used(seen_by, known)
        grid = _Grid.around(
            one, window.initial[0][None], point, n, torch.full_like(used[0], n), False
        )
        density, off, _ = _gathered(grid, one, window.initial[0][None], [])
        grid = grid.with_density(density, off)
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
            grid = _Grid.around(*flat[:2], point, n, used[t], paths_part(self.hidden, n))
            whole, off, others = _gathered(grid, flat[0], flat[1], flat[2:])
            total = total + counted[t] * torch.log(whole.sum(0))
            density = whole / whole.sum(0)
            grid = grid.with_density(density, off)
        return total


@dataclass(frozen=True, slots=True)
class _Grid:
    """Masses gathered at nodes mean + spread sinh(first + k step), all (neuron, lane), stand for places mean + push off."""

    n: int
    used: Tensor  # of the n nodes, (neuron, lane)
    mean: Tensor
    spread: Tensor
    first: Tensor
    step: Tensor
    variance: Tensor  # of what is spread over the nodes
    point: Tensor
    push: Tensor
    off: Tensor  # (node, neuron, lane)
    parting: bool  # whether derivatives by places are slopes between nodes, as density.c says

    @classmethod
    def around(
        cls, mass: Tensor, place: Tensor, point: Tensor, n: int, used: Tensor, parting: bool
    ) -> "_Grid":
        """Lay so many of `n` nodes around masses at places, both (points, neuron, lane)."""
        if parting:
            mass, place = mass.detach(), place.detach()
        whole = mass.sum(0)
        mean = (mass * place).sum(0) / whole
        worth = mass > SKIPPED * whole
        counted, off = torch.where(worth, mass, 0.0), place - mean
        spread = torch.maximum((counted * off.abs()).sum(0) / whole, point)
        with torch.no_grad():
            low = torch.asinh((torch.where(worth, place, mean).amin(0) - mean) / spread)
            high = torch.asinh((torch.where(worth, place, mean).amax(0) - mean) / spread)
            step = ((high - low) / (used - 3)).clamp(min=1e-3)
            first = low - 0.5 * step
        variance = (counted * off**2).sum(0) / whole
        one, zero = torch.ones_like(mean), torch.zeros_like(mean)
        return cls(n, used, mean, spread, first, step, variance, point, one, zero, parting)

    def with_density(self, density: Tensor, off: Tensor) -> "_Grid":
        """Return the grid with the push that gives this density, so far from the mean, the variance of what was spread."""
        variance = (density * off**2).sum(0)
        apart = (self.variance > variance) & (variance > self.point**2)
        ratio = torch.where(apart, self.variance / torch.where(apart, variance, 1.0), 1.0)
        push = ratio.detach() if self.parting else ratio
        return replace(self, push=push.sqrt(), off=off)

    def nodes(self) -> tuple[Tensor, Tensor]:
        """Return where the density is and how far apart nodes are there, both (node, neuron, lane)."""
        spacing = self.push * self.step * (self.off**2 + self.spread**2).sqrt()
        at = self.mean + self.push * self.off
        return (_with_slope(at, self.off, 1.0), spacing.detach()) if self.parting else (at, spacing)

    def share(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """Return the node below each place and the share of the node above it."""
        where = (torch.asinh((place - self.mean) / self.spread) - self.first) / self.step
        where = torch.minimum(where.clamp(min=0), self.used - 2)
        j = where.detach().floor().long()
        return j, where - j

    def slopes(
        self, mass: Tensor, place: Tensor, j: Tensor, right: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return by how much a share and a node's own place change with a place where paths part; j, right: of `share`."""
        with torch.no_grad():
            whole, first = (self._summed(j, right, v) for v in (mass, mass * (place - self.mean)))
            density, off = whole / whole.sum(0), torch.where(whole > 0, first / whole, 0.0)
            apart = self.with_density(density, off).push * (off.roll(-1, 0) - off)
            known = (density > SKIPPED) & (density.roll(-1, 0) > SKIPPED)
            gap = torch.where(known, apart, 0.0).gather(0, j)
            square = self.step**2 * ((place - self.mean) ** 2 + self.spread**2)
            return gap / (gap**2 + square), square / (gap**2 + square)

    def _summed(self, j: Tensor, right: Tensor, value: Tensor) -> Tensor:
        empty = torch.zeros(self.n, *value.shape[1:], dtype=value.dtype)
        for node, share in ((j, 1 - right), (j + 1, right)):
            empty = empty.scatter_add(0, node, value * share)
        return empty

    def deposit(
        self, mass: Tensor, place: Tensor, means: list[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Share masses, their places from the mean and these means times them between the two nodes around each.

        (points, neuron, lane) -> (node, neuron, lane).
        """
        j, right = self.share(place)
        off, own, of_off = place - self.mean, mass, right
        if self.parting:
            by_share, by_place = self.slopes(mass, place, j, right)
            own, of_off = mass.detach(), right.detach()
            right, off = _with_slope(right, place, by_share), _with_slope(off, place, by_place)
        return (
            self._summed(j, right, mass),
            self._summed(j, of_off, own * off),
            [self._summed(j, right, mass * m) for m in means],
        )


def _with_slope(value: Tensor, by: Tensor, slope: Tensor | float) -> Tensor:
    """Return the value, with this as its only derivative."""
    return value.detach() + slope * (by - by.detach())


def _chance(out: Mapping[str, Any], sign: Tensor, spacing: Tensor, escape_width: float) -> Tensor:
    """Return the probability of what was observed, sign 1 for a spike and -1 for none, at each margin above threshold."""
    steep, scale = (
        torch.as_tensor(out[name], dtype=torch.float64).detach() for name in ("steep", "scale")
    )
    width = escape_width * scale + CUT * spacing * steep + 1e-12
    return torch.sigmoid((sign * out["margin"] / width).clamp(-70, 40)).clamp(min=FLOOR)


def _gathered(
    grid: _Grid, mass: Tensor, place: Tensor, states: list[Tensor]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return the mass at each node, its place from the mean, and the means and then deviations of these states."""
    heaviest = mass.argmax(0, keepdim=True)
    origins = [m.detach().gather(0, heaviest) for m in states]
    away = [m - origin for m, origin in zip(states, origins, strict=True)]
    whole, offs, sums = grid.deposit(mass, place, [*away, *(m**2 for m in away)])
    some = whole > 1e-280
    safe = torch.where(some, whole, torch.ones_like(whole))
    off = torch.where(some, offs / (safe.detach() if grid.parting else safe), 0.0)
    averages = [torch.where(some, m / safe, torch.zeros_like(m)) for m in sums]
    first, squares = averages[: len(away)], averages[len(away) :]
    others = [m + origin for m, origin in zip(first, origins, strict=True)]
    density = whole / whole.sum(0)
    return (
        whole, off, others + [_deviation(grid, density, *m) for m in zip(first, squares, strict=True)]
    )  # fmt: skip


def _deviation(grid: _Grid, density: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """Return the standard deviation from mean and mean square, 0 where it is rounding."""
    variance = square - mean**2
    sound = variance > ROUNDING * square
    exact = torch.where(sound, torch.where(sound, variance, 1.0).sqrt(), 0.0)
    if not grid.parting:
        return exact
    with torch.no_grad():
        whole = (density * square).sum(0) - (density * mean).sum(0) ** 2
        slope = exact / (2 * (exact**2 + FAINT * whole.clamp(min=0)))
    return _with_slope(exact, variance, torch.where(sound, slope, 0.0))


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
