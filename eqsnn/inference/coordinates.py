"""Unconstrained, unit-scaled coordinates: a step of one learning rate suits millivolts and dimensionless weights alike.

Every unknown p becomes z with p inside its bounds for every real z, and dp/dz about one standard deviation of its
prior at the prior's centre.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.language.model import Distribution
from eqsnn.simulation.parameters import Parameter

MANIFOLD = (
    4.0  # ratio of the ends of a positive range from which on it is seen on a logarithmic scale
)
EDGE = 1e-6  # starts are moved this share of the range off a bound, where the map has no slope


@dataclass(frozen=True, slots=True)
class Coordinate:
    """The map between a parameter and the real line. `logarithmic`: bounds and scale act on log p."""

    low: float
    high: float
    centre: float
    spread: float
    logarithmic: bool

    def to_value(self, z: Tensor) -> Tensor:
        """Return p(z)."""
        inner = self._bounded(z)
        return torch.exp(inner) if self.logarithmic else inner

    def to_real(self, value: Tensor) -> Tensor:
        """Return z(p); a value on or beyond a bound is moved just inside."""
        inner = torch.log(value.clamp(min=1e-300)) if self.logarithmic else value
        if math.isinf(self.low) or math.isinf(self.high):
            return (inner - self.centre) / self.spread
        share = ((inner - self.low) / (self.high - self.low)).clamp(EDGE, 1 - EDGE)
        return (torch.log(share / (1 - share)) - self._offset()) / self._slope()

    def _bounded(self, z: Tensor) -> Tensor:
        if math.isinf(self.low) or math.isinf(self.high):
            return self.centre + self.spread * z
        return self.low + (self.high - self.low) * torch.sigmoid(self._offset() + self._slope() * z)

    def _share(self) -> float:
        return min(max((self.centre - self.low) / (self.high - self.low), 0.05), 0.95)

    def _offset(self) -> float:
        return math.log(self._share() / (1 - self._share()))

    def _slope(self) -> float:
        return self.spread / ((self.high - self.low) * self._share() * (1 - self._share()))


def coordinate_of(parameter: Parameter) -> Coordinate:
    """Return the coordinate of an unknown parameter, from its prior and bounds."""
    prior = parameter.prior
    assert prior is not None, f"{parameter.name} has no prior"
    if parameter.low < 0 and math.isinf(parameter.high) != math.isinf(parameter.low):
        raise InputError(f"`{parameter.name}` has one finite bound below zero; give both bounds")
    open_above = prior.name == "halfnormal" and math.isinf(parameter.high)
    if parameter.low >= 0 and (prior.name in ("lognormal", "exponential") or open_above):
        centre, spread = _log_scale(prior)
        low = math.log(parameter.low) if parameter.low > 0 else -math.inf
        high = math.log(parameter.high) if math.isfinite(parameter.high) else math.inf
        # with one open end the logarithm alone keeps p positive; the other bound is then far out in the tail
        if math.isinf(low) or math.isinf(high):
            low, high = -math.inf, math.inf
        return Coordinate(low, high, centre, spread, logarithmic=True)
    first, second = prior.arguments[0], prior.arguments[-1]
    if prior.name == "uniform" and first > 0 and second >= MANIFOLD * first and parameter.low > 0:
        # a time constant matters by its ratio, whatever distribution the file gives it
        centre = (math.log(first) + math.log(second)) / 2
        spread = math.log(second / first) / math.sqrt(12)
        return Coordinate(
            math.log(parameter.low), math.log(parameter.high), centre, spread, logarithmic=True
        )
    if prior.name == "uniform":
        # bounds wider than the interval of the starts say where values may be, so they set the scale
        reach = max(second, parameter.high) - min(first, parameter.low)
        return Coordinate(
            parameter.low, parameter.high, (first + second) / 2, reach / math.sqrt(12), False
        )
    if prior.name == "laplace":
        second = math.sqrt(2) * second
    if prior.name == "halfnormal":  # its mean and its standard deviation
        first, second = (
            first * factor for factor in (math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi))
        )
    return Coordinate(parameter.low, parameter.high, first, second, logarithmic=False)


def _log_scale(prior: Distribution) -> tuple[float, float]:
    return math.log(prior.arguments[0]), prior.arguments[1] if prior.name == "lognormal" else 1.0


def values_of(z: Mapping[str, Tensor], coordinates: Mapping[str, Coordinate]) -> dict[str, Tensor]:
    """Return all parameters from their coordinates."""
    return {name: coordinates[name].to_value(value) for name, value in z.items()}
