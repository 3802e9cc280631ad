"""reach: which parameters act on other neurons than their own."""

from sympy import Symbol

from eqsnn.maths.program import Assign, Kind, Program


def acting_on_others(program: Program) -> frozenset[str]:
    """Return the parameters whose values pass through synapses, by name.

    A weight acts on the postsynaptic neuron only; the time constant of a presynaptic trace acts on every neuron that
    the trace reaches.
    """
    return frozenset(
        given.name for given in program.of_kind(Kind.PARAMETER) if _crosses(program, given.symbol)
    )


def _crosses(program: Program, parameter: Symbol) -> bool:
    spaces = program.space_of()
    on_synapses = program.spaces[spaces[parameter]].is_projection
    reached = {parameter}
    while True:
        before = len(reached)
        for statement in program.statements:
            if not statement.reads & reached:
                continue
            if not isinstance(statement, Assign) and not on_synapses:
                return True
            reached.add(statement.target)
        reached |= {state for state, after in program.next_states.items() if after in reached}
        delayed = {delay.arrival for delay in program.delays if delay.sent in reached}
        if delayed - reached:
            reached |= delayed
        if len(reached) == before:
            return False
