"""Model: what a model file says, once every name, unit and event has been checked (frozen).

All expressions are sympy expressions over `functions.symbol(name)`; all numbers are in the coherent units of
units.py (mV, ms, pA, nS, pF, ...), so no conversion factor appears in any equation. `Unit.scale` converts between
the unit a variable is declared in and the coherent one: coherent = declared * scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from eqsnn.errors import Span
from eqsnn.language.units import Unit


class Role(Enum):
    """What a name of a neuron or synapse model stands for."""

    STATE = "state"  # has a differential equation
    VARIABLE = "variable"  # stored; written by events, `update` or summed synapses, starts at its initial value
    PARAMETER = "parameter"  # constant over time, known (`=`) or unknown (`~`)
    INPUT = "input"  # given with the data, by its name
    SUBEXPRESSION = "subexpression"  # an abbreviation, evaluated where it is used


@dataclass(frozen=True, slots=True)
class Distribution:
    """A distribution of parameter values, its arguments in coherent units.

    `normal(mean, sd)`, `lognormal(median, sigma)`, `uniform(low, high)`, `exponential(mean)`, `laplace(centre, scale)`
    or `halfnormal(scale)`. centre: the unknown of the same block whose value is the first argument, which then holds
    its typical value; empty if that is a number.
    """

    name: str
    arguments: tuple[float, ...]
    centre: str = ""


@dataclass(frozen=True, slots=True)
class Value:
    """What a parameter is worth.

    A known one (`learned` false) is a number, or drawn once per simulation from a distribution. An unknown one has a
    distribution, which gives starts and prior. `low` and `high` are hard bounds in coherent units (infinite if open).
    """

    given: float | Distribution
    learned: bool = False
    low: float = float("-inf")
    high: float = float("inf")
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Variable:
    """One name declared in a neuron or synapse model."""

    name: str
    role: Role
    unit: Unit
    shared: bool = False  # one value for the whole population or projection
    frozen_when_refractory: bool = False  # flag `(unless refractory)`
    constant_over_dt: bool = False  # a subexpression evaluated once at the start of each step
    summed: bool = False  # synapses: `x_post = ... (summed)`
    event_driven: bool = (
        False  # synapses: advanced by the solution of its equation, from event to event
    )
    linked: bool = False  # filled by another population, through a `link` of the network block
    value: Value | None = (
        None  # of a parameter; None: to be given by the network block or the caller
    )
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Statement:
    """`target = expression`, executed in order; `+=` and its kin are already written out.

    A temporary target exists within its list of statements only.
    """

    target: str
    expression: Expr
    temporary: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Regular:
    """`every period:` statements at the start of step 0 and every `period` (ms) from there; None: of every step."""

    period: float | None
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """`event name: condition` and, after the resets, what `on name:` does; refractory neurons have events, too."""

    name: str
    condition: Boolean
    statements: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True)
class Pathway:
    """`on_pre name at event:` of a synapse: what an event that arrives from one of its two neurons does.

    `name` is `pre` or `post` where the file gives none. An empty `event` is the spike. A target `x_pre` or `x_post`
    is a variable of a neuron.
    """

    name: str
    side: str  # where the event comes from: pre or post
    event: str
    statements: tuple[Statement, ...]


class NoiseKind(Enum):
    """Distribution of one independent draw for every element and step."""

    NORMAL = "normal"  # mean 0, variance 1
    UNIFORM = "uniform"  # on [0, 1)


@dataclass(frozen=True, slots=True)
class Noise:
    """A private draw that an expression refers to by its symbol.

    `xi` and `xi_*` are white noise: their symbol stands for the noise process (unit 1/sqrt(time)) and may occur in
    differential equations only; `white` tells them from ordinary draws.
    """

    symbol: Symbol
    kind: NoiseKind
    white: bool = False


@dataclass(frozen=True, slots=True)
class NeuronModel:
    """One `neuron` block.

    `equations` maps each state to its time derivative (per ms). `subexpressions` is in order of evaluation and is
    *not* substituted into anything. Names that any expression may use besides the declared ones: t, dt (ms), i, N.
    """

    name: str
    variables: Mapping[str, Variable]
    equations: Mapping[str, Expr]
    subexpressions: Mapping[str, Expr]
    noise: tuple[Noise, ...] = ()
    threshold: Boolean | None = None
    reset: tuple[Statement, ...] = ()
    refractory: Expr | Boolean | None = (
        None  # a time, or a condition that keeps the neuron refractory
    )
    update: tuple[Statement, ...] = ()  # executed every step after integration
    background: tuple[Statement, ...] = ()  # executed every step, where arriving spikes act
    every: tuple[Regular, ...] = ()  # executed at the start of some steps
    events: Mapping[str, Event] = field(default_factory=dict)
    initial: tuple[Statement, ...] = ()  # executed once before the first step
    method: str | None = None  # integrator, None: automatic
    threshold_span: Span | None = field(default=None, compare=False, repr=False)
    method_span: Span | None = field(default=None, compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Return the statements of every list."""
        lists = [self.initial, self.reset, self.update, self.background]
        lists += [regular.statements for regular in self.every]
        lists += [event.statements for event in self.events.values()]
        return tuple(a for statements in lists for a in statements)


@dataclass(frozen=True, slots=True)
class SynapseModel:
    """One `synapse` block: expressions over its own names and `<name>_pre`, `<name>_post` (also i, j, t, dt).

    `summed` maps a variable of the postsynaptic neuron model to the expression summed over its synapses at the start
    of every step. `pathways` say what arriving spikes and events do, in the order of the file.
    """

    name: str
    variables: Mapping[str, Variable]
    equations: Mapping[str, Expr]
    subexpressions: Mapping[str, Expr]
    summed: Mapping[str, Expr]
    noise: tuple[Noise, ...] = ()
    pathways: tuple[Pathway, ...] = ()
    every: tuple[Regular, ...] = ()  # executed at the start of some steps
    initial: tuple[Statement, ...] = ()
    method: str | None = None
    method_span: Span | None = field(default=None, compare=False, repr=False)
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Return the statements of every list."""
        lists = (*(p.statements for p in self.pathways), *(r.statements for r in self.every))
        return (*self.initial, *(a for statements in lists for a in statements))

    @property
    def on_pre(self) -> tuple[Statement, ...]:
        """The statements of the pathway `pre`."""
        return next((p.statements for p in self.pathways if p.name == "pre"), ())


@dataclass(frozen=True, slots=True)
class Population:
    """`name : neuron[size] with parameter = value, ...`; size None: as many as the targets have."""

    name: str
    neuron: str
    size: int | None
    values: Mapping[str, Value] = field(
        default_factory=dict
    )  # overrides of the neuron model's values
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Targets:
    """`to expression for iterator in range(...)`: the postsynaptic neurons that a presynaptic one reaches.

    `values`: start, stop and step of the iterator over i, N_pre, N_post; None: one target. Numbers that are no
    neuron's are left out.
    """

    expression: Expr
    iterator: str = ""
    values: tuple[Expr, Expr, Expr] | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """`pre -> post : synapse` and its clauses.

    `condition`, `probability` and delays (ms) may be expressions over i, j, N_pre, N_post (and the iterator of
    `targets`). `name` is `pre->post`, followed by `:synapse` where the same pair of populations is joined more than once.
    `pairs`: the existing synapses, if the file lists them.
    """

    name: str
    pre: str
    post: str
    synapse: str
    values: Mapping[str, Value] = field(default_factory=dict)
    condition: Boolean | None = None
    probability: float | Expr = 1.0
    delay: float | Expr = 0.0  # of the pathway `pre`, and of sums over presynaptic values
    delays: Mapping[str, float | Expr] = field(default_factory=dict)  # of the other pathways
    targets: Targets | None = None
    pairs: tuple[tuple[int, int], ...] | None = None
    link: bool = False  # made by a `link` line: its target reads the source without the sum's delay of a step
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Model:
    """A whole model file. `dt` is in ms. Populations and projections keep the order of the file.

    `values_file`: an .npz beside the model file whose arrays `group.parameter`, in the units of the file, are known
    values of parameters.
    """

    path: str
    text: str = field(repr=False)
    neurons: Mapping[str, NeuronModel]
    synapses: Mapping[str, SynapseModel]
    dt: float
    populations: Mapping[str, Population]
    projections: Mapping[str, Projection]
    values_file: str | None = None

    def neuron_of(self, population: str) -> NeuronModel:
        """Return the neuron model of a population."""
        return self.neurons[self.populations[population].neuron]

    def synapse_of(self, projection: str) -> SynapseModel:
        """Return the synapse model of a projection."""
        return self.synapses[self.projections[projection].synapse]
