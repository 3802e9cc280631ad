"""Program -> C99 -> shared library -> Kernel: the backend that simulations and fits run on.

The source is specialised to the sizes of the network and the shapes of its inputs and compiled on first use
(compile_c.py). Blocks of lanes run in threads: the library holds no lock of Python's. The whole run is one autograd
node; what does not change over a run is computed once by the torch kernel beside it.
"""

import ctypes
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from eqsnn.backends.c_adjoint import cut_adjoint
from eqsnn.backends.c_layout import Form
from eqsnn.backends.compile_c import Compiler, load_library
from eqsnn.backends.emit_c import emit
from eqsnn.backends.kernel import Outcome, Run
from eqsnn.backends.native_run import Call, Library
from eqsnn.backends.pytorch import TorchKernel, compile_once
from eqsnn.backends.signature import signature
from eqsnn.backends.threads import Arenas, Assistants
from eqsnn.backends.unroll import held_values, pending_values, real_of
from eqsnn.maths.program import Program


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """A Program compiled to C. `reference` is the torch kernel of the same Program."""

    reference: TorchKernel
    compiler: Compiler
    threads: int = 0  # 0: as many as this process may use
    libraries: dict[Form, Library] = field(default_factory=dict, compare=False)

    @property
    def program(self) -> Program:
        """The Program that was compiled."""
        return self.reference.program

    @property
    def step(self) -> Program:
        """One step, constants taken out."""
        return self.reference.step

    @property
    def step_adjoint(self) -> Program:
        """Its vector-Jacobian product."""
        return self.reference.step_adjoint

    @property
    def source(self) -> str:
        """The C source compiled so far, or the torch source before the first run: sizes are needed for C."""
        texts = [library.source.text for library in self.libraries.values()]
        return texts[-1] if texts else self.reference.source

    def unroll(self, run: Run) -> Outcome:
        """Run the Program for `run.n_steps` steps (see Kernel)."""
        places = signature(self.step)
        real = real_of(run)
        dtype, held = real["dtype"], held_values(self.reference, run, places, real)
        pending = {
            name: torch.stack(
                torch.broadcast_tensors(*pending_values(self.reference, run, name, d.steps))
            )
            for name in places.arrivals
            for d in self.step.delays
            if d.arrival.name == name
        }
        states = {name: run.states[name] for name in places.states}
        values = [*states.values(), *pending.values(), *held.values()]
        wanted = tuple(
            name
            for name in self.reference.differentiated
            if isinstance(held[name], Tensor) and held[name].requires_grad
        )
        differentiable = torch.is_grad_enabled() and any(v.requires_grad for v in values)
        call = Call.prepare(self, run, places, held, dtype, wanted if differentiable else None)
        results = _Native.apply(call, *values) if differentiable else call.forward(values)[0]
        left = iter(results)
        recorded = {name: next(left) for name in run.record}
        totals = {name: next(left) for name in run.total}
        final = {name: next(left) for name in places.states}
        still = {name: tuple(next(left).unbind(0)) for name in places.arrivals}
        return Outcome(recorded, totals, final, still)

    def library(self, form: Form) -> Library:
        """Return the compiled library of a form, compiled on first use.

        A library with a backward pass also serves runs that need none.
        """
        if form not in self.libraries and form.learned is None:
            for other, library in self.libraries.items():
                if replace(other, learned=None) == form:
                    return library
        if form not in self.libraries:
            self.libraries[form] = self._compile(form)
        return self.libraries[form]

    def _compile(self, form: Form) -> Library:
        cut = once = None
        if form.learned is not None:
            cut = cut_adjoint(
                self.step, self.reference.raw_adjoint, form.learned, generated=form.generated
            )
            once = compile_once(cut.once) if cut.once.outputs else None
        source = emit(self.step, form, cut)
        loaded = load_library(source.text, self.compiler)
        pointers = ctypes.POINTER(ctypes.c_void_p)
        signature_of = [pointers, pointers, *[ctypes.c_long] * 4, ctypes.c_int]
        signature_of += [ctypes.c_void_p, ctypes.c_void_p]
        loaded.run_forward.argtypes = signature_of
        if cut is not None:
            loaded.run_backward.argtypes = signature_of
        loaded.assist.argtypes = [ctypes.c_void_p, ctypes.c_int]
        loaded.dismiss.argtypes = [ctypes.c_void_p]
        loaded.arena_bytes.argtypes = [ctypes.c_long, ctypes.c_long]
        loaded.arena_bytes.restype = ctypes.c_long
        loaded.row_bytes.restype = loaded.checkpoint_bytes.restype = ctypes.c_long
        return Library(
            source,
            loaded.run_forward,
            loaded.run_backward if cut is not None else None,
            Arenas(loaded.arena_bytes),
            loaded.row_bytes(),
            loaded.checkpoint_bytes(),
            once,
            Assistants(loaded.assist, loaded.dismiss) if "share_(b->team" in source.text else None,
            {
                str(s): space
                for program in ([self.step] if cut is None else [cut.program, self.step])
                for s, space in program.space_of().items()
            },
        )


class _Native(torch.autograd.Function):
    """One autograd node for the whole run."""

    @staticmethod
    def forward(ctx: Any, call: Call, *values: Tensor) -> tuple[Tensor, ...]:
        results, ctx.given, ctx.memory = call.forward(values)
        ctx.call, ctx.shapes = call, [value.shape for value in values]
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor | None) -> tuple[Tensor | None, ...]:
        gradients = ctx.call.backward(ctx.given, ctx.memory, bars)
        return None, *(
            None if bar is None else bar.sum_to_size(shape)
            for bar, shape in zip(gradients, ctx.shapes, strict=True)
        )
