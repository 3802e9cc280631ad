"""Source: what a file or an object of another library says, before anything is cut, sorted or left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqsnn.errors import InputError
from eqsnn.language.units import UnknownUnit, describe, parse_unit
from eqsnn.simulation.gaps import EVERY, checked_gaps, contradicting
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.recording_file import DEFAULT_DT

Array = NDArray[np.float64]
ROUNDING = 1e-9  # s: how far sums of times may be off
NO_PARAMETERS = "the parameters that the recording was made with are left out; .npz holds them"
# names of units that files of other libraries use, in the language of model files
SPELLINGS = {"volts": "volt", "amperes": "amp", "A": "amp", "V": "volt", "dimensionless": "1", "": "1", "a.u.": "1"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Spikes and signals on the clock of a file.

    spike_times (s), unit_ids and trial_ids are parallel, in the order of the file. starts, stops: when each trial was
    observed (s, on the clock of its spikes), (trial,). gaps: rows of trial, start, end, unit, on the same clock, -1 for
    every trial or unit. inputs, traces: from the start of each trial on, as those of a Recording; input_dt: their steps.
    notes: what a reader had to assume or leave out.
    """

    spike_times: Array = field(repr=False)
    unit_ids: NDArray[np.int64] = field(repr=False)
    trial_ids: NDArray[np.int64] = field(repr=False)
    n_units: int
    starts: Array
    stops: Array
    dt: float | None = None
    unit_names: tuple[str, ...] = ()
    gaps: Array = field(default_factory=lambda: np.zeros((0, 4)), repr=False)
    inputs: Mapping[str, Array] = field(default_factory=dict, repr=False)
    traces: Mapping[str, Array] = field(default_factory=dict, repr=False)
    input_dt: Mapping[str, float] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Array] = field(default_factory=dict, repr=False)
    description: str = ""
    notes: tuple[str, ...] = ()

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return len(self.starts)

    @property
    def clock(self) -> float:
        """What a file's clock shows at the start of a trial (s); 0 where trials start at different times."""
        return float(self.starts[0]) if np.ptp(self.starts) == 0 else 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A drive to take from a file: its name in the model, that of the signal in the file, the unit wanted ('': as it is).

    needed: whether it is a mistake if the file has no such signal.
    """

    name: str
    signal: str
    unit: str = ""
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a file that leaves something open.

    time_unit: seconds of one unit of a table's times; duration: seconds of each trial where the file does not say;
    drives: signals to take; intervals: a table of the file, each row of which is a trial; names: columns that name the
    units; io: the class of Neo that reads the file.
    """

    time_unit: float | None = None
    duration: float | None = None
    drives: tuple[Wanted, ...] = ()
    intervals: str | None = None
    names: tuple[str, ...] = ()
    io: str | None = None
    spikes_needed: bool = True


def wanted_drive(text: str) -> Wanted:
    """Return what `NAME`, `NAME=SIGNAL` or `NAME=SIGNAL:UNIT` asks for. Raises InputError."""
    name, equals, rest = text.partition("=")
    signal, _, unit = rest.partition(":")
    if not name.strip() or (equals and not signal.strip()):
        raise InputError(
            f"`{text}` names no drive; write NAME, NAME=SIGNAL or NAME=SIGNAL:UNIT, as in I_ext=stimulus:pA"
        )
    return Wanted(name.strip(), signal.strip() or name.strip(), unit.strip())


def factor(found: str, wanted: str, signal: str) -> float:
    """Return what turns values of a signal in unit `found` into unit `wanted` ('': as they are). Raises InputError."""
    if not wanted:
        return 1.0
    units = []
    for name in (SPELLINGS.get(found, found), wanted):
        try:
            units.append(parse_unit(name))
        except UnknownUnit:
            raise InputError(
                f"the signal `{signal}` is in `{found}` and wanted in `{wanted}`, but `{name}` is no unit of the "
                "language; leave the unit out to take the values as they are"
            ) from None
    own, other = units
    if own.dimension != other.dimension:
        raise InputError(
            f"the signal `{signal}` is in {found} ({describe(own.dimension)}); "
            f"it cannot be turned into {wanted} ({describe(other.dimension)})"
        )
    return own.scale / other.scale


def recording_of(source: Source, dt: float | None = None) -> tuple[Recording, tuple[str, ...]]:
    """Return a source as a recording whose trials start at 0, and what had to be left out or assumed.

    Trials of different lengths become as long as the longest; what the shorter ones lack is a gap. Spikes outside their
    trial or within a gap are left out. Raises InputError.
    """
    lengths = source.stops - source.starts
    if not (len(lengths) and np.isfinite(lengths).all() and (lengths > 0).all()):
        raise InputError("a trial has no length; say how long it lasts (--duration, or --window)")
    duration, notes = float(lengths.max()), list(source.notes)
    own_dt = source.dt or DEFAULT_DT
    gaps = _gaps_from_zero(source, duration)
    starts = source.starts[source.trial_ids] if len(source.trial_ids) else np.zeros(0)
    times = source.spike_times - starts
    outside = (times < -ROUNDING) | (times > duration + ROUNDING)
    times = np.clip(times, 0.0, duration)
    hidden = contradicting(gaps, times, source.unit_ids, source.trial_ids, own_dt) & ~outside
    if outside.any():
        first = source.spike_times[outside][0]
        notes.append(
            f"{outside.sum()} of {len(times)} spikes are outside the trials and left out, the first at {first:g} s; "
            "choose another --window or --duration if they should count"
        )
    if hidden.any():
        notes.append(
            f"{hidden.sum()} of {len(times)} spikes are where the file says that nothing was observed, and left out"
        )
    kept = np.flatnonzero(~(outside | hidden))
    kept = kept[np.lexsort((times[kept], source.unit_ids[kept], source.trial_ids[kept]))]
    recording = Recording(
        spike_times=times[kept],
        unit_ids=source.unit_ids[kept],
        trial_ids=source.trial_ids[kept],
        duration=duration,
        dt=own_dt,
        n_units=source.n_units,
        n_trials=source.n_trials,
        inputs=source.inputs,
        input_dt=source.input_dt,
        traces=source.traces,
        parameters=source.parameters,
        unit_names=source.unit_names,
        description=source.description,
        gaps=gaps,
    )
    return (recording if dt is None else on_steps(recording, dt)), tuple(notes)


def _gaps_from_zero(source: Source, duration: float) -> Array:
    """Return the gaps of a source from the start of each trial, with what shorter trials lack."""
    rows = []
    for trial, start, end, unit in source.gaps.tolist():
        for k in range(source.n_trials) if trial == EVERY else (int(trial),):
            same = trial == EVERY and np.ptp(source.starts) == 0
            own = [EVERY if same else k, start - source.starts[k], end - source.starts[k], unit]
            own[1:3] = np.clip(own[1:3], 0.0, duration).tolist()
            if own[2] - own[1] > ROUNDING:
                rows.append(own)
            if same:
                break
    for k, length in enumerate((source.stops - source.starts).tolist()):
        if duration - length > ROUNDING:
            rows.append([k, length, duration, EVERY])
    return checked_gaps(np.array(rows).reshape(-1, 4), duration, source.n_units, source.n_trials)


def on_steps(recording: Recording, dt: float) -> Recording:
    """Return a recording on steps of `dt` seconds: spike times stay, drives keep their own steps, traces are thinned.

    Raises InputError if there are traces and `dt` is no multiple of their step.
    """
    if not (dt > 0 and np.isfinite(dt)):
        raise InputError(f"dt is {dt:g} s; a positive number is expected")
    if dt > recording.duration:
        raise InputError(f"dt is {dt:g} s, longer than a trial of {recording.duration:g} s")
    every = round(dt / recording.dt)
    if recording.traces and (every < 1 or abs(every * recording.dt - dt) > 1e-6 * dt):
        raise InputError(
            f"the traces are on steps of {recording.dt:g} s, which {dt:g} s is no multiple of; choose another dt"
        )
    own = {name: recording.input_dt.get(name, recording.dt) for name in recording.inputs}
    return replace(
        recording,
        dt=dt,
        input_dt={name: step for name, step in own.items() if step != dt},
        traces={name: values[:, ::every] for name, values in recording.traces.items()},
    )


def observed_gaps(
    observed: Sequence[ArrayLike], start: float, stop: float, trial: int = 0
) -> list[list[float]]:
    """Return the gaps of units that were observed in some intervals, rows of start and end (s); those of all are one row.

    observed: of each unit, (interval, 2). Gaps that all units share are rows of unit -1.
    """
    by_unit = [
        _complement(np.reshape(np.asarray(rows, float), (-1, 2)), start, stop) for rows in observed
    ]
    shared = set.intersection(*map(set, by_unit)) if by_unit else set()
    rows = [[float(trial), a, b, float(EVERY)] for a, b in sorted(shared)]
    rows += [
        [float(trial), a, b, float(unit)]
        for unit, own in enumerate(by_unit)
        for a, b in own
        if (a, b) not in shared
    ]
    return rows


def _complement(intervals: Array, start: float, stop: float) -> list[tuple[float, float]]:
    found, last = [], start
    for a, b in intervals[np.argsort(intervals[:, 0])].tolist():
        if last >= stop:
            break
        if a - last > ROUNDING:
            found.append((last, min(a, stop)))
        last = max(last, b)
    if stop - last > ROUNDING:
        found.append((last, stop))
    return found
