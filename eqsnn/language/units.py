"""Units: dimension and scale of `nS/ms`, by Pint, in the coherent system mV, ms, pA, nS, pF, um, mM.

In that system no equation of electrophysiology needs a conversion factor (pA = nS mV, pF mV/ms = pA), and values are
of order one, as an optimiser wants them. Only an explicit list of names are units, so that a variable may be called
g, s, h or N.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import pint

Dimension = tuple[Fraction, ...]  # exponents of kg, m, s, A, K, mol, cd

BASES = ("kilogram", "meter", "second", "ampere", "kelvin", "mole", "candela")
# how many coherent units make one SI base unit: mass and amount follow from mV and mM
COHERENT = (
    Fraction(10**12),
    Fraction(10**6),
    Fraction(10**3),
    Fraction(10**12),
    Fraction(1),
    Fraction(10**18),
    Fraction(1),
)
DIMENSIONLESS: Dimension = (Fraction(0),) * len(BASES)
BOOLEAN: Dimension = ()  # of a condition that has a name
TIME: Dimension = tuple(Fraction(base == "second") for base in BASES)

LONG_NAMES = (
    *("second", "metre", "meter", "amp", "ampere", "volt", "ohm", "siemens", "farad", "hertz"),
    *("gram", "gramme", "mole", "mol", "molar", "kelvin", "coulomb", "joule", "watt", "newton"),
    *("pascal", "henry", "weber", "tesla"),
)
LONG_PREFIXES = {
    "": 0,
    "f": -15,
    "p": -12,
    "n": -9,
    "u": -6,
    "m": -3,
    "c": -2,
    "k": 3,
    "M": 6,
    "G": 9,
}
SHORT_NAMES = {
    "second": ("ns", "us", "ms"),
    "volt": ("nV", "uV", "mV", "kV"),
    "ampere": ("fA", "pA", "nA", "uA", "mA"),
    "siemens": ("pS", "nS", "uS", "mS"),
    "farad": ("pF", "nF", "uF", "mF"),
    "hertz": ("Hz", "kHz", "MHz"),
    "molar": ("nM", "uM", "mM"),
    "meter": ("nm", "um", "mm", "cm"),
}
# Pint reads its own file of definitions in most of a second; these are the SI's
DEFINITIONS = (
    *("kilo- = 1000", "meter = [length] = _ = metre", "second = [time]", "ampere = [current]"),
    *("gram = [mass]", "mole = [substance] = mol", "kelvin = [temperature]", "hertz = 1/second"),
    *("newton = kilogram*meter/second**2", "pascal = newton/meter**2", "joule = newton*meter"),
    *(
        "watt = joule/second",
        "coulomb = ampere*second",
        "volt = joule/coulomb",
        "ohm = volt/ampere",
    ),
    *("siemens = ampere/volt", "farad = coulomb/volt", "weber = volt*second"),
    *("tesla = weber/meter**2", "henry = weber/ampere", "molar = 1000*mole/meter**3"),
)
AREAS = {"cm2": -2, "mm2": -3, "um2": -6}
VOLUMES = {"cm3": -2, "mm3": -3, "um3": -6}


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as written, its dimension, and how many coherent units it is worth."""

    name: str
    dimension: Dimension
    scale: float


# what people write for units that have another name here; single letters are left to variables
OTHERWISE = {
    "V": "volt", "s": "second", "A": "amp", "S": "siemens", "F": "farad", "m": "metre", "M": "molar", "K": "kelvin",
    "g": "gram", "sec": "second", "secs": "second", "msec": "ms", "usec": "us", "hz": "Hz", "mv": "mV", "Mohms": "Mohm",
    "C": "coulomb", "J": "joule", "W": "watt",
}  # fmt: skip
LETTERS = {
    "volt": "V",
    "second": "s",
    "amp": "A",
    "ampere": "A",
    "siemens": "S",
    "farad": "F",
    "hertz": "Hz",
    "molar": "M",
}
PREFIX_WORDS = {
    "milli": "m", "micro": "u", "nano": "n", "pico": "p", "femto": "f", "kilo": "k", "mega": "M", "giga": "G", "centi": "c",
}  # fmt: skip


def spelt_otherwise(name: str) -> str:
    """Return the unit that is meant by `V`, `seconds` or `millivolts`, or nothing."""
    if name in OTHERWISE:
        return OTHERWISE[name]
    word = name.lower()
    prefix = next((p for p in PREFIX_WORDS if word.startswith(p)), "")
    rest = word.removeprefix(prefix)
    for base in (rest, rest.removesuffix("s")):
        if base in LONG_NAMES and (base != name):
            short = PREFIX_WORDS.get(prefix, "") + LETTERS.get(base, base)
            return short if short in unit_table() else PREFIX_WORDS.get(prefix, "") + base
    return ""


class UnknownUnit(Exception):
    """A name that is no unit; `suggestions` are units that resemble it."""


@cache
def unit_table() -> Mapping[str, tuple[Dimension, Fraction]]:
    """Return every unit name with its dimension and its factor to SI, worked out by Pint."""
    registry = pint.UnitRegistry(None, non_int_type=Fraction)  # pyright: ignore[reportArgumentType]
    registry.load_definitions(DEFINITIONS)
    table: dict[str, tuple[Dimension, Fraction]] = {}
    for long in LONG_NAMES:
        factor, dimension = _from_pint(
            registry, "ampere" if long == "amp" else "gram" if long == "gramme" else long
        )
        for prefix, power in LONG_PREFIXES.items():
            table[prefix + long] = (dimension, factor * Fraction(10) ** power)
    for long, shorts in SHORT_NAMES.items():
        factor, dimension = _from_pint(registry, long)
        for short in shorts:
            table[short] = (
                dimension,
                factor * Fraction(10) ** LONG_PREFIXES[short[0] if short != "Hz" else ""],
            )
    for names, exponent in ((AREAS, 2), (VOLUMES, 3)):
        for name, power in names.items():
            table[name] = (
                tuple(Fraction(exponent * (b == "meter")) for b in BASES),
                Fraction(10) ** (power * exponent),
            )
    return table


def _from_pint(registry: pint.UnitRegistry, name: str) -> tuple[Fraction, Dimension]:
    quantity = registry.Quantity(Fraction(1), name).to_base_units()
    powers = {str(base): Fraction(str(exponent)) for base, exponent in quantity.unit_items()}
    factor = Fraction(quantity.magnitude)
    if "gram" in powers:  # Pint's base of mass
        powers["kilogram"] = powers.pop("gram")
        factor /= Fraction(1000) ** int(powers["kilogram"])
    assert powers.keys() <= set(BASES), f"{name} has unexpected bases {powers}"
    return factor, tuple(powers.get(base, Fraction(0)) for base in BASES)


def scale_of(dimension: Dimension, factor: Fraction) -> Fraction | float:
    """Return how many coherent units `factor` SI units of this dimension are; exact unless powers are fractional."""
    result: Fraction | float = factor
    for coherent, exponent in zip(COHERENT, dimension, strict=True):
        result = result * (
            coherent ** int(exponent)
            if exponent.denominator == 1
            else float(coherent) ** float(exponent)
        )
    return result


def multiply(a: Dimension, b: Dimension) -> Dimension:
    """Dimension of a product."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def raise_to(a: Dimension, exponent: Fraction) -> Dimension:
    """Dimension of a power."""
    return tuple(x * exponent for x in a)


def divide(a: Dimension, b: Dimension) -> Dimension:
    """Dimension of a quotient."""
    return multiply(a, raise_to(b, Fraction(-1)))


_TOKEN = re.compile(
    r"\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>\d+(?:\.\d+)?)|(?P<operator>\*\*|[*/()-]))"
)


def parse_unit(text: str) -> Unit:
    """Return the unit written as `text`, e.g. `mV`, `nS/ms`, `amp/metre**2`, `1`, `boolean`. Raises UnknownUnit."""
    if text == "boolean":
        return Unit(text, BOOLEAN, 1.0)
    if text == "integer":
        return Unit(text, DIMENSIONLESS, 1.0)
    tokens = [match.group().strip() for match in _TOKEN.finditer(text)]
    dimension, factor, rest = _product(tokens)
    if rest or "".join(tokens) != re.sub(r"\s", "", text):
        raise UnknownUnit(text)
    return Unit(text, dimension, float(scale_of(dimension, factor)))


def _product(tokens: list[str]) -> tuple[Dimension, Fraction, list[str]]:
    dimension, factor, tokens = _power(tokens)
    while tokens and tokens[0] in "*/":
        operator = tokens[0]
        other, other_factor, tokens = _power(tokens[1:])
        dimension = (multiply if operator == "*" else divide)(dimension, other)
        factor = factor * other_factor if operator == "*" else factor / other_factor
    return dimension, factor, tokens


def _power(tokens: list[str]) -> tuple[Dimension, Fraction, list[str]]:
    if not tokens:
        raise UnknownUnit("")
    head, tokens = tokens[0], tokens[1:]
    if head == "(":
        dimension, factor, tokens = _product(tokens)
        tokens = _after(tokens, ")")
    elif head[0].isdigit():
        if Fraction(head) != 1:
            raise UnknownUnit(head)
        dimension, factor = DIMENSIONLESS, Fraction(1)
    else:
        if head not in unit_table():
            raise UnknownUnit(head)
        dimension, factor = unit_table()[head]
    if tokens and tokens[0] == "**":
        exponent, tokens = _exponent(tokens[1:])
        if abs(exponent) > 12:
            raise UnknownUnit(f"{head}**{exponent}")
        if exponent.denominator != 1 and factor != 1:
            raise UnknownUnit(f"{head}**{exponent}")
        dimension = raise_to(dimension, exponent)
        factor = factor ** int(exponent) if exponent.denominator == 1 else factor
    return dimension, factor, tokens


def _exponent(tokens: list[str]) -> tuple[Fraction, list[str]]:
    grouped = tokens[:1] == ["("]
    tokens = tokens[1:] if grouped else tokens
    sign = -1 if tokens[:1] == ["-"] else 1
    tokens = tokens[1:] if sign < 0 else tokens
    if not tokens or not tokens[0][0].isdigit():
        raise UnknownUnit("**")
    value, tokens = Fraction(tokens[0]) * sign, tokens[1:]
    if grouped and tokens[:1] == ["/"]:
        value, tokens = value / Fraction(tokens[1]), tokens[2:]
    return value, _after(tokens, ")") if grouped else tokens


def _after(tokens: list[str], expected: str) -> list[str]:
    if tokens[:1] != [expected]:
        raise UnknownUnit(expected)
    return tokens[1:]


PREFERRED = (
    "mV",
    "ms",
    "pA",
    "nS",
    "pF",
    "Hz",
    "um",
    "mM",
    "1/ms",
    "mV/ms",
    "Mohm",
    "pA/um2",
    "mV*ms",
    "nS/ms",
    "pA/ms",
    "kelvin",
)


@cache
def _quotients() -> tuple[str, ...]:
    """Units such as `ms/mV`, for dimensions that have no usual name of their own."""
    simple = [name for name in PREFERRED if name.isalpha()]
    squares = (f"{name}**2" for name in simple)
    return (*squares, *(f"{a}/{b}" for a in simple for b in simple if a != b))


@cache
def describe(dimension: Dimension) -> str:
    """Name a dimension by a usual unit, for messages: `mV`, `1/ms`, or a product of SI units."""
    if dimension == DIMENSIONLESS:
        return "no unit"
    for name in (*PREFERRED, *_quotients()):
        if parse_unit(name).dimension == dimension:
            return f"[{name}]"
    if any(exponent.denominator > 1 for exponent in dimension):
        rest = describe(multiply(dimension, raise_to(TIME, Fraction(1, 2)))).strip("[]")
        if "second" not in rest:
            return f"[{'1' if rest == 'no unit' else rest}/sqrt(ms)]"
    symbols = ("kilogram", "metre", "second", "amp", "kelvin", "mole", "candela")
    parts = [s if e == 1 else f"{s}**{e}" for s, e in zip(symbols, dimension, strict=True) if e]
    return f"[{'*'.join(parts)}]"
