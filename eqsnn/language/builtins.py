"""BUILTINS: every function of the language, one row each: its sympy form, how many arguments, what units it takes."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

import sympy
from sympy.codegen.cfunctions import expm1, log1p

from eqsnn.language import functions as f


class UnitRule(Enum):
    """What units a function accepts and returns."""

    DIMENSIONLESS = "no units in, none out"
    SAME = "all arguments and the result have one unit"
    ROOT = "the unit's square root"
    SIGN = "any unit in, none out"
    WHERE = "a condition, then two values of one unit"
    CONDITION = "a condition or a number without unit"
    STEPS = "two times, giving a whole number of steps"


class Builtin(NamedTuple):
    """A function: `build` makes its sympy form."""

    build: Callable
    arity: int
    rule: UnitRule = UnitRule.DIMENSIONLESS


def _log10(x: sympy.Expr) -> sympy.Expr:
    return sympy.log(x) / sympy.log(10)


def _ceil(x: sympy.Expr) -> sympy.Expr:
    return -f.Floor(-x)


def _timestep(time: sympy.Expr, step: sympy.Expr) -> sympy.Expr:
    """Brian2's rounding: what is less than a thousandth of a step short counts as whole."""
    return f.Floor((time + step / 1000) / step)


def _exprel(x: sympy.Expr) -> sympy.Expr:
    if x.is_number and x != 0:
        return (sympy.exp(x) - 1) / x
    return f.Phi(sympy.Integer(1), x)


BUILTINS = {
    "exp": Builtin(sympy.exp, 1),
    "log": Builtin(sympy.log, 1),
    "log10": Builtin(_log10, 1),
    "expm1": Builtin(expm1, 1),
    "log1p": Builtin(log1p, 1),
    "exprel": Builtin(_exprel, 1),
    "sqrt": Builtin(sympy.sqrt, 1, UnitRule.ROOT),
    "sin": Builtin(sympy.sin, 1),
    "cos": Builtin(sympy.cos, 1),
    "tan": Builtin(sympy.tan, 1),
    "sinh": Builtin(sympy.sinh, 1),
    "cosh": Builtin(sympy.cosh, 1),
    "tanh": Builtin(sympy.tanh, 1),
    "arcsin": Builtin(sympy.asin, 1),
    "arccos": Builtin(sympy.acos, 1),
    "arctan": Builtin(sympy.atan, 1),
    "erf": Builtin(sympy.erf, 1),
    "sigmoid": Builtin(f.Sigmoid, 1),
    "abs": Builtin(f.absolute, 1, UnitRule.SAME),
    "sign": Builtin(f.Sign, 1, UnitRule.SIGN),
    "floor": Builtin(f.Floor, 1),
    "ceil": Builtin(_ceil, 1),
    "int": Builtin(f.truncate, 1, UnitRule.CONDITION),
    "clip": Builtin(f.clip, 3, UnitRule.SAME),
    "min": Builtin(f.minimum, 2, UnitRule.SAME),
    "max": Builtin(f.maximum, 2, UnitRule.SAME),
    "timestep": Builtin(_timestep, 2, UnitRule.STEPS),
    "where": Builtin(f.Where, 3, UnitRule.WHERE),
}


class Draw(NamedTuple):
    """A random function: `normal(mean, sd)`; how many arguments, and whether they may carry a unit."""

    arity: int
    units: bool


DRAWS = {
    "rand": Draw(0, units=False),
    "randn": Draw(0, units=False),
    "normal": Draw(2, units=True),
    "uniform": Draw(2, units=True),
    "poisson": Draw(1, units=False),
}


class DistributionRule(NamedTuple):
    """A distribution of parameter values: names of its arguments; which of them carry the parameter's unit."""

    arguments: tuple[str, ...]
    with_unit: tuple[bool, ...]
    positive: bool = False  # its values are all positive


DISTRIBUTIONS = {
    "normal": DistributionRule(("mean", "sd"), (True, True)),
    "lognormal": DistributionRule(("median", "sigma"), (True, False), positive=True),
    "uniform": DistributionRule(("low", "high"), (True, True)),
    "exponential": DistributionRule(("mean",), (True,), positive=True),
    "laplace": DistributionRule(("centre", "scale"), (True, True)),
    "halfnormal": DistributionRule(("scale",), (True,), positive=True),
}
CENTRED = ("normal", "lognormal", "laplace")  # the first argument may name another unknown

CONSTANTS = {"pi": sympy.pi, "e": sympy.E}
RESERVED = {
    "t": "the time",
    "dt": "the time step",
    "i": "the index of a neuron",
    "j": "the index of a postsynaptic neuron",
    "N": "the size of a population",
    "N_pre": "the size of the presynaptic population",
    "N_post": "the size of the postsynaptic population",
    "N_incoming": "the number of synapses of a postsynaptic neuron",
    "N_outgoing": "the number of synapses of a presynaptic neuron",
    "t_in_timesteps": "the number of steps so far",
    "lastspike": "the time of the last spike",
    "not_refractory": "the state of not being refractory",
    "xi": "white noise",
    "spike": "the spikes of a population",
    "margin": "the distance to threshold",
    "observed": "the observed spikes",
    "active": "the state of not being refractory",
    "steps_since_spike": "the refractory counter",
    "was_active": "the refractory state",
    "threshold_to_reset": "the distance from reset to threshold",
    "seen": "which steps of a neuron were observed",
    "counted": "which steps of a neuron count",
    "compared": "which steps of a neuron are compared",
    "transmitted": "the spikes that act on others",
    "log_likelihood": "the likelihood of the observed spikes",
}
