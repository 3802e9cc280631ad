"""Statements of a Program as C: loops over elements and lanes, and calls of couplings between them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sympy import Symbol

from eqsnn.backends.c_layout import Layout
from eqsnn.backends.c_spelling import spell_c
from eqsnn.backends.schedule import Coupling, Draw, Level, Schedule
from eqsnn.maths.program import (
    NETWORK,
    Assign,
    Gather,
    Kind,
    Outer,
    Reduce,
    Total,
)

SHARED_FROM = 16384  # pairs of neurons from which on a coupling is worth two threads


@dataclass(slots=True)
class Loops:
    """Where the values of one function are: `read` how loops read inputs, `homes` arrays, `stores` what is written."""

    plan: Schedule
    read: dict[Symbol, str]
    homes: dict[Symbol, str]
    stores: dict[Symbol, list[str]] = field(default_factory=dict)

    def store(self, s: Symbol, where: str) -> None:
        """Write a value somewhere when it is computed."""
        self.stores.setdefault(s, []).append(where)


def body(layout: Layout, loops: Loops) -> list[str]:
    """Return the loops and couplings of a function."""
    lines: list[str] = []
    for level in loops.plan.levels:
        lines += print_level(layout, loops, level)
    return lines


def print_level(layout: Layout, loops: Loops, level: Level) -> list[str]:
    """Return the loops of a level, then its couplings."""
    lines: list[str] = []
    for space, statements in level.loops.items():
        inside = print_statements(layout, loops, space, statements)
        lines += print_loop(layout, space, inside)
    lines += [f"  {print_coupling(layout, loops, c)}" for c in level.couplings]
    return lines


def print_statements(
    layout: Layout, loops: Loops, space: str, statements: Sequence[Assign | Draw]
) -> list[str]:
    """Return the inside of a loop."""
    own = {s.target for s in statements}
    text: dict[Symbol, str] = {}
    for s in {s for statement in statements for s in statement.reads}:
        text[s] = layout.names[s] if s in own else reading(layout, loops, s)
    lines = []
    for statement in statements:
        s = statement.target
        if isinstance(statement, Draw):
            call = "normal_" if statement.kind is Kind.NORMAL else "uniform_"
            key = layout.draws.index(statement)
            value = f"{call}(((const u32 *)b->in[{layout.port('keys')}])[{key}], b->begin[l] + (u32)n, b->stream[l] * {layout.size(space)}u + (u32)e)"
        else:
            value = spell_c(statement.expression, text, double=layout.form.double)
        lines.append(f"const real {layout.names[s]} = {value};")
        if s in loops.homes:
            lines.append(f"{loops.homes[s]}{index_of(loops.plan.spaces[s])} = {layout.names[s]};")
        lines += [f"{where} {layout.names[s]};" for where in loops.stores.get(s, ())]
    return lines


def reading(layout: Layout, loops: Loops, s: Symbol) -> str:
    """How a statement reads a symbol that another loop, or the caller, has made."""
    pair = loops.plan.pairwise.get(s)
    if isinstance(pair, Gather):
        return (
            f"{base(layout, loops, pair.source)}[(long){'j' if pair.from_post else 'i'} * LB + l]"
        )
    if isinstance(pair, Outer):
        before, after = base(layout, loops, pair.before), base(layout, loops, pair.after)
        return f"({before}[(long)i * LB + l] * {after}[(long)j * LB + l])"
    if s in loops.homes and s not in layout.inputs:
        return f"{loops.homes[s]}{index_of(loops.plan.spaces[s])}"
    if s in loops.read:
        return loops.read[s]
    return f"{loops.homes[s]}[k]"


def base(layout: Layout, loops: Loops, s: Symbol) -> str:
    """The array that holds a symbol."""
    if s in loops.homes:
        return loops.homes[s]
    text = loops.read[s]
    assert text.endswith(("[k]", "[e]")), f"{s} is no array: {text}"
    return text[:-3]


def print_loop(layout: Layout, space: str, inside: Sequence[str]) -> list[str]:
    """Return a loop over the elements of a space and their lanes."""
    block = layout.form.block
    index = [f"{'const long k = e;' if block == 1 else 'const long k = e * LB + l;'} (void)k;"]
    lanes = "enum { l = 0 };" if block == 1 else "SIMD for (int l = 0; l < LB; l++)"
    vector = "SIMD " if block == 1 else ""
    core = ["{", lanes] if block == 1 else [f"{lanes} {{"]
    core += [*index, *inside, "}"]
    if space == NETWORK:
        return _indent([f"{{ const long e = 0; (void)e; {core[0]}", *core[1:], "}"])
    if not layout.is_projection(space):
        return _indent(
            [f"{vector}for (long e = 0; e < {layout.size(space)}; e++) {core[0]}", *core[1:]]
        )
    pre, post = layout.ends(space)
    if space in layout.form.sparse:
        start, ends = layout.port("start", space), layout.port("post", space)
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


def print_coupling(layout: Layout, loops: Loops, c: Coupling) -> str:
    """Return the call of a coupling."""
    target, source = loops.homes[c.target], base(layout, loops, c.source)
    if isinstance(c, Total):
        return f"put_total_({target}, {source}, {layout.size(loops.plan.spaces[c.source])});"
    sparse = c.projection in layout.form.sparse
    sizes = ", ".join(map(str, layout.ends(c.projection)))
    if sparse:
        start, ends = layout.port("start", c.projection), layout.port("post", c.projection)
        sizes += f", b->in[{start}], b->in[{ends}]"
    kind = "sparse" if sparse else "dense"
    if isinstance(c, Reduce):
        return f"reduce_{kind}{'' if c.to_post else '_back'}({target}, {source}, {sizes});"
    back = "_back" if c.transposed else ""
    if c.weight is None:
        call = f"sum_sparse{back}_({target}, 0" if sparse else f"sum_dense{back}({target}"
        return f"{call}, {source}, {sizes});"
    given = layout.inputs.get(c.weight) or layout.extra(c.weight)
    way = "same" if given is not None and layout.is_same(given) else "each"
    weight = base(layout, loops, c.weight)
    pre, post = layout.ends(c.projection)
    if not sparse and pre * post >= SHARED_FROM:
        job = f"{{.target = {target}, .weight = {weight}, .source = {source}, .pre = {pre}, .post = {post}}}"
        return f"share_(b->team, share_couple_dense{back}_{way}, &(Job){job});"
    sizes += f", {post}" if not sparse and not c.transposed else ""
    return (
        f"couple_{kind}{back}_{way}({target}, {base(layout, loops, c.weight)}, {source}, {sizes});"
    )


def index_of(space: str) -> str:
    """How a loop reads a stored value of a space: by element and lane, or by lane alone."""
    return "[l]" if space == NETWORK else "[k]"


def _indent(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]
