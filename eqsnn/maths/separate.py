"""separate: a synaptic expression as a sum of products of one-sided factors, so that summing it is a matrix product."""

from collections.abc import Mapping
from typing import NamedTuple

import sympy
from sympy import Expr, Integer, Symbol

from eqsnn.maths.affine import expanded_if_small


class Factors(NamedTuple):
    """One term: post * synapse * pre, each over symbols of its own side."""

    post: Expr
    synapse: Expr
    pre: Expr


def separate(expression: Expr, sides: Mapping[Symbol, str]) -> tuple[Factors, ...] | None:
    """Split `expression` into terms of one-sided factors, or return None where a factor mixes sides.

    `sides` maps each symbol to "pre", "post", "synapse" or "all" (the same for every pair; goes to the post side).
    The expression is expanded only if it does not split as written, so that rounding stays that of the text.
    """
    for form in (expression, expanded_if_small(expression)):
        terms = [_split(term, sides) for term in sympy.Add.make_args(form)]
        if all(term is not None for term in terms):
            return _merged([term for term in terms if term is not None])
    return None


def _split(term: Expr, sides: Mapping[Symbol, str]) -> Factors | None:
    factors: dict[str, Expr] = {"post": Integer(1), "synapse": Integer(1), "pre": Integer(1)}
    for factor in sympy.Mul.make_args(term):
        touched = {sides[s] for s in factor.free_symbols} - {"all"}  # type: ignore[index]
        if len(touched) > 1:
            return None
        side = touched.pop() if touched else "post"
        factors[side] *= factor
    return Factors(**factors)


def _merged(terms: list[Factors]) -> tuple[Factors, ...]:
    """Add up the post sides of terms that share their synaptic and presynaptic factors: one matrix product for all."""
    merged: dict[tuple[Expr, Expr], Expr] = {}
    for term in terms:
        key = (term.synapse, term.pre)
        merged[key] = merged.get(key, Integer(0)) + term.post
    return tuple(Factors(post, synapse, pre) for (synapse, pre), post in merged.items())
