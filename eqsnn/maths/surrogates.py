"""Surrogate derivatives of the spike: one table, each a function of x = margin/width with value 1 at threshold.

A surrogate is the derivative of an escape probability of the same shape (Gygax & Zenke 2025, doi:10.1162/neco_a_01752);
Zenke & Vogels 2021 (doi:10.1162/neco_a_01367) find that its shape matters little and its width a lot, which is why
the width is set relative to the distance from reset to threshold.
"""

from collections.abc import Callable

import sympy
from sympy import Expr, pi

from eqsnn.language.functions import SpikeSlope, absolute


def fast_sigmoid(x: Expr) -> Expr:
    """1/(1 + |x|)^2 (Zenke & Ganguli 2018, doi:10.1162/neco_a_01086: the derivative of x/(1 + |x|))."""
    return 1 / (1 + absolute(x)) ** 2


def superspike(x: Expr) -> Expr:
    """1/(1 + 2|x|)^2: the fast sigmoid at half its width, SuperSpike's steepness for the same setting."""
    return 1 / (1 + 2 * absolute(x)) ** 2


def arctan(x: Expr) -> Expr:
    """1/(1 + (pi x/2)^2) (Fang et al. 2021, arXiv:2007.05785)."""
    return 1 / (1 + (pi * x / 2) ** 2)


def gaussian(x: Expr) -> Expr:
    """exp(-x^2/2): the escape probability is the normal distribution function."""
    return sympy.exp(-(x**2) / 2)


SURROGATES: dict[str, Callable[[Expr], Expr]] = {
    "fast_sigmoid": fast_sigmoid,
    "superspike": superspike,
    "arctan": arctan,
    "gaussian": gaussian,
}


def insert_surrogate(expression: Expr, name: str) -> Expr:
    """Write every `SpikeSlope` in `expression` out as the named surrogate."""
    return expression.replace(SpikeSlope, SURROGATES[name])
