"""append_loss: a loss that is itself a small dynamical system becomes part of the step.

The van Rossum distance filters the difference of two spike trains; as a state of the step it needs no memory for
spikes, and its gradient comes out of the same adjoint.
"""

from collections.abc import Iterable
from dataclasses import replace

from sympy import Expr

from eqsnn.language.functions import symbol
from eqsnn.maths.program import NETWORK, Assign, Input, Kind, Program, Statement

DECAY = "van_rossum_decay"  # exp(-dt/tau)
TRACE = "(trace)"  # the filtered difference of spikes; no model file can spell it
COMPARED = "compared"  # of a neuron in a step: 1 where it was observed
COUNTED = "counted"  # 1 in the steps whose spikes count, 0 in a warm-up


def append_van_rossum(
    program: Program, populations: Iterable[str], *, masked: bool = False
) -> Program:
    """Add the outputs `population.van_rossum`: the terms of the squared van Rossum distance to `population.observed`.

    With f_n = decay f_{n-1} + counted_n (spike_n - observed_n), held in the state `population.(trace)`, the distance of
    the trains of a neuron is the sum of the outputs (1 - decay^2)/2 f_n^2 and decay^2/2 f_N^2 for all later time: the
    integral of van Rossum 2001 (doi:10.1162/089976601300014321) divided by tau, exact for spikes on the grid.
    With `masked` spikes differ only where the input `population.compared` is 1.
    """
    decay, counted = symbol(DECAY), symbol(COUNTED)
    inputs = [
        *program.inputs,
        Input(decay, NETWORK, Kind.SETTING),
        Input(counted, NETWORK, Kind.DRIVE),
    ]
    statements: list[Statement] = list(program.statements)
    next_states, outputs = dict(program.next_states), dict(program.outputs)
    known = {given.symbol for given in inputs}
    for name in populations:
        trace, observed = symbol(f"{name}.{TRACE}"), symbol(f"{name}.observed")
        following, cost = symbol(f"{name}.{TRACE}.next"), symbol(f"{name}.van_rossum")
        inputs.append(Input(trace, name, Kind.STATE))
        if observed not in known:
            inputs.append(Input(observed, name, Kind.OBSERVED))
        wrong: Expr = counted * (program.outputs[f"{name}.spike"] - observed)
        if masked:
            compared = symbol(f"{name}.{COMPARED}")
            inputs.append(Input(compared, name, Kind.OBSERVED))
            wrong = compared * wrong
        statements.append(Assign(following, name, decay * trace + wrong))
        statements.append(Assign(cost, name, (1 - decay**2) / 2 * following**2))
        next_states[trace] = following
        outputs[f"{name}.van_rossum"] = cost
    return replace(
        program,
        inputs=tuple(inputs),
        statements=tuple(statements),
        next_states=next_states,
        outputs=outputs,
    )
