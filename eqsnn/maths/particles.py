"""particles: one step of a sample of a neuron's noisy states, and the probability it gives to what was observed.

Where the margin is affine in Gaussian noise, that noise is integrated out of the probability and then drawn given
the observation (a fully adapted filter, Pitt & Shephard 1999, doi:10.1080/01621459.1999.10474153), so that neither
jumps where a particle passes the threshold. Any other noise is drawn blindly and the threshold gets a narrow width.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import sympy
from sympy import Expr, Float, Integer, Rational, Symbol

from eqsnn.language.functions import (
    Detach,
    LogNormalCdf,
    LogSigmoid,
    NormalBelow,
    Where,
    maximum,
    minimum,
    symbol,
)
from eqsnn.maths.escape import ESCAPE_WIDTH
from eqsnn.maths.hidden import Hidden, Source, threshold_frame
from eqsnn.maths.program import NETWORK, Assign, Input, Kind, Program

SPREAD = "(spread)"  # standard deviation of the particles' potential at the start of a step
BAND = 0.5  # width of the threshold relative to that spread over the root of the number of particles, unless integrated
NARROWEST = 1e-9  # width of the threshold relative to the distance from reset to threshold
CERTAIN = 40  # margin in standard deviations of a neuron that cannot fire
COMPRESSED = 30  # widths on the wrong side of the threshold from which the log-probability falls as a logarithm only
RAREST = 1e-12  # mean of a count


@dataclass(frozen=True, slots=True)
class Draw:
    """A random number of each particle and step: `normal`, or `uniform` on [0, 1)."""

    symbol: Symbol
    law: str


@dataclass(frozen=True, slots=True)
class ParticleStep:
    """`program` maps states, feeds, parameters and draws to `next.NAME` of each state and `log_weight`.

    log_weight: the log-probability of the observation given the particle; its derivative includes that of the
    log-probability of counts that were drawn. spread: whether the program reads the spread of the potential.
    """

    hidden: Hidden
    program: Program
    draws: tuple[Draw, ...]
    spread: bool

    def results(self) -> dict[str, Symbol]:
        """Return the symbol of each output."""
        return dict(self.program.outputs)


def particle_step(hidden: Hidden, n_particles: int) -> ParticleStep:
    """Return the step of one of so many particles of a population."""
    return _Writer(hidden, n_particles).write()


class _Writer:
    def __init__(self, hidden: Hidden, n_particles: int) -> None:
        self.hidden, self.name = hidden, hidden.population
        self.band = Float(BAND / math.sqrt(n_particles))
        self.statements: list[Assign] = []
        self.draws: list[Draw] = []
        self.composed = hidden.composed()
        self.scale = Detach(self.composed["scale"])
        self.width = self.scale * (symbol(ESCAPE_WIDTH) + Float(NARROWEST))
        observed = symbol(f"{self.name}.observed") > Rational(1, 2)
        self.observed = observed
        self.sign = Where(observed, Integer(1), Integer(-1))

    def let(self, expression: Expr, name: str) -> Symbol:
        target = symbol(f"{self.name}.({name})")
        self.statements.append(Assign(target, self.name, expression))
        return target

    def draw(self, law: str) -> Symbol:
        target = symbol(f"{self.name}.(draw {len(self.draws)})")
        self.draws.append(Draw(target, law))
        return target

    def write(self) -> ParticleStep:
        score = sympy.Add(*(self.drawn(source) for source in self.hidden.sources))
        aimed = self.aimed()
        weight = self.integrate(aimed) if aimed else self.smoothed()
        for source in self.hidden.sources:
            if source.law == "normal" and source not in aimed:
                z = self.draw("normal")
                self.set(source, z)
        outputs = {"log_weight": self.let(weight + score, "log weight")}
        for n, state in enumerate(self.hidden.states):
            after = self.composed[f"next.{state}"]
            outputs[f"next.{state}"] = self.let(
                after if n else self.bounded(after), f"next {state}"
            )
        return self.finished(outputs)

    def drawn(self, source: Source) -> Expr:
        """Set a source that is not normal; return a term without value whose derivative is that of its log-probability."""
        if source.law == "normal":
            return Integer(0)
        u = self.draw("uniform")
        if source.law == "uniform":
            self.statements.append(Assign(source.symbol, self.name, u))
            return Integer(0)
        passed, count = Integer(0), Integer(0)
        for weight in source.weights[:-1]:
            passed = passed + weight
            count = count + Where(u >= passed, Integer(1), Integer(0))
        self.statements.append(Assign(source.symbol, self.name, count))
        if source.mean.is_number:
            return Integer(0)
        term = source.symbol * sympy.log(source.mean + Float(RAREST)) - source.mean
        return term - Detach(term)

    def set(self, source: Source, standard: Expr) -> None:
        value = source.mean + sympy.sqrt(source.variance) * standard
        self.statements.append(Assign(source.symbol, self.name, value))

    def aimed(self) -> list[Source]:
        """The normal sources that can be integrated out: those in which the margin is affine."""
        normal = [source for source in self.hidden.sources if source.law == "normal"]
        slopes = [self.composed["margin"].diff(source.symbol) for source in normal]
        if any(slope.free_symbols & {source.symbol for source in normal} for slope in slopes):
            return []
        return [source for source, slope in zip(normal, slopes, strict=True) if slope != 0]

    def integrate(self, aimed: list[Source]) -> Expr:
        """Return the log-probability over these sources and a Gaussian width of the threshold, and set them given the observation.

        With margin m + s.z - w e, z and e standard normal and S^2 = s.s + w^2: P(spike) = Phi(m/S). The component
        y of (z, e) along (s, -w)/S is drawn from the side that was observed, what is orthogonal to it as ever.
        """
        margin = self.composed["margin"]
        slopes = [
            self.let(margin.diff(s.symbol) * sympy.sqrt(s.variance), f"slope {n}")
            for n, s in enumerate(aimed)
        ]
        middle = margin.xreplace({s.symbol: s.mean for s in aimed})
        along = sympy.Add(*(slope**2 for slope in slopes))
        whole = self.let(sympy.sqrt(along + self.width**2), "deviation")
        above: Expr = self.sign * middle / whole
        if "active" in self.composed:
            above = Where(self.composed["active"] > Rational(1, 2), above, Integer(CERTAIN))
        above = self.let(above, "above")
        side = self.let(-self.sign * NormalBelow(self.draw("uniform"), above), "side")
        other = self.draw("normal")
        if len(aimed) == 1:
            self.set(aimed[0], (slopes[0] * side - self.width * other) / whole)
            return LogNormalCdf(above)
        length = self.let(sympy.sqrt(along + (Float(NARROWEST) * self.scale) ** 2), "length")
        raw = [self.draw("normal") for _ in aimed]
        shift = (side - self.width / length * other) / whole - sympy.Add(
            *(s * z for s, z in zip(slopes, raw, strict=True))
        ) / length**2
        shift = self.let(shift, "shift")
        for source, slope, z in zip(aimed, slopes, raw, strict=True):
            self.set(source, z + slope * shift)
        return LogNormalCdf(above)

    def smoothed(self) -> Expr:
        """Return the log-probability at a margin that is not integrated over: a threshold with a narrow width."""
        margin = self.composed["margin"]
        steep = Detach(sympy.Abs(margin.diff(self.hidden.states[0])))
        width = self.width + self.band * symbol(SPREAD) * steep
        ratio = self.let(self.sign * margin / width, "above")
        far = maximum(-COMPRESSED - ratio, Integer(0))
        weight = LogSigmoid(Where(far > 0, -COMPRESSED - sympy.log(1 + far), ratio))
        if "active" in self.composed:
            weight = Where(self.composed["active"] > Rational(1, 2), weight, Integer(0))
        return weight

    def bounded(self, potential: Expr) -> Expr:
        """Keep a potential that passed the threshold without a spike from running away."""
        frame = threshold_frame(self.hidden)
        if frame is None:
            return potential
        values = {s.target: s.expression for s in frame.statements if isinstance(s, Assign)}
        highest = values[frame.outputs["level"]] + self.scale
        return Where(self.observed, potential, minimum(potential, highest))

    def finished(self, outputs: dict[str, Symbol]) -> ParticleStep:
        ordered = _ordered(self.statements)
        read = {s for statement in ordered for s in statement.reads}
        known = [replace(g, kind=_kind(g)) for g in self.hidden.step.inputs if g.symbol in read]
        taken = {statement.target for statement in ordered}
        inputs = [g for g in known if g.symbol not in taken]
        inputs += [Input(d.symbol, self.name, Kind.DRIVE) for d in self.draws]
        extra = ((ESCAPE_WIDTH, NETWORK), (SPREAD, self.name))
        inputs += [Input(symbol(n), space, Kind.SETTING) for n, space in extra if symbol(n) in read]
        program = Program(
            spaces=self.hidden.step.spaces,
            inputs=tuple(inputs),
            statements=tuple(ordered),
            next_states={},
            outputs=dict(outputs),
            surrogate=self.hidden.step.surrogate,
        )
        return ParticleStep(self.hidden, program, tuple(self.draws), symbol(SPREAD) in read)


def _kind(given: Input) -> Kind:
    return Kind.DRIVE if given.kind is Kind.OBSERVED else given.kind


def _ordered(statements: Iterable[Assign]) -> list[Assign]:
    """Each statement after those whose values it reads."""
    left = {statement.target: statement for statement in statements}
    done: list[Assign] = []

    def visit(statement: Assign) -> None:
        for s in sorted(statement.reads & left.keys(), key=str):
            visit(left.pop(s))
        done.append(statement)

    while left:
        visit(left.pop(next(iter(left))))
    return done
