"""Peri-stimulus time histogram, smoothed, and the difference of two of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv1d

from eqsnn.losses.bins import binned, steps_of
from eqsnn.losses.draws import unbiased_square

REACH = 4  # standard deviations after which the Gaussian is cut off


def smoothed_rates(
    spikes: Tensor, counted: Tensor, *, width: float, sigma: float, dt: float
) -> Tensor:
    """Firing rates averaged over trials and smoothed in time, in Hz: (bin, neuron, ...).

    spikes: (time, neuron, ..., trial); counted: broadcastable, 1 in steps that count and 0 in others, where spikes are
    0, too; bins of `width` seconds, a Gaussian of standard deviation `sigma` seconds. Near an end, or beside steps
    that do not count, the rate is the Gaussian's mean over those that do, so a constant rate stays constant up to the
    ends. 0 where nothing counts. Raises InputError for a bin that is no multiple of the step.
    """
    steps = steps_of(width, dt, "bin")
    counts = _smooth(binned(spikes.mean(-1), steps), sigma / width)
    seconds = _smooth(binned(counted.mean(-1), steps), sigma / width) * dt
    return counts / seconds.clamp(min=1e-3 * dt)


def _smooth(values: Tensor, sigma: float) -> Tensor:
    """Convolve the first dimension with a Gaussian of `sigma` bins."""
    reach = math.ceil(REACH * sigma)
    lags = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-0.5 * (lags / sigma) ** 2)
    columns = values.flatten(1).T.unsqueeze(1)
    found = conv1d(columns, (kernel / kernel.sum())[None, None], padding=reach)
    return found.squeeze(1).T.reshape(values.shape)


def psth_loss(
    draws: Sequence[Tensor],
    target: Tensor,
    counted: Tensor,
    *,
    width: float,
    sigma: float,
    dt: float,
) -> Tensor:
    """Squared difference of the smoothed rates, mean over counted time, in Hz^2: (neuron, ...).

    Arguments as in `smoothed_rates`; of two independent draws the product of both differences, which leaves out the
    variance of the model's own histogram (over R trials of a Poisson-like train rate/(2 sqrt(pi) sigma R)). It sees
    the time course of the mean rate; neither variability nor correlations.
    """
    rates, wanted = (
        [smoothed_rates(each, counted, width=width, sigma=sigma, dt=dt) for each in trains]
        for trains in (draws, [target])
    )
    shares = binned(counted.mean(-1), steps_of(width, dt, "bin"))
    return (unbiased_square(rates, wanted[0]) * shares).sum(0) / shares.sum(0).clamp(min=1)
