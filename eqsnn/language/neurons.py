"""A neuron block, checked: equations, threshold, reset, refractoriness, statements."""

from collections.abc import Callable, Iterable, Mapping

from sympy import Expr, Integer
from sympy.logic.boolalg import Boolean

from eqsnn.errors import Consequence, EqsError
from eqsnn.language import syntax as s
from eqsnn.language.blocks import METHODS, Draft, check_free, in_order
from eqsnn.language.expressions import (
    Names,
    condition_of,
    number_of,
    require,
    resolve,
    suggest,
    value_of,
)
from eqsnn.language.functions import Where, WholeQuotient, symbol
from eqsnn.language.model import Event, NeuronModel, Regular, Role, Statement
from eqsnn.language.size import refuse_what_grows
from eqsnn.language.units import BOOLEAN, DIMENSIONLESS, TIME, Dimension, divide

SPIKING = {"lastspike": TIME, "not_refractory": BOOLEAN}  # what every spiking neuron has
NO_DRAWS = "give the random value a name in a subexpression `(constant over dt)`, and use that"


def check_neuron(draft: Draft) -> NeuronModel:
    """Return the checked neuron model; mistakes are added to the draft."""
    names = Names(
        {name: v.unit.dimension for name, v in draft.variables.items()},
        why_no_draws=NO_DRAWS,
        prefix="noise",
        faulty=draft.faulty,
        functions=draft.functions,
    )
    names.variables |= {"i": DIMENSIONLESS, "N": DIMENSIONLESS}
    if "threshold" in draft.settings:
        names.variables |= SPIKING
    equations = check_equations(draft, names)
    subexpressions = check_definitions(draft, names)
    names.draws = True
    threshold = _threshold(draft, names)
    reset = check_statements(draft, "reset", names)
    update = check_statements(draft, "update", names)
    background = check_statements(draft, "background", names)
    every = check_regular(draft, names)
    events = _events(draft, names)
    names.draws = False
    refractory = _refractory(draft, names)
    initial = check_initial(draft, names)
    _check_events(draft)
    check_sizes(
        draft, equations, subexpressions, [threshold, refractory], (*reset, *update, *background)
    )
    return NeuronModel(
        name=draft.block.name,
        variables=draft.variables,
        equations=equations,
        subexpressions=subexpressions,
        noise=tuple(names.noise),
        threshold=threshold,
        reset=reset,
        refractory=refractory,
        update=update,
        background=background,
        every=every,
        events=events,
        initial=initial,
        method=check_method(draft),
        threshold_span=draft.settings["threshold"].expression.span
        if "threshold" in draft.settings
        else None,
        method_span=draft.settings["method"].span if "method" in draft.settings else None,
        span=draft.block.span,
    )


def check_sizes(
    draft: Draft,
    equations: Mapping[str, Expr],
    subexpressions: Mapping[str, Expr],
    settings: Iterable[Expr | Boolean | None],
    statements: Iterable[Statement],
) -> None:
    """Refuse expressions that are too large once subexpressions are written out."""
    written_out = {
        n: e for n, e in subexpressions.items() if not draft.variables[n].constant_over_dt
    }
    held = [
        (e, draft.definitions[n].expression.span)
        for n, e in subexpressions.items()
        if n not in written_out
    ]
    spans = {name: definition.expression.span for name, definition in draft.definitions.items()}
    others = [(rate, draft.odes[x].rate.span) for x, rate in equations.items()] + held
    others += [(e, draft.block.span) for e in settings if e is not None]
    others += [(a.expression, a.span or draft.block.span) for a in statements]
    draft.attempt(refuse_what_grows, written_out, spans, others)


def check_equations(draft: Draft, names: Names) -> dict[str, Expr]:
    """Return the rate of every state."""
    names.white = True
    equations = {}
    for state, ode in draft.odes.items():
        if state in draft.variables and draft.variables[state].unit.dimension == BOOLEAN:
            message = f"`{state}` is boolean, so it has no derivative"
            hint = "declare it as a variable that `reset` or `update` writes"
            draft.errors.append(EqsError(ode.unit.span, message, hint))
            continue
        expected = divide(draft.variables[state].unit.dimension, TIME)
        rate = (
            draft.attempt(value_of, ode.rate, names, expected, f"d{state}/dt")
            if state in draft.variables
            else None
        )
        if rate is not None:
            equations[state] = rate
    names.white = False
    return equations


def check_definitions(draft: Draft, names: Names) -> dict[str, Expr]:
    """Return the subexpressions in order of evaluation, summed ones left out."""
    found = {}
    for name, definition in draft.definitions.items():
        variable = draft.variables.get(name)
        if variable is None or variable.summed:
            continue
        names.draws = variable.constant_over_dt
        value = draft.attempt(
            value_of, definition.expression, names, variable.unit.dimension, f"`{name}`"
        )
        if value is not None:
            found[name] = value
    names.draws = False
    ordered = draft.attempt(in_order, found, draft.definitions)
    return found if ordered is None else ordered  # type: ignore[return-value]


def check_statements(draft: Draft, keyword: str, names: Names) -> tuple[Statement, ...]:
    """Return the statements of `reset`, `update`, `initial` or `background` as plain assignments."""
    block = draft.statements.get(keyword)
    return () if block is None else check_list(draft, block, names, _statement)


CheckStatement = Callable[[Draft, s.Assignment, Names, str], Statement]


def check_list(
    draft: Draft, block: s.Statements, names: Names, check: CheckStatement
) -> tuple[Statement, ...]:
    """Return a list of statements, each checked by `check`; temporaries exist until its end."""
    temporary: set[str] = set()
    checked = []
    for n, assignment in enumerate(block.statements):
        target, rest = assignment.target, block.statements[n + 1 :]
        if target in temporary or _is_temporary(draft, assignment, names, rest):
            checked.append(draft.attempt(_temporary, assignment, names))
            temporary.add(target)
        else:
            checked.append(draft.attempt(check, draft, assignment, names, block.keyword))
    for name in temporary:
        names.variables.pop(name, None)
    return tuple(statement for statement in checked if isinstance(statement, Statement))


def _is_temporary(
    draft: Draft, assignment: s.Assignment, names: Names, rest: tuple[s.Assignment, ...]
) -> bool:
    """Whether a statement makes a name of its own: unknown so far, and read by a later statement of the list."""
    target = assignment.target
    if assignment.operator != "=" or target in names.variables or target in draft.variables:
        return False
    return any(target in s.names_in(later.expression) for later in rest)


def _temporary(assignment: s.Assignment, names: Names) -> Statement:
    check_free(assignment.target, assignment.span, names.functions)
    typed = resolve(assignment.expression, names)
    value = typed.expression
    if typed.dimension is None:
        value = Where(typed.expression, Integer(1), Integer(0))
    names.variables[assignment.target] = BOOLEAN if typed.dimension is None else typed.dimension
    return Statement(assignment.target, value, True, assignment.span)  # type: ignore[arg-type]


def check_regular(draft: Draft, names: Names) -> tuple[Regular, ...]:
    """Return the statements of every `every` block of a neuron or synapse, which write its own variables."""
    found = []
    for block in draft.several:
        if block.keyword == "every":
            period = None if block.period is None else draft.attempt(_period, block.period)
            found.append(Regular(period, check_list(draft, block, names, _statement)))  # type: ignore[arg-type]
    return tuple(found)


def _period(node: s.Expression) -> float:
    period = number_of(node, TIME, "the period of `every`")
    if period <= 0:
        raise EqsError(node.span, "a period must be positive", "write a time such as `10*ms`")
    return period


def _events(draft: Draft, names: Names) -> dict[str, Event]:
    bodies = {block.event: block for block in draft.several if block.keyword == "on"}
    for event, block in bodies.items():
        if event not in draft.events:
            hint = suggest(event, set(draft.events), f"declare it with `event {event}: condition`")
            if event == "spike":
                hint = "what happens at a spike is written after `reset:`"
            draft.errors.append(EqsError(block.span, f"there is no event `{event}`", hint))
    events = {}
    for name, event in draft.events.items():
        condition = draft.attempt(condition_of, event.condition, names, f"event `{name}`")
        body = check_list(draft, bodies[name], names, _statement) if name in bodies else ()
        if condition is not None:
            events[name] = Event(name, condition, body)  # type: ignore[arg-type]
    return events


def _statement(draft: Draft, assignment: s.Assignment, names: Names, keyword: str) -> Statement:
    target = assignment.target
    variable = draft.variables.get(target)
    if target in draft.faulty:
        raise Consequence(assignment.span, f"`{target}` is declared by a faulty line")
    if variable is None:
        hint = suggest(target, set(draft.variables), "declare it first")
        raise EqsError(assignment.span, f"`{keyword}` writes the unknown name `{target}`", hint)
    if variable.role not in (Role.STATE, Role.VARIABLE) or variable.linked:
        hint = "only states (d.../dt) and variables declared without a value can change"
        raise EqsError(
            assignment.span,
            f"`{keyword}` cannot write `{target}`: it is {_article(variable.role)}",
            hint,
        )
    return write_out(assignment, names, variable.unit.dimension)


def _article(role: Role) -> str:
    return f"{'an' if role is Role.INPUT else 'a'} {role.value}"


def write_out(assignment: s.Assignment, names: Names, dimension: Dimension) -> Statement:
    """Return `x += e` as `x = x + e`, units checked."""
    target = symbol(assignment.target)
    if dimension == BOOLEAN and assignment.operator != "=":
        message = f"`{assignment.target}` is boolean: `{assignment.operator}` has no meaning"
        raise EqsError(assignment.span, message, f"write `{assignment.target} = condition`")
    if assignment.operator in ("=", "+=", "-="):
        value = value_of(
            assignment.expression, names, dimension, f"what is assigned to `{assignment.target}`"
        )
        full = {"=": value, "+=": target + value, "-=": target - value}[assignment.operator]
        return Statement(assignment.target, full, span=assignment.span)
    typed = resolve(assignment.expression, names)
    node, by = assignment.expression, f"what `{assignment.target}` is changed by"
    if assignment.operator == "%=":
        require(typed, dimension, node.span, by)
    else:
        require(typed, DIMENSIONLESS, node.span, by)
    if assignment.operator == "**=" and dimension != DIMENSIONLESS:
        message = f"`{assignment.target}` has a unit, and a power would have another"
        raise EqsError(
            assignment.span, message, "divide by the unit first, and multiply at the end"
        )
    full = RATIO[assignment.operator](target, typed.expression)
    return Statement(assignment.target, full, span=assignment.span)


RATIO: dict[str, Callable[[Expr, Expr], Expr]] = {
    "*=": lambda x, y: x * y,
    "/=": lambda x, y: x / y,
    "//=": WholeQuotient,
    "%=": lambda x, y: x - y * WholeQuotient(x, y),
    "**=": lambda x, y: x**y,
}


def check_initial(draft: Draft, names: Names) -> tuple[Statement, ...]:
    """Return the statements of `initial`; they may use parameters and what was set before them."""
    changing = {
        name: names.variables.pop(name)
        for name, v in draft.variables.items()
        if v.role is Role.INPUT and name in names.variables
    }
    changing |= {name: names.variables.pop(name) for name in SPIKING if name in names.variables}
    names.why_no_draws = "initial values are fixed; spread them by parameters with a distribution"
    why = "its values come with the data, and there are none before the first step"
    names.hidden |= dict.fromkeys(changing, why)
    statements = check_statements(draft, "initial", names)
    names.variables |= changing
    for name in changing:
        del names.hidden[name]
    return statements


def check_method(draft: Draft) -> str | None:
    """Return the name of the integrator, if one is asked for."""
    setting = draft.settings.get("method")
    if setting is None:
        return None
    assert isinstance(setting.expression, s.Name)
    method = setting.expression.text
    if method not in METHODS:
        hint = suggest(method, set(METHODS), f"the methods are {', '.join(METHODS)}")
        draft.errors.append(EqsError(setting.expression.span, f"unknown method `{method}`", hint))
        return None
    return method


def _threshold(draft: Draft, names: Names) -> Boolean | None:
    setting = draft.settings.get("threshold")
    if setting is None:
        return None
    return draft.attempt(condition_of, setting.expression, names, "the threshold")  # type: ignore[return-value]


def _refractory(draft: Draft, names: Names) -> Expr | Boolean | None:
    setting = draft.settings.get("refractory")
    if setting is None:
        return None

    def check() -> Expr | Boolean:
        typed = resolve(setting.expression, names)
        if typed.dimension is None:
            return typed.expression
        require(typed, TIME, setting.expression.span, "the refractory period")
        if typed.expression.is_number and typed.expression < 0:  # type: ignore[operator]
            raise EqsError(
                setting.expression.span,
                "the refractory period is negative",
                "write a time such as `2*ms`",
            )
        return typed.expression

    return draft.attempt(check)  # type: ignore[return-value]


def _check_events(draft: Draft) -> None:
    has_threshold = "threshold" in draft.settings
    for keyword in ("reset", "refractory"):
        line = draft.statements.get(keyword) or draft.settings.get(keyword)
        if line is not None and not has_threshold:
            message = f"`{keyword}` is given, but the neuron has no threshold"
            draft.errors.append(
                EqsError(line.span, message, "add a line such as `threshold: v > v_th`")
            )
    if "refractory" not in draft.settings:
        for variable in draft.variables.values():
            if variable.frozen_when_refractory and variable.span is not None:
                message = f"`{variable.name}` is marked (unless refractory), but there is no refractory period"
                draft.errors.append(
                    EqsError(variable.span, message, "add a line such as `refractory: 2*ms`")
                )
