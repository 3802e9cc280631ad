"""by_synapse: how a presynaptic neuron's parameter acts through each of its synapses, as derivatives by new parameters.

A decay time of a presynaptic trace acts on every postsynaptic neuron. A backward pass sums over these; to know what each
contributes would take one pass for each. The derivative of the trace by its own neuron's parameter is one number per
neuron, though, so it is carried along (forward mode: Griewank & Walther 2008, section 3.1), and every synapse passes on
`trace + perturbation * derivative`. The perturbation is a parameter of the synapse, and always 0: nothing changes, and
the derivative by it is what the neuron's parameter does through this synapse alone.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from sympy import Add, Expr, Integer, Symbol

from eqsnn.language.functions import symbol
from eqsnn.maths.program import (
    NETWORK,
    Assign,
    Couple,
    Delay,
    Gather,
    Input,
    Kind,
    Program,
    Reduce,
    Statement,
)
from eqsnn.maths.reach import reached_from
from eqsnn.maths.surrogates import insert_surrogate


@dataclass(frozen=True, slots=True)
class Influence:
    """What a neuron's parameter does through the synapses of a projection. perturbation: the new parameter, of pairs."""

    parameter: str
    projection: str
    perturbation: str


@dataclass(frozen=True, slots=True)
class BySynapse:
    """A Program with perturbations of synapses, which are all 0.

    carried: states whose derivatives are carried along; direct: parameters that reach their own neuron's outputs
    without a synapse, too.
    """

    program: Program
    influences: tuple[Influence, ...]
    carried: frozenset[Symbol]
    direct: frozenset[str]


def split_by_synapse(program: Program, parameters: Collection[str]) -> BySynapse | None:
    """Return the Program with a perturbation for each of these neuron parameters and projection it acts through.

    None where what passed through one synapse passes through another in the end, so that neurons cannot be told apart.
    """
    spaces = program.space_of()
    for name in parameters:
        space = spaces.get(symbol(name), NETWORK)
        if space == NETWORK or program.spaces[space].is_projection:
            return None
    split = _Split(program, sorted(parameters))
    return split.result() if split.possible else None


class _Split:
    def __init__(self, program: Program, parameters: Iterable[str]) -> None:
        self.program, self.spaces = program, program.space_of()
        self.possible = True
        self.statements: list[Statement] = list(program.statements)
        self.inputs, self.delays = list(program.inputs), list(program.delays)
        self.next_states = dict(program.next_states)
        self.influences: list[Influence] = []
        self.carried: set[Symbol] = set()
        self.direct: set[str] = set()
        for name in parameters:
            self._add(symbol(name))

    def result(self) -> BySynapse:
        program = replace(
            self.program,
            inputs=tuple(self.inputs),
            statements=tuple(self.statements),
            next_states=self.next_states,
            delays=tuple(self.delays),
        )
        return BySynapse(
            program, tuple(self.influences), frozenset(self.carried), frozenset(self.direct)
        )

    def _add(self, parameter: Symbol) -> None:
        local = self._local(parameter)
        crossing = [s for s in self.program.statements if _crosses(s, local)]
        beyond = reached_from(self.program, {s.target for s in crossing})
        if any(_carries_on(s, local, beyond) for s in self.program.statements):
            self.possible = False
            return
        near = reached_from(self._without(crossing), {parameter})
        if near & set(self.program.outputs.values()):
            self.direct.add(parameter.name)
        slopes = {parameter: Integer(1)} | {
            s: _slope_name(s, parameter) for s in local - {parameter}
        }
        for given in self.program.inputs:
            if given.symbol in local and given.symbol != parameter:
                self.inputs.append(replace(given, symbol=slopes[given.symbol]))
        for state, after in self.program.next_states.items():
            if state in local:
                self.carried.add(state)
                self.next_states[slopes[state]] = slopes[after]
        self.delays += [
            Delay(slopes[d.sent], slopes[d.arrival], d.steps)
            for d in self.program.delays
            if d.arrival in local
        ]
        self.statements = [
            made for s in self.statements for made in self._perturbed(s, parameter, slopes)
        ]
        self._complete(slopes)

    def _complete(self, slopes: dict[Symbol, Expr]) -> None:
        """Give a derivative of 0 to what a state becomes where that does not depend on it."""
        known = {g.symbol for g in self.inputs} | {s.target for s in self.statements}
        for s in sorted(slopes, key=str):
            slope = slopes[s]
            if isinstance(slope, Symbol) and slope not in known:
                self.statements.append(Assign(slope, self.spaces[s], Integer(0)))

    def _local(self, parameter: Symbol) -> set[Symbol]:
        """Return what depends on the parameter of its own neuron, and on pairs of the presynaptic one, before synapses."""
        space = self.spaces[parameter]
        own = {space} | {n for n, s in self.program.spaces.items() if s.pre == space}

        def follows(s: Statement) -> bool:
            within = isinstance(s, Assign) or (isinstance(s, Gather) and not s.from_post)
            return within and s.space in own

        beyond = [s for s in self.program.statements if not follows(s)]
        local = reached_from(self._without(beyond), {parameter})
        # a state that depends on it needs the derivative of its successor, which may be 0
        return local | {after for s, after in self.program.next_states.items() if s in local}

    def _without(self, statements: list[Statement]) -> Program:
        """Return the program with these statements as if they yielded nothing."""
        targets = {s.target for s in statements}
        kept = tuple(
            Assign(s.target, s.space, Integer(0)) if s.target in targets else s
            for s in self.program.statements
        )
        return replace(self.program, statements=kept)

    def _perturbed(
        self, statement: Statement, parameter: Symbol, slopes: dict[Symbol, Expr]
    ) -> list[Statement]:
        if isinstance(statement, Assign):
            target = slopes.get(statement.target)
            if target is None:
                return [statement]
            terms = [
                insert_surrogate(statement.expression.diff(s), self.program.surrogate) * slopes[s]
                for s in sorted(statement.reads & slopes.keys(), key=str)
            ]
            return [statement, Assign(target, statement.space, Add(*terms))]
        if isinstance(statement, Gather):
            if statement.target not in slopes:
                return [statement]
            source = slopes[statement.source]
            if source == 1:
                return [statement, Assign(slopes[statement.target], statement.space, Integer(1))]
            return [
                statement,
                replace(statement, target=slopes[statement.target], source=source),
            ]
        if not _crosses(statement, slopes.keys()):
            return [statement]
        return self._passed_on(statement, parameter, slopes)

    def _passed_on(
        self, statement: Statement, parameter: Symbol, slopes: dict[Symbol, Expr]
    ) -> list[Statement]:
        """Let a synapse pass on what it passes, and its derivative times the perturbation."""
        assert isinstance(statement, Couple | Reduce)
        perturbation = self._perturbation(parameter, statement.projection)
        plain = symbol(f"{statement.target}.(unperturbed by {parameter})")
        extra = symbol(f"{statement.target}.(perturbed by {parameter})")
        slope = slopes[statement.source]
        if isinstance(statement, Couple):
            weighted = perturbation
            made: list[Statement] = [replace(statement, target=plain)]
            if statement.weight is not None:
                weighted = symbol(f"{extra}.weight")
                made.append(Assign(weighted, statement.projection, statement.weight * perturbation))
            if slope == 1:
                slope = symbol(f"{extra}.one")
                made.append(Assign(slope, self.spaces[statement.source], Integer(1)))
            made.append(replace(statement, target=extra, weight=weighted, source=slope))
        else:
            pair = symbol(f"{extra}.pair")
            made = [
                replace(statement, target=plain),
                Assign(pair, statement.projection, perturbation * slope),
                replace(statement, target=extra, source=pair),
            ]
        return [*made, Assign(statement.target, statement.space, plain + extra)]

    def _perturbation(self, parameter: Symbol, projection: str) -> Symbol:
        found = symbol(f"{projection}.(perturbed by {parameter})")
        influence = Influence(parameter.name, projection, found.name)
        if influence not in self.influences:
            self.influences.append(influence)
            self.inputs.append(Input(found, projection, Kind.PARAMETER))
        return found


def _slope_name(s: Symbol, parameter: Symbol) -> Symbol:
    return symbol(f"{s}.(by {parameter.name.rsplit('.', 1)[1]})")


def _crosses(statement: Statement, local: Collection[Symbol]) -> bool:
    """Whether a statement takes something of these from a presynaptic neuron to a postsynaptic one."""
    if isinstance(statement, Couple):
        return statement.source in local and not statement.transposed
    return isinstance(statement, Reduce) and statement.source in local and statement.to_post


def _carries_on(statement: Statement, local: set[Symbol], beyond: set[Symbol]) -> bool:
    """Whether a statement takes what has passed a synapse to a further neuron, or anything back to the presynaptic one."""
    if isinstance(statement, Assign):
        return False
    if isinstance(statement, Gather):
        return statement.source in beyond and not statement.from_post
    if isinstance(statement, Couple):
        across = beyond | local if statement.transposed else beyond
        return bool(statement.reads & across) or statement.weight in local
    if isinstance(statement, Reduce):
        return not statement.to_post and statement.source in beyond | local
    return bool(statement.reads & (beyond | local))
