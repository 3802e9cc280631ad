"""Distances between two spike trains, from exact spike times; evaluation only."""

import numpy as np
from numpy.typing import NDArray

Train = NDArray[np.float64]


def van_rossum_distance(a: Train, b: Train, *, tau: float) -> float:
    """Squared van Rossum distance of two sorted spike trains over an infinite window, both and tau in seconds.

    D^2 = 1/2 [sum exp(-|a_i - a_j|/tau) + sum exp(-|b_k - b_l|/tau) - 2 sum exp(-|a_i - b_k|/tau)]: one lone spike
    costs 1/2 (Elephant normalises it to 1). O(n) by running sums. Source: van Rossum 2001,
    doi:10.1162/089976601300014321; Houghton & Kreuz 2012, doi:10.3109/0954898X.2012.673048.
    """
    times = np.concatenate([a, b])
    signs = np.concatenate([np.ones(len(a)), -np.ones(len(b))])
    order = np.argsort(times, kind="stable")
    trace, total, last = 0.0, 0.0, 0.0
    for time, sign in zip(times[order], signs[order], strict=True):
        trace *= np.exp((last - time) / tau)
        total += (
            0.5 + sign * trace
        )  # the spike with itself, and twice its half with every earlier one
        trace += sign
        last = time
    return max(0.0, float(total))


def coincidences(a: Train, b: Train, *, delta: float) -> int:
    """Return how many spikes of two sorted trains can be paired one to one within `delta` seconds (greedy in time)."""
    i = j = hits = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= delta + 1e-9:
            hits, i, j = hits + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return hits


def f1_score(a: Train, b: Train, *, delta: float = 1e-3) -> float:
    """2 coincidences/(n_a + n_b): 1 for equal trains, nan if both are empty."""
    return (
        2 * coincidences(a, b, delta=delta) / (len(a) + len(b)) if len(a) + len(b) else float("nan")
    )


def gamma_factor(model: Train, data: Train, *, duration: float, delta: float = 2e-3) -> float:
    """Coincidence factor: 1 for a perfect match, 0 for a Poisson train of the model's rate.

    Gamma = (N_coinc - 2 nu delta N_data) / (1/2 (N_data + N_model) (1 - 2 nu delta)), nu the model's rate; pairs are
    one to one. nan if both trains are empty. Source: Kistler, Gerstner & van Hemmen 1997,
    doi:10.1162/neco.1997.9.5.1015; Jolivet et al. 2008, doi:10.1007/s10827-007-0061-z.
    """
    if len(model) + len(data) == 0:
        return float("nan")
    chance = 2 * len(model) / duration * delta
    hits = coincidences(model, data, delta=delta)
    return (hits - chance * len(data)) / (0.5 * (len(data) + len(model)) * (1 - chance))
