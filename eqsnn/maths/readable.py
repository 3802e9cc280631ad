"""written: an expression as a model file would write it, subexpressions written out."""

from sympy import Basic, Expr, Float, Rational
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.str import StrPrinter

from eqsnn.language.functions import symbol
from eqsnn.language.model import NeuronModel, SynapseModel

LARGEST_DENOMINATOR = 10  # other fractions are written as decimals
SPELT = {
    "Floor": "floor", "Sign": "sign", "Sigmoid": "sigmoid", "PoissonQuantile": "poisson_quantile", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan",
}  # fmt: skip


class _Writer(StrPrinter):
    """sympy's printer with the words of the language."""

    def _print_Function(self, expr) -> str:
        name = SPELT.get(expr.func.__name__, expr.func.__name__)
        return f"{name}({', '.join(self._print(part) for part in expr.args)})"

    def _print_WholeQuotient(self, expr) -> str:
        x, y = (self.parenthesize(part, PRECEDENCE["Pow"]) for part in expr.args)
        return f"floor({x}/{y})"

    def _print_Where(self, expr) -> str:
        return f"where({', '.join(self._print(part) for part in expr.args)})"

    def _print_Phi(self, expr) -> str:
        k, x = expr.args
        return f"exprel({self._print(x)})" if k == 1 else self._print_Function(expr)

    def _print_And(self, expr) -> str:
        return " and ".join(sorted(f"({self._print(part)})" for part in expr.args))

    def _print_Or(self, expr) -> str:
        return " or ".join(sorted(f"({self._print(part)})" for part in expr.args))

    def _print_Not(self, expr) -> str:
        return f"not ({self._print(expr.args[0])})"

    def _print_Relational(self, expr) -> str:
        sides = (self.parenthesize(side, precedence(expr)) for side in (expr.lhs, expr.rhs))
        return f" {expr.rel_op} ".join(sides)

    def _print_Float(self, expr) -> str:
        return f"{float(expr):g}"


def written(expression: Basic) -> str:
    """Return an expression as text; its numbers are in mV, ms, pA, nS, pF."""
    decimals = {r: Float(r) for r in expression.atoms(Rational) if r.q > LARGEST_DENOMINATOR}
    return _Writer().doprint(expression.xreplace(decimals))


def resolved(block: NeuronModel | SynapseModel, expression: Expr) -> str:
    """Return an expression of a block as text, its subexpressions written out."""
    names = {}
    for name, definition in block.subexpressions.items():
        if not block.variables[name].constant_over_dt:
            names[symbol(name)] = definition.xreplace(names)
    return written(expression.xreplace(names))
