"""Firing-rate loss."""

from torch import Tensor


def firing_rate(spikes: Tensor, target: Tensor, *, dt: float) -> Tensor:
    """Squared difference of mean firing rates of each neuron and lane, in Hz^2: (neuron, lane).

    spikes: (time, neuron, lane) of 0/1, target broadcastable to it, dt in seconds.
    """
    return ((spikes.mean(0) - target.mean(0)) / dt).square()
