"""Auto- and cross-correlograms of binned spikes, differentiable, and the difference of two of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.losses.bins import binned, steps_of
from eqsnn.losses.draws import unbiased_square


def autocorrelogram(
    spikes: Tensor, counted: Tensor, *, lag: float, width: float, dt: float
) -> Tensor:
    """Density of pairs of spikes k bins apart, k = 1 to lag/bin, in Hz^2: (k, neuron, ...).

    A_k = sum_b n_b n_(b+k) / (width^2 * pairs of bins), n the counts in bins of `width` seconds; pooled over trials.
    A Poisson train of rate r has r^2 at every lag, an absolutely refractory one 0 at short ones. Bin 0 is left out:
    it holds each spike with itself. spikes: (time, neuron, ..., trial); counted: broadcastable, 1 in steps that
    count, 0 in others, where spikes are 0, too. Raises InputError for bins that do not fit the step, or a lag
    shorter than a bin or as long as the recording.
    Source: Perkel, Gerstein & Moore 1967, doi:10.1016/S0006-3495(67)86596-2.
    """
    counts, shares, lags = _bins(spikes, counted, lag, width, dt)
    found = []
    for k in range(1, lags + 1):
        pairs = (shares[:-k] * shares[k:]).sum((0, -1)).clamp(min=1e-9)
        found.append((counts[:-k] * counts[k:]).sum((0, -1)) / (pairs * width**2))
    return torch.stack(found)


def crosscorrelogram(
    spikes: Tensor, counted: Tensor, *, lag: float, width: float, dt: float
) -> Tensor:
    """Density of spikes of neuron j that come k bins after one of i, k = 0 to lag/bin, in Hz^2: (k, i, j, ...).

    C_k(i, j) = sum_b n_b(i) n_(b+k)(j) / (width^2 * pairs of bins), pooled over trials; negative lags are those of
    (j, i). Independent Poisson trains have r_i r_j at every lag. The diagonal i = j is 0: it belongs to
    `autocorrelogram`, as do source, arguments and errors.
    """
    counts, shares, lags = _bins(spikes, counted, lag, width, dt)
    others = 1 - torch.eye(counts.shape[1], dtype=counts.dtype, device=counts.device)
    found = []
    for k in range(lags + 1):
        end = len(counts) - k
        if shares.shape[1] == 1:
            pairs = (shares[:end] * shares[k:]).sum((0, -1))
        else:
            pairs = _products(shares[:end], shares[k:]).movedim((-2, -1), (0, 1))
        products = _products(counts[:end], counts[k:]) * others
        found.append(products.movedim((-2, -1), (0, 1)) / (pairs.clamp(min=1e-9) * width**2))
    return torch.stack(found)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Sum the products of every two neurons over bins and trials, one product of matrices: (..., i, j)."""
    # (neuron, ..., bin and trial)
    early, late = (part.movedim(0, -1).flatten(-2).movedim(0, -2) for part in (first, second))
    return torch.matmul(early, late.mT)


def autocorrelogram_loss(
    draws: Sequence[Tensor],
    target: Tensor,
    counted: Tensor,
    *,
    lag: float,
    width: float,
    dt: float,
) -> Tensor:
    """Squared difference of the autocorrelograms, mean over lags and neurons, in Hz^2: (...).

    Each is divided by the target's rate first: Hz of a neuron's firing k bins after one of its spikes. The rate of a
    silent target counts as one spike in the whole time. Two draws: the product of both differences, without the
    variance of the model's own correlogram.
    """
    rates = _rates(target, counted, dt)
    grams, wanted = (
        [autocorrelogram(each, counted, lag=lag, width=width, dt=dt) / rates for each in trains]
        for trains in (draws, [target])
    )
    return unbiased_square(grams, wanted[0]).mean((0, 1))


def crosscorrelogram_loss(
    draws: Sequence[Tensor],
    target: Tensor,
    counted: Tensor,
    *,
    lag: float,
    width: float,
    dt: float,
) -> Tensor:
    """Squared difference of the cross-correlograms, mean over lags and ordered pairs of neurons, in Hz^2: (...).

    Each is divided by sqrt(r_i r_j) of the target first; the rest as in `autocorrelogram_loss`. Raises InputError for
    a single neuron.
    """
    n = target.shape[1]
    if n < 2:
        raise InputError(f"a crosscorrelogram of {n} neuron; at least 2 are expected")
    rates = _rates(target, counted, dt)
    scale = (rates[:, None] * rates[None, :]).sqrt()
    grams, wanted = (
        [crosscorrelogram(each, counted, lag=lag, width=width, dt=dt) / scale for each in trains]
        for trains in (draws, [target])
    )
    return unbiased_square(grams, wanted[0]).mean(0).sum((0, 1)) / (n * (n - 1))


def _bins(
    spikes: Tensor, counted: Tensor, lag: float, width: float, dt: float
) -> tuple[Tensor, Tensor, int]:
    """Return counts, the counted share of each bin, and how many bins `lag` is."""
    steps = steps_of(width, dt, "bin")
    counts, shares = binned(spikes, steps), binned(counted, steps) / steps
    lags = int(lag / width + 1e-6)
    if not 1 <= lags < len(counts):
        raise InputError(
            f"lag = {lag:g} s is {lags} bins of {width:g} s in runs of {len(counts)}; at least 1 and fewer than "
            "the runs have are expected"
        )
    return counts, shares.expand(*shares.shape[:-1], spikes.shape[-1]), lags


def _rates(target: Tensor, counted: Tensor, dt: float) -> Tensor:
    """Return the target's rates in Hz, at least one spike in the whole time: (neuron, ...)."""
    seconds = counted.expand(*counted.shape[:-1], target.shape[-1]).sum((0, -1)) * dt
    return target.sum((0, -1)).clamp(min=1) / seconds.clamp(min=dt)
