"""What synapses do within a step: sums at its start, and what arriving spikes change."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import sympy
from sympy import Expr, Integer, Rational, Symbol

from eqsnn.errors import EqsError, ModelError
from eqsnn.language.functions import Mix, Where, symbol
from eqsnn.language.model import Model, Pathway, Projection, Statement
from eqsnn.maths.affine import expanded_if_small
from eqsnn.maths.build import Block, Builder, Names, summed_into
from eqsnn.maths.connect import delay_mask, delay_steps
from eqsnn.maths.program import NETWORK, Couple, Delay, Kind, Reduce
from eqsnn.maths.separate import Factors, separate

SPIKE = "(spike)"  # the local name of a population's spikes; no model file can spell it
HALF = Rational(1, 2)

Source = tuple[
    str, Symbol
]  # the side a value lives on (pre, post, synapse, all), and its symbol in the Program


Given = Mapping[Symbol, Source]
Active = Mapping[
    str, Expr | None
]  # of each population: 1 where it is not refractory; None: nowhere
Taps = Sequence[
    tuple[Projection, Expr]
]  # a projection with delays of its own, and the weight of each
EVENT = "(event)"  # the local name of what arrives
NOTHING: Given = {}
PRESENT: Given = {symbol(EVENT): ("all", symbol(EVENT))}


class Arrival(NamedTuple):
    """The events of one side that arrive now; mask: 1 for the synapses at which they do, None: all."""

    event: Symbol
    mask: Symbol | None


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


def follow_links(build: Builder, name: str) -> None:
    """Let linked variables of a population see what populations before it in the file have become in this step.

    In Brian2 a linked variable is another name of its source, and populations advance one after the other.
    """
    order = list(build.model.populations)
    for projection in build.model.projections.values():
        if not projection.link or projection.post != name:
            continue
        if order.index(projection.pre) >= order.index(name):
            continue
        for target, source in build.model.synapse_of(projection.name).summed.items():
            total = total_over_synapses(build, projection, source, target)
            build.scopes[name].current[symbol(target)] = build.assign(
                f"{name}.{target}.followed", name, total
            )


def deliver(
    build: Builder, projection: Projection, pathway: Pathway, event: Symbol, active: Active
) -> None:
    """Run a pathway for the events that arrive now. `active`: where neurons may write what is frozen while refractory."""
    arrivals = _arrivals(build, projection, pathway, event)
    synapse, scope = build.model.synapse_of(projection.name), build.scopes[projection.name]
    temporary = []
    for statement in pathway.statements:
        if statement.temporary:
            scope.current[symbol(statement.target)] = scope.resolve(statement.expression)
            temporary.append(symbol(statement.target))
        elif statement.target in synapse.variables:
            _write_synapse(build, projection, pathway, statement, arrivals)
        else:
            _write_neuron(build, projection, pathway, statement, arrivals, active)
    for name in temporary:
        scope.current.pop(name, None)


def _arrivals(
    build: Builder, projection: Projection, pathway: Pathway, event: Symbol
) -> tuple[Arrival, ...]:
    """Return what arrives of the events of one side, for each delay that synapses have."""
    delay = projection.delay if pathway.name == "pre" else projection.delays.get(pathway.name, 0.0)
    place = projection.pre if pathway.side == "pre" else projection.post
    steps = delay_steps(build.model, projection, delay)
    if isinstance(steps, int):
        label = f"{projection.name}.{pathway.name}"
        return (Arrival(_delayed(build, event, steps, place, label), None),)
    found = []
    for n in (int(n) for n in np.unique(steps)):
        mask = build.read(delay_mask(projection.name, n), projection.name, Kind.SETTING)
        label = f"{projection.name}.{pathway.name}.{n}"
        found.append(Arrival(_delayed(build, event, n, place, label), mask))
    return tuple(found)


def _delayed(build: Builder, sent: Symbol, steps: int, place: str, label: str) -> Symbol:
    """Return the symbol of what was sent some steps ago."""
    if steps == 0:
        return sent
    arrival = build.read(f"{label}.{sent}.arrived", place, Kind.ARRIVAL)
    delay = Delay(sent, arrival, steps)
    if delay not in build.delays:
        build.delays.append(delay)
    return arrival


def pairwise(
    build: Builder, projection: Projection, expression: Expr, given: Given = NOTHING
) -> Expr:
    """Write a synaptic expression over symbols of the projection's own space."""
    names: Names = {}
    for local, (side, source) in _sources(build, projection, expression, given).items():
        outside = side in ("pre", "post")
        names[local] = (
            build.gather(projection.name, source, from_post=side == "post") if outside else source
        )
    return expression.xreplace(names)


def _last_into(model: Model, population: str) -> str:
    return [p.name for p in model.projections.values() if p.post == population][-1]


def total_over_synapses(
    build: Builder,
    projection: Projection,
    expression: Expr,
    label: str,
    given: Given = NOTHING,
    *,
    to_post: bool = True,
) -> Expr:
    """Sum an expression of pre, post and synaptic values over the synapses of each postsynaptic neuron.

    A sum of products of one-sided factors becomes one weighted sum per term; anything else is evaluated pair by pair.
    given: what names of the expression stand for, beyond those of the model. Not to_post: the sum is over the synapses
    of each presynaptic neuron.
    """
    if isinstance(projection.delay, Expr) and not given:
        return _total_by_delay(build, projection, expression, label)
    sources = _sources(build, projection, expression, given)
    terms = separate(expression, {local: side for local, (side, _) in sources.items()})
    if terms is not None and all(_counts(term, to_post) for term in terms):
        totals = [_couple(build, projection, term, sources, label, to_post) for term in terms]
        return sum(totals, Integer(0))
    full = pairwise(build, projection, expression, given)
    pair = build.assign(f"{projection.name}.{label}", projection.name, full)
    target = build.fresh(f"{projection.name}.{label}.total")
    place = projection.post if to_post else projection.pre
    build.statements.append(Reduce(target, place, projection.name, pair, to_post=to_post))
    return target


def _counts(term: Factors, to_post: bool) -> bool:
    """Whether a term can be a weighted sum: a number alone would not say how many neurons send it."""
    return to_post or not term.post.is_number


def _total_by_delay(build: Builder, projection: Projection, expression: Expr, label: str) -> Expr:
    """Sum over the synapses of each delay by themselves."""
    steps = np.unique(delay_steps(build.model, projection, projection.delay))
    total: Expr = Integer(0)
    for n in (int(n) for n in steps):
        mask = build.read(delay_mask(projection.name, n), projection.name, Kind.SETTING)
        alike = replace(projection, delay=n * build.model.dt)
        total += total_over_synapses(build, alike, expression * mask, label)
    return total


def _couple(
    build: Builder,
    projection: Projection,
    term: Factors,
    sources: Mapping[Symbol, Source],
    label: str,
    to_post: bool,
) -> Expr:
    outside = {local: source for local, (_, source) in sources.items()}
    near, far = (term.post, term.pre) if to_post else (term.pre, term.post)
    here, there = (
        (projection.post, projection.pre) if to_post else (projection.pre, projection.post)
    )
    source = build.assign(f"{projection.name}.{label}.source", there, far.xreplace(outside))
    weight = None
    if term.synapse != 1:
        full = f"{projection.name}.{label}.weight"
        weight = build.assign(full, projection.name, term.synapse.xreplace(outside))
    target = build.fresh(f"{projection.name}.{label}.total")
    couple = Couple(target, here, projection.name, weight, source, transposed=not to_post)
    build.statements.append(couple)
    return near.xreplace(outside) * target


def _sources(
    build: Builder, projection: Projection, expression: Expr, given: Given = NOTHING
) -> dict[Symbol, Source]:
    """Find, for each symbol of a synaptic expression, its side and the symbol of the Program that holds its value."""
    spaces = {given.symbol: given.space for given in build.inputs}
    spaces |= {statement.target: statement.space for statement in build.statements}
    shared = {given.symbol for given in build.inputs if given.shared}
    found: dict[Symbol, Source] = {}
    for local in sorted(expression.free_symbols, key=str):
        text = str(local)
        if local in given:
            found[local] = given[local]
        elif local in spaces:
            found[local] = (
                "all" if spaces[local] == NETWORK or local in shared else "synapse",
                local,
            )
        elif text.endswith("_pre"):
            now = projection if not given else replace(projection, delay=0.0)
            found[local] = ("pre", presynaptic(build, now, text.removesuffix("_pre")))
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
    planned = build.model.projections[projection.name].delay
    own = (
        None
        if isinstance(planned, Expr)
        else steps_of_delay(build, build.model.projections[projection.name])
    )
    label = "arrived" if steps == own else f"arrived.{steps}"
    arrival = build.read(f"{projection.name}.{sent}.{label}", projection.pre, Kind.ARRIVAL)
    delay = Delay(sent, arrival, steps)
    if delay not in build.delays:
        build.delays.append(delay)
    return arrival


def steps_of_delay(build: Builder, projection: Projection) -> int:
    """Return the delay in steps with Brian2's rounding: half up of the quotient in double."""
    steps = delay_steps(build.model, projection, projection.delay)
    assert isinstance(steps, int), "delays that differ are taken one by one"
    return steps


def _write_synapse(
    build: Builder,
    projection: Projection,
    pathway: Pathway,
    statement: Statement,
    arrivals: Sequence[Arrival],
) -> None:
    scope = build.scopes[projection.name]
    # any source given means that presynaptic values are read as they are now, not as they were sent
    value = pairwise(build, projection, scope.resolve(statement.expression), PRESENT)
    hit: Expr = Integer(0)
    for arrival in arrivals:
        here = build.gather(projection.name, arrival.event, from_post=pathway.side == "post")
        hit += here if arrival.mask is None else here * arrival.mask
    mixed = Mix(hit, value, scope.current[symbol(statement.target)])
    full = f"{projection.name}.{statement.target}.arrived"
    scope.current[symbol(statement.target)] = build.assign(full, projection.name, mixed)


def _write_neuron(
    build: Builder,
    projection: Projection,
    pathway: Pathway,
    statement: Statement,
    arrivals: Sequence[Arrival],
    active: Active,
) -> None:
    """Let events add to a variable of the neuron at one end; or set or scale it, by what does not depend on the synapse."""
    to_post = statement.target.endswith("_post")
    side, end = ("post", projection.post) if to_post else ("pre", projection.pre)
    local = statement.target.removesuffix(f"_{side}")
    x, scope = symbol(local), build.scopes[end]
    increment = _increment(statement)
    amount = Integer(1) if increment is None else increment
    resolved = build.scopes[projection.name].resolve(amount)
    # the event is one more factor of its side, so that a matrix product applies to it as to any other
    event = symbol(f"{EVENT}_{pathway.side}")
    total: Expr = Integer(0)
    for arrival in arrivals:
        given = {event: (pathway.side, arrival.event)}
        part = resolved * event * (1 if arrival.mask is None else arrival.mask)
        total += total_over_synapses(build, projection, part, local, given, to_post=to_post)
    value = (
        _changed(build, statement, side, end, total)
        if increment is None
        else scope.current[x] + total
    )
    if build.model.neuron_of(end).variables[local].frozen_when_refractory:
        may = active[end]
        value = value if may is None else Where(may > HALF, value, scope.current[x])
    scope.current[x] = build.assign(f"{end}.{local}.received", end, value)


def _increment(statement: Statement) -> Expr | None:
    """Return what an event adds to a neuron's variable; None if it does something else."""
    target = symbol(statement.target)
    increment = statement.expression - target
    if increment.has(target):
        increment = expanded_if_small(increment)
    return None if increment.has(target) or not statement.expression.has(target) else increment


def _changed(build: Builder, statement: Statement, side: str, end: str, count: Expr) -> Expr:
    """Return a neuron's variable after `count` events that each set it, or multiply it by a factor."""
    target = symbol(statement.target)
    factor = sympy.cancel(statement.expression / target)
    sets = not statement.expression.has(target)
    change = statement.expression if sets else factor
    foreign = [s for s in change.free_symbols if not str(s).endswith(f"_{side}")]
    if foreign or change.has(target):
        raise refusal(
            statement,
            f"what events do to `{statement.target}` one after the other depends on their order",
            f"let them add to it, as in `{statement.target} += ...`, or set or multiply it by what no synapse changes",
        )
    scope = build.scopes[end]
    own = {s: symbol(str(s).removesuffix(f"_{side}")) for s in change.free_symbols}
    now, old = (
        scope.resolve(change.xreplace(own)),
        scope.current[own.get(target, symbol(str(target).removesuffix(f"_{side}")))],
    )
    return Where(count > HALF, now, old) if sets else old * now**count


def increment_of(statement: Statement) -> Expr:
    """Return what an arriving spike adds to a postsynaptic variable. Raises ModelError if that depends on it."""
    increment = _increment(statement)
    if increment is None or not statement.target.endswith("_post"):
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
