"""crossing: which neurons pass their threshold within a step, at which fraction of it, and what the reset makes of them."""

from dataclasses import dataclass, field

from sympy import Eq, Expr, Integer, Ne, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.language.functions import Detach, Where, absolute, clip, maximum, symbol
from eqsnn.language.model import NeuronModel
from eqsnn.maths.build import Builder, Names, Scope, stored, summed_into
from eqsnn.maths.flow import Flow, flow_of
from eqsnn.maths.integrators import DT, TIME
from eqsnn.maths.margin import margin_of, reset_distance
from eqsnn.maths.program import Kind
from eqsnn.maths.projections import HALF, SPIKE, refusal

OFFSET = "(offset)"  # local name of a population's crossing fraction
EARLY, LATE = "(early)", "(late)"  # a spike's shares at the start and the end of its step
ONE = Integer(1)
ZERO = Integer(0)


@dataclass(slots=True)
class Neurons:
    """A population within the step: states where it begins, where it would end without a spike, around the spike."""

    flow: Flow
    begin: Names
    end: Names
    before: Names  # just before the spike; where there is none, at the beginning
    after: Names  # just after the reset
    start: Names  # from where the rest of the step goes: `after` or `begin`
    offset: Expr = ZERO
    spike: Symbol | None = None
    period: Expr | None = None  # of refractoriness, in steps
    since: Symbol | None = None
    arriving: dict[str, list[tuple[Expr, Expr]]] = field(default_factory=dict)
    late: dict[str, list[Expr]] = field(default_factory=dict)  # corrections of summed couplings


def beginning(build: Builder, name: str) -> Names:
    """Return the states of a block at the start of the step, by their local names."""
    own = set(stored(build.block(name))) - summed_into(build.model, name)
    return {symbol(x): build.scopes[name].current[symbol(x)] for x in sorted(own)}


def present(build: Builder, name: str, values: Names, after: Expr) -> Scope:
    """Return the scope of a block `after` of a step into it, its states being `values`."""
    scope = build.scopes[name]
    return Scope(name, {**scope.current, **values, TIME: TIME + after * DT}, scope.subexpressions)


def cross(build: Builder, name: str, method: str | None) -> Neurons:
    """Find out which neurons cross the threshold, where, and what the reset makes of them."""
    neuron, flow, begin = (
        build.model.neuron_of(name),
        flow_of(build, name, method),
        beginning(build, name),
    )
    if neuron.threshold is None:
        return Neurons(flow, begin, flow.move(build, begin, ONE, ZERO, "end"), begin, begin, begin)
    margin, strict = _margin(neuron)
    period, since, wait = _waiting(build, name, neuron)
    released = flow.move(build, begin, wait, ZERO, "released", refractory=True)
    end = flow.move(build, released, 1 - wait, wait, "end")
    below = build.assign(
        f"{name}.margin.start", name, present(build, name, released, wait).resolve(margin)
    )
    above = build.assign(f"{name}.margin", name, present(build, name, end, ONE).resolve(margin))
    reached: Boolean = above > 0 if strict else above >= 0
    spike = build.assign(f"{name}.spike", name, Where(wait < 1, Where(reached, ONE, ZERO), ZERO))
    rise = build.assign(f"{name}.rise", name, above - below)
    share = build.assign(
        f"{name}.share", name, _share(build, name, margin, below, rise, spike, wait)
    )
    offset = build.assign(
        f"{name}.offset", name, Where(spike > HALF, wait + (1 - wait) * share, ZERO)
    )
    part = build.assign(f"{name}.part", name, Where(spike > HALF, offset - wait, ZERO))
    before = flow.move(build, released, part, wait, "before")
    fired = present(build, name, before, offset)
    for statement in neuron.reset:
        target = symbol(statement.target)
        value = fired.resolve(statement.expression)
        # a number stays one: a coupling could not tell how many neurons have it
        fired.current[target] = (
            value if value.is_number else build.assign(f"{name}.{target}.after", name, value)
        )
    after = {x: fired.current[x] for x in begin}
    start = {
        x: build.assign(f"{name}.{x}.start", name, Where(spike > HALF, after[x], begin[x]))
        for x in begin
    }
    distance = present(build, name, begin, ZERO).resolve(reset_distance(margin, neuron.reset))
    scale = build.assign(f"{name}.threshold_to_reset", name, Detach(absolute(distance)))
    for local, value in (
        ("spike", spike),
        ("margin", above),
        ("offset", offset),
        ("rise", rise),
        ("threshold_to_reset", scale),
    ):
        build.outputs[f"{name}.{local}"] = value
    early = build.assign(f"{name}.early", name, spike * (1 - offset))
    late = build.assign(f"{name}.late", name, spike * offset)
    local_values = {SPIKE: spike, OFFSET: offset, EARLY: early, LATE: late}
    build.scopes[name].current |= {symbol(local): value for local, value in local_values.items()}
    return Neurons(flow, begin, end, before, after, start, offset, spike, period, since)


def _margin(neuron: NeuronModel) -> tuple[Expr, bool]:
    assert neuron.threshold is not None
    if neuron.threshold.has(Eq, Ne):
        raise refusal(
            neuron,
            f"`{neuron.name}`: a threshold by == or != has no time of crossing",
            "write it with < or >, or use the surrogate gradient for this model",
        )
    return margin_of(neuron.threshold)


def _waiting(
    build: Builder, name: str, neuron: NeuronModel
) -> tuple[Expr | None, Symbol | None, Expr]:
    """Return the refractory period and the time since the last spike, in steps, and the refractory share of this step."""
    if neuron.refractory is None:
        return None, None, ZERO
    if not isinstance(neuron.refractory, Expr):
        raise refusal(
            neuron,
            f"`{neuron.name}`: refractoriness by a condition ends at no time that could be differentiated",
            "give the refractory period as a time, or use the surrogate gradient for this model",
        )
    since = build.read(f"{name}.steps_since_spike", name, Kind.STATE)
    length = build.scopes[name].resolve(neuron.refractory) / DT
    period = build.assign(f"{name}.period", name, length)
    wait = build.assign(f"{name}.wait", name, clip(period - since, ZERO, ONE))
    return period, since, wait


def _share(
    build: Builder,
    name: str,
    margin: Expr,
    below: Symbol,
    rise: Symbol,
    spike: Symbol,
    wait: Expr,
) -> Expr:
    """Return where the margin passes 0, as a share of the part of the step that is not refractory.

    A margin that is above 0 from the start was pushed there by what arrived within the step before: its crossing is
    found by going back along its present slope, unless the margin itself jumped.
    """
    slope = Where(spike > HALF, Where(rise > 0, rise, ONE), ONE)
    forward = build.assign(f"{name}.forward", name, -below / slope)
    back = ZERO if _jumps(build, name, margin) else maximum(forward, -ONE)
    if wait != 0:
        back = Where(wait > 0, ZERO, back)
    return Where(below < 0, forward, Where(rise > 0, back, ZERO))


def _jumps(build: Builder, name: str, margin: Expr) -> bool:
    """Whether arriving spikes write what the threshold looks at."""
    written = {
        symbol(statement.target.removesuffix("_post"))
        for projection in build.model.projections.values()
        if projection.post == name
        for statement in build.model.synapse_of(projection.name).on_pre
        if statement.target not in build.model.synapse_of(projection.name).variables
    }
    seen = margin
    for _ in build.scopes[name].subexpressions:
        seen = seen.xreplace({symbol(x): e for x, e in build.scopes[name].subexpressions.items()})
    if not written or not seen.has(*written):
        return False
    build.notes.append(
        f"{name}: arriving spikes jump across its threshold; the times of the spikes that they fire have no gradient"
    )
    return True
