"""The sleep networks of the models folder, as benchmarks of their likelihoods read them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import eqsnn

MODELS = Path(__file__).parents[1] / "models"
POPULATIONS = ("wake", "rem", "nrem")
EACH = 4  # neurons of a population


def values_at(model: eqsnn.Model, *changes: Mapping[str, float]) -> dict[str, Tensor]:
    """Return all parameters in coherent units, one lane for each set of changes of the truth."""
    given = [model.with_values(dict(changed)).parameters() for changed in changes]
    return {
        name: torch.stack(
            [torch.from_numpy(p[name].draw(np.random.default_rng(0))).double() for p in given], -1
        )
        for name in given[0]
    }
