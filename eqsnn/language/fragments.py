"""Includes, `equations` blocks and functions, written out: what is left are neurons, synapses and the network."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from eqsnn.errors import EqsError, ModelError
from eqsnn.language import syntax as s
from eqsnn.language.blocks import check_free, checked_unit
from eqsnn.language.expressions import Names, UserFunction, suggest, value_of
from eqsnn.language.parse import parse, read_model_text


def with_included(syntax: s.Syntax) -> s.Syntax:
    """Return a parsed file with the blocks and functions of the files that it includes; their networks are left out.

    Raises EqsError for a file that is not there, includes itself, or lies elsewhere than beside the model or below.
    """
    if not syntax.includes:
        return syntax
    blocks, functions = _included(syntax, (Path(syntax.path).resolve(),), {})
    whole = replace(syntax, blocks=blocks, functions=functions, includes=())
    return replace(whole, text=s.format_syntax(whole))


Parts = tuple[tuple[s.Block, ...], tuple[s.Function, ...]]


def _included(syntax: s.Syntax, within: tuple[Path, ...], read: dict[Path, None]) -> Parts:
    blocks: tuple[s.Block, ...] = ()
    functions: tuple[s.Function, ...] = ()
    for include in syntax.includes:
        path = _beside(include, syntax.path)
        if path in within:
            raise EqsError(
                include.span,
                f'"{include.file}" includes itself',
                "move what both files need into a third",
            )
        if path in read:  # two files may need the same third
            continue
        read[path] = None
        try:
            text = read_model_text(path)
        except ModelError as error:
            raise EqsError(include.span, str(error), "give a file beside this one") from None
        found = _included(parse(text, str(path)), (*within, path), read)
        blocks, functions = blocks + found[0], functions + found[1]
    return blocks + syntax.blocks, functions + syntax.functions


def _beside(include: s.Include, including: str) -> Path:
    folder = Path(including).resolve().parent
    path = (folder / include.file).resolve()
    if not include.file.endswith(".eqs") or not path.is_relative_to(folder):
        raise EqsError(
            include.span,
            f'"{include.file}" is not an .eqs file beside the model, or in a folder below it',
            'write its name, as in `include "channels.eqs"`',
        )
    return path


def written_out(block: s.Block, fragments: Mapping[str, s.Block]) -> s.Block:
    """Return a block in which the lines of `equations` blocks stand in place of `use`. Raises EqsError."""
    return replace(block, lines=_lines(block, fragments, (block.name,)))


def _lines(
    block: s.Block, fragments: Mapping[str, s.Block], within: tuple[str, ...]
) -> tuple[s.Line, ...]:
    lines: list[s.Line] = []
    for line in block.lines:
        if isinstance(line, s.Use):
            lines += _used(line, fragments, within)
        else:
            lines.append(line)
    return tuple(lines)


def _used(use: s.Use, fragments: Mapping[str, s.Block], within: tuple[str, ...]) -> list[s.Line]:
    name = use.equations
    if name not in fragments:
        hint = suggest(name, set(fragments), f"define them with `equations {name}:`")
        raise EqsError(use.span, f"there are no equations `{name}`", hint)
    if name in within:
        raise EqsError(use.span, f"equations `{name}` use themselves", "take one of the lines away")
    inner = _lines(fragments[name], fragments, (*within, name))
    exchanges = dict(use.exchanges)
    mentioned = set().union(*map(_mentioned, inner)) if inner else set()
    for exchanged, expression in use.exchanges:
        if exchanged not in mentioned:
            hint = suggest(exchanged, mentioned, f"their names are {', '.join(sorted(mentioned))}")
            message = f"equations `{name}` have no name `{exchanged}`"
            raise EqsError(expression.span, message, hint)
    return [new for line in inner if (new := _exchanged(line, exchanges)) is not None]


def _mentioned(line: s.Line) -> set[str]:
    if isinstance(line, s.Ode):
        return {line.state} | s.names_in(line.rate)
    if isinstance(line, s.Definition):
        return {line.name} | s.names_in(line.expression)
    assert isinstance(line, s.Declaration), "the grammar has nothing else in `equations`"
    return {line.name}


def _exchanged(line: s.Line, names: Mapping[str, s.Expression]) -> s.Line | None:
    """Return a line with names exchanged; None for the declaration of what an expression stands for now."""
    if isinstance(line, s.Ode):
        state = _renamed(line.state, names, line)
        return replace(line, state=state, rate=s.exchange_names(line.rate, names))
    if isinstance(line, s.Definition):
        name = _renamed(line.name, names, line)
        return replace(line, name=name, expression=s.exchange_names(line.expression, names))
    assert isinstance(line, s.Declaration)
    new = names.get(line.name)
    if new is not None and not isinstance(new, s.Name):
        return None
    return replace(line, name=line.name if new is None else new.text)


def _renamed(name: str, names: Mapping[str, s.Expression], line: s.Ode | s.Definition) -> str:
    new = names.get(name, s.Name(line.span, name))
    if not isinstance(new, s.Name):
        raise EqsError(
            new.span,
            f"`{name}` has an equation, so only another name can take its place",
            f"write `with {name} = other_name`",
        )
    return new.text


def check_functions(
    functions: tuple[s.Function, ...], errors: list[EqsError]
) -> dict[str, UserFunction]:
    """Return the functions of a file; each may call those above it."""
    found: dict[str, UserFunction] = {}
    for function in functions:
        try:
            if function.name in found:
                message = f"function `{function.name}` is defined twice"
                raise EqsError(function.span, message, "rename one of them")
            check_free(function.name, function.span, ())
            found[function.name] = _function(function, found)
        except EqsError as error:
            errors.append(error)
    return found


def _function(function: s.Function, before: Mapping[str, UserFunction]) -> UserFunction:
    arguments = {}
    for name, unit in function.arguments:
        check_free(name, unit.span, before)
        arguments[name] = checked_unit(unit).dimension
    names = Names(
        dict(arguments), why_no_draws="pass the random value as an argument", functions=dict(before)
    )
    dimension = checked_unit(function.unit).dimension
    value = value_of(function.expression, names, dimension, f"`{function.name}`")
    return UserFunction(tuple(arguments.items()), value, dimension)
