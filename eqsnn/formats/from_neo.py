"""Neo blocks as recordings: a segment is a trial, a spike train a unit, an analog signal a drive.

Source: Garcia et al. 2014, Front Neuroinform 8:10; https://neo.readthedocs.io
"""

from collections.abc import Sequence
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.formats.signals import by_trial, covering
from eqsnn.formats.source import (
    Reading,
    Source,
    Wanted,
    factor,
    observed_gaps,
    recording_of,
    wanted_drive,
)
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]
MARK = "eqsnn"  # the annotation by which drives, traces and gaps that `to_neo` wrote are known
STEP = "eqsnn_dt"  # the annotation of a block with the seconds of a step
ASSUMED = (
    "spike trains end with their last spike, so the file does not say how long a trial lasts; up to the last spike of all is "
    "assumed; say it with --duration"
)
UNSAID = 1.0  # Hz: what a neo.SpikeTrain says if nobody gave it a sampling rate


def from_neo(block: Any, *, drives: Sequence[str] = (), dt: float | None = None) -> Recording:
    """Return a `neo.Block` or `neo.Segment` as a recording: segments are trials, spike trains units.

    Spike trains of different segments are those of one unit if they have the same annotation `unit_name` or name, or,
    where these are missing or not all different, if they stand at the same place. A trial lasts from the first t_start
    to the last t_stop of its segment; what a train or a segment lacks of it is a gap. drives: analog signals to take,
    as `NAME`, `NAME=SIGNAL` or `NAME=SIGNAL:UNIT`; dt: seconds of a step (default: the trains' sampling, else 1 ms).
    Warns of what is assumed. Raises InputError.
    """
    source = block_source(block, Reading(drives=tuple(map(wanted_drive, drives))))
    recording, notes = recording_of(source, dt)
    for note in notes:
        warn(note, stacklevel=2)
    return recording


def block_source(block: Any, reading: Reading) -> Source:
    """Return blocks, a block or a segment as a Source. Raises InputError if there is nothing in it."""
    blocks = block if isinstance(block, list) else [block]
    segments = [s for b in blocks for s in (b.segments if hasattr(b, "segments") else [b])]
    if not segments or (reading.spikes_needed and not any(s.spiketrains for s in segments)):
        raise InputError("the Neo block holds no spike trains")
    keys = _keys([segment.spiketrains for segment in segments])
    units = list(dict.fromkeys(key for own in keys for key in own))
    place = {key: i for i, key in enumerate(units)}
    times, unit_ids, trial_ids, starts, stops, gaps = [], [], [], [], [], []
    for k, (segment, own) in enumerate(zip(segments, keys, strict=True)):
        extent = _extent(segment, k, reading.duration)
        starts.append(min(a for a, _ in extent))
        stops.append(max(b for _, b in extent))
        observed: list[list[tuple[float, float]]] = [[] for _ in units]
        for key, train, (a, b) in zip(own, segment.spiketrains, extent, strict=False):
            spikes = np.asarray(train.rescale("s").magnitude, dtype=np.float64)
            times.append(spikes)
            unit_ids.append(np.full(len(spikes), place[key]))
            trial_ids.append(np.full(len(spikes), k))
            observed[place[key]].append((a, b))
        gaps += observed_gaps(observed, starts[-1], stops[-1], k) if units else []
        gaps += _marked_gaps(segment, k)
    ends = np.array(starts), np.array(stops)
    assumed = [ASSUMED] if not reading.duration and any(map(_is_open, segments)) else []
    inputs, steps, told = _drives(segments, _wanted(segments, reading), *ends)
    traces, _, _ = _drives(segments, _marked(segments, "trace"), *ends)
    names = tuple(str(key[1]) if key[0] == "name" else f"unit {key[1]}" for key in units)
    numbered = all(key[0] == "place" for key in units)
    return Source(
        np.concatenate([np.zeros(0), *times]),
        np.concatenate([np.zeros(0, np.int64), *unit_ids]).astype(np.int64),
        np.concatenate([np.zeros(0, np.int64), *trial_ids]).astype(np.int64),
        len(units), *ends,
        dt=_step(blocks, segments), unit_names=() if numbered else names,
        gaps=np.array(gaps).reshape(-1, 4), inputs=inputs, input_dt=steps,
        traces={name: by_trial(values, len(segments)) for name, values in traces.items()},
        description=str(blocks[0].description or ""), notes=(*assumed, *told),
    )  # fmt: skip


def _extent(segment: Any, k: int, duration: float | None) -> list[tuple[float, float]]:
    """Return from when to when each spike train of a segment was observed, or each signal if there are no trains (s).

    A train that ends with its last spike does not know its end: it ends with the segment.
    """
    extent = [(_s(t.t_start), _s(t.t_stop)) for t in segment.spiketrains or segment.analogsignals]
    if not extent:
        raise InputError(f"segment {k} of the Neo block is empty; leave it out")
    if duration:
        stop = min(a for a, _ in extent) + duration
        return [(a, stop) for a, _ in extent]
    stop = max(b for _, b in extent)
    trains: Any = segment.spiketrains or [[]] * len(extent)
    return [
        (a, stop if len(train) and _s(train.max()) >= b else b)
        for train, (a, b) in zip(trains, extent, strict=True)
    ]


def _is_open(segment: Any) -> bool:
    """Return whether no spike train of a segment knows when it ends."""
    own = [train for train in segment.spiketrains if len(train)]
    return bool(own) and all(_s(train.max()) >= _s(train.t_stop) for train in own)


def _keys(segments: Sequence[Sequence[Any]]) -> list[list[tuple[str, Any]]]:
    """Return by what each spike train is known: by name if those of every segment are all different, else by place."""
    names = [[str(t.annotations.get("unit_name") or t.name or "") for t in own] for own in segments]
    if all(all(own) and len(set(own)) == len(own) for own in names):
        return [[("name", name) for name in own] for own in names]
    return [[("place", i) for i in range(len(own))] for own in names]


def _s(time: Any) -> float:
    return float(time.rescale("s").magnitude)


def _step(blocks: Sequence[Any], segments: Sequence[Any]) -> float | None:
    """Return the step of the clock that all spike trains were sampled with, if they say so."""
    written = [b.annotations.get(STEP) for b in blocks if hasattr(b, "annotations")]
    if written and written[0]:
        return float(written[0])
    rates = {
        None if t.sampling_rate is None else float(t.sampling_rate.rescale("Hz").magnitude)
        for s in segments
        for t in s.spiketrains
    }
    rate = rates.pop() if len(rates) == 1 else None
    return 1 / rate if rate and rate != UNSAID else None


def _channel_names(signal: Any) -> list[str]:
    names = signal.array_annotations.get("channel_names", [])
    return [str(name) for name in names]


def _signal(segment: Any, name: str) -> tuple[Any, Array, str] | None:
    """Return the analog signal, or the channel of one, of this name, its values, (sample, channel), and its unit."""
    for signal in segment.analogsignals:
        unit = signal.units.dimensionality.string
        if signal.name == name:
            return signal, np.asarray(signal.magnitude, dtype=np.float64), unit
        names = _channel_names(signal)
        if name in names:
            return signal, np.asarray(signal.magnitude[:, [names.index(name)]], float), unit
    return None


def _marked(segments: Sequence[Any], what: str) -> tuple[Wanted, ...]:
    names = [
        s.name for g in segments[:1] for s in g.analogsignals if s.annotations.get(MARK) == what
    ]
    return tuple(Wanted(str(name), str(name)) for name in names)


def _wanted(segments: Sequence[Any], reading: Reading) -> tuple[Wanted, ...]:
    """Return the drives that were asked for, and those that `to_neo` wrote."""
    asked = {wanted.name for wanted in reading.drives}
    return (*reading.drives, *(w for w in _marked(segments, "drive") if w.name not in asked))


def _drives(
    segments: Sequence[Any], all_wanted: Sequence[Wanted], starts: Array, stops: Array
) -> tuple[dict[str, Array], dict[str, float], list[str]]:
    """Return the wanted signals as drives, their steps, and what to know about them."""
    drives, steps, told = {}, {}, []
    for wanted in all_wanted:
        found = [_signal(segment, wanted.signal) for segment in segments]
        if all(part is None for part in found) and not wanted.needed:
            continue
        parts, step = [], 0.0
        for k, part in enumerate(found):
            if part is None:
                raise InputError(_no_signal(segments[k], wanted.signal, k))
            signal, values, unit = part
            values = values * factor(unit, wanted.unit, wanted.signal)
            clock = np.asarray(signal.times.rescale("s").magnitude, dtype=np.float64)
            samples, step = covering(
                wanted.signal, clock, values, starts[k : k + 1].tolist(), stops[k : k + 1].tolist()
            )
            parts.append(samples)
            if not (wanted.unit or k or signal.annotations.get(MARK)):
                told.append(
                    f"the drive `{wanted.name}` is in {unit} in the file; its values are taken as they are"
                )
        drives[wanted.name], steps[wanted.name] = _together(parts), step
    return drives, steps, told


def _together(parts: Sequence[Array]) -> Array:
    """Return the samples of all trials as one drive; shorter trials hold their last sample."""
    if all(np.array_equal(part, parts[0]) for part in parts):
        return parts[0]
    longest = max(map(len, parts))
    filled = [np.concatenate([p, np.repeat(p[-1:], longest - len(p), axis=0)]) for p in parts]
    together = np.stack(filled)
    return together if together.ndim == 3 else together[:, :, None]


def _no_signal(segment: Any, name: str, k: int) -> str:
    known = [n for s in segment.analogsignals for n in (s.name, *_channel_names(s)) if n]
    return f"there is no analog signal `{name}` in segment {k}; it has {', '.join(map(str, known)) or 'none'}"


def _marked_gaps(segment: Any, trial: int) -> list[list[float]]:
    return [
        [trial, start, start + length, int(label)]
        for epoch in segment.epochs
        if epoch.annotations.get(MARK) == "gaps"
        for start, length, label in zip(
            # NeoMatlabIO reads lists of one as what is in them
            np.atleast_1d(epoch.times.rescale("s").magnitude).tolist(),
            np.atleast_1d(epoch.durations.rescale("s").magnitude).tolist(),
            np.atleast_1d(epoch.labels).tolist(),
            strict=True,
        )
    ]
