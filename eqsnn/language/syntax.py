"""Syntax: the model file as frozen nodes, one for each rule of the grammar; the place is carried, never compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from eqsnn.errors import Span


@dataclass(frozen=True, slots=True)
class Node:
    """Anything that has a place in the file."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A decimal literal, kept as written so that it stays exact."""

    text: str


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable, constant or unit."""

    text: str


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`function(arguments)`."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-x`, `+x` or `not x`."""

    operator: str
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`left operator right`: arithmetic, comparison, `and`, `or`."""

    operator: str
    left: "Expression"
    right: "Expression"


Expression = Number | Name | Call | Unary | Binary


def head_of(call: Call) -> Span:
    """Return the place of a call's name alone."""
    return replace(call.span, width=len(call.function))


def parts_of(node: Expression) -> tuple[Expression, ...]:
    """Return the expressions that an expression is made of."""
    if isinstance(node, Call):
        return node.arguments
    if isinstance(node, Unary):
        return (node.operand,)
    return (node.left, node.right) if isinstance(node, Binary) else ()


@dataclass(frozen=True, slots=True)
class UnitText(Node):
    """A unit as written."""

    text: str


@dataclass(frozen=True, slots=True)
class Flag(Node):
    """One flag in parentheses, such as `unless refractory`."""

    text: str


@dataclass(frozen=True, slots=True)
class Given(Node):
    """The right-hand side of `=` or `~`: `distribution` is a call; bounds belong to `~`."""

    expression: Expression
    learned: bool
    bounds: tuple[Expression, Expression] | None = None


@dataclass(frozen=True, slots=True)
class Ode(Node):
    """`d<state>/dt = rate : unit (flags)`."""

    state: str
    rate: Expression
    unit: UnitText
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Definition(Node):
    """`name = expression : unit (flags)`."""

    name: str
    expression: Expression
    unit: UnitText
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Declaration(Node):
    """`name : unit (flags)`, `... = value` or `... ~ distribution in [low, high]`."""

    name: str
    unit: UnitText
    flags: tuple[Flag, ...]
    value: Given | None


@dataclass(frozen=True, slots=True)
class Assignment(Node):
    """`target operator expression` in a reset or another list of statements."""

    target: str
    operator: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Statements(Node):
    """`reset:`, `update:`, `initial:`, `background:`, `on EVENT:`, `every PERIOD:`, `on_pre NAME at EVENT:`, ..."""

    keyword: str
    statements: tuple[Assignment, ...]
    name: str = ""  # of a pathway
    event: str = ""
    period: Expression | None = None


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """`threshold: expression`, `refractory: expression` or `method: name`."""

    keyword: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Event(Node):
    """`event name: condition`."""

    name: str
    condition: Expression


@dataclass(frozen=True, slots=True)
class Use(Node):
    """`use equations with name = expression, ...`."""

    equations: str
    exchanges: tuple[tuple[str, Expression], ...]


Line = Ode | Definition | Declaration | Statements | Setting | Event | Use


@dataclass(frozen=True, slots=True)
class Block(Node):
    """A `neuron`, `synapse` or `equations` block."""

    kind: str
    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Override(Node):
    """`name = value` or `name ~ distribution` after `with`."""

    name: str
    value: Given


@dataclass(frozen=True, slots=True)
class TimeStep(Node):
    """`dt = expression` of the network block."""

    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class PopulationLine(Node):
    """`name : neuron[size] with ...`."""

    name: str
    neuron: str
    size: int | None
    overrides: tuple[Override, ...]


@dataclass(frozen=True, slots=True)
class ProjectionLine(Node):
    """`pre -> post : synapse` and its clauses."""

    pre: str
    post: str
    synapse: str
    overrides: tuple[Override, ...] = ()
    condition: Expression | None = None
    probability: Expression | None = None
    delays: tuple[
        tuple[str, Expression], ...
    ] = ()  # of the pathways; "": all that come from the presynaptic side
    targets: "Targets | None" = None
    pairs: "File | None" = None


@dataclass(frozen=True, slots=True)
class Targets(Node):
    """`to expression for name in range`: which postsynaptic neurons a presynaptic one reaches."""

    expression: Expression
    iterator: str = ""
    values: Expression | None = None


@dataclass(frozen=True, slots=True)
class File(Node):
    """The name of a file in quotes."""

    name: str


@dataclass(frozen=True, slots=True)
class Link(Node):
    """`link population.variable = source.variable[index]`."""

    population: str
    variable: str
    source: str
    read: str
    index: Expression | None = None


@dataclass(frozen=True, slots=True)
class ValuesLine(Node):
    """`values: "file.npz"`."""

    file: str


NetworkLine = TimeStep | PopulationLine | ProjectionLine | ValuesLine | Link


@dataclass(frozen=True, slots=True)
class Function(Node):
    """`function name(argument : unit, ...) = expression : unit`."""

    name: str
    arguments: tuple[tuple[str, UnitText], ...]
    expression: Expression
    unit: UnitText


@dataclass(frozen=True, slots=True)
class Include(Node):
    """`include "file.eqs"`."""

    file: str


@dataclass(frozen=True, slots=True)
class NetworkBlock(Node):
    """The `network` block."""

    lines: tuple[NetworkLine, ...]


@dataclass(frozen=True, slots=True)
class Syntax:
    """A parsed file."""

    path: str = field(compare=False)
    text: str = field(repr=False, compare=False)
    blocks: tuple[Block, ...]
    networks: tuple[NetworkBlock, ...]
    functions: tuple[Function, ...] = ()
    includes: tuple[Include, ...] = ()


BINDING = {
    "or": 1,
    "and": 2,
    "compare": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "//": 6,
    "%": 6,
    "**": 8,
}


def write_expression(node: Expression, within: int = 0) -> str:
    """Write an expression as it would be typed, with the parentheses it needs."""
    if isinstance(node, Number | Name):
        return node.text
    if isinstance(node, Call):
        return f"{node.function}({', '.join(write_expression(a) for a in node.arguments)})"
    if isinstance(node, Unary):
        binding = 3 if node.operator == "not" else 7
        gap = " " if node.operator == "not" else ""
        text = f"{node.operator}{gap}{write_expression(node.operand, binding)}"
    else:
        binding = BINDING.get(node.operator, BINDING["compare"])
        right_first = node.operator == "**"
        left = write_expression(node.left, binding + 1 if right_first else binding)
        right = write_expression(node.right, 7 if right_first else binding + 1)
        text = (
            f"{left}{node.operator}{right}"
            if binding >= BINDING["*"]
            else f"{left} {node.operator} {right}"
        )
    return f"({text})" if binding < within else text


def names_in(node: Expression) -> set[str]:
    """Return the names that an expression refers to, functions left out."""
    if isinstance(node, Name):
        return {node.text}
    if isinstance(node, Call):
        return {name for argument in node.arguments for name in names_in(argument)}
    if isinstance(node, Unary):
        return names_in(node.operand)
    if isinstance(node, Binary):
        return names_in(node.left) | names_in(node.right)
    return set()


def exchange_names(node: Expression, names: Mapping[str, Expression]) -> Expression:
    """Return an expression with names exchanged for other expressions."""
    if isinstance(node, Name):
        return names.get(node.text, node)
    if isinstance(node, Call):
        return replace(node, arguments=tuple(exchange_names(a, names) for a in node.arguments))
    if isinstance(node, Unary):
        return replace(node, operand=exchange_names(node.operand, names))
    if isinstance(node, Binary):
        left, right = (exchange_names(side, names) for side in (node.left, node.right))
        return replace(node, left=left, right=right)
    return node


def format_syntax(syntax: Syntax) -> str:
    """Write a parsed file back as text that parses to the same Syntax."""
    return "\n".join(_lines(syntax)) + "\n"


def _lines(syntax: Syntax) -> Iterator[str]:
    for include in syntax.includes:
        yield f'include "{include.file}"'
    for function in syntax.functions:
        arguments = ", ".join(f"{name} : {unit.text}" for name, unit in function.arguments)
        body = write_expression(function.expression)
        yield f"function {function.name}({arguments}) = {body} : {function.unit.text}"
    for block in syntax.blocks:
        yield f"{block.kind} {block.name}:"
        for line in block.lines:
            yield from ("    " + text for text in _write_line(line))
        yield ""
    for network in syntax.networks:
        yield "network:"
        yield from ("    " + write_network_line(line) for line in network.lines)


def _write_line(line: Line) -> list[str]:
    if isinstance(line, Setting):
        return [f"{line.keyword}: {write_expression(line.expression)}"]
    if isinstance(line, Statements):
        body = [
            f"    {s.target} {s.operator} {write_expression(s.expression)}" for s in line.statements
        ]
        return [f"{_write_heading(line)}:", *body]
    if isinstance(line, Event):
        return [f"event {line.name}: {write_expression(line.condition)}"]
    if isinstance(line, Use):
        exchanges = ", ".join(f"{name} = {write_expression(e)}" for name, e in line.exchanges)
        return [f"use {line.equations}" + (f" with {exchanges}" if exchanges else "")]
    flags = f" ({', '.join(flag.text for flag in line.flags)})" if line.flags else ""
    if isinstance(line, Ode):
        return [f"d{line.state}/dt = {write_expression(line.rate)} : {line.unit.text}{flags}"]
    if isinstance(line, Definition):
        return [f"{line.name} = {write_expression(line.expression)} : {line.unit.text}{flags}"]
    return [f"{line.name} : {line.unit.text}{flags}{_write_given(line.value)}"]


def _write_heading(line: Statements) -> str:
    if line.keyword == "every":
        return f"every {'step' if line.period is None else write_expression(line.period)}"
    if line.keyword == "on":
        return f"on {line.event}"
    name = f" {line.name}" if line.name else ""
    return f"{line.keyword}{name}" + (f" at {line.event}" if line.event else "")


def _write_given(value: Given | None) -> str:
    if value is None:
        return ""
    text = f" {'~' if value.learned else '='} {write_expression(value.expression)}"
    if value.bounds is not None:
        text += f" in [{write_expression(value.bounds[0])}, {write_expression(value.bounds[1])}]"
    return text


def write_network_line(line: NetworkLine) -> str:
    """Write one line of the network block."""
    if isinstance(line, ValuesLine):
        return f'values: "{line.file}"'
    if isinstance(line, TimeStep):
        return f"{line.name} = {write_expression(line.expression)}"
    if isinstance(line, PopulationLine):
        size = "" if line.size is None else f"[{line.size}]"
        return f"{line.name} : {line.neuron}{size}{_write_overrides(line.overrides)}"
    if isinstance(line, Link):
        index = "" if line.index is None else f"[{write_expression(line.index)}]"
        return f"link {line.population}.{line.variable} = {line.source}.{line.read}{index}"
    text = f"{line.pre} -> {line.post} : {line.synapse}{_write_overrides(line.overrides)}"
    return text + "".join(f" {clause}" for clause in _write_clauses(line))


def _write_clauses(line: ProjectionLine) -> Iterator[str]:
    if line.targets is not None:
        to = f"to {write_expression(line.targets.expression)}"
        if line.targets.values is not None:
            to += f" for {line.targets.iterator} in {write_expression(line.targets.values)}"
        yield to
    if line.pairs is not None:
        yield f'pairs "{line.pairs.name}"'
    for keyword, clause in (("if", line.condition), ("probability", line.probability)):
        if clause is not None:
            yield f"{keyword} {write_expression(clause)}"
    for name, delay in line.delays:
        yield (
            f"delay {name} {write_expression(delay)}"
            if name
            else f"delay {write_expression(delay)}"
        )


def _write_overrides(overrides: tuple[Override, ...]) -> str:
    if not overrides:
        return ""
    return " with " + ", ".join(
        f"{override.name}{_write_given(override.value)}" for override in overrides
    )
