"""raster: spikes as a still SVG, and as compact data for the zoomable one (templates/raster.js)."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eqsnn.simulation.recording import Recording

TICK_S = 1e-4  # of the times in a page
MOST_SPIKES = 100_000  # of each recording in a page: four bytes each, a third more as text
MOST_TRIALS = 4  # to choose from in a page
STILL_S = 4.0  # seconds of the still picture, unless these are too many spikes for it
MOST_STILL = 6_000
LONGEST_GAP = 2**16 - 1  # ticks that fit into the two bytes between one spike and the next
NO_UNIT = 2**16 - 1  # stands for no spike where a pause is longer than that


@dataclass(frozen=True, slots=True)
class RasterData:
    """What the zoomable raster of a page is drawn from; `to_dict` is its JSON.

    trains: for each trial those of each recording, as base64 of little-endian uint16: ticks since the spike before, then
    as many unit numbers. seconds: how much of each trial is there, of `duration`.
    """

    labels: tuple[str, ...]
    n_units: int
    duration: float
    seconds: float
    n_trials: int
    trains: tuple[tuple[str, ...], ...]

    def to_dict(self) -> dict:
        """Return plain values."""
        return {
            "labels": list(self.labels),
            "units": self.n_units,
            "seconds": self.seconds,
            "tick": TICK_S,
            "trials": [list(trial) for trial in self.trains],
        }

    @property
    def note(self) -> str:
        """What was left out, or nothing."""
        said = []
        if self.seconds < self.duration:
            said.append(f"the first {self.seconds:g} of {self.duration:g} s")
        if len(self.trains) < self.n_trials:
            said.append(f"the first {len(self.trains)} of {self.n_trials} trials")
        return f"To keep the file small it holds {' of '.join(said)}." if said else ""


def raster_data(recordings: Sequence[Recording], labels: Sequence[str]) -> RasterData:
    """Return the spikes of recordings of the same neurons, from the first seconds of the first trials if they are many."""
    first = recordings[0]
    n_trials = min(MOST_TRIALS, first.n_trials)
    seconds = min(_affordable(r, n_trials, MOST_SPIKES) for r in recordings)
    trains = tuple(
        tuple(_packed(recording, trial, seconds) for recording in recordings)
        for trial in range(n_trials)
    )
    return RasterData(tuple(labels), first.n_units, first.duration, seconds, first.n_trials, trains)


def _affordable(recording: Recording, n_trials: int, most: int) -> float:
    """Return for how long the first trials can be shown with at most so many spikes, whole seconds if cut."""
    times = np.sort(recording.spike_times[recording.trial_ids < n_trials])
    if len(times) <= most:
        return recording.duration
    cut = float(times[most])
    return max(1.0, np.floor(cut)) if recording.duration > 1 else cut


def _packed(recording: Recording, trial: int, seconds: float) -> str:
    here = (recording.trial_ids == trial) & (recording.spike_times <= seconds)
    times, units = recording.spike_times[here], recording.unit_ids[here]
    order = np.argsort(times, kind="stable")
    steps = np.diff(np.rint(times[order] / TICK_S).astype(np.int64), prepend=0)
    gaps, ids = _with_pauses(steps, units[order])
    both = np.concatenate([gaps, ids]).astype("<u2")
    return base64.b64encode(both.tobytes()).decode("ascii")


def _with_pauses(
    steps: NDArray[np.int64], units: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut steps that do not fit into two bytes: entries of no unit stand for the pause before a spike."""
    pauses = steps // LONGEST_GAP
    gaps = np.repeat(np.full(len(steps) * 2, LONGEST_GAP), np.stack([pauses, np.ones_like(pauses)], 1).ravel())  # fmt: skip
    ids = np.full(len(gaps), NO_UNIT)
    at = np.cumsum(pauses + 1) - 1
    gaps[at], ids[at] = steps % LONGEST_GAP, units
    return gaps, ids


def still(recordings: Sequence[Recording], labels: Sequence[str], *, width: int = 720) -> Markup:
    """Return the first seconds of the first trial of recordings, one below the other, as an `svg` element.

    Each spike is a stroke; the colour of each recording comes from the page, as `--first` and `--second`.
    """
    seconds = min(STILL_S, *(_affordable(_first_trial(r), 1, MOST_STILL) for r in recordings))
    height = int(np.clip(9 * recordings[0].n_units, 70, 220))
    left, gap, foot = 34, 22, 30
    parts, top = [], 0
    for k, (recording, label) in enumerate(zip(recordings, labels, strict=True)):
        top = (k + 1) * gap + k * height
        parts.append(f'<text x="{left}" y="{top - 7}" class="head">{escape(label)}</text>')
        parts.append(_strokes(recording, seconds, left, top, width - left - 8, height, k))
    bottom = top + height
    parts.append(_time_axis(seconds, left, bottom, width - left - 8))
    total = bottom + foot
    said = f"raster of the first {seconds:g} s: {', '.join(labels)}"
    return Markup(
        f'<svg class="still" viewBox="0 0 {width} {total}" role="img" aria-label="{escape(said)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


def _first_trial(recording: Recording) -> Recording:
    return recording if recording.n_trials == 1 else recording.trials([0])


def _strokes(
    recording: Recording, seconds: float, left: int, top: int, width: int, height: int, k: int
) -> str:
    here = (recording.trial_ids == 0) & (recording.spike_times <= seconds)
    lane = height / max(1, recording.n_units)
    x = left + recording.spike_times[here] / seconds * width
    y = top + height - (recording.unit_ids[here] + 0.9) * lane
    path = "".join(f"M{a:.1f} {b:.1f}v{0.8 * lane:.1f}" for a, b in zip(x, y, strict=True))
    last = recording.n_units - 1
    names = f'<text x="{left - 6}" y="{top + height - lane / 2 + 4:.1f}" text-anchor="end">0</text>'
    if last > 0:
        names += (
            f'<text x="{left - 6}" y="{top + lane / 2 + 4:.1f}" text-anchor="end">{last}</text>'
        )
    stroke = max(0.7, min(1.4, 700 / max(1, len(x))))
    return (
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" class="frame"/>{names}'
        f'<path d="{path}" class="spikes{k}" stroke-width="{stroke:.1f}" fill="none"/>'
    )


def _time_axis(seconds: float, left: int, top: int, width: int) -> str:
    marks = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, anchor = left + share * width, "end" if share == 1 else "middle" if share else "start"
        unit = " s" if share == 1 else ""
        marks.append(f'<path d="M{x:.1f} {top}v4" class="mark"/>')
        marks.append(f'<text x="{x:.1f}" y="{top + 17}" text-anchor="{anchor}">{share * seconds:g}{unit}</text>')  # fmt: skip
    return "".join(marks)
