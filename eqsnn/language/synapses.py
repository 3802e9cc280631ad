"""A synapse block, checked against the neurons it joins."""

from functools import partial

from eqsnn.errors import EqsError
from eqsnn.language import syntax as s
from eqsnn.language.blocks import Draft
from eqsnn.language.expressions import Names, suggest, value_of
from eqsnn.language.model import NeuronModel, Pathway, Role, Statement, SynapseModel, Variable
from eqsnn.language.neurons import (
    SPIKING,
    check_definitions,
    check_equations,
    check_initial,
    check_list,
    check_method,
    check_regular,
    check_sizes,
    check_statements,
    write_out,
)
from eqsnn.language.units import DIMENSIONLESS

PATHWAYS = {"on_pre": "pre", "on_post": "post"}  # the side that the events come from
COUNTS = ("N_pre", "N_post", "N_incoming", "N_outgoing")


def written_by(block: s.Block) -> set[str]:
    """Return the variables of neurons that a synapse block may write."""
    own = {
        line.name
        for line in block.lines
        if isinstance(line, s.Definition | s.Declaration)
        if not line.name.endswith("_post")
    }
    own |= {line.state for line in block.lines if isinstance(line, s.Ode)}
    targets = {
        line.name.removesuffix("_post")
        for line in block.lines
        if isinstance(line, s.Definition) and line.name.endswith("_post")
    }
    for line in block.lines:
        if isinstance(line, s.Statements) and line.keyword in PATHWAYS:
            targets |= {_local(a.target) for a in line.statements if a.target not in own}
    return targets


def _local(target: str) -> str:
    return target.removesuffix("_post").removesuffix("_pre")


def check_synapse(
    draft: Draft, pre: NeuronModel, post: NeuronModel, faulty: set[str]
) -> SynapseModel:
    """Return the synapse model, checked for one pair of neuron models; mistakes are added to the draft.

    faulty: names of the neurons, with `_pre` or `_post`, whose own lines are at fault.
    """
    names = Names(
        {name: v.unit.dimension for name, v in draft.variables.items() if not v.summed},
        prefix="noise",
        faulty=draft.faulty | faulty,
        functions=draft.functions,
    )
    names.variables |= dict.fromkeys(("i", "j", *COUNTS), DIMENSIONLESS)
    for side, neuron in (("pre", pre), ("post", post)):
        names.variables |= {f"{n}_{side}": v.unit.dimension for n, v in neuron.variables.items()}
        if neuron.threshold is not None:
            names.variables |= {f"{name}_{side}": d for name, d in SPIKING.items()}
    equations = check_equations(draft, names)
    subexpressions = check_definitions(draft, names)
    summed = {}
    for name, definition in draft.definitions.items():
        variable = draft.variables.get(name)
        if variable is not None and variable.summed:
            value = draft.attempt(_summed, draft, definition, variable, post, names)
            if value is not None:
                summed[name.removesuffix("_post")] = value
    names.draws = True
    pathways = _pathways(draft, names, pre, post)
    names.draws = False
    _check_solvers(draft)
    statements = [a for pathway in pathways for a in pathway.statements]
    check_sizes(draft, equations, subexpressions, summed.values(), statements)
    local = Names(
        {n: d for n, d in names.variables.items() if not n.endswith(("_pre", "_post"))},
        prefix="noise",
        functions=draft.functions,
    )
    return SynapseModel(
        name=draft.block.name,
        variables={name: v for name, v in draft.variables.items() if not v.summed},
        equations=equations,
        subexpressions=subexpressions,
        summed=summed,
        noise=tuple(names.noise),
        pathways=pathways,
        every=check_regular(draft, local),
        initial=check_initial(draft, local)
        if "initial" in draft.statements
        else check_statements(draft, "initial", local),
        method=check_method(draft),
        method_span=draft.settings["method"].span if "method" in draft.settings else None,
        span=draft.block.span,
    )


def _check_solvers(draft: Draft) -> None:
    """An event-driven equation is advanced by itself: it may not look at what changes between events."""
    states = {name: v for name, v in draft.variables.items() if v.role is Role.STATE}
    for name, ode in draft.odes.items():
        variable = states.get(name)
        if variable is None:
            continue
        for other in sorted(s.names_in(ode.rate) & states.keys() - {name}):
            if states[other].event_driven != variable.event_driven:
                one, two = (name, other) if variable.event_driven else (other, name)
                message = (
                    f"`{one}` is event-driven, but `{two}` is not, and one depends on the other"
                )
                hint = "mark both (event-driven), or none"
                draft.errors.append(EqsError(ode.span, message, hint))


def _summed(
    draft: Draft, definition: s.Definition, variable: Variable, post: NeuronModel, names: Names
) -> object:
    target = variable.name.removesuffix("_post")
    found = post.variables.get(target)
    if found is None or found.role is not Role.VARIABLE:
        what = "does not have" if found is None else "gives a value or an equation to"
        hint = suggest(target, set(post.variables)) if found is None else ""
        raise EqsError(
            definition.span,
            f"`{draft.block.name}` sums into `{target}`, which neuron `{post.name}` {what}",
            hint or f"declare `{target} : {variable.unit.name}` in the neuron",
        )
    if found.unit.dimension != variable.unit.dimension:
        message = f"`{variable.name}` has unit {variable.unit.name}, but `{target}` of neuron `{post.name}` has {found.unit.name}"
        raise EqsError(definition.unit.span, message, "give both the same unit")
    return value_of(definition.expression, names, variable.unit.dimension, f"`{variable.name}`")


def _pathways(
    draft: Draft, names: Names, pre: NeuronModel, post: NeuronModel
) -> tuple[Pathway, ...]:
    neurons = {"pre": pre, "post": post}
    found: dict[str, Pathway] = {}
    for block in draft.several:
        if block.keyword not in PATHWAYS:
            continue
        side = PATHWAYS[block.keyword]
        name = block.name or side
        if name in found or (block.name in PATHWAYS.values() and block.name != side):
            message = f"there is a second pathway `{name}`"
            draft.errors.append(EqsError(block.span, message, "choose another name"))
        _check_event(draft, block, neurons[side])
        check = partial(_arrival, neurons=neurons)
        found[name] = Pathway(name, side, block.event, check_list(draft, block, names, check))
    return tuple(found.values())


def _check_event(draft: Draft, block: s.Statements, neuron: NeuronModel) -> None:
    if block.event in ("", "spike"):
        if neuron.threshold is None:
            message = (
                f"`{block.keyword}` waits for spikes, but neuron `{neuron.name}` has no threshold"
            )
            hint = f"add a threshold to `{neuron.name}`"
            draft.errors.append(EqsError(block.span, message, hint))
    elif block.event not in neuron.events:
        hint = suggest(
            block.event,
            set(neuron.events),
            f"declare it there with `event {block.event}: condition`",
        )
        message = f"neuron `{neuron.name}` has no event `{block.event}`"
        draft.errors.append(EqsError(block.span, message, hint))


def _arrival(
    draft: Draft,
    assignment: s.Assignment,
    names: Names,
    keyword: str,
    neurons: dict[str, NeuronModel],
) -> Statement:
    target = assignment.target
    own = draft.variables.get(target)
    if own is not None:
        if own.role not in (Role.STATE, Role.VARIABLE):
            raise EqsError(
                assignment.span,
                f"`{keyword}` cannot write `{target}`: it is a {own.role.value}",
                "only states and variables without a value can change",
            )
        return write_out(assignment, names, own.unit.dimension)
    side = "pre" if target.endswith("_pre") else "post"
    local, neuron = target.removesuffix(f"_{side}"), neurons[side]
    variable = neuron.variables.get(local)
    if variable is None:
        known = {*draft.variables}
        known |= {f"{name}_{end}" for end, n in neurons.items() for name in n.variables}
        raise EqsError(
            assignment.span,
            f"`{keyword}` writes the unknown name `{target}`",
            suggest(target, known, "declare it first"),
        )
    if variable.role not in (Role.STATE, Role.VARIABLE) or variable.linked:
        raise EqsError(
            assignment.span,
            f"`{keyword}` cannot write `{local}` of neuron `{neuron.name}`: it is a {variable.role.value}",
            "only states and variables without a value can change",
        )
    full = s.Assignment(
        assignment.span, f"{local}_{side}", assignment.operator, assignment.expression
    )
    return write_out(full, names, variable.unit.dimension)
