"""A neuron block, checked: equations, threshold, reset, refractoriness, statements."""

from sympy import Expr
from sympy.logic.boolalg import Boolean

from eqsnn.errors import Consequence, EqsError
from eqsnn.language import syntax as s
from eqsnn.language.blocks import METHODS, Draft, in_order
from eqsnn.language.expressions import Names, condition_of, require, resolve, suggest, value_of
from eqsnn.language.functions import symbol
from eqsnn.language.model import NeuronModel, Role, Statement
from eqsnn.language.units import DIMENSIONLESS, TIME, Dimension, divide

NO_DRAWS = "give the random value a name in a subexpression `(constant over dt)`, and use that"


def check_neuron(draft: Draft) -> NeuronModel:
    """Return the checked neuron model; mistakes are added to the draft."""
    names = Names(
        {name: v.unit.dimension for name, v in draft.variables.items()},
        why_no_draws=NO_DRAWS,
        prefix="noise",
        faulty=draft.faulty,
    )
    names.variables |= {"i": DIMENSIONLESS, "N": DIMENSIONLESS}
    equations = check_equations(draft, names)
    subexpressions = check_definitions(draft, names)
    names.draws = True
    threshold = _threshold(draft, names)
    reset = check_statements(draft, "reset", names)
    update = check_statements(draft, "update", names)
    names.draws = False
    refractory = _refractory(draft, names)
    initial = check_initial(draft, names)
    _check_events(draft)
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
        initial=initial,
        method=check_method(draft),
        method_span=draft.settings["method"].span if "method" in draft.settings else None,
        span=draft.block.span,
    )


def check_equations(draft: Draft, names: Names) -> dict[str, Expr]:
    """Return the rate of every state."""
    names.white = True
    equations = {}
    for state, ode in draft.odes.items():
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
    """Return the statements of `reset`, `update` or `initial` as plain assignments."""
    block = draft.statements.get(keyword)
    if block is None:
        return ()
    checked = [
        draft.attempt(_statement, draft, assignment, names, keyword)
        for assignment in block.statements
    ]
    return tuple(statement for statement in checked if isinstance(statement, Statement))


def _statement(draft: Draft, assignment: s.Assignment, names: Names, keyword: str) -> Statement:
    target = assignment.target
    variable = draft.variables.get(target)
    if target in draft.faulty:
        raise Consequence(assignment.span, f"`{target}` is declared by a faulty line")
    if variable is None:
        hint = suggest(target, set(draft.variables), "declare it first")
        raise EqsError(assignment.span, f"`{keyword}` writes the unknown name `{target}`", hint)
    if variable.role not in (Role.STATE, Role.VARIABLE):
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
    if assignment.operator in ("=", "+=", "-="):
        value = value_of(
            assignment.expression, names, dimension, f"what is assigned to `{assignment.target}`"
        )
        full = {"=": value, "+=": target + value, "-=": target - value}[assignment.operator]
    else:
        typed = resolve(assignment.expression, names)
        require(
            typed, DIMENSIONLESS, assignment.expression.span, f"a factor of `{assignment.target}`"
        )
        factor: Expr = typed.expression  # type: ignore[assignment]
        full = target * factor if assignment.operator == "*=" else target / factor
    return Statement(assignment.target, full, assignment.span)


def check_initial(draft: Draft, names: Names) -> tuple[Statement, ...]:
    """Return the statements of `initial`; they may use parameters and what was set before them."""
    changing = {
        name: names.variables.pop(name)
        for name, v in draft.variables.items()
        if v.role is Role.INPUT and name in names.variables
    }
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
