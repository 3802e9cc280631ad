"""What the parser could not read, as an error that says what was found, where, and what was expected."""

from collections.abc import Sequence
from dataclasses import dataclass

from eqsnn.errors import EqsError, ModelError, Span
from eqsnn.language.slips import code_of, slip_at

DEEPEST = 100  # nested parentheses
LONGEST = 200_000  # characters
LONGEST_LINE = 5_000  # characters: a line is shown whole where it is at fault

IN_WORDS = {
    "COLON": "`:`",
    "EQUAL": "`=`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "LSQB": "`[`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "TILDE": "`~`",
    "SEMICOLON": "`;`",
    "DOT": "`.`",
    "INCREASE": "`+=`",
    "_NL": "the end of the line",
    "NAME": "a name",
    "CALL": "a function",
    "NUMBER": "a number",
    "ODE": "`d.../dt`",
    "FILE": 'a file name in quotes ("...")',
    "_INDENT": "an indented block",
    "__ANON_0": "`->`",
    "$END": "the end of the file",
}
OPERATORS = frozenset(
    ("PLUS", "MINUS", "STAR", "SLASH", "POWER", "FLOORDIV", "PERCENT", "COMPARE", "AND", "OR")
)
VALUE = frozenset(("NAME", "NUMBER", "CALL", "LPAR"))


@dataclass(frozen=True, slots=True)
class Found:
    """What stands where the grammar allows something else: a token of a kind, or a character that begins none."""

    text: str
    kind: str
    line: int
    column: int
    expected: frozenset[str]


def refuse_what_is_no_model(text: str, path: str, lines: Sequence[str]) -> None:
    """Raise for what is wrong before any grammar: no text, too much text, tabs, parentheses without partners."""
    if not text.strip():
        raise ModelError(f"{path}: the file is empty; write at least one `neuron NAME:` block")
    if len(text) > LONGEST:
        raise ModelError(
            f"{path}: {len(text)} characters is too long for a model file (at most {LONGEST})"
        )
    opened: list[Span] = []
    for number, line in enumerate(lines, start=1):
        if len(line) > LONGEST_LINE:
            span = Span(path, number, LONGEST_LINE + 1, 1, line[: LONGEST_LINE + 1])
            message = f"a line of {len(line)} characters (at most {LONGEST_LINE})"
            raise EqsError(span, message, "split it into subexpressions on lines of their own")
        _refuse_tabs(path, number, line)
        _match_parentheses(path, number, line, opened)
    if opened:
        span = opened[0]
        raise EqsError(
            span, f"`{span.text[span.column - 1]}` is never closed", "close it on the same line"
        )


def _refuse_tabs(path: str, number: int, line: str) -> None:
    code = line.split("#", 1)[0]
    indentation = code[: len(code) - len(code.lstrip())]
    if "\t" in indentation and code.strip():
        span = Span(path, number, 1, len(indentation), line)
        raise EqsError(span, "a tab in the indentation", "indent with spaces only")


def _match_parentheses(path: str, number: int, line: str, opened: list[Span]) -> None:
    code = line.split("#", 1)[0]
    if opened and code[:1].isalpha() and code.split()[0] in ("neuron", "synapse", "network:"):
        span = opened[0]
        raise EqsError(
            span, f"`{span.text[span.column - 1]}` is never closed", "close it on the same line"
        )
    quoted = False
    for column, character in enumerate(code, start=1):
        quoted ^= character == '"'
        if quoted or character not in "()[]":
            continue
        span = Span(path, number, column, 1, line)
        if character in "([":
            opened.append(span)
            if len(opened) > DEEPEST:
                message = f"more than {DEEPEST} nested parentheses"
                raise EqsError(span, message, "split it into subexpressions")
            continue
        if not opened:
            raise EqsError(span, f"`{character}` closes nothing", "remove it, or open it first")
        partner = opened.pop()
        wanted = {"(": ")", "[": "]"}[partner.text[partner.column - 1]]
        if character != wanted:
            message = f"`{character}` closes `{partner.text[partner.column - 1]}`"
            raise EqsError(span, message, f"write `{wanted}` here")


def syntax_error(found: Found, path: str, lines: Sequence[str]) -> EqsError:
    """Return the error of a place that does not follow the grammar."""
    if found.kind == "_INDENT":
        span = span_at(path, lines, found.line + 1, 1, 1)
        return EqsError(
            span, "this line is indented more than its block", "give lines of one block one indentation"
        )  # fmt: skip
    if found.kind in ("$END", "_DEDENT"):
        return _ends_too_early(path, lines, found)
    if found.kind == "_NL":
        code = code_of(lines, found.line)
        goes_on = code_of(lines, found.line + 1).strip()[:1] in tuple("+-*/%)<>")
        if code[-1:] in tuple("+-*/%<>=") or goes_on:
            span = span_at(path, lines, found.line, len(code) + 1, 1)
            advice = "put the whole expression into parentheses; then it may take several lines"
            return EqsError(span, "the line ends inside an expression", advice)
        told = slip_at(lines, found.line, len(code) + 1)
        if told is None:
            span = span_at(path, lines, found.line, len(code) + 1, 1)
            return EqsError(span, "the line ends too early", _expected(found.expected))
    elif _wants_an_indented_block(found):
        return _nothing_below(path, lines, found)
    else:
        told = slip_at(lines, found.line, found.column)
    if told is not None:
        span = span_at(path, lines, found.line, told.column, told.width)
        return EqsError(span, told.message, told.hint)
    span = span_at(path, lines, found.line, found.column, len(found.text.strip()))
    return EqsError(span, f"unexpected {_quoted(found)}", _hint(found, span))


def _quoted(found: Found) -> str:
    shown = found.text if found.text.isprintable() else repr(found.text)[1:-1]
    return f"character `{shown}`" if found.kind == "" else f"`{shown}`"


def _ends_too_early(path: str, lines: Sequence[str], found: Found) -> EqsError:
    """The last block or list has no lines."""
    last = max(n for n in range(1, len(lines) + 1) if code_of(lines, n).strip())
    span = span_at(path, lines, last, len(code_of(lines, last)) + 1, 1)
    if code_of(lines, last).endswith(":"):
        return EqsError(span, "nothing stands below this line", "write its lines below, indented")
    return EqsError(span, "the file ends too early", _expected(found.expected))


def _wants_an_indented_block(found: Found) -> bool:
    return "_INDENT" in found.expected and found.kind != "_NL"


def _nothing_below(path: str, lines: Sequence[str], found: Found) -> EqsError:
    span = span_at(path, lines, found.line, found.column, len(found.text.strip()))
    above = next(n for n in range(found.line - 1, 0, -1) if code_of(lines, n).strip())
    head = code_of(lines, above).strip()
    return EqsError(span, f"`{head}` has no lines below it", "indent its lines by four spaces")


def _hint(found: Found, span: Span) -> str:
    if found.kind == "":
        return "remove it"
    if found.kind == "EQUAL" and "COMPARE" in found.expected:
        return "compare with `==`; a value is assigned by the name at the start of the line"
    if found.kind in ("NAME", "NUMBER", "CALL") and found.expected & OPERATORS:
        return "an operator is missing between the two values; write `*` for a product"
    if "NEURON" in found.expected:
        return "a file consists of `neuron NAME:`, `synapse NAME:` and one `network:` block"
    return _expected(found.expected)


def _expected(types: frozenset[str]) -> str:
    """Say what may stand at a place, short enough to be read."""
    rest = set(types)
    named: list[str] = []
    if rest >= VALUE and not rest & (OPERATORS - {"PLUS", "MINUS"}):
        named.append("a value")
        rest -= VALUE | {"PLUS", "MINUS", "NOT"}
    if rest & (OPERATORS - {"PLUS", "MINUS"}):
        # behind a value the parser also lists what may follow in other places
        named.append("an operator")
        rest = {t for t in rest - OPERATORS if t in ("COLON", "_NL")}
    named += sorted({IN_WORDS.get(t, f"`{t.lower()}`") for t in rest - {"_NL", "_DEDENT"}})
    if "_NL" in rest:
        named.append(IN_WORDS["_NL"])
    if not named:
        return "expected the end of the file"
    several = ", ".join(named[:-1]) + " or " if len(named) > 1 else ""
    return f"expected {several}{named[-1]}"


def span_at(path: str, lines: Sequence[str], line: int, column: int, width: int) -> Span:
    """Return a place that lies within the file, whatever the numbers."""
    line = min(max(line, 1), len(lines))
    text = lines[line - 1]
    return Span(path, line, max(1, min(column, len(text) + 1)), max(1, width), text)


def indentation_error(path: str, lines: Sequence[str]) -> EqsError:
    """Return the error of the first line whose indentation fits no block above."""
    levels = [0]
    for number, line in enumerate(lines, start=1):
        code = line.split("#", 1)[0]
        if not code.strip():
            continue
        indent = len(code) - len(code.lstrip())
        if indent > levels[-1]:
            levels.append(indent)
        while indent < levels[-1]:
            levels.pop()
        if indent != levels[-1]:
            span = Span(path, number, 1, max(1, indent), line)
            return EqsError(
                span, "this indentation matches no block above", "align the line with its block"
            )
    return EqsError(
        Span(path, 1, 1, 1, lines[0]), "inconsistent indentation", "indent with spaces only"
    )
