"""Errors that a user can act on: what was found, where, what was expected, what to do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one line of a model file; line and column count from 1, `text` is the whole line."""

    path: str
    line: int
    column: int
    width: int
    text: str


class ModelError(Exception):
    """A model file, or a model put together in Python, is at fault."""


class EqsError(ModelError):
    """A mistake at one place of a model file: `path:line:column: message`, the line, a caret and a hint."""

    def __init__(self, span: Span, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.span = span
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return located(self.span, self.message, self.hint)


def located(span: Span, message: str, hint: str) -> str:
    """Return a message with its place, the line and a caret."""
    number = f"{span.line:>4} | "
    lines = [
        f"{span.path}:{span.line}:{span.column}: {message}",
        number + span.text,
        " " * (len(number) - 2) + "| " + " " * (span.column - 1) + "^" * max(1, span.width),
    ]
    return "\n".join(lines + [f"hint: {hint}"] * bool(hint))


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What a model most likely does not mean; printed like an error, with the word `warning`."""

    span: Span
    message: str
    hint: str

    def __str__(self) -> str:
        return located(self.span, f"warning: {self.message}", self.hint)


class Consequence(EqsError):
    """A place that cannot be judged because of a mistake reported elsewhere; never shown beside it."""


class EqsErrors(ModelError):
    """Several mistakes of one model file, in the order of its lines."""

    def __init__(self, errors: tuple[EqsError, ...]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors

    def __str__(self) -> str:
        return "\n\n".join([*map(str, self.errors), f"{len(self.errors)} errors"])


class InputError(ValueError):
    """Data or an argument is at fault; the message says what was found, what was expected and what to do."""


def raise_all(errors: list[EqsError]) -> None:
    """Raise the collected mistakes, if there are any, in the order of the file."""
    if not errors:
        return
    causes = [error for error in errors if not isinstance(error, Consequence)] or errors
    unique = list({str(error): error for error in causes}.values())
    unique.sort(key=lambda error: (error.span.line, error.span.column))
    raise unique[0] if len(unique) == 1 else EqsErrors(tuple(unique))
