"""What a parameter is worth: numbers, distributions and bounds, checked."""

import math
from collections.abc import Mapping
from dataclasses import replace

import sympy

from eqsnn.errors import EqsError
from eqsnn.language import syntax as s
from eqsnn.language.builtins import BUILTINS, CENTRED, CONSTANTS, DISTRIBUTIONS
from eqsnn.language.expressions import Names, condition_of, number_of, suggest
from eqsnn.language.model import Distribution, Role, Value, Variable
from eqsnn.language.units import BOOLEAN, DIMENSIONLESS, unit_table


def check_value(given: s.Given, variable: Variable) -> Value:
    """Return the value of a parameter in coherent units. Raises EqsError."""
    expression = given.expression
    if variable.unit.dimension == BOOLEAN:
        return _truth(given, variable)
    drawn = isinstance(expression, s.Call) and expression.function not in BUILTINS
    if not given.learned and not drawn:
        number = number_of(expression, variable.unit.dimension, f"the value of `{variable.name}`")
        return Value(number, span=given.span)
    assert isinstance(expression, s.Call), "the grammar admits a call only"
    distribution, low, high = _distribution(expression, variable)
    if given.bounds is not None:
        low, high = _bounds(given.bounds, variable, distribution, (low, high))
    elif (
        given.learned
        and distribution.name in ("normal", "laplace")
        and variable.unit.dimension != DIMENSIONLESS
    ):
        raise EqsError(
            expression.span,
            f"`{variable.name}` has a unit and a distribution without limits, but no bounds",
            f"add the range that makes sense, as in `~ {s.write_expression(expression)} in [low, high]`",
        )
    return Value(distribution, given.learned, low, high, given.span)


def _truth(given: s.Given, variable: Variable) -> Value:
    if given.learned:
        raise EqsError(
            given.span,
            f"`{variable.name}` is boolean, and nothing between true and false can be learned",
            "write `= True` or `= False`",
        )
    what = f"the value of `{variable.name}`"
    holds = condition_of(given.expression, Names({}), what)
    if holds not in (sympy.true, sympy.false):
        raise EqsError(given.span, f"{what} must be a constant", "write `= True` or `= False`")
    return Value(float(holds is sympy.true), span=given.span)


def _distribution(call: s.Call, variable: Variable) -> tuple[Distribution, float, float]:
    rule = DISTRIBUTIONS.get(call.function)
    if rule is None:
        hint = suggest(
            call.function, set(DISTRIBUTIONS), f"the distributions are {', '.join(DISTRIBUTIONS)}"
        )
        raise EqsError(s.head_of(call), f"unknown distribution `{call.function}`", hint)
    if len(call.arguments) != len(rule.arguments):
        wanted = f"{call.function}({', '.join(rule.arguments)})"
        raise EqsError(
            s.head_of(call),
            f"`{call.function}` takes {len(rule.arguments)} arguments, not {len(call.arguments)}",
            f"write `{wanted}`",
        )
    centre = _named_centre(call, rule.arguments, variable)
    arguments = tuple(
        math.nan
        if centre and part is call.arguments[0]
        else number_of(
            part,
            variable.unit.dimension if with_unit else DIMENSIONLESS,
            f"the {name} of `{variable.name}`",
        )
        for part, name, with_unit in zip(
            call.arguments, rule.arguments, rule.with_unit, strict=True
        )
    )
    for part, name, number in zip(call.arguments, rule.arguments, arguments, strict=True):
        if (name in ("sd", "sigma", "median", "scale") and number <= 0) or (
            name == "mean" and rule.positive and number <= 0
        ):
            raise EqsError(
                part.span,
                f"the {name} of `{variable.name}` must be positive",
                "write a number above 0",
            )
    if call.function == "uniform":
        if arguments[0] >= arguments[1]:
            raise EqsError(
                call.span,
                f"the range of `{variable.name}` is empty",
                "write the smaller limit first",
            )
        return Distribution(call.function, arguments), arguments[0], arguments[1]
    distribution = Distribution(call.function, arguments, centre)
    return distribution, 0.0 if rule.positive else -math.inf, math.inf


def _named_centre(call: s.Call, names: tuple[str, ...], variable: Variable) -> str:
    """Return the unknown that the centre of a distribution names, or nothing. Raises EqsError for a named spread."""
    known = {*unit_table(), *CONSTANTS}
    for n, part in enumerate(call.arguments):
        if not isinstance(part, s.Name) or part.text in known:
            continue
        if n == 0 and call.function in CENTRED:
            return part.text
        if names[n] in ("sd", "sigma", "scale", "mean"):
            raise EqsError(
                part.span,
                f"the {names[n]} of `{variable.name}` is a spread, and an unknown one is not allowed: all values equal "
                "and no spread at all would be infinitely probable",
                "write a number; the centre of normal, lognormal and laplace may name an unknown",
            )
    return ""


def resolve_centre(
    name: str, value: Value, variables: Mapping[str, Variable], values: Mapping[str, Value]
) -> Value:
    """Return the value with the typical value of the unknown that its distribution names. Raises EqsError.

    variables: of the block; values: those the network block gives instead.
    """
    if not isinstance(value.given, Distribution) or not value.given.centre:
        return value
    assert value.span is not None
    centre, positive = value.given.centre, value.given.name == "lognormal"
    target = _centre_variable(name, value, variables)
    given = values.get(centre, target.value)
    if given is None or not (given.learned and isinstance(given.given, Distribution)):
        raise EqsError(
            value.span,
            f"the centre `{centre}` of `{name}` is no unknown",
            f"write its number instead, or `{centre} : {target.unit.name} ~ ... (shared)`",
        )
    path = [name]
    while isinstance(given.given, Distribution) and given.given.centre:
        path.append(centre)
        centre = given.given.centre
        if centre in path:
            cycle = path[path.index(centre) :]
            if name != next(n for n in variables if n in cycle):
                return Value(0.0)  # reported once, at the first of them
            text = " -> ".join([*cycle, centre])
            raise EqsError(value.span, f"`{name}` is its own centre: {text}", "give one a number")
        found = values.get(centre) or (variables[centre].value if centre in variables else None)
        if found is None:
            break  # the mistake is in another line, and reported there
        given = found
    if positive and given.low <= 0 and not _is_positive(given):
        raise EqsError(
            value.span,
            f"the centre `{centre}` of `{name}` is a median and may not be 0 or below",
            "give it a lognormal distribution or bounds above 0",
        )
    arguments = (_typical(given), *value.given.arguments[1:])
    return replace(value, given=replace(value.given, arguments=arguments))


def _centre_variable(name: str, value: Value, variables: Mapping[str, Variable]) -> Variable:
    assert isinstance(value.given, Distribution) and value.span is not None
    centre, own = value.given.centre, variables[name]
    target = variables.get(centre)
    if target is None:
        raise EqsError(
            value.span,
            f"the centre `{centre}` of `{name}` is not declared in this block",
            suggest(centre, set(variables))
            or "write a number, or declare it with `~` and `(shared)`",
        )
    if target.role is not Role.PARAMETER:
        raise EqsError(
            value.span,
            f"the centre `{centre}` of `{name}` is a {target.role.value}, not a parameter",
            "write a number, or name a parameter with `~` and `(shared)`",
        )
    if not target.shared:
        raise EqsError(
            value.span,
            f"the centre `{centre}` of `{name}` has a value for every element, so nothing would be shared",
            f"mark `{centre}` with `(shared)` or `(per population)`",
        )
    if target.unit.dimension != own.unit.dimension:
        raise EqsError(
            value.span,
            f"the centre `{centre}` of `{name}` is in {target.unit.name}, but `{name}` is in {own.unit.name}",
            "give both the same unit",
        )
    return target


def _is_positive(value: Value) -> bool:
    return isinstance(value.given, Distribution) and DISTRIBUTIONS[value.given.name].positive


def _typical(value: Value) -> float:
    if not isinstance(value.given, Distribution):
        return value.given
    first, last = value.given.arguments[0], value.given.arguments[-1]
    return (first + last) / 2 if value.given.name == "uniform" else first


def _bounds(
    bounds: tuple[s.Expression, s.Expression],
    variable: Variable,
    distribution: Distribution,
    support: tuple[float, float],
) -> tuple[float, float]:
    low, high = (
        number_of(bound, variable.unit.dimension, f"a bound of `{variable.name}`")
        for bound in bounds
    )
    if low >= high:
        raise EqsError(
            bounds[0].span,
            f"the bounds of `{variable.name}` are reversed or equal",
            "write the smaller one first",
        )
    if distribution.name == "uniform" and (low >= support[1] or high <= support[0]):
        raise EqsError(
            bounds[0].span,
            f"the bounds of `{variable.name}` leave no value of its distribution",
            "starts are drawn between the limits of `uniform`: move the bounds or the limits",
        )
    if distribution.name != "uniform" and low < support[0]:
        raise EqsError(
            bounds[0].span,
            f"the bounds of `{variable.name}` go beyond its distribution",
            f"the values of `{distribution.name}` lie above 0: keep the bounds within",
        )
    centre = distribution.arguments[0]
    if distribution.name != "uniform" and not distribution.centre and not low <= centre <= high:
        raise EqsError(
            bounds[0].span,
            f"the centre of the distribution of `{variable.name}` is outside its bounds",
            "move the bounds or the centre",
        )
    return low, high
