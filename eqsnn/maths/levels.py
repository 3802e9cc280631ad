"""levels: statements of one step sorted into the loops they belong to, so that each is evaluated as rarely as possible."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sympy
from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.language.functions import symbol

Level = frozenset[str]  # the loops a value changes in


@dataclass(frozen=True, slots=True)
class Placed:
    """`target = expression`, which changes only in the loops of `level`."""

    target: Symbol
    expression: Expr
    level: Level


def place(assigned: Iterable[tuple[Symbol, Expr]], levels: Mapping[Symbol, Level]) -> list[Placed]:
    """Split assignments so that parts which change in fewer loops become assignments of their own.

    levels: of the inputs. The order is that of evaluation.
    """
    return _Placement(dict(levels)).run(assigned)


class _Placement:
    def __init__(self, levels: dict[Symbol, Level]) -> None:
        self.levels = levels
        self.placed: list[Placed] = []
        self.known: dict[Expr, Symbol] = {}
        self.names = (symbol(f"(part {n})") for n in _naturals())

    def run(self, assigned: Iterable[tuple[Symbol, Expr]]) -> list[Placed]:
        for target, expression in assigned:
            inner = self.split(expression)
            self.levels[target] = self.level(inner)
            self.placed.append(Placed(target, inner, self.levels[target]))
        return self.placed

    def level(self, expression: Expr | Boolean) -> Level:
        found: Level = frozenset()
        for s in expression.free_symbols:
            found |= self.levels[s]  # type: ignore[index]
        return found

    def lift(self, expression: Expr) -> Expr:
        """Give an expression an assignment of its own, once."""
        if expression.is_Atom:
            return expression
        if expression not in self.known:
            target = next(self.names)
            self.levels[target] = self.level(expression)
            self.placed.append(Placed(target, expression, self.levels[target]))
            self.known[expression] = target
        return self.known[expression]

    def split(self, expression: Expr) -> Expr:
        if expression.is_Atom:
            return expression
        level = self.level(expression)
        args = [self.split(argument) for argument in expression.args]  # type: ignore[arg-type]
        if isinstance(expression, sympy.Add | sympy.Mul):
            groups: dict[Level, list[Expr]] = {}
            for argument in args:
                groups.setdefault(self.level(argument), []).append(argument)
            merged = []
            for own, parts in groups.items():
                whole = expression.func(*parts)
                costly = own != level and not whole.is_number
                merged.append(self.lift(whole) if costly else whole)
            return expression.func(*merged)
        lifted = [
            self.lift(a)
            if isinstance(a, Expr) and not a.is_number and self.level(a) != level
            else a
            for a in args
        ]
        whole = expression.func(*lifted)
        # a call that occurs again, in a derivative perhaps, is read back
        return self.lift(whole) if isinstance(whole, sympy.Function) else whole


def _naturals() -> Iterator[int]:
    count = 0
    while True:
        yield count
        count += 1
