"""The sleep networks of the models folder, as benchmarks of their likelihoods read them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import eqsnn
from eqsnn.inference.data import Data, prepare
from eqsnn.inference.likelihood import ForcedObjective

MODELS = Path(__file__).parents[1] / "models"
POPULATIONS = ("wake", "rem", "nrem")
EACH = 4  # neurons of a population
WIDTH = 0.001


class Network(NamedTuple):
    """A sleep network, a recording of it whose input is unknown, and its parameters, one number for a name."""

    model: eqsnn.Model
    target: eqsnn.Recording
    data: Data
    known: dict[str, float]


def simulated(kind: str, seconds: float, seed: int) -> Network:
    """Return a recording of the network of this kind."""
    model = eqsnn.load(MODELS / f"sleep_{kind}.eqs")
    target = eqsnn.simulate(model, seconds, burn_in=1.0, seed=seed)
    known = {n: float(np.ravel(v)[0]) for n, v in target.parameters.items()}
    return Network(model, target, prepare(model.definition, target, torch.float64), known)


def values_at(model: eqsnn.Model, *changes: Mapping[str, float]) -> dict[str, Tensor]:
    """Return all parameters in coherent units, one lane for each set of changes of the truth."""
    given = [model.with_values(dict(changed)).parameters() for changed in changes]
    return {
        name: torch.stack(
            [torch.from_numpy(p[name].draw(np.random.default_rng(0))).double() for p in given], -1
        )
        for name in given[0]
    }


def log_likelihoods(
    objective: ForcedObjective, values: Mapping[str, Tensor], needed: Tensor | None = None
) -> NDArray[np.float64]:
    """Return the log-likelihood of each population, (population, lane); needed: as in `ForcedObjective.by_neuron`."""
    with torch.no_grad():
        found = -objective.by_neuron(values, WIDTH, needed)
    return found.reshape(len(POPULATIONS), EACH, -1).sum(1).numpy()
