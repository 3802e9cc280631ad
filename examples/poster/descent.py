"""What controls are made of: the running network alone, its surrogate gradient or none, and nothing that a fit has beside it.

No teacher forcing, no annealing, no choice on held-out data. Written on the objective of a free-running stage, so that each part can be
left out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cma
import numpy as np
import protocol
import torch
from protocol import Values
from torch import Tensor

import eqsnn
from eqsnn.inference.coordinates import Coordinate, coordinate_of
from eqsnn.inference.data import prepare
from eqsnn.inference.objectives import FreeObjective
from eqsnn.inference.problem import with_traces
from eqsnn.simulation.parameters import Parameter


@dataclass(frozen=True, slots=True)
class Descent:
    """How to descend: `steps` of Adam on the loss of `stage`.

    scaled: in the unit-scaled coordinates of a fit; else in the units of the model's file, where the same `learning_rate` is
    0.05 mV, 0.05 ms and a weight of 0.05. Values that leave their bounds are put back onto them.
    """

    stage: eqsnn.Free
    learning_rate: float = 0.05
    steps: int = 200
    scaled: bool = True


@dataclass(frozen=True, slots=True)
class Search:
    """How to search: `generations` of CMA-ES on the loss of `stage`, in unit-scaled coordinates, which begin `step` wide."""

    stage: eqsnn.Free
    generations: int = 60
    population: int = 16
    step: float = 0.1


class RunningLoss:
    """The loss of a stage as a function of coordinates, of many networks side by side in the last dimension."""

    def __init__(
        self, kind: str, target: eqsnn.Recording, stage: eqsnn.Free, seed: int, *, scaled: bool
    ) -> None:
        model = protocol.learning(kind)
        parameters = model.parameters()
        data = prepare(model.definition, with_traces(target), torch.float64)
        self.objective, self.width = FreeObjective(data, stage, seed), stage.width
        rng = np.random.default_rng(seed)
        self.known = {
            n: torch.from_numpy(p.draw(rng)).unsqueeze(-1)
            for n, p in parameters.items()
            if not p.learned
        }
        self.unknown = {n: p for n, p in parameters.items() if p.learned}
        make = coordinate_of if scaled else in_file_units
        self.maps = {n: make(p) for n, p in self.unknown.items()}

    def __call__(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of each network, (network,)."""
        values = {name: self.maps[name].to_value(value) for name, value in z.items()}
        return self.objective(self.known | values, self.width)

    def coordinates(self, starts: Sequence[Values]) -> dict[str, Tensor]:
        """Return the coordinates of values in the units of the file."""
        return {
            name: self.maps[name].to_real(
                torch.stack([torch.as_tensor(start[name]) for start in starts], -1) * p.unit.scale
            )
            for name, p in self.unknown.items()
        }

    def bounds(self, name: str) -> Tensor:
        """Return the lowest and the highest coordinate of a parameter."""
        p = self.unknown[name]
        return self.maps[name].to_real(torch.tensor([p.low, p.high], dtype=torch.float64))

    def values(self, z: Mapping[str, Tensor], network: int) -> Values:
        """Return the parameters of one network in the units of the file."""
        return {
            name: (self.maps[name].to_value(z[name].detach())[..., network] / p.unit.scale).numpy()
            for name, p in self.unknown.items()
        }


def in_file_units(parameter: Parameter) -> Coordinate:
    """Return the coordinate that is the parameter itself, in the unit of its file."""
    return Coordinate(-math.inf, math.inf, 0.0, parameter.unit.scale, logarithmic=False)


def descend(
    kind: str, target: eqsnn.Recording, starts: Sequence[Values], how: Descent, seed: int = 0
) -> Values:
    """Return where the start ended whose loss is least, in the units of the file; `kind` as in protocol.KINDS.

    A start whose gradient is not finite stays where it is for that step.
    """
    loss = RunningLoss(kind, target, how.stage, seed, scaled=how.scaled)
    z = {name: value.requires_grad_() for name, value in loss.coordinates(starts).items()}
    adam = torch.optim.Adam(z.values(), lr=how.learning_rate)
    for _ in range(how.steps):
        losses = loss(z)
        adam.zero_grad()
        torch.where(torch.isfinite(losses), losses, 0).sum().backward()
        for value in z.values():
            if value.grad is not None:
                value.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        adam.step()
        with torch.no_grad():
            for name, value in z.items():
                value.clamp_(*loss.bounds(name))
    with torch.no_grad():
        best = int(loss(z).nan_to_num(nan=math.inf).argmin())
    return loss.values(z, best)


def search(kind: str, target: eqsnn.Recording, start: Values, how: Search, seed: int = 0) -> Values:
    """Return the mean of the last generation, in the units of the file."""
    loss = RunningLoss(kind, target, how.stage, seed, scaled=True)
    shapes = {name: value.shape[:-1] for name, value in loss.coordinates([start]).items()}

    def split(columns: np.ndarray) -> dict[str, Tensor]:
        sizes = [math.prod(shape) for shape in shapes.values()]
        parts = torch.from_numpy(columns).split(sizes)
        return {n: v.reshape(*s, -1) for (n, s), v in zip(shapes.items(), parts, strict=True)}

    first = torch.cat([value.reshape(-1) for value in loss.coordinates([start]).values()]).numpy()
    options = {"popsize": how.population, "seed": seed + 1, "verbose": -9}
    strategy = cma.CMAEvolutionStrategy(first, how.step, options)
    for _ in range(how.generations):
        candidates = strategy.ask()
        with torch.no_grad():
            losses = loss(split(np.stack(candidates, 1))).nan_to_num(nan=1e9)
        strategy.tell(candidates, losses.tolist())
    return loss.values(split(np.asarray(strategy.result.xfavorite)[:, None]), 0)
