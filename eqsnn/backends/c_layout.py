"""Where everything is: the forms of a kernel, the order of its pointers, the names and sizes of its arrays."""

import re
from dataclasses import dataclass
from pathlib import Path

from sympy import Symbol

from eqsnn.backends.c_adjoint import NOISE, Cut, Product, split_products
from eqsnn.backends.c_spelling import C_WORDS
from eqsnn.backends.naming import identifiers
from eqsnn.backends.schedule import Draw, with_copies
from eqsnn.backends.signature import signature
from eqsnn.maths.program import (
    CONSTANT,
    NETWORK,
    PER_STEP,
    Input,
    Kind,
    Program,
)

RUNTIME = (Path(__file__).parent / "runtime.h").read_text(encoding="utf-8")


OWN_WORDS = frozenset(
    [
        "b",
        "p",
        "s",
        "row",
        "next",
        "totals",
        "bar",
        "into",
        "kept",
        "in",
        "out",
        "rows",
        "n",
        "e",
        "i",
        "j",
        "k",
        "l",
        "record",
        "weights",
        "ALIGNED",
    ]
)
RESERVED = C_WORDS | OWN_WORDS | frozenset(re.findall(r"[A-Za-z_]\w*", RUNTIME))


Port = tuple[
    str, str
]  # the role of a pointer, and the name of the value it points to  # the role of a pointer, and the name of the value it points to


@dataclass(frozen=True, slots=True)
class Form:
    """What a kernel's source is specialised to.

    sizes: elements of each space, existing synapses where a projection is `sparse`. same: inputs that have one value
    for all lanes. single: per-step inputs with one value for all neurons. generated: noise drawn by the kernel itself.
    record, total: as in Run. learned: constants whose cotangents are wanted; None: no backward pass.
    """

    sizes: tuple[tuple[str, int], ...]
    block: int
    double: bool
    sparse: frozenset[str] = frozenset()
    same: frozenset[str] = frozenset()
    single: frozenset[str] = frozenset()
    generated: bool = False
    record: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    weighted: bool = False
    learned: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """C source of a kernel, and the order of the pointers its functions take."""

    text: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    bar_inputs: tuple[Port, ...]
    bar_outputs: tuple[Port, ...]
    per_block: frozenset[
        str
    ]  # learned weights whose cotangents come out once for each block, summed over its lanes


class Layout:
    """One kernel: a step, its adjoint, and where their values are."""

    def __init__(self, step: Program, form: Form, cut: Cut | None) -> None:
        self.form, self.cut = form, cut
        places = signature(step)
        self.places = places
        leaving = [
            *step.next_states.values(),
            *(step.outputs[name] for name in (*form.record, *form.total)),
            *(delay.sent for delay in step.delays),
        ]
        self.step, self.called = with_copies(step, leaving)
        self.delays = {str(delay.arrival): delay for delay in step.delays}
        self.draws = [
            Draw(g.symbol, g.space, g.kind) for g in step.of_kind(*NOISE) if form.generated
        ]
        drawn = {draw.target for draw in self.draws}
        self.now = [g for g in step.of_kind(*PER_STEP) if g.symbol not in drawn]
        self.taped = cut.taped if cut else frozenset()
        self.inputs = {given.symbol: given for given in step.inputs}
        self.products: list[Product] = []
        symbols = list(self.step.space_of())
        if cut is not None:
            assert form.learned is not None
            program, self.products = split_products(cut.program, form.learned)
            leaving = [
                s
                for name, s in program.outputs.items()
                if not (name.startswith(("before.", "after.")) and self.is_stored(s))
            ]
            self.back, self.back_called = with_copies(program, leaving)
            symbols += list(self.back.space_of())
            self.constants = [
                g for g in self.back.of_kind(*CONSTANT) if g.symbol not in self.inputs
            ]
        else:
            self.constants = []
        self.names = identifiers(symbols, RESERVED)
        self.held = [*step.of_kind(*CONSTANT), *self.constants]
        self.sparse = sorted(form.sparse)
        self.in_ports: list[Port] = [("layout", ""), ("periods", "")]
        self.in_ports += [("state", name) for name in places.states]
        self.in_ports += [("pending", name) for name in places.arrivals]
        self.in_ports += [("held", g.name) for g in self.held]
        self.in_ports += [("now", g.name) for g in self.now]
        self.in_ports += [("start", name) for name in self.sparse]
        self.in_ports += [("post", name) for name in self.sparse]
        self.in_ports += [("weights", "")] * form.weighted
        self.in_ports += [(role, "") for role in ("stream", "begin", "keys") if self.draws]
        self.out_ports: list[Port] = [("record", name) for name in form.record]
        self.out_ports += [("total", name) for name in form.total]
        self.out_ports += [("state", name) for name in places.states]
        self.out_ports += [("pending", name) for name in places.arrivals]
        self.out_ports += [("checkpoints", ""), ("tape", "")]
        self.bar_in: list[Port] = [("bar.record", name) for name in form.record]
        self.bar_in += [("bar.total", name) for name in form.total]
        self.bar_in += [("bar.state", name) for name in places.states]
        self.bar_in += [("bar.pending", name) for name in places.arrivals]
        self.bar_in += [("checkpoints", ""), ("tape", "")]
        self.bar_out: list[Port] = [("bar.state", name) for name in places.states]
        self.bar_out += [("bar.pending", name) for name in places.arrivals]
        self.bar_out += [("bar.held", name) for name in form.learned or ()]

    def is_stored(self, s: Symbol) -> bool:
        """Whether the rows of the forward pass hold a value of every step."""
        given = self.inputs.get(s)
        return s in self.taped or (given is not None and given.kind is Kind.STATE)

    def size(self, space: str) -> int:
        """Return the number of elements of a space."""
        return 1 if space == NETWORK else dict(self.form.sizes)[space]

    def is_projection(self, space: str) -> bool:
        """Whether a space holds synapses."""
        return space != NETWORK and self.step.spaces[space].is_projection

    def ends(self, projection: str) -> tuple[int, int]:
        """Return the number of pre- and postsynaptic neurons."""
        space = self.step.spaces[projection]
        return self.size(space.pre), self.size(space.post)

    def is_same(self, given: Input) -> bool:
        """Whether a synaptic constant is read as it is, one value for all lanes."""
        wide = self.is_projection(given.space) and not given.shared
        return wide and given.name in self.form.same

    def extent(self, given: Input) -> int:
        """Return the number of elements of an input: one if it is shared."""
        return 1 if given.shared or given.space == NETWORK else self.size(given.space)

    def port(self, role: str, name: str = "", *, of: list[Port] | None = None) -> int:
        """Return the index of a pointer."""
        ports = self.in_ports if of is None else of
        if of is self.bar_in:
            return len(self.in_ports) + ports.index((role, name))
        return ports.index((role, name))

    def array(self, s: Symbol, extent: int) -> str:
        """Declare the storage of a symbol."""
        return f"real {self.names[s]}[{extent} * LB] ALIGNED;"

    def constant(self, given: Input) -> str:
        """How a loop reads a constant."""
        base = f"p->{self.names[given.symbol]}"
        if given.shared or given.space == NETWORK:
            return f"{base}[l]"
        return f"{base}[e]" if self.is_same(given) else f"{base}[k]"

    def per_step(self, name: str, space: str, base: str) -> str:
        """How a loop reads a value given for every step."""
        single = name in self.form.single or space == NETWORK
        if name in self.form.same:
            return f"{base}[0]" if single else f"{base}[e]"
        return f"{base}[l]" if single else self.row_element(base)

    def row_element(self, base: str) -> str:
        """How a loop reads an element of a row that has lanes."""
        return f"{base}[e]" if self.form.block == 1 else f"{base}[e * ld_{base} + l]"

    def rows_of(self, given: Input) -> int:
        """Return the number of rows of a per-step input."""
        return 1 if given.name in self.form.single else self.size(given.space)

    def weight_text(self) -> str:
        """How a total is weighted."""
        if not self.form.weighted:
            return ""
        return "weights[0] * " if "weights" in self.form.same else "weights[l] * "

    def views(self, read: dict[Symbol, str]) -> list[str]:
        """Pointers to the per-step inputs, and how loops read them."""
        lines = []
        for given in self.now:
            name = self.names[given.symbol]
            lines.append(self.view(name, "now", given.name, self.rows_of(given)))
            read[given.symbol] = self.per_step(given.name, given.space, name)
        if self.form.weighted:
            lines.append(self.view("weights", "weights", "", 1))
        return lines

    def view(self, base: str, role: str, name: str, rows: int) -> str:
        """Point to the present rows of a per-step input."""
        port = self.port(role, name)
        if (name or "weights") in self.form.same:
            return f"  const real *restrict {base} = (const real *)b->in[{port}] + n * {rows}; (void){base};"
        period = f"((const long *)b->in[1])[{port}]"
        return f"  long ld_{base}; const real *restrict {base} = view_(b, b->in[{port}], n, {rows}, {period}, b->in_{base}, &ld_{base}); (void)ld_{base};"

    def extra(self, s: Symbol) -> Input | None:
        """Return a constant of the adjoint alone."""
        return next((given for given in self.constants if given.symbol == s), None)
