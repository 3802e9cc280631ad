"""Unknowns: what a fit moves. Coordinates to parameters, their prior, and one vector of all that is free."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from eqsnn.inference.coordinates import Coordinate, values_of
from eqsnn.inference.priors import log_densities, log_prior, summed
from eqsnn.inference.scoring import Packing, by_block, pack
from eqsnn.language.model import Model
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter


@dataclass(frozen=True, slots=True)
class Unknowns:
    """The unknown parameters of a model, by name, and all that turns their coordinates z into a network.

    known: values of the other parameters in coherent units, (..., 1). exists: for each projection its pairs, bool
    (pre, post, 1). held: which values nothing can be learned about, bool of parameter shape; None if all are free.
    """

    model: Model
    parameters: Mapping[str, Parameter]
    coordinates: Mapping[str, Coordinate]
    known: Mapping[str, Tensor]
    exists: Mapping[str, Tensor]
    held: Mapping[str, Tensor] | None = None

    @property
    def centres(self) -> set[str]:
        """Parameters around which the distribution of another one lies."""
        return {parameter.centre for parameter in self.parameters.values()}

    def everything(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all parameters, known and unknown; 0 for synapses that do not exist."""
        return {**self.known, **self.values(z)}

    def values(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the unknown parameters; 0 for synapses that do not exist."""
        values = values_of(z, self.coordinates)
        for name, exists in self.exists.items():
            for full in [n for n in values if n.rsplit(".", 1)[0] == name and values[n].dim() == 3]:
                values[full] = torch.where(exists, values[full], torch.zeros_like(values[full]))
        return values

    def log_prior(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the log-density of the prior, (restart,)."""
        return log_prior(z, self.parameters, self.coordinates, self.exists, self.known)

    def log_prior_by_block(self, z: Mapping[str, Tensor], packing: Packing) -> Tensor:
        """Return the log-density of the values of each block, (restart, block + 1).

        The last is that of what is common to several blocks, and of what the packing leaves out.
        """
        each = log_densities(z, self.parameters, self.coordinates, self.exists, self.known)
        found = by_block(packing.vector(each), packing, packing.owners)
        found[:, -1] += summed(each) - found.sum(1)
        return found

    def packing(self, z: Mapping[str, Tensor], acting_on_others: Set[str]) -> Packing:
        """Return the free coordinates as one vector; acting_on_others: parameters that act on several blocks."""
        sizes = {n: setup.sizes_of(self.model, n)[0] for n in setup.spiking_populations(self.model)}
        post = {name: projection.post for name, projection in self.model.projections.items()}
        # a centre ties all that lies around it together
        across = acting_on_others | self.centres
        return pack(z, self.exists, sizes, post, across, held=self.held)

    def freed(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a gradient with 0 for what is held."""
        if self.held is None:
            return dict(gradient)
        return {
            n: torch.where(self.held[n].unsqueeze(-1), torch.zeros_like(g), g)
            for n, g in gradient.items()
        }
