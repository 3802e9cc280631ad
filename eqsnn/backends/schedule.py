"""schedule: the statements of a Program as loops over neurons, as few as the couplings between them allow.

Statements on one space run in one loop as long as nothing they need has to be complete for the whole space first.
Couplings run between the loops of one level and those of the next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sympy import Expr, Symbol

from eqsnn.language.functions import symbol
from eqsnn.maths.program import (
    NETWORK,
    PER_STEP,
    Assign,
    Couple,
    Gather,
    Kind,
    Outer,
    Program,
    Reduce,
    Space,
    Statement,
    Total,
)


@dataclass(frozen=True, slots=True)
class Draw:
    """`target` is a random number for each element, drawn anew at each step."""

    target: Symbol
    space: str
    kind: Kind

    @property
    def reads(self) -> frozenset[Symbol]:
        """Nothing but the counter of steps and elements."""
        return frozenset()


Elementwise = Assign | Draw
Coupling = Couple | Reduce | Total
Step = Statement | Draw


class Level(NamedTuple):
    """Loops, one for each space, that may run in any order; then couplings of what they computed."""

    loops: dict[str, list[Elementwise]]
    couplings: list[Coupling]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Levels in order, what pairwise symbols stand for, and which symbols must be kept as whole arrays."""

    levels: tuple[Level, ...]
    pairwise: Mapping[Symbol, Gather | Outer]
    arrays: frozenset[Symbol]
    spaces: Mapping[Symbol, str]
    alike: frozenset[Symbol] = field(default=frozenset())


def with_copies(
    program: Program, leaving: Iterable[Symbol]
) -> tuple[Program, dict[Symbol, Symbol]]:
    """Give an elementwise statement to everything that leaves a loop, and an array to what is coupled.

    Returns the Program and what each of `leaving` is called now.
    """
    spaces = program.space_of()
    assigned = {s.target for s in program.statements if isinstance(s, Assign)}
    contiguous = assigned | {
        s.target for s in program.statements if isinstance(s, Couple | Reduce | Total)
    }
    contiguous |= {
        given.symbol
        for given in program.inputs
        if not given.shared and given.kind not in PER_STEP and given.kind is not Kind.COTANGENT
    }
    copies: dict[tuple[Symbol, str], Symbol] = {}
    statements: list[Statement] = []

    def copy(source: Symbol, space: str) -> Symbol:
        if (source, space) not in copies:
            target = symbol(f"{source}.copy.{space}")
            copies[source, space] = target
            statements.append(Assign(target, space, source))
        return copies[source, space]

    def whole(source: Symbol, space: str) -> Symbol:
        return source if source in contiguous and spaces[source] == space else copy(source, space)

    for statement in program.statements:
        statements.append(_with_sources(statement, program.spaces, whole, spaces))
    names = {s: s if s in assigned else copy(s, spaces[s]) for s in dict.fromkeys(leaving)}
    copied = replace(
        program,
        statements=tuple(statements),
        next_states={state: names.get(s, s) for state, s in program.next_states.items()},
        outputs={output: names.get(s, s) for output, s in program.outputs.items()},
        delays=tuple(replace(d, sent=names.get(d.sent, d.sent)) for d in program.delays),
    )
    return copied, names | {copy: copy for copy in names.values()}


def _with_sources(
    statement: Statement, places: Mapping[str, Space], whole, spaces: Mapping[Symbol, str]
) -> Statement:
    if isinstance(statement, Assign):
        return statement
    if isinstance(statement, Total):
        return replace(statement, source=whole(statement.source, spaces[statement.source]))
    projection = places[statement.projection]
    if isinstance(statement, Couple):
        side = projection.post if statement.transposed else projection.pre
        weight = statement.weight and whole(statement.weight, projection.name)
        return replace(statement, source=whole(statement.source, side), weight=weight)
    if isinstance(statement, Gather):
        side = projection.post if statement.from_post else projection.pre
        return replace(statement, source=whole(statement.source, side))
    if isinstance(statement, Outer):
        return replace(
            statement,
            before=whole(statement.before, projection.pre),
            after=whole(statement.after, projection.post),
        )
    return replace(statement, source=whole(statement.source, projection.name))


def schedule(program: Program, draws: Iterable[Draw] = ()) -> Schedule:
    """Return the loops and couplings of a Program whose noise inputs have become `draws`."""
    spaces = program.space_of()
    steps: list[Step] = [*draws, *program.statements]
    alike = {given.symbol for given in program.inputs if given.shared or given.space == NETWORK}
    alike |= {s.target for s in steps if s.space == NETWORK}
    made: dict[Symbol, int] = {}  # the level of the loop or coupling that makes a symbol
    ready: dict[Symbol, int] = {}  # the first level at which other loops may read it
    loops: dict[tuple[int, str], list[Elementwise]] = {}
    couplings: dict[int, list[Coupling]] = {}
    pairwise: dict[Symbol, Gather | Outer] = {}
    elementwise: set[Symbol] = set()
    arrays: set[Symbol] = set()
    for step in steps:
        if isinstance(step, Assign | Draw):
            level = 0
            for s in step.reads:
                together = s in elementwise and spaces[s] == step.space
                level = max(level, made.get(s, 0) if together else ready.get(s, 0))
                # what is made in a loop of another space, or of an earlier level, must be stored
                foreign = s not in alike and s not in pairwise and spaces[s] != step.space
                assert not foreign, f"{step}: {s} lives on `{spaces[s]}`"
            for s in step.reads & elementwise:
                if made[s] < level or spaces[s] != step.space:
                    arrays.add(s)
            made[step.target] = level
            ready[step.target] = level if step.space == NETWORK else level + 1
            elementwise.add(step.target)
            loops.setdefault((level, step.space), []).append(step)
        elif isinstance(step, Gather | Outer):
            arrays |= step.reads & elementwise
            ready[step.target] = max(ready.get(s, 0) for s in step.reads)
            pairwise[step.target] = step
        else:
            level = max(made.get(s, 0) for s in step.reads)
            arrays |= step.reads & elementwise
            arrays.add(step.target)
            made[step.target] = level
            ready[step.target] = level + 1
            couplings.setdefault(level, []).append(step)
    last = max([level for level, _ in loops] + list(couplings), default=0)
    levels = []
    for level in range(last + 1):
        here = {space: body for (n, space), body in loops.items() if n == level}
        # values of the whole network first: every other loop may read them
        ordered = dict(sorted(here.items(), key=lambda item: item[0] != NETWORK))
        levels.append(Level(ordered, couplings.get(level, [])))
    return Schedule(tuple(levels), pairwise, frozenset(arrays), spaces, frozenset(alike))


def terms_of(expression: Expr) -> tuple[Expr, ...]:
    """Return the terms of a sum, or the expression itself."""
    return expression.args if expression.is_Add else (expression,)  # type: ignore[return-value]
