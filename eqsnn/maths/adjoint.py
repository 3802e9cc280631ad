"""adjoint: Program of a step -> Program of its vector-Jacobian product (reverse mode, one step).

The adjoint Program repeats the step, reads a cotangent for everything that leaves it, and returns a cotangent for
everything that entered it: reverse accumulation over the statements, each product of partial derivatives written by
sympy. At a threshold the partial derivative is the Program's surrogate. Source: Griewank & Walther 2008, section 3.2.
"""

from collections.abc import Iterable

from sympy import Expr, Integer, Symbol

from eqsnn.language.functions import symbol
from eqsnn.maths.program import (
    NETWORK,
    Assign,
    Couple,
    Gather,
    Input,
    Kind,
    Outer,
    Program,
    Reduce,
    Statement,
    Total,
)
from eqsnn.maths.surrogates import insert_surrogate


def of_next(state: Symbol) -> Symbol:
    """Name the cotangent of a state's value at the start of the next step."""
    return symbol(f"bar.next.{state}")


def of_output(name: str) -> Symbol:
    """Name the cotangent of an output."""
    return symbol(f"bar.output.{name}")


def of_sent(arrival: Symbol) -> Symbol:
    """Name the cotangent of what is sent into the delay that delivers `arrival`."""
    return symbol(f"bar.sent.{arrival}")


def of_input(given: Symbol) -> str:
    """Name the result that holds the cotangent of an input."""
    return f"bar.{given}"


class _Reverse:
    """Accumulates the contributions to each cotangent, and the statements that compute them."""

    def __init__(
        self, program: Program, active: set[Symbol], partials: dict[tuple[Symbol, Symbol], Expr]
    ) -> None:
        self.spaces = program.space_of()
        self.surrogate = program.surrogate
        self.active = active
        self.partials = partials
        self.alike = {given.symbol for given in program.inputs if given.shared}
        self.statements: list[Statement] = []
        self.contributions: dict[Symbol, dict[str, list[Expr]]] = {}

    def contribute(self, to: Symbol, amount: Expr, space: str) -> None:
        """Add `amount`, a value on `space`, to the cotangent of `to`, if anyone asks for it."""
        if to in self.active and amount != 0:
            own = space if self.is_alike(to) else self.spaces[to]
            self.contributions.setdefault(to, {}).setdefault(own, []).append(amount)

    def is_alike(self, of: Symbol) -> bool:
        """Whether a symbol has one value for a whole space, so that other spaces may read it."""
        return of in self.alike or self.spaces[of] == NETWORK

    def total(self, of: Symbol) -> Symbol | None:
        """Return the symbol of the finished cotangent of `of`, None if nothing depends on it.

        It lives where `of` is read: contributions from several spaces are summed over each space first.
        """
        by_space = self.contributions.pop(of, {})
        if not by_space:
            return None
        if len(by_space) == 1:
            ((space, terms),) = by_space.items()
            return self._assign(symbol(f"bar.{of}"), space, sum(terms, Integer(0)))
        totals = []
        for space, terms in by_space.items():
            part = self._assign(symbol(f"bar.{of}.{space}"), space, sum(terms, Integer(0)))
            if space != NETWORK:
                whole = symbol(f"bar.{of}.{space}.total")
                self._emit(Total(whole, part))
                part = whole
            totals.append(part)
        return self._assign(symbol(f"bar.{of}"), NETWORK, sum(totals, Integer(0)))

    def _assign(self, target: Symbol, space: str, amount: Expr) -> Symbol:
        if isinstance(amount, Symbol):
            return amount
        self._emit(Assign(target, space, amount))
        return target

    def _emit(self, statement: Statement) -> None:
        self.statements.append(statement)
        self.spaces[statement.target] = statement.space

    def reverse(self, statement: Statement) -> None:
        """Turn the cotangent of a statement's target into contributions to what it read."""
        if statement.target not in self.contributions:
            return
        bar = self.total(statement.target)
        assert bar is not None
        if isinstance(statement, Assign):
            place = self.spaces[bar] if statement.space == NETWORK else statement.space
            for s in sorted(statement.reads & self.active, key=str):
                self.contribute(s, bar * self.partial(statement, s), place)
        elif isinstance(statement, Couple):
            self._reverse_couple(statement, bar)
        elif isinstance(statement, Gather):
            if statement.source in self.active:
                target = symbol(f"bar.{statement.target}.summed")
                place = self.spaces[statement.source]
                back = Reduce(target, place, statement.projection, bar, to_post=statement.from_post)
                self._emit(back)
                self.contribute(statement.source, target, place)
        elif isinstance(statement, Reduce):
            target = symbol(f"bar.{statement.target}.spread")
            self._emit(
                Gather(target, statement.projection, bar, from_post=statement.to_post, masked=True)
            )
            self.contribute(statement.source, target, statement.projection)
        else:
            raise AssertionError(f"{statement} occurs in adjoints only")

    def partial(self, statement: Assign, s: Symbol) -> Expr:
        """Return the derivative of an assigned value by `s`, surrogate written out; each is worked out once."""
        key = (statement.target, s)
        if key not in self.partials:
            self.partials[key] = insert_surrogate(statement.expression.diff(s), self.surrogate)
        return self.partials[key]

    def _reverse_couple(self, statement: Couple, bar: Symbol) -> None:
        if statement.source in self.active:
            target = symbol(f"bar.{statement.target}.back")
            place = self.spaces[statement.source]
            back = Couple(
                target, place, statement.projection, statement.weight, bar, not statement.transposed
            )
            self._emit(back)
            self.contribute(statement.source, target, place)
        if statement.weight in self.active:
            target = symbol(f"bar.{statement.target}.outer")
            before, after = (
                (bar, statement.source) if statement.transposed else (statement.source, bar)
            )
            self._emit(Outer(target, statement.projection, before, after))
            self.contribute(statement.weight, target, statement.projection)


def adjoint(program: Program, wrt: Iterable[Symbol]) -> Program:
    """Return the Program of the vector-Jacobian product of `program` with respect to the inputs `wrt`.

    Inputs: those of `program` and a cotangent for each next state (`of_next`), output (`of_output`) and delay
    (`of_sent`). Outputs: `of_input(x)` for each x in `wrt` on which anything depends. The cotangent of a shared input
    comes out per element; whoever runs the Program sums it.
    """
    wanted = list(wrt)
    active = _influenced(program, wanted)
    partials: dict[tuple[Symbol, Symbol], Expr] = {}
    live: set[Symbol] = set()
    while True:
        backward = _reverse(program, wanted, _Reverse(program, active, partials), live)
        reached = {state for state in program.next_states if of_input(state) in backward.outputs}
        if reached <= live:
            return backward
        live |= reached


def _reverse(
    program: Program, wanted: list[Symbol], reverse: _Reverse, live: set[Symbol]
) -> Program:
    """Reverse one step. A state outside `live` has no influence on any output, so its cotangent is always zero."""
    cotangents: list[Input] = []
    spaces = program.space_of()
    leaving = [
        (value, of_next(state)) for state, value in program.next_states.items() if state in live
    ]
    leaving += [(value, of_output(name)) for name, value in program.outputs.items()]
    leaving += [(delay.sent, of_sent(delay.arrival)) for delay in program.delays]
    for value, bar in leaving:
        if value in reverse.active:
            cotangents.append(Input(bar, spaces[value], Kind.COTANGENT))
            reverse.spaces[bar] = spaces[value]
            reverse.contribute(value, bar, spaces[value])
    for statement in reversed(program.statements):
        reverse.reverse(statement)
    outputs = {of_input(x): bar for x in wanted if (bar := reverse.total(x)) is not None}
    return Program(
        spaces=program.spaces,
        inputs=(*_entering(program), *cotangents),
        statements=(*program.statements, *reverse.statements),
        next_states={},
        outputs=outputs,
        surrogate=program.surrogate,
    )


def _entering(program: Program) -> tuple[Input, ...]:
    """The inputs of the step, as plain values: nothing is carried or delivered by an adjoint step itself."""
    plain = {Kind.STATE: Kind.DRIVE, Kind.ARRIVAL: Kind.DRIVE}
    return tuple(
        Input(given.symbol, given.space, plain.get(given.kind, given.kind), given.shared)
        for given in program.inputs
    )


def _influenced(program: Program, wrt: list[Symbol]) -> set[Symbol]:
    active = set(wrt)
    for statement in program.statements:
        if statement.reads & active:
            active.add(statement.target)
    return active
