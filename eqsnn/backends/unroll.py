"""unroll: walk a compiled step forwards through time, and its vector-Jacobian product backwards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from eqsnn.backends.kernel import Outcome, Run
from eqsnn.backends.noise import drawn
from eqsnn.backends.signature import Signature, signature
from eqsnn.maths.program import Kind, Program

Tensors = tuple[Tensor, ...]


class Compiled(Protocol):
    """What `unroll` needs of a kernel; TorchKernel documents each part."""

    @property
    def step(self) -> Program: ...  # noqa: D102

    @property
    def once_inputs(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def constants(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def masked(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def differentiated(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def by_autograd(self) -> bool: ...  # noqa: D102

    @property
    def run_once(self) -> Callable: ...  # noqa: D102

    @property
    def run_step(self) -> Callable: ...  # noqa: D102

    @property
    def run_step_vjp(self) -> Callable: ...  # noqa: D102


class _Walk(NamedTuple):
    """A run with its inputs in calling order; `history[k]` are the k-th delay's values, the oldest first."""

    kernel: Compiled
    run: Run
    places: Signature
    now: Sequence[Tensors]
    steps_of_delay: tuple[int, ...]
    real: Mapping[str, Any]  # the precision and the device of numbers

    def step(
        self, state: Tensors, arrived: Tensors, n: int, held: Sequence
    ) -> tuple[Tensors, Tensors, Tensors]:
        """Execute step n."""
        return self.kernel.run_step(state, arrived, self.now[n], held, self.run.synapses, self.real)


def unroll(kernel: Compiled, run: Run) -> Outcome:
    """Run a compiled Program for `run.n_steps` steps; differentiable in states, pending values and parameters."""
    places = signature(kernel.step)
    real = real_of(run)
    held = list(held_values(kernel, run, places, real).values())
    noisy = kernel.step.of_kind(Kind.NORMAL, Kind.UNIFORM)
    if run.noise is not None and noisy:
        drives = drawn(run.noise, noisy, space_sizes(kernel.step, run), run.n_steps, real["dtype"])
        drives = {name: value.to(real["device"]) for name, value in drives.items()}
        run = replace(run, drives={**run.drives, **drives})
    run = _tiled(run)
    delays = {delay.arrival.name: delay.steps for delay in kernel.step.delays}
    now = (
        tuple(zip(*(run.drives[name].unbind(0) for name in places.now), strict=True))
        or ((),) * run.n_steps
    )
    walk = _Walk(kernel, run, places, now, tuple(delays[name] for name in places.arrivals), real)
    states = tuple(run.states[name] for name in places.states)
    pending = tuple(
        value
        for name in places.arrivals
        for value in pending_values(kernel, run, name, delays[name])
    )
    if kernel.by_autograd or not torch.is_grad_enabled():
        results = _forward(walk, states, pending, held, [])
    else:
        results = _Unroll.apply(walk, len(states), len(pending), *states, *pending, *held)
    return _outcome(walk, results)


def real_of(run: Run) -> dict[str, Any]:
    """Return the precision of the states, torch's own without any, and the device of the run's tensors."""
    dtype = next((v.dtype for v in run.states.values()), torch.get_default_dtype())
    given = (run.states, run.drives, run.synapses, run.parameters)
    return {"dtype": dtype, "device": device_of([v for values in given for v in values.values()])}


def device_of(values: Iterable[Any]) -> torch.device | None:
    """Return the device of the first tensor, torch's default without one."""
    return next((value.device for value in values if isinstance(value, Tensor)), None)


def lanes_of(run: Run) -> int:
    """Return the number of lanes of a run."""
    lanes = [v.shape[-1] for v in (*run.states.values(), *run.drives.values())]
    lanes += [v.shape[-1] for v in run.parameters.values() if isinstance(v, Tensor) and v.dim()]
    return max([1, *lanes] if run.noise is None else [len(run.noise.stream), *lanes])


def _tiled(run: Run) -> Run:
    """Repeat per-step inputs of fewer lanes than the run has; those of one lane broadcast."""
    lanes = lanes_of(run)

    def tiled(value: Tensor) -> Tensor:
        own = value.shape[-1]
        return value if own in (1, lanes) else value.repeat(1, 1, lanes // own)

    weights = None if run.weights is None else tiled(run.weights)
    return replace(run, drives={n: tiled(v) for n, v in run.drives.items()}, weights=weights)


def space_sizes(program: Program, run: Run) -> dict[str, int]:
    """Return the number of neurons of each population and of possible synapses of each projection."""
    sizes: dict[str, int] = dict(run.sizes)
    for name, exists in run.synapses.items():
        space = program.spaces[name]
        sizes |= {
            name: exists.shape[0] * exists.shape[1],
            space.pre: exists.shape[0],
            space.post: exists.shape[1],
        }
    for given in program.inputs:
        value = {**run.drives, **run.parameters, **run.states}.get(given.name)
        if (
            isinstance(value, Tensor)
            and given.space
            and not program.spaces[given.space].is_projection
        ):
            rows = value.shape[1] if value.dim() == 3 else value.shape[0] if value.dim() else 1
            sizes[given.space] = max(sizes.get(given.space, 1), rows)
    return sizes


def held_values(
    kernel: Compiled, run: Run, places: Signature, real: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return the constant inputs of the step, those computed once included, in calling order."""
    given = {name: torch.as_tensor(value, **real) for name, value in run.parameters.items()}
    once = [given[name] for name in kernel.once_inputs]
    computed = dict(zip(kernel.constants, kernel.run_once(once, run.synapses, real), strict=True))
    values = {name: computed[name] if name in computed else given[name] for name in places.held}
    spaces = {given.name: given.space for given in kernel.step.inputs}
    for name in kernel.masked:
        exists = run.synapses[spaces[name]]
        values[name] = torch.where(exists, values[name], torch.zeros((), **real))
    return values


def pending_values(kernel: Compiled, run: Run, arrival: str, steps: int) -> Tensors:
    """Return what is still on its way: the caller's, or the value at rest repeated."""
    if arrival in run.pending:
        return run.pending[arrival]
    sent = next(delay.sent.name for delay in kernel.step.delays if delay.arrival.name == arrival)
    rest = run.states.get(sent)
    if rest is None:
        rest = next(iter(run.states.values())).new_zeros((1, 1))
    return (rest,) * steps


def _forward(
    walk: _Walk,
    states: Tensors,
    pending: Tensors,
    held: Sequence[Any],
    tape: list[tuple[Tensors, Tensors]],
) -> Tensors:
    """Walk forwards. Returns recorded, totals, final states and what is pending, flat; fills `tape` if not None."""
    run, places = walk.run, walk.places
    history = _histories(walk, pending)
    recorded: list[list[Tensor]] = [[] for _ in run.record]
    totals: list[Tensor] = [torch.zeros((), **walk.real)] * len(run.total)
    recorded_at = [places.outputs.index(name) for name in run.record]
    totalled_at = [places.outputs.index(name) for name in run.total]
    weights = None if run.weights is None else run.weights.unbind(0)
    for n in range(run.n_steps):
        arrived = tuple(values[n] for values in history)
        tape.append((states, arrived))
        states, sent, outputs = walk.step(states, arrived, n, held)
        for values, value in zip(history, sent, strict=True):
            values.append(value)
        for values, place in zip(recorded, recorded_at, strict=True):
            values.append(outputs[place])
        for k, place in enumerate(totalled_at):
            totals[k] = totals[k] + (
                outputs[place] if weights is None else outputs[place] * weights[n]
            )
    stacked = tuple(torch.stack(torch.broadcast_tensors(*values)) for values in recorded)
    still = tuple(value for values in history for value in values[run.n_steps :])
    return (*stacked, *totals, *states, *still)


def _histories(walk: _Walk, pending: Tensors) -> list[list[Tensor]]:
    histories, start = [], 0
    for steps in walk.steps_of_delay:
        histories.append(list(pending[start : start + steps]))
        start += steps
    return histories


def _outcome(walk: _Walk, results: Sequence[Tensor]) -> Outcome:
    left = iter(results)
    recorded = {name: next(left) for name in walk.run.record}
    totals = {name: next(left) for name in walk.run.total}
    states = {name: next(left) for name in walk.places.states}
    pending = {
        name: tuple(next(left) for _ in range(steps))
        for name, steps in zip(walk.places.arrivals, walk.steps_of_delay, strict=True)
    }
    return Outcome(recorded, totals, states, pending)


class _Unroll(torch.autograd.Function):
    """One autograd node for the whole walk: the backward pass is the symbolic adjoint, step by step."""

    @staticmethod
    def forward(ctx: Any, walk: _Walk, n_states: int, n_pending: int, *values: Any) -> Tensors:
        states, pending, held = (
            values[:n_states],
            values[n_states : n_states + n_pending],
            values[n_states + n_pending :],
        )
        tape: list[tuple[Tensors, Tensors]] = []
        results = _forward(walk, states, pending, held, tape)
        ctx.walk, ctx.tape, ctx.held = walk, tape, held
        ctx.shapes = [value.shape if isinstance(value, Tensor) else None for value in values]
        ctx.set_materialize_grads(False)
        # an output that is an input unchanged would be marked as such and lose its own gradient
        return tuple(r.clone() if any(r is v for v in values) else r for r in results)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple:
        walk: _Walk = ctx.walk
        gradients = _backward(walk, ctx.tape, ctx.held, bars)
        shaped = (
            None if shape is None or gradient is None else _sum_to(gradient, shape)
            for gradient, shape in zip(gradients, ctx.shapes, strict=True)
        )
        return None, None, None, *shaped


def _backward(
    walk: _Walk,
    tape: list[tuple[Tensors, Tensors]],
    held: Sequence[Any],
    bars: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """Walk backwards. Returns cotangents of initial states, pending values and held values, in that order."""
    run, places, kernel = walk.run, walk.places, walk.kernel
    zero = torch.zeros((1, 1), **walk.real)  # (neuron, lane): a coupling needs the dimensions
    left = iter(bars)
    bar_recorded = {name: next(left) for name in run.record}
    bar_total = {name: next(left) for name in run.total}
    bar_state: Sequence[Tensor] = [
        zero if bar is None else bar for bar in (next(left) for _ in places.states)
    ]
    arriving: list[list[Tensor | None]] = [
        [None] * run.n_steps + [next(left) for _ in range(steps)] for steps in walk.steps_of_delay
    ]
    at = {name: n for n, name in enumerate(places.held)}
    sums: list[Tensor | None] = [None] * len(places.held)
    for n in reversed(range(run.n_steps)):
        bar_sent = [
            _or(values[n + steps], zero)
            for values, steps in zip(arriving, walk.steps_of_delay, strict=True)
        ]
        bar_output = [
            _bar_of_output(name, n, bar_recorded, bar_total, run.weights, zero)
            for name in places.outputs
        ]
        states, arrived = tape[n]
        found, delivered, by_parameter = kernel.run_step_vjp(
            states,
            arrived,
            walk.now[n],
            held,
            bar_state,
            bar_sent,
            bar_output,
            run.synapses,
            walk.real,
        )
        bar_state = [_or(bar, zero) for bar in found]
        for values, bar in zip(arriving, delivered, strict=True):
            values[n] = _plus(values[n], bar)
        for name, bar in zip(kernel.differentiated, by_parameter, strict=True):
            sums[at[name]] = _plus(sums[at[name]], bar)
    pending = [
        bar
        for values, steps in zip(arriving, walk.steps_of_delay, strict=True)
        for bar in values[:steps]
    ]
    return [*bar_state, *pending, *sums]


def _bar_of_output(
    name: str,
    n: int,
    recorded: Mapping[str, Tensor | None],
    totals: Mapping[str, Tensor | None],
    weights: Tensor | None,
    zero: Tensor,
) -> Tensor:
    bar = zero
    by_record, by_total = recorded.get(name), totals.get(name)
    if by_record is not None:
        bar = by_record[n]
    if by_total is not None:
        bar = bar + (by_total if weights is None else by_total * weights[n])
    return bar


def _or(bar: Tensor | None, zero: Tensor) -> Tensor:
    return zero if bar is None else bar


def _plus(total: Tensor | None, bar: Tensor | None) -> Tensor | None:
    if total is None or bar is None:
        return bar if total is None else total
    return total + bar


def _sum_to(gradient: Tensor, shape: torch.Size) -> Tensor:
    """Sum a cotangent over the dimensions along which its input was broadcast."""
    missing = len(shape) - gradient.dim()
    if missing > 0:
        gradient = gradient.reshape((1,) * missing + tuple(gradient.shape))
    for _ in range(gradient.dim() - len(shape)):
        gradient = gradient.sum(0)
    for dimension, size in enumerate(shape):
        if size == 1 and gradient.shape[dimension] != 1:
            gradient = gradient.sum(dimension, keepdim=True)
    return gradient.expand(shape).clone()
