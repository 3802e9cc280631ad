"""Expressions of the language in Brian2's words: functions that it lacks are written out, zeros get their unit."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from eqsnn.errors import InputError
from eqsnn.exchange.literals import number_text, unit_text
from eqsnn.language import syntax as s
from eqsnn.language.expressions import Names, resolve
from eqsnn.language.syntax import exchange_names, write_expression
from eqsnn.language.units import DIMENSIONLESS, SHORT_NAMES, Dimension, unit_table

# short names that Brian2 knows in their long form only
LONGER = {
    short: short[0] + {"ampere": "amp", "meter": "metre"}.get(long, long)
    for long, shorts in SHORT_NAMES.items()
    for short in shorts
    if short in ("kV", "nV", "uV", "fA", "pS", "mS", "mF", "nm", "ns")
}
# what no one writes and Brian2 does not know: hundredths of anything, and multiples of kelvin
UNKNOWN = re.compile(r"ccoulomb|c(?!oulomb)[a-z]{3,}|[fpnumkMG]kelvin")
TAKEN = ("M", "nM", "uM", "mM", "lastupdate")  # words of Brian2 that are free in the language
MISSING = {"erf": "write an approximation of it by exp or tanh"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one block is spelt: `names` with their dimensions, the file's own functions, words for messages."""

    where: str
    names: Names
    functions: Mapping[str, s.Function]
    renamed: Mapping[str, str]

    def text(self, node: s.Expression, expected: Dimension | None = None) -> str:
        """Return an expression as text of Brian2; a bare 0 gets the unit of the `expected` dimension."""
        return write_expression(self.spelt(node, expected))

    def name(self, name: str) -> str:
        """Return what Brian2 calls a variable."""
        return self.renamed.get(name, f"{name}_b" if name in TAKEN else name)

    def spelt(self, node: s.Expression, expected: Dimension | None = None) -> s.Expression:
        """Return an expression in Brian2's words."""
        if isinstance(node, s.Number):
            return self._zero(node, expected)
        if isinstance(node, s.Name):
            known = node.text in self.names.variables
            if not known and UNKNOWN.fullmatch(node.text):
                dimension, factor = unit_table()[node.text]
                return replace(node, text=f"({number_text(float(factor))}*{unit_text(dimension)})")
            name = self.name(node.text) if known else LONGER.get(node.text, node.text)
            return replace(node, text=name)
        if isinstance(node, s.Unary):
            return replace(node, operand=self.spelt(node.operand, expected))
        if isinstance(node, s.Call):
            return self._call(node)
        if node.operator in COMPARISONS:
            return self._comparison(node)
        if node.operator in ("+", "-"):
            return self._sum(node, self.spelt(node.left), self.spelt(node.right))
        return replace(node, left=self.spelt(node.left), right=self.spelt(node.right))

    def _zero(self, node: s.Number, expected: Dimension | None) -> s.Expression:
        if expected in (None, DIMENSIONLESS) or float(node.text) != 0:
            return node
        return s.Name(node.span, f"0*({unit_text(expected)})")

    def _comparison(self, node: s.Binary) -> s.Expression:
        """`2*x > x` for a bare 0 beside a value with a unit: Brian2 simplifies 0*volt to 0 and then misses the unit."""
        shared = self._common(node.left, node.right)
        left, right = self.spelt(node.left), self.spelt(node.right)
        if shared is not None and _is_zero(right):
            left, right = _twice(left), left
        elif shared is not None and _is_zero(left):
            left, right = right, _twice(right)
        return replace(node, left=left, right=right)

    def _sum(self, node: s.Expression, left: s.Expression, right: s.Expression) -> s.Expression:
        """A sum without its bare zeros."""
        operator = node.operator if isinstance(node, s.Binary) else "+"
        if _is_zero(right):
            return left
        if _is_zero(left):
            return right if operator == "+" else s.Unary(node.span, "-", right)
        return s.Binary(node.span, operator, left, right)

    def _common(self, *nodes: s.Expression) -> Dimension | None:
        """Return the dimension that values added to or compared with each other have."""
        for node in nodes:
            dimension = resolve(node, self.names).dimension
            if dimension not in (None, DIMENSIONLESS):
                return dimension
        return None

    def _call(self, node: s.Call) -> s.Expression:
        if node.function in MISSING:
            raise InputError(
                f"{self.where}: Brian2 has no `{node.function}`; {MISSING[node.function]}"
            )
        if node.function in self.functions:
            function = self.functions[node.function]
            values = {
                name: a for (name, _), a in zip(function.arguments, node.arguments, strict=True)
            }
            return self.spelt(exchange_names(function.expression, values))
        arguments = node.arguments
        if node.function == "where":
            return self._choice(node, arguments[0], arguments[1], arguments[2])
        if node.function in ("min", "max"):
            compare = s.Binary(node.span, "<" if node.function == "min" else ">", *arguments[:2])
            return self._choice(node, compare, arguments[0], arguments[1])
        number = lambda text: s.Number(node.span, text)  # noqa: E731
        if node.function == "sigmoid":
            falling = s.Call(node.span, "exp", (s.Unary(node.span, "-", self.spelt(arguments[0])),))
            return s.Binary(
                node.span, "/", number("1"), s.Binary(node.span, "+", number("1"), falling)
            )
        if node.function in ("normal", "uniform"):
            return self._draw(node, *(self.spelt(a) for a in arguments))
        if node.function == "clip" and self._common(*arguments) and any(map(_is_zero, arguments)):
            x, low, high = arguments
            above = s.Call(node.span, "where", (s.Binary(node.span, ">", x, high), high, x))
            return self._choice(node, s.Binary(node.span, "<", x, low), low, above)
        return replace(node, arguments=tuple(self.spelt(a) for a in arguments))

    def _draw(self, node: s.Call, first: s.Expression, second: s.Expression) -> s.Expression:
        """`normal(first, second)` or `uniform(first, second)` by Brian2's standard draws."""
        if node.function == "normal":
            draw, width = s.Call(node.span, "randn", ()), second
        else:
            draw = s.Call(node.span, "rand", ())
            width = second if _is_zero(first) else s.Binary(node.span, "-", second, first)
        return self._sum(node, first, s.Binary(node.span, "*", width, draw))

    def _choice(
        self, node: s.Call, condition: s.Expression, a: s.Expression, b: s.Expression
    ) -> s.Expression:
        """`where` in Brian2's words: int(c)*a + int(not c)*b. Both values are computed, so neither may be infinite."""
        chosen = self.spelt(condition)
        holds = s.Call(node.span, "int", (chosen,))
        fails = s.Call(node.span, "int", (s.Unary(node.span, "not", chosen),))
        first, second = self.spelt(a), self.spelt(b)
        if _is_zero(first) and _is_zero(second):
            return first
        parts = [
            value if _is_zero(value) else s.Binary(node.span, "*", share, value)
            for share, value in ((holds, first), (fails, second))
        ]
        return self._sum(node, *parts)


def _is_zero(node: s.Expression) -> bool:
    return isinstance(node, s.Number) and float(node.text) == 0


def _twice(node: s.Expression) -> s.Expression:
    return s.Binary(node.span, "*", s.Number(node.span, "2"), node)


COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
