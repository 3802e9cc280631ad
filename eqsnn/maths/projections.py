"""What synapses do within a step: sums at its start, and what arriving spikes change."""

from collections.abc import Mapping, Sequence

import sympy
from sympy import Expr, Integer, Rational, Symbol

from eqsnn.errors import EqsError, ModelError
from eqsnn.language.functions import Mix, Where, symbol
from eqsnn.language.model import Model, Projection, Statement
from eqsnn.maths.build import Block, Builder, Names, summed_into
from eqsnn.maths.program import NETWORK, Couple, Delay, Kind, Reduce
from eqsnn.maths.separate import Factors, separate

SPIKE = "(spike)"  # the local name of a population's spikes; no model file can spell it
HALF = Rational(1, 2)

Source = tuple[
    str, Symbol
]  # the side a value lives on (pre, post, synapse, all), and its symbol in the Program


Taps = Sequence[
    tuple[Projection, Expr]
]  # a projection with delays of its own, and the weight of each


def sum_over_synapses(build: Builder, projection: Projection, taps: Taps | None = None) -> None:
    """Add the projection's share to every summed variable of its target; the last projection completes them.

    taps: sums to add up instead of the projection's own.
    """
    synapse = build.model.synapse_of(projection.name)
    scope = build.scopes[projection.post]
    for target, expression in synapse.summed.items():
        resolved = build.scopes[projection.name].resolve(expression)
        total: Expr = Integer(0)
        for each, weight in taps or ((projection, Integer(1)),):
            total += weight * total_over_synapses(build, each, resolved, target)
        scope.current[symbol(target)] = scope.current.get(symbol(target), Integer(0)) + total
    if projection.name == _last_into(build.model, projection.post):
        for target in sorted(summed_into(build.model, projection.post)):
            full = f"{projection.post}.{target}"
            scope.current[symbol(target)] = build.assign(
                full, projection.post, scope.current[symbol(target)]
            )


def deliver(build: Builder, projection: Projection, spike: Symbol, active: Expr | None) -> None:
    """Run `on_pre` for the spikes that arrive now. `active`: where the target may be written if frozen, None: all."""
    build.scopes[projection.pre].current[symbol(SPIKE)] = spike
    synapse = build.model.synapse_of(projection.name)
    for statement in synapse.on_pre:
        if statement.target in synapse.variables:
            _write_synapse(build, projection, statement)
        else:
            _write_postsynaptic(build, projection, statement, active)


def pairwise(build: Builder, projection: Projection, expression: Expr) -> Expr:
    """Write a synaptic expression over symbols of the projection's own space."""
    names: Names = {}
    for local, (side, source) in _sources(build, projection, expression).items():
        outside = side in ("pre", "post")
        names[local] = (
            build.gather(projection.name, source, from_post=side == "post") if outside else source
        )
    return expression.xreplace(names)


def _last_into(model: Model, population: str) -> str:
    return [p.name for p in model.projections.values() if p.post == population][-1]


def total_over_synapses(
    build: Builder, projection: Projection, expression: Expr, label: str
) -> Expr:
    """Sum an expression of pre, post and synaptic values over the synapses of each postsynaptic neuron.

    A sum of products of one-sided factors becomes one weighted sum per term; anything else is evaluated pair by pair.
    """
    sources = _sources(build, projection, expression)
    terms = separate(expression, {local: side for local, (side, _) in sources.items()})
    if terms is not None:
        return sum((_couple(build, projection, term, sources, label) for term in terms), Integer(0))
    pair = build.assign(
        f"{projection.name}.{label}", projection.name, pairwise(build, projection, expression)
    )
    target = build.fresh(f"{projection.name}.{label}.total")
    build.statements.append(Reduce(target, projection.post, projection.name, pair, to_post=True))
    return target


def _couple(
    build: Builder,
    projection: Projection,
    term: Factors,
    sources: Mapping[Symbol, Source],
    label: str,
) -> Expr:
    outside = {local: source for local, (_, source) in sources.items()}
    source = build.assign(
        f"{projection.name}.{label}.source", projection.pre, term.pre.xreplace(outside)
    )
    weight = None
    if term.synapse != 1:
        full = f"{projection.name}.{label}.weight"
        weight = build.assign(full, projection.name, term.synapse.xreplace(outside))
    target = build.fresh(f"{projection.name}.{label}.total")
    build.statements.append(Couple(target, projection.post, projection.name, weight, source))
    return term.post.xreplace(outside) * target


def _sources(build: Builder, projection: Projection, expression: Expr) -> dict[Symbol, Source]:
    """Find, for each symbol of a synaptic expression, its side and the symbol of the Program that holds its value."""
    spaces = {given.symbol: given.space for given in build.inputs}
    spaces |= {statement.target: statement.space for statement in build.statements}
    shared = {given.symbol for given in build.inputs if given.shared}
    found: dict[Symbol, Source] = {}
    for local in sorted(expression.free_symbols, key=str):
        text = str(local)
        if local in spaces:
            found[local] = (
                "all" if spaces[local] == NETWORK or local in shared else "synapse",
                local,
            )
        elif text.endswith("_pre"):
            found[local] = ("pre", presynaptic(build, projection, text.removesuffix("_pre")))
        else:
            value = build.scopes[projection.post].resolve(symbol(text.removesuffix("_post")))
            found[local] = (
                "post",
                build.assign(f"{projection.post}.{text}", projection.post, value),
            )
    return found


def presynaptic(build: Builder, projection: Projection, local: str) -> Symbol:
    """Return the symbol of a presynaptic value, delayed if the projection has a delay."""
    value = build.scopes[projection.pre].resolve(symbol(local))
    sent = build.assign(f"{projection.pre}.{local}.sent", projection.pre, value)
    steps = steps_of_delay(build, projection)
    if steps == 0:
        return sent
    own = steps_of_delay(build, build.model.projections[projection.name])
    label = "arrived" if steps == own else f"arrived.{steps}"
    arrival = build.read(f"{projection.name}.{sent}.{label}", projection.pre, Kind.ARRIVAL)
    delay = Delay(sent, arrival, steps)
    if delay not in build.delays:
        build.delays.append(delay)
    return arrival


def steps_of_delay(build: Builder, projection: Projection) -> int:
    """Return the delay in steps with Brian2's rounding: half up of the quotient in double."""
    return int(projection.delay / build.model.dt + 0.5)


def _write_synapse(build: Builder, projection: Projection, statement: Statement) -> None:
    scope = build.scopes[projection.name]
    arrived = presynaptic(build, projection, SPIKE)
    value = pairwise(build, projection, scope.resolve(statement.expression))
    hit = build.gather(projection.name, arrived, from_post=False)
    mixed = Mix(hit, value, scope.current[symbol(statement.target)])
    full = f"{projection.name}.{statement.target}.arrived"
    scope.current[symbol(statement.target)] = build.assign(full, projection.name, mixed)


def _write_postsynaptic(
    build: Builder, projection: Projection, statement: Statement, active: Expr | None
) -> None:
    increment = increment_of(statement)
    # the spike is one more presynaptic factor, so a delay and a matrix product apply to it as to any other
    resolved = build.scopes[projection.name].resolve(increment) * symbol(f"{SPIKE}_pre")
    local = statement.target.removesuffix("_post")
    total = total_over_synapses(build, projection, resolved, local)
    frozen = build.model.neuron_of(projection.post).variables[local].frozen_when_refractory
    if frozen and active is not None:
        total = Where(active > HALF, total, Integer(0))
    post = build.scopes[projection.post]
    value = post.current[symbol(local)] + total
    post.current[symbol(local)] = build.assign(
        f"{projection.post}.{local}.received", projection.post, value
    )


def increment_of(statement: Statement) -> Expr:
    """Return what an arriving spike adds to a postsynaptic variable. Raises ModelError if that depends on it."""
    target = symbol(statement.target)
    increment = statement.expression - target
    if increment.has(target):
        increment = sympy.expand(increment)
    if increment.has(target) or not statement.target.endswith("_post"):
        raise refusal(
            statement,
            f"a spike may only add to `{statement.target}`, by an amount that does not depend on it",
            f"write `{statement.target} += ...`",
        )
    return increment


def refusal(place: Statement | Block | Projection, message: str, hint: str) -> ModelError:
    """Return the error of something that the place names cannot do."""
    if place.span is None:
        return ModelError(f"{message}; {hint}")
    return EqsError(place.span, message, hint)
