"""Builder: a Program under construction, and what the local names of each block stand for as it grows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.language.functions import symbol
from eqsnn.language.model import Model, NeuronModel, Noise, NoiseKind, Role, SynapseModel
from eqsnn.maths.integrators import DT, TIME
from eqsnn.maths.program import NETWORK, Assign, Delay, Gather, Input, Kind, Space, Statement

LASTSPIKE = symbol("lastspike")
Names = dict[Symbol, Expr]
Block = NeuronModel | SynapseModel

KIND_OF_ROLE = {
    Role.STATE: Kind.STATE,
    Role.VARIABLE: Kind.STATE,
    Role.PARAMETER: Kind.PARAMETER,
    Role.INPUT: Kind.DRIVE,
}


@dataclass(slots=True)
class Scope:
    """What the local names of one population or projection stand for at the present point of the step."""

    name: str
    current: Names
    subexpressions: Mapping[str, Expr]

    def resolve(self, expression: Expr | Boolean) -> Expr:
        """Write an expression over local names out in symbols of the Program, with present values."""
        names = self.current
        for name, definition in self.subexpressions.items():
            if symbol(name) not in names:
                names = names | {symbol(name): definition.xreplace(names)}
        return expression.xreplace(names)


@dataclass(slots=True)
class Builder:
    """The mutable counterpart of a Program; lives only while one is being made."""

    model: Model
    spaces: dict[str, Space] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    next_states: dict[Symbol, Symbol] = field(default_factory=dict)
    outputs: dict[str, Symbol] = field(default_factory=dict)
    delays: list[Delay] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scopes: dict[str, Scope] = field(default_factory=dict)
    taken: set[Symbol] = field(default_factory=set)

    def read(self, name: str, space: str, kind: Kind, shared: bool = False) -> Symbol:
        """Declare an input, once, and return its symbol."""
        target = symbol(name)
        if target not in self.taken:
            self.taken.add(target)
            self.inputs.append(Input(target, space, kind, shared))
        return target

    def fresh(self, name: str) -> Symbol:
        """Return an unused symbol called `name`, or `name'2`, `name'3`, ..."""
        target, count = symbol(name), 1
        while target in self.taken:
            count += 1
            target = symbol(f"{name}'{count}")
        self.taken.add(target)
        return target

    def assign(self, name: str, space: str, expression: Expr) -> Symbol:
        """Append `name = expression` and return the symbol; a bare symbol is returned as it is."""
        return expression if isinstance(expression, Symbol) else self.keep(name, space, expression)

    def keep(self, name: str, space: str, expression: Expr) -> Symbol:
        """Append `name = expression` even for a bare symbol: data may give the value of that name."""
        target = self.fresh(name)
        self.statements.append(Assign(target, space, expression))
        return target

    def gather(self, projection: str, source: Symbol, *, from_post: bool) -> Symbol:
        """Return the pairwise copy of a population's value, made once."""
        for statement in self.statements:
            if isinstance(statement, Gather) and (
                statement.projection,
                statement.source,
                statement.from_post,
            ) == (
                projection,
                source,
                from_post,
            ):
                return statement.target
        target = self.fresh(f"{projection}.{source}.{'post' if from_post else 'pre'}")
        self.statements.append(Gather(target, projection, source, from_post))
        return target

    def block(self, name: str) -> Block:
        """Return the neuron or synapse model of a population or projection."""
        return (
            self.model.neuron_of(name)
            if name in self.model.populations
            else self.model.synapse_of(name)
        )

    def enter(self, name: str) -> None:
        """Open the scope of a population or projection and declare its inputs."""
        block = self.block(name)
        self.spaces[name] = space_of(self.model, name)
        overwritten = summed_into(self.model, name)
        current: Names = {TIME: TIME, DT: DT}
        for variable in block.variables.values():
            if variable.role in KIND_OF_ROLE and variable.name not in overwritten:
                kind = KIND_OF_ROLE[variable.role]
                current[symbol(variable.name)] = self.read(
                    f"{name}.{variable.name}", name, kind, variable.shared
                )
        if name in self.model.populations and mentions(self.model, name, "lastspike"):
            current[LASTSPIKE] = self.read(f"{name}.lastspike", name, Kind.STATE)
        for noise in block.noise:
            current[noise.symbol] = self._draw(name, noise)
        current |= indices(self, name, block)
        self.scopes[name] = Scope(name, current, abbreviations(block))

    def _draw(self, name: str, noise: Noise) -> Symbol:
        kind = Kind.NORMAL if noise.kind is NoiseKind.NORMAL else Kind.UNIFORM
        return self.read(f"{name}.{noise.symbol}", name, kind)


def space_of(model: Model, name: str) -> Space:
    """Return the index set of a population or projection."""
    if name in model.populations:
        return Space(name)
    return Space(name, model.projections[name].pre, model.projections[name].post)


def stored(block: Block) -> list[str]:
    """Return the names whose values are carried from step to step."""
    return [v.name for v in block.variables.values() if v.role in (Role.STATE, Role.VARIABLE)]


def abbreviations(block: Block) -> dict[str, Expr]:
    """Return the subexpressions that are evaluated wherever they are used."""
    return {
        name: e
        for name, e in block.subexpressions.items()
        if not block.variables[name].constant_over_dt
    }


def summed_into(model: Model, population: str) -> set[str]:
    """Return the variables of a population that are overwritten each step by sums over its synapses."""
    into = [p.name for p in model.projections.values() if p.post == population]
    return {target for name in into for target in model.synapse_of(name).summed}


def indices(build: Builder, name: str, block: Block) -> Names:
    """Bind i and N (a synapse: i, j, N_pre, N_post) where the block mentions them."""
    space, used = build.spaces[name], mentioned(block)
    bound: Names = {}
    for local, population in (
        {"i": space.pre, "j": space.post} if space.is_projection else {"i": name}
    ).items():
        if symbol(local) in used:
            index = build.read(f"{population}.i", population, Kind.SETTING)
            pairwise = space.is_projection
            bound[symbol(local)] = (
                build.gather(name, index, from_post=local == "j") if pairwise else index
            )
    for local, population in (
        {"N_pre": space.pre, "N_post": space.post} if space.is_projection else {"N": name}
    ).items():
        if symbol(local) in used:
            bound[symbol(local)] = build.read(f"{population}.N", NETWORK, Kind.SETTING)
    if space.is_projection:
        for local, population in {"N_incoming": space.post, "N_outgoing": space.pre}.items():
            if symbol(local) in used:
                count = build.read(f"{name}.{local}", population, Kind.SETTING)
                bound[symbol(local)] = build.gather(name, count, from_post=local == "N_incoming")
    return bound


def mentions(model: Model, population: str, local: str) -> bool:
    """Whether a population or one of its synapses refers to a name of the population."""
    if symbol(local) in mentioned(model.neuron_of(population)):
        return True
    return any(
        symbol(f"{local}_{side}") in mentioned(model.synapse_of(projection.name))
        for projection in model.projections.values()
        for side, end in (("pre", projection.pre), ("post", projection.post))
        if end == population
    )


def mentioned(block: Block) -> set[Symbol]:
    """Return every symbol that a block refers to."""
    expressions: list[Expr | Boolean] = [*block.equations.values(), *block.subexpressions.values()]
    expressions += [statement.expression for statement in block.statements]
    if isinstance(block, NeuronModel):
        expressions += [event.condition for event in block.events.values()]
        expressions += [e for e in (block.threshold, block.refractory) if e is not None]
    else:
        expressions += block.summed.values()
    return {s for e in expressions for s in e.free_symbols}  # type: ignore[misc]
