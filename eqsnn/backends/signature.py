"""The calling order of generated code, shared by whoever prints it and whoever calls it."""

from typing import NamedTuple

from eqsnn.maths.program import CONSTANT, PER_STEP, Kind, Program


class Signature(NamedTuple):
    """The order of the values that enter and leave a step, by the names of their symbols."""

    states: tuple[str, ...]
    arrivals: tuple[str, ...]
    now: tuple[str, ...]  # per-step inputs
    held: tuple[str, ...]  # constant inputs
    sent: tuple[str, ...]  # symbol sent into each delay, in the order of `arrivals`
    outputs: tuple[str, ...]


def signature(program: Program) -> Signature:
    """Return the calling order of a Program's step."""
    delays = {delay.arrival.name: delay.sent.name for delay in program.delays}
    arrivals = tuple(given.name for given in program.of_kind(Kind.ARRIVAL))
    return Signature(
        states=tuple(given.name for given in program.of_kind(Kind.STATE)),
        arrivals=arrivals,
        now=tuple(given.name for given in program.of_kind(*PER_STEP)),
        held=tuple(given.name for given in program.of_kind(*CONSTANT)),
        sent=tuple(delays[name] for name in arrivals),
        outputs=tuple(program.outputs),
    )
