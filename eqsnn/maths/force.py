"""force: teacher forcing. Resets, synapses and refractoriness follow the observed spikes instead of the model's own."""

from collections.abc import Iterable
from dataclasses import replace

from eqsnn.language.functions import symbol
from eqsnn.maths.program import (
    Assign,
    Couple,
    Gather,
    Input,
    Kind,
    Outer,
    Program,
    Reduce,
    Statement,
)


def force(program: Program, populations: Iterable[str]) -> Program:
    """Replace the spikes of these populations, once they are decided, by inputs `population.observed` (0 or 1).

    `population.spike` remains an output: the spikes the model itself would have fired. Given the observed spikes the
    neurons of a network no longer act on each other, and no gradient passes through a spike (Pillow et al. 2008,
    doi:10.1038/nature07140).
    """
    observed = {symbol(f"{name}.spike"): symbol(f"{name}.observed") for name in populations}
    statements = tuple(_reading(statement, observed) for statement in program.statements)
    inputs = tuple(
        Input(symbol(f"{name}.observed"), name, Kind.OBSERVED)
        for name in dict.fromkeys(str(s).removesuffix(".spike") for s in observed)
    )
    return replace(
        program,
        inputs=(*program.inputs, *inputs),
        statements=statements,
        next_states={
            state: observed.get(value, value) for state, value in program.next_states.items()
        },
        delays=tuple(
            replace(delay, sent=observed.get(delay.sent, delay.sent)) for delay in program.delays
        ),
    )


def _reading(statement: Statement, names: dict) -> Statement:
    """Rename what a statement reads."""
    if isinstance(statement, Assign):
        return replace(statement, expression=statement.expression.xreplace(names))
    if isinstance(statement, Couple | Gather | Reduce):
        return replace(statement, source=names.get(statement.source, statement.source))
    assert isinstance(statement, Outer)
    return replace(
        statement,
        before=names.get(statement.before, statement.before),
        after=names.get(statement.after, statement.after),
    )
