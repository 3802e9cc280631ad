"""How C spells each node of an expression. Numbers are written in the precision of the kernel, never as integers."""

from collections.abc import Mapping

import sympy
from sympy import Expr, Symbol
from sympy.codegen.cfunctions import expm1, log1p
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from eqsnn.backends.spelling import (
    ATOM,
    COMPARISON,
    EXPENSIVE,
    POWER,
    PRODUCT,
    STRUCTURES,
    SUM,
    Dialect,
    Spelled,
    Speller,
)
from eqsnn.language import functions as f

C_WORDS = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
    ]
)
MULTIPLIED_OUT = 8  # largest integer power written as a product

CALLS: dict[type, str] = {
    sympy.exp: "exp_",
    sympy.log: "log_",
    sympy.sin: "SIN",
    sympy.cos: "COS",
    sympy.tan: "TAN",
    sympy.sinh: "SINH",
    sympy.cosh: "COSH",
    sympy.tanh: "tanh_",
    sympy.asin: "ASIN",
    sympy.acos: "ACOS",
    sympy.atan: "ATAN",
    sympy.erf: "ERF",
    sympy.Abs: "ABS",
    sympy.sign: "sign_",
    expm1: "expm1_",
    log1p: "log1p_",
    f.Floor: "FLOOR",
    f.WholeQuotient: "whole_quotient_",
    f.Sign: "sign_",
    f.Sigmoid: "sigmoid_",
    f.LogSigmoid: "logsigmoid_",
    f.LogNormalCdf: "log_normal_cdf_",
    f.NormalHazard: "normal_hazard_",
    f.NormalBelow: "normal_below_",
    f.PoissonQuantile: "poisson_quantile_",
}


def spell_c(expression: Expr | Boolean, names: Mapping[Symbol, str], *, double: bool) -> str:
    """Return C source for an expression; `names` gives the text of each symbol."""
    return Speller(names, DOUBLE if double else SINGLE).spell(expression).text


def is_expensive(expression: Expr | Boolean) -> bool:
    """Whether an expression costs more than storing its value and reading it again."""
    return expression.has(*EXPENSIVE) or any(
        not power.exp.is_Integer for power in expression.atoms(sympy.Pow)
    )


def _double(node: Expr) -> str:
    return repr(float(node))


def _single(node: Expr) -> str:
    return f"{float(node)!r}f"


def _power(node: Expr, speller: Speller) -> Spelled:
    base, exponent = node.args
    if exponent == sympy.Rational(1, 2):
        return Spelled(f"SQRT({speller.spell(base).text})", ATOM)
    if exponent.is_number and exponent.is_negative:
        return Spelled(f"1/{speller.spell(base ** (-exponent)).within(POWER)}", PRODUCT)
    if exponent.is_Integer and exponent <= MULTIPLIED_OUT:
        factor = speller.spell(base).within(ATOM)
        return Spelled("*".join([factor] * int(exponent)), PRODUCT)
    if exponent.is_Integer:
        return Spelled(f"power_({speller.spell(base).text}, {int(exponent)})", ATOM)
    return Spelled(f"POW({', '.join(speller.arguments((base, exponent)))})", ATOM)


def _product(node: Expr, speller: Speller) -> Spelled:
    """A division by a number is a multiplication: it takes a tenth of the time."""
    coefficient, rest = node.as_coeff_Mul()
    if coefficient in (1, -1) or coefficient.is_Integer:
        return STRUCTURES[sympy.Mul](node, speller)
    number, product = speller.number(coefficient), speller.spell(rest)
    return Spelled(f"{number.within(PRODUCT)}*{product.within(POWER)}", PRODUCT)


def _where(node: Expr, speller: Speller) -> Spelled:
    asked, chosen, other = (speller.spell(part) for part in node.args)
    return Spelled(f"({asked.text} ? {chosen.text} : {other.text})", ATOM)


def _mix(node: Expr, speller: Speller) -> Spelled:
    spike, chosen, other = (speller.spell(part) for part in node.args)
    half = speller.number(sympy.Rational(1, 2)).text
    return Spelled(f"({spike.within(SUM)} > {half} ? {chosen.text} : {other.text})", ATOM)


def _spike(node: Expr, speller: Speller) -> Spelled:
    margin, _, strict = node.args
    zero, one = (speller.number(number).text for number in (sympy.S.Zero, sympy.S.One))
    order = ">" if strict == 1 else ">="
    return Spelled(f"({speller.spell(margin).within(SUM)} {order} {zero} ? {one} : {zero})", ATOM)


def _detach(node: Expr, speller: Speller) -> Spelled:
    return speller.spell(node.args[0])


def _phi(node: Expr, speller: Speller) -> Spelled:
    order, x = node.args
    return Spelled(f"phi_({int(order)}, {speller.spell(x).text})", ATOM)


def _matrix_exponential(node: Expr, speller: Speller) -> Spelled:
    row, column, n = (int(argument) for argument in node.args[:3])
    entries = ", ".join(speller.arguments(node.args[3:]))
    return Spelled(f"matrix_exponential_({row}, {column}, {n}, (const real[]){{{entries}}})", ATOM)


def _logic(sign: str):
    def write(node: Expr, speller: Speller) -> Spelled:
        parts = [f"({speller.spell(part).text})" for part in sorted(node.args, key=str)]
        return Spelled(f" {sign} ".join(parts), COMPARISON)

    return write


def _negation(node: Expr, speller: Speller) -> Spelled:
    return Spelled(f"!({speller.spell(node.args[0]).text})", ATOM)


def _truth(node: Boolean, speller: Speller) -> Spelled:
    return Spelled("1" if node else "0", ATOM)


C_STRUCTURES = {
    sympy.logic.boolalg.BooleanTrue: _truth,
    sympy.logic.boolalg.BooleanFalse: _truth,
    sympy.Add: STRUCTURES[sympy.Add],
    sympy.Mul: _product,
    sympy.Pow: _power,
    f.Where: _where,
    f.Mix: _mix,
    f.Spike: _spike,
    f.Detach: _detach,
    f.Phi: _phi,
    f.MatrixExponential: _matrix_exponential,
    Relational: STRUCTURES[Relational],
    # of two conditions both are always cheap, and without a jump the loop stays a vector loop
    sympy.And: _logic("&"),
    sympy.Or: _logic("|"),
    sympy.Not: _negation,
}
SINGLE = Dialect(_single, CALLS, C_STRUCTURES)
DOUBLE = Dialect(_double, CALLS, C_STRUCTURES)
