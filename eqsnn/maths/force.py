"""force: teacher forcing. Resets, synapses and refractoriness follow the observed spikes instead of the model's own."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from sympy import Integer, Rational, Symbol

from eqsnn.language.functions import Detach, Mix, Where, symbol
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
from eqsnn.maths.reach import reached_from

TRANSMITTED = (
    "transmitted"  # the spikes that act on a masked network: observed, or the neuron's own
)


def force(
    program: Program,
    populations: Iterable[str],
    *,
    self_resetting: Iterable[str] = (),
    masked: bool = False,
    blended: bool = False,
) -> Program:
    """Replace the spikes of these populations, once they are decided, by inputs `population.observed` (0 or 1).

    `population.spike` remains an output: the spikes the model itself would have fired. Given the observed spikes the
    neurons of a network no longer act on each other, and no gradient passes through a spike (Pillow et al. 2008,
    doi:10.1038/nature07140). The `self_resetting` populations are also reset by spikes of their own, so that
    regenerative equations cannot run away where the model crosses threshold and no spike was observed; what acts on other
    neurons follows the observed spikes alone. With `masked`
    a further input `population.seen` (0 or 1) says which neurons are observed in a step; those that are not act by
    their own spikes. `blended`: an observed spike may be a share of one, which does a share of what a spike does.
    """
    names = list(populations)
    acting = TRANSMITTED if masked else "observed"
    observed = {symbol(f"{name}.spike"): symbol(f"{name}.{acting}") for name in names}
    either = {symbol(f"{name}.fired"): name for name in self_resetting}
    acted_by = {fired: observed[symbol(f"{name}.spike")] for fired, name in either.items()}
    sent = _sent(force(program, names), acted_by) if either else set()
    statements = tuple(
        _fired(statement, either[statement.target])
        if statement.target in either
        else _reading(statement, observed | acted_by if statement.target in sent else observed)
        for statement in program.statements
    )
    given = ("observed", "seen") if masked else ("observed",)
    inputs = tuple(Input(symbol(f"{n}.{what}"), n, Kind.OBSERVED) for n in names for what in given)
    if masked or blended:
        statements = tuple(map(_blended, statements))
    if masked:
        statements = _with_transmitted(statements, names)
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


def _sent(program: Program, fired: Collection[Symbol]) -> set[Symbol]:
    """Return the targets of statements that read `fired` and lead to what acts on other neurons."""
    across = {r for s in program.statements if not isinstance(s, Assign) for r in s.reads}
    reading = [s.target for s in program.statements if s.reads & set(fired)]
    return {target for target in reading if reached_from(program, {target}) & across}


def _with_transmitted(statements: tuple[Statement, ...], names: list[str]) -> tuple[Statement, ...]:
    """Add what each neuron transmits, right after its own spike is decided."""
    spikes = {symbol(f"{name}.spike"): name for name in names}
    found: list[Statement] = []
    for statement in statements:
        found.append(statement)
        if statement.target in spikes:
            name = spikes[statement.target]
            seen, known = symbol(f"{name}.seen"), symbol(f"{name}.observed")
            acts = Where(seen > Rational(1, 2), known, statement.target)
            found.append(Assign(symbol(f"{name}.{TRANSMITTED}"), name, acts))
    return tuple(found)


def _blended(statement: Statement) -> Statement:
    """Let a share of a spike do a share of what a spike does."""
    if not isinstance(statement, Assign):
        return statement
    blend = statement.expression.replace(Mix, lambda by, new, old: by * new + (1 - by) * old)
    return replace(statement, expression=blend)


def fully_observed(program: Program) -> Program:
    """Return a masked Program as if every neuron was observed all the time, for questions about its structure."""
    suffix = f".{TRANSMITTED}"
    statements = tuple(
        replace(s, expression=symbol(f"{s.space}.observed"))
        if isinstance(s, Assign) and str(s.target).endswith(suffix)
        else s
        for s in program.statements
    )
    return replace(program, statements=statements)


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
    own, observed = symbol(f"{name}.spike"), symbol(f"{name}.observed")
    return Assign(statement.target, name, Where(observed > Rational(1, 2), Integer(1), Detach(own)))


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
