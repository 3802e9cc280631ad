"""hidden: what private, unobserved noise reaches, cut out of a forced Program so that it can be integrated out.

Given the observed spikes, everything that noise does not reach (synaptic traces, drives, the time since the last spike)
is known, and the neurons do not act on each other. What is left of a neuron is a small stochastic system of its own:
its noisy states, a step, and the margin above threshold that is observed only as spike or no spike.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import sympy
from sympy import Expr, Float, Integer, Rational, Symbol

from eqsnn.errors import InputError
from eqsnn.language.functions import Detach, PoissonQuantile, symbol
from eqsnn.maths.program import CONSTANT, NETWORK, Assign, Input, Kind, Program, Statement

DIFFUSION = "diffusion"  # relative to the distance from reset to threshold
NOISE = (Kind.NORMAL, Kind.UNIFORM)
TAIL = 1e-6  # probability of a count above the largest node
MANY_COUNTS = 20.0  # mean above which a Poisson count is as good as Gaussian
GAUSS_NODES = 7
DIFFUSION_NODES = 3  # it is added in every step, so that its variance is what matters
UNIFORM_NODES = 8
MOST_NODES = 125  # of all noise sources of a neuron together


@dataclass(frozen=True, slots=True)
class Source:
    """A noise source of each neuron as weighted nodes: `symbol` takes each value with its weight.

    mean, variance: of the source itself, exact where the nodes are not. law: `normal`, `uniform` (on [0, 1)) or
    `counts` (Poisson), to draw from; `sides` (-1 or 1) is only summed over.
    """

    symbol: Symbol
    values: tuple[Expr, ...]
    weights: tuple[Expr, ...]
    mean: Expr
    variance: Expr
    law: str


@dataclass(frozen=True, slots=True)
class Hidden:
    """The noisy part of a population: for given `feeds`, `states` and noise, the next states and the margin.

    step: statements over the population's own space; its outputs are `next.NAME` for each noisy state, `margin`,
    `scale` (distance from reset to threshold) and, with a refractory period, `active`. The observed spike is the input
    `population.observed`. feeds: values of the known part, one per step. The first state is the one whose distance to
    the threshold is the margin. regenerative: the first state drives itself, and runs away where it crosses and no spike
    was observed. deviations: of each state but the first, standing for its standard deviation, if it stands for its mean
    (`on_both_sides`).
    """

    population: str
    states: tuple[Symbol, ...]
    step: Program
    feeds: tuple[Symbol, ...]
    sources: tuple[Source, ...]
    regenerative: bool = False
    deviations: tuple[Symbol, ...] = ()

    def composed(self) -> dict[str, Expr]:
        """Return each output as one expression of states, feeds, parameters and noise."""
        known: dict[Symbol, Expr] = {}
        for statement in self.step.statements:
            assert isinstance(statement, Assign)
            known[statement.target] = statement.expression.xreplace(known)
        return {name: known.get(s, s) for name, s in self.step.outputs.items()}

    def forgets(self) -> bool:
        """Return whether a spike leaves nothing of the noisy states, and of the noise, that were before it."""
        noisy = {*self.states, *(source.symbol for source in self.sources)}
        spiked = {symbol(f"{self.population}.observed"): Integer(1)}
        after = self.composed()
        return not any(
            after[f"next.{s}"].xreplace(spiked).free_symbols & noisy for s in self.states
        )


@dataclass(frozen=True, slots=True)
class Separated:
    """A forced Program in two parts: `given` outputs every feed (under its own name); `hidden` is the noisy rest."""

    given: Program
    hidden: tuple[Hidden, ...]


def separate_noise(
    program: Program, populations: Iterable[str], typical: Mapping[str, float]
) -> Separated:
    """Cut a forced Program (without escape noise) into what is known given the spikes and what noise reaches.

    typical: largest plausible value of every parameter and setting, to know how many counts of a Poisson source
    matter. Populations that no noise reaches are not among the hidden ones. Raises InputError where noise passes
    from neuron to neuron other than by spikes.
    """
    noisy = _reached(program, {given.symbol for given in program.of_kind(*NOISE)})
    hidden = tuple(
        _hidden(program, name, noisy, typical)
        for name in populations
        if program.outputs[f"{name}.margin"] in noisy
    )
    feeds = {feed for part in hidden for feed in part.feeds}
    quiet = {state: after for state, after in program.next_states.items() if state not in noisy}
    outputs = {
        name: value
        for name, value in program.outputs.items()
        if value not in noisy and name not in {str(feed) for feed in feeds}
    }
    given = replace(
        program,
        inputs=tuple(g for g in program.inputs if g.symbol not in noisy),
        statements=tuple(s for s in program.statements if s.target not in noisy),
        next_states=quiet,
        outputs={**outputs, **{str(feed): feed for feed in feeds}},
    )
    return Separated(given, hidden)


def _reached(program: Program, noise: set[Symbol]) -> set[Symbol]:
    """Everything that depends on noise of this or an earlier step."""
    reached = set(noise)
    while True:
        before = len(reached)
        for statement in program.statements:
            if statement.reads & reached:
                reached.add(statement.target)
        reached |= {state for state, after in program.next_states.items() if after in reached}
        reached |= {delay.arrival for delay in program.delays if delay.sent in reached}
        if len(reached) == before:
            return reached


def _hidden(
    program: Program, population: str, noisy: set[Symbol], typical: Mapping[str, float]
) -> Hidden:
    spaces = program.space_of()
    own = [s for s in program.next_states if s in noisy and spaces[s] == population]
    margin = program.outputs[f"{population}.margin"]
    outputs = {f"next.{state}": program.next_states[state] for state in own}
    outputs |= {"margin": margin, "scale": program.outputs[f"{population}.threshold_to_reset"]}
    if f"{population}.active" in program.outputs:
        outputs["active"] = program.outputs[f"{population}.active"]
    parameters = {given.symbol for given in program.of_kind(*CONSTANT)}
    observed = symbol(f"{population}.observed")
    fixed = _fixed(program, parameters | {observed})
    needed, taken, feeds = set(outputs.values()), [], []
    for statement in reversed(program.statements):
        target = statement.target
        if target not in needed or not (target in noisy or target in fixed):
            continue
        if not isinstance(statement, Assign) or spaces[target] != population:
            raise InputError(
                f"the private noise of `{population}` reaches other neurons by more than spikes ({target}); "
                "it cannot be integrated out: give the noise as an array, or use the free-running stage alone"
            )
        taken.append(statement)
        needed |= statement.reads
    inputs: list[Input] = []
    for s in sorted(needed, key=str):
        if any(s == statement.target for statement in taken) or s == observed:
            continue
        if s in noisy or s in parameters:
            inputs.extend(g for g in program.inputs if g.symbol == s)
        else:
            feeds.append(s)
    inputs += [Input(s, population, Kind.DRIVE) for s in feeds]
    inputs.append(Input(observed, population, Kind.OBSERVED))
    step = Program(
        spaces={population: program.spaces[population]},
        inputs=tuple(
            replace(g, kind=Kind.DRIVE if g.kind is Kind.STATE else g.kind) for g in inputs
        ),
        statements=tuple(reversed(taken)),
        next_states={},
        outputs=outputs,
        surrogate=program.surrogate,
    )
    step, sources = _with_nodes(step, population, typical)
    first = potential_of(program, population)
    states = [first, *(s for s in own if s != first)]
    return Hidden(population, tuple(states), step, tuple(feeds), sources)


def on_both_sides(hidden: Hidden) -> Hidden:
    """Return the part with every state but the first at its mean plus or minus its standard deviation, by chance.

    Two points with the right mean and variance: what a third moment of these states does is lost, and what two of them
    have in common.
    """
    step, others = hidden.step, hidden.states[1:]
    sides = tuple(symbol(f"{state}.(side)") for state in others)
    deviations = tuple(symbol(f"{state}.(deviation)") for state in others)
    apart: dict[Expr, Expr] = {
        x: x + side * deviation
        for x, side, deviation in zip(others, sides, deviations, strict=True)
    }
    signs, halves = (Integer(-1), Integer(1)), (Rational(1, 2), Rational(1, 2))
    sources = (Source(side, signs, halves, Integer(0), Integer(1), "sides") for side in sides)
    inputs = (Input(s, hidden.population, Kind.DRIVE) for s in (*deviations, *sides))
    statements = tuple(
        replace(s, expression=s.expression.xreplace(apart))  # type: ignore[union-attr, call-arg]
        for s in step.statements
    )
    return replace(
        hidden,
        step=replace(step, inputs=(*step.inputs, *inputs), statements=statements),
        sources=(*hidden.sources, *sources),
        deviations=deviations,
    )


def _fixed(program: Program, known: set[Symbol]) -> set[Symbol]:
    """Values that constants and the observed spike determine: cheaper to have in the noisy step than to feed."""
    fixed = set(known)
    for statement in program.statements:
        if isinstance(statement, Assign) and statement.reads <= fixed:
            fixed.add(statement.target)
    return fixed - known


def potential_of(program: Program, population: str) -> Symbol:
    """Return the state that rises to the threshold: the one whose next value, had no spike occurred, the margin reads."""
    spaces = program.space_of()
    values = {s.target: s.expression for s in program.statements if isinstance(s, Assign)}
    margin = program.outputs[f"{population}.margin"]
    height = values.get(margin, margin)
    silent: dict[Expr, Expr] = {symbol(f"{population}.fired"): Integer(0)}
    silent[symbol(f"{population}.observed")] = Integer(0)
    for state, after in program.next_states.items():
        if spaces[state] != population:
            continue
        reached = values.get(after, after).xreplace(silent)
        if isinstance(reached, Symbol) and height.diff(reached).is_positive:
            return state
    raise InputError(
        f"the threshold of `{population}` is not the height of one of its states; "
        "write it as a comparison of a state, such as `v >= v_th`"
    )


def _with_nodes(
    step: Program, population: str, typical: Mapping[str, float]
) -> tuple[Program, tuple[Source, ...]]:
    """Replace each random number by a symbol with weighted nodes."""
    sources: list[Source] = []
    swaps: dict[Expr, Expr] = {}
    for given in step.of_kind(*NOISE):
        node = symbol(f"{population}.(node {len(sources)})")
        calls = {
            call
            for statement in step.statements
            for call in statement.expression.atoms(PoissonQuantile)  # type: ignore[union-attr]
            if call.args[0] == given.symbol
        }
        alone = not any(
            s.expression.xreplace({call: node for call in calls}).has(given.symbol)  # type: ignore[union-attr]
            for s in step.statements
        )
        if len(calls) == 1 and alone:
            call = calls.pop()
            rate = _in_inputs(step, call.args[1])  # type: ignore[arg-type]
            swaps[call] = node
            sources.append(_poisson(node, rate, _largest(rate, typical)))
        elif given.kind is Kind.NORMAL:
            swaps[given.symbol] = node
            added = given.symbol == _diffusion_noise(population)
            sources.append(_gauss(node, DIFFUSION_NODES if added else GAUSS_NODES))
        else:
            swaps[given.symbol] = node
            values = [Rational(2 * n + 1, 2 * UNIFORM_NODES) for n in range(UNIFORM_NODES)]
            equal = (Rational(1, UNIFORM_NODES),) * UNIFORM_NODES
            sources.append(
                Source(node, tuple(values), equal, Rational(1, 2), Rational(1, 12), "uniform")
            )
    if math.prod(len(source.values) for source in sources) > MOST_NODES:
        raise InputError(
            f"`{population}` has {len(sources)} noise sources, too many to integrate out together; "
            "give some of them as arrays, or merge them into one"
        )
    gone = {given.symbol for given in step.of_kind(*NOISE)}
    nodes = tuple(Input(source.symbol, population, Kind.DRIVE) for source in sources)
    statements = tuple(
        replace(s, expression=s.expression.xreplace(swaps))  # type: ignore[union-attr, call-arg]
        for s in step.statements
    )
    kept = tuple(g for g in step.inputs if g.symbol not in gone)
    return replace(step, inputs=(*kept, *nodes), statements=statements), tuple(sources)


def _in_inputs(step: Program, expression: Expr) -> Expr:
    """Write an expression over statements out in inputs."""
    for statement in reversed(step.statements):
        if isinstance(statement, Assign):
            expression = expression.xreplace({statement.target: statement.expression})
    return expression


def _largest(rate: Expr, typical: Mapping[str, float]) -> float:
    """The largest plausible mean count; a rate that is fed or unknown counts as 1."""
    values = {s: Float(typical.get(str(s), 1.0)) for s in rate.free_symbols}
    found = float(rate.xreplace(values)) if values else float(rate)  # type: ignore[arg-type]
    return max(found, 1e-3)


def _poisson(node: Symbol, rate: Expr, largest: float) -> Source:
    if largest > MANY_COUNTS:
        standard = _gauss(node)
        values = tuple(rate + sympy.sqrt(rate) * value for value in standard.values)
        return Source(node, values, standard.weights, rate, rate, "normal")
    probability, total, count = math.exp(-largest), math.exp(-largest), 0
    while 1 - total > TAIL:
        count += 1
        probability *= largest / count
        total += probability
    weights = [sympy.exp(-rate) * rate**k / sympy.factorial(k) for k in range(count)]
    weights.append(1 - sum(weights, Integer(0)))
    return Source(
        node, tuple(Integer(k) for k in range(count + 1)), tuple(weights), rate, rate, "counts"
    )


def _gauss(node: Symbol, n: int = GAUSS_NODES) -> Source:
    """Gauss-Hermite nodes of the standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    values = tuple(Float(float(x)) for x in nodes)
    shares = tuple(Float(float(w / weights.sum())) for w in weights)
    return Source(node, values, shares, Integer(0), Integer(1), "normal")


def nodes_of(sources: tuple[Source, ...]) -> list[tuple[dict[Symbol, Expr], Expr]]:
    """Return all combinations of nodes: values by symbol, and the weight of the combination."""
    combined = []
    for choice in itertools.product(*(range(len(source.values)) for source in sources)):
        chosen = zip(sources, choice, strict=True)
        pairs = [(source.symbol, source.values[n], source.weights[n]) for source, n in chosen]
        weight = sympy.Mul(*(w for _, _, w in pairs)) if pairs else Integer(1)
        combined.append(({s: value for s, value, _ in pairs}, weight))
    return combined


def diffuse(program: Program, populations: Iterable[str]) -> Program:
    """Add diffusion noise to the potential of these populations: a normal number times `diffusion` in each step.

    The setting `diffusion` is relative to the distance from reset to threshold. Annealed to nothing, it lets a
    likelihood see how far from a spike a neuron was that fires by an upstroke of its own, where a width of the
    threshold cannot: the density of the potential one step ahead decides, not its derivative through the upstroke.
    """
    inputs = [*program.inputs, Input(symbol(DIFFUSION), NETWORK, Kind.SETTING)]
    noisy: dict[Expr, Expr] = {}
    added: list[Statement] = []
    for name in populations:
        state = potential_of(program, name)
        scale = _in_inputs(program, program.outputs[f"{name}.threshold_to_reset"])
        noise, moved = _diffusion_noise(name), symbol(f"{name}.(diffused)")
        inputs.append(Input(noise, name, Kind.NORMAL))
        added.append(Assign(moved, name, state + symbol(DIFFUSION) * Detach(scale) * noise))
        noisy[state] = moved
    moving = tuple(
        replace(s, expression=s.expression.xreplace(noisy)) if isinstance(s, Assign) else s
        for s in program.statements
    )
    return replace(program, inputs=tuple(inputs), statements=(*added, *moving))


def threshold_frame(hidden: Hidden) -> Program | None:
    """Return `level`, the potential at threshold, and `scale`, from there down to the reset.

    Both depend on parameters, settings and feeds, all taken as constants. None if noise moves the threshold.
    """
    composed = hidden.composed()
    silent = {symbol(f"{hidden.population}.observed"): Integer(0)}
    after = composed[f"next.{hidden.states[0]}"].xreplace(silent)
    level = sympy.expand(after - composed["margin"])
    noise = {source.symbol for source in hidden.sources}
    if level.free_symbols & {*hidden.states, *noise}:
        return None
    return _function_of_constants(hidden, {"level": level, "scale": composed["scale"]})


def reset_scale(hidden: Hidden) -> Program:
    """Return `scale`, the distance from reset to threshold where noisy states are 0, as a function of constants."""
    scale = hidden.composed()["scale"].xreplace({s: Integer(0) for s in hidden.states})
    return _function_of_constants(hidden, {"scale": abs(scale)})  # type: ignore[dict-item]


def _function_of_constants(hidden: Hidden, results: Mapping[str, Expr]) -> Program:
    targets = {name: symbol(f"(frame {name})") for name in results}
    read = {s for e in results.values() for s in e.free_symbols}
    inputs = [replace(g, kind=Kind.PARAMETER) for g in hidden.step.inputs if g.symbol in read]
    return Program(
        spaces=hidden.step.spaces,
        inputs=tuple(inputs),
        statements=tuple(Assign(targets[n], hidden.population, e) for n, e in results.items()),
        next_states={},
        outputs=dict(targets),
    )


def _diffusion_noise(population: str) -> Symbol:
    return symbol(f"{population}.noise.diffusion")
