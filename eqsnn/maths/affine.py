"""Whether an expression is linear in some symbols, found by its structure, in a time that its size bounds.

sympy's `simplify` decides more, but may take minutes over nested conditionals or long products.
"""

import math
from collections.abc import Iterable

import sympy
from sympy import Expr, Symbol

from eqsnn.language.functions import Where

MOST_TERMS = 500  # of a product of sums that is worth multiplying out


class TooLarge(Exception):
    """Multiplied out, the expression would have too many terms."""


def degree(expression: Expr, symbols: Iterable[Symbol]) -> float:
    """Return the degree of a polynomial in `symbols`; infinite if it is none. A conditional has its branches' degree."""
    wanted, found = set(symbols), {}

    def visit(node: Expr) -> float:
        if node not in found:
            found[node] = of(node)
        return found[node]

    def of(node: Expr) -> float:
        if isinstance(node, Symbol):
            return 1 if node in wanted else 0
        parts = [visit(part) for part in node.args]  # type: ignore[arg-type]
        if not any(parts):
            return 0
        if isinstance(node, sympy.Add):
            return max(parts)
        if isinstance(node, sympy.Mul):
            return sum(parts)
        if isinstance(node, sympy.Pow) and node.exp.is_Integer and node.exp > 0:
            return parts[0] * int(node.exp)
        if isinstance(node, Where) and not parts[0]:
            return max(parts[1:])
        return math.inf

    return visit(expression)


def is_affine(expression: Expr, symbols: Iterable[Symbol]) -> bool:
    """Whether an expression is linear in `symbols` taken together, multiplied out where that is little work."""
    symbols = tuple(symbols)
    found = degree(expression, symbols)
    if found <= 1 or math.isinf(found):
        return found <= 1
    try:
        return degree(expanded(expression), symbols) <= 1
    except TooLarge:
        return False


def expanded(expression: Expr) -> Expr:
    """Multiply an expression out. Raises TooLarge."""
    if _terms(expression) > MOST_TERMS:
        raise TooLarge
    return sympy.expand(expression)


def expanded_if_small(expression: Expr) -> Expr:
    """Multiply an expression out, or leave it as it is where that would have too many terms."""
    try:
        return expanded(expression)
    except TooLarge:
        return expression


def _terms(expression: Expr) -> float:
    """Return at most how many terms an expression has, multiplied out."""
    found: dict[Expr, float] = {}

    def visit(node: Expr) -> float:
        if node not in found:
            found[node] = of(node)
        return found[node]

    def of(node: Expr) -> float:
        parts = [visit(part) for part in node.args]  # type: ignore[arg-type]
        if isinstance(node, sympy.Add):
            return sum(parts)
        if isinstance(node, sympy.Mul):
            return math.prod(parts)
        if isinstance(node, sympy.Pow) and node.exp.is_Integer:
            return min(parts[0], 1e9) ** min(abs(int(node.exp)), 64)
        return max(parts, default=1)

    return visit(expression)
