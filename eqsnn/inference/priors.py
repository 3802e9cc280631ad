"""Priors of the model file as log-densities: terms of a maximum a posteriori fit."""

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
    known: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return the log-density of all unknowns together, (restart,). Arguments as for `log_densities`."""
    return summed(log_densities(z, parameters, coordinates, exists, known))


def summed(each: Mapping[str, Tensor]) -> Tensor:
    """Return the sum over all values of all names, (restart,)."""
    return torch.stack([d.reshape(-1, d.shape[-1]).sum(0) for d in each.values()]).sum(0)


def log_densities(
    z: Mapping[str, Tensor],
    parameters: Mapping[str, Parameter],
    coordinates: Mapping[str, Coordinate],
    exists: Mapping[str, Tensor],
    known: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the log-density of each value under the distributions of the file, up to a constant, in the shapes of z.

    Densities are those of the parameter itself, of its logarithm where the distribution lives on it (lognormal,
    exponential), so that the most probable value does not depend on units. A uniform distribution adds nothing. A
    distribution around another unknown takes that one's value, from z or, where it is fixed, from `known`.
    """
    values = {name: coordinates[name].to_value(value) for name, value in z.items()}
    found = {}
    for name, value in z.items():
        prior = parameters[name].prior
        assert prior is not None
        p = values[name]
        if prior.name == "uniform":
            found[name] = torch.zeros_like(p)
            continue
        named = ({**(known or {}), **values}).get(parameters[name].centre)
        centre = torch.tensor(prior.arguments[0], dtype=p.dtype) if named is None else named
        if named is not None and p.dim() == 3:
            centre = named.unsqueeze(0)
        density = _log_density(prior.name, p, centre, prior.arguments[-1])
        group = name.rsplit(".", 1)[0]
        if group in exists and value.dim() == 3:
            density = torch.where(exists[group], density, torch.zeros_like(density))
        found[name] = density
    return found


def _log_density(name: str, p: Tensor, centre: Tensor, spread: float) -> Tensor:
    """Return the log-density of each value, up to a constant."""
    match name:
        case "normal":
            return -0.5 * ((p - centre) / spread) ** 2
        case "laplace":
            return -torch.abs(p - centre) / spread
        case "halfnormal":
            return -0.5 * (p / spread) ** 2
        case "lognormal":
            return -0.5 * ((torch.log(p) - torch.log(centre)) / spread) ** 2
        case _:
            assert name == "exponential", f"no density of {name}"
            return torch.log(p) - p / spread
