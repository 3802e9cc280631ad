"""One run of a native kernel: tensors to pointers in the order of its ports, and back."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from eqsnn.backends.c_layout import Form, Source
from eqsnn.backends.kernel import Run
from eqsnn.backends.noise import key_of
from eqsnn.backends.signature import Signature
from eqsnn.backends.threads import Arenas, Assistants, aligned, run_blocks, usable_cores
from eqsnn.backends.unroll import lanes_of, space_sizes
from eqsnn.maths.program import CONSTANT, NETWORK, PER_STEP, Couple, Kind, OverSynapses, Program

SPARSE_BELOW = 0.2  # share of existing synapses below which a projection is a list of synapses
WIDEST = {torch.float32: 16, torch.float64: 8}  # lanes side by side: one 512-bit vector
NARROWEST = 4  # lanes of several: a vector of two is slower than one of four that is half empty
SEGMENT_BYTES = 256 * 1024  # of rows: they stay in the second-level cache
TAPE_BYTES = (
    192 * 1024 * 1024
)  # up to which a run with heavy couplings keeps all rows instead of recomputing them
HEAVY = 4096  # synapses from which on recomputing a step costs more than storing it


class Library(NamedTuple):
    """A compiled kernel."""

    source: Source
    forward: Callable[..., int]
    backward: Callable[..., int] | None
    arenas: Arenas
    row_bytes: int
    checkpoint_bytes: int
    once: Callable | None  # constants of the adjoint
    assistants: "Assistants | None"
    spaces: Mapping[str, str]


class Compiling(Protocol):
    """What a run needs of its kernel; NativeKernel documents each part."""

    @property
    def step(self) -> Program:
        """One step."""
        ...

    @property
    def threads(self) -> int:
        """Threads to use, 0 for all."""
        ...

    def library(self, form: Form) -> Library:
        """Return the compiled library of a form."""
        ...


def block_width(lanes: int, dtype: torch.dtype, threads: int) -> int:
    """Return how many lanes run side by side: a power of two, no wider than a vector or than needed.

    Half a vector is enough where the blocks would not keep all threads busy.
    """
    width = 1
    while width < min(lanes, WIDEST[dtype]):
        width *= 2
    width = NARROWEST if 1 < width < NARROWEST else width
    if width == WIDEST[dtype] and lanes < threads * width:
        width //= 2
    return width


@dataclass(frozen=True, slots=True)
class Call:
    """One run, with everything the library needs in the order it needs it."""

    kernel: Compiling
    run: Run
    places: Signature
    dtype: torch.dtype
    lanes: int
    form: Form
    library: Library
    listed: Mapping[
        str, tuple[Tensor, Tensor, Tensor]
    ]  # pre, post (int64) and start (int32) of sparse projections
    sizes: Mapping[str, int]
    segment: int
    keep: bool

    @staticmethod
    def prepare(
        kernel: Compiling,
        run: Run,
        places: Signature,
        held: Mapping[str, Tensor],
        dtype: torch.dtype,
        learned: tuple[str, ...] | None,
    ) -> "Call":
        """Compile, or find, the library for a run and decide how to walk it."""
        step = kernel.step
        lanes = lanes_of(run)
        sizes = space_sizes(step, run)
        listed = {}
        for name in dict.fromkeys(
            s.projection for s in step.statements if isinstance(s, OverSynapses)
        ):
            exists = run.synapses[name][:, :, 0]
            if bool(exists.all()) or not (
                _needs_list(step, name) or exists.float().mean() < SPARSE_BELOW
            ):
                continue
            pre, post = exists.nonzero(as_tuple=True)
            counts = torch.zeros(exists.shape[0] + 1, dtype=torch.int64)
            counts[1:] = exists.sum(1).cumsum(0)
            listed[name] = (pre, post, counts.to(torch.int32))
            sizes[name] = len(pre)
        generated = run.noise is not None
        now = [g for g in step.of_kind(*PER_STEP) if g.name in run.drives]
        values = {g.name: run.drives[g.name] for g in now}
        same = {name for name, value in values.items() if value.shape[-1] == 1}
        same |= {
            g.name
            for g in step.of_kind(*CONSTANT)
            if g.space != NETWORK
            and step.spaces[g.space].is_projection
            and held[g.name].shape[-1] == 1
        }
        if run.weights is not None and run.weights.shape[-1] == 1:
            same.add("weights")
        single = {g.name for g in now if values[g.name].shape[1] == 1}
        form = Form(
            sizes=tuple(sorted(sizes.items())),
            block=block_width(lanes, dtype, kernel.threads or usable_cores()),
            double=dtype == torch.float64,
            sparse=frozenset(listed),
            same=frozenset(same),
            single=frozenset(single),
            generated=generated,
            record=run.record,
            total=run.total,
            weighted=run.weights is not None and bool(run.total),
            learned=learned,
        )
        library = kernel.library(form)
        segment, keep = run.n_steps, False
        if learned is not None:
            segment, keep = _segments(library, step, sizes, run.n_steps, -(-lanes // form.block))
        return Call(kernel, run, places, dtype, lanes, form, library, listed, sizes, segment, keep)

    @property
    def n_blocks(self) -> int:
        """How many blocks of lanes there are."""
        return -(-self.lanes // self.form.block)

    @property
    def threads(self) -> int:
        """How many threads may run."""
        return self.kernel.threads or usable_cores()

    def shape(self, space: str) -> tuple[int, ...]:
        """The shape of a value on a space as the library sees it."""
        return (1 if space == NETWORK else self.sizes[space], self.lanes)

    def space(self, name: str) -> str:
        """The space of an input."""
        return self.library.spaces[name]

    def space_of_output(self, name: str) -> str:
        """The space of an output."""
        return self.library.spaces[self.kernel.step.outputs[name].name]

    def packed(self, space: str, value: Tensor, lanes: int | None = None) -> Tensor:
        """A value on a space as the library reads it: one row for each element or synapse."""
        value = value.detach().to(self.dtype)
        if space != NETWORK and self.kernel.step.spaces[space].is_projection and value.dim() == 3:
            exists = self.run.synapses[space]
            full = value.expand(*exists.shape[:2], value.shape[2])
            if space in self.listed:
                pre, post, _ = self.listed[space]
                value = full[pre, post]
            else:
                value = full.reshape(-1, value.shape[2])
        rows = self.shape(space)[0]
        return value.expand(rows, self.lanes if lanes is None else lanes).contiguous()

    def unpacked(self, space: str, value: Tensor) -> Tensor:
        """The reverse of `packed`: (..., pre, post, lane) for synaptic values."""
        if space == NETWORK or not self.kernel.step.spaces[space].is_projection:
            return value
        pre, post = self.run.synapses[space].shape[:2]
        if space not in self.listed:
            return value.reshape(*value.shape[:-2], pre, post, value.shape[-1])
        full = value.new_zeros(*value.shape[:-2], pre, post, value.shape[-1])
        at = self.listed[space]
        full[..., at[0], at[1], :] = value
        return full

    def inputs(self, values: Sequence[Tensor]) -> list[Tensor | None]:
        """What every port of the library reads; keep the list alive while it runs."""
        n_states, n_arrivals = len(self.places.states), len(self.places.arrivals)
        states = dict(zip(self.places.states, values[:n_states], strict=True))
        pending = dict(
            zip(self.places.arrivals, values[n_states : n_states + n_arrivals], strict=True)
        )
        held = dict(zip(self.places.held, values[n_states + n_arrivals :], strict=True))
        if self.library.once is not None:
            with torch.no_grad():
                held |= self.library.once(held, self.run.synapses, self.dtype)
        layout: list[int] = []
        found: list[Tensor | None] = []
        for role, name in self.library.source.inputs:
            if role == "held":
                tensor, rows = self._held(name, held[name])
                layout += rows
                found.append(tensor)
            else:
                found.append(self._input(role, name, states, pending))
        periods = [
            0 if tensor is None or role not in ("now", "weights") else tensor.shape[-1]
            for (role, _), tensor in zip(self.library.source.inputs, found, strict=True)
        ]
        found[0] = torch.tensor(layout or [0], dtype=torch.int64)
        found[1] = torch.tensor(periods, dtype=torch.int64)
        return found

    def _input(
        self, role: str, name: str, states: Mapping[str, Tensor], pending: Mapping[str, Tensor]
    ) -> Tensor | None:
        noise = self.run.noise
        if role == "state":
            return self.packed(self.space(name), states[name])
        if role == "pending":
            value = pending[name].detach().to(self.dtype)
            return value.expand(value.shape[0], *self.shape(self.space(name))).contiguous()
        if role == "now":
            return self._per_step(name)
        if role in ("start", "post"):
            return self.listed[name][2 if role == "start" else 1].to(torch.int32).contiguous()
        if role == "weights":
            assert self.run.weights is not None
            return self.run.weights.detach().to(self.dtype).contiguous()
        if role in ("stream", "begin"):
            assert noise is not None
            counter = noise.stream if role == "stream" else noise.first
            return (counter.expand(self.lanes) & 0xFFFFFFFF).to(torch.uint32).contiguous()
        if role == "keys":
            assert noise is not None
            sources = self.kernel.step.of_kind(Kind.NORMAL, Kind.UNIFORM)
            keys = [key_of(noise.seed, given.name) for given in sources]
            return torch.tensor(keys, dtype=torch.int64).to(torch.uint32)
        return None

    def _per_step(self, name: str) -> Tensor:
        value = self.run.drives[name].detach().to(self.dtype)
        rows = 1 if name in self.form.single else self.shape(self.space(name))[0]
        return value.expand(self.run.n_steps, rows, value.shape[-1]).contiguous()

    def _held(self, name: str, value: Any) -> tuple[Tensor, list[int]]:
        """A constant, the distance of its rows, and whether it has lanes."""
        tensor = torch.as_tensor(value, dtype=self.dtype).detach()
        if tensor.dim() == 0:
            tensor = tensor.reshape(1, 1)
        if tensor.dim() == 3:
            packed = self.packed(self.space(name), tensor, tensor.shape[2])
            return packed, [packed.shape[1], int(packed.shape[1] > 1)]
        tensor = tensor.contiguous()
        return tensor, [tensor.shape[1] if tensor.shape[0] > 1 else 0, int(tensor.shape[1] > 1)]

    def forward(
        self, values: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor | None], Tensor | None]:
        """Run forwards. Returns the results, the inputs, and what the backward pass needs to start from."""
        given = self.inputs(values)
        program, n_steps = self.kernel.step, self.run.n_steps
        made: dict[tuple[str, str], Tensor] = {}
        for name in self.run.record:
            made["record", name] = torch.empty(
                n_steps, *self.shape(self.space_of_output(name)), dtype=self.dtype
            )
        for name in self.run.total:
            made["total", name] = torch.empty(
                self.shape(self.space_of_output(name)), dtype=self.dtype
            )
        for name in self.places.states:
            made["state", name] = torch.empty(self.shape(self.space(name)), dtype=self.dtype)
        delays = {d.arrival.name: d.steps for d in program.delays}
        for name in self.places.arrivals:
            made["pending", name] = torch.empty(
                delays[name], *self.shape(self.space(name)), dtype=self.dtype
            )
        memory = None
        if self.form.learned is not None:
            n_saved = n_steps + 1 if self.keep else -(-n_steps // self.segment)
            each = self.library.row_bytes if self.keep else self.library.checkpoint_bytes
            memory = aligned(max(1, n_saved) * each * self.n_blocks)
        made_memory = {("tape" if self.keep else "checkpoints", ""): memory}
        outputs = [made.get(port, made_memory.get(port)) for port in self.library.source.outputs]
        self._call(self.library.forward, given, outputs)
        results = [
            *(self.unpacked(self.space_of_output(n), made["record", n]) for n in self.run.record),
            *(self.unpacked(self.space_of_output(n), made["total", n]) for n in self.run.total),
            *(self.unpacked(self.space(n), made["state", n]) for n in self.places.states),
            *(made["pending", n] for n in self.places.arrivals),
        ]
        return results, given, memory

    def backward(
        self, given: list[Tensor | None], memory: Tensor | None, bars: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Run backwards. Returns cotangents of states, pending values and constants, in calling order."""
        program = self.kernel.step
        left = iter(bars)
        found: dict[tuple[str, str], Tensor | None] = {}
        for role, names in (("bar.record", self.run.record), ("bar.total", self.run.total)):
            for name in names:
                space = self.space_of_output(name)
                found[role, name] = self._bar_of_output(space, next(left), role == "bar.record")
        for name in self.places.states:
            bar = next(left)
            found["bar.state", name] = None if bar is None else self.packed(self.space(name), bar)
        for name in self.places.arrivals:
            bar = next(left)
            found["bar.pending", name] = None if bar is None else bar.detach().contiguous()
        found["tape" if self.keep else "checkpoints", ""] = memory
        entering = [found.get(port) for port in self.library.source.bar_inputs]
        leaving: list[Tensor | None] = []
        delays = {d.arrival.name: d.steps for d in program.delays}
        for role, name in self.library.source.bar_outputs:
            shape = self.shape(self.space(name))
            if role == "bar.pending":
                shape = (delays[name], *shape)
            if role == "bar.held":
                shape = self._shape_of_sum(name)
            leaving.append(torch.zeros(shape, dtype=self.dtype))
        assert self.library.backward is not None
        self._call(self.library.backward, [*given, *entering], leaving)
        bar_of = dict(zip(self.library.source.bar_outputs, leaving, strict=True))
        states = [
            self.unpacked(self.space(n), _known(bar_of["bar.state", n])) for n in self.places.states
        ]
        pending = [bar_of["bar.pending", n] for n in self.places.arrivals]
        held = [self._bar_of_held(n, bar_of.get(("bar.held", n))) for n in self.places.held]
        return [*states, *pending, *held]

    def _bar_of_output(self, space: str, bar: Tensor | None, each_step: bool) -> Tensor:
        shape = (*((self.run.n_steps,) if each_step else ()), *self.shape(space))
        if bar is None:
            return torch.zeros(shape, dtype=self.dtype)
        bar = bar.detach()
        if space in self.listed:
            pre, post, _ = self.listed[space]
            bar = bar[..., pre, post, :]
        return bar.reshape(shape).contiguous()

    def _shape_of_sum(self, name: str) -> tuple[int, ...]:
        given = next(g for g in self.kernel.step.inputs if g.name == name)
        if name in self.library.source.per_block:
            return (self.n_blocks, self.sizes[given.space])
        return (1, self.lanes) if given.shared else self.shape(given.space)

    def _bar_of_held(self, name: str, bar: Tensor | None) -> Tensor | None:
        if bar is None:
            return None
        space = self.space(name)
        if name in self.library.source.per_block:
            return self.unpacked(space, bar.sum(0).unsqueeze(-1))
        shared = any(g.name == name and g.shared for g in self.kernel.step.inputs)
        return bar if shared else self.unpacked(space, bar)

    def _call(
        self,
        function: Callable[..., int],
        given: Sequence[Tensor | None],
        out: Sequence[Tensor | None],
    ) -> None:
        args = (
            _pointers(given),
            _pointers(out),
            self.lanes,
            self.run.n_steps,
            self.segment,
            int(self.keep),
        )
        assistants = self.library.assistants
        walked = 1 if self.keep or self.form.learned is None else self.segment
        gathered = 0 if self.form.learned is None else self.segment
        arenas = self.library.arenas
        if assistants is not None and self.n_blocks == 1 and self.threads > 1:
            with arenas.lent(1, walked, gathered) as lent:
                assistants.during(
                    lambda team: run_blocks(function, 1, args, team, lent), self.threads
                )
        else:
            with arenas.lent(min(self.threads, self.n_blocks), walked, gathered) as lent:
                run_blocks(function, self.n_blocks, args, None, lent)


def _needs_list(step: Program, projection: str) -> bool:
    """Whether missing synapses must be left out: zero weights alone do not silence them."""
    constant = {given.symbol for given in step.of_kind(*CONSTANT)}
    here = [
        s for s in step.statements if isinstance(s, OverSynapses) and s.projection == projection
    ]
    weighted = all(isinstance(s, Couple) and s.weight in constant for s in here)
    return not weighted or any(s.space == projection for s in step.statements)


def _segments(
    library: Library, step: Program, sizes: Mapping[str, int], n_steps: int, n_blocks: int
) -> tuple[int, bool]:
    """Return the steps between checkpoints, and whether to keep every row instead."""
    projections = {s.projection for s in step.statements if isinstance(s, OverSynapses)}
    heavy = any(sizes[name] >= HEAVY for name in projections)
    tape = library.row_bytes * (n_steps + 1) * n_blocks
    if tape <= (TAPE_BYTES if heavy else SEGMENT_BYTES * n_blocks):
        return max(1, n_steps), True
    return max(16, min(512, SEGMENT_BYTES // max(1, library.row_bytes))), False


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    return (ctypes.c_void_p * max(1, len(tensors)))(
        *(None if tensor is None else tensor.data_ptr() for tensor in tensors)
    )


def _known(value: Tensor | None) -> Tensor:
    assert value is not None
    return value
