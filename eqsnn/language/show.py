"""format_model: the checked model as text for people."""

from collections.abc import Iterator

from sympy import Expr

from eqsnn.language.model import (
    Distribution,
    Model,
    NeuronModel,
    Role,
    Statement,
    SynapseModel,
    Value,
)


def format_model(model: Model) -> str:
    """Return every name with its role and unit, the equations, and the network, in coherent units."""
    return "\n".join(_lines(model)) + "\n"


def format_value(value: Value | None) -> str:
    """Return a value as it would be written, in coherent units."""
    if value is None:
        return ""
    if isinstance(value.given, Distribution):
        numbers = [f"{a:g}" for a in value.given.arguments]
        if value.given.centre:
            numbers[0] = value.given.centre
        arguments = ", ".join(numbers)
        text = f" {'~' if value.learned else '='} {value.given.name}({arguments})"
        return f"{text} in [{value.low:g}, {value.high:g}]" if value.learned else text
    return f" = {value.given:g}"


def _lines(model: Model) -> Iterator[str]:
    for block in (*model.neurons.values(), *model.synapses.values()):
        yield from _block(block)
        yield ""
    yield f"network, dt = {model.dt:g} ms"
    for population in model.populations.values():
        size = "?" if population.size is None else population.size
        yield f"  {population.name}: {size} x {population.neuron}"
        yield from (f"    {name}{format_value(value)}" for name, value in population.values.items())
    for projection in model.projections.values():
        clauses = f", if {projection.condition}" if projection.condition is not None else ""
        if isinstance(projection.probability, Expr) or projection.probability < 1:
            clauses += f", probability {_number(projection.probability)}"
        if projection.delay != 0:
            clauses += f", delay {_number(projection.delay)} ms"
        for pathway, delay in projection.delays.items():
            clauses += f", delay of {pathway} {_number(delay)} ms"
        if projection.targets is not None:
            to = projection.targets
            clauses += f", to {to.expression}"
            clauses += f" for {to.iterator} in {to.values}" if to.values is not None else ""
        if projection.pairs is not None:
            clauses += f", {len(projection.pairs)} listed synapses"
        yield f"  {projection.name}: {projection.synapse}{clauses}"
        yield from (f"    {name}{format_value(value)}" for name, value in projection.values.items())


def _block(block: NeuronModel | SynapseModel) -> Iterator[str]:
    yield f"{'neuron' if isinstance(block, NeuronModel) else 'synapse'} {block.name}"
    for variable in block.variables.values():
        shared = ", shared" if variable.shared else ""
        yield f"  {variable.role.value:>13} {variable.name} [{variable.unit.name}{shared}]{format_value(variable.value)}"
    yield from (f"  d{state}/dt = {rate}" for state, rate in block.equations.items())
    yield from (f"  {name} := {expression}" for name, expression in block.subexpressions.items())
    if isinstance(block, SynapseModel):
        yield from (
            f"  {name}_post = sum of {expression}" for name, expression in block.summed.items()
        )
        for pathway in block.pathways:
            event = f" at {pathway.event}" if pathway.event else ""
            yield from _statements(f"on_{pathway.side} {pathway.name}{event}", pathway.statements)
        return
    if block.threshold is not None:
        yield f"  threshold: {block.threshold}"
    yield from _statements("reset", block.reset)
    if block.refractory is not None:
        yield f"  refractory: {block.refractory}"
    yield from _statements("update", block.update)
    yield from _statements("background", block.background)
    for regular in block.every:
        period = "step" if regular.period is None else f"{regular.period:g} ms"
        yield from _statements(f"every {period}", regular.statements)
    for event in block.events.values():
        yield f"  event {event.name}: {event.condition}"
        yield from _statements(f"on {event.name}", event.statements)


def _statements(keyword: str, statements: tuple[Statement, ...]) -> Iterator[str]:
    yield from (f"  {keyword}: {s.target} = {s.expression}" for s in statements)


def _number(value: float | Expr) -> str:
    return str(value) if isinstance(value, Expr) else f"{value:g}"


def variables_of(model: Model, role: Role) -> list[str]:
    """Return `population.name` of every variable with this role."""
    return [
        f"{name}.{variable.name}"
        for name in model.populations
        for variable in model.neuron_of(name).variables.values()
        if variable.role is role
    ]
