"""Program -> torch source -> Kernel: the reference backend, readable, on any device and in any precision.

The source of one step and of its vector-Jacobian product is generated from the Programs; `unroll` walks the step
forwards and the product backwards (one autograd node for the whole run), so no graph is kept per operation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sympy import Symbol

from eqsnn.backends import torch_functions as runtime
from eqsnn.backends.kernel import Outcome, Run
from eqsnn.backends.naming import identifiers
from eqsnn.backends.signature import signature
from eqsnn.backends.spelling import EXPENSIVE, spell
from eqsnn.backends.unroll import device_of, unroll
from eqsnn.language.functions import SpikeSlope, symbol
from eqsnn.maths.adjoint import adjoint, of_input, of_next, of_output, of_sent
from eqsnn.maths.program import (
    CONSTANT,
    Assign,
    Couple,
    Gather,
    Kind,
    Outer,
    Program,
    Statement,
    Total,
)
from eqsnn.maths.simplify import hoist, name_calls, share
from eqsnn.maths.surrogates import insert_surrogate

INDENT = "    "
ARGUMENTS = (
    "state",
    "arrived",
    "now",
    "held",
    "bar_state",
    "bar_sent",
    "bar_output",
    "once",
    "step",
    "step_vjp",
)
RUNTIME = {
    "sqrt": runtime.sqrt,
    "detach": runtime.detach,
    "logsigmoid": runtime.logsigmoid,
    "whole_quotient": runtime.whole_quotient,
    "mix": runtime.mix,
    "normal_below": runtime.normal_below,
    "normal_hazard": runtime.normal_hazard,
    "phi": runtime.phi,
    "matrix_exponential": runtime.matrix_exponential,
    "poisson_quantile": runtime.poisson_quantile,
    "couple": runtime.couple,
    "outer": runtime.outer,
    "reduce": runtime.reduce,
}


RESERVED = {"torch", "real", "exists", "slope", "spike_from", "spike_above", *RUNTIME, *ARGUMENTS}


def emit_step(
    program: Program,
    name: str,
    groups: Mapping[str, Sequence[str]],
    results: Sequence[Sequence[str]],
    *,
    masked: bool = True,
) -> str:
    """Return the source of a function that executes a Program.

    `groups` maps each argument to the symbols it unpacks to; `results` are the tuples of symbols to return.
    masked: constant weights are 0 already where there is no synapse.
    """
    names = identifiers(program.space_of(), RESERVED)
    constant = {given.symbol for given in program.of_kind(*CONSTANT)} if masked else set()
    lines = [f"def {name}({', '.join(groups)}, exists, real):"]
    for argument, symbols in groups.items():
        if symbols:
            lines.append(f"{INDENT}({', '.join(names[symbol(s)] for s in symbols)},) = {argument}")
    lines += [
        f"{INDENT}{emit_statement(statement, names, constant)}" for statement in program.statements
    ]
    returned = ", ".join(
        f"({''.join(f'{names[symbol(s)]}, ' for s in result).rstrip()})" for result in results
    )
    lines.append(f"{INDENT}return {returned}")
    return "\n".join(lines) + "\n"


def emit_statement(statement: Statement, names: Mapping[Symbol, str], constant: set[Symbol]) -> str:
    """Return the line of torch source for one statement."""
    target = names[statement.target]
    if isinstance(statement, Assign):
        value = spell(statement.expression, names)
        # torch's functions take no plain numbers, and a later statement may apply one to this
        number = statement.expression.is_number
        return (
            f"{target} = torch.full((1, 1), {value}, **real)" if number else f"{target} = {value}"
        )
    if isinstance(statement, Total):
        return f"{target} = {names[statement.source]}.sum(0, keepdim=True)"
    exists = f"exists[{statement.projection!r}]"
    if isinstance(statement, Couple):
        if statement.weight is None:
            weight = f"{exists}.to(**real)"
        elif statement.weight in constant:
            weight = names[statement.weight]
        else:
            weight = f"{exists} * {names[statement.weight]}"
        return f"{target} = couple({weight}, {names[statement.source]}, {statement.transposed})"
    if isinstance(statement, Outer):
        return f"{target} = outer({names[statement.before]}, {names[statement.after]}, {exists})"
    if isinstance(statement, Gather):
        spread = f"{names[statement.source]}.unsqueeze({0 if statement.from_post else 1})"
        return f"{target} = {exists} * {spread}" if statement.masked else f"{target} = {spread}"
    return f"{target} = reduce({names[statement.source]}, {exists}, {statement.to_post})"


@dataclass(frozen=True, slots=True)
class TorchKernel:
    """A Program compiled to torch.

    `run_once`, `run_step` and `run_step_vjp` are the functions of `source`. With `by_autograd` the usual graph is built
    operation by operation instead of using the symbolic adjoint: slower, kept as the independent reference.
    """

    program: Program
    step: Program
    raw_adjoint: Program
    step_adjoint: Program
    differentiated: tuple[str, ...]  # parameters of `step` on which something depends
    once_inputs: tuple[str, ...]  # what `run_once` reads
    constants: tuple[str, ...]  # names of what `run_once` returns
    masked: tuple[str, ...]  # parameters of `step` that are summed over synapses as they are
    source: str
    run_once: Callable
    run_step: Callable
    run_step_vjp: Callable
    by_autograd: bool = False

    def unroll(self, run: Run) -> Outcome:
        """Run the Program for `run.n_steps` steps (see Kernel)."""
        return unroll(self, run)


def compile_torch(program: Program, *, by_autograd: bool = False) -> TorchKernel:
    """Compile a Program to torch functions.

    Everything that does not change over a run is computed once, under torch's autograd; the step and its adjoint are
    generated from the rest.
    """
    once, step = hoist(program)
    step = share(name_calls(step, EXPENSIVE))
    places = signature(step)
    parameters = step.of_kind(Kind.PARAMETER)
    wrt = [symbol(name) for name in (*places.states, *places.arrivals)] + [
        given.symbol for given in parameters
    ]
    raw = adjoint(step, wrt)
    backward = share(raw)
    differentiated = tuple(g.name for g in parameters if of_input(g.symbol) in backward.outputs)
    weights = {statement.weight for statement in step.statements if isinstance(statement, Couple)}
    source = "\n\n".join(
        [_emit_once(once), _emit_forward(step), _emit_backward(step, backward, differentiated)]
    )
    namespace = _load(source, step.surrogate)
    return TorchKernel(
        program=program,
        step=step,
        raw_adjoint=raw,
        step_adjoint=backward,
        differentiated=differentiated,
        once_inputs=signature(once).held,
        constants=tuple(once.outputs),
        masked=tuple(given.name for given in step.of_kind(*CONSTANT) if given.symbol in weights),
        source=source,
        run_once=namespace["once"],
        run_step=namespace["step"],
        run_step_vjp=namespace["step_vjp"],
        by_autograd=by_autograd,
    )


def _emit_once(once: Program) -> str:
    places = signature(once)
    results = [[str(s) for s in once.outputs.values()]]
    return emit_step(once, "once", {"held": places.held}, results, masked=False)


def _emit_forward(step: Program) -> str:
    places = signature(step)
    groups = {
        "state": places.states,
        "arrived": places.arrivals,
        "now": places.now,
        "held": places.held,
    }
    after = [str(step.next_states[symbol(s)]) for s in places.states]
    return emit_step(
        step, "step", groups, [after, places.sent, [str(s) for s in step.outputs.values()]]
    )


def cotangent_names(step: Program, backward: Program) -> tuple[list[str], list[str], list[str]]:
    """Return the cotangents that enter the adjoint step: of next states, of what is sent, of outputs."""
    places = signature(step)
    known = {given.name for given in backward.of_kind(Kind.COTANGENT)}
    after = [str(of_next(symbol(s))) for s in places.states]
    sent = [str(of_sent(symbol(s))) for s in places.arrivals]
    outputs = [str(of_output(name)) for name in places.outputs]
    return tuple(
        [name if name in known else "" for name in names] for names in (after, sent, outputs)
    )  # type: ignore[return-value]


def _emit_backward(step: Program, backward: Program, differentiated: Sequence[str]) -> str:
    places = signature(step)
    read = {given.name for given in backward.inputs}
    groups: dict[str, Sequence[str]] = {
        "state": places.states,
        "arrived": places.arrivals,
        "now": places.now,
        "held": places.held,
        **dict(
            zip(
                ("bar_state", "bar_sent", "bar_output"),
                cotangent_names(step, backward),
                strict=True,
            )
        ),
    }
    names = identifiers(backward.space_of(), RESERVED)
    unpack = [f"def step_vjp({', '.join(groups)}, exists, real):"]
    for argument, symbols in groups.items():
        picked = [
            f"{names[symbol(s)]} = {argument}[{n}]" for n, s in enumerate(symbols) if s in read
        ]
        unpack += [f"{INDENT}{line}" for line in picked]
    constant = {given.symbol for given in backward.of_kind(*CONSTANT)}
    body = [
        f"{INDENT}{emit_statement(statement, names, constant)}" for statement in backward.statements
    ]
    results = []
    for wanted in (places.states, places.arrivals, differentiated):
        found = [backward.outputs.get(of_input(symbol(s))) for s in wanted]
        results.append(
            "(" + "".join(f"{'None' if s is None else names[s]}, " for s in found).rstrip() + ")"
        )
    return "\n".join([*unpack, *body, f"{INDENT}return {', '.join(results)}"]) + "\n"


def _load(source: str, surrogate: str) -> dict[str, Any]:
    """Compile generated source in a namespace that holds torch, the runtime functions and nothing else."""
    x = symbol("x")
    slope = spell(insert_surrogate(SpikeSlope(x), surrogate), {x: "x"})
    namespace: dict[str, Any] = {"torch": torch, **RUNTIME}
    # the text compiled here is printed by this module from a checked Program; identifiers are rebuilt from scratch
    exec(
        compile(f"def slope(x):\n{INDENT}return {slope}\n", "<eqsnn surrogate>", "exec"), namespace
    )
    namespace["spike_from"] = runtime.spike_function(False, namespace["slope"])
    namespace["spike_above"] = runtime.spike_function(True, namespace["slope"])
    exec(compile(source, "<eqsnn step>", "exec"), namespace)
    return namespace


def compile_once(
    program: Program,
) -> Callable[[Mapping[str, Any], Mapping[str, Any], torch.dtype], dict[str, Any]]:
    """Compile a Program without states or drives: (parameters, synapses, dtype) -> its outputs, differentiable."""
    run = _load(_emit_once(program), program.surrogate)["once"]
    held = signature(program).held

    def outputs(
        parameters: Mapping[str, Any], synapses: Mapping[str, Any], dtype: torch.dtype
    ) -> dict[str, Any]:
        real = {"dtype": dtype, "device": device_of([*parameters.values(), *synapses.values()])}
        given = [torch.as_tensor(parameters[name], **real) for name in held]
        return dict(zip(program.outputs, run(given, synapses, real), strict=True))

    return outputs
