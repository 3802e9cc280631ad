"""Signals of other libraries as known drives: regular samples that cover every trial."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError

Array = NDArray[np.float64]
IRREGULAR = 0.01  # of a step: how much steps may differ
SHORT = 1.5  # steps: how much of a trial a signal may leave out at its ends


def covering(
    name: str, times: Array, values: Array, starts: Sequence[float], stops: Sequence[float]
) -> tuple[Array, float]:
    """Return a signal's samples in each trial as a drive, and their step (s).

    times (s) and values, (sample,) or (sample, channel), of the whole recording. The drive is (time,) or
    (time, channel) for one trial or if it is the same in each, else (trial, time, channel). Shorter trials hold their
    last sample. Raises InputError if samples are irregular or do not cover a trial.
    """
    if len(times) < 2:
        raise InputError(f"the signal `{name}` has {len(times)} samples; a drive needs some")
    step = float(np.median(np.diff(times)))
    n_steps = [
        max(1, round((stop - start) / step)) for start, stop in zip(starts, stops, strict=True)
    ]
    parts = []
    for start, stop in zip(starts, stops, strict=True):
        first = max(0, int(np.searchsorted(times, start + 1e-6 * step, side="right")) - 1)
        last = int(np.searchsorted(times, stop - 1e-6 * step, side="left"))
        own = times[first:last]
        lacking = (
            len(own) == 0 or own[0] - start > SHORT * step or stop - own[-1] > SHORT * step + step
        )
        if lacking:
            raise InputError(
                f"the signal `{name}` goes from {times[0]:g} to {times[-1]:g} s and does not cover the trial from "
                f"{start:g} to {stop:g} s; choose a --window, or another signal"
            )
        if (np.abs(np.diff(own) - step) > IRREGULAR * step).any() or not np.isfinite(
            values[first:last]
        ).all():
            raise InputError(
                f"the signal `{name}` is not sampled regularly, or holds NaN, between {start:g} and {stop:g} s; "
                "resample it first"
            )
        parts.append(_filled(values[first:last], max(n_steps)))
    if all(np.array_equal(part, parts[0]) for part in parts):
        return parts[0], step
    together = np.stack(parts)
    return (together if together.ndim == 3 else together[:, :, None]), step


def by_trial(values: Array, n_trials: int) -> Array:
    """Return a drive, (time,), (time, channel) or (trial, time, channel), as a trace: (trial, time, channel)."""
    if values.ndim == 3:
        return values
    one = values if values.ndim == 2 else values[:, None]
    return np.repeat(one[None], n_trials, axis=0)


def _filled(values: Array, n_steps: int) -> Array:
    """Return values with the last one held up to `n_steps`; a single channel as (time,)."""
    values = np.asarray(values, dtype=np.float64)
    values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    missing = n_steps - len(values)
    return (
        np.concatenate([values, np.repeat(values[-1:], missing, axis=0)])
        if missing > 0
        else values[:n_steps]
    )
