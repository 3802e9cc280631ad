"""equations: what a model says, as typeset lines for every neuron, synapse, population and projection of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from eqsnn.language import syntax as s
from eqsnn.language.fragments import with_included, written_out
from eqsnn.language.model import Model
from eqsnn.language.parse import parse
from eqsnn.report import mathematics as m
from eqsnn.report.numbers import unit

TITLES = {
    "threshold": "spike when",
    "reset": "at a spike",
    "refractory": "refractory",
    "initial": "at the start",
    "update": "in every step",
    "background": "in every step",
    "on_pre": "at a presynaptic spike",
    "on_post": "at a postsynaptic spike",
    "method": "integrated by",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One typeset line: a label in words (may be empty), MathML, the unit, flags."""

    label: str
    math: Markup
    unit: str = ""
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A neuron or synapse of the file, and the populations or projections that it is of."""

    kind: str
    name: str
    used: tuple[str, ...]
    lines: tuple[Line, ...]


def blocks_of(model: Model) -> tuple[Block, ...]:
    """Return the blocks that the network uses, in the order of the file, with what is included written out."""
    syntax = with_included(parse(model.text, model.path))
    fragments = {block.name: block for block in syntax.blocks if block.kind == "equations"}
    lines = [line for network in syntax.networks for line in network.lines]
    found = []
    for block in syntax.blocks:
        used = tuple(_uses(model, block, lines))
        if block.kind == "equations" or not used:
            continue
        whole = written_out(block, fragments)
        own = {line.name for line in whole.lines if isinstance(line, s.Declaration | s.Definition)}
        own |= {line.state for line in whole.lines if isinstance(line, s.Ode)}
        found.append(Block(block.kind, block.name, used, tuple(_lines(whole.lines, own))))
    return tuple(found)


def _uses(model: Model, block: s.Block, lines: Sequence[s.NetworkLine]) -> Iterator[str]:
    for population in model.populations.values():
        if block.kind == "neuron" and population.neuron == block.name:
            size = "as many as the targets" if population.size is None else str(population.size)
            yield f"{population.name} ({size})"
    for line in lines:
        if (
            block.kind == "synapse"
            and isinstance(line, s.ProjectionLine)
            and line.synapse == block.name
        ):
            # the clauses, such as `if i != j`, as they would be typed
            whole = s.write_network_line(replace(line, overrides=()))
            yield f"{line.pre} → {line.post}" + whole.split(f" : {line.synapse}", 1)[1]


def _lines(lines: Sequence[s.Line], own: set[str]) -> Iterator[Line]:
    for line in lines:
        if isinstance(line, s.Ode):
            text = m.row(m.rate_of(line.state), m.operator("="), m.typeset(line.rate, own))
            yield _line("", text, line.unit, line.flags)
        elif isinstance(line, s.Definition):
            yield _definition(line, own)
        elif isinstance(line, s.Setting):
            text = m.typeset(line.expression, own)
            if line.keyword == "method":
                said = s.write_expression(line.expression).replace("_", " ")
                text = f"<mtext>{m.escape(said)}</mtext>"
            yield Line(TITLES.get(line.keyword, line.keyword), Markup(m.math(text)))
        elif isinstance(line, s.Statements):
            yield from _statements(line, own)
        elif isinstance(line, s.Event):
            text = m.typeset(line.condition, own)
            yield Line(f"event {line.name} when", Markup(m.math(text)))
        elif isinstance(line, s.Declaration) and any(f.text == "input" for f in line.flags):
            yield Line(
                "given with the data", Markup(m.math(m.name(line.name))), unit(line.unit.text)
            )


def _definition(line: s.Definition, own: set[str]) -> Line:
    if any(flag.text == "summed" for flag in line.flags):
        right = m.typeset(line.expression, own, s.BINDING["*"])
        flags = tuple(flag for flag in line.flags if flag.text != "summed")
        text = m.row(m.name(line.name), m.operator("="), m.summed(right))
        return _line("", text, line.unit, flags)
    text = m.row(m.name(line.name), m.operator("="), m.typeset(line.expression, own))
    return _line("", text, line.unit, line.flags)


def _line(label: str, text: str, written: s.UnitText, flags: Sequence[s.Flag]) -> Line:
    said = ", ".join(flag.text for flag in flags)
    return Line(label, Markup(m.math(text)), unit(written.text), said)


def _statements(block: s.Statements, own: set[str]) -> Iterator[Line]:
    label = TITLES.get(block.keyword, block.keyword)
    if block.keyword == "every":
        label = (
            "every step" if block.period is None else f"every {s.write_expression(block.period)}"
        )
    elif block.keyword == "on":
        label = f"at the event {block.event}"
    elif block.event:
        label = f"{label.removesuffix('spike')}event {block.event}"
    if block.name:
        label += f" ({block.name})"
    for k, statement in enumerate(block.statements):
        value = statement.expression
        if statement.operator != "=":  # `x += y` is x ← x + y
            before = s.Name(statement.span, statement.target)
            value = s.Binary(statement.span, statement.operator.removesuffix("="), before, value)
        text = m.row(m.name(statement.target), m.operator("←"), m.typeset(value, own))
        yield Line(label if k == 0 else "", Markup(m.math(text)))
