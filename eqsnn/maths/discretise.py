"""discretise: Model -> Program of one time step, in the order of a Brian2 step.

Values held over the step, sums over synapses (of values at its start), integration (frozen where refractory),
`update` statements, thresholds, arriving spikes, resets.
"""

import sympy
from sympy import Expr, Integer, Rational, Symbol

from eqsnn.errors import EqsError, ModelError
from eqsnn.language.functions import Detach, Floor, Mix, Spike, Where, absolute, symbol
from eqsnn.language.model import Model, NeuronModel, Role
from eqsnn.maths.build import Block, Builder, Names, Scope
from eqsnn.maths.integrators import ALIASES, DT, INTEGRATORS, NotApplicable, System, choose
from eqsnn.maths.margin import margin_of, reset_distance
from eqsnn.maths.program import NETWORK, Assign, Kind, Program
from eqsnn.maths.projections import HALF, deliver, pairwise, sum_over_synapses

SURROGATE_WIDTH = "surrogate_width"  # relative to the distance from reset to threshold
LONG_AGO = 1.0e6  # steps since the last spike of a neuron that never fired


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
    for projection in model.projections.values():
        sum_over_synapses(build, projection)
    active = {name: _activity(build, name) for name in model.populations}
    for name in model.populations:
        output_start_of_step(build, name)
        _integrate(build, name, active[name], method)
        _update(build, name, active[name])
    for name in model.projections:
        _integrate(build, name, None, method)
    spikes = {name: _threshold(build, name, active[name]) for name in model.populations}
    for projection in model.projections.values():
        spike = spikes[projection.pre]
        if spike is not None:
            deliver(
                build,
                projection,
                spike,
                _still_active(active[projection.post], spikes[projection.post]),
            )
    fired = {
        name: _reset(build, name, spike, detach_reset)
        for name, spike in spikes.items()
        if spike is not None
    }
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
            scope.current[symbol(local)] = build.assign(
                f"{name}.{local}", name, scope.resolve(definition)
            )


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


def _integrate(build: Builder, name: str, active: Symbol | None, method: str | None) -> None:
    block = build.block(name)
    if not block.equations:
        return
    scope = build.scopes[name]
    white = tuple(noise.symbol for noise in block.noise if noise.white)
    states = [symbol(x) for x in block.equations]
    held = {s: value for s, value in scope.current.items() if s not in (*states, *white)}
    opened = Scope(name, held, scope.subexpressions)
    rates = {symbol(x): opened.resolve(rate) for x, rate in block.equations.items()}
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
    chosen = method_for(build, block, name, system, method)
    try:
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
    advice = f"write `method: {choose(system)[0]}`, or leave the line out for the automatic choice"
    place = block.method_span or block.span
    if place is None:
        return ModelError(f"{name}: {refusal}; {advice}")
    return EqsError(place, f"`{block.name}`: {refusal}", advice)


def _update(build: Builder, name: str, active: Symbol | None) -> None:
    neuron, scope = build.model.neuron_of(name), build.scopes[name]
    for statement in neuron.update:
        target = symbol(statement.target)
        value = scope.resolve(statement.expression)
        if neuron.variables[statement.target].frozen_when_refractory and active is not None:
            value = Where(active > HALF, value, scope.current[target])
        scope.current[target] = build.assign(f"{name}.{statement.target}.updated", name, value)


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
    return spike


def _reset(build: Builder, name: str, spike: Symbol, detach: bool) -> Symbol:
    neuron, scope = build.model.neuron_of(name), build.scopes[name]
    # a name of its own for what resets the neuron, so that `force` can tell it from what its synapses transmit
    by = build.fresh(f"{name}.fired")
    build.statements.append(Assign(by, name, spike))
    fired = Scope(name, dict(scope.current), scope.subexpressions)
    for statement in neuron.reset:
        fired.current[symbol(statement.target)] = fired.resolve(statement.expression)
    for local in dict.fromkeys(statement.target for statement in neuron.reset):
        old, new = scope.current[symbol(local)], fired.current[symbol(local)]
        value = Where(by > HALF, new, old) if detach else Mix(by, new, old)
        scope.current[symbol(local)] = build.assign(f"{name}.{local}.reset", name, value)
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
