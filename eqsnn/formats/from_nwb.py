"""NWB (Neurodata Without Borders, version 2): the units table of a session, its intervals and time series.

Source: Rubel et al. 2022, eLife 11:e78362; https://nwb-schema.readthedocs.io
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.formats.optional import library
from eqsnn.formats.signals import by_trial, covering
from eqsnn.formats.source import ROUNDING, Reading, Source, Wanted, factor, observed_gaps

Array = NDArray[np.float64]
MARK = "eqsnn "  # begins the comments of the series that eqsnn wrote
TRIAL_COLUMN = "eqsnn_trial"  # of a trials table whose rows are the trials of a recording
UNDESCRIBED = "spikes written by eqsnn"  # stands for no description, which NWB does not allow
NAME_COLUMNS = "unit_name", "unit_names", "name", "label", "unit_id", "cluster_id"


def read_nwb(path: Path, reading: Reading) -> Source:
    """Return the units of an NWB file. Raises InputError if it has none, or is none.

    A session is one trial on its own clock, from 0 or the first observed time to the end of the observed intervals, or
    the last spike. With `reading.intervals`, the rows of that table are trials.
    """
    pynwb = library("pynwb", "nwb")
    with ExitStack() as stack:
        try:
            io = pynwb.NWBHDF5IO(str(path), "r", load_namespaces=True)
            stack.callback(io.close)
            return _source(pynwb, io.read(), reading)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        # h5py and hdmf name what is wrong with a file in many ways, some of them when an array is read
        except Exception as error:
            why = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"{path}: is damaged or no NWB file ({why})") from None


def _source(pynwb: Any, file: Any, reading: Reading) -> Source:
    units = file.units
    if units is None and reading.spikes_needed:
        raise InputError("has no units table, so no sorted spikes; sort them first")
    if units is not None and "spike_times" not in units.colnames:
        raise InputError("its units table has no spike_times")
    trains = [] if units is None else [
        np.asarray(units.get_unit_spike_times(i), dtype=np.float64) for i in range(len(units))
    ]  # fmt: skip
    observed = None
    if units is not None and "obs_intervals" in units.colnames:
        observed = [
            np.asarray(units.get_unit_obs_intervals(i), dtype=float) for i in range(len(units))
        ]
    table = _intervals(file, reading)
    notes: list[str] = []
    starts, stops = (
        _session(file, trains, observed, reading, notes) if table is None else _rows_of(table)
    )
    if len(starts) > 1 and (np.sort(starts)[1:] < np.sort(stops)[:-1] - ROUNDING).any():
        notes.append("trials overlap: spikes in several of them are in each")
    cut = list(_cut(trains, starts, stops))
    gaps = [
        row
        for k, (start, stop) in enumerate(zip(starts, stops, strict=True))
        for row in (observed_gaps(observed, start, stop, k) if observed else [])
    ]
    inputs, steps = {}, {}
    for wanted in (*reading.drives, *_marked(pynwb, file, "drive", reading)):
        values = _drive(pynwb, file, wanted, starts, stops, notes)
        if values is not None:
            inputs[wanted.name], steps[wanted.name] = values
    traces = {
        wanted.name: _drive(pynwb, file, wanted, starts, stops, [])
        for wanted in _marked(pynwb, file, "trace", reading)
    }
    return Source(
        np.concatenate([np.zeros(0), *(times for times, _, _ in cut)]),
        np.concatenate([np.zeros(0, int), *(np.full(len(t), unit) for t, unit, _ in cut)]).astype(np.int64),
        np.concatenate([np.zeros(0, int), *(trial for _, _, trial in cut)]).astype(np.int64),
        len(trains), starts, stops,
        dt=_resolution(units), unit_names=_names(units, reading), gaps=np.array(gaps).reshape(-1, 4),
        inputs=inputs, input_dt=steps,
        traces={name: by_trial(found[0], len(starts)) for name, found in traces.items() if found},
        description="" if file.session_description == UNDESCRIBED else file.session_description or "", notes=tuple(notes),
    )  # fmt: skip


def _resolution(units: Any) -> float | None:
    resolution = None if units is None else units.resolution
    return float(resolution) if resolution and np.isfinite(resolution) and resolution > 0 else None


def _intervals(file: Any, reading: Reading) -> Any | None:
    """Return the table whose rows are the trials, or None if the session is one trial."""
    known = {} if file.intervals is None else dict(file.intervals.items())
    known |= {n: t for n, t in (("trials", file.trials), ("epochs", file.epochs)) if t is not None}
    if reading.intervals is None:
        own = known.get("trials")
        return own if own is not None and TRIAL_COLUMN in own.colnames else None
    if reading.intervals not in known:
        raise InputError(
            f"has no table of intervals `{reading.intervals}`; it has {', '.join(known) or 'none'}"
        )
    return known[reading.intervals]


def _rows_of(table: Any) -> tuple[Array, Array]:
    starts, stops = (np.asarray(table[n][:], dtype=float) for n in ("start_time", "stop_time"))
    wrong = np.flatnonzero(~(np.isfinite(starts) & np.isfinite(stops) & (stops > starts)))
    if not len(starts) or len(wrong):
        where = f"row {wrong[0]} of it has no length" if len(wrong) else "it has no rows"
        raise InputError(f"its table `{table.name}` cannot be trials: {where}")
    return starts, stops


def _session(
    file: Any,
    trains: Sequence[Array],
    observed: Sequence[Array] | None,
    reading: Reading,
    notes: list[str],
) -> tuple[Array, Array]:
    """Return when the session, as one trial, starts and stops."""
    seen = [rows.reshape(-1, 2) for rows in observed or [] if rows.size]
    if seen:
        start, stop = min(rows[:, 0].min() for rows in seen), max(rows[:, 1].max() for rows in seen)
    else:
        spikes = [train for train in trains if len(train)]
        ends = [train.max() for train in spikes]
        start = min([0.0, *(train.min() for train in spikes)])
        if file.trials is not None and len(file.trials):
            ends.append(np.nanmax(np.asarray(file.trials["stop_time"][:], dtype=float)))
        stop = max(ends, default=np.nan)
        if np.isfinite(stop) and not reading.duration:
            notes.append(
                f"the file does not say when units were observed; {start:g} to {stop:g} s, the last spike or trial, is "
                "assumed; say it with --duration or --window"
            )
    if not np.isfinite(stop):
        stop = _end_of_series(file)
    stop = start + reading.duration if reading.duration else stop
    return np.array([start]), np.array([stop])


def _end_of_series(file: Any) -> float:
    ends = [_clock(s)[-1] for s in _series(file) if s.data is not None and len(s.data) > 1]
    return float(max(ends, default=np.nan))


def _cut(
    trains: Sequence[Array], starts: Array, stops: Array
) -> Iterator[tuple[Array, int, NDArray[np.int64]]]:
    """Yield spike times, unit and trials of each unit and trial; a single trial keeps all spikes, even outside of it.

    A spike at the end of a trial belongs to the next one if that begins there.
    """
    for unit, train in enumerate(trains):
        if len(starts) == 1:
            yield train, unit, np.zeros(len(train), dtype=np.int64)
            continue
        for k, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            shared = (np.abs(starts - stop) < ROUNDING).any()
            end = stop - ROUNDING if shared else stop + ROUNDING
            own = train[(train >= start - ROUNDING) & (train < end)]
            yield own, unit, np.full(len(own), k, dtype=np.int64)


def _names(units: Any, reading: Reading) -> tuple[str, ...]:
    """Return names of units: the columns asked for, else a column that holds names, else their ids."""
    if units is None or not len(units):
        return ()
    if reading.names:
        columns = [_texts(units, name) for name in reading.names]
        return tuple(" ".join(parts) for parts in zip(*columns, strict=True))
    for name in NAME_COLUMNS:
        if name in units.colnames:
            found = _texts(units, name)
            if len(set(found)) == len(found):
                return tuple(found)
    ids = [int(i) for i in units.id[:]]
    return () if ids == list(range(len(ids))) else tuple(map(str, ids))


def _texts(units: Any, name: str) -> list[str]:
    if name == "id":
        return [str(i) for i in units.id[:]]
    if name not in units.colnames:
        raise InputError(
            f"its units table has no column `{name}`; it has id, {', '.join(units.colnames)}"
        )
    found = []
    for i in range(len(units)):
        value = units[name][i]
        if hasattr(value, "index") and hasattr(value, "columns"):  # rows of the electrodes table
            value = [int(k) for k in value.index]
        value = getattr(value, "name", value)  # an electrode group
        found.append(
            ",".join(map(str, value)) if isinstance(value, list | np.ndarray) else str(value)
        )
    return found


def _series(file: Any) -> list[Any]:
    return [s for s in file.all_children() if hasattr(s, "starting_time") and hasattr(s, "data")]


def _marked(pynwb: Any, file: Any, what: str, reading: Reading) -> list[Wanted]:
    asked = {wanted.name for wanted in reading.drives}
    return [
        Wanted(s.name, s.name)
        for s in file.stimulus.values()
        if isinstance(s, pynwb.TimeSeries) and s.comments == MARK + what and s.name not in asked
    ]


def _clock(series: Any) -> Array:
    if series.timestamps is not None:
        return np.asarray(series.timestamps[:], dtype=np.float64)
    return float(series.starting_time or 0.0) + np.arange(len(series.data)) / float(series.rate)


def _drive(
    pynwb: Any, file: Any, wanted: Wanted, starts: Array, stops: Array, notes: list[str]
) -> tuple[Array, float] | None:
    found = [s for s in _series(file) if s.name == wanted.signal]
    if not found and not wanted.needed:
        return None
    if not found:
        known = ", ".join(sorted(s.name for s in _series(file))) or "none"
        raise InputError(f"there is no time series `{wanted.signal}`; the file has {known}")
    series = found[0]
    values = np.asarray(series.data[:], dtype=np.float64)
    if values.ndim > 2:
        raise InputError(
            f"the time series `{wanted.signal}` has shape {values.shape}; a drive has at most one axis beside time"
        )
    values = values * float(series.conversion) + float(series.offset or 0.0)
    unit = str(series.unit)
    values = values * factor(unit, wanted.unit, wanted.signal)
    if not (wanted.unit or str(series.comments).startswith(MARK)):
        notes.append(
            f"the drive `{wanted.name}` is in {unit} in the file; its values are taken as they are"
        )
    return covering(wanted.signal, _clock(series), values, starts.tolist(), stops.tolist())
