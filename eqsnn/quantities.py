"""Quantities typed on the command line: `10s`, `12ms`, `-50*mV`, `0.3`."""

import re

from eqsnn.errors import InputError
from eqsnn.language.units import DIMENSIONLESS, UnknownUnit, describe, parse_unit
from eqsnn.simulation.parameters import Parameter

_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*?\s*(.*?)\s*")
SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "h": 3600.0}


def seconds(text: str) -> float:
    """Return a time in seconds: `10s`, `0.5*second`, `200ms`, `5min`. Raises InputError."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match.group(2) not in SECONDS:
        raise InputError(f"`{text}` is no time; write it with its unit, as in 10s, 200ms or 5min")
    return float(match.group(1)) * SECONDS[match.group(2)]


def in_unit_of(text: str, parameter: Parameter) -> float:
    """Return a value in the unit of a parameter: `12ms` for one in ms is 12. Raises InputError."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InputError(
            f"`{text}` is no value; write a number with its unit, as in {parameter.name.rsplit('.', 1)[1]}=12{parameter.unit.name}"
        )
    number, name = float(match.group(1)), match.group(2)
    try:
        unit = parse_unit("second" if name == "s" else name or "1")
    except UnknownUnit:
        raise InputError(f"`{name}` in `{text}` is no unit of the language") from None
    if unit.dimension != parameter.unit.dimension:
        found = "no unit" if unit.dimension == DIMENSIONLESS else describe(unit.dimension)
        raise InputError(
            f"`{parameter.name}` has unit {parameter.unit.name}, but `{text}` has {found}"
        )
    return number * unit.scale / parameter.unit.scale
