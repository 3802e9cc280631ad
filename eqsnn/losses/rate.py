"""Firing-rate loss."""

from torch import Tensor


def firing_rate(spikes: Tensor, target: Tensor, *, dt: float) -> Tensor:
    """Squared difference of the mean firing rates of each neuron and lane, in Hz^2: (neuron, lane).

    spikes: (time, neuron, lane) of 0/1, target broadcastable to it, dt in seconds. It sees neither spike times nor
    variability: 10 Hz against 12 Hz costs 4 however the spikes lie.
    """
    return ((spikes.mean(0) - target.mean(0)) / dt).square()
