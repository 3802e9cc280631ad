"""Firing-rate loss."""

from collections.abc import Sequence

from torch import Tensor

from eqsnn.losses.draws import unbiased_square


def firing_rate(spikes: Tensor, target: Tensor, *, dt: float | Tensor) -> Tensor:
    """Squared difference of the mean firing rates of each neuron and lane, in Hz^2: (neuron, lane).

    spikes: (time, neuron, lane) of 0/1, target broadcastable to it, dt in seconds. It sees neither spike times nor
    variability: 10 Hz against 12 Hz costs 4 however the spikes lie.
    """
    return debiased_firing_rate((spikes,), target, dt=dt)


def debiased_firing_rate(draws: Sequence[Tensor], target: Tensor, *, dt: float | Tensor) -> Tensor:
    """`firing_rate` of one draw; of two independent draws without the variance of the model's counts: (neuron, lane).

    That variance is rate/T for Poisson-like trains of T seconds, and would reward low rates.
    """
    return unbiased_square([draw.mean(0) / dt for draw in draws], target.mean(0) / dt)
