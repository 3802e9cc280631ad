"""One neuron or synapse block: its names, their roles and units, in one pass over the lines."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from sympy import Expr

from eqsnn.errors import EqsError, Span
from eqsnn.language import syntax as s
from eqsnn.language.builtins import BUILTINS, CONSTANTS, DISTRIBUTIONS, DRAWS, RESERVED
from eqsnn.language.expressions import UserFunction, suggest, suggest_unit
from eqsnn.language.functions import symbol
from eqsnn.language.model import Role, Value, Variable
from eqsnn.language.slips import misspelt_keyword
from eqsnn.language.units import Unit, UnknownUnit, parse_unit, unit_table
from eqsnn.language.values import check_value, resolve_centre

METHODS = (
    *(
        "euler",
        "exponential_euler",
        "exact",
        "linear",
        "rk2",
        "midpoint",
        "rk4",
        "heun",
        "milstein",
    ),
)
FLAGS = {
    "ode": ("unless refractory", "event-driven", "clock-driven"),
    "definition": ("constant over dt", "shared", "summed"),
    "declaration": (
        *("input", "shared", "per population", "constant", "unless refractory", "linked"),
    ),
}


@dataclass(slots=True)
class Draft:
    """A block while it is checked: its lines sorted by kind, its variables so far, its mistakes so far."""

    block: s.Block
    errors: list[EqsError] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)
    odes: dict[str, s.Ode] = field(default_factory=dict)
    definitions: dict[str, s.Definition] = field(default_factory=dict)
    statements: dict[str, s.Statements] = field(default_factory=dict)
    several: list[s.Statements] = field(default_factory=list)  # on_pre, on_post, every, on EVENT
    events: dict[str, s.Event] = field(default_factory=dict)
    functions: Mapping[str, UserFunction] = field(default_factory=dict)
    settings: dict[str, s.Setting] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)  # names whose own line is at fault

    def attempt(self, action: Callable, *arguments: object) -> object | None:
        """Call `action`; keep its EqsError and go on."""
        try:
            return action(*arguments)
        except EqsError as error:
            self.errors.append(error)
            return None


SEVERAL = ("on_pre", "on_post", "every", "on")


def draft(
    block: s.Block, written_by_synapses: Iterable[str], functions: Mapping[str, UserFunction]
) -> Draft:
    """Declare every name of a block. `written_by_synapses`: names that synapses of the file write in neurons."""
    result = Draft(block, functions=functions)
    for line in block.lines:
        result.attempt(_declare, result, line)
        name = line.state if isinstance(line, s.Ode) else getattr(line, "name", "")
        if (
            name
            and name not in result.variables
            and isinstance(line, s.Ode | s.Definition | s.Declaration)
        ):
            result.faulty.add(name)
    lists = (*result.statements.values(), *result.several)
    written = {a.target for statements in lists for a in statements.statements}
    if block.kind == "neuron":
        written |= set(written_by_synapses)
    for name, variable in result.variables.items():
        bare = variable.role is Role.PARAMETER and variable.value is None
        if bare and (name in written or variable.linked):
            result.variables[name] = replace(variable, role=Role.VARIABLE)
    declared = dict(result.variables)
    for name, variable in declared.items():
        if variable.value is not None:
            value = result.attempt(resolve_centre, name, variable.value, declared, {})
            # a faulty value must not make the name unknown everywhere else
            kept = value if isinstance(value, Value) else Value(0.0)
            result.variables[name] = replace(variable, value=kept)
    return result


def _declare(result: Draft, line: s.Line) -> None:
    assert not isinstance(line, s.Use), "written out before"
    if isinstance(line, s.Setting | s.Statements | s.Event):
        _declare_event(result, line)
        return
    name = line.state if isinstance(line, s.Ode) else line.name
    _check_name(result, name, line.span)
    if isinstance(line, s.Ode):
        variable = _state(result, line)
        result.odes[name] = line
    elif isinstance(line, s.Definition):
        variable = _subexpression(result, line)
        result.definitions[name] = line
    else:
        variable = _declaration(result, line)
    result.variables[name] = variable


def _declare_event(result: Draft, line: s.Setting | s.Statements | s.Event) -> None:
    if isinstance(line, s.Event):
        if line.name in result.events or line.name == "spike":
            taken = "is the threshold's" if line.name == "spike" else "is declared twice"
            raise EqsError(line.span, f"event `{line.name}` {taken}", "choose another name")
        result.events[line.name] = line
        return
    if isinstance(line, s.Statements) and line.keyword in SEVERAL:
        known = {(o.keyword, o.name, o.event) for o in result.several if o.keyword != "every"}
        if (line.keyword, line.name, line.event) in known:
            raise EqsError(line.span, f"`{line.keyword}` is given twice", "keep one, or name them")
        result.several.append(line)
        return
    table: dict = result.settings if isinstance(line, s.Setting) else result.statements
    if line.keyword in table:
        raise EqsError(line.span, f"`{line.keyword}` is given twice", "keep one")
    table[line.keyword] = line


def _state(result: Draft, line: s.Ode) -> Variable:
    flags = _flags(result, line.flags, "ode")
    if "event-driven" in flags and result.block.kind != "synapse":
        raise EqsError(
            line.span,
            f"`{line.state}` is event-driven, but a neuron's equations hold all the time",
            "remove the flag; it is for equations of synapses",
        )
    return Variable(
        line.state,
        Role.STATE,
        checked_unit(line.unit),
        frozen_when_refractory="unless refractory" in flags,
        event_driven="event-driven" in flags,
        span=line.span,
    )


def _subexpression(result: Draft, line: s.Definition) -> Variable:
    flags = _flags(result, line.flags, "definition")
    if "summed" in flags and (result.block.kind != "synapse" or not line.name.endswith("_post")):
        raise EqsError(
            line.span,
            f"only `x_post = ... (summed)` in a synapse can be summed, not `{line.name}`",
            "name the postsynaptic variable",
        )
    return Variable(
        line.name,
        Role.SUBEXPRESSION,
        checked_unit(line.unit),
        shared="shared" in flags,
        constant_over_dt="constant over dt" in flags,
        summed="summed" in flags,
        span=line.span,
    )


def _declaration(result: Draft, line: s.Declaration) -> Variable:
    flags = _flags(result, line.flags, "declaration")
    is_input = "input" in flags
    if is_input and line.value is not None:
        raise EqsError(
            line.value.span,
            f"`{line.name}` is an input, so its values come with the data",
            "remove the value or the flag",
        )
    if "linked" in flags and (line.value is not None or result.block.kind != "neuron"):
        raise EqsError(
            line.span,
            f"`{line.name}` is linked, so its values come from another population",
            "declare it in a neuron, without a value",
        )
    variable = Variable(
        line.name,
        Role.INPUT if is_input else Role.PARAMETER,
        checked_unit(line.unit, line.name, result.block.kind),
        shared="shared" in flags or "per population" in flags,
        frozen_when_refractory="unless refractory" in flags,
        linked="linked" in flags,
        span=line.span,
    )
    if line.value is None:
        return variable
    # a faulty value must not make the name unknown everywhere else
    value = result.attempt(check_value, line.value, variable)
    return replace(variable, value=value if isinstance(value, Value) else Value(0.0))


def _check_name(result: Draft, name: str, span: Span) -> None:
    if name in result.variables:
        first = result.variables[name].span
        where = "" if first is None else f" (first in line {first.line})"
        raise EqsError(span, f"`{name}` is declared twice{where}", "rename or remove one of them")
    check_free(name, span, result.functions)
    if name.endswith(("_pre", "_post")) and not (
        result.block.kind == "synapse" and name.endswith("_post")
    ):
        raise EqsError(
            span,
            f"`{name}`: the endings `_pre` and `_post` are kept for synapses",
            "choose another name",
        )


def check_free(name: str, span: Span, functions: Iterable[str]) -> None:
    """Raise EqsError if the language itself, or a function of the file, has a name."""
    if name in RESERVED or name.startswith("xi_"):
        raise EqsError(
            span,
            f"`{name}` is reserved for {RESERVED.get(name, 'white noise')}",
            "choose another name",
        )
    if name in functions or name in BUILTINS or name in DRAWS or name in DISTRIBUTIONS:
        raise EqsError(span, f"`{name}` is a function of the language", "choose another name")
    if name in CONSTANTS or name in ("True", "False"):
        raise EqsError(span, f"`{name}` is a constant of the language", "choose another name")
    if name in unit_table():
        raise EqsError(span, f"`{name}` is a unit", "choose another name")


def checked_unit(unit: s.UnitText, name: str = "", kind: str = "") -> Unit:
    """Return the unit that a text names. Raises EqsError.

    `name`, `kind`: of a declaration and its block, for what was meant otherwise.
    """
    try:
        return parse_unit(unit.text)
    except UnknownUnit as error:
        wrong = str(error) or unit.text
        told = misspelt_keyword(unit.span.text.split("#", 1)[0], kind)
        if told is not None:
            span = replace(unit.span, column=told.column, width=told.width)
            raise EqsError(span, told.message, told.hint) from None
        value = re.fullmatch(r"([\d.]+)(?:\*(.+))?", unit.text)
        if value is not None:
            hint = f"a unit follows `:` and a value `=`: write `{name or 'x'} : {value[2] or 1} = {unit.text}`"
            raise EqsError(unit.span, f"`{unit.text}` is a value, not a unit", hint) from None
        hint = suggest_unit(
            wrong,
            "units are products of names such as mV, ms, nS, Hz; write `1` for none",
        )
        raise EqsError(unit.span, f"unknown unit `{wrong}`", hint) from None


def _flags(result: Draft, flags: tuple[s.Flag, ...], kind: str) -> set[str]:
    """Return the flags of a line; a faulty one is noted, and the line goes on without it."""
    allowed = FLAGS[kind]
    seen: set[str] = set()
    elsewhere = {flag for names in FLAGS.values() for flag in names}
    for flag in flags:
        if flag.text not in allowed:
            known = flag.text in elsewhere
            message = (
                f"flag `{flag.text}` has no meaning here"
                if known
                else f"unknown flag `{flag.text}`"
            )
            hint = suggest(flag.text, set(allowed)) or f"allowed here: {', '.join(allowed)}"
            result.errors.append(EqsError(flag.span, message, hint))
        elif flag.text in seen:
            result.errors.append(EqsError(flag.span, f"`{flag.text}` is given twice", "keep one"))
        seen.add(flag.text)
    return {flag.text for flag in flags}


def in_order(
    expressions: Mapping[str, Expr], definitions: Mapping[str, s.Definition]
) -> dict[str, Expr]:
    """Sort subexpressions so that each follows what it uses. Raises EqsError naming a cycle."""
    ordered: dict[str, Expr] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        if name in ordered:
            return
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            raise EqsError(
                definitions[name].span,
                f"`{name}` is defined by itself: {cycle}",
                "one of them needs an equation d.../dt or a value",
            )
        path.append(name)
        for other in sorted(expressions):
            if symbol(other) in expressions[name].free_symbols:
                visit(other)
        path.pop()
        ordered[name] = expressions[name]

    for name in expressions:
        visit(name)
    return ordered
