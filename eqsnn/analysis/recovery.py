"""How far fitted parameters are from the truth."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Recovery:
    """How well one parameter was recovered, over the elements that exist.

    absolute: mean of |p - p*|; relative: median of |p - p*|/|p*|; start: the same as relative at the start of the best
    restart, nan if unknown; correlation: of several elements, nan below three; covered: share of the 90 % intervals that
    hold the truth, nan without intervals; errors: root mean square of (p - p*)/standard error.
    """

    elements: int
    absolute: float
    relative: float
    start: float
    correlation: float
    covered: float
    errors: float


def recovery(
    fitted: ArrayLike,
    truth: ArrayLike,
    *,
    start: ArrayLike | None = None,
    std: ArrayLike | None = None,
    interval: tuple[ArrayLike, ArrayLike] | None = None,
) -> Recovery:
    """Return how far `fitted` is from `truth`; elements whose std is nan do not exist and do not count."""
    p = np.asarray(fitted, float)
    t = np.broadcast_to(np.asarray(truth, float), p.shape)
    exists = np.ones(p.shape, bool) if std is None else np.isfinite(np.asarray(std, float))
    if not exists.any():
        return Recovery(0, *[np.nan] * 6)
    p, t = p[exists], t[exists]
    s = None if start is None else np.broadcast_to(np.asarray(start, float), exists.shape)[exists]
    varies = len(p) >= 3 and p.std() > 0 and t.std() > 0
    covered, errors = np.nan, np.nan
    if interval is not None:
        low, high = (np.asarray(end, float)[exists] for end in interval)
        covered = float(((low <= t) & (t <= high)).mean())
    if std is not None:
        sd = np.asarray(std, float)[exists]
        errors = (
            float(np.sqrt((((p - t)[sd > 0] / sd[sd > 0]) ** 2).mean()))
            if (sd > 0).any()
            else np.nan
        )
    return Recovery(
        elements=len(p),
        absolute=absolute_error(p, t),
        relative=relative_error(p, t),
        start=np.nan if s is None else relative_error(s, t),
        correlation=weight_correlation(p, t) if varies else np.nan,
        covered=covered,
        errors=errors,
    )
