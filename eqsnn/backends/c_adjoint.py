"""The adjoint of a step as a kernel needs it: cut so that it reads what the forward pass stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from sympy import Expr, Symbol

from eqsnn.backends.c_spelling import is_expensive
from eqsnn.backends.spelling import EXPENSIVE
from eqsnn.language.functions import symbol
from eqsnn.maths.adjoint import of_input
from eqsnn.maths.program import (
    Assign,
    Gather,
    Input,
    Kind,
    Outer,
    Program,
    Statement,
)
from eqsnn.maths.simplify import hoist, select, share

NOISE = (Kind.NORMAL, Kind.UNIFORM)


@dataclass(frozen=True, slots=True)
class Cut:
    """The adjoint of a step, reading what the forward pass stored; `once` computes the constants it needs."""

    program: Program
    once: Program
    taped: frozenset[Symbol]


def cut_adjoint(step: Program, raw: Program, learned: Iterable[str], *, generated: bool) -> Cut:
    """Return the adjoint that computes the cotangents of states and `learned` constants.

    Stored are sums over synapses, arrivals, noise that is `generated` in the kernel, and values that cost more than a
    store; the rest is recomputed.
    """
    wanted = {of_input(symbol(name)) for name in learned}
    wanted |= {of_input(g.symbol) for g in step.inputs if g.kind in (Kind.STATE, Kind.ARRIVAL)}
    stored = {
        s.target
        for s in step.statements
        if not isinstance(s, Assign | Gather)
        or (isinstance(s, Assign) and is_expensive(s.expression))
    }
    spaces = step.space_of()
    # derivatives of a stored call name the call itself, as in exp' = exp
    calls = {
        s.expression: s.target
        for s in step.statements
        if isinstance(s, Assign) and isinstance(s.expression, EXPENSIVE)
    }
    program = replace(
        raw,
        inputs=(*raw.inputs, *(Input(s, spaces[s], Kind.DRIVE) for s in sorted(stored, key=str))),
        statements=tuple(_naming(s, calls) for s in raw.statements if s.target not in stored),
        outputs={name: s for name, s in raw.outputs.items() if name in wanted},
    )
    once, program = hoist(select(program, program.outputs), prefix="k")
    program = share(program)
    entering = {Kind.ARRIVAL, *(NOISE if generated else ())}
    kept = stored | {g.symbol for g in step.inputs if g.kind in entering}
    return Cut(program, once, frozenset(kept & {given.symbol for given in program.inputs}))


def _naming(statement: Statement, calls: Mapping[Expr, Symbol]) -> Statement:
    if not isinstance(statement, Assign) or not calls:
        return statement
    return replace(statement, expression=statement.expression.xreplace(calls))


@dataclass(frozen=True, slots=True)
class Product:
    """A weight gradient: the sum over steps of before[pre] after[post]."""

    learned: str
    projection: str
    before: Symbol
    after: Symbol


def split_products(program: Program, learned: Iterable[str]) -> tuple[Program, list[Product]]:
    """Take the cotangents that are sums of outer products out of the adjoint; their factors become outputs."""
    defined = {s.target: s for s in program.statements}
    products: list[Product] = []
    outputs = dict(program.outputs)
    for name in learned:
        bar = outputs.get(of_input(symbol(name)))
        statement = defined.get(bar) if bar is not None else None
        parts: list = [statement]
        if isinstance(statement, Assign):
            terms = statement.expression.args if statement.expression.is_Add else ()
            parts = [defined.get(term) for term in terms]
        if parts and all(isinstance(o, Outer) and _fits(program, o) for o in parts):
            products += [Product(name, o.projection, o.before, o.after) for o in parts]
            del outputs[of_input(symbol(name))]
    for n, product in enumerate(products):
        outputs |= {f"before.{n}": product.before, f"after.{n}": product.after}
    return select(replace(program, outputs=outputs), outputs), products


def _fits(program: Program, product: Outer) -> bool:
    spaces, projection = program.space_of(), program.spaces[product.projection]
    return (spaces[product.before], spaces[product.after]) == (projection.pre, projection.post)
