"""The backward pass of a kernel as C."""

from sympy import Symbol

from eqsnn.backends.c_adjoint import Product
from eqsnn.backends.c_layout import Layout
from eqsnn.backends.c_loops import SHARED_FROM, Loops, body, index_of
from eqsnn.backends.schedule import schedule
from eqsnn.language.functions import symbol
from eqsnn.maths.adjoint import of_input, of_next, of_output, of_sent
from eqsnn.maths.program import (
    NETWORK,
    Kind,
)


def kept_arrays(layout: Layout) -> list[str]:
    """Declare what the backward pass keeps of each step of a segment, for the weight gradients."""
    spaces = layout.back.space_of()
    return [layout.array(s, layout.size(spaces[s])) for s in kept_factors(layout)]


def kept_factors(layout: Layout) -> list[Symbol]:
    """Factors of weight gradients that the backward pass computes itself."""
    assigned = {s.target for s in layout.back.statements}
    factors = [f for n in range(len(layout.products)) for f in factors_of(layout, n)]
    return [f for f in dict.fromkeys(factors) if f in assigned]


def factors_of(layout: Layout, n: int) -> tuple[Symbol, Symbol]:
    """Return both factors of a weight gradient: arrays that are there anyway, else copies."""
    product = layout.products[n]
    before, after = (
        s if layout.is_stored(s) else layout.back_called[s] for s in (product.before, product.after)
    )
    return before, after


def sum_arrays(layout: Layout) -> list[str]:
    """Declare the cotangents of constants, which add up over the steps."""
    spaces = layout.back.space_of()
    arrays = []
    deferred = {product.learned: product.projection for product in layout.products}
    for n, name in enumerate(layout.form.learned or ()):
        if name in deferred:
            width = "" if layout.is_same(layout.inputs[symbol(name)]) else " * LB"
            arrays.append(f"real sum_{n}[{layout.size(deferred[name])}{width}] ALIGNED;")
        elif of_input(symbol(name)) in layout.back.outputs:
            space = spaces[layout.back.outputs[of_input(symbol(name))]]
            arrays.append(f"real sum_{n}[{layout.size(space)} * LB] ALIGNED;")
    return arrays


def backward_step(layout: Layout) -> tuple[list[str], list[str]]:
    """Return the work arrays of a step backwards, and the function itself."""
    back = layout.back
    plan = schedule(back)
    spaces = back.space_of()
    read = {g.symbol: layout.constant(g) for g in layout.held}
    read |= {
        g.symbol: f"row->s.{layout.names[g.symbol]}[k]" for g in layout.step.of_kind(Kind.STATE)
    }
    read |= {
        s: f"row->{layout.names[s]}{index_of(layout.step.space_of()[s])}" for s in layout.taped
    }
    head = [
        "INLINE void back_(Block *restrict b, const Row *restrict row, const State *restrict bar, State *restrict into, Kept *restrict kept, long n) {",
        "  const Params *restrict p = &b->p;",
        "  (void)p; (void)row; (void)bar; (void)into; (void)kept; (void)n;",
    ]
    views: dict[Symbol, str] = {}
    head += layout.views(views)
    read |= {s: text for s, text in views.items() if s not in layout.taped}
    head += cotangents(layout, read)
    loops = Loops(plan, read, {})
    kept = set(kept_factors(layout))
    arrays = plan.arrays | kept
    for s in arrays:
        if s not in layout.inputs and s not in layout.taped:
            loops.homes[s] = f"{'kept' if s in kept else 'b'}->{layout.names[s]}"
    arriving = {given.symbol for given in layout.step.of_kind(Kind.ARRIVAL)}
    for n, arrival in enumerate(layout.delays):
        bar = back.outputs.get(of_input(symbol(arrival)))
        if bar is not None:
            loops.store(layout.back_called[bar], f"arrived_{n}[k] =")
    for given in layout.step.of_kind(Kind.STATE):
        bar = back.outputs.get(of_input(given.symbol))
        if bar is None:
            head.append(
                f"  memset(into->{layout.names[given.symbol]}, 0, sizeof into->{layout.names[given.symbol]});"
            )
        else:
            loops.store(layout.back_called[bar], f"into->{layout.names[given.symbol]}[k] =")
    deferred = {product.learned for product in layout.products}
    for n, name in enumerate(layout.form.learned or ()):
        bar = back.outputs.get(of_input(symbol(name)))
        if bar is not None and name not in deferred:
            loops.store(layout.back_called[bar], f"b->sums.sum_{n}{index_of(spaces[bar])} +=")
    work = [
        layout.array(s, layout.size(plan.spaces[s]))
        for s in sorted(plan.arrays, key=str)
        if loops.homes.get(s, "").startswith("b->") and s not in arriving
    ]
    return work, [*head, *body(layout, loops), "}"]


def cotangents(layout: Layout, read: dict[Symbol, str]) -> list[str]:
    """Pointers to the cotangents that enter, and how loops read them."""
    lines = []
    spaces = layout.step.space_of()
    for given in layout.step.of_kind(Kind.STATE):
        read[of_next(given.symbol)] = f"bar->{layout.names[given.symbol]}[k]"
    for n, (arrival, delay) in enumerate(layout.delays.items()):
        name, length = layout.names[symbol(arrival)], delay.steps + 1
        size = layout.size(spaces[symbol(arrival)])
        lines += [
            f"  real *restrict arrived_{n} = b->bar_rings.{name} + ((n + 1) % {length}) * {size} * LB; (void)arrived_{n};",
            f"  const real *restrict bar_sent_{n} = b->bar_rings.{name} + (n % {length}) * {size} * LB; (void)bar_sent_{n};",
        ]
        read[of_sent(symbol(arrival))] = f"bar_sent_{n}[k]"
    weight = layout.weight_text()
    # nothing depends on an output that was not asked for
    read |= {of_output(output): "((real)0)" for output in layout.step.outputs}
    for output in dict.fromkeys((*layout.form.record, *layout.form.total)):
        parts = []
        if output in layout.form.record:
            n = layout.form.record.index(output)
            rows = layout.size(spaces[layout.step.outputs[output]])
            port = layout.port("bar.record", output, of=layout.bar_in)
            lines.append(
                f"  long ld_bar_{n}; const real *restrict bar_{n} = view_(b, b->in[{port}], n, {rows}, b->lanes, b->out_{n}, &ld_bar_{n}); (void)bar_{n}; (void)ld_bar_{n};"
            )
            parts.append(layout.row_element(f"bar_{n}"))
        if output in layout.form.total:
            parts.append(f"{weight}b->bar_totals.total_{layout.form.total.index(output)}[k]")
        read[of_output(output)] = f"({' + '.join(parts)})"
    return lines


def run_backward(layout: Layout, per_block: frozenset[str]) -> list[str]:
    """Return the function that walks a block of lanes backwards, segment by segment."""
    spaces = layout.step.space_of()
    out = layout.bar_out
    lines = [
        "int run_backward(const void *const *in, void *const *out, long block, long n_lanes, long n_steps, long segment, int keep, Team *team, void *arena) {",
        "  const u32 mode = quick_mode_();",
        "  Block *b = open_(arena, in, block, n_lanes, team);",
        "  Row *own = rows_(arena);",
        "  Kept *kept = kept_(arena, keep ? 1 : segment);",
        "  memset(&b->bar_rings, 0, sizeof b->bar_rings);",
        "  memset(b->bars, 0, sizeof b->bars); memset(&b->sums, 0, sizeof b->sums);",
        f"  const Row *tape = in[{layout.port('tape', of=layout.bar_in)}];",
        f"  const Checkpoint *saved = in[{layout.port('checkpoints', of=layout.bar_in)}];",
        "  const long n_segments = (n_steps + segment - 1) / segment;",
        "  if (keep) tape += block * (n_steps + 1); else saved += block * n_segments;",
    ]
    for given in layout.step.of_kind(Kind.STATE):
        name, port = (
            given.name,
            layout.port("bar.state", given.name, of=layout.bar_in),
        )
        lines.append(
            f"  if (in[{port}]) take_(b->bars[0].{layout.names[symbol(name)]}, in[{port}], {layout.size(given.space)}, n_lanes, 1, b->first, b->count);"
        )
    for n, output in enumerate(layout.form.total):
        port, rows = (
            layout.port("bar.total", output, of=layout.bar_in),
            layout.size(spaces[layout.step.outputs[output]]),
        )
        lines.append(
            f"  take_(b->bar_totals.total_{n}, in[{port}], {rows}, n_lanes, 1, b->first, b->count);"
        )
    for arrival, delay in layout.delays.items():
        name, size = layout.names[symbol(arrival)], layout.size(spaces[symbol(arrival)])
        port = layout.port("bar.pending", arrival, of=layout.bar_in)
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
    for n, product in enumerate(layout.products):
        lines.append(f"    {print_product(layout, n, product)}")
    lines.append("  }")
    for given in layout.step.of_kind(Kind.STATE):
        port = layout.port("bar.state", given.name, of=out)
        lines.append(
            f"  put_(out[{port}], b->bars[side].{layout.names[given.symbol]}, {layout.size(given.space)}, n_lanes, b->first, b->count);"
        )
    for arrival, delay in layout.delays.items():
        name, size = layout.names[symbol(arrival)], layout.size(spaces[symbol(arrival)])
        port = layout.port("bar.pending", arrival, of=out)
        lines.append(
            f"  for (long k = 0; k < {delay.steps}; k++) put_((real *)out[{port}] + k * {size} * n_lanes, b->bar_rings.{name} + ((k + 1) % {delay.steps + 1}) * {size} * LB, {size}, n_lanes, b->first, b->count);"
        )
    for n, name in enumerate(layout.form.learned or ()):
        lines += put_sum(layout, n, name, per_block)
    return [
        *lines,
        "  restore_mode_(mode);",
        "  return 0;",
        "}",
    ]


def put_sum(layout: Layout, n: int, name: str, per_block: frozenset[str]) -> list[str]:
    """Write the cotangent of a constant."""
    port = layout.port("bar.held", name, of=layout.bar_out)
    given = layout.inputs[symbol(name)]
    if name in per_block:
        size = layout.size(given.space)
        return [
            f"  memcpy((real *)out[{port}] + block * {size}L, b->sums.sum_{n}, sizeof(real) * {size});"
        ]
    if name in {product.learned for product in layout.products}:
        return [
            f"  put_(out[{port}], b->sums.sum_{n}, {layout.size(given.space)}, n_lanes, b->first, b->count);"
        ]
    bar = layout.back.outputs.get(of_input(symbol(name)))
    if bar is None:
        return []
    rows = layout.size(layout.back.space_of()[bar])
    if given.shared or given.space == NETWORK:
        return [f"  put_sum_((real *)out[{port}], b->sums.sum_{n}, {rows}, b->first, b->count);"]
    return [f"  put_(out[{port}], b->sums.sum_{n}, {rows}, n_lanes, b->first, b->count);"]


def print_product(layout: Layout, n: int, product: Product) -> str:
    """Add the products of a segment to a weight gradient."""
    at = (layout.form.learned or ()).index(product.learned)
    sparse = product.projection in layout.form.sparse
    way = "same" if layout.is_same(layout.inputs[symbol(product.learned)]) else "each"
    before, after = (print_series(layout, s) for s in factors_of(layout, n))
    sizes = ", ".join(map(str, layout.ends(product.projection)))
    if sparse:
        start, ends = (
            layout.port("start", product.projection),
            layout.port("post", product.projection),
        )
        sizes += f", b->in[{start}], b->in[{ends}]"
    kind = "sparse" if sparse else "dense"
    pre, post = layout.ends(product.projection)
    if not sparse and pre * post >= SHARED_FROM:
        series = (
            f".before = {before.replace(', ', ', .before_stride = ')}, "
            f".after = {after.replace(', ', ', .after_stride = ')}, .steps = to - from"
        )
        job = f"{{.target = b->sums.sum_{at}, .count = b->count, .pre = {pre}, .post = {post}, {series}}}"
        return f"share_(b->team, share_outer_dense_{way}, &(Job){job});"
    count = "b->count, " if way == "same" else ""
    return f"outer_{kind}_{way}(b->sums.sum_{at}, {before}, {after}, to - from, {count}{sizes});"


def print_series(layout: Layout, s: Symbol) -> str:
    """A factor over the steps of a segment: its first address and the distance between steps."""
    name = layout.names[s]
    if s in layout.taped:
        return f"rows->{name}, sizeof(Row)"
    if s in layout.inputs and layout.inputs[s].kind is Kind.STATE:
        return f"rows->s.{name}, sizeof(Row)"
    return f"kept->{name}, sizeof(Kept)"
