"""Expressions of the language in Brian2's words: functions that it lacks are written out, zeros get their unit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eqsnn.errors import InputError
from eqsnn.exchange.literals import unit_text
from eqsnn.language import syntax as s
from eqsnn.language.expressions import Names, resolve
from eqsnn.language.syntax import exchange_names, write_expression
from eqsnn.language.units import DIMENSIONLESS, SHORT_NAMES, Dimension

# short names that Brian2 knows in their long form only
LONGER = {
    short: short[0] + {"ampere": "amp", "meter": "metre"}.get(long, long)
    for long, shorts in SHORT_NAMES.items()
    for short in shorts
    if short in ("kV", "nV", "uV", "fA", "pS", "mF", "nm", "ns")
}
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
            return replace(
                node, text=self.name(node.text) if known else LONGER.get(node.text, node.text)
            )
        if isinstance(node, s.Unary):
            return replace(node, operand=self.spelt(node.operand, expected))
        if isinstance(node, s.Call):
            return self._call(node)
        if node.operator in ("+", "-") or node.operator in COMPARISONS:
            shared = self._common(node.left, node.right)
            return replace(
                node, left=self.spelt(node.left, shared), right=self.spelt(node.right, shared)
            )
        return replace(node, left=self.spelt(node.left), right=self.spelt(node.right))

    def _zero(self, node: s.Number, expected: Dimension | None) -> s.Expression:
        if expected in (None, DIMENSIONLESS) or float(node.text) != 0:
            return node
        return s.Name(node.span, f"(0*{unit_text(expected)})")

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
            shared = self._common(*arguments)
            first, second = (self.spelt(a, shared) for a in arguments)
            if node.function == "normal":
                return s.Binary(
                    node.span,
                    "+",
                    first,
                    s.Binary(node.span, "*", second, s.Call(node.span, "randn", ())),
                )
            width = s.Binary(node.span, "-", second, first)
            return s.Binary(
                node.span,
                "+",
                first,
                s.Binary(node.span, "*", width, s.Call(node.span, "rand", ())),
            )
        shared = self._common(*arguments) if node.function == "clip" else None
        return replace(node, arguments=tuple(self.spelt(a, shared) for a in arguments))

    def _choice(
        self, node: s.Call, condition: s.Expression, a: s.Expression, b: s.Expression
    ) -> s.Expression:
        """`where` in Brian2's words: int(c)*a + int(not c)*b. Both values are computed, so neither may be infinite."""
        shared, chosen = self._common(a, b), self.spelt(condition)
        holds = s.Call(node.span, "int", (chosen,))
        fails = s.Call(node.span, "int", (s.Unary(node.span, "not", chosen),))
        first, second = (self.spelt(part, shared) for part in (a, b))
        return s.Binary(
            node.span,
            "+",
            s.Binary(node.span, "*", holds, first),
            s.Binary(node.span, "*", fails, second),
        )


COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
