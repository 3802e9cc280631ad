"""reach: which parameters act on other neurons than their own."""

from collections.abc import Set

from sympy import Symbol

from eqsnn.language.functions import Spike
from eqsnn.maths.program import Assign, Gather, Kind, Program, Reduce, Statement


def acting_on_others(program: Program) -> frozenset[str]:
    """Return the parameters whose values pass through synapses, by name.

    A weight acts on the postsynaptic neuron only; the time constant of a presynaptic trace acts on every neuron that
    the trace reaches.
    """
    return frozenset(
        given.name for given in program.of_kind(Kind.PARAMETER) if _crosses(program, given.symbol)
    )


def _crosses(program: Program, parameter: Symbol) -> bool:
    on_synapses = program.spaces[program.space_of()[parameter]].is_projection
    reached = reached_from(program, {parameter})
    return not on_synapses and any(
        statement.reads & reached and not _stays(statement) for statement in program.statements
    )


def _stays(statement: Statement) -> bool:
    """Whether what a statement reads of a neuron stays with it: a synapse may read and be summed by its postsynaptic one."""
    if isinstance(statement, Gather):
        return statement.from_post
    if isinstance(statement, Reduce):
        return statement.to_post
    return isinstance(statement, Assign)


def reached_from(program: Program, symbols: Set[Symbol]) -> set[Symbol]:
    """Return the symbols whose values depend on the given ones, in the same step or later.

    The width of a spike's surrogate derivative is no part of its value.
    """
    reached = set(symbols)
    while True:
        before = len(reached)
        for statement in program.statements:
            if _read_by(statement) & reached:
                reached.add(statement.target)
        reached |= {state for state, after in program.next_states.items() if after in reached}
        reached |= {delay.arrival for delay in program.delays if delay.sent in reached}
        if len(reached) == before:
            return reached


def _read_by(statement: Statement) -> frozenset[Symbol]:
    if not isinstance(statement, Assign) or not statement.expression.has(Spike):
        return statement.reads
    values = statement.expression.replace(Spike, lambda margin, width, strict: margin)
    return frozenset(values.free_symbols)
