"""Recordings as Neo blocks."""

from typing import Any
from warnings import warn

import numpy as np

from eqsnn.formats.from_neo import MARK, STEP
from eqsnn.formats.optional import library
from eqsnn.formats.source import NO_PARAMETERS
from eqsnn.simulation.gaps import EVERY
from eqsnn.simulation.recording import Recording


def to_neo(recording: Recording) -> Any:
    """Return a recording as a `neo.Block`: a segment for each trial, a spike train for each unit, from 0 s on.

    Drives and traces are analog signals without a unit, gaps an epoch, all annotated `eqsnn`, by which `from_neo` finds
    them again. Warns if there are parameters, which have no place in a block. Raises InputError if Neo is not installed.
    """
    if recording.parameters:
        warn(NO_PARAMETERS, stacklevel=2)
    return block_of(recording)


def block_of(recording: Recording) -> Any:
    """Return a recording as a `neo.Block` (see `to_neo`)."""
    neo, pq = library("neo", "neo"), library("quantities", "neo")
    block = neo.Block(
        name="eqsnn", description=recording.description or None, **{STEP: recording.dt}
    )
    trains = recording.trains()
    for k in range(recording.n_trials):
        segment = neo.Segment(name=f"trial {k}", index=k)
        block.segments.append(segment)
        for unit, times in enumerate(trains[k]):
            name = recording.unit_names[unit] if recording.unit_names else ""
            segment.spiketrains.append(
                neo.SpikeTrain(
                    times,
                    units="s",
                    t_start=0.0,
                    t_stop=recording.duration,
                    sampling_rate=pq.Quantity(1 / recording.dt, "Hz"),
                    name=name or None,
                    unit_id=unit,
                )
            )
        for what, signals in (("drive", recording.inputs), ("trace", recording.traces)):
            for name, values in signals.items():
                step = (
                    recording.input_dt.get(name, recording.dt) if what == "drive" else recording.dt
                )
                own = values[k if len(values) > 1 else 0] if values.ndim == 3 else values
                segment.analogsignals.append(
                    neo.AnalogSignal(
                        own.reshape(len(own), -1),
                        units="dimensionless",
                        name=name,
                        sampling_period=pq.Quantity(step, "s"),
                        **{MARK: what},
                    )
                )
        gaps = [row for row in recording.gaps.tolist() if row[0] in (EVERY, k)]
        if gaps:
            segment.epochs.append(
                neo.Epoch(
                    times=np.array([row[1] for row in gaps]) * pq.s,
                    durations=np.array([row[2] - row[1] for row in gaps]) * pq.s,
                    labels=np.array([str(int(row[3])) for row in gaps]),
                    name="gaps",
                    **{MARK: "gaps"},
                )
            )
    return block
