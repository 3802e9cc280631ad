"""Statistics of a recording, over observed time. A value that too few spikes leave undefined is nan."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from eqsnn.simulation.gaps import merged
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]


def interval_cv(recording: Recording) -> Array:
    """Coefficient of variation of the interspike intervals of each neuron, trials pooled: (neuron,); nan below 3 spikes."""
    found = [
        np.std(own) / np.mean(own) if len(own) >= 2 and np.mean(own) > 0 else np.nan
        for own in intervals(recording)
    ]
    return np.array(found, dtype=np.float64)


def intervals(recording: Recording) -> list[Array]:
    """Return the interspike intervals (s) of each neuron that no gap interrupts, trials pooled: `intervals[unit]`."""
    trains = recording.trains()
    return [
        np.concatenate(
            [np.zeros(0)]
            + [
                _uninterrupted(recording, trains[k][unit], unit, k)
                for k in range(recording.n_trials)
            ]
        )
        for unit in range(recording.n_units)
    ]


def pooled_intervals(recording: Recording) -> Array:
    """Return the interspike intervals of all neurons and trials together, in seconds; none spans a gap."""
    return np.concatenate([np.zeros(0), *intervals(recording)])


def _uninterrupted(recording: Recording, train: Array, unit: int, trial: int) -> Array:
    whole = np.ones(max(0, len(train) - 1), dtype=bool)
    for start, end in merged(recording.gaps, trial, unit) if len(recording.gaps) else ():
        whole &= (train[1:] <= start) | (train[:-1] >= end)
    return np.diff(train)[whole]


def _observed_counts(recording: Recording, bin_s: float) -> Array:
    """Return spike counts, (trial, bin, neuron), nan in bins that were not observed from beginning to end."""
    counts = recording.counts(bin_s).astype(float)
    if len(recording.gaps):
        counts[~recording.seen(bin_s)[:, : counts.shape[1]]] = np.nan
    return counts


def fano_factor(recording: Recording, *, bin_s: float = 0.1) -> Array:
    """Variance over mean of the spike counts in bins, all trials: (neuron,); nan for a silent neuron."""
    counts = _observed_counts(recording, bin_s).reshape(-1, recording.n_units)
    known = np.isfinite(counts).any(0)
    mean, variance = np.full((2, recording.n_units), np.nan)
    mean[known], variance[known] = (f(counts[:, known], axis=0) for f in (np.nanmean, np.nanvar))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mean > 0, variance / mean, np.nan)


def correlations(recording: Recording, *, bin_s: float = 0.1) -> Array:
    """Pearson correlation of binned counts between neurons: (neuron, neuron); nan where a neuron never varies.

    Of two neurons with gaps the bins count in which both were observed.
    """
    counts = _observed_counts(recording, bin_s).reshape(-1, recording.n_units)
    if len(recording.gaps):
        return _pairwise(counts)
    centred = counts - counts.mean(0)
    norm = np.sqrt((centred**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(
            np.outer(norm, norm) > 0, centred.T @ centred / np.outer(norm, norm), np.nan
        )


def _pairwise(counts: Array) -> Array:
    """Correlate every two columns over the rows in which both are known."""
    n = counts.shape[1]
    found = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(n):
            x, y = counts[np.isfinite(counts[:, i] + counts[:, j])][:, [i, j]].T
            if len(x) and x.std() > 0 and y.std() > 0:
                found[i, j] = ((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std())
    return found


def block_correlation(
    recording: Recording, first: list[int], second: list[int], *, bin_s: float = 0.1
) -> float:
    """Mean correlation between two groups of neurons, pairs of a neuron with itself left out."""
    matrix = correlations(recording, bin_s=bin_s)
    pairs = [matrix[i, j] for i in first for j in second if i != j]
    return float(np.nanmean(pairs)) if len(pairs) and not np.all(np.isnan(pairs)) else float("nan")


def psth(recording: Recording, *, bin_s: float = 0.02, smoothing_s: float = 0.02) -> Array:
    """Trial-averaged firing rate in Hz, smoothed by a Gaussian: (bin, neuron); nan where no trial was observed near."""
    if len(recording.gaps):
        return _smoothed_around_gaps(_observed_counts(recording, bin_s), bin_s, smoothing_s)
    rate = recording.counts(bin_s).mean(0) / bin_s
    return (
        gaussian_filter1d(rate, smoothing_s / bin_s, axis=0, mode="nearest")
        if smoothing_s
        else rate
    )


def _smoothed_around_gaps(counts: Array, bin_s: float, smoothing_s: float) -> Array:
    """Smooth spikes and observed bins alike; their ratio is the rate."""
    known = np.isfinite(counts)
    sums, bins = np.where(known, counts, 0.0).sum(0), known.sum(0).astype(float)
    if smoothing_s:
        sums, bins = (
            gaussian_filter1d(x, smoothing_s / bin_s, axis=0, mode="nearest") for x in (sums, bins)
        )
    return np.where(bins > 0, sums / np.where(bins > 0, bins, 1.0), np.nan) / bin_s


def psth_correlation(
    a: Recording, b: Recording, *, bin_s: float = 0.02, smoothing_s: float = 0.02
) -> Array:
    """Pearson correlation of the two PSTHs of each neuron: (neuron,); nan for a constant one."""
    first, second = (psth(r, bin_s=bin_s, smoothing_s=smoothing_s) for r in (a, b))
    if len(a.gaps) or len(b.gaps):
        pairs = (_pairwise(np.stack([x, y], axis=1))[0, 1] for x, y in zip(first.T, second.T, strict=True))  # fmt: skip
        return np.array(list(pairs))
    x, y = first - first.mean(0), second - second.mean(0)
    norm = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (x * y).sum(0) / norm, np.nan)
