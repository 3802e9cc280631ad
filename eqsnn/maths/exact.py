"""exact: a step in which spikes happen at a fraction of it, so that spike times are differentiable in every parameter.

The usual step knows only whether a neuron fired. Here the crossing of the threshold divides the step: with the margin
g_n at its start and g~ at its end the neuron fires at the fraction alpha = -g_n/(g~ - g_n); it moves to there, is
reset, and moves on for the rest. Differentiating that is the saltation of event-driven systems (Aizerman & Gantmacher
1958; in shared terms dt_k = -(g_x dx + g_theta dtheta)/(dg/dt)), with no surrogate anywhere: the symbolic adjoint,
autograd and every backend see ordinary arithmetic.

What a spike at the fraction alpha does to others:

- its own traces (`reset: s += 1`) are reset and decay from alpha on: exact for any equations of theirs;
- what `on_pre` writes in the synapse itself likewise happens at alpha, between two shares of the synapse's step;
- what `on_pre` adds to the postsynaptic neuron is split: 1 - alpha of it at the start of the step of arrival, alpha at
  its end. Total and mean time are kept, so the response is right up to (dt/tau)^2/8 for linear synapses, and to the
  order of the step for equations that are nonlinear in the jump. A delay moves all of it by whole steps;
- a summed coupling (`I_post = w*s_pre (summed)`) is held over a step from its start; a jump of the source within the
  step acts with the share 1 - alpha on the end of this step, so that no charge depends on where a step is cut.

As dt goes to 0 simulation and gradient go to those of the continuous-time model, with an error of order dt. The step
is exact in this sense as long as no spike appears or disappears. Known limits: at most one spike per neuron and step;
a spike fired by a jump across threshold (`v_post += w` with `v` in the threshold) counts from the start of the next
step and its time has no gradient; where a spike arrives in the very step in which its target fires, it arrives after.
"""

from collections.abc import Iterable
from dataclasses import replace

import sympy
from sympy import Expr
from sympy.logic.boolalg import Boolean

from eqsnn.language.functions import Where, clip, symbol
from eqsnn.language.model import Model, Projection
from eqsnn.maths.build import Builder, Names, Scope, mentions
from eqsnn.maths.crossing import EARLY, LATE, OFFSET, ONE, ZERO, Neurons, beginning, cross, present
from eqsnn.maths.discretise import hold_over_dt, output_start_of_step
from eqsnn.maths.flow import flow_of
from eqsnn.maths.integrators import DT
from eqsnn.maths.program import NETWORK, Kind, Program
from eqsnn.maths.projections import (
    HALF,
    SPIKE,
    Taps,
    increment_of,
    pairwise,
    presynaptic,
    refusal,
    steps_of_delay,
    sum_over_synapses,
    total_over_synapses,
)


def exact(model: Model, *, method: str | None = None, delays: Iterable[str] = ()) -> Program:
    """Return the Program of one step of the whole network whose spikes happen at fractions of it.

    Outputs are those of `discretise`, and for spiking populations `population.offset` (the fraction of the step at
    which it fires: 0 to 1, or down to -1 where the threshold was passed late in the step before; 0 without a spike)
    and `population.rise` (how much the margin rises in the step). The spike at step n happens at (n + offset) dt.
    `method` as in `discretise`. The projections named in `delays` have the parameter `projection.delay` (ms, one value
    for all its synapses, within a step of the file's), in which everything that arrives is interpolated linearly
    between whole steps.

    Raises ModelError for what has no crossing time: thresholds by `==`, refractoriness by a condition, noise multiplied
    by a state, `update` statements that are not steps of length dt; and for a delay parameter below one step or of
    synapses whose own variables are written by spikes.
    """
    _refuse_what_has_no_crossing(model)
    build = Builder(model)
    build.read("t", NETWORK, Kind.DRIVE)
    build.read("dt", NETWORK, Kind.SETTING)
    for name in (*model.populations, *model.projections):
        build.enter(name)
    for name in model.populations:
        hold_over_dt(build, name)
    wanted = set(delays)
    taps = {n: _taps(build, p, n in wanted) for n, p in model.projections.items()}
    for name, projection in model.projections.items():
        sum_over_synapses(build, projection, taps[name])
    for name in model.populations:
        output_start_of_step(build, name)
    neurons = {name: cross(build, name, method) for name in model.populations}
    nexts: dict[str, Names] = {}
    for projection in model.projections.values():
        nexts[projection.name] = _transmit(
            build, projection, neurons, taps[projection.name], method
        )
    for name, population in neurons.items():
        nexts[name] = _finish(build, name, population)
    _close(build, neurons, nexts)
    return Program(
        spaces=build.spaces,
        inputs=tuple(build.inputs),
        statements=tuple(build.statements),
        next_states=build.next_states,
        outputs=build.outputs,
        delays=tuple(build.delays),
        notes=tuple(dict.fromkeys(build.notes)),
    )


def _refuse_what_has_no_crossing(model: Model) -> None:
    advice = "use the surrogate gradient for this model"
    for name in model.populations:
        neuron = model.neuron_of(name)
        parts = {
            "`event`": neuron.events,
            "`every`": neuron.every,
            "`background`": neuron.background,
        }
        parts["`lastspike`"] = mentions(model, name, "lastspike")
        parts["`not_refractory`"] = mentions(model, name, "not_refractory")
        for part, used in parts.items():
            if used:
                message = f"`{neuron.name}`: {part} has no exact derivative by spike times"
                raise refusal(neuron, message, advice)
    for projection in model.projections.values():
        synapse = model.synapse_of(projection.name)
        others = [
            p.name for p in synapse.pathways if p.name != "pre" or p.event not in ("", "spike")
        ]
        if others:
            message = (
                f"`{synapse.name}`: pathway `{others[0]}` has no exact derivative by spike times"
            )
            raise refusal(synapse, message, advice)
        if isinstance(projection.delay, Expr) or projection.link:
            message = f"`{projection.name}`: a link or a delay that varies has no exact derivative"
            raise refusal(projection, message, advice)


def _taps(build: Builder, projection: Projection, learned: bool) -> Taps:
    """Return the whole-step delays that a projection's delay lies between, and their weights, which sum to 1."""
    if not learned:
        return ((projection, ONE),)
    steps = steps_of_delay(build, projection)
    synapse = build.model.synapse_of(projection.name)
    if steps < 1 or any(statement.target in synapse.variables for statement in synapse.on_pre):
        raise refusal(
            projection,
            f"`{projection.name}`: there is no derivative by a delay below one step, or of synapses whose own variables "
            "spikes write",
            "take the delay as known",
        )
    delay = build.read(f"{projection.name}.delay", projection.name, Kind.PARAMETER, shared=True)
    beyond = delay / DT - steps
    # at a whole number of steps the derivative is that towards longer delays
    longer, shorter = Where(beyond >= 0, beyond, ZERO), Where(beyond >= 0, ZERO, -beyond)
    shares = {steps - 1: shorter, steps: 1 - longer - shorter, steps + 1: longer}
    return tuple(
        (replace(projection, delay=n * build.model.dt), share) for n, share in shares.items()
    )


def _spread(build: Builder, taps: Taps, expression: Expr, label: str) -> Expr:
    """Sum an expression over the synapses of each neuron, at the delay that the taps stand for."""
    total: Expr = ZERO
    for projection, weight in taps:
        total += weight * total_over_synapses(build, projection, expression, label)
    return total


def _transmit(
    build: Builder,
    projection: Projection,
    neurons: dict[str, Neurons],
    taps: Taps,
    method: str | None,
) -> Names:
    """Let the spikes that arrive in this step act on synapses and targets; return the synapses' states at its end."""
    name, synapse = projection.name, build.model.synapse_of(projection.name)
    pre, post = neurons[projection.pre], neurons[projection.post]
    flow, begin = flow_of(build, name, method), beginning(build, name)
    if pre.spike is None:
        return flow.move(build, begin, ONE, ZERO, "next")
    hit: Boolean = sympy.false
    offset: Expr = ZERO
    before = dict(begin)
    if any(statement.target in synapse.variables for statement in synapse.on_pre):
        arrived, at = (
            build.gather(name, presynaptic(build, projection, local), from_post=False)
            for local in (SPIKE, OFFSET)
        )
        hit, offset = arrived > HALF, at
        before = flow.move(build, begin, offset, ZERO, "before")
    after = dict(before)
    for statement in synapse.on_pre:
        then = present(build, name, after, offset)
        target = symbol(statement.target)
        if statement.target in synapse.variables:
            value = _of_pre(build, projection, pre, then.resolve(statement.expression), "before")
            value = _of_post_at(build, projection, post, value, offset)
            after[target] = build.assign(
                f"{name}.{target}.after", name, pairwise(build, projection, value)
            )
        else:
            amount = then.resolve(increment_of(statement))
            amount = _of_pre(build, projection, pre, amount, "before")
            local = statement.target.removesuffix("_post")
            first = _spread(build, taps, amount * symbol(f"{EARLY}_pre"), f"{local}.early")
            amount = _of_post(build, projection, post, amount)
            second = _spread(build, taps, amount * symbol(f"{LATE}_pre"), f"{local}.late")
            post.arriving.setdefault(local, []).append((first, second))
    for target, expression in synapse.summed.items():
        jump = _jump_of_sum(build, projection, pre, expression, before, after)
        if jump != 0:
            total = _spread(build, taps, jump, f"{target}.early")
            post.late.setdefault(target, []).append(total)
    start = {
        x: build.assign(f"{name}.{x}.start", name, Where(hit, after[x], begin[x])) for x in begin
    }
    return flow.move(build, start, 1 - offset, offset, "next")


def _renamed(
    build: Builder, population: str, values: Names, expression: Expr, tag: str, side: str
) -> Names:
    """Give the names of one side in a synaptic expression names that stand for `values`, and return the new ones."""
    scope = build.scopes[population]
    then = Scope(population, {**scope.current, **values}, scope.subexpressions)
    names: Names = {}
    for s in sorted(expression.free_symbols, key=str):
        local = str(s).removesuffix(side)
        if str(s).endswith(side) and not local.endswith(")"):
            value = then.resolve(symbol(local))
            scope.current[symbol(f"{local}({tag})")] = value
            names[s] = value if value.is_number else symbol(f"{local}({tag}){side}")
    return names


def _of_pre(
    build: Builder, projection: Projection, pre: Neurons, expression: Expr, tag: str
) -> Expr:
    """Read presynaptic values just `before` or `after` the spike."""
    values = pre.before if tag == "before" else pre.after
    return expression.xreplace(_renamed(build, projection.pre, values, expression, tag, "_pre"))


def _of_post(build: Builder, projection: Projection, post: Neurons, expression: Expr) -> Expr:
    """Read postsynaptic values at the end of the step."""
    return expression.xreplace(
        _renamed(build, projection.post, post.end, expression, "end", "_post")
    )


def _of_post_at(
    build: Builder, projection: Projection, post: Neurons, expression: Expr, offset: Expr
) -> Expr:
    """Read postsynaptic values on the straight line from the start to the end of the step."""
    late = _renamed(build, projection.post, post.end, expression, "end", "_post")
    return expression.xreplace({s: (1 - offset) * s + offset * end for s, end in late.items()})


def _jump_of_sum(
    build: Builder,
    projection: Projection,
    pre: Neurons,
    expression: Expr,
    before: Names,
    after: Names,
) -> Expr:
    """Return what a spike adds to a synapse's share of a sum for the rest of its step, as a mean over the step."""
    old, new = (
        present(build, projection.name, values, ZERO).resolve(expression)
        for values in (before, after)
    )
    scope = build.scopes[projection.pre]
    first = _renamed(build, projection.pre, pre.before, old, "before", "_pre")
    second = _renamed(build, projection.pre, pre.after, new, "after", "_pre")
    jumping = []
    for s in first.keys() & second.keys():
        local = str(s).removesuffix("_pre")
        values = [scope.current[symbol(f"{local}({tag})")] for tag in ("before", "after")]
        if values[0] != values[1]:
            jumping.append((s, local, values[1] - values[0]))
    jumping.sort(key=lambda item: item[1])
    if old != new or any(old.diff(s).has(*(x for x, _, _ in jumping)) for s, _, _ in jumping):
        return (new.xreplace(second) - old.xreplace(first)) * symbol(f"{EARLY}_pre")
    total: Expr = ZERO
    for s, local, change in jumping:
        scope.current[symbol(f"{local}{EARLY}")] = scope.current[symbol(EARLY)] * change
        total += old.diff(s) * symbol(f"{local}{EARLY}_pre")
    return total


def _finish(build: Builder, name: str, neurons: Neurons) -> Names:
    """Move from the start or the reset to the end of the step, with what arrived in it."""
    flow, offset, scope = neurons.flow, neurons.offset, build.scopes[name]
    swap: Names = {}
    for target, jumps in sorted(neurons.late.items()):
        old = scope.current[symbol(target)]
        swap[old] = build.assign(f"{name}.{target}.with_early", name, old + sum(jumps, ZERO))  # type: ignore[index]
    elapsed = neurons.since
    if neurons.spike is not None and elapsed is not None:
        elapsed = build.assign(f"{name}.elapsed", name, Where(neurons.spike > HALF, ZERO, elapsed))
    start = dict(neurons.start)
    for local, parts in sorted(neurons.arriving.items()):
        total = sum((first for first, _ in parts), ZERO)
        total = _unless_refractory(neurons, local, total, elapsed)
        x = symbol(local)
        start[x] = build.assign(f"{name}.{x}.received", name, start[x] + total)
    rest = build.assign(f"{name}.rest", name, 1 - offset)
    passed = offset
    if neurons.period is not None and elapsed is not None:
        wait = build.assign(f"{name}.rest.wait", name, clip(neurons.period - elapsed, ZERO, rest))
        start = flow.move(build, start, wait, offset, "waited", refractory=True, swap=swap)
        elapsed = elapsed + rest
        rest = build.assign(f"{name}.rest.free", name, rest - wait)
        passed = offset + wait
    found = flow.move(build, start, rest, passed, "next", swap=swap)
    for local, parts in sorted(neurons.arriving.items()):
        total = sum((second for _, second in parts), ZERO)
        total = _unless_refractory(neurons, local, total, elapsed)
        x = symbol(local)
        found[x] = build.assign(f"{name}.{x}.next", name, found[x] + total)
    if neurons.since is not None:
        assert elapsed is not None
        found[symbol("steps_since_spike")] = elapsed
    return found


def _unless_refractory(neurons: Neurons, local: str, total: Expr, elapsed: Expr | None) -> Expr:
    if neurons.period is None or elapsed is None or local not in neurons.flow.frozen:
        return total
    return Where(elapsed < neurons.period, ZERO, total)


def _close(build: Builder, neurons: dict[str, Neurons], nexts: dict[str, Names]) -> None:
    """Name the value of every state at the start of the next step."""
    for given in build.inputs:
        if given.kind is Kind.STATE:
            local = given.name.removeprefix(f"{given.space}.")
            value = nexts[given.space][symbol(local)]
            build.next_states[given.symbol] = build.assign(
                f"{given.symbol}.following", given.space, value
            )
