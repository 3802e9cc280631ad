"""How torch spells each node of an expression; decisions live here, the generated source is flat."""

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
    f.Sign: "torch.sign",
    f.Sigmoid: "torch.sigmoid",
    f.LogSigmoid: "logsigmoid",
    f.Mix: "mix",
    f.PoissonQuantile: "poisson_quantile",
    f.Phi: "phi",
    f.MatrixExponential: "matrix_exponential",
}

COMPARE = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def spell(expression: Expr | Boolean, names: Mapping[Symbol, str]) -> str:
    """Return torch source for an expression; `names` gives the identifier of each symbol."""
    return _spell(expression, names).text


def _spell(node: Expr | Boolean, names: Mapping[Symbol, str]) -> Spelled:
    if isinstance(node, Symbol):
        return Spelled(names[node], ATOM)
    if node.is_number:
        return _number(node)
    for kind, write in STRUCTURES.items():
        if isinstance(node, kind):
            return write(node, names)
    call = CALLS.get(type(node))
    assert call is not None, f"torch has no spelling for {type(node).__name__}"
    return Spelled(f"{call}({', '.join(_arguments(node.args, names))})", ATOM)


def _arguments(args: Iterable, names: Mapping[Symbol, str]) -> list[str]:
    return [_spell(argument, names).text for argument in args]


def _number(node: Expr) -> Spelled:
    value = float(node)
    text = str(int(value)) if node.is_Integer else repr(value)
    return Spelled(text, ATOM if value >= 0 else SUM)


def _sum(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    text = ""
    for term in node.as_ordered_terms():
        negative = term.could_extract_minus_sign()
        part = _spell(-term if negative else term, names).within(PRODUCT)
        if text:
            text += f" - {part}" if negative else f" + {part}"
        else:
            text = f"-{part}" if negative else part
    return Spelled(text, SUM)


def _product(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    if node.could_extract_minus_sign():
        return Spelled(f"-{_spell(-node, names).within(PRODUCT)}", SUM)
    above, below = [], []
    for factor in node.as_ordered_factors():
        base, exponent = factor.as_base_exp()
        if exponent.is_number and exponent.is_negative and not factor.is_number:
            below.append(_spell(base ** (-exponent), names).within(POWER))
        elif factor.is_Rational and not factor.is_Integer and factor.p == 1:
            below.append(str(factor.q))
        else:
            above.append(_spell(factor, names).within(PRODUCT))
    numerator = "*".join(above) or "1"
    if not below:
        return Spelled(numerator, PRODUCT)
    denominator = below[0] if len(below) == 1 else f"({'*'.join(below)})"
    return Spelled(f"{numerator}/{denominator}", PRODUCT)


def _power(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    base, exponent = node.args
    if exponent == sympy.Rational(1, 2):
        return Spelled(f"sqrt({_spell(base, names).text})", ATOM)
    if exponent.is_number and exponent.is_negative:
        return Spelled(f"1/{_spell(base ** (-exponent), names).within(POWER)}", PRODUCT)
    return Spelled(
        f"{_spell(base, names).within(ATOM)}**{_spell(exponent, names).within(ATOM)}", POWER
    )


def _where(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    condition, chosen, other = node.args
    asked = _spell(condition, names)
    if chosen.is_number and other.is_number:
        if (chosen, other) == (1, 0):
            return Spelled(f"{asked.within(ATOM)}.to(dtype)", ATOM)
        text = f"{asked.within(ATOM)}.to(dtype)*{_number(chosen - other).within(ATOM)}"
        return Spelled(text if other == 0 else f"{text} + {_number(other).within(ATOM)}", SUM)
    return Spelled(f"torch.where({', '.join(_arguments(node.args, names))})", ATOM)


def _spike(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    margin, width, strict = node.args
    call = "spike_above" if strict == 1 else "spike_from"
    return Spelled(f"{call}({', '.join(_arguments((margin, width), names))})", ATOM)


def _detach(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    return Spelled(f"detach({_spell(node.args[0], names).text})", ATOM)


def _comparison(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    left, right = (_spell(side, names).within(SUM) for side in node.args)
    return Spelled(f"{left} {COMPARE[node.rel_op]} {right}", COMPARISON)  # type: ignore[attr-defined]


def _logic(sign: str) -> Callable[[Expr, Mapping[Symbol, str]], Spelled]:
    def write(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
        parts = [_spell(part, names).within(ATOM) for part in sorted(node.args, key=str)]
        return Spelled(f" {sign} ".join(parts), COMPARISON)

    return write


def _negation(node: Expr, names: Mapping[Symbol, str]) -> Spelled:
    return Spelled(f"~{_spell(node.args[0], names).within(ATOM)}", ATOM)


STRUCTURES: dict[type, Callable[[Expr, Mapping[Symbol, str]], Spelled]] = {
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
