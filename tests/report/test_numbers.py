"""How numbers are written for people."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqsnn.report.numbers import MINUS, between, fixed, number, percent, short, unit, with_error


def read(text: str) -> float:
    """Return the number that a text shows."""
    plain = text.replace(MINUS, "-").replace("\u202f", "")
    mantissa, _, power = plain.partition(" × 10")
    exponent = power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
    return float(mantissa.strip("()")) * 10.0 ** int(exponent or 0)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (15.3247, 0.4129, "15.32 ± 0.41"),
        (-64.5977, 0.1716, "−64.60 ± 0.17"),
        (0.0, 0.23, "0.00 ± 0.23"),
        (1234.56, 98.7, "1\u202f235 ± 99"),
        (1234.56, 996.0, "1\u202f200 ± 1\u202f000"),
        (3.2e-6, 4.5e-7, "(3.20 ± 0.45) × 10⁻⁶"),
        (12.0, math.nan, "12.0"),
        (12.0, None, "12.0"),
        (12.0, 0.0, "12.0"),
    ],
)
def test_an_estimate_is_written_to_two_digits_of_its_error(value, error, text):
    assert with_error(value, error) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (12.345, "12.3"), (-0.00456, "−0.00456"), (0.9999, "1.00"), (1.2345e-7, "1.23 × 10⁻⁷"),
        (2.5e9, "2.50 × 10⁹"), (math.nan, "–"), (None, "–"), (math.inf, "∞"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_and_a_true_minus(value, text):
    assert number(value) == text


@given(st.floats(-1e12, 1e12).filter(lambda x: x == 0 or abs(x) > 1e-12))
def test_a_number_reads_back_to_three_digits(value):
    assert read(number(value)) == pytest.approx(value, rel=0.0051)


@given(st.floats(-1e4, 1e4), st.floats(1e-9, 1e6))
def test_an_estimate_reads_back_to_within_its_error(value, error):
    text = with_error(value, error)
    inner, _, power = text.partition(") × 10")
    left, right = inner.strip("(").split(" ± ")
    scale = read(f"1 × 10{power}") if power else 1.0
    # one unit in the second digit of the error, and what a binary fraction loses
    assert abs(read(left) * scale - value) <= 0.051 * error + 1e-9 * abs(value)
    assert read(right) * scale == pytest.approx(error, rel=0.051)


def test_both_ends_of_an_interval_have_the_same_decimals():
    assert between(14.621, 16.1, 0.41) == "14.62 to 16.10"
    assert between(-0.5, math.inf) == "−0.500 to ∞"


def test_what_somebody_wrote_is_written_without_zeros_at_its_end():
    assert [short(v) for v in (5.0, -75.0, 0.55, math.inf)] == ["5", "−75", "0.55", "∞"]


def test_shares_and_units_are_written_for_people():
    assert [percent(v) for v in (0.0157, 0.93, math.nan)] == ["1.6 %", "93 %", "–"]
    assert [unit(u) for u in ("1", "mV", "nS*mV")] == ["", "mV", "nS mV"]


def test_zero_has_no_sign():
    assert not re.search(MINUS, fixed(-0.0001, 2))
