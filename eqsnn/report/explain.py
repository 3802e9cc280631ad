"""explain: what a checked model computes, in words: equations, integrators, units, what data cannot tell, cost."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from eqsnn.backends.cost import Cost
from eqsnn.compiler import cost_of, discretise
from eqsnn.language.builtins import DISTRIBUTIONS
from eqsnn.language.model import (
    Distribution,
    Model,
    NeuronModel,
    Role,
    SynapseModel,
    Value,
    Variable,
)
from eqsnn.maths.readable import resolved, written
from eqsnn.maths.symmetries import Symmetry, symmetries

INTEGRATED = ": integrated by "


@dataclass(frozen=True, slots=True)
class Line:
    """One equation, condition or statement, subexpressions written out; `unit` of its left side, as declared."""

    text: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """One row of the table of names."""

    name: str
    role: str
    unit: str
    scope: str
    value: str


@dataclass(frozen=True, slots=True)
class Group:
    """A population or projection."""

    name: str
    model: str
    size: str
    integrators: tuple[str, ...]
    lines: tuple[Line, ...]
    names: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that `eqsnn check --explain` prints."""

    path: str
    dt_ms: float
    groups: tuple[Group, ...]
    symmetries: tuple[Symmetry, ...]
    cost: Cost

    def to_dict(self) -> dict:
        """Return the explanation as plain values, for JSON."""
        found = asdict(self)
        found["symmetries"] = [
            {"unknowns": s.unknowns, "moves": str(s), "determined": s.invariant}
            for s in self.symmetries
        ]
        return found


def explain(model: Model) -> Explanation:
    """Return what a model computes. Every population needs a size."""
    notes = discretise(model).notes
    groups = [_population(model, name, notes) for name in model.populations]
    groups += [
        _projection(model, name, notes) for name, p in model.projections.items() if not p.link
    ]
    return Explanation(model.path, model.dt, tuple(groups), symmetries(model), cost_of(model))


def _integrators(name: str, notes: tuple[str, ...]) -> tuple[str, ...]:
    start = f"{name}{INTEGRATED}"
    return tuple(note.removeprefix(start) for note in notes if note.startswith(start))


def _population(model: Model, name: str, notes: tuple[str, ...]) -> Group:
    population, neuron = model.populations[name], model.neuron_of(name)
    size = "as many as the targets have" if population.size is None else str(population.size)
    return Group(
        name,
        neuron.name,
        size,
        _integrators(name, notes),
        tuple(_neuron_lines(neuron)),
        tuple(names_of(neuron, population.values, "population")),
    )


def _projection(model: Model, name: str, notes: tuple[str, ...]) -> Group:
    projection, synapse = model.projections[name], model.synapse_of(name)
    clauses = [f"if {written(projection.condition)}"] if projection.condition is not None else []
    if projection.probability != 1:
        clauses.append(f"probability {projection.probability}")
    return Group(
        name,
        synapse.name,
        " ".join(clauses) or "all pairs",
        _integrators(name, notes),
        tuple(_synapse_lines(synapse)),
        tuple(names_of(synapse, projection.values, "projection")),
    )


def _equations(block: NeuronModel | SynapseModel) -> Iterator[Line]:
    for x, rate in block.equations.items():
        variable = block.variables[x]
        flag = " (unless refractory)" if variable.frozen_when_refractory else ""
        yield Line(f"d{x}/dt = {resolved(block, rate)}{flag}", variable.unit.name)
    for name, definition in block.subexpressions.items():
        if block.variables[name].constant_over_dt:
            text = f"{name} = {resolved(block, definition)} (constant over dt)"
            yield Line(text, block.variables[name].unit.name)


def _neuron_lines(neuron: NeuronModel) -> Iterator[Line]:
    yield from _equations(neuron)
    if neuron.threshold is not None:
        yield Line(f"threshold: {resolved(neuron, neuron.threshold)}")  # type: ignore[arg-type]
    if neuron.refractory is not None:
        yield Line(f"refractory: {resolved(neuron, neuron.refractory)}")  # type: ignore[arg-type]
    for event in neuron.events.values():
        yield Line(f"event {event.name}: {resolved(neuron, event.condition)}")  # type: ignore[arg-type]
    lists = {
        "initial": neuron.initial,
        "update": neuron.update,
        "background": neuron.background,
        "reset": neuron.reset,
    } | {f"on {event.name}": event.statements for event in neuron.events.values()}
    for keyword, statements in lists.items():
        for a in statements:
            unit = neuron.variables[a.target].unit.name if a.target in neuron.variables else ""
            yield Line(f"{keyword}: {a.target} = {resolved(neuron, a.expression)}", unit)


def _synapse_lines(synapse: SynapseModel) -> Iterator[Line]:
    yield from _equations(synapse)
    for x, term in synapse.summed.items():
        yield Line(f"{x}_post = sum of {resolved(synapse, term)}")
    for pathway in synapse.pathways:
        for a in pathway.statements:
            yield Line(f"on_{pathway.side}: {a.target} = {resolved(synapse, a.expression)}")


def names_of(
    block: NeuronModel | SynapseModel, values: Mapping[str, Value], whole: str
) -> Iterator[Name]:
    """Return the table of names of a block in a population or projection (`whole`) that overrides some `values`."""
    element = "neuron" if isinstance(block, NeuronModel) else "synapse"
    for variable in block.variables.values():
        role = variable.role.value
        value: Value | None = values.get(variable.name, variable.value)
        if value is not None and value.learned:
            role = "unknown"
        scope = f"one for the {whole}" if variable.shared else f"one for each {element}"
        yield Name(variable.name, role, variable.unit.name, scope, _value(variable, value))


def _value(variable: Variable, value: Value | None) -> str:
    """Return a value, or a distribution and its bounds, in the unit of the variable."""
    if variable.role is not Role.PARAMETER or value is None:
        return ""
    scale = variable.unit.scale
    if not isinstance(value.given, Distribution):
        return f"= {value.given / scale:g}"
    with_unit = DISTRIBUTIONS[value.given.name].with_unit
    numbers = [
        f"{a / scale if has_unit else a:g}"
        for a, has_unit in zip(value.given.arguments, with_unit, strict=True)
    ]
    if value.given.centre:
        numbers[0] = value.given.centre
    text = f"{value.given.name}({', '.join(numbers)})"
    if not value.learned:
        return f"= {text}, drawn once"
    return f"~ {text} in [{value.low / scale:g}, {value.high / scale:g}]"


def format_explanation(explanation: Explanation) -> str:
    """Return the explanation as text."""
    return "\n".join(_text(explanation)) + "\n"


def _text(explanation: Explanation) -> Iterator[str]:
    yield f"{explanation.path}, dt = {explanation.dt_ms:g} ms; numbers in equations are in mV, ms, pA, nS, pF"
    for group in explanation.groups:
        yield ""
        yield f"{group.name}: {group.model}, {group.size}"
        yield from (
            f"  {line.text}" + (f" : {line.unit}" if line.unit else "") for line in group.lines
        )
        yield from (f"  integrated by {reason}" for reason in group.integrators)
        yield from _table(group.names)
    yield ""
    yield "what spikes cannot tell:"
    if not explanation.symmetries:
        yield "  no unknowns that can change together without changing a spike"
    for symmetry in explanation.symmetries:
        known = f": {symmetry.invariant} matters" if symmetry.invariant else ""
        yield f"  {' and '.join(symmetry.unknowns)}{known}"
        yield f"    no spike changes with any c in: {symmetry}"
    yield from _cost(explanation.cost)


def _table(names: tuple[Name, ...]) -> Iterator[str]:
    rows = [(n.name, n.role, n.unit, n.scope, n.value) for n in names]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        yield "    " + "  ".join([*cells, row[4]]).rstrip()


def _cost(cost: Cost) -> Iterator[str]:
    yield ""
    yield "cost of a step:"
    yield f"  {cost.states} states, {cost.parameters} values of parameters, {cost.learned} of them learned"
    for name, (forward, backward) in cost.operations.items():
        element = "synapse" if "->" in name else "neuron"
        yield f"  {name}: {forward} operations for each {element}, {backward} in the backward pass"
    yield f"  {cost.stored_bytes} bytes are stored for the backward pass, for each lane and step"
