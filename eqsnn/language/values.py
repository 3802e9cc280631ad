"""What a parameter is worth: numbers, distributions and bounds, checked."""

import math

from eqsnn.errors import EqsError
from eqsnn.language import syntax as s
from eqsnn.language.builtins import DISTRIBUTIONS
from eqsnn.language.expressions import number_of, suggest
from eqsnn.language.model import Distribution, Value, Variable
from eqsnn.language.units import DIMENSIONLESS


def check_value(given: s.Given, variable: Variable) -> Value:
    """Return the value of a parameter in coherent units. Raises EqsError."""
    expression = given.expression
    if not given.learned and not (
        isinstance(expression, s.Call) and expression.function in DISTRIBUTIONS
    ):
        number = number_of(expression, variable.unit.dimension, f"the value of `{variable.name}`")
        return Value(number, span=given.span)
    assert isinstance(expression, s.Call), "the grammar admits a call only"
    distribution, low, high = _distribution(expression, variable)
    if given.bounds is not None:
        low, high = _bounds(given.bounds, variable, distribution, (low, high))
    elif (
        given.learned and distribution.name == "normal" and variable.unit.dimension != DIMENSIONLESS
    ):
        raise EqsError(
            expression.span,
            f"`{variable.name}` has a unit and a distribution without limits, but no bounds",
            f"add the range that makes sense, as in `~ {s.write_expression(expression)} in [low, high]`",
        )
    return Value(distribution, given.learned, low, high, given.span)


def _distribution(call: s.Call, variable: Variable) -> tuple[Distribution, float, float]:
    rule = DISTRIBUTIONS.get(call.function)
    if rule is None:
        hint = suggest(
            call.function, set(DISTRIBUTIONS), f"the distributions are {', '.join(DISTRIBUTIONS)}"
        )
        raise EqsError(call.span, f"unknown distribution `{call.function}`", hint)
    if len(call.arguments) != len(rule.arguments):
        wanted = f"{call.function}({', '.join(rule.arguments)})"
        raise EqsError(
            call.span,
            f"`{call.function}` takes {len(rule.arguments)} arguments, not {len(call.arguments)}",
            f"write `{wanted}`",
        )
    arguments = tuple(
        number_of(
            part,
            variable.unit.dimension if with_unit else DIMENSIONLESS,
            f"the {name} of `{variable.name}`",
        )
        for part, name, with_unit in zip(
            call.arguments, rule.arguments, rule.with_unit, strict=True
        )
    )
    for part, name, number in zip(call.arguments, rule.arguments, arguments, strict=True):
        if (name in ("sd", "sigma", "median") and number <= 0) or (
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
    return Distribution(call.function, arguments), 0.0 if rule.positive else -math.inf, math.inf


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
    if low < support[0] or (distribution.name == "uniform" and high > support[1]):
        raise EqsError(
            bounds[0].span,
            f"the bounds of `{variable.name}` go beyond its distribution",
            "a value there can never be drawn",
        )
    centre = distribution.arguments[0]
    if distribution.name != "uniform" and not low <= centre <= high:
        raise EqsError(
            bounds[0].span,
            f"the centre of the distribution of `{variable.name}` is outside its bounds",
            "move the bounds or the centre",
        )
    return low, high
