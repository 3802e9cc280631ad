"""van Rossum distance of spike times between grid points, differentiable in the times."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from eqsnn.losses.van_rossum import exponential_filter, time_constants


class Trains(NamedTuple):
    """Spikes 0 or 1, (time, neuron, lanes...), at the fraction `offsets` of their step: step n at (n + offset) dt."""

    spikes: Tensor
    offsets: Tensor


def inner_product(a: Trains, b: Trains, *, tau: float, dt: float) -> Tensor:
    """(1/tau) integral of (h*a)(h*b) dt over all time with h = exp(-t/tau), t > 0: (neuron, lanes...).

    Half the sum of exp(-|t - s|/tau) over all pairs of spikes, in time linear in the steps: pairs in different steps
    meet through the exponential traces at the start of the later step, pairs within one step directly. Differentiable
    in the offsets; where two spikes coincide exactly the distance has a kink, and the derivative 0 is taken.
    """
    rate = dt / tau
    met = a.spikes * torch.exp(-rate * a.offsets) * _before(b, rate, tau, dt)
    met = met + b.spikes * torch.exp(-rate * b.offsets) * _before(a, rate, tau, dt)
    met = met + a.spikes * b.spikes * torch.exp(-rate * (a.offsets - b.offsets).abs())
    return met.sum(0) / 2


def _before(trains: Trains, rate: float, tau: float, dt: float) -> Tensor:
    """Return the filtered train at the start of each step."""
    at_end = trains.spikes * torch.exp(-rate * (1 - trains.offsets))
    filtered = exponential_filter(at_end, tau=tau, dt=dt)
    return torch.cat([torch.zeros_like(filtered[:1]), filtered[:-1]])


def timed_van_rossum(
    first: Trains, second: Trains, target: Trains, *, tau: float | Sequence[float], dt: float
) -> Tensor:
    """<h*x1 - h*y, h*x2 - h*y>/tau of spike times: (neuron, lanes...).

    With twice the same run this is the van Rossum distance (1/2 for one spike against none, 1 - exp(-d/tau) for two
    spikes d apart); with two runs of independent noise it is the unbiased form (see `debiased_van_rossum`). tau and dt
    in one unit, several tau are averaged; target broadcastable to the runs. Raises InputError if tau < dt. Source: van
    Rossum 2001, doi:10.1162/089976601300014321.
    """
    taus = time_constants(tau, len(first.spikes), dt)
    total = torch.zeros((), dtype=first.spikes.dtype)
    for each in taus:
        own = inner_product(first, second, tau=each, dt=dt)
        cross = inner_product(first, target, tau=each, dt=dt)
        other = cross if second is first else inner_product(second, target, tau=each, dt=dt)
        total = total + own - cross - other + inner_product(target, target, tau=each, dt=dt)
    return total / len(taus)
