"""moments: private noise integrated out by a Gaussian density of each neuron's noisy states, as part of the step.

Assumed-density filtering: mean and covariance of the states given all earlier observed spikes are pushed through the
step and conditioned on whether a spike was observed. The result is a Program as any other: deterministic, smooth,
and as fast as its backend.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import sympy
from sympy import Expr, Float, Integer, Rational, Symbol

from eqsnn.language.functions import LogNormalCdf, NormalHazard, Where, maximum, symbol
from eqsnn.maths.escape import COUNTED, ESCAPE_WIDTH
from eqsnn.maths.hidden import Hidden, Separated, nodes_of
from eqsnn.maths.program import NETWORK, Assign, Input, Kind, Program, Statement

MOST_STATES = 4
NARROWEST = (
    1e-9  # of the margin's standard deviation, relative to the distance from reset to threshold
)


def covariance_name(first: Symbol, second: Symbol) -> str:
    """Return the name of the state that holds a covariance; no model file can spell it."""
    return f"{first}.(with {str(second).rsplit('.', 1)[1]})"


def moments(separated: Separated, *, masked: bool = False) -> Program:
    """Return the Program that outputs `population.log_likelihood` of each hidden population.

    Every noisy state becomes its mean; covariances are states of their own that start at 0. Where step and margin are
    affine in the noisy states the prediction is exact for any noise; otherwise it uses sigma points (Julier & Uhlmann
    2004, doi:10.1109/JPROC.2003.823141). Conditioning: moments of a truncated Gaussian (Minka 2001, expectation
    propagation). `escape_width` adds Gaussian noise to the threshold, relative to the distance from reset to threshold.
    With `masked` the inputs `population.seen` and `population.counted` say where spikes were observed, and where their
    log-likelihood counts: a step that was not seen changes the density by its prediction alone.
    """
    program = separated.given
    statements, inputs = list(program.statements), list(program.inputs)
    next_states, outputs = dict(program.next_states), dict(program.outputs)
    known = {given.symbol for given in inputs}
    for hidden in separated.hidden:
        part = _Moments(hidden, masked)
        needed = [g for g in hidden.step.inputs if g.kind in (Kind.PARAMETER, Kind.SETTING)]
        needed += [Input(symbol(f"{hidden.population}.observed"), hidden.population, Kind.OBSERVED)]
        needed += [Input(symbol(ESCAPE_WIDTH), NETWORK, Kind.SETTING)]
        if masked:
            gates = (symbol(f"{hidden.population}.{what}") for what in ("seen", COUNTED))
            needed += [Input(gate, hidden.population, Kind.OBSERVED) for gate in gates]
        needed += [Input(s, hidden.population, Kind.STATE) for s in part.stored()]
        for given in needed:
            if given.symbol not in known:
                known.add(given.symbol)
                inputs.append(given)
        part.write()
        statements += part.statements
        next_states |= part.next_states
        outputs[f"{hidden.population}.log_likelihood"] = part.log_likelihood
    feeds = {str(feed) for hidden in separated.hidden for feed in hidden.feeds}
    kept = {name: value for name, value in outputs.items() if name not in feeds}
    return replace(
        program,
        inputs=tuple(inputs),
        statements=tuple(statements),
        next_states=next_states,
        outputs=kept,
    )


class _Moments:
    """The statements of one population."""

    def __init__(self, hidden: Hidden, masked: bool) -> None:
        self.hidden, self.name, self.masked = hidden, hidden.population, masked
        self.states = hidden.states
        self.statements: list[Statement] = []
        self.next_states: dict[Symbol, Symbol] = {}
        self.log_likelihood = symbol(f"{self.name}.log_likelihood")
        self.count = 0

    def covariance(self, i: int, j: int) -> Symbol:
        i, j = min(i, j), max(i, j)
        return symbol(covariance_name(self.states[i], self.states[j]))

    def stored(self) -> list[Symbol]:
        n = len(self.states)
        pairs = itertools.combinations_with_replacement(range(n), 2)
        return [*self.states, *(self.covariance(i, j) for i, j in pairs)]

    def let(self, expression: Expr, name: str = "") -> Expr:
        """Assign an expression to a fresh symbol, unless it is one already."""
        if expression.is_Atom:
            return expression
        self.count += 1
        target = symbol(f"{self.name}.(moment {self.count}{' ' if name else ''}{name})")
        self.statements.append(Assign(target, self.name, expression))
        return target

    def write(self) -> None:
        """Predict, observe, condition."""
        composed = self.hidden.composed()
        targets = [composed[f"next.{s}"] for s in self.states]
        mean, covariance = self.predicted([*targets, composed["margin"]])
        self.observe(mean, covariance, composed["scale"], composed.get("active"))

    def predicted(self, values: Sequence[Expr]) -> tuple[list[Expr], dict[tuple[int, int], Expr]]:
        """Return mean and covariance of values that depend on states and noise."""
        slopes = [[value.diff(s) for s in self.states] for value in values]
        nodes = [source.symbol for source in self.hidden.sources]
        free = {*self.states, *nodes}
        affine = not any(slope.free_symbols & free for row in slopes for slope in row)
        noise_slopes = [[value.diff(node) for node in nodes] for value in values]
        additive = affine and not any(s.free_symbols & free for row in noise_slopes for s in row)
        if additive:
            at_mean = {source.symbol: source.mean for source in self.hidden.sources}
            mean = [self.let(value.xreplace(at_mean), "mean") for value in values]
            inner = self._spread(slopes)
            covariance = {}
            for (i, j), part in inner.items():
                noise = sum(
                    noise_slopes[i][k] * noise_slopes[j][k] * source.variance
                    for k, source in enumerate(self.hidden.sources)
                )
                covariance[i, j] = self.let(part + noise, "covariance")
            return mean, covariance
        points = [({}, Integer(1))] if affine else self._sigma_points()
        combined = [
            ({**point, **node}, share * weight)
            for point, share in points
            for node, weight in nodes_of(self.hidden.sources)
        ]
        weights = [self.let(weight, "weight") for _, weight in combined]
        seen = [[self.let(v.xreplace(at)) for at, _ in combined] for v in values]
        mean = [
            self.let(sympy.Add(*(w * x for w, x in zip(weights, row, strict=True))), "mean")
            for row in seen
        ]
        off = [[self.let(x - m) for x in row] for row, m in zip(seen, mean, strict=True)]
        inner = self._spread(slopes) if affine else {}
        covariance = {}
        for i, j in itertools.combinations_with_replacement(range(len(values)), 2):
            terms = (w * a * b for w, a, b in zip(weights, off[i], off[j], strict=True))
            covariance[i, j] = self.let(
                sympy.Add(*terms) + inner.get((i, j), Integer(0)), "covariance"
            )
        return mean, covariance

    def _spread(self, slopes: list[list[Expr]]) -> dict[tuple[int, int], Expr]:
        """Covariance of affine functions of the states."""
        n = range(len(self.states))
        return {
            (i, j): sympy.Add(
                *(slopes[i][a] * slopes[j][b] * self.covariance(a, b) for a in n for b in n)
            )
            for i, j in itertools.combinations_with_replacement(range(len(slopes)), 2)
        }

    def _sigma_points(self) -> list[tuple[dict[Symbol, Expr], Expr]]:
        """Weighted points with the mean and covariance of the states; kappa = 3 - n, or 1 from three states on."""
        n = len(self.states)
        root = self._cholesky()
        spread = max(3, n + 1)
        points: list[tuple[dict[Symbol, Expr], Expr]] = [
            ({s: s for s in self.states}, Rational(spread - n, spread))
        ]
        for column, sign in itertools.product(range(n), (1, -1)):
            moved = {
                s: self.let(s + sign * sympy.sqrt(spread) * root[row][column])
                for row, s in enumerate(self.states)
            }
            points.append((moved, Rational(1, 2 * spread)))
        return points

    def _cholesky(self) -> list[list[Expr]]:
        """Lower triangular root of the covariance; a direction without variance has a root of (nearly) 0."""
        n = len(self.states)
        root: list[list[Expr]] = [[Integer(0)] * n for _ in range(n)]
        for j in range(n):
            for i in range(j, n):
                rest = self.covariance(i, j) - sum(root[i][k] * root[j][k] for k in range(j))
                if i == j:
                    root[i][j] = self.let(sympy.sqrt(maximum(rest, Float(1e-12))))
                else:
                    root[i][j] = self.let(rest / root[j][j])
        return root

    def observe(
        self,
        mean: list[Expr],
        covariance: dict[tuple[int, int], Expr],
        scale: Expr,
        active: Expr | None,
    ) -> None:
        """Add the log-probability of spike or no spike, and condition the states on it."""
        n = len(self.states)
        width = scale * (symbol(ESCAPE_WIDTH) + Float(NARROWEST))
        deviation = self.let(sympy.sqrt(covariance[n, n] + width**2), "deviation")
        sign = Where(symbol(f"{self.name}.observed") > Rational(1, 2), Integer(1), Integer(-1))
        above = self.let(sign * mean[n] / deviation, "above")
        hazard = self.let(NormalHazard(above), "hazard")
        fired: Expr = LogNormalCdf(above)
        pull = self.let(sign * hazard / deviation)
        shrink = self.let(hazard * (above + hazard) / deviation**2)
        half = Rational(1, 2)
        silent = [] if active is None else [active < half]
        silent += [symbol(f"{self.name}.seen") < half] if self.masked else []
        for unknown in silent:
            fired = Where(unknown, Integer(0), fired)
            pull = self.let(Where(unknown, Integer(0), pull))
            shrink = self.let(Where(unknown, Integer(0), shrink))
        if self.masked:
            fired = symbol(f"{self.name}.{COUNTED}") * fired
        self.statements.append(Assign(self.log_likelihood, self.name, fired))
        for i, state in enumerate(self.states):
            target = symbol(f"{state}.(conditioned)")
            value = mean[i] + covariance[i, n] * pull
            self.statements.append(Assign(target, self.name, value))
            self.next_states[state] = target
        for i, j in itertools.combinations_with_replacement(range(n), 2):
            target = symbol(f"{self.covariance(i, j)}.(conditioned)")
            value = covariance[i, j] - covariance[i, n] * covariance[j, n] * shrink
            self.statements.append(Assign(target, self.name, value))
            self.next_states[self.covariance(i, j)] = target
