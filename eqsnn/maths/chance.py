"""chance: thresholds `rand() < p`, whose spikes have the probability p, exactly.

The source of a Poisson neuron, a GIF neuron with escape noise and every other model that draws its spikes. No width of the
threshold is needed to give their likelihood a gradient.
"""

from collections.abc import Iterable

import sympy
from sympy import Expr, Float, Integer, Mul, Symbol
from sympy.codegen.cfunctions import expm1, log1p

from eqsnn.language.functions import Where, maximum
from eqsnn.language.model import NeuronModel, NoiseKind
from eqsnn.maths.margin import margin_of
from eqsnn.maths.program import Assign, Kind, Program

# probability of a spike that a model calls impossible, so that its logarithm is finite
LEAST = Float("1e-300")


def draws_its_spikes(neuron: NeuronModel) -> bool:
    """Whether a neuron's threshold is `rand() < p`."""
    uniform = [n.symbol for n in neuron.noise if n.kind is NoiseKind.UNIFORM]
    return neuron.threshold is not None and _chance(margin_of(neuron.threshold)[0], uniform) is not None  # fmt: skip


def chance_of(program: Program, population: str) -> Expr | None:
    """Return the p of a threshold `rand() < p`, or None for any other; it may exceed 1, which means 1.

    The draw must serve the threshold alone: a number that also enters the voltage says more than that it was below p.
    """
    margin = program.outputs[f"{population}.margin"]
    uniform = {given.symbol for given in program.of_kind(Kind.UNIFORM)}
    for statement in program.statements:
        if statement.target == margin and isinstance(statement, Assign):
            found = _chance(statement.expression, uniform)
            others = [s for s in program.statements if s.target != margin]
            drawn = statement.expression.free_symbols & uniform
            return None if any(s.reads & drawn for s in others) else found
    return None


def _chance(margin: Expr, uniform: Iterable[Symbol]) -> Expr | None:
    """Return margin + u where the margin is some value minus the draw u."""
    present = [u for u in uniform if margin.has(u)]
    if len(present) != 1:
        return None
    p = margin + present[0]
    return None if p.has(present[0]) else p


def log_of_spike(p: Expr) -> Expr:
    """Return log min(p, 1), exponentials taken out of the logarithm so that it never underflows."""
    scale, exponent = _split(p)
    logarithm = exponent + sympy.log(maximum(scale, LEAST)) if scale != 1 else exponent
    return Where(logarithm < 0, logarithm, Integer(0))


def log_of_silence(p: Expr, width: Expr) -> Expr:
    """Return log(1 - p), exact for p up to 1 - width.

    Above, where a step without a spike is all but impossible, it goes on as a straight line in log p with the slope
    it has at 1 - width, so that a start far too excitable has a way back. -rate for p = 1 - exp(-rate), at any rate.
    """
    rate = _rate(p)
    if rate is not None:
        return -rate
    scale, exponent = _split(p)
    logarithm = exponent + sympy.log(maximum(scale, LEAST)) if scale != 1 else exponent
    beyond = sympy.log(width) - (1 - width) / width * (logarithm - sympy.log(1 - width))
    return Where(p < 1 - width, log1p(-p), beyond)


def _split(p: Expr) -> tuple[Expr, Expr]:
    """Return (a, x) with p = a*exp(x)."""
    factors = Mul.make_args(p)
    exponent = sum((f.args[0] for f in factors if isinstance(f, sympy.exp)), Integer(0))
    scale = Mul(*(f for f in factors if not isinstance(f, sympy.exp)))
    return scale, exponent


def _rate(p: Expr) -> Expr | None:
    """Return r of p = 1 - exp(-r) = -expm1(-r)."""
    inner = Mul(-1, p)
    if isinstance(inner, expm1):
        return Mul(-1, inner.args[0])
    rest = sympy.expand(1 - p)
    return Mul(-1, rest.args[0]) if isinstance(rest, sympy.exp) else None
