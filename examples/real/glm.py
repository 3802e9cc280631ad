"""The baseline of both examples: logistic regression of each neuron on traces of spikes (a Bernoulli GLM).

The likelihood is that of the networks: spike or no spike in each step, one step ahead. Fitted by scikit-learn, which the project
needs anyway; after Truccolo et al. 2005, doi:10.1152/jn.00697.2004, and Pillow et al. 2008, doi:10.1038/nature07140.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float64]
FREE = 10.0  # own history is penalised 100 times less than couplings: it is what the data know best


def traces(spikes: Array, taus: tuple[float, ...], dt: float) -> Array:
    """Return exponential traces of all earlier spikes, (tau, time, neuron); taus and dt in seconds."""
    found = [lfilter([1], [1, -np.exp(-dt / tau)], spikes, axis=0)[:-1] for tau in taus]
    first = np.zeros((1, spikes.shape[1]))
    return np.stack([np.concatenate([first, trace]) for trace in found])


@dataclass(frozen=True, slots=True)
class Glm:
    """logit p = bias + sum_k couple[k] . (trace_k - mean_k) + sum_k own[k]*trace_k of each neuron.

    bias (neuron,), couple (tau, pre, post), own (tau, neuron), mean (tau, pre) and own_mean (tau, neuron): of the
    traces; spread: of each family of couplings' traces; ridge: the prior variance of a coupling times that spread.
    """

    bias: Array
    couple: Array
    own: Array
    mean: Array
    spread: Array
    own_mean: Array
    taus: tuple[tuple[float, ...], tuple[float, ...]]  # of couplings, of own history
    dt: float
    ridge: float

    def logits(self, spikes: Array) -> Array:
        """Return the log-odds of a spike in each step given all before, (time, neuron)."""
        others, own = (traces(spikes, taus, self.dt) for taus in self.taus)
        found = self.bias + np.einsum("kti,ki->ti", own, self.own)
        return found + sum(
            (x - m) @ w for x, m, w in zip(others, self.mean, self.couple, strict=True)
        )

    def run(self, past: Array, n_steps: int, trials: int, seed: int) -> Array:
        """Return spikes of the model on its own after the spikes of `past`, (trial, time, neuron)."""
        rng, decay = (
            np.random.default_rng(seed),
            [np.exp(-self.dt / np.array(t)) for t in self.taus],
        )
        once = np.concatenate([past, np.zeros((1, past.shape[1]))])
        others, own = (
            np.repeat(traces(once, t, self.dt)[:, -1:], trials, axis=1) for t in self.taus
        )
        found = np.zeros((trials, n_steps, past.shape[1]))
        for n in range(n_steps):
            logit = self.bias + (own * self.own[:, None]).sum(0)
            logit += ((others - self.mean[:, None]) @ self.couple).sum(0)
            spikes = rng.random(logit.shape) < 1 / (1 + np.exp(-logit))
            found[:, n] = spikes
            others = (others + spikes) * decay[0][:, None, None]
            own = (own + spikes) * decay[1][:, None, None]
        return found


def fit_glm(
    spikes: Array,
    taus: tuple[tuple[float, ...], tuple[float, ...]],
    dt: float,
    ridge: float,
    skip: int,
) -> Glm:
    """Fit every neuron; ridge: prior variance of a coupling in units of its family's mean spread; skip: first steps."""
    n = spikes.shape[1]
    others, own = (traces(spikes, t, dt) for t in taus)
    mean, spread = others[:, skip:].mean(1), others[:, skip:].std(1).mean(1)
    spread_own, mean_own = own[:, skip:].std(1).mean(1), own[:, skip:].mean(1)
    scaled = np.concatenate(
        [(x - m) / s for x, m, s in zip(others, mean, spread, strict=True)], axis=1
    )[skip:]
    bias, couple, history = np.zeros(n), np.zeros((len(taus[0]), n, n)), np.zeros((len(taus[1]), n))
    for i in range(n):
        held = (own[:, skip:, i] - mean_own[:, i, None]).T / spread_own * FREE
        features, seen = np.concatenate([scaled, held], axis=1), spikes[skip:, i]
        features[:, [k * n + i for k in range(len(taus[0]))]] = 0.0  # no neuron couples to itself
        if seen.sum() < 2:
            bias[i] = np.log((seen.sum() + 0.5) / len(seen))
            continue
        found = LogisticRegression(C=ridge, max_iter=300).fit(features, seen)
        weights = found.coef_[0]
        couple[:, :, i] = weights[: couple.shape[0] * n].reshape(-1, n) / spread[:, None]
        history[:, i] = weights[couple.shape[0] * n :] * FREE / spread_own
        bias[i] = found.intercept_[0] - history[:, i] @ mean_own[:, i]
    return Glm(bias, couple, history, mean, spread, mean_own, taus, dt, ridge)
