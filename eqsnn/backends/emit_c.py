"""emit: a step and its adjoint as C99, specialised to the sizes of a network and the shapes of its inputs.

One call works on one block of LB lanes. The forward pass keeps the states every `segment` steps; the backward pass
recomputes a segment into rows that stay in the cache and walks it back, so memory does not grow by every state of
every step. Weight gradients are sums of products over the segment, taken when the segment is done.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sympy import Symbol

from eqsnn.backends.c_spelling import C_WORDS, is_expensive, spell_c
from eqsnn.backends.naming import identifiers
from eqsnn.backends.schedule import Coupling, Draw, Level, Schedule, schedule, with_copies
from eqsnn.backends.signature import signature
from eqsnn.language.functions import symbol
from eqsnn.maths.adjoint import of_input, of_next, of_output, of_sent
from eqsnn.maths.program import (
    CONSTANT,
    NETWORK,
    PER_STEP,
    Assign,
    Gather,
    Input,
    Kind,
    Outer,
    Program,
    Reduce,
    Total,
)
from eqsnn.maths.simplify import hoist, select, share

RUNTIME = (Path(__file__).parent / "runtime.h").read_text(encoding="utf-8")
SHARED_FROM = 16384  # pairs of neurons from which on a coupling is worth two threads
NOISE = (Kind.NORMAL, Kind.UNIFORM)
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

Port = tuple[str, str]  # the role of a pointer, and the name of the value it points to


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


@dataclass(frozen=True, slots=True)
class Cut:
    """The adjoint of a step, reading what the forward pass stored; `once` computes the constants it needs."""

    program: Program
    once: Program
    taped: frozenset[Symbol]


def cut_adjoint(step: Program, raw: Program, learned: Iterable[str], *, generated: bool) -> Cut:
    """Return the adjoint that computes the cotangents of states and `learned` constants.

    Stored are sums over synapses, arrivals, noise that is `generated` in the kernel, and values that cost more than a
    store; the rest is recomputed.
    """
    wanted = {of_input(symbol(name)) for name in learned}
    wanted |= {of_input(g.symbol) for g in step.inputs if g.kind in (Kind.STATE, Kind.ARRIVAL)}
    stored = {
        s.target
        for s in step.statements
        if not isinstance(s, Assign | Gather)
        or (isinstance(s, Assign) and is_expensive(s.expression))
    }
    spaces = step.space_of()
    program = replace(
        raw,
        inputs=(*raw.inputs, *(Input(s, spaces[s], Kind.DRIVE) for s in sorted(stored, key=str))),
        statements=tuple(s for s in raw.statements if s.target not in stored),
        outputs={name: s for name, s in raw.outputs.items() if name in wanted},
    )
    once, program = hoist(select(program, program.outputs), prefix="k")
    program = share(program)
    entering = {Kind.ARRIVAL, *(NOISE if generated else ())}
    kept = stored | {g.symbol for g in step.inputs if g.kind in entering}
    return Cut(program, once, frozenset(kept & {given.symbol for given in program.inputs}))


@dataclass(frozen=True, slots=True)
class Product:
    """A weight gradient: the sum over steps of before[pre] after[post]."""

    learned: str
    projection: str
    before: Symbol
    after: Symbol


def split_products(program: Program, learned: Iterable[str]) -> tuple[Program, list[Product]]:
    """Take the cotangents that are sums of outer products out of the adjoint; their factors become outputs."""
    defined = {s.target: s for s in program.statements}
    products: list[Product] = []
    outputs = dict(program.outputs)
    for name in learned:
        bar = outputs.get(of_input(symbol(name)))
        statement = defined.get(bar) if bar is not None else None
        parts: list = [statement]
        if isinstance(statement, Assign):
            terms = statement.expression.args if statement.expression.is_Add else ()
            parts = [defined.get(term) for term in terms]
        if parts and all(isinstance(o, Outer) and _fits(program, o) for o in parts):
            products += [Product(name, o.projection, o.before, o.after) for o in parts]
            del outputs[of_input(symbol(name))]
    for n, product in enumerate(products):
        outputs |= {f"before.{n}": product.before, f"after.{n}": product.after}
    return select(replace(program, outputs=outputs), outputs), products


def _fits(program: Program, product: Outer) -> bool:
    spaces, projection = program.space_of(), program.spaces[product.projection]
    return (spaces[product.before], spaces[product.after]) == (projection.pre, projection.post)


def emit(step: Program, form: Form, cut: Cut | None) -> Source:
    """Return the source of a kernel; `cut` is None without a backward pass."""
    return _Emitter(step, form, cut).source()


@dataclass(slots=True)
class _Loops:
    """Where the values of one function are: `read` how loops read inputs, `homes` arrays, `stores` what is written."""

    plan: Schedule
    read: dict[Symbol, str]
    homes: dict[Symbol, str]
    stores: dict[Symbol, list[str]] = field(default_factory=dict)

    def store(self, s: Symbol, where: str) -> None:
        """Write a value somewhere when it is computed."""
        self.stores.setdefault(s, []).append(where)


class _Emitter:
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
            self.back, self.back_called = with_copies(program, program.outputs.values())
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

    # ---- what is where ------------------------------------------------------------------------------------------

    def size(self, space: str) -> int:
        return 1 if space == NETWORK else dict(self.form.sizes)[space]

    def is_projection(self, space: str) -> bool:
        return space != NETWORK and self.step.spaces[space].is_projection

    def ends(self, projection: str) -> tuple[int, int]:
        space = self.step.spaces[projection]
        return self.size(space.pre), self.size(space.post)

    def is_same(self, given: Input) -> bool:
        """Whether a synaptic constant is read as it is, one value for all lanes."""
        wide = self.is_projection(given.space) and not given.shared
        return wide and given.name in self.form.same

    def extent(self, given: Input) -> int:
        return 1 if given.shared or given.space == NETWORK else self.size(given.space)

    def port(self, role: str, name: str = "", *, of: list[Port] | None = None) -> int:
        ports = self.in_ports if of is None else of
        if of is self.bar_in:
            return len(self.in_ports) + ports.index((role, name))
        return ports.index((role, name))

    def array(self, s: Symbol, extent: int) -> str:
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
        return f"{base}[e]" if self.form.block == 1 else f"{base}[e * ld_{base} + l]"

    def rows_of(self, given: Input) -> int:
        return 1 if given.name in self.form.single else self.size(given.space)

    # ---- functions ----------------------------------------------------------------------------------------------

    def source(self) -> Source:
        form = self.form
        per_block = frozenset(
            product.learned
            for product in self.products
            if self.is_same(self.inputs[symbol(product.learned)])
        )
        forward = self.forward_step()
        backward = self.backward_step() if self.cut else ([], [])
        text = "\n".join(
            [
                "/* generated by eqsnn; do not edit */",
                f"#define LB {form.block}",
                f"#define DOUBLE {int(form.double)}",
                RUNTIME,
                *self.structs(forward[0], backward[0]),
                *self.open_block(),
                *forward[1],
                *self.run_forward(),
                *backward[1],
                *(self.run_backward(per_block) if self.cut else []),
            ]
        )
        return Source(
            text,
            tuple(self.in_ports),
            tuple(self.out_ports),
            tuple(self.bar_in),
            tuple(self.bar_out),
            per_block,
        )

    def structs(self, work: list[str], back_work: list[str]) -> list[str]:
        states = self.step.of_kind(Kind.STATE)
        spaces = self.step.space_of()
        rings = [
            f"real {self.names[symbol(a)]}[{d.steps + 1} * {self.size(spaces[d.arrival])} * LB] ALIGNED;"
            for a, d in self.delays.items()
        ]
        held = [
            f"const real *{self.names[g.symbol]};"
            if self.is_same(g)
            else self.array(g.symbol, self.extent(g))
            for g in self.held
        ]
        state_arrays = [self.array(g.symbol, self.size(g.space)) for g in states]
        totals = [
            f"real total_{n}[{self.size(spaces[self.step.outputs[o]])} * LB] ALIGNED;"
            for n, o in enumerate(self.form.total)
        ]
        taped = [self.array(s, self.size(spaces[s])) for s in sorted(self.taped, key=str)]
        staged = [
            f"real in_{self.names[g.symbol]}[{self.rows_of(g)} * LB] ALIGNED;"
            for g in self.now
            if g.name not in self.form.same
        ]
        if self.form.weighted and "weights" not in self.form.same:
            staged.append("real in_weights[LB] ALIGNED;")
        staged += [
            f"real out_{n}[{self.size(spaces[self.step.outputs[o]])} * LB] ALIGNED;"
            for n, o in enumerate(self.form.record)
        ]
        lines = ["#define ALIGNED __attribute__((aligned(64)))"]
        lines += _struct("Params", held)
        lines += _struct("State", state_arrays)
        lines += _struct("Row", ["State s;", *taped])
        lines += _struct("Rings", rings)
        lines += _struct("Checkpoint", ["State s;", "Rings r;"])
        lines += _struct("Totals", totals)
        if self.cut:
            lines += _struct("Kept", self.kept_arrays())
            lines += _struct("Sums", self.sum_arrays())
        block = [
            "Params p;",
            "Totals totals;",
            "Rings rings;",
            *(
                ["Rings bar_rings;", "State bars[2];", "Sums sums;", "Totals bar_totals;"]
                if self.cut
                else []
            ),
            *dict.fromkeys([*work, *back_work]),
            *staged,
            "u32 stream[LB], begin[LB];",
            "const void *const *in;",
            "Team *team;",
            "long first, lanes;",
            "int count;",
        ]
        return [*lines, *_struct("Block", block), *VIEWS]

    def kept_arrays(self) -> list[str]:
        spaces = self.back.space_of()
        return [self.array(s, self.size(spaces[s])) for s in self.kept_factors()]

    def kept_factors(self) -> list[Symbol]:
        """Factors of weight gradients that the backward pass computes itself."""
        assigned = {s.target for s in self.back.statements}
        factors = [f for n in range(len(self.products)) for f in self.factors(n)]
        return [f for f in dict.fromkeys(factors) if f in assigned]

    def factors(self, n: int) -> tuple[Symbol, Symbol]:
        return self.whole_factor(f"before.{n}"), self.whole_factor(f"after.{n}")

    def whole_factor(self, output: str) -> Symbol:
        """The symbol of a factor: an array that is there anyway, else its copy."""
        s = self.back.outputs[output]
        given = self.inputs.get(s)
        stored = s in self.taped or (given is not None and given.kind is Kind.STATE)
        return s if stored else self.back_called[s]

    def sum_arrays(self) -> list[str]:
        spaces = self.back.space_of()
        arrays = []
        deferred = {product.learned: product.projection for product in self.products}
        for n, name in enumerate(self.form.learned or ()):
            if name in deferred:
                width = "" if self.is_same(self.inputs[symbol(name)]) else " * LB"
                arrays.append(f"real sum_{n}[{self.size(deferred[name])}{width}] ALIGNED;")
            elif of_input(symbol(name)) in self.back.outputs:
                space = spaces[self.back.outputs[of_input(symbol(name))]]
                arrays.append(f"real sum_{n}[{self.size(space)} * LB] ALIGNED;")
        return arrays

    def open_block(self) -> list[str]:
        lines = [
            "ROUTINE Block *open_(const void *const *in, long block, long n_lanes) {",
            "  Block *b = allocate_(sizeof *b);",
            "  if (!b) return 0;",
            "  b->in = in; b->lanes = n_lanes; b->first = block * LB;",
            "  b->count = n_lanes - b->first < LB ? (int)(n_lanes - b->first) : LB;",
            "  const long *layout = in[0];",
        ]
        for n, given in enumerate(self.held):
            name, port = self.names[given.symbol], self.port("held", given.name)
            if self.is_same(given):
                lines.append(f"  b->p.{name} = in[{port}];")
            else:
                lines.append(
                    f"  take_(b->p.{name}, in[{port}], {self.extent(given)}, layout[{2 * n}], (int)layout[{2 * n + 1}], b->first, b->count);"
                )
        if self.draws:
            stream, begin = self.port("stream"), self.port("begin")
            lines += [
                "  for (int l = 0; l < LB; l++) {",
                "    long lane = b->first + (l < b->count ? l : b->count - 1);",
                f"    b->stream[l] = ((const u32 *)in[{stream}])[lane]; b->begin[l] = ((const u32 *)in[{begin}])[lane];",
                "  }",
            ]
        return [*lines, "  return b;", "}"]

    def forward_step(self) -> tuple[list[str], list[str]]:
        """The work arrays of the step; `step_` with its outputs, and `again_` without them for segments walked again."""
        work, first = self.step_function("step_", self.step, outputs=True)
        if self.cut is None:
            return work, first
        needed = {str(s): s for s in self.taped if s not in self.inputs}
        again = select(replace(self.step, outputs=needed), needed)
        more, second = self.step_function("again_", again, outputs=False)
        return list(dict.fromkeys([*work, *more])), [*first, *second]

    def step_function(
        self, function: str, program: Program, *, outputs: bool
    ) -> tuple[list[str], list[str]]:
        known = {given.symbol for given in program.inputs}
        plan = schedule(program, [draw for draw in self.draws if draw.target in known])
        read = {g.symbol: self.constant(g) for g in self.held}
        read |= {g.symbol: f"s->{self.names[g.symbol]}[k]" for g in program.of_kind(Kind.STATE)}
        read |= {g.symbol: f"{self.names[g.symbol]}[k]" for g in program.of_kind(Kind.ARRIVAL)}
        more = ", Totals *restrict totals, void *const *out" if outputs else ""
        head = [
            f"INLINE void {function}(Block *restrict b, Row *restrict row, State *restrict next, long n{more}) {{",
            "  const Params *restrict p = &b->p;",
            "  const State *restrict s = &row->s;",
            "  (void)p; (void)s; (void)next; (void)n;",
        ]
        head += self.views(read)
        loops = _Loops(plan, read, {})
        for s in plan.arrays:
            loops.homes[s] = f"{'row' if s in self.taped else 'b'}->{self.names[s]}"
        for s in self.taped - plan.arrays:
            loops.store(s, f"row->{self.names[s]}[k] =")
        head += self.rings(loops, "rings")
        for given in program.of_kind(Kind.STATE):
            value = self.called[program.next_states[given.symbol]]
            loops.store(value, f"next->{self.names[given.symbol]}[k] =")
        spaces = program.space_of()
        for s in self.taped:
            if s in self.inputs and self.inputs[s].kind is Kind.ARRIVAL:
                name = self.names[s]
                head.append(
                    f"  memcpy(row->{name}, {name}, sizeof(real) * {self.size(spaces[s])} * LB);"
                )
        tail = self.outputs_of_step(loops, head) if outputs else []
        work = [
            self.array(s, self.size(plan.spaces[s]))
            for s in sorted(plan.arrays - self.taped, key=str)
        ]
        return work, [*head, *self.body(loops), *tail, "}"]

    def outputs_of_step(self, loops: _Loops, head: list[str]) -> list[str]:
        """Record and add up outputs; returns what is to be done after the loops."""
        tail = []
        spaces = self.step.space_of()
        for n, output in enumerate(self.form.record):
            value = self.called[self.step.outputs[output]]
            rows, out = self.size(spaces[value]), self.port("record", output, of=self.out_ports)
            head.append(
                f"  long ld_out_{n}; real *out_{n} = place_(b, out[{out}], n, {rows}, b->out_{n}, &ld_out_{n}); (void)ld_out_{n};"
            )
            loops.store(value, f"{self.row_element(f'out_{n}')} =")
            tail.append(
                f"  if (b->count < LB) put_((real *)out[{out}] + n * {rows} * b->lanes, b->out_{n}, {rows}, b->lanes, b->first, b->count);"
            )
        weight = self.weight_text()
        for n, output in enumerate(self.form.total):
            value = self.called[self.step.outputs[output]]
            loops.store(value, f"totals->total_{n}[k] += {weight}")
        return tail

    def weight_text(self) -> str:
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
        port = self.port(role, name)
        if (name or "weights") in self.form.same:
            return f"  const real *restrict {base} = (const real *)b->in[{port}] + n * {rows}; (void){base};"
        period = f"((const long *)b->in[1])[{port}]"
        return f"  long ld_{base}; const real *restrict {base} = view_(b, b->in[{port}], n, {rows}, {period}, b->in_{base}, &ld_{base}); (void)ld_{base};"

    def rings(self, loops: _Loops, ring: str) -> list[str]:
        """Pointers into the delay rings: what arrives now, and where what is sent now goes."""
        lines = []
        spaces = self.step.space_of()
        for n, (arrival, delay) in enumerate(self.delays.items()):
            name, length = self.names[symbol(arrival)], delay.steps + 1
            size = self.size(spaces[symbol(arrival)])
            lines += [
                f"  const real *restrict {name} = b->{ring}.{name} + ((n + 1) % {length}) * {size} * LB;",
                f"  real *restrict sent_{n} = b->{ring}.{name} + (n % {length}) * {size} * LB;",
            ]
            loops.homes[symbol(arrival)] = name
            loops.store(self.called[delay.sent], f"sent_{n}[k] =")
        return lines

    def body(self, loops: _Loops) -> list[str]:
        lines: list[str] = []
        for level in loops.plan.levels:
            lines += self.level(loops, level)
        return lines

    def level(self, loops: _Loops, level: Level) -> list[str]:
        lines: list[str] = []
        for space, statements in level.loops.items():
            inside = self.statements(loops, space, statements)
            lines += self.loop(space, inside)
        lines += [f"  {self.coupling(loops, c)}" for c in level.couplings]
        return lines

    def statements(
        self, loops: _Loops, space: str, statements: Sequence[Assign | Draw]
    ) -> list[str]:
        own = {s.target for s in statements}
        text: dict[Symbol, str] = {}
        for s in {s for statement in statements for s in statement.reads}:
            text[s] = self.names[s] if s in own else self.reading(loops, s)
        lines = []
        for statement in statements:
            s = statement.target
            if isinstance(statement, Draw):
                call = "normal_" if statement.kind is Kind.NORMAL else "uniform_"
                key = self.draws.index(statement)
                value = f"{call}(((const u32 *)b->in[{self.port('keys')}])[{key}], b->begin[l] + (u32)n, b->stream[l] * {self.size(space)}u + (u32)e)"
            else:
                value = spell_c(statement.expression, text, double=self.form.double)
            lines.append(f"const real {self.names[s]} = {value};")
            if s in loops.homes:
                lines.append(f"{loops.homes[s]}{_index(loops.plan.spaces[s])} = {self.names[s]};")
            lines += [f"{where} {self.names[s]};" for where in loops.stores.get(s, ())]
        return lines

    def reading(self, loops: _Loops, s: Symbol) -> str:
        pair = loops.plan.pairwise.get(s)
        if isinstance(pair, Gather):
            return (
                f"{self.base(loops, pair.source)}[(long){'j' if pair.from_post else 'i'} * LB + l]"
            )
        if isinstance(pair, Outer):
            before, after = self.base(loops, pair.before), self.base(loops, pair.after)
            return f"({before}[(long)i * LB + l] * {after}[(long)j * LB + l])"
        if s in loops.homes and s not in self.inputs:
            return f"{loops.homes[s]}{_index(loops.plan.spaces[s])}"
        if s in loops.read:
            return loops.read[s]
        return f"{loops.homes[s]}[k]"

    def base(self, loops: _Loops, s: Symbol) -> str:
        """The array that holds a symbol."""
        if s in loops.homes:
            return loops.homes[s]
        text = loops.read[s]
        assert text.endswith(("[k]", "[e]")), f"{s} is no array: {text}"
        return text[:-3]

    def loop(self, space: str, inside: Sequence[str]) -> list[str]:
        block = self.form.block
        index = [f"{'const long k = e;' if block == 1 else 'const long k = e * LB + l;'} (void)k;"]
        lanes = "enum { l = 0 };" if block == 1 else "SIMD for (int l = 0; l < LB; l++)"
        vector = "SIMD " if block == 1 else ""
        if block == 1:
            core = ["{", lanes, *index, *inside, "}"]
        else:
            core = [f"{lanes} {{", *index, *inside, "}"]
        if space == NETWORK:
            return _indent([f"{{ const long e = 0; (void)e; {core[0]}", *core[1:], "}"])
        if not self.is_projection(space):
            return _indent(
                [f"{vector}for (long e = 0; e < {self.size(space)}; e++) {core[0]}", *core[1:]]
            )
        pre, post = self.ends(space)
        if space in self.form.sparse:
            start, ends = self.port("start", space), self.port("post", space)
            return _indent(
                [
                    f"for (int i = 0; i < {pre}; i++)",
                    f"{vector}for (long e = ((const int32_t *)b->in[{start}])[i]; e < ((const int32_t *)b->in[{start}])[i + 1]; e++) {{",
                    f"const int j = ((const int32_t *)b->in[{ends}])[e]; (void)j; {core[0]}",
                    *core[1:],
                    "}",
                ]
            )
        return _indent(
            [
                f"for (int i = 0; i < {pre}; i++)",
                f"{vector}for (int j = 0; j < {post}; j++) {{",
                f"const long e = (long)i * {post} + j; {core[0]}",
                *core[1:],
                "}",
            ]
        )

    def coupling(self, loops: _Loops, c: Coupling) -> str:
        target, source = loops.homes[c.target], self.base(loops, c.source)
        if isinstance(c, Total):
            return f"put_total_({target}, {source}, {self.size(loops.plan.spaces[c.source])});"
        sparse = c.projection in self.form.sparse
        sizes = ", ".join(map(str, self.ends(c.projection)))
        if sparse:
            start, ends = self.port("start", c.projection), self.port("post", c.projection)
            sizes += f", b->in[{start}], b->in[{ends}]"
        kind = "sparse" if sparse else "dense"
        if isinstance(c, Reduce):
            return f"reduce_{kind}{'' if c.to_post else '_back'}({target}, {source}, {sizes});"
        back = "_back" if c.transposed else ""
        if c.weight is None:
            call = f"sum_sparse{back}_({target}, 0" if sparse else f"sum_dense{back}({target}"
            return f"{call}, {source}, {sizes});"
        given = self.inputs.get(c.weight) or self.extra(c.weight)
        way = "same" if given is not None and self.is_same(given) else "each"
        weight = self.base(loops, c.weight)
        pre, post = self.ends(c.projection)
        if not sparse and pre * post >= SHARED_FROM:
            job = f"{{.target = {target}, .weight = {weight}, .source = {source}, .pre = {pre}, .post = {post}}}"
            return f"share_(b->team, share_couple_dense{back}_{way}, &(Job){job});"
        sizes += f", {post}" if not sparse and not c.transposed else ""
        return (
            f"couple_{kind}{back}_{way}({target}, {self.base(loops, c.weight)}, {source}, {sizes});"
        )

    def extra(self, s: Symbol) -> Input | None:
        return next((given for given in self.constants if given.symbol == s), None)

    def run_forward(self) -> list[str]:
        spaces = self.step.space_of()
        lines = [
            "long row_bytes(void) { return sizeof(Row); }",
            "long checkpoint_bytes(void) { return sizeof(Checkpoint); }",
            "",
            "int run_forward(const void *const *in, void *const *out, long block, long n_lanes, long n_steps, long segment, int keep, Team *team) {",
            "  const u32 mode = quick_mode_();",
            "  Block *b = open_(in, block, n_lanes);",
            "  Row *own = b ? allocate_(2 * sizeof(Row)) : 0;",
            "  if (b) b->team = team;",
            "  if (!own) { free(b); restore_mode_(mode); return 1; }",
            "  memset(&b->totals, 0, sizeof b->totals); memset(&b->rings, 0, sizeof b->rings);",
            f"  Row *rows = keep ? (Row *)out[{self.port('tape', of=self.out_ports)}] + block * (n_steps + 1) : own;",
            f"  Checkpoint *saved = out[{self.port('checkpoints', of=self.out_ports)}];",
            "  if (saved) saved += block * ((n_steps + segment - 1) / segment);",
        ]
        for given in self.step.of_kind(Kind.STATE):
            name, rows = given.name, self.size(given.space)
            lines.append(
                f"  take_(rows[0].s.{self.names[given.symbol]}, in[{self.port('state', name)}], {rows}, n_lanes, 1, b->first, b->count);"
            )
        for arrival, delay in self.delays.items():
            name, size = self.names[symbol(arrival)], self.size(spaces[symbol(arrival)])
            lines.append(
                f"  for (long k = 0; k < {delay.steps}; k++) take_(b->rings.{name} + ((k + 1) % {delay.steps + 1}) * {size} * LB, (const real *)in[{self.port('pending', arrival)}] + k * {size} * n_lanes, {size}, n_lanes, 1, b->first, b->count);"
            )
        lines += [
            "  for (long n = 0; n < n_steps; n++) {",
            "    Row *row = rows + (keep ? n : n & 1);",
            "    State *next = &rows[keep ? n + 1 : (n + 1) & 1].s;",
            "    if (saved && n % segment == 0) { saved[n / segment].s = row->s; saved[n / segment].r = b->rings; }",
            "    step_(b, row, next, n, &b->totals, out);",
            "  }",
            "  const State *last = &rows[keep ? n_steps : n_steps & 1].s; (void)last;",
        ]
        for given in self.step.of_kind(Kind.STATE):
            name, rows = given.name, self.size(given.space)
            lines.append(
                f"  put_(out[{self.port('state', name, of=self.out_ports)}], last->{self.names[given.symbol]}, {rows}, n_lanes, b->first, b->count);"
            )
        for arrival, delay in self.delays.items():
            name, size = self.names[symbol(arrival)], self.size(spaces[symbol(arrival)])
            lines.append(
                f"  for (long k = 0; k < {delay.steps}; k++) put_((real *)out[{self.port('pending', arrival, of=self.out_ports)}] + k * {size} * n_lanes, b->rings.{name} + ((n_steps + k + 1) % {delay.steps + 1}) * {size} * LB, {size}, n_lanes, b->first, b->count);"
            )
        for n, output in enumerate(self.form.total):
            rows = self.size(spaces[self.step.outputs[output]])
            lines.append(
                f"  put_(out[{self.port('total', output, of=self.out_ports)}], b->totals.total_{n}, {rows}, n_lanes, b->first, b->count);"
            )
        return [*lines, "  free(own); free(b); restore_mode_(mode);", "  return 0;", "}"]

    # ---- the backward pass ---------------------------------------------------------------------------------------

    def backward_step(self) -> tuple[list[str], list[str]]:
        back = self.back
        plan = schedule(back)
        spaces = back.space_of()
        read = {g.symbol: self.constant(g) for g in self.held}
        read |= {
            g.symbol: f"row->s.{self.names[g.symbol]}[k]" for g in self.step.of_kind(Kind.STATE)
        }
        read |= {s: f"row->{self.names[s]}{_index(self.step.space_of()[s])}" for s in self.taped}
        head = [
            "INLINE void back_(Block *restrict b, const Row *restrict row, const State *restrict bar, State *restrict into, Kept *restrict kept, long n) {",
            "  const Params *restrict p = &b->p;",
            "  (void)p; (void)row; (void)bar; (void)into; (void)kept; (void)n;",
        ]
        views: dict[Symbol, str] = {}
        head += self.views(views)
        read |= {s: text for s, text in views.items() if s not in self.taped}
        head += self.cotangents(read)
        loops = _Loops(plan, read, {})
        kept = set(self.kept_factors())
        arrays = plan.arrays | kept
        for s in arrays:
            if s not in self.inputs and s not in self.taped:
                loops.homes[s] = f"{'kept' if s in kept else 'b'}->{self.names[s]}"
        arriving = {given.symbol for given in self.step.of_kind(Kind.ARRIVAL)}
        for n, arrival in enumerate(self.delays):
            bar = back.outputs.get(of_input(symbol(arrival)))
            if bar is not None:
                loops.store(self.back_called[bar], f"arrived_{n}[k] =")
        for given in self.step.of_kind(Kind.STATE):
            bar = back.outputs.get(of_input(given.symbol))
            if bar is None:
                head.append(
                    f"  memset(into->{self.names[given.symbol]}, 0, sizeof into->{self.names[given.symbol]});"
                )
            else:
                loops.store(self.back_called[bar], f"into->{self.names[given.symbol]}[k] =")
        deferred = {product.learned for product in self.products}
        for n, name in enumerate(self.form.learned or ()):
            bar = back.outputs.get(of_input(symbol(name)))
            if bar is not None and name not in deferred:
                loops.store(self.back_called[bar], f"b->sums.sum_{n}{_index(spaces[bar])} +=")
        work = [
            self.array(s, self.size(plan.spaces[s]))
            for s in sorted(plan.arrays, key=str)
            if loops.homes.get(s, "").startswith("b->") and s not in arriving
        ]
        return work, [*head, *self.body(loops), "}"]

    def cotangents(self, read: dict[Symbol, str]) -> list[str]:
        """Pointers to the cotangents that enter, and how loops read them."""
        lines = []
        spaces = self.step.space_of()
        for given in self.step.of_kind(Kind.STATE):
            read[of_next(given.symbol)] = f"bar->{self.names[given.symbol]}[k]"
        for n, (arrival, delay) in enumerate(self.delays.items()):
            name, length = self.names[symbol(arrival)], delay.steps + 1
            size = self.size(spaces[symbol(arrival)])
            lines += [
                f"  real *restrict arrived_{n} = b->bar_rings.{name} + ((n + 1) % {length}) * {size} * LB; (void)arrived_{n};",
                f"  const real *restrict bar_sent_{n} = b->bar_rings.{name} + (n % {length}) * {size} * LB; (void)bar_sent_{n};",
            ]
            read[of_sent(symbol(arrival))] = f"bar_sent_{n}[k]"
        weight = self.weight_text()
        for output in dict.fromkeys((*self.form.record, *self.form.total)):
            parts = []
            if output in self.form.record:
                n = self.form.record.index(output)
                rows = self.size(spaces[self.step.outputs[output]])
                port = self.port("bar.record", output, of=self.bar_in)
                lines.append(
                    f"  long ld_bar_{n}; const real *restrict bar_{n} = view_(b, b->in[{port}], n, {rows}, b->lanes, b->out_{n}, &ld_bar_{n}); (void)bar_{n}; (void)ld_bar_{n};"
                )
                parts.append(self.row_element(f"bar_{n}"))
            if output in self.form.total:
                parts.append(f"{weight}b->bar_totals.total_{self.form.total.index(output)}[k]")
            read[of_output(output)] = f"({' + '.join(parts)})"
        return lines

    def run_backward(self, per_block: frozenset[str]) -> list[str]:
        spaces = self.step.space_of()
        out = self.bar_out
        lines = [
            "int run_backward(const void *const *in, void *const *out, long block, long n_lanes, long n_steps, long segment, int keep, Team *team) {",
            "  const u32 mode = quick_mode_();",
            "  Block *b = open_(in, block, n_lanes);",
            "  if (b) b->team = team;",
            "  const long most = segment < n_steps ? segment : n_steps;",
            "  Row *own = b && !keep ? allocate_((most + 1) * sizeof(Row)) : 0;",
            "  Kept *kept = b ? allocate_((most + 1) * sizeof(Kept)) : 0;",
            "  if (!kept || (!keep && !own)) { free(b); free(own); free(kept); restore_mode_(mode); return 1; }",
            "  memset(&b->bar_rings, 0, sizeof b->bar_rings);",
            "  memset(b->bars, 0, sizeof b->bars); memset(&b->sums, 0, sizeof b->sums);",
            f"  const Row *tape = in[{self.port('tape', of=self.bar_in)}];",
            f"  const Checkpoint *saved = in[{self.port('checkpoints', of=self.bar_in)}];",
            "  const long n_segments = (n_steps + segment - 1) / segment;",
            "  if (keep) tape += block * (n_steps + 1); else saved += block * n_segments;",
        ]
        for given in self.step.of_kind(Kind.STATE):
            name, port = (
                given.name,
                self.port("bar.state", given.name, of=self.bar_in),
            )
            lines.append(
                f"  if (in[{port}]) take_(b->bars[0].{self.names[symbol(name)]}, in[{port}], {self.size(given.space)}, n_lanes, 1, b->first, b->count);"
            )
        for n, output in enumerate(self.form.total):
            port, rows = (
                self.port("bar.total", output, of=self.bar_in),
                self.size(spaces[self.step.outputs[output]]),
            )
            lines.append(
                f"  take_(b->bar_totals.total_{n}, in[{port}], {rows}, n_lanes, 1, b->first, b->count);"
            )
        for arrival, delay in self.delays.items():
            name, size = self.names[symbol(arrival)], self.size(spaces[symbol(arrival)])
            port = self.port("bar.pending", arrival, of=self.bar_in)
            lines.append(
                f"  if (in[{port}]) for (long k = 0; k < {delay.steps}; k++) take_(b->bar_rings.{name} + ((n_steps + k + 1) % {delay.steps + 1}) * {size} * LB, (const real *)in[{port}] + k * {size} * n_lanes, {size}, n_lanes, 1, b->first, b->count);"
            )
        lines += [
            "  int side = 0;",
            "  for (long g = n_segments - 1; g >= 0; g--) {",
            "    const long from = g * segment, to = from + segment < n_steps ? from + segment : n_steps;",
            "    const Row *rows = keep ? tape + from : own;",
            "    if (!keep) {",
            "      own[0].s = saved[g].s; b->rings = saved[g].r;",
            "      for (long n = from; n < to; n++) again_(b, own + (n - from), &own[n - from + 1].s, n);",
            "    }",
            "    for (long n = to - 1; n >= from; n--, side = !side)",
            "      back_(b, rows + (n - from), &b->bars[side], &b->bars[!side], kept + (n - from), n);",
        ]
        for n, product in enumerate(self.products):
            lines.append(f"    {self.product(n, product)}")
        lines.append("  }")
        for given in self.step.of_kind(Kind.STATE):
            port = self.port("bar.state", given.name, of=out)
            lines.append(
                f"  put_(out[{port}], b->bars[side].{self.names[given.symbol]}, {self.size(given.space)}, n_lanes, b->first, b->count);"
            )
        for arrival, delay in self.delays.items():
            name, size = self.names[symbol(arrival)], self.size(spaces[symbol(arrival)])
            port = self.port("bar.pending", arrival, of=out)
            lines.append(
                f"  for (long k = 0; k < {delay.steps}; k++) put_((real *)out[{port}] + k * {size} * n_lanes, b->bar_rings.{name} + ((k + 1) % {delay.steps + 1}) * {size} * LB, {size}, n_lanes, b->first, b->count);"
            )
        for n, name in enumerate(self.form.learned or ()):
            lines += self.put_sum(n, name, per_block)
        return [
            *lines,
            "  free(b); free(own); free(kept); restore_mode_(mode);",
            "  return 0;",
            "}",
        ]

    def put_sum(self, n: int, name: str, per_block: frozenset[str]) -> list[str]:
        """Write the cotangent of a constant."""
        port = self.port("bar.held", name, of=self.bar_out)
        given = self.inputs[symbol(name)]
        if name in per_block:
            size = self.size(given.space)
            return [
                f"  memcpy((real *)out[{port}] + block * {size}L, b->sums.sum_{n}, sizeof(real) * {size});"
            ]
        if name in {product.learned for product in self.products}:
            return [
                f"  put_(out[{port}], b->sums.sum_{n}, {self.size(given.space)}, n_lanes, b->first, b->count);"
            ]
        bar = self.back.outputs.get(of_input(symbol(name)))
        if bar is None:
            return []
        rows = self.size(self.back.space_of()[bar])
        if given.shared or given.space == NETWORK:
            return [
                f"  put_sum_((real *)out[{port}], b->sums.sum_{n}, {rows}, b->first, b->count);"
            ]
        return [f"  put_(out[{port}], b->sums.sum_{n}, {rows}, n_lanes, b->first, b->count);"]

    def product(self, n: int, product: Product) -> str:
        """Add the products of a segment to a weight gradient."""
        at = (self.form.learned or ()).index(product.learned)
        sparse = product.projection in self.form.sparse
        way = "same" if self.is_same(self.inputs[symbol(product.learned)]) else "each"
        before, after = (self.series(s) for s in self.factors(n))
        sizes = ", ".join(map(str, self.ends(product.projection)))
        if sparse:
            start, ends = (
                self.port("start", product.projection),
                self.port("post", product.projection),
            )
            sizes += f", b->in[{start}], b->in[{ends}]"
        kind = "sparse" if sparse else "dense"
        pre, post = self.ends(product.projection)
        if not sparse and pre * post >= SHARED_FROM:
            series = (
                f".before = {before.replace(', ', ', .before_stride = ')}, "
                f".after = {after.replace(', ', ', .after_stride = ')}, .steps = to - from"
            )
            job = f"{{.target = b->sums.sum_{at}, .count = b->count, .pre = {pre}, .post = {post}, {series}}}"
            return f"share_(b->team, share_outer_dense_{way}, &(Job){job});"
        count = "b->count, " if way == "same" else ""
        return (
            f"outer_{kind}_{way}(b->sums.sum_{at}, {before}, {after}, to - from, {count}{sizes});"
        )

    def series(self, s: Symbol) -> str:
        """A factor over the steps of a segment: its first address and the distance between steps."""
        name = self.names[s]
        if s in self.taped:
            return f"rows->{name}, sizeof(Row)"
        if s in self.inputs and self.inputs[s].kind is Kind.STATE:
            return f"rows->s.{name}, sizeof(Row)"
        return f"kept->{name}, sizeof(Kept)"


VIEWS = """
ROUTINE void *allocate_(size_t bytes) {
  return aligned_alloc(64, (bytes + 63) / 64 * 64);
}
/* rows of a step, lane l from lane l mod period: in place, or staged where a block of LB lanes is not in one piece */
ROUTINE const real *view_(const Block *b, const void *given, long n, long rows, long period, real *stage, long *distance) {
  const real *from = (const real *)given + n * rows * period;
  const long offset = b->first % period;
  if (b->count == LB && offset + LB <= period) { *distance = period; return from + offset; }
  long lane[LB];
  for (int l = 0; l < LB; l++) lane[l] = (b->first + (l < b->count ? l : b->count - 1)) % period;
  for (long e = 0; e < rows; e++)
    for (int l = 0; l < LB; l++) stage[e * LB + l] = from[e * period + lane[l]];
  *distance = LB;
  return stage;
}
ROUTINE real *place_(const Block *b, void *given, long n, long rows, real *stage, long *distance) {
  if (b->count < LB) { *distance = LB; return stage; }
  *distance = b->lanes;
  return (real *)given + n * rows * b->lanes + b->first;
}
""".splitlines()


def _index(space: str) -> str:
    return "[l]" if space == NETWORK else "[k]"


def _struct(name: str, members: Sequence[str]) -> list[str]:
    inside = list(members) or ["char nothing;"]
    return ["typedef struct {", *(f"  {member}" for member in inside), f"}} {name};"]


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
