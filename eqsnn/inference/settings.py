"""Settings of a fit, how it can end, and whom it tells where it stands."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import torch

from eqsnn.inference.stages import Stage

Report = Callable[
    [str, int, int, float], None
]  # stage, iterations done, iterations in all, best objective


class Status(Enum):
    """How a fit ended."""

    CONVERGED = "converged"
    NOT_CONVERGED = "not converged"
    OUT_OF_TIME = "out of time"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit. `validation`: share of trials (or of the time of a single trial) held out to choose by.

    units: the neurons whose spikes are to be explained; () for all. last_step: whether one step on all data, the held-out
    part included, follows second-order steps up the model's own likelihood.
    """

    stages: tuple[Stage, ...]
    starts: int = 16
    seed: int = 0
    validation: float = 0.2
    max_time: float = float("inf")  # seconds
    dtype: torch.dtype = torch.float64
    checkpoint_every: float = 20.0  # seconds
    backend: str = "auto"
    units: tuple[int, ...] = ()
    last_step: bool = True
