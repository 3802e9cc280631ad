"""How far fitted parameters are from the truth."""

import numpy as np
from numpy.typing import ArrayLike


def relative_error(fitted: ArrayLike, truth: ArrayLike) -> float:
    """Median over elements of |p - p*|/|p*|; elements whose truth is 0 are left out."""
    p, t = np.broadcast_arrays(np.asarray(fitted, float), np.asarray(truth, float))
    usable = t != 0
    return (
        float(np.median(np.abs(p - t)[usable] / np.abs(t)[usable]))
        if usable.any()
        else float("nan")
    )


def absolute_error(fitted: ArrayLike, truth: ArrayLike) -> float:
    """Mean over elements of |p - p*|."""
    return float(np.abs(np.asarray(fitted, float) - np.asarray(truth, float)).mean())


def weight_error(fitted: ArrayLike, truth: ArrayLike) -> float:
    """||W - W*||/||W*|| (Frobenius)."""
    p, t = np.asarray(fitted, float), np.asarray(truth, float)
    return float(np.linalg.norm(p - t) / np.linalg.norm(t))


def weight_correlation(fitted: ArrayLike, truth: ArrayLike) -> float:
    """Pearson correlation of all weights."""
    return float(
        np.corrcoef(np.ravel(np.asarray(fitted, float)), np.ravel(np.asarray(truth, float)))[0, 1]
    )
