"""Priors of the model file as log-densities: terms of a maximum a posteriori fit."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from eqsnn.inference.coordinates import Coordinate
from eqsnn.simulation.parameters import Parameter


def log_prior(
    z: Mapping[str, Tensor],
    parameters: Mapping[str, Parameter],
    coordinates: Mapping[str, Coordinate],
    exists: Mapping[str, Tensor],
) -> Tensor:
    """Return the log-density of the unknowns under the distributions of the file, up to a constant, (restart,).

    Densities are those of the parameter itself, of its logarithm where the distribution lives on it (lognormal,
    exponential), so that the most probable value does not depend on units. A uniform distribution adds nothing.
    """
    total = torch.zeros(next(iter(z.values())).shape[-1], dtype=torch.float64)
    for name, value in z.items():
        prior = parameters[name].prior
        assert prior is not None
        p = coordinates[name].to_value(value)
        if prior.name == "uniform":
            continue
        centre, spread = prior.arguments[0], prior.arguments[-1]
        if prior.name == "normal":
            density = -0.5 * ((p - centre) / spread) ** 2
        elif prior.name == "lognormal":
            density = -0.5 * ((torch.log(p) - math.log(centre)) / spread) ** 2
        else:
            density = torch.log(p) - p / centre
        group = name.rsplit(".", 1)[0]
        if group in exists and value.dim() == 3:
            density = torch.where(exists[group], density, torch.zeros_like(density))
        total = total + density.reshape(-1, density.shape[-1]).sum(0)
    return total
