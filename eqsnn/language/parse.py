"""parse: text -> Syntax, and syntax errors that say what was expected."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from lark import (
    Lark,
    Token,
    Transformer,
    UnexpectedCharacters,
    UnexpectedInput,
    UnexpectedToken,
    v_args,
)
from lark.exceptions import VisitError
from lark.indenter import DedentError, Indenter
from lark.tree import Meta

from eqsnn.errors import EqsError, ModelError, Span
from eqsnn.language import syntax as s
from eqsnn.language.syntax_errors import (
    Found,
    indentation_error,
    refuse_what_is_no_model,
    syntax_error,
)

GRAMMAR = Path(__file__).with_name("grammar.lark")
HYPHENATED = {"event driven": "event-driven", "clock driven": "clock-driven"}


class _Indentation(Indenter):
    """Blocks by indentation; a line that ends in a comma goes on."""

    NL_type = "_NL"  # pyright: ignore[reportAssignmentType]
    OPEN_PAREN_types = ["LPAR", "LSQB"]  # noqa: RUF012  # pyright: ignore[reportAssignmentType]
    CLOSE_PAREN_types = ["RPAR", "RSQB"]  # noqa: RUF012  # pyright: ignore[reportAssignmentType]
    INDENT_type = "_INDENT"  # pyright: ignore[reportAssignmentType]
    DEDENT_type = "_DEDENT"  # pyright: ignore[reportAssignmentType]
    tab_len = 8  # pyright: ignore[reportAssignmentType]

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        """Drop line ends after a comma, then mark indentation."""
        return super().process(self._without_continuations(stream))

    @staticmethod
    def _without_continuations(stream: Iterator[Token]) -> Iterator[Token]:
        previous = ""
        for token in stream:
            if not (token.type == "_NL" and previous == "COMMA"):
                yield token
            previous = token.type


@cache
def _parser() -> Lark:
    return Lark(
        GRAMMAR.read_text(encoding="utf-8"),
        parser="lalr",
        postlex=_Indentation(),
        propagate_positions=True,
        maybe_placeholders=True,
    )


def read_model_text(path: str | Path) -> str:
    """Return the text of a model file. Raises ModelError if there is none, or it is not text."""
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read ({error.strerror}); give the path of an .eqs file"
        ) from error
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8"
        ) from error
    return text


def parse(text: str, path: str = "<model>") -> s.Syntax:
    """Return the Syntax of a model file. Raises EqsError at the first place that does not follow the grammar."""
    text = text.removeprefix("\ufeff")  # a byte order mark
    lines = text.splitlines() or [""]
    refuse_what_is_no_model(text, path, lines)
    # every line ends, and text at the top level closes the last block
    try:
        tree = _parser().parse(text.replace("\r\n", "\n") + "\n")
    except UnexpectedInput as error:
        raise syntax_error(_found(error), path, lines) from None
    except DedentError:
        raise indentation_error(path, lines) from None
    except AssertionError:  # lark's Indenter asserts that parentheses balance
        span = Span(path, len(lines), len(lines[-1]) + 1, 1, lines[-1])
        raise EqsError(
            span, "a closing parenthesis or bracket has no partner", "remove it, or open it first"
        ) from None
    try:
        return _Build(path, text, lines).transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, RecursionError):
            raise _too_deep(path, lines) from None
        raise error.orig_exc from None
    except RecursionError:
        raise _too_deep(path, lines) from None


def _too_deep(path: str, lines: list[str]) -> EqsError:
    """The expression is most likely in the longest line."""
    number = max(range(len(lines)), key=lambda n: len(lines[n]))
    span = Span(path, number + 1, 1, 1, lines[number])
    return EqsError(
        span, "an expression is too long or too deeply nested", "split it into subexpressions"
    )


def _found(error: UnexpectedInput) -> Found:
    """What the parser stumbled over, without lark's words for it."""
    if isinstance(error, UnexpectedCharacters):
        return Found(error.char, "", error.line, error.column, frozenset(error.allowed or ()))
    assert isinstance(error, UnexpectedToken)
    token = error.token
    kind = token.type if token.line else "$END"
    expected = frozenset(error.accepts or error.expected)
    return Found(str(token), kind, token.line or 0, token.column or 0, expected)


def _split(children: list, *kinds: type) -> Iterator[tuple]:
    for kind in kinds:
        yield tuple(child for child in children if isinstance(child, kind))


@v_args(meta=True)
class _Build(Transformer):
    """One method for each grammar rule that leaves a node."""

    def __init__(self, path: str, text: str, lines: list[str]) -> None:
        super().__init__()
        self.path, self.text, self.lines = path, text, lines

    def span(self, meta: Meta | Token) -> Span:
        """Return the place of a node, cut at the end of its first line."""
        assert meta.line and meta.column and meta.end_column, "the grammar propagates positions"
        text = self.lines[meta.line - 1]
        end = (
            meta.end_column
            if meta.end_line == meta.line
            else len(text.split("#", 1)[0].rstrip()) + 1
        )
        return Span(self.path, meta.line, meta.column, max(1, end - meta.column), text)

    def start(self, meta: Meta, children: list) -> s.Syntax:
        parts = _split(children, s.Block, s.NetworkBlock, s.Function, s.Include)
        return s.Syntax(self.path, self.text, *parts)

    def _block(self, kind: str, children: list) -> s.Block:
        return s.Block(self.span(children[0]), kind, str(children[0]), tuple(children[1:]))

    def neuron(self, meta: Meta, children: list) -> s.Block:
        return self._block("neuron", children)

    def synapse(self, meta: Meta, children: list) -> s.Block:
        return self._block("synapse", children)

    def equations(self, meta: Meta, children: list) -> s.Block:
        return self._block("equations", children)

    def function(self, meta: Meta, children: list) -> s.Function:
        name, *arguments, expression, unit = children
        given = tuple(argument for argument in arguments if argument is not None)
        return s.Function(self.span(name), str(name), given, expression, unit)

    def argument(self, meta: Meta, children: list) -> tuple[str, s.UnitText]:
        return str(children[0]), children[1]

    def include(self, meta: Meta, children: list) -> s.Include:
        return s.Include(self.span(children[1]), str(children[1])[1:-1])

    def use(self, meta: Meta, children: list) -> s.Use:
        _, name, *exchanges = children
        return s.Use(self.span(name), str(name), tuple(e for e in exchanges if e is not None))

    def exchange(self, meta: Meta, children: list) -> tuple[str, s.Expression]:
        return str(children[0]), children[1]

    def event(self, meta: Meta, children: list) -> s.Event:
        return s.Event(self.span(children[1]), str(children[1]), children[2])

    def network(self, meta: Meta, children: list) -> s.NetworkBlock:
        return s.NetworkBlock(self.span(children[0]), tuple(children[1:]))

    def ode(self, meta: Meta, children: list) -> s.Ode:
        head, rate, unit, flags = children
        state = re.match(r"d(\w+?)\s*/", head)
        assert state is not None
        return s.Ode(self.span(head), state.group(1), rate, unit, flags or ())

    def definition(self, meta: Meta, children: list) -> s.Definition:
        name, expression, unit, flags = children
        return s.Definition(self.span(name), str(name), expression, unit, flags or ())

    def declaration(self, meta: Meta, children: list) -> s.Declaration:
        name, unit, *rest = children
        flags = tuple(flag for group in rest if isinstance(group, tuple) for flag in group)
        value = next((child for child in rest if isinstance(child, s.Given)), None)
        return s.Declaration(self.span(name), str(name), unit, flags, value)

    def known(self, meta: Meta, children: list) -> s.Given:
        return s.Given(self.span(meta), children[-1], learned=False)

    def unknown(self, meta: Meta, children: list) -> s.Given:
        call, bounds = children
        return s.Given(self.span(meta), call, learned=True, bounds=bounds)

    def distribution(self, meta: Meta, children: list) -> s.Call:
        return self.call(meta, children)

    def bounds(self, meta: Meta, children: list) -> tuple:
        return tuple(children)

    def flags(self, meta: Meta, children: list) -> tuple:
        return tuple(children)

    def flag(self, meta: Meta, children: list) -> s.Flag:
        text = " ".join(child for child in children if child is not None)
        return s.Flag(self.span(meta), HYPHENATED.get(text, text))

    def _setting(self, children: list) -> s.Setting:
        return s.Setting(self.span(children[0]), str(children[0]), children[1])

    def threshold(self, meta: Meta, children: list) -> s.Setting:
        return self._setting(children)

    def refractory(self, meta: Meta, children: list) -> s.Setting:
        return self._setting(children)

    def method(self, meta: Meta, children: list) -> s.Setting:
        keyword, name = children
        return s.Setting(self.span(keyword), str(keyword), s.Name(self.span(name), str(name)))

    def _statements(self, children: list) -> s.Statements:
        (assignments,) = _split(children, s.Assignment)
        return s.Statements(self.span(children[0]), str(children[0]), assignments)

    def reset(self, meta: Meta, children: list) -> s.Statements:
        return self._statements(children)

    def update(self, meta: Meta, children: list) -> s.Statements:
        return self._statements(children)

    def initial(self, meta: Meta, children: list) -> s.Statements:
        return self._statements(children)

    def background(self, meta: Meta, children: list) -> s.Statements:
        return self._statements(children)

    def on_event(self, meta: Meta, children: list) -> s.Statements:
        keyword, event, *rest = children
        return replace(self._statements([keyword, *rest]), event=str(event))

    def every(self, meta: Meta, children: list) -> s.Statements:
        keyword, period, *rest = children
        each_step = isinstance(period, s.Name) and period.text == "step"
        return replace(self._statements([keyword, *rest]), period=None if each_step else period)

    def _pathway(self, children: list) -> s.Statements:
        keyword, name, event, *rest = children
        return replace(
            self._statements([keyword, *rest]), name=str(name or ""), event=str(event or "")
        )

    def on_pre(self, meta: Meta, children: list) -> s.Statements:
        return self._pathway(children)

    def on_post(self, meta: Meta, children: list) -> s.Statements:
        return self._pathway(children)

    def statement(self, meta: Meta, children: list) -> s.Assignment:
        target, operator, expression = children
        return s.Assignment(self.span(target), str(target), str(operator), expression)

    def timestep(self, meta: Meta, children: list) -> s.TimeStep:
        return s.TimeStep(self.span(children[0]), str(children[0]), children[-1])

    def values(self, meta: Meta, children: list) -> s.ValuesLine:
        _, file = children
        return s.ValuesLine(self.span(file), str(file)[1:-1])

    def population(self, meta: Meta, children: list) -> s.PopulationLine:
        name, neuron, size, overrides = children
        if size is not None and not re.fullmatch(r"[1-9]\d*", size):
            raise EqsError(
                self.span(size),
                f"`{size}` is not a number of neurons",
                "write a whole number from 1 on",
            )
        if size is not None and len(size) > 9:
            raise EqsError(
                self.span(size), f"{size} neurons are too many", "write at most 999999999"
            )
        count = None if size is None else int(size)
        return s.PopulationLine(
            self.span(name), str(name), str(neuron), count, overrides[1] if overrides else ()
        )

    def projection(self, meta: Meta, children: list) -> s.ProjectionLine:
        pre, post, synapse, *clauses = children
        span = self.span(pre)
        found: dict[str, Any] = {}
        delays: dict[str, s.Expression] = {}
        for keyword, value in clauses:
            if keyword in found or (keyword == "delay" and value[0] in delays):
                word = {"condition": "if", "overrides": "with", "targets": "to"}.get(
                    keyword, keyword
                )
                place = (
                    value[0].span
                    if keyword == "overrides"
                    else value.span
                    if keyword != "delay"
                    else value[1].span
                )
                raise EqsError(place, f"`{word}` is given twice", "keep one")
            if keyword == "delay":
                delays |= dict([value])
            else:
                found[keyword] = value
        if delays:
            found["delays"] = tuple(delays.items())
        return s.ProjectionLine(span, str(pre), str(post), str(synapse), **found)

    def overrides(self, meta: Meta, children: list) -> tuple[str, tuple[s.Override, ...]]:
        return "overrides", tuple(children)

    def override(self, meta: Meta, children: list) -> s.Override:
        return s.Override(self.span(children[0]), str(children[0]), children[1])

    def condition(self, meta: Meta, children: list) -> tuple[str, s.Expression]:
        return "condition", children[0]

    def probability(self, meta: Meta, children: list) -> tuple[str, s.Expression]:
        return "probability", children[0]

    def delay(self, meta: Meta, children: list) -> tuple[str, tuple[str, s.Expression]]:
        pathway, expression = children
        return "delay", (str(pathway or ""), expression)

    def targets(self, meta: Meta, children: list) -> tuple[str, s.Targets]:
        expression, iterator, *values = children
        return "targets", s.Targets(self.span(meta), expression, str(iterator or ""), *values)

    def pairs(self, meta: Meta, children: list) -> tuple[str, s.File]:
        return "pairs", s.File(self.span(children[0]), str(children[0])[1:-1])

    def link(self, meta: Meta, children: list) -> s.Link:
        _, population, variable, source, read, *index = children
        place = self.span(population)
        return s.Link(place, str(population), str(variable), str(source), str(read), *index)

    def unit(self, meta: Meta, children: list) -> s.UnitText:
        return s.UnitText(self.span(meta), "".join(map(str, children)))

    def unit_factor(self, meta: Meta, children: list) -> str:
        base, exponent = children
        text = f"({base.text})" if isinstance(base, s.UnitText) else str(base)
        return text if exponent is None else f"{text}**{exponent}"

    def unit_exponent(self, meta: Meta, children: list) -> str:
        parts = [str(child) for child in children if child is not None]
        minus = "-" if parts[0] == "-" else ""
        numbers = [part for part in parts if part not in "-/"]
        return minus + numbers[0] if len(numbers) == 1 else f"({minus}{'/'.join(numbers)})"

    def _chain(self, meta: Meta, children: list) -> s.Expression:
        left = children[0]
        for operator, right in zip(children[1::2], children[2::2], strict=True):
            left = s.Binary(self._across(left, right), str(operator), left, right)
        return left

    def _across(self, left: s.Expression, right: s.Expression) -> Span:
        a, b = left.span, right.span
        width = b.column + b.width - a.column if a.line == b.line else a.width
        return Span(self.path, a.line, a.column, max(1, width), a.text)

    def disjunction(self, meta: Meta, children: list) -> s.Expression:
        return self._chain(meta, children)

    def conjunction(self, meta: Meta, children: list) -> s.Expression:
        return self._chain(meta, children)

    def sum(self, meta: Meta, children: list) -> s.Expression:
        return self._chain(meta, children)

    def product(self, meta: Meta, children: list) -> s.Expression:
        return self._chain(meta, children)

    def comparison(self, meta: Meta, children: list) -> s.Expression:
        if len(children) > 3:
            span = self.span(children[3])
            raise EqsError(span, "comparisons cannot be chained", "write `a < b and b < c`")
        return self._chain(meta, children)

    def power(self, meta: Meta, children: list) -> s.Expression:
        if children[1] is None:
            return children[0]
        return self._chain(meta, children)

    def negation(self, meta: Meta, children: list) -> s.Expression:
        return s.Unary(self.span(meta), "not", children[-1])

    def unary(self, meta: Meta, children: list) -> s.Expression:
        return s.Unary(self.span(meta), str(children[0]), children[1])

    def name(self, meta: Meta, children: list) -> s.Name:
        return s.Name(self.span(children[0]), str(children[0]))

    def number(self, meta: Meta, children: list) -> s.Number:
        return s.Number(self.span(children[0]), str(children[0]))

    def call(self, meta: Meta, children: list) -> s.Call:
        function, *arguments = children
        return s.Call(self.span(meta), str(function), tuple(a for a in arguments if a is not None))

    def group(self, meta: Meta, children: list) -> s.Expression:
        return replace(children[0], span=self.span(meta))


Parse = Callable[[str, str], s.Syntax]
