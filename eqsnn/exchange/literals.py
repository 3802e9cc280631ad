"""Values and units as text: exact numbers with the SI prefix that people would write."""

import math
from collections.abc import Iterator
from decimal import Decimal
from functools import cache

from eqsnn.errors import InputError
from eqsnn.language.units import (
    DIMENSIONLESS,
    Dimension,
    describe,
    divide,
    multiply,
    parse_unit,
    raise_to,
)

# units whose values are written with a prefix: the name of each and its power of ten, the largest first
PREFIXED = {
    "volt": (("volt", 0), ("mV", -3), ("uV", -6)),
    "second": (("second", 0), ("ms", -3), ("us", -6)),
    "amp": (("amp", 0), ("mA", -3), ("uA", -6), ("nA", -9), ("pA", -12)),
    "siemens": (("siemens", 0), ("mS", -3), ("uS", -6), ("nS", -9), ("pS", -12)),
    "farad": (("farad", 0), ("mF", -3), ("uF", -6), ("nF", -9), ("pF", -12)),
    "hertz": (("kHz", 3), ("Hz", 0)),
    "ohm": (("Gohm", 9), ("Mohm", 6), ("kohm", 3), ("ohm", 0)),
    "metre": (("metre", 0), ("mm", -3), ("um", -6)),
}
LARGEST = {
    "volt": "mV",
    "second": "ms",
}  # what a cell's values are written in even from 1 V or 1 s on
SMALLEST = {
    "second": Decimal("0.01")
}  # of a unit, before the next prefix is taken: a step is 0.1 ms
# SI units that are one unit in both languages; `mmolar` is one mole/metre**3
NAMES = (
    *("volt", "second", "amp", "siemens", "farad", "hertz", "ohm", "metre", "kelvin", "mole"),
    *("mmolar", "coulomb", "joule", "watt", "newton", "pascal"),
)
BASES = ("kgram", "metre", "second", "amp", "kelvin", "mole", "candela")


def unit_text(dimension: Dimension) -> str:
    """Return the SI unit of a dimension as both languages write it: `volt`, `siemens/metre**2`, `1`."""
    if dimension == DIMENSIONLESS:
        return "1"
    return _known().get(dimension) or _product(dimension)


@cache
def _known() -> dict[Dimension, str]:
    found: dict[Dimension, str] = {}
    for text in _candidates():
        found.setdefault(parse_unit(text).dimension, text)
    return found


def _candidates() -> Iterator[str]:
    yield from NAMES
    for below in ("second", "metre**2", "volt", "metre", "metre**3", "second**2", "kelvin"):
        yield from (f"{above}/{below}" for above in NAMES if above != below)
    yield from (f"1/{name}" for name in (*NAMES, "metre**2", "metre**3", "volt**2"))
    yield from (f"{name}**2" for name in NAMES)
    yield from (f"{first}*{second}" for first in NAMES for second in NAMES if first != second)


def _product(dimension: Dimension) -> str:
    root = raise_to(parse_unit("second").dimension, -parse_unit("second").dimension[2] / 2)
    for scaled, factor in (
        (divide(dimension, root), "second**(-1/2)"),
        (multiply(dimension, root), "second**(1/2)"),
    ):
        if scaled in _known() and scaled != DIMENSIONLESS:
            return f"{_known()[scaled]}*{factor}"
    if dimension[-1]:
        raise InputError(f"the unit {describe(dimension)} has no name in the language; use others")
    parts = [
        name if power == 1 else f"{name}**({power})"
        for name, power in zip(BASES, dimension, strict=True)
        if power
    ]
    return "*".join(parts)


def number_text(value: float) -> str:
    """Return a number that reads back as the same double, whole ones without a point."""
    value = float(value)
    if not math.isfinite(value):
        raise InputError(f"the value {value} cannot be imported; give finite numbers")
    return _decimal_text(Decimal(repr(value)))


def quantity_text(value: float, dimension: Dimension) -> str:
    """Return an SI value as it would be typed: `-70*mV`, `0.5`, `3*siemens/metre**2`; it reads back to the last digit.

    The prefix moves the decimal point of the shortest text of the double, or the number is one whose product with the
    prefix is that double. Raises InputError for
    infinity and NaN.
    """
    if dimension == DIMENSIONLESS:
        return number_text(value)
    number_text(value)  # refuses what is not finite
    number, unit = Decimal(repr(float(value))), unit_text(dimension)
    prefixes = PREFIXED.get(unit, ((unit, 0),))
    first = next((n for n, (name, _) in enumerate(prefixes) if name == LARGEST.get(unit)), 0)
    size = abs(number)
    chosen, power = next(
        (
            (name, power)
            for name, power in prefixes[first:]
            if size >= SMALLEST.get(unit, Decimal(1)).scaleb(power)
        ),
        prefixes[-1] if number else prefixes[first],
    )
    return f"{_decimal_text(_typed(float(value), number, power))}*{chosen}"


def _typed(value: float, number: Decimal, power: int) -> Decimal:
    """Return the number before the prefix that gives this double: 9 for 9*ms, whose double is 0.009000000000000001."""
    exact = number.scaleb(-power)
    short = Decimal(f"{exact:.15g}")
    return short if float(short) * float(f"1e{power}") == value else exact


def _decimal_text(number: Decimal) -> str:
    plain = format(number.normalize(), "f") if number else "0"
    return plain if len(plain) <= 24 else format(number.normalize(), "e")
