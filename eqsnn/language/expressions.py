"""Syntax of an expression -> sympy expression with its dimension; every unit and every name is checked here."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import sympy
from sympy import Expr, Integer, Rational
from sympy.logic.boolalg import Boolean

from eqsnn.errors import EqsError, Span
from eqsnn.language import syntax as s
from eqsnn.language.builtins import BUILTINS, CONSTANTS, DRAWS, UnitRule
from eqsnn.language.functions import PoissonQuantile, Where, symbol, truncate
from eqsnn.language.model import Noise, NoiseKind
from eqsnn.language.units import (
    BOOLEAN,
    DIMENSIONLESS,
    TIME,
    Dimension,
    describe,
    divide,
    multiply,
    raise_to,
    scale_of,
    unit_table,
)

LARGEST_EXPONENT = 64
WHITE = raise_to(TIME, Fraction(-1, 2))

COMPARISONS: Mapping[str, Callable] = {
    "<": sympy.StrictLessThan,
    "<=": sympy.LessThan,
    ">": sympy.StrictGreaterThan,
    ">=": sympy.GreaterThan,
    "==": sympy.Eq,
    "!=": sympy.Ne,
}


@dataclass(frozen=True, slots=True)
class Typed:
    """An expression in coherent units; `dimension` None: a condition."""

    expression: Expr | Boolean
    dimension: Dimension | None
    is_literal: bool = False  # numbers only: a hint about a missing unit is worth giving


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A `function` of the file: its arguments with their dimensions, and its value over their symbols."""

    arguments: tuple[tuple[str, Dimension], ...]
    value: Expr
    dimension: Dimension


@dataclass(slots=True)
class Names:
    """What an expression may refer to, and the draws it makes.

    `variables`: dimension of each name. `white`: whether `xi` may occur. `draws`: whether random functions may occur;
    each occurrence adds a Noise.
    """

    variables: dict[str, Dimension]
    draws: bool = False
    white: bool = False
    why_no_draws: str = "a random value is drawn anew every step only where it is marked so"
    noise: list[Noise] = field(default_factory=list)
    prefix: str = "noise"
    functions: Mapping[str, UserFunction] = field(default_factory=dict)


def resolve(node: s.Expression, names: Names) -> Typed:
    """Return the sympy form of an expression. Raises EqsError at the first sub-expression that does not fit."""
    try:
        return _resolve(node, names)
    except RecursionError:
        raise EqsError(
            node.span, "this expression is too deeply nested", "split it into subexpressions"
        ) from None


def value_of(node: s.Expression, names: Names, expected: Dimension, what: str) -> Expr:
    """Return the expression if it is a value of the expected dimension; of a condition, 1 where it holds, else 0."""
    if expected == BOOLEAN:
        return Where(condition_of(node, names, what), Integer(1), Integer(0))
    typed = resolve(node, names)
    require(typed, expected, node.span, what)
    return typed.expression  # type: ignore[return-value]


def condition_of(node: s.Expression, names: Names, what: str) -> Boolean:
    """Return the expression if it is a condition."""
    typed = resolve(node, names)
    if typed.dimension is not None:
        raise EqsError(
            node.span, f"{what} must be a condition, but this is a value", "compare it: `v > v_th`"
        )
    return typed.expression  # type: ignore[return-value]


def number_of(node: s.Expression, expected: Dimension, what: str) -> float:
    """Return a constant in coherent units; only literals, units and constants may occur."""
    typed = resolve(node, Names({}))
    require(typed, expected, node.span, what)
    number = typed.expression
    if not number.is_number or not number.is_real or not number.is_finite:
        raise EqsError(
            node.span, f"{what} must be a finite real number", "check for a division by zero"
        )
    return float(number)


def require(typed: Typed, expected: Dimension, span: Span, what: str) -> None:
    """Raise EqsError unless `typed` is a value of the expected dimension; the literal 0 fits every unit."""
    if typed.dimension is None:
        raise EqsError(
            span, f"{what} must be a value, but this is a condition", "`int(condition)` is 1 or 0"
        )
    if typed.dimension == expected or (typed.expression == 0 and typed.is_literal):
        return
    hint = "multiply or divide by a value with the unit that is missing"
    if typed.is_literal and typed.dimension == DIMENSIONLESS:
        hint = f"write the unit, as in `10*{describe(expected).strip('[]')}`"
    elif typed.dimension == multiply(expected, TIME) or typed.dimension == divide(expected, TIME):
        hint = "a factor or divisor with the unit of time is missing or too much"
    raise EqsError(
        span,
        f"{what} must have {_unit_words(expected)}, but this has {_unit_words(typed.dimension)}",
        hint,
    )


def suggest(name: str, known: list[str] | set[str], instead: str = "") -> str:
    """Return `did you mean ...?` for the nearest known name."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else instead


def _unit_words(dimension: Dimension) -> str:
    text = describe(dimension)
    return text if text == "no unit" else f"unit {text}"


def _resolve(node: s.Expression, names: Names) -> Typed:
    if isinstance(node, s.Number):
        return Typed(Rational(node.text), DIMENSIONLESS, is_literal=True)
    if isinstance(node, s.Name):
        return _name(node, names)
    if isinstance(node, s.Unary):
        return _unary(node, names)
    if isinstance(node, s.Call):
        return _call(node, names)
    return _binary(node, names)


def _name(node: s.Name, names: Names) -> Typed:
    name = node.text
    if names.variables.get(name) == BOOLEAN:
        return Typed(symbol(name) > Rational(1, 2), None)
    if name in names.variables:
        return Typed(symbol(name), names.variables[name])
    if name in ("t", "dt"):
        return Typed(symbol(name), TIME)
    if name == "t_in_timesteps":
        return Typed(BUILTINS["timestep"].build(symbol("t"), symbol("dt")), DIMENSIONLESS)
    if name == "xi" or name.startswith("xi_"):
        return _white_noise(node, names)
    if name in CONSTANTS:
        return Typed(CONSTANTS[name], DIMENSIONLESS)
    if name in ("True", "False"):
        return Typed(sympy.true if name == "True" else sympy.false, None)
    if name in unit_table():
        dimension, factor = unit_table()[name]
        scale = scale_of(dimension, factor)
        return Typed(
            Rational(scale) if isinstance(scale, Fraction) else sympy.Float(scale), dimension
        )
    if name in BUILTINS or name in DRAWS:
        raise EqsError(node.span, f"`{name}` is a function", f"call it: `{name}(...)`")
    known = {*names.variables, *BUILTINS, *CONSTANTS, "t", "dt"}
    hint = (
        suggest(name, known)
        or suggest(name, set(unit_table()))
        or "declare it, as in `" + name + " : 1 = 2`"
    )
    raise EqsError(node.span, f"unknown name `{name}`", hint)


def _white_noise(node: s.Name, names: Names) -> Typed:
    if not names.white:
        raise EqsError(
            node.span,
            f"white noise `{node.text}` may occur in differential equations only",
            "elsewhere draw `randn()` or `normal(mean, sd)`",
        )
    noise = Noise(symbol(node.text), NoiseKind.NORMAL, white=True)
    if noise not in names.noise:
        names.noise.append(noise)
    return Typed(noise.symbol, WHITE)


def _unary(node: s.Unary, names: Names) -> Typed:
    operand = _resolve(node.operand, names)
    if node.operator == "not":
        if operand.dimension is not None:
            raise EqsError(
                node.operand.span,
                "`not` needs a condition, but this is a value",
                "compare it with something",
            )
        return Typed(sympy.Not(operand.expression), None)
    _refuse_condition(operand, node.operand.span)
    value = operand.expression if node.operator == "+" else -operand.expression  # type: ignore[operator]
    return Typed(value, operand.dimension, operand.is_literal)


def _refuse_condition(typed: Typed, span: Span) -> None:
    if typed.dimension is None:
        raise EqsError(
            span, "a value is needed, but this is a condition", "`int(condition)` is 1 or 0"
        )


def _binary(node: s.Binary, names: Names) -> Typed:  # noqa: C901 (one branch for each operator)
    left, right = _resolve(node.left, names), _resolve(node.right, names)
    if node.operator in ("and", "or"):
        for side, part in ((left, node.left), (right, node.right)):
            if side.dimension is not None:
                raise EqsError(
                    part.span,
                    f"`{node.operator}` joins conditions, but this is a value",
                    "compare it with something",
                )
        return Typed(
            (sympy.And if node.operator == "and" else sympy.Or)(left.expression, right.expression),
            None,
        )
    _refuse_condition(left, node.left.span)
    _refuse_condition(right, node.right.span)
    literal = left.is_literal and right.is_literal
    a, b = left.expression, right.expression
    if node.operator in COMPARISONS:
        _same_unit(node, left, right, zero_fits=True)
        return Typed(COMPARISONS[node.operator](a, b), None)
    if node.operator in ("+", "-"):
        dimension = _same_unit(node, left, right, zero_fits=True)
        return Typed(a + b if node.operator == "+" else a - b, dimension, literal)  # type: ignore[operator]
    assert left.dimension is not None and right.dimension is not None
    if node.operator == "**":
        return _power(node, left, right)
    if node.operator == "*":
        return Typed(a * b, multiply(left.dimension, right.dimension), literal)  # type: ignore[operator]
    if b == 0:
        raise EqsError(node.right.span, "division by zero", "check the divisor")
    quotient = a / b  # type: ignore[operator]
    if node.operator == "/":
        return Typed(quotient, divide(left.dimension, right.dimension), literal)
    _same_unit(node, left, right, zero_fits=False)
    whole = BUILTINS["floor"].build(quotient)
    if node.operator == "//":
        return Typed(whole, DIMENSIONLESS, literal)
    return Typed(a - b * whole, left.dimension, literal)  # type: ignore[operator]


def _same_unit(node: s.Binary, left: Typed, right: Typed, *, zero_fits: bool) -> Dimension:
    assert left.dimension is not None and right.dimension is not None
    if left.dimension == right.dimension:
        return left.dimension
    if zero_fits:
        for zero, other in ((left, right), (right, left)):
            if zero.is_literal and zero.expression == 0 and other.dimension is not None:
                return other.dimension
    words = {"+": "added to", "-": "subtracted from"}.get(node.operator, "compared with")
    first, second = (right, left) if node.operator in "+-" else (left, right)
    first_node, second_node = (
        (node.right, node.left) if node.operator in "+-" else (node.left, node.right)
    )
    message = f"`{s.write_expression(first_node)}` ({_with(first)}) is {words} `{s.write_expression(second_node)}` ({_with(second)})"
    raise EqsError(first_node.span, message, _unit_hint(first, second))


def _with(typed: Typed) -> str:
    assert typed.dimension is not None
    return describe(typed.dimension)


def _unit_hint(first: Typed, second: Typed) -> str:
    for literal, other in ((first, second), (second, first)):
        if (
            literal.is_literal
            and literal.dimension == DIMENSIONLESS
            and other.dimension is not None
        ):
            return f"write the number's unit, as in `10*{describe(other.dimension).strip('[]')}`"
    assert first.dimension is not None and second.dimension is not None
    ratio = describe(divide(second.dimension, first.dimension))
    return "both sides of a sum or comparison need one unit" + (
        "" if ratio == "no unit" else f"; a factor {ratio} is missing"
    )


def _power(node: s.Binary, base: Typed, exponent: Typed) -> Typed:
    if exponent.dimension != DIMENSIONLESS:
        raise EqsError(
            node.right.span,
            f"an exponent has no unit, but this has {_with(exponent)}",
            "divide by its unit",
        )
    b, e = base.expression, exponent.expression
    if e.is_number and (not e.is_real or abs(e) > LARGEST_EXPONENT):
        raise EqsError(node.right.span, f"an exponent beyond {LARGEST_EXPONENT}", "use `exp(...)`")
    assert base.dimension is not None
    if base.dimension == DIMENSIONLESS:
        return Typed(b**e, DIMENSIONLESS, base.is_literal and exponent.is_literal)  # type: ignore[operator]
    if not e.is_Rational:
        message = f"`{s.write_expression(node.left)}` has unit {_with(base)}, so its exponent must be a constant number"
        raise EqsError(node.right.span, message, "divide the base by its unit first")
    return Typed(b**e, raise_to(base.dimension, Fraction(int(e.p), int(e.q))))  # type: ignore[operator,attr-defined]


def _call(node: s.Call, names: Names) -> Typed:
    if node.function in DRAWS:
        return _draw(node, names)
    if node.function in names.functions:
        return _inline(node, names)
    builtin = BUILTINS.get(node.function)
    if builtin is None:
        known = {*BUILTINS, *DRAWS, *names.functions}
        if node.function in names.variables or node.function in unit_table():
            raise EqsError(
                node.span, f"`{node.function}` is not a function", "write `*` for a product"
            )
        hint = suggest(node.function, known, f"the functions are {', '.join(sorted(known))}")
        raise EqsError(node.span, f"unknown function `{node.function}`", hint)
    if len(node.arguments) != builtin.arity:
        raise EqsError(
            node.span,
            f"`{node.function}` takes {_count(builtin.arity)}, not {len(node.arguments)}",
            _example(node.function, builtin.arity),
        )
    arguments = [_resolve(argument, names) for argument in node.arguments]
    if builtin.rule is UnitRule.CONDITION and arguments[0].dimension is None:
        return Typed(Where(arguments[0].expression, Integer(1), Integer(0)), DIMENSIONLESS)
    if builtin.rule is UnitRule.WHERE:
        if arguments[0].dimension is not None:
            raise EqsError(
                node.arguments[0].span,
                "the first argument of `where` must be a condition",
                "compare it: `v > 0*mV`",
            )
        dimension = _common(node, arguments[1:], node.arguments[1:])
        return Typed(Where(*(a.expression for a in arguments)), dimension)
    for argument, part in zip(arguments, node.arguments, strict=True):
        _refuse_condition(argument, part.span)
    dimension = _dimension_of_call(node, arguments, builtin.rule)
    build = truncate if node.function == "int" else builtin.build
    return Typed(
        build(*(a.expression for a in arguments)), dimension, all(a.is_literal for a in arguments)
    )


def _inline(node: s.Call, names: Names) -> Typed:
    """Write a function of the file out."""
    function = names.functions[node.function]
    if len(node.arguments) != len(function.arguments):
        expected = ", ".join(name for name, _ in function.arguments)
        raise EqsError(
            node.span,
            f"`{node.function}` takes {_count(len(function.arguments))}, not {len(node.arguments)}",
            f"write `{node.function}({expected})`",
        )
    values = {
        symbol(name): value_of(part, names, dimension, f"argument `{name}` of `{node.function}`")
        for part, (name, dimension) in zip(node.arguments, function.arguments, strict=True)
    }
    value = function.value.xreplace(values)
    if function.dimension == BOOLEAN:
        return Typed(value > Rational(1, 2), None)
    return Typed(value, function.dimension)


def _example(function: str, arity: int) -> str:
    return f"write `{function}({', '.join('abc'[:arity])})`"


def _count(n: int) -> str:
    return "no arguments" if n == 0 else "1 argument" if n == 1 else f"{n} arguments"


def _dimension_of_call(node: s.Call, arguments: list[Typed], rule: UnitRule) -> Dimension:
    first = arguments[0].dimension
    assert first is not None
    if rule is UnitRule.SAME:
        return _common(node, arguments, node.arguments)
    if rule is UnitRule.ROOT:
        return raise_to(first, Fraction(1, 2))
    if rule is UnitRule.SIGN:
        return DIMENSIONLESS
    if rule is UnitRule.STEPS:
        for argument, part in zip(arguments, node.arguments, strict=True):
            require(argument, TIME, part.span, f"an argument of `{node.function}`")
        return DIMENSIONLESS
    for argument, part in zip(arguments, node.arguments, strict=True):
        if argument.dimension != DIMENSIONLESS:
            message = f"`{node.function}` takes a number without unit, but `{s.write_expression(part)}` has {_with(argument)}"
            raise EqsError(part.span, message, "divide by a value of that unit")
    return DIMENSIONLESS


def _common(node: s.Call, arguments: list[Typed], parts: tuple[s.Expression, ...]) -> Dimension:
    nonzero = [a for a in arguments if not (a.is_literal and a.expression == 0)]
    expected = (nonzero or arguments)[0].dimension
    assert expected is not None, "conditions are refused before"
    for argument, part in zip(arguments, parts, strict=True):
        _refuse_condition(argument, part.span)
        if argument.dimension != expected and argument in nonzero:
            message = (
                f"`{s.write_expression(part)}` ({_with(argument)}) should have the unit of the other "
                f"arguments of `{node.function}` ({describe(expected)})"
            )
            raise EqsError(part.span, message, "give all of them one unit")
    return expected


def _draw(node: s.Call, names: Names) -> Typed:
    rule = DRAWS[node.function]
    if not names.draws:
        raise EqsError(node.span, f"`{node.function}` is not allowed here", names.why_no_draws)
    if len(node.arguments) != rule.arity:
        raise EqsError(
            node.span,
            f"`{node.function}` takes {_count(rule.arity)}, not {len(node.arguments)}",
            _example(node.function, rule.arity),
        )
    arguments = [_resolve(argument, names) for argument in node.arguments]
    for argument, part in zip(arguments, node.arguments, strict=True):
        _refuse_condition(argument, part.span)
    dimension = _common(node, arguments, node.arguments) if rule.units else DIMENSIONLESS
    kind = NoiseKind.NORMAL if node.function in ("randn", "normal") else NoiseKind.UNIFORM
    draw = symbol(f"{names.prefix}.{len(names.noise)}")
    names.noise.append(Noise(draw, kind))
    values = [argument.expression for argument in arguments]
    if node.function == "poisson":
        if arguments[0].dimension != DIMENSIONLESS:
            hint = "its argument is the mean count in one step: rate*dt"
            raise EqsError(
                node.arguments[0].span,
                f"`poisson` takes a number without unit, but this has {_with(arguments[0])}",
                hint,
            )
        return Typed(PoissonQuantile(draw, values[0]), DIMENSIONLESS)
    if node.function == "normal":
        return Typed(values[0] + values[1] * draw, dimension)  # type: ignore[operator]
    if node.function == "uniform":
        return Typed(values[0] + (values[1] - values[0]) * draw, dimension)  # type: ignore[operator]
    return Typed(draw, DIMENSIONLESS)
