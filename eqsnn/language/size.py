"""How large expressions become once every name in them is written out, and a limit to it.

`abs`, `clip`, `min` and their kin repeat an argument, and so does every use of a subexpression: nested, they double
each time. Later stages take time in proportion to the whole.
"""

from collections.abc import Iterable, Mapping

from sympy import Basic

from eqsnn.errors import EqsError, Span
from eqsnn.language.functions import symbol

LARGEST = 3_000  # operations and values; models of literature stay below a few hundred
ADVICE = (
    "nest less, or evaluate a part once in each step: mark its subexpression `(constant over dt)`"
)


def size_of(expression: Basic, known: dict[Basic, int]) -> int:
    """Return how many operations, numbers and names an expression has; `known` remembers, and sizes what names stand for."""
    if expression not in known:
        known[expression] = 1 + sum(size_of(part, known) for part in expression.args)
    return known[expression]


def too_large(size: int, span: Span) -> EqsError:
    """Return the error of an expression beyond the limit."""
    message = f"this expression has {size} operations once it is written out (at most {LARGEST})"
    return EqsError(span, message, ADVICE)


def refuse_what_grows(
    subexpressions: Mapping[str, Basic],
    spans: Mapping[str, Span],
    others: Iterable[tuple[Basic, Span]],
) -> None:
    """Raise EqsError at the first expression that is too large with the subexpressions, in their order, written out."""
    known: dict[Basic, int] = {}
    for name, expression in subexpressions.items():
        # what names a later subexpression has not been sized yet: a cycle, reported elsewhere
        size = size_of(expression, dict(known))
        if size > LARGEST:
            raise too_large(size, spans[name])
        known[symbol(name)] = size
    for expression, span in others:
        size = size_of(expression, dict(known))
        if size > LARGEST:
            raise too_large(size, span)
