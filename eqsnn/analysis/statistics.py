"""Statistics of a recording. A value that too few spikes leave undefined is nan."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]


def interval_cv(recording: Recording) -> Array:
    """Coefficient of variation of the interspike intervals of each neuron, trials pooled: (neuron,); nan below 3 spikes."""
    found = []
    for unit in range(recording.n_units):
        intervals = np.concatenate(
            [np.diff(recording.train(unit, trial)) for trial in range(recording.n_trials)]
        )
        found.append(np.std(intervals) / np.mean(intervals) if len(intervals) >= 2 else np.nan)
    return np.array(found)


def fano_factor(recording: Recording, *, bin_s: float = 0.1) -> Array:
    """Variance over mean of the spike counts in bins, all trials: (neuron,); nan for a silent neuron."""
    counts = recording.counts(bin_s).reshape(-1, recording.n_units)
    mean = counts.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mean > 0, counts.var(0) / mean, np.nan)


def correlations(recording: Recording, *, bin_s: float = 0.1) -> Array:
    """Pearson correlation of binned counts between neurons: (neuron, neuron); nan where a neuron never varies."""
    counts = recording.counts(bin_s).reshape(-1, recording.n_units).astype(float)
    centred = counts - counts.mean(0)
    norm = np.sqrt((centred**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(
            np.outer(norm, norm) > 0, centred.T @ centred / np.outer(norm, norm), np.nan
        )


def block_correlation(
    recording: Recording, first: list[int], second: list[int], *, bin_s: float = 0.1
) -> float:
    """Mean correlation between two groups of neurons, pairs of a neuron with itself left out."""
    matrix = correlations(recording, bin_s=bin_s)
    pairs = [matrix[i, j] for i in first for j in second if i != j]
    return float(np.nanmean(pairs)) if len(pairs) and not np.all(np.isnan(pairs)) else float("nan")


def psth(recording: Recording, *, bin_s: float = 0.02, smoothing_s: float = 0.02) -> Array:
    """Trial-averaged firing rate in Hz, smoothed by a Gaussian: (bin, neuron)."""
    rate = recording.counts(bin_s).mean(0) / bin_s
    return (
        gaussian_filter1d(rate, smoothing_s / bin_s, axis=0, mode="nearest")
        if smoothing_s
        else rate
    )


def psth_correlation(
    a: Recording, b: Recording, *, bin_s: float = 0.02, smoothing_s: float = 0.02
) -> Array:
    """Pearson correlation of the two PSTHs of each neuron: (neuron,); nan for a constant one."""
    first, second = (psth(r, bin_s=bin_s, smoothing_s=smoothing_s) for r in (a, b))
    x, y = first - first.mean(0), second - second.mean(0)
    norm = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(norm > 0, (x * y).sum(0) / norm, np.nan)
