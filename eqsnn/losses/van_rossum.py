"""van Rossum distance on a grid, differentiable in the spikes, exact in time; and its two-sample unbiased form."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 64  # steps filtered by one matrix product


def exponential_filter(spikes: Tensor, *, tau: float, dt: float) -> Tensor:
    """Return f_n = f_{n-1} exp(-dt/tau) + s_n along the first dimension; same shape, differentiable.

    Within blocks of 64 steps the filter is one triangular matrix product, so no step is a Python loop of its own.
    """
    n_steps = spikes.shape[0]
    decay = math.exp(-dt / tau)
    lags = torch.arange(BLOCK, dtype=spikes.dtype, device=spikes.device)
    difference = lags[:, None] - lags[None, :]
    kernel = torch.where(
        difference >= 0, decay ** difference.clamp(min=0), torch.zeros_like(difference)
    )
    onward = decay ** (lags + 1)
    flat = spikes.reshape(n_steps, -1)
    carried = torch.zeros_like(flat[0])
    blocks = []
    for start in range(0, n_steps, BLOCK):
        block = flat[start : start + BLOCK]
        size = block.shape[0]
        filtered = kernel[:size, :size] @ block + onward[:size, None] * carried
        carried = filtered[-1]
        blocks.append(filtered)
    return torch.cat(blocks).reshape(spikes.shape)


def van_rossum(
    spikes: Tensor, target: Tensor, *, tau: float | Sequence[float], dt: float
) -> Tensor:
    """Squared distance D^2 = (1/tau) * integral of (f - g)^2 dt of each neuron and lane: (neuron, lane).

    spikes: (time, neuron, lane), target broadcastable to it; f and g are the trains filtered by exp(-t/tau), t >= 0;
    tau and dt in one unit, several tau are averaged. The integral between grid points and after the last one is taken
    in closed form, so one spike against none costs exactly 1/2 whatever dt is. Two spikes d apart: 1 - exp(-d/tau).
    Raises ValueError if tau < dt. Source: van Rossum 2001, doi:10.1162/089976601300014321.
    """
    return _inner(spikes - target, spikes - target, tau, dt)


def debiased_van_rossum(
    first: Tensor, second: Tensor, target: Tensor, *, tau: float | Sequence[float], dt: float
) -> Tensor:
    """Unbiased D^2 under independent noise, from two independent runs of the model: (neuron, lane).

    <h*x1 - h*y, h*x2 - h*y>/tau has expectation |E h*x - h*y|^2/tau: unlike the plain distance it does not reward low
    rates or low variance, and it may be negative. Source: the U-statistic of the maximum mean discrepancy with the
    linear van Rossum kernel (Gretton et al. 2012, JMLR 13:723; Naud et al. 2011, doi:10.1162/NECO_a_00208).
    """
    return _inner(first - target, second - target, tau, dt)


def _inner(a: Tensor, b: Tensor, tau: float | Sequence[float], dt: float) -> Tensor:
    taus = (tau,) if isinstance(tau, int | float) else tuple(tau)
    total = torch.zeros((), dtype=a.dtype, device=a.device)
    for each in taus:
        if each < dt:
            raise ValueError(
                f"tau = {each:g} is shorter than one step of {dt:g}; simulate on a finer grid or raise tau"
            )
        f = exponential_filter(a, tau=each, dt=dt)
        g = f if b is a else exponential_filter(b, tau=each, dt=dt)
        kept = math.exp(-2 * dt / each)
        total = total + (1 - kept) / 2 * (f * g).sum(0) + kept / 2 * f[-1] * g[-1]
    return total / len(taus)
