"""The threshold as a number: how far a neuron is above it, and how far below it a reset puts it."""

from collections.abc import Sequence

import sympy
from sympy import Expr, Integer
from sympy.core.relational import GreaterThan, LessThan, StrictGreaterThan, StrictLessThan
from sympy.logic.boolalg import Boolean

from eqsnn.language.functions import Where, maximum, minimum, symbol
from eqsnn.language.model import Statement
from eqsnn.maths.affine import expanded_if_small


def margin_of(condition: Boolean) -> tuple[Expr, bool]:
    """Return the margin that is >= 0 (> 0 if the second value is true) exactly where the condition holds.

    `a > b` has margin a - b; `and` takes the smaller margin, `or` the larger. The difference of two floats is zero
    only if they are equal, so a threshold is met in the same step as the comparison itself. A condition without an
    order (`==`) has margin 1 or -1.
    """
    if isinstance(condition, GreaterThan | StrictGreaterThan):
        return condition.lhs - condition.rhs, isinstance(condition, StrictGreaterThan)
    if isinstance(condition, LessThan | StrictLessThan):
        return condition.rhs - condition.lhs, isinstance(condition, StrictLessThan)
    if isinstance(condition, sympy.And | sympy.Or):
        combine = minimum if isinstance(condition, sympy.And) else maximum
        parts = [margin_of(part) for part in sorted(condition.args, key=str)]
        total = parts[0][0]
        for margin, _ in parts[1:]:
            total = combine(total, margin)
        return total, all(strict for _, strict in parts)
    return Where(condition, Integer(1), Integer(-1)), True


def reset_distance(margin: Expr, reset: Sequence[Statement]) -> Expr:
    """Return how far the reset moves a neuron that is exactly at threshold: the natural scale of the margin.

    For `v >= v_th`, `v = v_rest` it is v_th - v_rest; for `v -= h` it is h. 1 where the reset leaves the margin alone.
    """
    after = margin
    for statement in reversed(reset):
        after = after.xreplace({symbol(statement.target): statement.expression})
    distance = expanded_if_small(margin - after)
    for statement in reset:
        state = symbol(statement.target)
        if distance.has(state) and margin.diff(state).is_number and margin.diff(state) != 0:
            at_threshold = state - margin / margin.diff(state)
            distance = expanded_if_small(distance.xreplace({state: at_threshold}))
    return Integer(1) if distance == 0 else distance
