"""Predicted probabilities of spikes against the spikes: log-likelihoods, and bits per spike above a baseline."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqsnn.errors import InputError

Array = NDArray[np.float64]


def bernoulli_log_likelihood(spikes: Array, logits: ArrayLike) -> Array:
    """Return the log-probability of each neuron's spikes and silences, in nats: (neuron,).

    spikes: 0 or 1, (time, neuron); logits: log-odds of a spike in each step, broadcastable to it. log p(spike) =
    -log(1 + exp(-logit)), without loss of precision at either end.
    """
    away = np.where(np.asarray(spikes) > 0, -1.0, 1.0) * np.asarray(logits, float)
    return -np.logaddexp(0.0, away).sum(0)


def rate_logits(spikes: Array) -> Array:
    """Return the log-odds of a spike in a step of neurons that fire at random with the rates of `spikes`: (neuron,).

    A neuron that never fired counts as if it had fired half a spike, so that a later one is not impossible.
    """
    n_steps = len(spikes)
    share = np.clip(spikes.mean(0), 0.5 / n_steps, 1 - 0.5 / n_steps)
    return np.log(share / (1 - share))


def bits_per_spike(log_likelihood: Array, baseline: Array, n_spikes: float) -> float:
    """Return (log L - log L0)/(n log 2): what each of n spikes tells more than the baseline; arrays are summed.

    0: no better than the baseline; negative: worse. Source: Brenner et al. 2000, doi:10.1162/089976600300015259, for the
    information per spike; Pillow et al. 2008, doi:10.1038/nature07140, for the difference of log-likelihoods. Raises
    InputError without spikes.
    """
    if n_spikes <= 0:
        raise InputError("no spikes were held out, so there is nothing to predict")
    return float((np.sum(log_likelihood) - np.sum(baseline)) / n_spikes / np.log(2))
