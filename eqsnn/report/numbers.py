"""numbers: how values are written for people: an estimate to two digits of its error, a true minus, no endless decimals."""

import math

import numpy as np
from numpy.typing import ArrayLike

LEAST, MOST = 1e-3, 1e5  # outside, numbers are written with a power of ten
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "−"
NOTHING = "–"  # of a value that does not exist


def number(value: float | None, digits: int = 3) -> str:
    """Return a number to some significant digits: `12.3`, `−0.00456`, `1.2 × 10⁻⁷`; a dash for None and nan."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    place = _exponent(value, digits)
    if not LEAST <= abs(value) < MOST:
        return _scientific(value, place, digits)
    return fixed(value, digits - 1 - place)


def fixed(value: float, decimals: int) -> str:
    """Return a number with this many decimals, of which negative ones round to tens, hundreds, ..."""
    rounded = round(value, decimals)
    text = f"{rounded:,.{max(0, decimals)}f}".replace(",", "\u202f")
    return text.replace("-", MINUS) if rounded != 0 else text.lstrip("-")


def short(value: float) -> str:
    """Return a number that somebody wrote, without zeros at its end: `−75`, `0.55`; infinite ones as in `number`."""
    return number(value) if not math.isfinite(value) else f"{value:.6g}".replace("-", MINUS)


def with_error(value: float, error: float | None) -> str:
    """Return `15.32 ± 0.41`: the error to two significant digits, the value to the same decimal."""
    if error is None or not math.isfinite(error) or error <= 0 or not math.isfinite(value):
        return number(value)
    decimals = decimals_for(error)
    if error < LEAST or max(abs(value), error) >= MOST:
        power = _exponent(max(abs(value), error), 2)
        shown = decimals + power
        inner = f"{fixed(value / 10.0**power, shown)} ± {fixed(error / 10.0**power, shown)}"
        return f"({inner}) × 10{str(power).translate(SUPERSCRIPTS)}"
    return f"{fixed(value, decimals)} ± {fixed(error, decimals)}"


def decimals_for(error: float) -> int:
    """Return the decimals that show two significant digits of an error."""
    return 1 - _exponent(error, 2)


def between(low: float, high: float, error: float | None = None) -> str:
    """Return `14.6 to 16.1`, to the decimals of the error, or to three digits of the larger end."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{number(low)} to {number(high)}"
    wide = max(abs(low), abs(high))
    if wide == 0 or not LEAST <= wide < MOST:
        return f"{number(low, 2)} to {number(high, 2)}"
    known = error is not None and math.isfinite(error) and error > 0
    decimals = decimals_for(error) if known and error is not None else 2 - _exponent(wide, 3)
    return f"{fixed(low, decimals)} to {fixed(high, decimals)}"


def percent(share: float) -> str:
    """Return a share as per cent, to two significant digits below ten."""
    if math.isnan(share):
        return NOTHING
    return f"{fixed(100 * share, 1 if abs(share) < 0.1 else 0)} %"


def unit(name: str) -> str:
    """Return a unit as it is read; nothing for a plain number."""
    return "" if name == "1" else name.replace("**", "^").replace("*", " ").replace("-", MINUS)


def count(n: int, what: str) -> str:
    """Return how many there are: `1 neuron`, `12 neurons`."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def middle(values: ArrayLike) -> float:
    """Return the median of what is there, nan if nothing is."""
    array = np.asarray(values, float)
    return float(np.nanmedian(array)) if np.isfinite(array).any() else math.nan


def _exponent(value: float, digits: int) -> int:
    """Return the power of ten of the first digit after rounding to some digits: 9.99 to two digits has that of 10."""
    if value == 0:
        return 0
    return int(f"{abs(value):.{digits - 1}e}".partition("e")[2])


def _scientific(value: float, power: int, digits: int) -> str:
    mantissa = fixed(value / 10.0**power, digits - 1)
    return f"{mantissa} × 10{str(power).translate(SUPERSCRIPTS)}"
