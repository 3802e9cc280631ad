"""The step of which recorded times are multiples: the clock of the amplifier, the frame of the camera, or rounding."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
LOOSE = 0.05  # of a step: how far times may be off the grid; by chance, n times are with probability 0.1**n
EARLY = 0.2  # of a step, the same while the step is being refined
FEWEST = 10  # different times below which nothing can be said
FINEST = 1e-6  # s
SHARED = 8  # the shortest interval is at most as many steps


def time_grid(times: ArrayLike) -> float:
    """Return the largest step (s) such that the times differ by multiples of it, within 5 % of a step; nan if none.

    times: (spike,), any order, s. The step starts as a fraction of the shortest difference and is refined by least squares
    over longer and longer stretches, so that its error stays below a step at the end.
    """
    own = np.unique(np.asarray(times, dtype=np.float64))
    if len(own) < FEWEST:
        return float("nan")
    since = own - own[0]
    steps = np.diff(own)
    # differences below the finest step are rounding
    shortest = steps[steps > FINEST / 2].min(initial=np.inf)
    lengths = np.diff(np.unique(steps))
    closest = lengths[lengths > FINEST / 2].min(initial=np.inf)
    for guess in (shortest, closest):
        for divisor in range(1, SHARED + 1) if np.isfinite(guess) else ():
            step = _refined(since, steps, guess / divisor)
            if step is not None and step >= FINEST / 2:
                return step
    return float("nan")


def _refined(since: Array, steps: Array, guess: float) -> float | None:
    """Return the step near `guess` that all times are multiples of, or None."""
    step = float(guess)
    # short differences first: how many steps they are is known even while the step is not known well
    for values, reach in (
        *((steps, reach) for reach in (3.5, 10, 30, 100)),
        *_reaches(since, guess),
    ):
        own = values[values < reach * step]
        counts = np.round(own / step)
        if (np.abs(own / step - counts) > EARLY).any():
            return None
        if counts.any():
            step = float((own * counts).sum() / (counts**2).sum())
    return step if (np.abs(since / step - np.round(since / step)) <= LOOSE).all() else None


def _reaches(since: Array, guess: float) -> list[tuple[Array, float]]:
    """Return stretches from the first time on, each three times as many steps as the one before."""
    n = int(np.ceil(np.log(max(3.0, since[-1] / guess / 30)) / np.log(3))) + 1
    return [(since, 100.0 * 3**k) for k in range(1, n)] + [(since, np.inf)]
