"""What was not observed: stretches of time, of some or all neurons and trials, as rows of one array.

A row is (trial, start, end, unit), times in seconds from the start of the trial, with -1 for every trial or every unit.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqsnn.errors import InputError

Array = NDArray[np.float64]
EVERY = -1
SLACK = 1e-3  # of a step: how far rounding may push an end of a gap, or a spike at it, beyond the edge of a step


def checked_gaps(gaps: ArrayLike, duration: float, n_units: int, n_trials: int) -> Array:
    """Return gaps as (row, 4), ends beyond the trial cut off by rounding only. Raises InputError for rows that are none."""
    rows = np.asarray(gaps, dtype=np.float64)
    if rows.size == 0:
        return np.zeros((0, 4))
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise InputError(
            f"`gaps` has shape {rows.shape}; rows of trial, start (s), end (s), unit are expected"
        )
    for row in rows:
        trial, start, end, unit = row.tolist()
        text = f"the gap [{trial:g}, {start:g}, {end:g}, {unit:g}]"
        if not np.isfinite(row).all():
            raise InputError(f"{text} is not finite; give its ends in seconds")
        if not 0 <= start < end <= duration * (1 + 1e-9) + 1e-9:
            raise InputError(
                f"{text} does not lie within the trial of {duration:g} s; "
                "rows of trial, start (s), end (s), unit are expected, with start < end"
            )
        for what, value, below in (("trial", trial, n_trials), ("unit", unit, n_units)):
            if value != int(value) or not EVERY <= value < below:
                raise InputError(
                    f"{text}: {what} {value:g} is not there; "
                    f"whole numbers from 0 to {below - 1}, or -1 for every {what}, are expected"
                )
    rows = rows.copy()
    rows[:, 2] = np.minimum(rows[:, 2], duration)
    return rows


def ids_of(value: float, n: int) -> slice:
    """Return the trials or units that an entry of a row stands for."""
    return slice(0, n) if value == EVERY else slice(int(value), int(value) + 1)


def within(
    gaps: Array,
    times: Array,
    units: NDArray[np.int64],
    trials: NDArray[np.int64],
    *,
    first: float,
    last: float,
) -> NDArray[np.bool_]:
    """Return which spikes lie in a gap of their neuron and trial, from start + first to end + last, (spike,)."""
    found = np.zeros(len(times), dtype=bool)
    for trial, start, end, unit in gaps:
        here = (times >= start + first) & (times < end + last)
        here &= (trial == EVERY) | (trials == trial)
        found |= here & ((unit == EVERY) | (units == unit))
    return found


def contradicting(
    gaps: Array, times: Array, units: NDArray[np.int64], trials: NDArray[np.int64], dt: float
) -> NDArray[np.bool_]:
    """Return which spikes were seen while nobody observed, bool (spike,); at the ends of a gap rounding of steps is forgiven."""
    return within(gaps, times, units, trials, first=SLACK * dt, last=-SLACK * dt)


def seen_steps(gaps: Array, shape: tuple[int, int, int], dt: float) -> NDArray[np.bool_]:
    """Return which steps were observed from beginning to end, bool (trial, time, neuron), for steps of `dt` seconds."""
    seen = np.ones(shape, dtype=bool)
    for trial, start, end, unit in gaps:
        first = int(np.floor(start / dt + SLACK))
        last = int(np.ceil(end / dt - SLACK))
        seen[ids_of(trial, shape[0]), first:last, ids_of(unit, shape[2])] = False
    return seen


def observed_seconds(gaps: Array, duration: float, n_units: int, n_trials: int) -> Array:
    """Return how long each neuron was observed in each trial, (trial, neuron), in seconds; gaps may overlap."""
    found = np.full((n_trials, n_units), duration)
    for trial in range(n_trials) if len(gaps) else ():
        for unit in range(n_units):
            found[trial, unit] -= sum(end - start for start, end in merged(gaps, trial, unit))
    # what rounding leaves of a neuron that was never observed
    return np.where(found > 1e-9 * duration, found, 0.0)


def merged(gaps: Array, trial: int, unit: int) -> Iterator[tuple[float, float]]:
    """Yield the gaps of one neuron in one trial in the order of time, overlapping ones as one."""
    own = gaps[np.isin(gaps[:, 0], (EVERY, trial)) & np.isin(gaps[:, 3], (EVERY, unit))]
    last: tuple[float, float] | None = None
    for start, end in own[np.argsort(own[:, 1]), 1:3].tolist():
        if last is not None and start <= last[1]:
            last = (last[0], max(last[1], end))
            continue
        if last is not None:
            yield last
        last = (start, end)
    if last is not None:
        yield last


def cut_gaps(gaps: Array, start: float, stop: float) -> Array:
    """Return the gaps within a window, times from its beginning."""
    kept = gaps[(gaps[:, 1] < stop) & (gaps[:, 2] > start)].copy()
    kept[:, 1:3] = np.clip(kept[:, 1:3] - start, 0.0, stop - start)
    return kept[kept[:, 2] > kept[:, 1]]


def renumber(gaps: Array, column: int, wanted: Sequence[int] | NDArray[np.int64]) -> Array:
    """Return the gaps of the wanted trials (column 0) or units (column 3), numbered by their place in `wanted`."""
    every = gaps[gaps[:, column] == EVERY]
    found = [every]
    for place, old in enumerate(wanted):
        own = gaps[gaps[:, column] == old].copy()
        own[:, column] = place
        found.append(own)
    return np.concatenate(found)


def never_recorded(units: Sequence[int], duration: float) -> Array:
    """Return the gaps of neurons that were never observed."""
    rows = [[EVERY, 0.0, duration, unit] for unit in units]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)
