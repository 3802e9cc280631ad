"""evaluate: a deterministic expression over arrays of indices, by numpy, for what is fixed before the first step."""

import operator
from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np
import sympy
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf, expit
from sympy import Basic, Symbol
from sympy.codegen.cfunctions import expm1, log1p

from eqsnn.language import functions as f


def _where(condition: NDArray, chosen: ArrayLike, other: ArrayLike) -> NDArray:
    return np.where(condition, chosen, other)


def _phi(order: ArrayLike, x: ArrayLike) -> NDArray:
    assert order == 1, "only exprel can be written in a file"
    x = np.asarray(x, float)
    safe = np.where(x == 0, 1.0, x)
    return np.where(x == 0, 1.0, np.expm1(safe) / safe)


NODES: Mapping[type, Callable] = {
    sympy.Add: lambda *terms: reduce(operator.add, terms),
    sympy.Mul: lambda *factors: reduce(operator.mul, factors),
    sympy.Pow: lambda base, exponent: np.power(np.asarray(base, float), exponent),
    sympy.And: lambda *parts: reduce(np.logical_and, parts),
    sympy.Or: lambda *parts: reduce(np.logical_or, parts),
    sympy.Not: np.logical_not,
    sympy.StrictLessThan: np.less,
    sympy.LessThan: np.less_equal,
    sympy.StrictGreaterThan: np.greater,
    sympy.GreaterThan: np.greater_equal,
    sympy.Eq: np.equal,
    sympy.Ne: np.not_equal,
    sympy.exp: np.exp,
    sympy.log: np.log,
    expm1: np.expm1,
    log1p: np.log1p,
    sympy.sin: np.sin,
    sympy.cos: np.cos,
    sympy.tan: np.tan,
    sympy.sinh: np.sinh,
    sympy.cosh: np.cosh,
    sympy.tanh: np.tanh,
    sympy.asin: np.arcsin,
    sympy.acos: np.arccos,
    sympy.atan: np.arctan,
    sympy.erf: erf,
    sympy.floor: np.floor,
    sympy.sign: np.sign,
    f.Sigmoid: expit,
    f.Floor: np.floor,
    f.WholeQuotient: np.floor_divide,
    f.Sign: np.sign,
    f.Where: _where,
    f.Phi: _phi,
}


def evaluate(expression: Basic, values: Mapping[Symbol, ArrayLike]) -> NDArray:
    """Return the value of an expression whose symbols are these arrays, with numpy's broadcasting."""
    if isinstance(expression, Symbol):
        return np.asarray(values[expression])
    if expression in (sympy.true, sympy.false):
        return np.asarray(expression is sympy.true)
    if expression.is_number and isinstance(expression, sympy.Expr):
        return np.asarray(float(expression))
    return NODES[expression.func](*(evaluate(part, values) for part in expression.args))
