"""force: teacher forcing. Resets, synapses and refractoriness follow the observed spikes instead of the model's own."""

from collections.abc import Iterable
from dataclasses import replace

from sympy import Integer, Rational

from eqsnn.language.functions import Detach, Where, symbol
from eqsnn.language.model import NeuronModel
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


def force(
    program: Program, populations: Iterable[str], *, self_resetting: Iterable[str] = ()
) -> Program:
    """Replace the spikes of these populations, once they are decided, by inputs `population.observed` (0 or 1).

    `population.spike` remains an output: the spikes the model itself would have fired. Given the observed spikes the
    neurons of a network no longer act on each other, and no gradient passes through a spike (Pillow et al. 2008,
    doi:10.1038/nature07140). The `self_resetting` populations are also reset by spikes of their own, so that
    regenerative equations cannot run away where the model crosses threshold and no spike was observed.
    """
    names = list(populations)
    observed = {symbol(f"{name}.spike"): symbol(f"{name}.observed") for name in names}
    either = {symbol(f"{name}.fired"): name for name in self_resetting}
    statements = tuple(
        _fired(statement, either[statement.target])
        if statement.target in either
        else _reading(statement, observed)
        for statement in program.statements
    )
    inputs = tuple(Input(symbol(f"{name}.observed"), name, Kind.OBSERVED) for name in names)
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


def is_regenerative(neuron: NeuronModel) -> bool:
    """Whether a state drives itself nonlinearly, as the upstroke of Izhikevich, AdEx or Hodgkin-Huxley neurons."""
    names = {symbol(name): definition for name, definition in neuron.subexpressions.items()}
    rates = [(symbol(x), rate) for x, rate in neuron.equations.items()]
    rates += [(symbol(s.target), s.expression) for s in neuron.update]
    for x, rate in rates:
        full = rate
        for _ in names:
            full = full.xreplace(names)
        if full.diff(x).has(x):
            return True
    return False


def _fired(statement: Statement, name: str) -> Assign:
    own, seen = symbol(f"{name}.spike"), symbol(f"{name}.observed")
    return Assign(statement.target, name, Where(seen > Rational(1, 2), Integer(1), Detach(own)))


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
