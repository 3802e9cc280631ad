"""Syntax of an expression -> sympy expression with its dimension; every unit and every name is checked here."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import sympy
from sympy import Basic, Expr, Integer, Rational
from sympy.logic.boolalg import Boolean

from eqsnn.errors import Consequence, EqsError, Span
from eqsnn.language import syntax as s
from eqsnn.language.builtins import BUILTINS, CONSTANTS, DRAWS, UnitRule
from eqsnn.language.functions import PoissonQuantile, Where, WholeQuotient, symbol, truncate
from eqsnn.language.model import Noise, NoiseKind
from eqsnn.language.size import LARGEST, size_of, too_large
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
    spelt_otherwise,
    unit_table,
)

LARGEST_EXPONENT = 64
LARGEST_NUMBER = 300  # digits of a constant, before or behind the point; what a float holds
LONGEST_QUOTE = 60  # characters of an expression that a message repeats
NOISE_UNIT = "white noise has unit 1/sqrt(time): a term such as `sigma*sqrt(2/tau)*xi`, sigma in the unit of the state, fits"
WHERE_KNOWN = {
    "lastspike": "it is known in neurons with a threshold",
    "not_refractory": "it is known in neurons with a threshold",
    "N_incoming": "it is known in synapses",
    "N_outgoing": "it is known in synapses",
}
MEANT = {  # functions of other languages
    "ln": "`log(x)`",
    "pow": "`x**y`",
    "power": "`x**y`",
    "square": "`x**2`",
    "maximum": "`max(a, b)`",
    "minimum": "`min(a, b)`",
    "fabs": "`abs(x)`",
    "round": "`floor(x + 0.5)`",
    "asin": "`arcsin(x)`",
    "acos": "`arccos(x)`",
    "atan": "`arctan(x)`",
    "heaviside": "`int(x > 0)`",
    "step": "`int(x > 0)`",
    "relu": "`max(x, 0)`",
    "logistic": "`sigmoid(x)`",
    "expit": "`sigmoid(x)`",
    "random": "`rand()`",
    "gauss": "`randn()`",
    "ifelse": "`where(condition, a, b)`",
    "lognormal": "`exp(normal(m, s))`; `lognormal` is a distribution of parameters",
}
NOT_FINITE = (sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I)
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
    faulty: set[str] = field(default_factory=set)  # declared by lines that are themselves at fault
    sizes: dict[Basic, int] = field(default_factory=dict)  # of expressions, remembered
    hidden: dict[str, str] = field(default_factory=dict)  # names of other places, and what to do
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
            node.span,
            f"{what} must be a condition, but this is a value",
            "compare it: `i != j`" if "`if`" in what else "compare it: `v > v_th`",
        )
    return typed.expression  # type: ignore[return-value]


def number_of(node: s.Expression, expected: Dimension, what: str) -> float:
    """Return a constant in coherent units; only literals, units and constants may occur."""
    _only_numbers(node, what)
    typed = resolve(node, Names({}))
    require(typed, expected, node.span, what)
    number = typed.expression
    value = float(number) if number.is_number and number.is_real else math.inf
    if not math.isfinite(value):
        raise EqsError(
            node.span, f"{what} must be a finite real number", "check for a division by zero"
        )
    return value


def _only_numbers(node: s.Expression, what: str) -> None:
    """Raise EqsError for a name that is no unit and no constant."""
    waiting = [node]
    while waiting:
        part = waiting.pop()
        waiting += reversed(s.parts_of(part))
        if isinstance(part, s.Name) and part.text not in (*CONSTANTS, *unit_table()):
            raise _no_number(part, what)


def _no_number(node: s.Name, what: str) -> EqsError:
    if suggest_unit(node.text):
        return EqsError(node.span, f"unknown name `{node.text}`", suggest_unit(node.text))
    hint = "write the number"
    if what.startswith("the value of"):
        hint += f"; what is computed from other values is {what.split('of ')[1][:-1]} = ... : unit`"
    message = f"{what} must be a number, so it cannot depend on `{node.text}`"
    return EqsError(node.span, message, hint)


def require(typed: Typed, expected: Dimension, span: Span, what: str) -> None:
    """Raise EqsError unless `typed` is a value of the expected dimension; the literal 0 fits every unit."""
    if typed.dimension is None:
        raise EqsError(
            span, f"{what} must be a value, but this is a condition", "`int(condition)` is 1 or 0"
        )
    if typed.dimension == expected or (typed.expression == 0 and typed.is_literal):
        return
    raise EqsError(
        span,
        f"{what} must have {_unit_words(expected)}, but {_shown(span)} has {_unit_words(typed.dimension)}",
        _missing_unit(typed, expected),
    )


def _shown(span: Span) -> str:
    text = span.text[span.column - 1 : span.column - 1 + span.width]
    return f"`{text}`" if len(text) <= LONGEST_QUOTE else "this"


def _has_white_noise(typed: Typed) -> bool:
    names = {str(name) for name in typed.expression.free_symbols}
    return any(name == "xi" or name.startswith("xi_") for name in names)


def _missing_unit(typed: Typed, expected: Dimension) -> str:
    assert typed.dimension is not None
    if typed.is_literal and typed.dimension == DIMENSIONLESS:
        return f"write the unit, as in `10*{describe(expected).strip('[]')}`"
    if typed.expression.is_number and expected == DIMENSIONLESS:
        return "write a number without unit"
    if typed.expression.is_number and expected != DIMENSIONLESS:
        return f"write a value in {describe(expected)}"
    if _has_white_noise(typed):
        return NOISE_UNIT
    factor, divisor = (
        describe(divide(*pair))
        for pair in ((expected, typed.dimension), (typed.dimension, expected))
    )
    if (len(divisor) <= len(factor) and factor != "[ms]") or expected == DIMENSIONLESS:
        return f"divide by a value in {divisor}, or use a value with the right unit"
    return f"multiply by a value in {factor}, or use a value with the right unit"


def suggest(name: str, known: list[str] | set[str], instead: str = "") -> str:
    """Return `did you mean ...?` for the nearest known name."""
    near = [other for other in sorted(known) if other.lower() == name.lower()]
    near += difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else instead


def _unit_words(dimension: Dimension) -> str:
    text = describe(dimension)
    return text if text == "no unit" else f"unit {text}"


def _resolve(node: s.Expression, names: Names) -> Typed:
    if isinstance(node, s.Number):
        return _number(node)
    if isinstance(node, s.Name):
        return _name(node, names)
    if isinstance(node, s.Unary):
        return _unary(node, names)
    if isinstance(node, s.Call):
        return _finite(_call(node, names), node, names)
    return _finite(_binary(node, names), node, names)


def _number(node: s.Number) -> Typed:
    digits, _, exponent = node.text.lower().partition("e")
    if len(digits) > LARGEST_NUMBER or abs(int(exponent[:9] or 0)) > LARGEST_NUMBER:
        raise EqsError(
            node.span, f"a number of more than {LARGEST_NUMBER} digits", "write a smaller one"
        )
    return Typed(Rational(node.text), DIMENSIONLESS, is_literal=True)


def _refuse_beyond_floats(typed: Typed, node: s.Expression) -> None:
    """Refuse a function of constants that no float holds: functions of it would take for ever."""
    if abs(typed.expression.evalf(15)) > 10**LARGEST_NUMBER:
        raise EqsError(
            node.span, f"a number of more than {LARGEST_NUMBER} digits", "write a smaller one"
        )


def _finite(typed: Typed, node: s.Expression, names: Names) -> Typed:
    """Refuse a constant that is infinite or not real, and what is too large, where it arises."""
    size = size_of(typed.expression, names.sizes)
    if size > LARGEST:
        raise too_large(size, node.span)
    if typed.dimension is not None and typed.expression.has(*NOT_FINITE):
        raise EqsError(
            node.span,
            f"{_shown(node.span)} is not a finite real number",
            "check logarithms, roots and divisions of constants",
        )
    if typed.is_literal and isinstance(node, s.Call) and typed.dimension is not None:
        _refuse_beyond_floats(typed, node)
    return typed


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
    raise _unknown_name(node, names)


def _unknown_name(node: s.Name, names: Names) -> EqsError:
    name = node.text
    if name in names.faulty:
        return Consequence(node.span, f"`{name}` is declared by a faulty line", "correct that line")
    if name in names.hidden:
        return EqsError(node.span, f"`{name}` cannot be used here", names.hidden[name])
    hint = _near_name(name, names)
    return EqsError(node.span, f"unknown name `{name}`", hint)


def _near_name(name: str, names: Names) -> str:
    ends = [f"{name}{end}" for end in ("_pre", "_post") if f"{name}{end}" in names.variables]
    if ends:
        return f"in a synapse, write `{'` or `'.join(ends)}` for the value of a neuron"
    bare = name.removesuffix("_pre").removesuffix("_post")
    if bare != name and bare in names.variables:
        return f"`_pre` and `_post` are for synapses; write `{bare}`"
    if name in ("j", "N_pre", "N_post"):
        return "it is known in synapses and in what follows `if`"
    if names.variables.keys() <= {"i", "j", "N_pre", "N_post"}:
        return f"known here are {', '.join(sorted(names.variables))}"
    if name in WHERE_KNOWN:
        return WHERE_KNOWN[name]
    known = {*names.variables, *CONSTANTS, "t", "dt", "True", "False"}
    return suggest(name, known) or suggest_unit(name) or f"declare it, as in `{name} : 1 = 2`"


def suggest_unit(name: str, instead: str = "") -> str:
    """Return what unit was meant by a name that is none."""
    meant = spelt_otherwise(name)
    if meant:
        return f"write `{meant}`"
    # two letters resemble too many units
    return suggest(name, set(unit_table()), instead) if len(name) > 2 else instead


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
    whole = WholeQuotient(a, b)
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
    words = {
        "+": "added to",
        "-": "subtracted from",
        "//": "divided into whole parts by",
        "%": "taken modulo",
    }.get(node.operator, "compared with")
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
    if _has_white_noise(first) or _has_white_noise(second):
        return NOISE_UNIT
    ratio = describe(divide(second.dimension, first.dimension))
    return f"both sides of a sum or comparison need one unit: use another value, or multiply the first by one in {ratio}"


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
    if b.is_Rational and e.is_Rational and _digits(b) * abs(e) > LARGEST_NUMBER:
        raise EqsError(
            node.span, f"a number of more than {LARGEST_NUMBER} digits", "write a smaller one"
        )
    if base.dimension == DIMENSIONLESS:
        return Typed(b**e, DIMENSIONLESS, base.is_literal and exponent.is_literal)  # type: ignore[operator]
    if not e.is_Rational:
        message = f"`{s.write_expression(node.left)}` has unit {_with(base)}, so its exponent must be a constant number"
        raise EqsError(node.right.span, message, "divide the base by its unit first")
    return Typed(b**e, raise_to(base.dimension, Fraction(int(e.p), int(e.q))))  # type: ignore[operator,attr-defined]


def _digits(number: Expr) -> float:
    """Return about how many digits a rational number has, above or below the fraction bar."""
    p, q = int(number.p), int(number.q)  # type: ignore[attr-defined]
    return max(abs(p).bit_length() - 1, q.bit_length() - 1) * math.log10(2)


def _call(node: s.Call, names: Names) -> Typed:
    if node.function in DRAWS:
        return _draw(node, names)
    if node.function in names.functions:
        return _inline(node, names)
    builtin = BUILTINS.get(node.function)
    if builtin is None:
        raise _unknown_function(node, names)
    if len(node.arguments) != builtin.arity:
        raise EqsError(
            s.head_of(node),
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


def _unknown_function(node: s.Call, names: Names) -> EqsError:
    known = {*BUILTINS, *DRAWS, *names.functions}
    if node.function in names.variables or node.function in unit_table():
        return EqsError(
            s.head_of(node), f"`{node.function}` is not a function", "write `*` for a product"
        )
    hint = suggest(node.function, known, f"the functions are {', '.join(sorted(known))}")
    if node.function.lower() in MEANT:
        hint = f"write {MEANT[node.function.lower()]}"
    return EqsError(s.head_of(node), f"unknown function `{node.function}`", hint)


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
        raise EqsError(
            s.head_of(node), f"`{node.function}` is not allowed here", names.why_no_draws
        )
    if len(node.arguments) != rule.arity:
        raise EqsError(
            s.head_of(node),
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
