"""pynapple: a TsGroup of spike trains, whose time support says when they were observed.

Source: Viejo et al. 2023, eLife 12:RP85786; https://pynapple.org
"""

from typing import Any
from warnings import warn

import numpy as np

from eqsnn.errors import InputError
from eqsnn.formats.optional import library
from eqsnn.formats.source import Source, observed_gaps, recording_of
from eqsnn.simulation.gaps import merged
from eqsnn.simulation.recording import Recording


def from_pynapple(
    group: Any, *, trials: Any = None, name: str = "", dt: float | None = None
) -> Recording:
    """Return a `pynapple.TsGroup` (or one `Ts`) as a recording.

    Its time support, from the first start to the last end, is one trial whose times begin at 0; what lies between its
    intervals is a gap. trials: an IntervalSet, each interval of which is a trial instead. name: the metadata column that
    names the units (default: their keys). Raises InputError.
    """
    if hasattr(group, "times") and not hasattr(group, "items"):
        group = {0: group}
    units = list(group.items()) if hasattr(group, "items") else None
    if not units or not all(hasattr(ts, "times") for _, ts in units):
        raise InputError(
            f"{type(group).__name__} holds no spike trains; a pynapple TsGroup with at least one is expected"
        )
    support = group.time_support if hasattr(group, "time_support") else units[0][1].time_support
    observed = np.asarray(support.values, dtype=np.float64).reshape(-1, 2)
    rows = observed if trials is None else np.asarray(trials.values, dtype=np.float64)
    if not len(rows):
        raise InputError("the intervals that should be trials are none")
    starts = rows[:1, 0] if trials is None else rows[:, 0]
    stops = rows[-1:, 1] if trials is None else rows[:, 1]
    times, unit_ids, trial_ids = [], [], []
    for place, (_, ts) in enumerate(units):
        train = np.asarray(ts.times(), dtype=np.float64)
        for k, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            # a spike at the end of an interval belongs to the next one if that begins there
            end = train < stop if (starts == stop).any() else train <= stop
            own = train[(train >= start) & end]
            times.append(own)
            unit_ids.append(np.full(len(own), place))
            trial_ids.append(np.full(len(own), k))
    gaps = [
        row
        for k, (start, stop) in enumerate(zip(starts, stops, strict=True))
        for row in observed_gaps([_within(observed, start, stop)] * len(units), start, stop, k)
    ]
    source = Source(
        np.concatenate(times), np.concatenate(unit_ids).astype(np.int64),
        np.concatenate(trial_ids).astype(np.int64), len(units), starts, stops,
        unit_names=_names(group, [key for key, _ in units], name), gaps=np.array(gaps).reshape(-1, 4),
    )  # fmt: skip
    recording, notes = recording_of(source, dt)
    for note in notes:
        warn(note, stacklevel=2)
    return recording


def _within(intervals: np.ndarray, start: float, stop: float) -> np.ndarray:
    own = np.clip(intervals, start, stop)
    return own[own[:, 1] > own[:, 0]]


def _names(group: Any, keys: list[Any], name: str) -> tuple[str, ...]:
    if name:
        try:
            return tuple(map(str, group[name]))
        except (KeyError, IndexError, ValueError, TypeError):
            raise InputError(f"the TsGroup has no metadata `{name}`") from None
    return () if keys == list(range(len(keys))) else tuple(map(str, keys))


def to_pynapple(recording: Recording, trial: int | None = None) -> Any:
    """Return the spikes as a `pynapple.TsGroup`; the names of units are its metadata `unit_name`.

    trial: which one, where there are several. The time support is what was observed: gaps of all units are left out of
    it. pynapple rounds times to 1 ns. Warns of drives, traces and parameters, which a group does not hold. Raises
    InputError for several trials without a choice, for gaps of single units (a TsGroup has one support), or if
    pynapple is not installed.
    """
    nap = library("pynapple", "pynapple")
    if trial is None and recording.n_trials > 1:
        raise InputError(
            f"the recording has {recording.n_trials} trials, a TsGroup one timeline; choose one (trial=0)"
        )
    one = recording.trials([trial or 0])
    if not one.n_units:
        raise InputError("the recording has no units; a TsGroup needs at least one")
    seen = [list(merged(one.gaps, 0, unit)) for unit in range(one.n_units)]
    if any(own != seen[0] for own in seen):
        raise InputError(
            "single units have gaps of their own, but a TsGroup has one time support; leave out these units "
            "(recording.select) or cut a window without their gaps"
        )
    edges = [0.0, *(edge for gap in seen[0] for edge in gap), one.duration]
    pairs = [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]
    support = nap.IntervalSet(start=[a for a, _ in pairs], end=[b for _, b in pairs])
    trains = {
        unit: nap.Ts(one.train(unit), time_units="s", time_support=support)
        for unit in range(one.n_units)
    }
    names = {"unit_name": np.array(one.unit_names)} if one.unit_names else {}
    if one.inputs or one.traces or one.parameters:
        warn(
            f"{', '.join([*one.inputs, *one.traces, *one.parameters])}: a TsGroup holds spikes only; make a nap.Tsd of each",
            stacklevel=2,
        )
    return nap.TsGroup(trains, time_support=support, metadata=names)
