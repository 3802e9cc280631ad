"""discretise: Model -> Program of one time step, in the order of a Brian2 step.

Values held over the step, `every` statements, sums over synapses (of values at their start), integration (frozen where
refractory), `update` statements, thresholds, events, what arrives from presynaptic neurons, `background`, what arrives
from postsynaptic neurons, resets, what events do.
"""

from collections.abc import Iterable, Mapping, Set

import sympy
from sympy import Expr, Integer, Rational, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.errors import EqsError, ModelError
from eqsnn.language.functions import Detach, Floor, Mix, Spike, Where, absolute, symbol
from eqsnn.language.model import Event, Model, NeuronModel, Projection, Regular, Role, Statement
from eqsnn.maths.build import LASTSPIKE, Block, Builder, Names, Scope, mentions
from eqsnn.maths.integrators import ALIASES, DT, INTEGRATORS, TIME, NotApplicable, System, choose
from eqsnn.maths.margin import margin_of, reset_distance
from eqsnn.maths.program import NETWORK, Assign, Kind, Program
from eqsnn.maths.projections import HALF, deliver, follow_links, pairwise, sum_over_synapses

SURROGATE_WIDTH = "surrogate_width"  # relative to the distance from reset to threshold
LONG_AGO = 1.0e6  # steps since the last spike of a neuron that never fired
LONG_AGO_MS = -1.0e7  # and when that was; Brian2 has the same -1e4 s


def discretise(
    model: Model,
    *,
    method: str | None = None,
    surrogate: str = "fast_sigmoid",
    detach_reset: bool = False,
) -> Program:
    """Return the Program of one step of the whole network.

    `method` replaces the integrator of every neuron and synapse. With `detach_reset` no gradient passes through the
    decision to reset. Outputs: every state, variable and subexpression at the start of the step as `population.name`,
    and for spiking populations `population.spike`, `population.margin` (distance above threshold),
    `population.threshold_to_reset` and, with refractoriness, `population.active`.
    Raises EqsError where a method named in the file cannot integrate its equations.
    """
    build = Builder(model)
    build.read("t", NETWORK, Kind.DRIVE)
    build.read("dt", NETWORK, Kind.SETTING)
    for name in (*model.populations, *model.projections):
        build.enter(name)
    for name in model.populations:
        hold_over_dt(build, name)
        _every(build, name)
    for projection in model.projections.values():
        _every_of_synapse(build, projection)
    for projection in model.projections.values():
        sum_over_synapses(build, projection)
    active = {name: _activity(build, name) for name in model.populations}
    for name in model.populations:
        _bind_activity(build, name, active[name])
        output_start_of_step(build, name)
        follow_links(build, name)
        _integrate(build, name, active[name], method)
        _update(build, name, active[name])
    for name in model.projections:
        _integrate_synapses(build, name, method)
    spikes = {name: _threshold(build, name, active[name]) for name in model.populations}
    still = {name: _still_active(active[name], spikes[name]) for name in model.populations}
    for name in model.populations:
        _bind_activity(build, name, still[name])
    events = {
        (name, event.name): _event(build, name, event)
        for name in model.populations
        for event in model.neuron_of(name).events.values()
    }
    arriving = spikes | events
    _deliver_all(build, "pre", arriving, still)
    for name in model.populations:
        _background(build, name, still[name])
    _deliver_all(build, "post", arriving, still)
    fired = {
        name: _reset(build, name, spike, detach_reset)
        for name, spike in spikes.items()
        if spike is not None
    }
    for (name, event), happened in events.items():
        _respond(build, name, model.neuron_of(name).events[event], happened)
    _close(build, fired)
    return Program(
        spaces=build.spaces,
        inputs=tuple(build.inputs),
        statements=tuple(build.statements),
        next_states=build.next_states,
        outputs=build.outputs,
        delays=tuple(build.delays),
        surrogate=surrogate,
        notes=tuple(dict.fromkeys(build.notes)),
    )


def hold_over_dt(build: Builder, name: str) -> None:
    """Evaluate what a neuron holds constant over the step."""
    neuron, scope = build.model.neuron_of(name), build.scopes[name]
    for local, definition in neuron.subexpressions.items():
        if neuron.variables[local].constant_over_dt:
            scope.current[symbol(local)] = build.keep(
                f"{name}.{local}", name, scope.resolve(definition)
            )


def _every(build: Builder, name: str) -> None:
    """Run what happens at the start of some steps; what is frozen while refractory keeps last step's state."""
    neuron, scope = build.model.neuron_of(name), build.scopes[name]
    if not neuron.every:
        return
    before = _activity_before(build, name)
    _bind_activity(build, name, before)
    for regular in neuron.every:
        due = _due(build, regular)
        changed = Scope(name, dict(scope.current), scope.subexpressions)
        _execute(build, name, regular.statements, changed, before, "regular")
        for local in _written(regular.statements):
            value = Where(due, changed.current[local], scope.current[local])
            scope.current[local] = build.assign(f"{name}.{local}.regular", name, value)


def _due(build: Builder, regular: Regular) -> Boolean:
    """Return whether a step is one of those at whose start something happens."""
    if regular.period is None:
        return sympy.true
    number = Floor(TIME / DT + HALF)
    steps = max(1, round(regular.period / build.model.dt))
    return number - steps * Floor(number / steps) < HALF


def _every_of_synapse(build: Builder, projection: Projection) -> None:
    """Run what happens to a synapse's own variables at the start of some steps."""
    name, scope = projection.name, build.scopes[projection.name]
    for regular in build.model.synapse_of(name).every:
        changed = Scope(name, dict(scope.current), scope.subexpressions)
        for statement in regular.statements:
            value = pairwise(build, projection, changed.resolve(statement.expression))
            full = f"{name}.{statement.target}.regular"
            changed.current[symbol(statement.target)] = build.assign(full, name, value)
        for local in _written(regular.statements):
            value = Where(_due(build, regular), changed.current[local], scope.current[local])
            scope.current[local] = build.assign(f"{name}.{local}.regular", name, value)


def _execute(
    build: Builder,
    name: str,
    statements: Iterable[Statement],
    scope: Scope,
    active: Expr | None,
    label: str,
) -> None:
    """Execute statements of a neuron in order; what is frozen while refractory is written where `active`."""
    variables = build.model.neuron_of(name).variables
    for statement in statements:
        target = symbol(statement.target)
        value = scope.resolve(statement.expression)
        known = variables.get(statement.target)
        if known is not None and known.frozen_when_refractory and active is not None:
            value = Where(active > HALF, value, scope.current[target])
        scope.current[target] = build.assign(f"{name}.{statement.target}.{label}", name, value)


def _written(statements: Iterable[Statement]) -> list[Symbol]:
    return [symbol(n) for n in dict.fromkeys(s.target for s in statements if not s.temporary)]


def _activity_before(build: Builder, name: str) -> Expr | None:
    """Return the activity at the end of the step before."""
    neuron = build.model.neuron_of(name)
    if neuron.refractory is None:
        return None
    if not isinstance(neuron.refractory, Expr):
        return build.read(f"{name}.was_active", name, Kind.STATE)
    since = build.read(f"{name}.steps_since_spike", name, Kind.STATE)
    period = build.scopes[name].resolve(neuron.refractory)
    return Where(since >= Floor((period + DT / 1000) / DT), Integer(1), Integer(0))


def _bind_activity(build: Builder, name: str, active: Expr | None) -> None:
    if mentions(build.model, name, "not_refractory"):
        value = (
            Integer(1) if active is None else build.assign(f"{name}.not_refractory", name, active)
        )
        build.scopes[name].current[symbol("not_refractory")] = value


def _activity(build: Builder, name: str) -> Symbol | None:
    """Return 1 where the neuron is not refractory, 0 where it is; None for models without refractoriness.

    The period in steps is truncated as in Brian2: int((period + 1e-3 dt)/dt).
    """
    neuron = build.model.neuron_of(name)
    if neuron.refractory is None:
        return None
    condition = build.scopes[name].resolve(neuron.refractory)
    if not isinstance(
        neuron.refractory, Expr
    ):  # a Symbol is both Expr and Boolean, a condition only the latter
        was_active = build.read(f"{name}.was_active", name, Kind.STATE)
        active = Where(sympy.Or(was_active > HALF, sympy.Not(condition)), Integer(1), Integer(0))
    else:
        since = build.read(f"{name}.steps_since_spike", name, Kind.STATE)
        active = Where(since + 1 >= Floor((condition + DT / 1000) / DT), Integer(1), Integer(0))
    return build.assign(f"{name}.active", name, active)


def _still_active(active: Symbol | None, spike: Symbol | None) -> Symbol | Expr | None:
    """Return the activity after the thresholds: a neuron that has just fired is refractory at once."""
    if active is None or spike is None:
        return active
    return Where(spike > HALF, Integer(0), active)


def output_start_of_step(build: Builder, name: str) -> None:
    """Make every state, variable and subexpression an output, with its value at the start of the step."""
    scope = build.scopes[name]
    for variable in build.block(name).variables.values():
        if variable.role is not Role.PARAMETER:
            value = scope.resolve(symbol(variable.name))
            build.outputs[f"{name}.{variable.name}"] = build.assign(
                f"{name}.{variable.name}", name, value
            )


def _integrate_synapses(build: Builder, name: str, method: str | None) -> None:
    """Advance synaptic states. An event-driven one follows the solution of its equation in every step.

    In Brian2 it is advanced when an event arrives, by the time since the last one: the same at every event. Its initial
    value holds at the first event's time 0, hence no advance in the first step.
    """
    variables, scope = build.model.synapse_of(name).variables, build.scopes[name]
    driven = [symbol(x) for x in build.block(name).equations if variables[x].event_driven]
    before = {x: scope.current[x] for x in driven}
    _integrate(build, name, None, method, skipped=set(driven))
    if driven:
        _integrate(build, name, None, "exact", skipped=scope.current.keys() - before.keys())
    for x in driven:
        value = Where(TIME > DT / 2, scope.current[x], before[x])
        scope.current[x] = build.assign(f"{name}.{x}.advanced", name, value)


def _integrate(
    build: Builder,
    name: str,
    active: Symbol | None,
    method: str | None,
    *,
    skipped: Set[Symbol] = frozenset(),
) -> None:
    block = build.block(name)
    states = [symbol(x) for x in block.equations if symbol(x) not in skipped]
    if not states:
        return
    scope = build.scopes[name]
    white = tuple(noise.symbol for noise in block.noise if noise.white)
    held = {s: value for s, value in scope.current.items() if s not in (*states, *white)}
    opened = Scope(name, held, scope.subexpressions)
    rates = {x: opened.resolve(block.equations[x.name]) for x in states}
    if name in build.model.projections:
        rates = {x: gathered(build, name, rate, (*states, *white)) for x, rate in rates.items()}
    outside = {s: scope.current[s] for s in (*states, *white)}
    advanced = _advance(build, block, name, System(rates, white), method)
    frozen = [x for x in states if block.variables[str(x)].frozen_when_refractory]
    if frozen and active is not None:
        still = System({x: Integer(0) if x in frozen else rate for x, rate in rates.items()}, white)
        waiting = _advance(build, block, name, still, method)
        advanced = {x: Where(active > HALF, value, waiting[x]) for x, value in advanced.items()}
    for x, value in advanced.items():
        scope.current[x] = build.assign(f"{name}.{x}.integrated", name, value.xreplace(outside))


def gathered(build: Builder, name: str, rate: Expr, own: tuple[Symbol, ...]) -> Expr:
    """Replace pre- and postsynaptic values in the rate of a synaptic state; its own states stay open."""
    hidden: Names = {s: sympy.Dummy(s.name, real=True) for s in own}
    declared = {dummy: s for s, dummy in hidden.items()}
    names = {s for s in rate.free_symbols if str(s).endswith(("_pre", "_post")) and s not in own}
    resolved = {
        s: pairwise(build, build.model.projections[name], s) for s in sorted(names, key=str)
    }  # type: ignore[arg-type]
    return rate.xreplace(hidden).xreplace(resolved).xreplace(declared)


def _advance(build: Builder, block: Block, name: str, system: System, method: str | None) -> Names:
    try:
        chosen = method_for(build, block, name, system, method)
        return INTEGRATORS[chosen].advance(system)
    except NotApplicable as refusal:
        raise cannot_integrate(block, name, system, refusal) from refusal


def method_for(build: Builder, block: Block, name: str, system: System, method: str | None) -> str:
    """Return the integrator of a block, the caller's, the file's or the automatic choice, and note it."""
    asked = method or block.method
    if asked is None:
        chosen, reason = choose(system)
        build.notes.append(f"{name}: integrated by {chosen} because {reason}")
        return chosen
    chosen = ALIASES.get(asked, asked)
    build.notes.append(f"{name}: integrated by {chosen} as asked")
    return chosen


def cannot_integrate(block: Block, name: str, system: System, refusal: NotApplicable) -> ModelError:
    """Return the error of a method that cannot integrate the equations of a block."""
    try:
        advice = (
            f"write `method: {choose(system)[0]}`, or leave the line out for the automatic choice"
        )
    except NotApplicable:
        advice = "write white noise as a factor, as in `sigma*sqrt(2/tau)*xi`"
    place = block.method_span or block.span
    if place is None:
        return ModelError(f"{name}: {refusal}; {advice}")
    return EqsError(place, f"`{block.name}`: {refusal}", advice)


def _update(build: Builder, name: str, active: Symbol | None) -> None:
    neuron, scope = build.model.neuron_of(name), build.scopes[name]
    _execute(build, name, neuron.update, scope, active, "updated")


def _background(build: Builder, name: str, active: Expr | None) -> None:
    _execute(
        build,
        name,
        build.model.neuron_of(name).background,
        build.scopes[name],
        active,
        "background",
    )


def _threshold(build: Builder, name: str, active: Symbol | None) -> Symbol | None:
    neuron: NeuronModel = build.model.neuron_of(name)
    if neuron.threshold is None:
        return None
    scope = build.scopes[name]
    margin, strict = margin_of(neuron.threshold)
    distance = scope.resolve(reset_distance(margin, neuron.reset))
    above = build.assign(f"{name}.margin", name, scope.resolve(margin))
    scale = build.assign(f"{name}.threshold_to_reset", name, Detach(absolute(distance)))
    width = build.read(SURROGATE_WIDTH, NETWORK, Kind.SETTING)
    fires: Expr = Spike(above, scale * width, Integer(strict))
    if active is not None:
        fires = Where(active > HALF, fires, Integer(0))
        build.outputs[f"{name}.active"] = active
    spike = build.assign(f"{name}.spike", name, fires)
    build.outputs |= {
        f"{name}.spike": spike,
        f"{name}.margin": above,
        f"{name}.threshold_to_reset": scale,
    }
    if LASTSPIKE in scope.current:
        latest = Where(spike > HALF, TIME, scope.current[LASTSPIKE])
        scope.current[LASTSPIKE] = build.assign(f"{name}.lastspike.latest", name, latest)
    return spike


def _event(build: Builder, name: str, event: Event) -> Symbol:
    """Return 1 where the condition of an event holds, differentiated as a spike is."""
    scope = build.scopes[name]
    margin, strict = margin_of(event.condition)
    distance = scope.resolve(reset_distance(margin, event.statements))
    above = build.assign(f"{name}.{event.name}.margin", name, scope.resolve(margin))
    scale = build.assign(f"{name}.{event.name}.distance", name, Detach(absolute(distance)))
    width = build.read(SURROGATE_WIDTH, NETWORK, Kind.SETTING)
    happens = Spike(above, scale * width, Integer(strict))
    happened = build.assign(f"{name}.event.{event.name}", name, happens)
    build.outputs[f"{name}.event.{event.name}"] = happened
    return happened


def _respond(build: Builder, name: str, event: Event, happened: Symbol) -> None:
    """Execute what `on event:` says where the event happened; refractoriness does not matter."""
    scope = build.scopes[name]
    after = Scope(name, dict(scope.current), scope.subexpressions)
    _execute(build, name, event.statements, after, None, event.name)
    for local in _written(event.statements):
        value = Mix(happened, after.current[local], scope.current[local])
        scope.current[local] = build.assign(f"{name}.{local}.{event.name}", name, value)


def _deliver_all(
    build: Builder,
    side: str,
    events: Mapping[str | tuple[str, str], Symbol | None],
    active: Mapping[str, Expr | None],
) -> None:
    """Run the pathways of one side, of all projections in the order of the file."""
    for projection in build.model.projections.values():
        end = projection.pre if side == "pre" else projection.post
        for pathway in build.model.synapse_of(projection.name).pathways:
            key = end if pathway.event in ("", "spike") else (end, pathway.event)
            event = events[key] if pathway.side == side else None
            if event is not None:
                deliver(build, projection, pathway, event, active)


def _reset(build: Builder, name: str, spike: Symbol, detach: bool) -> Symbol:
    neuron, scope = build.model.neuron_of(name), build.scopes[name]
    # a name of its own for what resets the neuron, so that `force` can tell it from what its synapses transmit
    by = build.fresh(f"{name}.fired")
    build.statements.append(Assign(by, name, spike))
    fired = Scope(name, dict(scope.current), scope.subexpressions)
    for statement in neuron.reset:
        fired.current[symbol(statement.target)] = fired.resolve(statement.expression)
    for local in _written(neuron.reset):
        old, new = scope.current[local], fired.current[local]
        value = Where(by > HALF, new, old) if detach else Mix(by, new, old)
        scope.current[local] = build.assign(f"{name}.{local}.reset", name, value)
    return by


def _close(build: Builder, fired_by: dict[str, Symbol]) -> None:
    """Name the value of every state at the start of the next step."""
    for given in build.inputs:
        if given.kind is not Kind.STATE:
            continue
        local = given.name.removeprefix(f"{given.space}.")
        value = build.scopes[given.space].current.get(symbol(local))
        fired = fired_by.get(given.space)
        has_fired = sympy.false if fired is None else fired > Rational(1, 2)
        if local == "steps_since_spike" and value is None:
            value = Where(has_fired, Integer(0), given.symbol + 1)
        elif local == "was_active" and value is None:
            value = Where(has_fired, Integer(0), build.outputs[f"{given.space}.active"])
        assert value is not None, f"{given.symbol} has no next value"
        build.next_states[given.symbol] = build.assign(f"{given.symbol}.next", given.space, value)
