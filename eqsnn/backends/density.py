"""DensityKernel: the log-likelihood of observed spikes with private noise integrated out on a grid, differentiable.

Compiled C where there is a compiler, else torch operations (the reference, slow).
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from sympy import Expr
from torch import Tensor

from eqsnn.backends.c_density import emit_density
from eqsnn.backends.compile_c import Compiler, load_library
from eqsnn.backends.pytorch import compile_once
from eqsnn.backends.threads import aligned, run_blocks, usable_cores
from eqsnn.language.functions import symbol
from eqsnn.maths.hidden import Hidden, nodes_of
from eqsnn.maths.program import Assign, Input, Kind, Program

CUT = 0.25  # width of the threshold relative to the image of a bin
SKIPPED = 1e-10  # probability that is not worth pushing
FLOOR = 1e-30  # probability left to the impossible


@dataclass(frozen=True, slots=True)
class Window:
    """What a call needs besides parameters. Tensors of 64-bit floats.

    observed: (time, neuron, some lanes). counted: (time, neuron or 1, some lanes), the weight of each step. low, high:
    ends of the grid, initial: of each noisy state, all (neuron, lane). seen: as observed, 1 where that is known; in
    other steps the density is only predicted. None: known everywhere. Of fewer lanes than the run, lane l reads l
    modulo their number.
    """

    observed: Tensor
    counted: Tensor
    low: Tensor
    high: Tensor
    initial: tuple[Tensor, ...]
    seen: Tensor | None = None


class DensityKernel:
    """The density of one population. `n_bins`: nodes of the grid over the potential."""

    def __init__(self, hidden: Hidden, n_bins: int, compiler: Compiler | None) -> None:
        self.hidden, self.n_bins = hidden, n_bins
        self.written = emit_density(hidden, n_bins)
        self.held, self.feeds = self.written.held, self.written.feeds
        self.library = None
        if compiler is not None:
            self.library = load_library(self.written.text, compiler)
            pointers = ctypes.POINTER(ctypes.c_void_p)
            sizes = [ctypes.c_long] * 7
            self.library.density.argtypes = [
                pointers, pointers, *sizes, ctypes.c_double, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p,
            ]  # fmt: skip
            self.library.arena_bytes.restype = ctypes.c_long
            self.library.arena_bytes.argtypes = [ctypes.c_long]

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
        shape = window.low.shape
        given = [
            torch.as_tensor(held[name], dtype=torch.float64).expand(shape) for name in self.held
        ]
        fed = [feeds[name].to(torch.float64) for name in self.feeds]
        if self.library is None:
            return self.by_torch(given, fed, window, escape_width)
        wanted = torch.is_grad_enabled() and any(v.requires_grad for v in (*given, *fed))
        return _Density.apply(self, window, escape_width, wanted, *given, *fed)  # type: ignore[return-value]

    def by_c(
        self, window: Window, escape_width: float, wanted: bool, values: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the log-likelihood and, if wanted, its derivatives by every value."""
        assert self.library is not None
        n_neurons, n_lanes = window.low.shape
        n_steps = len(window.observed)
        lone = [window.observed, window.counted, window.low, window.high, *window.initial]
        inputs = [
            v.detach().to(torch.float64).expand(_full(v, (n_neurons, n_lanes))).contiguous()
            for v in values
        ]
        inputs += [v.detach().to(torch.float64).contiguous() for v in lone]
        result = torch.empty(n_neurons, n_lanes, dtype=torch.float64)
        slopes = [torch.empty_like(v) for v in inputs[: len(values)]] if wanted else []
        results = [result, *slopes]
        if window.seen is not None:
            inputs.append(window.seen.to(torch.float64).contiguous())
        addresses = [*(v.data_ptr() for v in inputs), *([None] if window.seen is None else [])]
        table = (ctypes.c_void_p * len(addresses))(*addresses)
        places = (ctypes.c_void_p * len(results))(*(v.data_ptr() for v in results))
        library, needed = self.library, self.library.arena_bytes(n_steps)
        threads = min(usable_cores(), n_neurons * n_lanes)

        def call(block: int, team: Any, arena: int) -> int:
            return library.density(
                table, places, block, n_steps, n_neurons, n_lanes,
                window.observed.shape[2], window.counted.shape[2], window.counted.shape[1], escape_width, int(wanted), team, arena,
            )  # fmt: skip

        def adapted(_: Any, __: Any, block: int, team: Any, arena: int) -> int:
            return call(block, team, arena)

        arenas = [aligned(needed) for _ in range(threads)]
        run_blocks(adapted, n_neurons * n_lanes, (table, places), None, arenas)
        return result, slopes

    def by_torch(
        self, held: list[Tensor], feeds: list[Tensor], window: Window, escape_width: float
    ) -> Tensor:
        """Return the same by torch operations: the independent reference."""
        draw, run = (compile_once(program) for program in _functions(self.hidden))
        sources = [str(source.symbol) for source in self.hidden.sources]
        states = [str(s) for s in self.hidden.states]
        n, k = self.n_bins, len(nodes_of(self.hidden.sources))
        neurons, lanes = window.low.shape
        grid = window.low + (window.high - window.low) * torch.linspace(
            0, 1, n, dtype=torch.float64
        ).reshape(-1, 1, 1)
        h = (window.high - window.low) / (n - 1)
        seen_by = _modulo(window.observed, lanes)
        counted = _modulo(window.counted, lanes)
        known = None if window.seen is None else _modulo(window.seen, lanes)
        density, _ = _deposit(
            torch.ones(1, neurons, lanes, dtype=torch.float64),
            window.initial[0][None],
            [],
            window,
            n,
        )
        others = [v.expand(n, neurons, lanes) for v in window.initial[1:]]
        total = torch.zeros(neurons, lanes, dtype=torch.float64)
        constants = dict(zip(self.held, held, strict=True))
        for t in range(len(seen_by)):
            named: dict[str, Any] = dict(constants)
            named |= {name: fed[t] for name, fed in zip(self.feeds, feeds, strict=True)}
            named[f"{self.hidden.population}.observed"] = seen_by[t]
            drawn = {
                name: torch.as_tensor(v, dtype=torch.float64).expand(neurons, lanes)
                for name, v in draw(named, {}, torch.float64).items()
            }
            named |= {s: torch.stack([drawn[f"{s} {q}"] for q in range(k)]) for s in sources}
            named |= {
                name: v.unsqueeze(1).expand(n, k, neurons, lanes)
                for name, v in zip(states, (grid, *others), strict=True)
            }
            out = run(named, {}, torch.float64)
            sign = torch.where(seen_by[t] > 0.5, 1.0, -1.0)
            steep, scale = (
                torch.as_tensor(out[name], dtype=torch.float64).detach()
                for name in ("steep", "scale")
            )
            width = escape_width * scale + CUT * h * steep + 1e-12
            chance = torch.sigmoid((sign * out["margin"] / width).clamp(-70, 40)).clamp(min=FLOOR)
            if "active" in out:
                chance = torch.where(
                    torch.as_tensor(out["active"]) > 0.5, chance, torch.ones_like(chance)
                )
            if known is not None:
                chance = torch.where(known[t] > 0.5, chance, torch.ones_like(chance))
            weights = torch.stack([drawn[f"weight {q}"] for q in range(k)])
            arriving = density.unsqueeze(1) * weights
            worth = (arriving >= SKIPPED) & (density.unsqueeze(1) >= SKIPPED)
            mass = torch.where(worth, arriving, torch.zeros_like(arriving)) * chance
            moved = [torch.as_tensor(out[f"next.{s}"]).expand(n, k, neurons, lanes) for s in states]
            flat = [v.reshape(n * k, neurons, lanes) for v in (mass, *moved)]
            whole, means = _deposit(flat[0], flat[1], flat[2:], window, n)
            norm = whole.sum(0)
            total = total + counted[t] * torch.log(norm)
            safe = torch.where(whole > 1e-280, whole, torch.ones_like(whole))
            others = [torch.where(whole > 1e-280, m / safe, torch.zeros_like(m)) for m in means]
            density = whole / norm
        return total


class _Density(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: DensityKernel, window: Window, width: float, wanted: bool, *values: Tensor
    ) -> Tensor:
        result, ctx.slopes = kernel.by_c(window, width, wanted, values)
        ctx.shapes = [v.shape for v in values]
        return result

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            (slope * bars[0]).sum_to_size(shape)
            for slope, shape in zip(ctx.slopes, ctx.shapes, strict=True)
        ]
        return None, None, None, None, *found


def _full(value: Tensor, pair: tuple[int, int]) -> tuple[int, ...]:
    return (value.shape[0], *pair) if value.dim() == 3 else pair


def _modulo(value: Tensor, lanes: int) -> Tensor:
    return value[..., torch.arange(lanes) % value.shape[-1]]


def _deposit(
    mass: Tensor, place: Tensor, means: list[Tensor], window: Window, n: int
) -> tuple[Tensor, list[Tensor]]:
    """Spread masses over the three nearest nodes each; (points, neuron, lane) -> (n, neuron, lane)."""
    h = (window.high - window.low) / (n - 1)
    where = ((place - window.low) / h).clamp(1, n - 2)
    j = (where.detach() + 0.5).floor().long()
    d = where - j
    left, right = 0.5 * (0.5 - d) ** 2, 0.5 * (0.5 + d) ** 2

    def spread(value: Tensor) -> Tensor:
        empty = torch.zeros(n, *value.shape[1:], dtype=value.dtype)
        shares = ((j - 1, left), (j, 1 - left - right), (j + 1, right))
        for node, share in shares:
            empty = empty.scatter_add(0, node, value * share)
        return empty

    return spread(mass), [spread(mass * m) for m in means]


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
