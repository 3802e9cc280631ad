"""How a language spells each node of an expression; decisions live here, the generated source is flat."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import sympy
from sympy import Expr, Symbol
from sympy.codegen.cfunctions import expm1, log1p
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from eqsnn.language import functions as f

ATOM, POWER, PRODUCT, SUM, COMPARISON = 4, 3, 2, 1, 0


class Spelled(NamedTuple):
    """Source text and how tightly its outermost operator binds."""

    text: str
    binding: int

    def within(self, binding: int) -> str:
        """Return the text, in parentheses if it binds less tightly than its surroundings need."""
        return self.text if self.binding >= binding else f"({self.text})"


CALLS: dict[type, str] = {
    sympy.exp: "torch.exp",
    sympy.log: "torch.log",
    sympy.sin: "torch.sin",
    sympy.cos: "torch.cos",
    sympy.tan: "torch.tan",
    sympy.sinh: "torch.sinh",
    sympy.cosh: "torch.cosh",
    sympy.tanh: "torch.tanh",
    sympy.asin: "torch.asin",
    sympy.acos: "torch.acos",
    sympy.atan: "torch.atan",
    sympy.erf: "torch.erf",
    sympy.Abs: "torch.abs",
    sympy.sign: "torch.sign",
    expm1: "torch.expm1",
    log1p: "torch.log1p",
    f.Floor: "torch.floor",
    f.WholeQuotient: "whole_quotient",
    f.Sign: "torch.sign",
    f.Sigmoid: "torch.sigmoid",
    f.LogSigmoid: "logsigmoid",
    f.LogNormalCdf: "torch.special.log_ndtr",
    f.NormalHazard: "normal_hazard",
    f.NormalBelow: "normal_below",
    f.Mix: "mix",
    f.PoissonQuantile: "poisson_quantile",
    f.Phi: "phi",
    f.MatrixExponential: "matrix_exponential",
}

CHEAP = {sympy.Abs, sympy.sign, f.Sign, f.Floor, f.WholeQuotient, f.Mix}
# functions whose value is better stored than computed twice
EXPENSIVE = tuple(set(CALLS) - CHEAP)

COMPARE = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


class Dialect(NamedTuple):
    """A target language: how it writes numbers, calls functions, and builds what is not a call."""

    number: Callable[[Expr], str]
    calls: Mapping[type, str]
    structures: "Mapping[type, Callable[[Expr, Speller], Spelled]]"


class Speller(NamedTuple):
    """A dialect together with the identifier of each symbol."""

    names: Mapping[Symbol, str]
    dialect: Dialect

    def spell(self, node: Expr | Boolean) -> Spelled:
        """Return the source of an expression."""
        if isinstance(node, Symbol):
            return Spelled(self.names[node], ATOM)
        if node.is_number:
            return self.number(node)
        for kind, write in self.dialect.structures.items():
            if isinstance(node, kind):
                return write(node, self)
        call = self.dialect.calls.get(type(node))
        assert call is not None, f"there is no spelling for {type(node).__name__}"
        return Spelled(f"{call}({', '.join(self.arguments(node.args))})", ATOM)

    def arguments(self, args: Iterable) -> list[str]:
        """Return the source of each argument of a call."""
        return [self.spell(argument).text for argument in args]

    def number(self, node: Expr) -> Spelled:
        """Return a literal."""
        text = self.dialect.number(node)
        return Spelled(text, SUM if text.startswith("-") else ATOM)


def spell(expression: Expr | Boolean, names: Mapping[Symbol, str]) -> str:
    """Return torch source for an expression; `names` gives the identifier of each symbol."""
    return Speller(names, TORCH).spell(expression).text


def python_number(node: Expr) -> str:
    """Return an integer or the shortest decimal that reads back as the same double."""
    return str(int(node)) if node.is_Integer else repr(float(node))


def _sum(node: Expr, speller: Speller) -> Spelled:
    text = ""
    for term in node.as_ordered_terms():
        negative = term.could_extract_minus_sign()
        part = speller.spell(-term if negative else term).within(PRODUCT)
        if text:
            text += f" - {part}" if negative else f" + {part}"
        else:
            text = f"-{part}" if negative else part
    return Spelled(text, SUM)


def _product(node: Expr, speller: Speller) -> Spelled:
    if node.could_extract_minus_sign():
        return Spelled(f"-{speller.spell(-node).within(PRODUCT)}", SUM)
    above, below = [], []
    for factor in node.as_ordered_factors():
        base, exponent = factor.as_base_exp()
        if exponent.is_number and exponent.is_negative and not factor.is_number:
            below.append(speller.spell(base ** (-exponent)).within(POWER))
        elif factor.is_Rational and not factor.is_Integer and factor.p == 1:
            below.append(str(factor.q))
        else:
            above.append(speller.spell(factor).within(PRODUCT))
    numerator = "*".join(above) or "1"
    if not below:
        return Spelled(numerator, PRODUCT)
    denominator = below[0] if len(below) == 1 else f"({'*'.join(below)})"
    return Spelled(f"{numerator}/{denominator}", PRODUCT)


def _power(node: Expr, speller: Speller) -> Spelled:
    base, exponent = node.args
    if exponent == sympy.Rational(1, 2):
        return Spelled(f"sqrt({speller.spell(base).text})", ATOM)
    if exponent.is_number and exponent.is_negative:
        return Spelled(f"1/{speller.spell(base ** (-exponent)).within(POWER)}", PRODUCT)
    return Spelled(
        f"{speller.spell(base).within(ATOM)}**{speller.spell(exponent).within(ATOM)}", POWER
    )


def _where(node: Expr, speller: Speller) -> Spelled:
    condition, chosen, other = node.args
    asked = speller.spell(condition)
    if chosen.is_number and other.is_number:
        if (chosen, other) == (1, 0):
            return Spelled(f"{asked.within(ATOM)}.to(**real)", ATOM)
        text = f"{asked.within(ATOM)}.to(**real)*{speller.number(chosen - other).within(ATOM)}"
        return Spelled(
            text if other == 0 else f"{text} + {speller.number(other).within(ATOM)}", SUM
        )
    return Spelled(f"torch.where({', '.join(speller.arguments(node.args))})", ATOM)


def _spike(node: Expr, speller: Speller) -> Spelled:
    margin, width, strict = node.args
    call = "spike_above" if strict == 1 else "spike_from"
    return Spelled(f"{call}({', '.join(speller.arguments((margin, width)))})", ATOM)


def _detach(node: Expr, speller: Speller) -> Spelled:
    return Spelled(f"detach({speller.spell(node.args[0]).text})", ATOM)


def _comparison(node: Expr, speller: Speller) -> Spelled:
    left, right = (speller.spell(side).within(SUM) for side in node.args)
    return Spelled(f"{left} {COMPARE[node.rel_op]} {right}", COMPARISON)  # type: ignore[attr-defined]


def _logic(sign: str) -> Callable[[Expr, Speller], Spelled]:
    def write(node: Expr, speller: Speller) -> Spelled:
        parts = [speller.spell(part).within(ATOM) for part in sorted(node.args, key=str)]
        return Spelled(f" {sign} ".join(parts), COMPARISON)

    return write


def _negation(node: Expr, speller: Speller) -> Spelled:
    return Spelled(f"~{speller.spell(node.args[0]).within(ATOM)}", ATOM)


STRUCTURES: dict[type, Callable[[Expr, Speller], Spelled]] = {
    sympy.Add: _sum,
    sympy.Mul: _product,
    sympy.Pow: _power,
    f.Where: _where,
    f.Spike: _spike,
    f.Detach: _detach,
    Relational: _comparison,
    sympy.And: _logic("&"),
    sympy.Or: _logic("|"),
    sympy.Not: _negation,
}

TORCH = Dialect(python_number, CALLS, STRUCTURES)
