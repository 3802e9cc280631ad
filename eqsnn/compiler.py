"""The compiler, top to bottom: text -> Syntax -> Model -> Program -> Kernel. READ THIS FIRST.

Each stage is a pure function of the one before, and `eqsnn show MODEL --stage NAME` prints those named in `STAGES`:

| stage | function | where | what it does |
|---|---|---|---|
| 1 | `parse` | language/parse.py | grammar only; every node keeps its place in the file |
| 2 | `check` | language/check.py | names, units, events; all mistakes at once |
| 3 | `discretise` | maths/discretise.py | one time step as a symbolic Program, in Brian2's order |
| 3 | `exact` | maths/exact.py | the same with spikes at fractions of the step, differentiable without surrogate |
| 3 | `force`, `escape`, `know` | maths/ | Program -> Program: teacher forcing, spike probability, known noise |
| 3 | `separate_noise` | maths/hidden.py | a forced Program -> what spikes make known, and what private noise reaches |
| 3 | `split_by_synapse` | maths/by_synapse.py | what a presynaptic parameter does, as derivatives by a parameter of every synapse |
| 3 | `moments` | maths/moments.py | both -> one Program that carries means and covariances of the noisy states |
| 3 | `simplify.*`, `adjoint` | maths/ | the same with less work; its vector-Jacobian product |
| 4 | `compile_torch` | backends/pytorch.py | Program -> torch functions: the reference backend |
| 4 | `NativeKernel` | backends/native.py | Program -> C99 -> shared library: what simulations and fits run on |
| 4 | `DensityKernel` | backends/density.py | what noise reaches -> its density on a grid, as C from density.c, or torch |
| 4 | `ParticleKernel` | backends/particles.py | what noise reaches -> a sample of it, as C, or torch |

Only what follows from a Model alone can be shown: syntax, model, program, adjoint, torch, c (`STAGES`). The others need to
know what the data give; inference/ asks for them.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from eqsnn.backends.c_adjoint import cut_adjoint
from eqsnn.backends.c_density import CALM_AFTER
from eqsnn.backends.c_layout import RUNTIME, Form
from eqsnn.backends.compile_c import Compiler, find_compiler
from eqsnn.backends.cost import Cost, cost
from eqsnn.backends.density import DensityKernel
from eqsnn.backends.emit_c import emit
from eqsnn.backends.kernel import Kernel
from eqsnn.backends.native import NativeKernel
from eqsnn.backends.particles import ParticleKernel
from eqsnn.backends.pytorch import TorchKernel, compile_torch
from eqsnn.errors import InputError
from eqsnn.language.check import check
from eqsnn.language.model import Model
from eqsnn.language.parse import parse, read_model_text
from eqsnn.language.show import format_model
from eqsnn.language.syntax import format_syntax
from eqsnn.maths.discretise import discretise
from eqsnn.maths.escape import escape
from eqsnn.maths.exact import exact
from eqsnn.maths.force import force, is_regenerative
from eqsnn.maths.hidden import Hidden, Separated, diffuse, on_both_sides, separate_noise
from eqsnn.maths.known import know
from eqsnn.maths.moments import moments
from eqsnn.maths.program import Program
from eqsnn.maths.reach import acting_on_others
from eqsnn.maths.simplify import select

NO_COMPILER = "no C compiler was found; install gcc or clang, or name one in $CC"


def read_model(path: str | Path) -> Model:
    """Return the checked model of a file."""
    return model_from_text(read_model_text(path), str(path))


def model_from_text(text: str, path: str = "<model>") -> Model:
    """Return the checked model of a text; `path` is the name used in error messages."""
    return check(parse(text, path))


def free_program(
    model: Model, *, known: Iterable[str] = (), method: str | None = None, **options: object
) -> Program:
    """Return the Program of a network that runs on its own spikes; values `known` are given as drives."""
    return know(discretise(model, method=method, **options), known)  # type: ignore[arg-type]


def exact_program(
    model: Model,
    *,
    known: Iterable[str] = (),
    method: str | None = None,
    delays: Iterable[str] = (),
) -> Program:
    """Return the Program of a free-running network whose spikes happen at differentiable fractions of a step.

    delays: projections with a parameter `projection.delay` (ms).
    """
    return know(exact(model, method=method, delays=delays), known)


def forced_program(
    model: Model, *, known: Iterable[str] = (), method: str | None = None, masked: bool = False
) -> Program:
    """Return the Program of a network that follows observed spikes and outputs their log-likelihood.

    masked: not every neuron is observed in every step; those that are not follow their own spikes.
    """
    spiking = _spiking(model)
    free = free_program(model, known=known, method=method)
    forced = force(free, spiking, self_resetting=_runaway(model), masked=masked)
    return escape(forced, spiking, masked=masked)


def acting_on_several(model: Model, *, known: Iterable[str] = ()) -> frozenset[str]:
    """Return the parameters, by name, that act on other neurons than their own when all follow observed spikes."""
    return acting_on_others(forced_program(model, known=known))


def partly_forced_program(
    model: Model, *, known: Iterable[str] = (), detach_reset: bool = False
) -> Program:
    """Return the Program of a network in which some neurons (`population.seen`) follow observed spikes."""
    free = free_program(model, known=known, detach_reset=detach_reset)
    return force(free, _spiking(model), masked=True)


def guided_program(
    model: Model, *, known: Iterable[str] = (), detach_reset: bool = False
) -> Program:
    """Return the Program of a network in which observed spikes drive synapses, and reset neurons besides their own."""
    free = free_program(model, known=known, detach_reset=detach_reset)
    return force(free, _spiking(model), self_resetting=_spiking(model))


def _spiking(model: Model) -> list[str]:
    return [name for name in model.populations if model.neuron_of(name).threshold is not None]


def _runaway(model: Model) -> list[str]:
    return [name for name in _spiking(model) if is_regenerative(model.neuron_of(name))]


def separated_program(
    model: Model,
    typical: Mapping[str, float],
    *,
    known: Iterable[str] = (),
    diffusion: bool = False,
    masked: bool = False,
) -> Separated:
    """Return what observed spikes make known, and what private noise reaches, as two parts of a forced step.

    Populations without noise get their escape likelihood in the known part. diffusion: every spiking population has
    diffusion noise in its potential besides. masked:
    not every neuron is observed in every step; its expected spikes then stand in for observed ones.
    """
    spiking = _spiking(model)
    program = force(free_program(model, known=known), spiking, blended=masked)
    if diffusion:
        program = diffuse(program, spiking)
    separated = separate_noise(program, spiking, typical)
    noisy = {hidden.population for hidden in separated.hidden}
    quiet = [name for name in spiking if name not in noisy]
    given = escape(separated.given, quiet, masked=masked) if quiet else separated.given
    runaway = _runaway(model)
    hidden = (replace(part, regenerative=part.population in runaway) for part in separated.hidden)
    return Separated(given, tuple(hidden))


def moments_program(separated: Separated, *, masked: bool = False) -> Program:
    """Return the step in which the noisy states of every hidden population are means and covariances."""
    return moments(separated, masked=masked)


def compile_density(
    hidden: Hidden, n_bins: int, dt: float, backend: str = "auto", *, double: bool = True
) -> DensityKernel:
    """Return the kernel that carries the density of a population's noisy states.

    dt: of a step, in ms; backend as in compile_program.
    """
    settled, compiler = math.ceil(CALM_AFTER / dt), _compiler(backend)
    return DensityKernel(on_both_sides(hidden), n_bins, compiler, settled=settled, double=double)


def compile_particles(hidden: Hidden, n_particles: int, backend: str = "auto") -> ParticleKernel:
    """Return the kernel that samples a population's noisy states; backend as in compile_program."""
    return ParticleKernel(hidden, n_particles, _compiler(backend))


def _compiler(backend: str) -> Compiler | None:
    compiler = None if backend == "pytorch" else find_compiler(os.environ.get("CC"))
    if compiler is None and backend == "native":
        raise InputError(NO_COMPILER)
    return compiler


BACKENDS = ("auto", "native", "pytorch")  # the names `--backend` accepts


def compile_program(program: Program, outputs: Iterable[str], backend: str = "auto") -> Kernel:
    """Return a kernel that computes these outputs.

    `native` is C, `pytorch` the reference; `auto` is C where there is a compiler, else pytorch with one warning.
    Raises InputError for another name, and for `native` on a machine without a C compiler.
    """
    if backend not in BACKENDS:
        raise InputError(f"there is no backend `{backend}`; the backends are {', '.join(BACKENDS)}")
    reference = compile_torch(select(program, outputs))
    if backend == "pytorch":
        return reference
    compiler = find_compiler(os.environ.get("CC"))
    if compiler is not None:
        return NativeKernel(reference, compiler)
    if backend == "native":
        raise InputError(NO_COMPILER)
    warnings.warn(f"{NO_COMPILER}; running on pytorch, many times slower", stacklevel=2)
    return reference


def cost_of(model: Model) -> Cost:
    """Return what a step of a fit costs; a population of unknown size counts as one neuron."""
    kernel = _kernel(model)
    unknown = {
        f"{group}.{variable.name}"
        for groups, block_of in (
            (model.populations, model.neuron_of),
            (model.projections, model.synapse_of),
        )
        for group, entry in groups.items()
        for variable in block_of(group).variables.values()
        if (value := entry.values.get(variable.name, variable.value)) is not None and value.learned
    }
    cut = cut_adjoint(kernel.step, kernel.raw_adjoint, kernel.differentiated, generated=True)
    return cost(kernel.program, kernel.step, cut, unknown, _sizes(model))


def _sizes(model: Model) -> dict[str, int]:
    sizes = {name: population.size or 1 for name, population in model.populations.items()}
    return sizes | {p.name: sizes[p.pre] * sizes[p.post] for p in model.projections.values()}


def _syntax(model: Model) -> str:
    return format_syntax(parse(model.text, model.path))


def _program(model: Model) -> str:
    return str(discretise(model))


def _kernel(model: Model) -> TorchKernel:
    program = discretise(model)
    wanted = [name for name in program.outputs if name.endswith(".spike")] or list(program.outputs)
    return compile_torch(select(program, wanted))


def _adjoint(model: Model) -> str:
    return str(_kernel(model).step_adjoint)


def _torch(model: Model) -> str:
    return _kernel(model).source


def _c(model: Model) -> str:
    """The kernel of a fit on one vector of lanes; a population of unknown size is shown with one neuron."""
    kernel = _kernel(model)
    form = Form(
        sizes=tuple(sorted(_sizes(model).items())),
        block=16,
        double=False,
        generated=True,
        same=frozenset({"t"}),
        record=tuple(kernel.step.outputs),
        learned=kernel.differentiated,
    )
    adjoint = cut_adjoint(kernel.step, kernel.raw_adjoint, kernel.differentiated, generated=True)
    text = emit(kernel.step, form, adjoint).text
    return text.replace(RUNTIME, '#include "runtime.h" /* eqsnn/backends/runtime.h */')


STAGES: dict[str, Callable[[Model], str]] = {
    "syntax": _syntax,
    "model": format_model,
    "program": _program,
    "adjoint": _adjoint,
    "torch": _torch,
    "c": _c,
}
