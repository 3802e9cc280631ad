"""Losses: spikes and target to a number for each lane; they know no simulator."""

from collections.abc import Callable

from torch import Tensor

from eqsnn.losses.rate import firing_rate
from eqsnn.losses.van_rossum import van_rossum

Loss = Callable[[Tensor, Tensor, float, float], Tensor]


def _van_rossum(spikes: Tensor, target: Tensor, tau: float, dt: float) -> Tensor:
    return van_rossum(spikes, target, tau=tau, dt=dt).mean(0)


def _rate(spikes: Tensor, target: Tensor, tau: float, dt: float) -> Tensor:
    return firing_rate(spikes, target, dt=dt).mean(0)


# the names `--loss` accepts: (spikes, target, tau [s], dt [s]) -> one value per lane, mean over neurons
LOSSES: dict[str, Loss] = {"van_rossum": _van_rossum, "rate": _rate}
