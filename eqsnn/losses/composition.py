"""A loss as a value: a weighted sum of terms, from and to one line of text.

loss  = part { "+" part }              van_rossum(tau=2ms,12ms,100ms) + 0.1*rate + 0.5*psth(bin=20ms)
part  = [ NUMBER "*" ] NAME [ "(" [ argument { "," argument } ] ")" ]
argument = NAME "=" time { "," time }
time  = NUMBER ("s" | "ms" | "us")
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any

from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.losses.bins import steps_of
from eqsnn.losses.terms import TERMS, Crosscorrelogram, Rate, Sample, Term, name_of, times_of

UNITS = {"s": Decimal(1), "ms": Decimal("1e-3"), "us": Decimal("1e-6")}
LONGEST = 2000  # characters
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>.))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Loss:
    """A weighted sum of terms; weights have the unit that makes the terms comparable. `str` gives its text."""

    parts: tuple[tuple[float, Term], ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise InputError("a loss without terms; at least one is expected")
        for weight, term in self.parts:
            if not (weight > 0 and math.isfinite(weight)):
                raise InputError(
                    f"{name_of(term)} has weight {weight:g}; a number above 0 is expected"
                )

    @staticmethod
    def of(*terms: Term) -> "Loss":
        """Return the sum of these terms, each with weight 1."""
        return Loss(tuple((1.0, term) for term in terms))

    def __add__(self, other: "Loss") -> "Loss":
        return Loss(self.parts + other.parts)

    def __rmul__(self, factor: float) -> "Loss":
        return Loss(tuple((factor * weight, term) for weight, term in self.parts))

    def __call__(self, sample: Sample) -> Tensor:
        """Return the value for each restart: (restart,)."""
        values = [weight * term(sample) for weight, term in self.parts]
        return sum(values[1:], values[0])

    def __str__(self) -> str:
        return " + ".join(_text_of(weight, term) for weight, term in self.parts)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms without their weights."""
        return tuple(term for _, term in self.parts)

    @property
    def of_rates_only(self) -> bool:
        """Whether the number of spikes is all that matters."""
        return all(isinstance(term, Rate) for term in self.terms)

    def check(self, dt: float, *, seconds: float = math.inf, neurons: int = 2) -> None:
        """Raise InputError for what steps of dt seconds, runs of `seconds` or so many neurons cannot show."""
        for term in self.terms:
            name, times = name_of(term), times_of(term)
            for width in times.get("bin", ()):
                steps_of(width, dt, f"{name}: bin")
            for tau in times.get("tau", ()):
                if tau < dt:
                    raise InputError(
                        f"{name}: tau = {tau:g} s is shorter than one step of {dt:g} s; simulate on a finer grid or "
                        "raise tau"
                    )
            for lag in times.get("lag", ()):
                if lag >= seconds:
                    raise InputError(
                        f"{name}: lag = {lag:g} s does not fit into runs of {seconds:g} s; lower it, or give longer "
                        "trials or windows"
                    )
            if isinstance(term, Crosscorrelogram) and neurons < 2:
                raise InputError(f"{name}: {neurons} neuron; at least 2 are expected")


def _text_of(weight: float, term: Term) -> str:
    arguments = ", ".join(
        f"{name}={','.join(map(_time_text, times))}" for name, times in times_of(term).items()
    )
    return (
        (f"{weight!r}*" if weight != 1 else "") + name_of(term) + f"({arguments})" * bool(arguments)
    )


def _time_text(seconds: float) -> str:
    # in decimals, so that the text is exactly the number
    return f"{(Decimal(repr(seconds)) * 1000).normalize():f}ms"


def parse_loss(text: str, *, tau: float | None = None) -> Loss:
    """Return the loss that one line of text describes; `tau` (seconds) is that of terms that name none.

    Raises InputError with the line, a caret, what was found and what was expected.
    """
    return _Parser(text, tau).loss()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, name, sign or end
    text: str
    column: int  # from 0


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text.rstrip()):
        kind = match.lastgroup or "sign"
        yield _Token(kind, match[kind], match.start(kind))
    yield _Token("end", "", len(text.rstrip()))


class _Parser:
    """Recursive descent, one method for each rule of the grammar above."""

    def __init__(self, text: str, tau: float | None) -> None:
        if len(text) > LONGEST or not text.isprintable():
            raise InputError("a loss is one line of text; see docs/losses.md")
        self.text, self.tau = text, tau
        self.tokens = list(_tokens(text))
        self.place = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def fail(self, expected: str, token: _Token | None = None, found: str = "") -> InputError:
        """Return the error at a token: what was found there, what was expected."""
        token = token or self.token
        found = found or (f"`{token.text}`" if token.text else "the end")
        return InputError(
            f"loss, column {token.column + 1}: found {found}; expected {expected}\n"
            f"  {self.text}\n  {' ' * token.column}{'^' * max(1, len(token.text))}"
        )

    def take(self, expected: str, kind: str, text: str | None = None) -> _Token:
        """Return the next token and go on, or fail."""
        token = self.token
        if token.kind != kind or (text is not None and token.text != text):
            raise self.fail(expected)
        self.place += 1
        return token

    def follows(self, *texts: str) -> bool:
        """Return whether the next tokens are these signs, or `name`."""
        ahead = self.tokens[self.place : self.place + len(texts)]
        return len(ahead) == len(texts) and all(
            token.text == text or (text == "name" and token.kind == "name")
            for token, text in zip(ahead, texts, strict=True)
        )

    def loss(self) -> Loss:
        parts = [self.part()]
        while self.follows("+"):
            self.place += 1
            parts.append(self.part())
        if self.token.kind != "end":
            raise self.fail("`+` and a further term, or the end")
        return Loss(tuple(parts))

    def part(self) -> tuple[float, Term]:
        weight = 1.0
        if self.token.kind == "number":
            token = self.take("a weight", "number")
            weight = float(token.text)
            if not (weight > 0 and math.isfinite(weight)):
                raise self.fail("a weight above 0", token)
            self.take("`*` between a weight and its term", "sign", "*")
        name = self.token
        if name.kind != "name" or name.text not in TERMS:
            raise self.fail(f"one of {', '.join(TERMS)}")
        self.place += 1
        times = self.arguments(name.text) if self.follows("(") else {}
        known = {field.name for field in fields(TERMS[name.text])}
        if self.tau is not None and "tau" in known:
            times = {"tau": (self.tau,)} | times
        make: Any = TERMS[name.text]
        try:
            return weight, make(**{n: t if n == "tau" else t[0] for n, t in times.items()})
        except InputError as error:
            message, _, expected = str(error).partition("; ")
            raise self.fail(expected.removesuffix(" is expected"), name, message) from None

    def arguments(self, term: str) -> dict[str, tuple[float, ...]]:
        self.take("`(`", "sign", "(")
        known = [field.name for field in fields(TERMS[term])]
        times: dict[str, tuple[float, ...]] = {}
        while not self.follows(")"):
            if not known:
                raise self.fail(f"`)`: {term} takes no arguments")
            if times:
                self.take("`,` or `)`", "sign", ",")
            name = self.token
            if name.text not in known or name.text in times:
                left = [each for each in known if each not in times]
                raise self.fail(" or ".join(f"`{each}=`" for each in left) or "`)`")
            self.place += 1
            self.take(f"`=` after `{name.text}`", "sign", "=")
            times[name.text] = tuple(self.times(several=name.text == "tau"))
        self.take("`)`", "sign", ")")
        return times

    def times(self, *, several: bool) -> Iterator[float]:
        yield self.time()
        while several and self.follows(",") and not self.follows(",", "name", "="):
            self.place += 1
            yield self.time()

    def time(self) -> float:
        number = self.take("a time, as in 10ms", "number")
        if self.token.text not in UNITS:
            raise self.fail(f"a unit of time after {number.text}: {', '.join(UNITS)}")
        unit = self.take("a unit of time", "name")
        seconds = float(Decimal(number.text) * UNITS[unit.text])
        if not (seconds > 0 and math.isfinite(seconds)):
            raise self.fail("a time above 0", number)
        return seconds
