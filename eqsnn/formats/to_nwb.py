"""Recordings as NWB files (Neurodata Without Borders, version 2)."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqsnn.files import write_by_path
from eqsnn.formats.from_nwb import MARK, TRIAL_COLUMN, UNDESCRIBED
from eqsnn.formats.optional import library
from eqsnn.formats.source import NO_PARAMETERS
from eqsnn.simulation.gaps import merged
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]
PAUSE = (
    1.0  # s between trials that are written one after another: what is at an end stays in its trial
)


def write_nwb(recording: Recording, path: Path) -> tuple[str, ...]:
    """Write a recording as an NWB session, trials one after another; return what NWB cannot hold.

    Units table: spike_times, obs_intervals, unit_name, resolution dt. Trials table with the column `eqsnn_trial`. Drives
    and traces are time series of the stimulus without a unit. NWB asks for a date of the session: 1 January 1970.
    """
    pynwb = library("pynwb", "nwb")
    file = pynwb.NWBFile(
        session_description=recording.description or UNDESCRIBED,
        identifier=str(uuid.uuid4()),
        session_start_time=datetime(1970, 1, 1, tzinfo=UTC),
        notes="the session's date is not known; 1 January 1970 stands in its place",
    )
    starts = np.arange(recording.n_trials) * (np.ceil(recording.duration) + PAUSE)
    if recording.n_trials > 1:
        file.add_trial_column(TRIAL_COLUMN, "trial of the recording that eqsnn wrote, from 0 on")
        for k, start in enumerate(starts.tolist()):
            file.add_trial(
                start_time=start, stop_time=start + recording.duration, **{TRIAL_COLUMN: k}
            )
    _add_units(pynwb, file, recording, starts)
    for what, signals in (("drive", recording.inputs), ("trace", recording.traces)):
        for name, values in signals.items():
            step = recording.input_dt.get(name, recording.dt) if what == "drive" else recording.dt
            file.add_stimulus(_time_series(pynwb, name, values, step, starts, MARK + what))

    def write(place: Path) -> None:
        with pynwb.NWBHDF5IO(str(place), "w") as io:
            io.write(file)

    write_by_path(path, write)
    return (NO_PARAMETERS,) if recording.parameters else ()


def _add_units(pynwb: Any, file: Any, recording: Recording, starts: Array) -> None:
    file.units = pynwb.misc.Units(
        name="units", description="units of an eqsnn recording", resolution=recording.dt
    )
    if recording.unit_names:
        file.add_unit_column("unit_name", "name of the unit")
    trains = recording.trains()
    for unit in range(recording.n_units):
        times = np.concatenate([start + trains[k][unit] for k, start in enumerate(starts.tolist())])
        name = {"unit_name": recording.unit_names[unit]} if recording.unit_names else {}
        file.add_unit(
            spike_times=times, obs_intervals=_observed(recording, unit, starts), id=unit, **name
        )


def _observed(recording: Recording, unit: int, starts: Array) -> Array:
    """Return when a unit was observed, (interval, 2), on the clock of the session."""
    found = []
    for k, first in enumerate(starts.tolist()):
        last = 0.0
        for start, end in merged(recording.gaps, k, unit):
            if start > last:
                found.append([first + last, first + start])
            last = end
        if last < recording.duration:
            found.append([first + last, first + recording.duration])
    return np.array(found).reshape(-1, 2)


def _time_series(
    pynwb: Any, name: str, values: Array, step: float, starts: Array, mark: str
) -> Any:
    """Return a drive or trace on the clock of the session: by its rate, or with stamps where there are several trials."""
    if len(starts) == 1:
        own = values[0] if values.ndim == 3 else values
        return pynwb.TimeSeries(
            name=name, data=own, unit="1", rate=1 / step, starting_time=0.0, comments=mark
        )
    by_trial = [
        values[min(k, len(values) - 1)] if values.ndim == 3 else values for k in range(len(starts))
    ]
    stamps = [
        start + np.arange(len(own)) * step for start, own in zip(starts, by_trial, strict=True)
    ]
    return pynwb.TimeSeries(
        name=name,
        data=np.concatenate(by_trial),
        unit="1",
        timestamps=np.concatenate(stamps),
        comments=mark,
    )
