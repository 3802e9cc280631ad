"""Program: a frozen, printable description of one time step, which every transform maps to another Program.

A Program reads its inputs, executes its statements in order (each symbol is assigned once) and names the values that
leave it: the states of the next step and the outputs. Values live on a *space*: the neurons of a population, the
(pre, post) pairs of a projection, or the network as a whole (the space ""). A statement works element by element
within one space; only the couplings move values between spaces, and they are closed under differentiation:

| statement | meaning | its reverse |
|---|---|---|
| `Assign`  | target = expression, elementwise | products with partial derivatives |
| `Couple`  | target[post] = sum over pre of weight[pre, post] source[pre] | transposed `Couple`, `Outer` |
| `Outer`   | target[pre, post] = a[pre] b[post] | not needed (appears in adjoints only) |
| `Gather`  | target[pre, post] = source[pre] or source[post] | `Reduce` |
| `Reduce`  | target[post] = sum over pre of source[pre, post] (or the other way) | `Gather` |
| `Total`   | target = sum over all elements of source | not needed (appears in adjoints only) |

Sums run over existing synapses only, so their reverse reaches existing synapses only (a masked `Gather`).
A *shared* input has one value for its whole space; every backend broadcasts it
and sums its cotangent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from sympy import Expr, Symbol

NETWORK = ""  # the space of values that belong to no population, such as the time


class Kind(Enum):
    """Where the value of an input comes from."""

    STATE = "state"  # carried from step to step
    PARAMETER = "parameter"  # constant over a run
    SETTING = "setting"  # constant over a run and never differentiated: dt, indices, widths
    DRIVE = "drive"  # given for every step
    NORMAL = "normal noise"  # drawn for every step and element
    UNIFORM = "uniform noise"
    OBSERVED = "observed spikes"  # given for every step
    ARRIVAL = "arrival"  # what a Delay delivers
    COTANGENT = "cotangent"  # derivative of the objective by an output


PER_STEP = frozenset({Kind.DRIVE, Kind.NORMAL, Kind.UNIFORM, Kind.OBSERVED})
CONSTANT = frozenset({Kind.PARAMETER, Kind.SETTING})


@dataclass(frozen=True, slots=True)
class Space:
    """An index set: a population, or the pairs of a projection from `pre` to `post`."""

    name: str
    pre: str = ""
    post: str = ""

    @property
    def is_projection(self) -> bool:
        """Whether the elements are (pre, post) pairs."""
        return bool(self.pre)


@dataclass(frozen=True, slots=True)
class Input:
    """A value that enters the step from outside."""

    symbol: Symbol
    space: str
    kind: Kind
    shared: bool = False

    @property
    def name(self) -> str:
        """The name of the symbol."""
        return self.symbol.name


@dataclass(frozen=True, slots=True)
class Assign:
    """`target = expression`, element by element."""

    target: Symbol
    space: str
    expression: Expr

    @property
    def reads(self) -> frozenset[Symbol]:
        """The symbols this statement depends on."""
        return frozenset(self.expression.free_symbols)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.target} = {self.expression}"


@dataclass(frozen=True, slots=True)
class Couple:
    """`target[post] = sum over pre of weight[pre, post] source[pre]`; transposed: pre and post exchanged.

    Without a weight every existing synapse counts 1.
    """

    target: Symbol
    space: str
    projection: str
    weight: Symbol | None
    source: Symbol
    transposed: bool = False

    @property
    def reads(self) -> frozenset[Symbol]:
        """The symbols this statement depends on."""
        return frozenset({self.source} if self.weight is None else {self.source, self.weight})

    def __str__(self) -> str:
        way = "pre <- post" if self.transposed else "pre -> post"
        weight = "" if self.weight is None else f"{self.weight} "
        return f"{self.target} = sum[{self.projection}, {way}] {weight}{self.source}"


@dataclass(frozen=True, slots=True)
class Outer:
    """`target[pre, post] = before[pre] after[post]` on existing synapses."""

    target: Symbol
    projection: str
    before: Symbol
    after: Symbol

    @property
    def space(self) -> str:
        """The projection."""
        return self.projection

    @property
    def reads(self) -> frozenset[Symbol]:
        """The symbols this statement depends on."""
        return frozenset({self.before, self.after})

    def __str__(self) -> str:
        return f"{self.target} = outer[{self.projection}] {self.before} {self.after}"


@dataclass(frozen=True, slots=True)
class Gather:
    """`target[pre, post] = source[pre]`, or `source[post]` if `from_post`; 0 without a synapse if `masked`."""

    target: Symbol
    projection: str
    source: Symbol
    from_post: bool
    masked: bool = False

    @property
    def space(self) -> str:
        """The projection."""
        return self.projection

    @property
    def reads(self) -> frozenset[Symbol]:
        """The symbols this statement depends on."""
        return frozenset({self.source})

    def __str__(self) -> str:
        return f"{self.target} = gather[{self.projection}, {'post' if self.from_post else 'pre'}] {self.source}"


@dataclass(frozen=True, slots=True)
class Reduce:
    """`target[post] = sum over pre of source[pre, post]`, or the other way round if not `to_post`."""

    target: Symbol
    space: str
    projection: str
    source: Symbol
    to_post: bool

    @property
    def reads(self) -> frozenset[Symbol]:
        """The symbols this statement depends on."""
        return frozenset({self.source})

    def __str__(self) -> str:
        return f"{self.target} = sum[{self.projection}, to {'post' if self.to_post else 'pre'}] {self.source}"


@dataclass(frozen=True, slots=True)
class Total:
    """`target = sum over the elements of source`: one value for the whole network."""

    target: Symbol
    source: Symbol

    @property
    def space(self) -> str:
        """The network as a whole."""
        return NETWORK

    @property
    def reads(self) -> frozenset[Symbol]:
        """The symbols this statement depends on."""
        return frozenset({self.source})

    def __str__(self) -> str:
        return f"{self.target} = sum of all {self.source}"


OverSynapses = Couple | Outer | Gather | Reduce
Statement = Assign | OverSynapses | Total


@dataclass(frozen=True, slots=True)
class Delay:
    """The input `arrival` is what `sent` was `steps` >= 1 steps ago; before that, `sent`'s value at rest.

    `sent` is a state or any assigned value. Until step `steps` a state arrives with its initial value and
    everything else with 0.
    """

    sent: Symbol
    arrival: Symbol
    steps: int


@dataclass(frozen=True, slots=True)
class Program:
    """One step. `next_states` maps each state to its value at the start of the next step."""

    spaces: Mapping[str, Space]
    inputs: tuple[Input, ...]
    statements: tuple[Statement, ...]
    next_states: Mapping[Symbol, Symbol]
    outputs: Mapping[str, Symbol]
    delays: tuple[Delay, ...] = ()
    surrogate: str = "fast_sigmoid"
    notes: tuple[str, ...] = field(default=(), compare=False)  # choices made on the way, for people

    def __post_init__(self) -> None:
        """Refuse a Program that reads what is not yet assigned, assigns twice or lacks an output (our own bugs)."""
        known = {given.symbol: given.space for given in self.inputs}
        assert len(known) == len(self.inputs), "an input is declared twice"
        for statement in self.statements:
            missing = statement.reads - known.keys()
            assert not missing, f"{statement}: reads {missing} before assignment"
            assert statement.target not in known, f"{statement}: assigned twice"
            assert statement.space == NETWORK or statement.space in self.spaces, (
                f"{statement}: unknown space"
            )
            known[statement.target] = statement.space
        leaving = [
            *self.next_states.values(),
            *self.outputs.values(),
            *(delay.sent for delay in self.delays),
        ]
        unknown = set(leaving) - known.keys()
        assert not unknown, f"outputs {unknown} are never assigned"
        states = {given.symbol for given in self.inputs if given.kind is Kind.STATE}
        assert states == set(self.next_states), (
            f"states and next states differ: {states ^ set(self.next_states)}"
        )
        arrivals = {given.symbol for given in self.inputs if given.kind is Kind.ARRIVAL}
        assert arrivals == {delay.arrival for delay in self.delays}, "arrivals and delays differ"

    def of_kind(self, *kinds: Kind) -> tuple[Input, ...]:
        """Return the inputs of these kinds, in order."""
        return tuple(given for given in self.inputs if given.kind in kinds)

    def space_of(self) -> dict[Symbol, str]:
        """Return the space of every symbol."""
        spaces = {given.symbol: given.space for given in self.inputs}
        return spaces | {statement.target: statement.space for statement in self.statements}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        for kind in Kind:
            for given in self.of_kind(kind):
                place = (
                    f" [{given.space}{', shared' if given.shared else ''}]" if given.space else ""
                )
                yield f"{kind.value:>15}  {given.symbol}{place}"
        yield from (
            f"{'delay':>15}  {d.arrival} = {d.sent} {d.steps} steps ago" for d in self.delays
        )
        yield ""
        yield from (str(statement) for statement in self.statements)
        yield ""
        yield from (
            f"{'next':>15}  {state} <- {value}" for state, value in self.next_states.items()
        )
        yield from (f"{'output':>15}  {name} = {value}" for name, value in self.outputs.items())
        yield from (f"{'note':>15}  {note}" for note in self.notes)
