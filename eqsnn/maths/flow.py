"""flow: the motion of a neuron or synapse between events, over any share of a step."""

from dataclasses import dataclass

import sympy
from sympy import Expr, Integer, Symbol

from eqsnn.language.functions import symbol
from eqsnn.language.model import Statement
from eqsnn.maths.build import Block, Builder, Names, Scope, stored, summed_into
from eqsnn.maths.discretise import cannot_integrate, gathered, method_for
from eqsnn.maths.integrators import DT, INTEGRATORS, TIME, NotApplicable, System
from eqsnn.maths.projections import refusal

WHOLE = sympy.Dummy("dt", positive=True)  # the step itself, where DT stands for a share of it


@dataclass(frozen=True, slots=True)
class Flow:
    """Values a share of a step later, over the local names of the states, `DT` (the share in ms) and `WHOLE`.

    `free` and `waiting` hold for the differential equations, `waiting` while refractory; `updates` follow them.
    """

    name: str
    free: Names
    waiting: Names
    updates: tuple[Statement, ...]
    frozen: frozenset[str]
    held: Scope

    def move(
        self,
        build: Builder,
        start: Names,
        share: Expr,
        after: Expr,
        label: str,
        *,
        refractory: bool = False,
        swap: Names | None = None,
    ) -> Names:
        """Assign and return the states `share` of a step after they were `start`, which was `after` of a step into it.

        swap: values that replace others held over the step. A share of 0 leaves every state where it is.
        """
        if share == 0:
            return dict(start)
        clock = {DT: share * DT, TIME: TIME + after * DT}
        other = {WHOLE: DT, **(swap or {})}
        names = {**start, **clock, **other}
        moved = dict(start)
        for x, value in (self.waiting if refractory else self.free).items():
            moved[x] = build.assign(f"{self.name}.{x}.{label}", self.name, value.xreplace(names))
        for statement in self.updates:
            if refractory and statement.target in self.frozen:
                continue
            present = Scope(
                self.name, {**self.held.current, **moved, **clock}, self.held.subexpressions
            )
            value = present.resolve(statement.expression).xreplace(other)
            target = symbol(statement.target)
            moved[target] = build.assign(f"{self.name}.{target}.{label}", self.name, value)
        return moved


def flow_of(build: Builder, name: str, method: str | None) -> Flow:
    """Return the flow of a population or projection, everything but its own states held as the builder has it now.

    White noise is a constant drive over its step, sqrt(dt) xi in all, so that a share of a step has that share of it.
    Raises ModelError for what has no flow: noise multiplied by a state, an `update` that is no step of some length.
    """
    block, scope = build.block(name), build.scopes[name]
    states = [symbol(x) for x in block.equations]
    updates = getattr(block, "update", ())
    own = set(stored(block)) - summed_into(build.model, name)
    held = {s: value for s, value in scope.current.items() if str(s) not in own}
    frozen = frozenset(v.name for v in block.variables.values() if v.frozen_when_refractory)
    system = _system(build, name, block, states)
    free = _advanced(build, name, block, system, method)
    still = {x: Integer(0) if str(x) in frozen else rate for x, rate in system.rates.items()}
    waiting = _advanced(build, name, block, System(still, system.white), method) if frozen else free
    flow = Flow(name, free, waiting, updates, frozen, Scope(name, held, scope.subexpressions))
    _require_flow(flow, block)
    return flow


def _system(build: Builder, name: str, block: Block, states: list[Symbol]) -> System:
    scope = build.scopes[name]
    white = tuple(noise.symbol for noise in block.noise if noise.white)
    held = {s: value for s, value in scope.current.items() if s not in (*states, *white)}
    opened = Scope(name, {**held, DT: WHOLE}, scope.subexpressions)
    rates = {symbol(x): opened.resolve(rate) for x, rate in block.equations.items()}
    if name in build.model.projections:
        rates = {x: gathered(build, name, rate, (*states, *white)) for x, rate in rates.items()}
    return System(rates, white)


def _advanced(build: Builder, name: str, block: Block, system: System, method: str | None) -> Names:
    if not system.rates:
        return {}
    chosen = method_for(build, block, name, system, method)
    if system.white and system.noise_is_multiplicative:
        raise refusal(
            block,
            f"`{block.name}`: a share of a step of noise that is multiplied by a state is not defined",
            "use the surrogate gradient for this model, or make its noise additive",
        )
    try:
        INTEGRATORS[chosen].advance(system)
        drawn = {xi: build.scopes[name].current[xi] / sympy.sqrt(WHOLE) for xi in system.white}
        quiet = System({x: rate.xreplace(drawn) for x, rate in system.rates.items()})
        return INTEGRATORS["euler" if system.white else chosen].advance(quiet)
    except NotApplicable as reason:
        raise cannot_integrate(block, name, system, reason) from reason


def _require_flow(flow: Flow, block: Block) -> None:
    """Refuse `update` statements that change a state in a step of length 0."""
    names: Names = {symbol(s.target): symbol(s.target) for s in flow.updates}
    for statement in flow.updates:
        present = Scope(
            flow.name,
            {**flow.held.current, **names, DT: Integer(0)},
            flow.held.subexpressions,
        )
        names[symbol(statement.target)] = present.resolve(statement.expression)
    for x, value in names.items():
        if sympy.simplify(value - x) != 0:
            raise refusal(
                block,
                f"`{block.name}`: the update of `{x}` is no step of length dt, so a share of it is not defined",
                "write it as `x = x + dt*(...)`, or use the surrogate gradient for this model",
            )
