"""suspicions: what a model most likely does not mean, although it may be compiled.

Cautious: what cannot be decided cheaply from the file is passed over in silence.
"""

from collections.abc import Iterable, Iterator

import sympy
from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.errors import Span, Suspicion
from eqsnn.language.functions import symbol
from eqsnn.language.model import (
    Distribution,
    Model,
    NeuronModel,
    Role,
    Statement,
    SynapseModel,
    Variable,
)
from eqsnn.maths.affine import is_affine
from eqsnn.maths.build import abbreviations
from eqsnn.maths.discretise import discretise
from eqsnn.maths.initial import initial_state
from eqsnn.maths.margin import margin_of
from eqsnn.maths.program import Program
from eqsnn.maths.reach import reached_from

Block = NeuronModel | SynapseModel
Found = Iterator[Suspicion]
WITHOUT_ERROR = ("exact", "exponential_euler")  # however long the step, for one state's own decay


def suspicions(model: Model) -> tuple[Suspicion, ...]:
    """Return what is suspicious about a model, in the order of its lines."""
    program = discretise(model)
    found = [*_unused(model), *_without_influence(model, program)]
    for name in model.populations:
        found += [*_threshold(model, name), *_fast_decay(model, name, program.notes)]
    unique = {(s.span.line, s.message): s for s in found}
    return tuple(sorted(unique.values(), key=lambda s: (s.span.line, s.span.column)))


def _read(block: Block, *, by_others_than: str = "") -> set[str]:
    """Return the names that a block reads, other than what one of its states reads for its own sake."""
    expressions: list[Expr | Boolean] = [
        e
        for x, e in (*block.equations.items(), *block.subexpressions.items())
        if x != by_others_than
    ]
    expressions += [a.expression for a in block.statements if a.target != by_others_than]
    if isinstance(block, NeuronModel):
        expressions += [e for e in (block.threshold, block.refractory) if e is not None]
        expressions += [e.condition for e in block.events.values()]
    else:
        expressions += block.summed.values()
    return {str(s) for e in expressions for s in e.free_symbols}


def _ends(model: Model, neuron: str) -> Iterator[tuple[SynapseModel, str]]:
    """Every synapse that touches a neuron model, with the ending of that neuron's names in it."""
    for projection in model.projections.values():
        for population, ending in ((projection.pre, "_pre"), (projection.post, "_post")):
            if model.populations[population].neuron == neuron:
                yield model.synapses[projection.synapse], ending


def _unused(model: Model) -> Found:
    """Parameters, inputs, variables and states that nothing reads."""
    used = {population.neuron for population in model.populations.values()}
    for block in (*(model.neurons[name] for name in used), *model.synapses.values()):
        centres = {
            v.value.given.centre
            for v in block.variables.values()
            if v.value is not None and isinstance(v.value.given, Distribution)
        }
        for variable in block.variables.values():
            name = variable.name
            if variable.span is None or name in centres or variable.role is Role.SUBEXPRESSION:
                continue
            read = _read(block, by_others_than=name if variable.role is not Role.PARAMETER else "")
            if isinstance(block, NeuronModel):
                read |= {
                    other.removesuffix(ending)
                    for synapse, ending in _ends(model, block.name)
                    for other in _read(synapse, by_others_than=f"{name}{ending}")
                    if other.endswith(ending)
                }
            if name not in read:
                yield from _nothing_reads(block, variable)


def _nothing_reads(block: Block, variable: Variable) -> Found:
    assert variable.span is not None
    name, role = variable.name, variable.role
    if role in (Role.PARAMETER, Role.INPUT):
        yield Suspicion(
            variable.span,
            f"{role.value} `{name}` is never used",
            "use it in an equation, or remove the line",
        )
    elif isinstance(block, SynapseModel) or block.threshold is not None:
        # the states of a neuron without spikes are what is recorded
        yield Suspicion(
            variable.span,
            f"nothing reads the {role.value} `{name}`",
            "let an equation, the threshold or a synapse read it, or remove it",
        )


def _without_influence(model: Model, program: Program) -> Found:
    """Parameters to be learned that no spike depends on."""
    start = initial_state(model)
    spikes = {s for name, s in program.outputs.items() if name.endswith(".spike")}
    if not spikes:
        return
    for group in (*model.populations, *model.projections):
        block, entry = _block(model, group), _entry(model, group)
        centres = {
            v.given.centre
            for v in (
                *entry.values.values(),
                *(b.value for b in block.variables.values() if b.value),
            )
            if isinstance(v.given, Distribution)
        }
        for variable in block.variables.values():
            value = entry.values.get(variable.name, variable.value)
            if variable.role is not Role.PARAMETER or value is None or not value.learned:
                continue
            parameter = symbol(f"{group}.{variable.name}")
            reached = reached_from(start, {parameter})
            begun = {symbol(name) for name, s in start.outputs.items() if s in reached}
            reached = reached_from(program, {parameter, *begun})
            is_read = variable.name in _read(block)
            if variable.name not in centres and is_read and not reached & spikes:
                span = value.span or variable.span or entry.span
                if span is not None:
                    yield Suspicion(
                        span,
                        f"no spike depends on `{group}.{variable.name}`, so it cannot be learned from spikes",
                        "give it a value with `=`, or let the threshold depend on what it drives",
                    )


def _block(model: Model, group: str) -> Block:
    return model.neuron_of(group) if group in model.populations else model.synapse_of(group)


def _entry(model: Model, group: str):
    return model.populations.get(group) or model.projections[group]


def _known(model: Model, population: str) -> dict[Symbol, Expr]:
    """Return the numbers that parameters of a population are known to have."""
    if model.values_file is not None:
        return {}
    entry, found = model.populations[population], {}
    for variable in model.neuron_of(population).variables.values():
        value = entry.values.get(variable.name, variable.value)
        if value is not None and not value.learned and not isinstance(value.given, Distribution):
            found[symbol(variable.name)] = sympy.Float(value.given)
    return found | {symbol("dt"): sympy.Float(model.dt)}


def _written_out(neuron: NeuronModel, expression: Expr, known: dict[Symbol, Expr]) -> Expr:
    names = dict(known)
    for name, definition in abbreviations(neuron).items():
        names[symbol(name)] = definition.xreplace(names)
    return expression.xreplace(names)


def _threshold(model: Model, population: str) -> Found:
    neuron = model.neuron_of(population)
    entry = model.populations[population]
    if neuron.threshold is None:
        return
    span = neuron.threshold_span or entry.span
    if span is None:
        return
    known = _known(model, population)
    condition = _written_out(neuron, neuron.threshold, known)  # type: ignore[arg-type]
    if condition in (sympy.true, sympy.false):
        always = condition is sympy.true
        yield Suspicion(
            span,
            f"the threshold of `{population}` is {'always' if always else 'never'} reached",
            "compare a state with a value, as in `v > v_th`",
        )
        return
    margin, strict = margin_of(condition)  # type: ignore[arg-type]
    after = _after(neuron, margin, neuron.reset, known)
    if neuron.reset and neuron.refractory is None and _holds(after, strict):
        yield Suspicion(
            neuron.reset[0].span or span,
            f"after the reset of `{population}` its threshold still holds, so it fires in every step from its first spike on",
            "reset it to a value below the threshold",
        )
    yield from _never_reached(model, population, margin, strict, known, span)


def _after(
    neuron: NeuronModel, margin: Expr, statements: Iterable[Statement], known: dict[Symbol, Expr]
) -> Expr:
    """Return the margin after statements have run."""
    for statement in reversed(tuple(statements)):
        value = _written_out(neuron, statement.expression, known)
        margin = margin.xreplace({symbol(statement.target): value})
    return sympy.expand(margin) if margin.is_Add else margin


def _holds(margin: Expr, strict: bool) -> bool:
    return bool(margin.is_number and (margin > 0 or (margin == 0 and not strict)))


def _never_reached(
    model: Model, population: str, margin: Expr, strict: bool, known: dict[Symbol, Expr], span: Span
) -> Found:
    """A state that decays to a level below its threshold, and that nothing else moves, never spikes."""
    neuron = model.neuron_of(population)
    states = margin.free_symbols
    (state, *others) = states or {None}
    if (
        state is None
        or others
        or str(state) not in neuron.equations
        or neuron.every
        or neuron.events
    ):
        return
    written = {a.target for a in (*neuron.update, *neuron.background)}
    for synapse, ending in _ends(model, neuron.name):
        written |= {
            a.target.removesuffix(ending) for a in synapse.statements
        } | synapse.summed.keys()
    idle = {
        symbol(v.name): sympy.Integer(0)
        for v in neuron.variables.values()
        if v.role is Role.VARIABLE and v.name not in written | {a.target for a in neuron.statements}
    }
    rate = _written_out(neuron, neuron.equations[str(state)], known | idle)
    if str(state) in written or rate.free_symbols != {state} or not is_affine(rate, (state,)):
        return
    slope = rate.diff(state)
    if not (slope.is_number and slope < 0):
        return
    start = _after(neuron, state, neuron.initial, known).xreplace({state: sympy.Integer(0)})
    at_rest = -rate.xreplace({state: sympy.Integer(0)}) / slope
    levels = [margin.xreplace({state: level}) for level in (start, at_rest)]
    if all(level.is_number and not _holds(level, strict) for level in levels):
        unit = neuron.variables[str(state)].unit
        yield Suspicion(
            span,
            f"`{population}` never fires: `{state}` goes to {float(at_rest) / unit.scale:g} {unit.name} and stays below the threshold",
            "give it a drive, or lower the threshold",
        )


def _fast_decay(model: Model, population: str, notes: Iterable[str]) -> Found:
    """Methods of finite order overshoot where a state decays within a step."""
    neuron, known = model.neuron_of(population), _known(model, population)
    if any(
        note.startswith(f"{population}: integrated by {m} ")
        for m in WITHOUT_ERROR
        for note in notes
    ):
        return
    for name, rate in neuron.equations.items():
        x, span = symbol(name), neuron.variables[name].span
        written = _written_out(neuron, rate, known)
        slope = written.diff(x) if is_affine(written, (x,)) else sympy.Integer(0)
        if span is None or not slope.is_number or slope >= 0:
            continue
        tau = float(-1 / slope)
        # who names a method knows its error, but not that it grows from step to step
        if tau < (model.dt if neuron.method is None else model.dt / 2):
            yield Suspicion(
                span,
                f"`{population}.{name}` decays with {tau:.3g} ms, less than the step of {model.dt:g} ms",
                "make dt smaller, or use a method without such an error: `method: exponential_euler`",
            )
