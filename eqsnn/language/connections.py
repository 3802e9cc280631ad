"""The clauses of a projection: which pairs are connected, and after what delay."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import sympy
from numpy.typing import NDArray
from sympy import Expr, Integer
from sympy.logic.boolalg import Boolean

from eqsnn.errors import EqsError
from eqsnn.files import read_arrays
from eqsnn.language import syntax as s
from eqsnn.language.expressions import Names, condition_of, suggest, value_of
from eqsnn.language.functions import symbol
from eqsnn.language.model import SynapseModel, Targets
from eqsnn.language.units import DIMENSIONLESS, TIME, Dimension

ENDS = ("i", "j", "N_pre", "N_post")


class Clauses:
    """The clauses of one projection line, each checked when it is asked for."""

    def __init__(
        self,
        line: s.ProjectionLine,
        synapse: SynapseModel,
        folder: Path,
        files: Mapping[str, Mapping[str, NDArray]],
    ) -> None:
        self.line, self.synapse, self.folder, self.files = line, synapse, folder, files

    def _names(self) -> Names:
        iterator = self.line.targets.iterator if self.line.targets is not None else ""
        names = (*ENDS, iterator) if iterator else ENDS
        return Names(dict.fromkeys(names, DIMENSIONLESS))

    def condition(self) -> Boolean | None:
        """Return what follows `if`."""
        if self.line.condition is None:
            return None
        return condition_of(self.line.condition, self._names(), "what follows `if`")

    def probability(self) -> float | Expr:
        """Return the probability, a number or an expression over i and j."""
        node = self.line.probability
        if node is None:
            return 1.0
        value = self._value(node, DIMENSIONLESS, "a probability")
        if isinstance(value, float) and not 0 <= value <= 1:
            message = f"{value:g} is not a probability"
            raise EqsError(node.span, message, "write a number from 0 to 1")
        return value

    def delay(self) -> float | Expr:
        """Return the delay (ms) of the pathway `pre`."""
        given = dict(self.line.delays)
        if "" in given and "pre" in given:
            raise EqsError(given["pre"].span, "the delay of `pre` is given twice", "keep one")
        node = given.get("") or given.get("pre")
        return 0.0 if node is None else self._time(node)

    def delays(self) -> dict[str, float | Expr]:
        """Return the delays (ms) of the other pathways, by name."""
        known = {pathway.name for pathway in self.synapse.pathways} | {"pre"}
        found = {}
        for name, node in self.line.delays:
            if name and name not in known:
                hint = suggest(name, known, f"the pathways are {', '.join(sorted(known))}")
                message = f"synapse `{self.synapse.name}` has no pathway `{name}`"
                raise EqsError(node.span, message, hint)
            if name not in ("", "pre"):
                found[name] = self._time(node)
        return found

    def _time(self, node: s.Expression) -> float | Expr:
        value = self._value(node, TIME, "a delay")
        if isinstance(value, float) and (value < 0 or not math.isfinite(value)):
            raise EqsError(node.span, "a delay cannot be negative", "write a time such as `2*ms`")
        return value

    def _value(self, node: s.Expression, dimension: Dimension, what: str) -> float | Expr:
        value = value_of(node, self._names(), dimension, what)
        if not value.is_number:
            return value
        if not value.is_real or not value.is_finite:
            message = f"{what} must be a finite real number"
            raise EqsError(node.span, message, "check for a division by zero")
        return float(value)

    def targets(self) -> Targets | None:
        """Return what follows `to`."""
        line = self.line.targets
        if line is None:
            return None
        if line.values is None:
            names = Names(dict.fromkeys(("i", "N_pre", "N_post"), DIMENSIONLESS))
            return Targets(value_of(line.expression, names, DIMENSIONLESS, "what follows `to`"))
        outer = Names(dict.fromkeys(("i", "N_pre", "N_post"), DIMENSIONLESS))
        if line.iterator in (*ENDS, "t", "dt"):
            message = f"`{line.iterator}` has a meaning of its own in a connection"
            raise EqsError(line.span, message, "choose another name, such as `k`")
        limits = self._range(line.values, outer)
        inner = Names(outer.variables | {line.iterator: DIMENSIONLESS})
        expression = value_of(line.expression, inner, DIMENSIONLESS, "what follows `to`")
        return Targets(expression, line.iterator, limits)

    def _range(self, node: s.Expression, names: Names) -> tuple[Expr, Expr, Expr]:
        if not isinstance(node, s.Call) or node.function != "range":
            message = "what follows `in` must be a range of whole numbers"
            raise EqsError(node.span, message, "write `range(stop)` or `range(start, stop, step)`")
        if not 1 <= len(node.arguments) <= 3:
            message = f"`range` takes 1 to 3 arguments, not {len(node.arguments)}"
            raise EqsError(node.span, message, "write `range(start, stop, step)`")
        values = [value_of(a, names, DIMENSIONLESS, "a limit of `range`") for a in node.arguments]
        start, stop = (Integer(0), values[0]) if len(values) == 1 else values[:2]
        step = values[2] if len(values) == 3 else Integer(1)
        if step == 0:
            raise EqsError(node.span, "a range cannot have steps of 0", "write 1 or -1")
        return start, stop, step

    def pairs(self) -> tuple[tuple[int, int], ...] | None:
        """Return the synapses that a file lists."""
        file = self.line.pairs
        if file is None:
            return None
        if "/" in file.name or "\\" in file.name or not file.name.endswith(".npz"):
            raise EqsError(
                file.span,
                f'"{file.name}" is not the name of an .npz file beside the model',
                "write the name without a folder",
            )
        arrays = self._arrays(file)
        prefix = f"{self.line.pre}->{self.line.post}."
        ends = []
        for name in ("i", "j"):
            found = arrays.get(f"{prefix}{name}", arrays.get(name))
            if found is None or found.ndim != 1 or not np.equal(np.mod(found, 1), 0).all():
                message = f'"{file.name}" has no array `{name}` of whole numbers'
                hint = (
                    f"store the indices of the neurons as `i` and `j` (or `{prefix}i`, `{prefix}j`)"
                )
                raise EqsError(file.span, message, hint)
            ends.append(found)
        i, j = ends
        if len(i) != len(j):
            message = f"the arrays `i` and `j` have {len(i)} and {len(j)} values"
            raise EqsError(file.span, message, "give one of each for every synapse")
        pairs = tuple(zip((int(v) for v in i), (int(v) for v in j), strict=True))
        if len(set(pairs)) < len(pairs):
            message = f'"{file.name}" lists a pair more than once'
            hint = "a projection has at most one synapse for each pair; use a second projection"
            raise EqsError(file.span, message, hint)
        return pairs

    def _arrays(self, file: s.File) -> Mapping[str, NDArray]:
        if file.name in self.files:
            return self.files[file.name]
        try:
            return read_arrays(self.folder / file.name)
        except (OSError, ValueError) as error:
            hint = "put it beside the model file"
            raise EqsError(file.span, f'"{file.name}" cannot be read: {error}', hint) from None


def link_condition(line: s.Link) -> Boolean:
    """Return which source a linked variable reads: `[index over i]`, the only one, or the one of the same number."""
    i, j = symbol("i"), symbol("j")
    if line.index is None:
        return sympy.Or(sympy.Eq(i, j), sympy.Eq(symbol("N_pre"), 1))
    names = Names(dict.fromkeys(("i", "N"), DIMENSIONLESS))
    index = value_of(line.index, names, DIMENSIONLESS, "an index")
    return sympy.Eq(i, index.xreplace({i: j, symbol("N"): symbol("N_post")}))
