"""Energy distance between the distributions of spike trains, all neurons jointly."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from eqsnn.losses.van_rossum import exponential_filter, time_constants


def energy_distance(
    draws: Sequence[Tensor], target: Tensor, *, tau: float | Sequence[float], dt: float
) -> Tensor:
    """2 E D(x, y) - E D(x, x') - E D(y, y'), without unit: (...), one value for all neurons together.

    draws: independent runs of the model, (time, neuron, ..., trial); target: the same, broadcastable; their trials are
    repetitions of one experiment. D is the root of the van Rossum distance summed over neurons, tau and dt in one
    unit, several tau are averaged. Every expectation is a mean over pairs of different trains (a U-statistic), x over
    draws and trials, y over trials, so it is unbiased; a term of which there is no pair is left out. E D(y, y') does
    not depend on the model: with a single target trial the value is too large by that constant. With D squared
    all this would be the unbiased van Rossum distance, which sees the mean filtered train only; with D itself it is 0
    for equal distributions alone. Errors as in `van_rossum`.
    Source: Szekely & Rizzo 2013, doi:10.1016/j.jspi.2013.03.018; negative type: Lyons 2013, doi:10.1214/12-AOP803.
    """
    total = torch.zeros((), dtype=target.dtype, device=target.device)
    taus = time_constants(tau, len(target), dt)
    for each in taus:
        x = torch.cat([_embedded(draw, each, dt) for draw in draws], dim=-2)
        y = _embedded(target, each, dt)
        total = total + 2 * _distances(x, y).mean((-2, -1)) - _within(x) - _within(y)
    return total / len(taus)


def _embedded(trains: Tensor, tau: float, dt: float) -> Tensor:
    """Return vectors whose Euclidean distances are D: (..., trial, feature)."""
    filtered = exponential_filter(trains, tau=tau, dt=dt)
    # as in van_rossum: the integral over each step, and over all time after the last one
    kept = math.exp(-2 * dt / tau)
    rows = torch.cat([filtered * ((1 - kept) / 2) ** 0.5, filtered[-1:] * (kept / 2) ** 0.5])
    return rows.flatten(0, 1).movedim(0, -1)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # from differences, not inner products: equal trains are exactly 0 apart, and there the gradient is 0
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _within(trains: Tensor) -> Tensor:
    """Mean distance of two different trains; 0 if there is only one."""
    n = trains.shape[-2]
    return _distances(trains, trains).sum((-2, -1)) / max(1, n * (n - 1))
