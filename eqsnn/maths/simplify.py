"""simplify: the same Program with less work: dead code dropped, common subexpressions shared, constants hoisted."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import sympy
from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.language.functions import symbol
from eqsnn.maths.program import (
    CONSTANT,
    NETWORK,
    Assign,
    Input,
    Kind,
    Program,
    Statement,
    Total,
)


def select(program: Program, outputs: Iterable[str]) -> Program:
    """Keep these outputs only, and the statements and inputs that they and the next states need."""
    kept = {name: program.outputs[name] for name in outputs}
    needed = {
        *program.next_states.values(),
        *kept.values(),
        *(delay.sent for delay in program.delays),
    }
    statements: list[Statement] = []
    for statement in reversed(program.statements):
        if statement.target in needed:
            statements.append(statement)
            needed |= statement.reads
    carried = {*program.next_states, *(delay.arrival for delay in program.delays)}
    inputs = tuple(given for given in program.inputs if given.symbol in needed | carried)
    return replace(program, inputs=inputs, statements=tuple(reversed(statements)), outputs=kept)


def share(program: Program) -> Program:
    """Compute each subexpression that occurs more than once only once (dead code goes too)."""
    assigns = [statement for statement in program.statements if isinstance(statement, Assign)]
    taken = {given.symbol for given in program.inputs} | {
        statement.target for statement in program.statements
    }
    names = (s for count in _naturals() if (s := symbol(f"x{count}")) not in taken)
    found, reduced = sympy.cse([a.expression for a in assigns], symbols=names, order="none")
    parts = dict(found)
    spaces = program.space_of()
    alike = {given.symbol for given in program.inputs if given.shared or given.space == NETWORK}
    statements: list[Statement] = []
    rewritten = iter(reduced)

    def emit(needed: Iterable[Symbol]) -> None:
        for part in sorted(needed, key=str):
            expression = parts.pop(part, None)
            if expression is None:
                continue
            emit(expression.free_symbols)
            spaces[part] = _space_of_expression(expression, spaces, alike)
            if expression.free_symbols <= alike:
                alike.add(part)
            statements.append(Assign(part, spaces[part], expression))

    for statement in program.statements:
        simplified = (
            replace(statement, expression=next(rewritten))
            if isinstance(statement, Assign)
            else statement
        )
        emit(simplified.reads)
        statements.append(simplified)
    return select(replace(program, statements=tuple(statements)), program.outputs)


def name_calls(program: Program, calls: tuple[type, ...]) -> Program:
    """Give each call of one of these functions a statement of its own, so that its value can be kept."""
    spaces = program.space_of()
    alike = {given.symbol for given in program.inputs if given.shared or given.space == NETWORK}
    taken = set(spaces)
    fresh = (s for count in _naturals() if (s := symbol(f"f{count}")) not in taken)
    named: dict[Expr, Symbol] = {}
    statements: list[Statement] = []

    def name(expression: Expr) -> Expr:
        if expression.is_Atom or not expression.has(*calls):
            return expression
        inner = expression.func(*(name(argument) for argument in expression.args))  # type: ignore[arg-type]
        if not isinstance(inner, calls):
            return inner
        if inner not in named:
            target = next(fresh)
            spaces[target] = _space_of_expression(inner, spaces, alike)
            statements.append(Assign(target, spaces[target], inner))
            named[inner] = target
        return named[inner]

    for statement in program.statements:
        if isinstance(statement, Assign) and not isinstance(statement.expression, calls):
            statement = replace(statement, expression=name(statement.expression))
        statements.append(statement)
    return replace(program, statements=tuple(statements))


class Hoisted(NamedTuple):
    """A Program cut in two: `once` computes everything constant over a run; `step` reads it as parameters."""

    once: Program
    step: Program


def hoist(program: Program, prefix: str = "c") -> Hoisted:
    """Move everything that depends only on parameters and settings out of the step.

    The outputs of `once` are named like the parameters they become in `step`. A symbol keeps the space of the
    statement it came from, and is shared if everything it depends on is. New symbols are `prefix` and a number.
    """
    constant = {
        given.symbol: given.shared or given.space == NETWORK for given in program.of_kind(*CONSTANT)
    }
    spaces = program.space_of()
    once: list[Statement] = []
    step: list[Statement] = []
    lifted: dict[Expr, Symbol] = {}
    taken = set(spaces)

    def lift(expression: Expr) -> Symbol:
        if expression not in lifted:
            target = symbol(f"{prefix}{len(lifted)}")
            assert target not in taken, f"{target} is taken"
            alike = {s for s, same in constant.items() if same}
            spaces[target] = _space_of_expression(expression, spaces, alike)
            constant[target] = all(constant[s] for s in expression.free_symbols)  # type: ignore[index]
            once.append(Assign(target, spaces[target], expression))
            lifted[expression] = target
        return lifted[expression]

    for statement in program.statements:
        if statement.reads <= constant.keys():
            once.append(statement)
            # sums over synapses differ between neurons even if what they add up does not
            alike = isinstance(statement, Assign | Total)
            constant[statement.target] = alike and all(constant[s] for s in statement.reads)
        elif isinstance(statement, Assign):
            step.append(
                replace(statement, expression=_lift_constants(statement.expression, constant, lift))
            )
        else:
            step.append(statement)
    return _cut(program, once, step, constant, spaces)


def _cut(
    program: Program,
    once: list[Statement],
    step: list[Statement],
    constant: Mapping[Symbol, bool],
    spaces: Mapping[Symbol, str],
) -> Hoisted:
    made = {statement.target for statement in once}
    leaving = {
        *program.next_states.values(),
        *program.outputs.values(),
        *(delay.sent for delay in program.delays),
    }
    read = {s for statement in step for s in statement.reads} | leaving
    crossing = sorted(made & read, key=str)
    fixed = {given.symbol for given in program.of_kind(Kind.SETTING)}
    for statement in once:
        if statement.reads <= fixed:
            fixed.add(statement.target)
    given = tuple(
        Input(s, spaces[s], Kind.SETTING if s in fixed else Kind.PARAMETER, constant[s])
        for s in crossing
    )
    first = Program(
        spaces=program.spaces,
        inputs=program.of_kind(*CONSTANT),
        statements=tuple(once),
        next_states={},
        outputs={str(s): s for s in crossing},
        surrogate=program.surrogate,
    )
    second = replace(program, inputs=(*program.inputs, *given), statements=tuple(step))
    return Hoisted(select(first, first.outputs), select(second, second.outputs))


def _lift_constants(expression: Expr, constant: Mapping[Symbol, bool], lift) -> Expr:
    """Replace every largest constant part of `expression` that costs work by a lifted symbol."""
    if expression.is_Atom:
        return expression
    if isinstance(expression, Boolean):
        return expression.func(
            *(_lift_constants(argument, constant, lift) for argument in expression.args)
        )  # type: ignore[arg-type]
    if expression.free_symbols and expression.free_symbols <= constant.keys():
        return lift(expression)
    args = []
    fixed = []
    for argument in expression.args:
        free = argument.free_symbols
        if isinstance(expression, sympy.Add | sympy.Mul) and free and free <= constant.keys():
            fixed.append(argument)
        else:
            args.append(_lift_constants(argument, constant, lift))  # type: ignore[arg-type]
    if not fixed:
        return expression.func(*args)
    if isinstance(expression, sympy.Mul):
        numbers = [argument for argument in args if argument.is_number]
        args = [argument for argument in args if not argument.is_number]
        fixed += numbers
    together = expression.func(*fixed)
    return expression.func(*args, together if together.is_Atom else lift(together))


def _space_of_expression(
    expression: Expr, spaces: Mapping[Symbol, str], shared: Collection[Symbol]
) -> str:
    """The one space of the symbols in an elementwise expression; values that are alike everywhere fit any."""
    own = {spaces[s] for s in expression.free_symbols if s not in shared} - {NETWORK}  # type: ignore[index]
    alike = {spaces[s] for s in expression.free_symbols if s in shared} - {NETWORK}  # type: ignore[index]
    places = own or alike
    assert len(own) <= 1, f"{expression} mixes {own}"
    return places.pop() if len(places) == 1 else NETWORK


def _naturals() -> Iterator[int]:
    count = 0
    while True:
        yield count
        count += 1
