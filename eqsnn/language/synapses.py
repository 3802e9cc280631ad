"""A synapse block, checked against the neurons it joins."""

from eqsnn.errors import EqsError
from eqsnn.language import syntax as s
from eqsnn.language.blocks import Draft
from eqsnn.language.expressions import Names, suggest, value_of
from eqsnn.language.model import NeuronModel, Role, Statement, SynapseModel, Variable
from eqsnn.language.neurons import (
    check_definitions,
    check_equations,
    check_initial,
    check_method,
    check_statements,
    write_out,
)
from eqsnn.language.units import DIMENSIONLESS


def written_by(block: s.Block) -> set[str]:
    """Return the postsynaptic variables that a synapse block may write."""
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
        if isinstance(line, s.Statements) and line.keyword == "on_pre":
            targets |= {
                a.target.removesuffix("_post") for a in line.statements if a.target not in own
            }
    return targets


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
    )
    names.variables |= dict.fromkeys(("i", "j", "N_pre", "N_post"), DIMENSIONLESS)
    names.variables |= {f"{name}_pre": v.unit.dimension for name, v in pre.variables.items()}
    names.variables |= {f"{name}_post": v.unit.dimension for name, v in post.variables.items()}
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
    on_pre = _on_pre(draft, names, pre, post)
    names.draws = False
    local = Names(
        {n: d for n, d in names.variables.items() if not n.endswith(("_pre", "_post"))},
        prefix="noise",
    )
    return SynapseModel(
        name=draft.block.name,
        variables={name: v for name, v in draft.variables.items() if not v.summed},
        equations=equations,
        subexpressions=subexpressions,
        summed=summed,
        noise=tuple(names.noise),
        on_pre=on_pre,
        initial=check_initial(draft, local)
        if "initial" in draft.statements
        else check_statements(draft, "initial", local),
        method=check_method(draft),
        method_span=draft.settings["method"].span if "method" in draft.settings else None,
        span=draft.block.span,
    )


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


def _on_pre(
    draft: Draft, names: Names, pre: NeuronModel, post: NeuronModel
) -> tuple[Statement, ...]:
    block = draft.statements.get("on_pre")
    if block is None:
        return ()
    if pre.threshold is None:
        message = f"`on_pre` waits for spikes, but neuron `{pre.name}` has no threshold"
        draft.errors.append(EqsError(block.span, message, f"add a threshold to `{pre.name}`"))
    checked = [
        draft.attempt(_arrival, draft, assignment, names, post) for assignment in block.statements
    ]
    return tuple(statement for statement in checked if isinstance(statement, Statement))


def _arrival(draft: Draft, assignment: s.Assignment, names: Names, post: NeuronModel) -> Statement:
    target = assignment.target
    own = draft.variables.get(target)
    if own is not None:
        if own.role not in (Role.STATE, Role.VARIABLE):
            raise EqsError(
                assignment.span,
                f"`on_pre` cannot write `{target}`: it is a {own.role.value}",
                "only states and variables without a value can change",
            )
        return write_out(assignment, names, own.unit.dimension)
    if target.endswith("_pre"):
        raise EqsError(
            assignment.span,
            f"`on_pre` cannot write the presynaptic `{target}`",
            "write it in the neuron's `reset`",
        )
    local = target.removesuffix("_post")
    variable = post.variables.get(local)
    if variable is None:
        known = {*draft.variables, *(f"{name}_post" for name in post.variables)}
        raise EqsError(
            assignment.span,
            f"`on_pre` writes the unknown name `{target}`",
            suggest(target, known, "declare it first"),
        )
    if variable.role not in (Role.STATE, Role.VARIABLE):
        raise EqsError(
            assignment.span,
            f"`on_pre` cannot write `{local}` of neuron `{post.name}`: it is a {variable.role.value}",
            "only states and variables without a value can change",
        )
    full = s.Assignment(
        assignment.span, f"{local}_post", assignment.operator, assignment.expression
    )
    return write_out(full, names, variable.unit.dimension)
