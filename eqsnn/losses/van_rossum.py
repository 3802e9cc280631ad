"""van Rossum distance on a grid, differentiable in the spikes, exact in time; and its two-sample unbiased form.

Time constants and steps are in one unit, seconds everywhere in eqsnn.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from eqsnn.errors import InputError

BLOCK = 64  # steps filtered by one matrix product


def exponential_filter(spikes: Tensor, *, tau: float, dt: float) -> Tensor:
    """Return f_n = f_{n-1} exp(-dt/tau) + s_n along the first dimension, f_{-1} = 0: the same shape, differentiable.

    All blocks of 64 steps are filtered at once by one triangular matrix; what each block hands to the next is the
    same filter on the blocks' last values. So no step is a Python loop of its own: n steps take log_64(n) rounds.
    """
    columns = spikes.reshape(len(spikes), math.prod(spikes.shape[1:]))
    filtered = _filter(columns, dt / tau)
    return filtered.reshape(spikes.shape)


def _filter(columns: Tensor, rate: float) -> Tensor:
    n_steps, n_columns = columns.shape
    size = min(BLOCK, n_steps)
    lags = torch.arange(size, dtype=columns.dtype, device=columns.device)
    lag = lags[:, None] - lags[None, :]
    kernel = torch.where(lag >= 0, torch.exp(-rate * lag.clamp(min=0)), torch.zeros_like(lag))
    if n_steps <= BLOCK:
        return kernel @ columns
    blocks = pad(columns, (0, 0, 0, -n_steps % BLOCK)).reshape(-1, BLOCK, n_columns)
    within = kernel @ blocks
    carried = pad(_filter(within[:-1, -1], rate * BLOCK), (0, 0, 1, 0))
    onward = torch.exp(-rate * (lags + 1))[:, None]
    return (within + onward * carried[:, None]).reshape(-1, n_columns)[:n_steps]


def van_rossum(
    spikes: Tensor, target: Tensor, *, tau: float | Sequence[float], dt: float
) -> Tensor:
    """Squared distance D^2 = (1/tau) * integral of (f - g)^2 dt of each neuron and lane: (neuron, lane).

    spikes: (time, neuron, lane), target broadcastable to it; f and g are the trains filtered by exp(-t/tau), t >= 0;
    tau and dt in one unit, several tau are averaged. A sum over grid points would make one spike cost
    dt/tau / (1 - exp(-2 dt/tau)) instead of 1/2 (10 % more at tau = 5 dt); here the integral between grid points and
    from the last one to infinity is taken in closed form, so for spikes on the grid the value is exact whatever dt is:
    one spike against none costs 1/2, two spikes d apart 1 - exp(-d/tau). Raises InputError if tau < dt.
    Source: van Rossum 2001, doi:10.1162/089976601300014321.
    """
    difference = spikes - target
    return _inner(difference, difference, tau, dt)


def debiased_van_rossum(
    first: Tensor,
    second: Tensor,
    target: Tensor,
    *,
    tau: float | Sequence[float],
    dt: float,
) -> Tensor:
    """Unbiased D^2 under independent noise, from two independent runs of the model: (neuron, lane).

    <h*x1 - h*y, h*x2 - h*y>/tau. Over draws of x1 and x2 its expectation is that of the plain distance without the
    variance of the model's own trains, |E h*x - h*y|^2/tau: unlike the plain distance it does not reward low rates or
    low variance, and it may be negative. It sees the mean filtered train only, not the variability. Shapes, units and
    errors as in `van_rossum`. Source: the U-statistic of the maximum mean discrepancy with the linear van Rossum
    kernel (Gretton et al. 2012, JMLR 13:723; for spike trains Naud et al. 2011, doi:10.1162/NECO_a_00208).
    """
    return _inner(first - target, second - target, tau, dt)


def _inner(a: Tensor, b: Tensor, tau: float | Sequence[float], dt: float) -> Tensor:
    """Return (1/tau) * integral of (h*a)(h*b) dt over all time, averaged over the tau."""
    taus = time_constants(tau, len(a), dt)
    total = torch.zeros((), dtype=a.dtype, device=a.device)
    for each in taus:
        f = exponential_filter(a, tau=each, dt=dt)
        g = f if b is a else exponential_filter(b, tau=each, dt=dt)
        # (f g) decays by `kept` over a step, and its integral over all later time is f g / 2
        kept = math.exp(-2 * dt / each)
        total = total + (1 - kept) / 2 * (f * g).sum(0) + kept / 2 * f[-1] * g[-1]
    return total / len(taus)


def time_constants(tau: float | Sequence[float], n_steps: int, dt: float) -> tuple[float, ...]:
    """Return one or several tau as a tuple. Raises InputError if there is none, no step, or one shorter than a step."""
    taus = (tau,) if isinstance(tau, int | float) else tuple(tau)
    if not taus or not n_steps:
        raise InputError(f"{len(taus)} tau for {n_steps} steps; at least one of each is expected")
    for each in taus:
        if not each >= dt > 0:
            raise InputError(
                f"tau = {each:g} is shorter than one step of {dt:g}; simulate on a finer grid or raise tau"
            )
    return taus
