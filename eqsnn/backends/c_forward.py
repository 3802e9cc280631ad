"""The forward pass of a kernel as C."""

from dataclasses import replace

from eqsnn.backends.c_layout import Layout
from eqsnn.backends.c_loops import Loops, body
from eqsnn.backends.schedule import schedule
from eqsnn.language.functions import symbol
from eqsnn.maths.program import (
    Kind,
    Program,
)
from eqsnn.maths.simplify import select


def forward_step(layout: Layout) -> tuple[list[str], list[str]]:
    """The work arrays of the step; `step_` with its outputs, and `again_` without them for segments walked again."""
    work, first = step_function(layout, "step_", layout.step, outputs=True)
    if layout.cut is None:
        return work, first
    needed = {str(s): s for s in layout.taped if s not in layout.inputs}
    again = select(replace(layout.step, outputs=needed), needed)
    # draws are needed for the way back even where no state and no stored value depends on them
    known = {given.symbol for given in again.inputs}
    draws = [
        g
        for g in layout.step.of_kind(Kind.NORMAL, Kind.UNIFORM)
        if g.symbol in layout.taped and g.symbol not in known
    ]
    again = replace(again, inputs=(*again.inputs, *draws))
    more, second = step_function(layout, "again_", again, outputs=False)
    return list(dict.fromkeys([*work, *more])), [*first, *second]


def step_function(
    layout: Layout, function: str, program: Program, *, outputs: bool
) -> tuple[list[str], list[str]]:
    """Return the work arrays of one function that executes a step, and the function."""
    known = {given.symbol for given in program.inputs}
    plan = schedule(program, [draw for draw in layout.draws if draw.target in known])
    read = {g.symbol: layout.constant(g) for g in layout.held}
    read |= {g.symbol: f"s->{layout.names[g.symbol]}[k]" for g in program.of_kind(Kind.STATE)}
    read |= {g.symbol: f"{layout.names[g.symbol]}[k]" for g in program.of_kind(Kind.ARRIVAL)}
    more = ", Totals *restrict totals, void *const *out" if outputs else ""
    head = [
        f"INLINE void {function}(Block *restrict b, Row *restrict row, State *restrict next, long n{more}) {{",
        "  const Params *restrict p = &b->p;",
        "  const State *restrict s = &row->s;",
        "  (void)p; (void)s; (void)next; (void)n;",
    ]
    head += layout.views(read)
    loops = Loops(plan, read, {})
    for s in plan.arrays:
        loops.homes[s] = f"{'row' if s in layout.taped else 'b'}->{layout.names[s]}"
    for s in layout.taped - plan.arrays:
        loops.store(s, f"row->{layout.names[s]}[k] =")
    head += rings(layout, loops, "rings")
    for given in program.of_kind(Kind.STATE):
        value = layout.called[program.next_states[given.symbol]]
        loops.store(value, f"next->{layout.names[given.symbol]}[k] =")
    spaces = program.space_of()
    for s in layout.taped:
        if s in layout.inputs and layout.inputs[s].kind is Kind.ARRIVAL:
            name = layout.names[s]
            head.append(
                f"  memcpy(row->{name}, {name}, sizeof(real) * {layout.size(spaces[s])} * LB);"
            )
    tail = outputs_of_step(layout, loops, head) if outputs else []
    work = [
        layout.array(s, layout.size(plan.spaces[s]))
        for s in sorted(plan.arrays - layout.taped, key=str)
    ]
    return work, [*head, *body(layout, loops), *tail, "}"]


def outputs_of_step(layout: Layout, loops: Loops, head: list[str]) -> list[str]:
    """Record and add up outputs; returns what is to be done after the loops."""
    tail = []
    spaces = layout.step.space_of()
    for n, output in enumerate(layout.form.record):
        value = layout.called[layout.step.outputs[output]]
        rows, out = layout.size(spaces[value]), layout.port("record", output, of=layout.out_ports)
        head.append(
            f"  long ld_out_{n}; real *out_{n} = place_(b, out[{out}], n, {rows}, b->out_{n}, &ld_out_{n}); (void)ld_out_{n};"
        )
        loops.store(value, f"{layout.row_element(f'out_{n}')} =")
        tail.append(
            f"  if (b->count < LB) put_((real *)out[{out}] + n * {rows} * b->lanes, b->out_{n}, {rows}, b->lanes, b->first, b->count);"
        )
    weight = layout.weight_text()
    for n, output in enumerate(layout.form.total):
        value = layout.called[layout.step.outputs[output]]
        loops.store(value, f"totals->total_{n}[k] += {weight}")
    return tail


def rings(layout: Layout, loops: Loops, ring: str) -> list[str]:
    """Pointers into the delay rings: what arrives now, and where what is sent now goes."""
    lines = []
    spaces = layout.step.space_of()
    for n, (arrival, delay) in enumerate(layout.delays.items()):
        name, length = layout.names[symbol(arrival)], delay.steps + 1
        size = layout.size(spaces[symbol(arrival)])
        lines += [
            f"  const real *restrict {name} = b->{ring}.{name} + ((n + 1) % {length}) * {size} * LB;",
            f"  real *restrict sent_{n} = b->{ring}.{name} + (n % {length}) * {size} * LB;",
        ]
        loops.homes[symbol(arrival)] = name
        loops.store(layout.called[delay.sent], f"sent_{n}[k] =")
    return lines


def run_forward(layout: Layout) -> list[str]:
    """Return the function that walks a block of lanes forwards."""
    spaces = layout.step.space_of()
    lines = [
        "long row_bytes(void) { return sizeof(Row); }",
        "long checkpoint_bytes(void) { return sizeof(Checkpoint); }",
        "",
        "int run_forward(const void *const *in, void *const *out, long block, long n_lanes, long n_steps, long segment, int keep, Team *team, void *arena) {",
        "  const u32 mode = quick_mode_();",
        "  Block *b = open_(arena, in, block, n_lanes, team);",
        "  Row *own = rows_(arena);",
        "  memset(&b->totals, 0, sizeof b->totals); memset(&b->rings, 0, sizeof b->rings);",
        f"  Row *rows = keep ? (Row *)out[{layout.port('tape', of=layout.out_ports)}] + block * (n_steps + 1) : own;",
        f"  Checkpoint *saved = out[{layout.port('checkpoints', of=layout.out_ports)}];",
        "  if (saved) saved += block * ((n_steps + segment - 1) / segment);",
    ]
    for given in layout.step.of_kind(Kind.STATE):
        name, rows = given.name, layout.size(given.space)
        lines.append(
            f"  take_(rows[0].s.{layout.names[given.symbol]}, in[{layout.port('state', name)}], {rows}, n_lanes, 1, b->first, b->count);"
        )
    for arrival, delay in layout.delays.items():
        name, size = layout.names[symbol(arrival)], layout.size(spaces[symbol(arrival)])
        lines.append(
            f"  for (long k = 0; k < {delay.steps}; k++) take_(b->rings.{name} + ((k + 1) % {delay.steps + 1}) * {size} * LB, (const real *)in[{layout.port('pending', arrival)}] + k * {size} * n_lanes, {size}, n_lanes, 1, b->first, b->count);"
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
    for given in layout.step.of_kind(Kind.STATE):
        name, rows = given.name, layout.size(given.space)
        lines.append(
            f"  put_(out[{layout.port('state', name, of=layout.out_ports)}], last->{layout.names[given.symbol]}, {rows}, n_lanes, b->first, b->count);"
        )
    for arrival, delay in layout.delays.items():
        name, size = layout.names[symbol(arrival)], layout.size(spaces[symbol(arrival)])
        lines.append(
            f"  for (long k = 0; k < {delay.steps}; k++) put_((real *)out[{layout.port('pending', arrival, of=layout.out_ports)}] + k * {size} * n_lanes, b->rings.{name} + ((n_steps + k + 1) % {delay.steps + 1}) * {size} * LB, {size}, n_lanes, b->first, b->count);"
        )
    for n, output in enumerate(layout.form.total):
        rows = layout.size(spaces[layout.step.outputs[output]])
        lines.append(
            f"  put_(out[{layout.port('total', output, of=layout.out_ports)}], b->totals.total_{n}, {rows}, n_lanes, b->first, b->count);"
        )
    return [*lines, "  restore_mode_(mode);", "  return 0;", "}"]
