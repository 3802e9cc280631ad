"""escape: a hard threshold becomes a spike probability, and the step gains the log-likelihood of the observed spikes."""

from collections.abc import Iterable
from dataclasses import replace

import sympy
from sympy import Expr, Integer, Rational

from eqsnn.language.functions import Detach, LogSigmoid, Where, symbol
from eqsnn.maths.chance import chance_of, log_of_silence, log_of_spike
from eqsnn.maths.force import TRANSMITTED
from eqsnn.maths.program import NETWORK, Assign, Input, Kind, Program, Statement

ESCAPE_WIDTH = "escape_width"  # relative to the distance from reset to threshold
SHARP = 0.02  # escape width below which a threshold is as good as hard
COUNTED = (
    "counted"  # of a neuron in a step: 1 where its likelihood counts, 0 where it was not observed
)


def escape(program: Program, populations: Iterable[str], *, masked: bool = False) -> Program:
    """Add the outputs `population.log_likelihood` to a forced Program.

    A neuron whose margin above threshold is m spikes in a step with probability sigma(m/width); the output is the
    Bernoulli log-probability of `population.observed`, 0 while refractory. The width is the setting `escape_width`
    times the distance from reset to threshold; as it goes to zero the threshold becomes hard again. A neuron whose
    threshold is `rand() < p` spikes with probability p, whatever the width (maths/chance.py). With `masked` the
    log-probability is multiplied by the input `population.counted`, 0 where a neuron was not observed, and there the
    neuron transmits, and is reset by, its spike probability, or its own spikes where the width is below 0.02. Source: Gerstner
    et al. 2014, Neuronal Dynamics, section 9.1 and 10.2; Jolivet et al. 2006, doi:10.1007/s00422-006-0068-6.
    """
    width = symbol(ESCAPE_WIDTH)
    added: list[Statement] = []
    inputs = [*program.inputs, Input(width, NETWORK, Kind.SETTING)]
    outputs = dict(program.outputs)
    softened: dict[Expr, Expr] = {}
    for name in populations:
        margin = program.outputs[f"{name}.margin"]
        scale = program.outputs[f"{name}.threshold_to_reset"]
        observed = symbol(f"{name}.observed")
        above = margin / (scale * width)
        # the probability of no spike is that of a spike at the opposite margin
        fired = LogSigmoid(Where(observed > Rational(1, 2), Integer(1), Integer(-1)) * above)
        active = program.outputs.get(f"{name}.active")
        expected = sympy.exp(LogSigmoid(above))
        chance = chance_of(program, name)
        if chance is not None:
            spike, silence = log_of_spike(chance), log_of_silence(chance, width)
            fired = Where(observed > Rational(1, 2), spike, silence)
            expected = sympy.exp(spike)
        softened[symbol(f"{name}.{TRANSMITTED}")] = (
            expected if active is None else Where(active > Rational(1, 2), expected, Integer(0))
        )
        if active is not None:
            fired = Where(active > Rational(1, 2), fired, Integer(0))
        if masked:
            counted = symbol(f"{name}.{COUNTED}")
            inputs.append(Input(counted, name, Kind.OBSERVED))
            fired = counted * fired
        target = symbol(f"{name}.log_likelihood")
        added.append(Assign(target, name, fired))
        outputs[f"{name}.log_likelihood"] = target
    return replace(
        program,
        inputs=tuple(inputs),
        statements=(*(_softened(s, softened) for s in program.statements), *added),
        outputs=outputs,
    )


def _softened(statement: Statement, expected: dict[Expr, Expr]) -> Statement:
    """Let an unobserved neuron transmit its expected spike while the threshold is wide, its own once that is narrow.

    No gradient passes through either: through a recurrent network without observed spikes it would be that of chaos.
    """
    if not isinstance(statement, Assign) or statement.target not in expected:
        return statement
    own = symbol(f"{statement.space}.spike")
    acts = Where(symbol(ESCAPE_WIDTH) > SHARP, expected[statement.target], own)
    return replace(statement, expression=statement.expression.xreplace({own: Detach(acts)}))
