"""The .npz format of targets and recordings: a file to checked values, every mistake one clear InputError."""

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.files import read_arrays
from eqsnn.simulation.gaps import checked_gaps, never_recorded
from eqsnn.simulation.resample import time_axis

Array = NDArray[np.float64]
TEXTS = ("unit_names", "trace_names", "description")
NUMBERS = (
    "spike_times",
    "unit_ids",
    "trial_ids",
    "duration",
    "n_units",
    "n_trials",
    "dt",
    "spikes",
    "gaps",
    "recorded_units",
)
PARAMETER = "parameter:"  # before the name of each value that a simulated recording was made with
DEFAULT_DT = 1e-3  # s, where spike times come without a step


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: `spikes` (trial, time, neuron), or spike times with their ids; drives, traces, texts, gaps."""

    spikes: NDArray | None
    spike_times: Array
    unit_ids: NDArray[np.int64]
    trial_ids: NDArray[np.int64]
    duration: float
    dt: float
    n_units: int
    n_trials: int
    drives: dict[str, Array]
    drive_dt: dict[str, float]
    traces: dict[str, Array]
    parameters: dict[str, Array]
    unit_names: tuple[str, ...]
    description: str
    gaps: Array


@dataclass(frozen=True, slots=True)
class _Spikes:
    grid: NDArray | None
    times: Array
    units: NDArray[np.int64]
    trials: NDArray[np.int64]
    duration: float
    dt: float
    n_units: int
    n_trials: int


@dataclass(frozen=True, slots=True)
class _File:
    """The arrays of a file, asked for one by one; every complaint names the file and the array."""

    path: Path
    arrays: Mapping[str, NDArray]

    def error(self, message: str) -> InputError:
        return InputError(f"{self.path}: {message}")

    def has(self, name: str) -> bool:
        return name in self.arrays

    def numbers(self, name: str) -> NDArray:
        values = self.arrays[name]
        if values.dtype.kind not in "iufb":
            raise self.error(f"`{name}` is of type {values.dtype}; numbers are expected")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise self.error(
                f"`{name}` contains NaN or infinity; remove or mask these values first"
            )
        return values

    def seconds(self, name: str) -> float:
        values = self.numbers(name)
        if values.size != 1:
            raise self.error(
                f"`{name}` has shape {values.shape}; one number of seconds is expected"
            )
        if values.item() <= 0:
            raise self.error(
                f"`{name}` is {values.item():g}; a positive number of seconds is expected"
            )
        return float(values.item())

    def ids(self, name: str, n: int) -> NDArray[np.int64]:
        values = self.numbers(name)
        if values.shape != (n,):
            raise self.error(f"`{name}` has shape {values.shape}, but there are {n} spike times")
        if (values < 0).any() or (values != np.floor(values)).any():
            raise self.error(f"`{name}` must be whole numbers from 0 on")
        return values.astype(np.int64)

    def count(self, name: str, ids: NDArray[np.int64]) -> int:
        least = int(ids.max()) + 1 if len(ids) else 0
        if not self.has(name):
            return max(1, least)
        values = self.numbers(name)
        if values.size != 1 or values.item() != int(values.item()) or values.item() < 0:
            raise self.error(f"`{name}` must be one whole number, 0 or more")
        if values.item() < least:
            raise self.error(f"`{name}` is {values.item():g}, but ids go up to {least - 1}")
        return int(values.item())

    def step_of(self, drive: str) -> float:
        name = f"{drive}_dt" if self.has(f"{drive}_dt") else "dt"
        if not self.has(name):
            raise self.error(
                f"the drive `{drive}` has no time step; add `dt` or `{drive}_dt` in seconds"
            )
        return self.seconds(name)

    def parameters(self) -> dict[str, Array]:
        names = [name for name in self.arrays if name.startswith(PARAMETER)]
        return {
            name.removeprefix(PARAMETER): self.numbers(name).astype(np.float64) for name in names
        }

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(map(str, np.ravel(self.arrays[name]))) if self.has(name) else ()


def read_contents(path: Path, *, spikes_needed: bool = True) -> Contents:
    """Read and check a file of targets, or of drives only if no spikes are needed (see docs/files.md).

    Raises InputError if it is missing, empty, damaged, holds Python objects, NaN or infinity, lacks an array, or has
    an array of the wrong shape or range. Texts and single numbers of other names are notes and are left out.
    """
    file = _File(path, _arrays(path))
    if file.has("spikes") and file.has("spike_times"):
        raise file.error("holds both `spikes` and `spike_times`; keep one of them")
    if file.has("spikes"):
        spikes = _dense(file)
    elif file.has("spike_times"):
        spikes = _sparse(file)
    elif not spikes_needed:
        spikes = _silent(file)
    else:
        found = ", ".join(sorted(file.arrays)) or "nothing"
        raise file.error(
            f"holds {found}; `spike_times` and `unit_ids`, or `spikes` (trial, time, neuron), are expected"
        )
    names = file.texts("unit_names")
    if names and len(names) != spikes.n_units:
        raise file.error(f"there are {len(names)} unit_names for {spikes.n_units} units")
    traces = set(file.texts("trace_names"))
    others = _others(file, spikes.n_trials)
    return Contents(
        spikes=spikes.grid,
        spike_times=spikes.times,
        unit_ids=spikes.units,
        trial_ids=spikes.trials,
        duration=spikes.duration,
        dt=spikes.dt,
        n_units=spikes.n_units,
        n_trials=spikes.n_trials,
        drives={name: values for name, values in others.items() if name not in traces},
        drive_dt={
            name: file.step_of(name)
            for name in others
            if name not in traces and file.has(f"{name}_dt")
        },
        traces={name: values for name, values in others.items() if name in traces},
        parameters=file.parameters(),
        unit_names=names,
        description=" ".join(file.texts("description")),
        gaps=_gaps(file, spikes),
    )


def _gaps(file: _File, spikes: _Spikes) -> Array:
    """Return what was not observed; units that `recorded_units` leaves out were never."""
    rows = file.numbers("gaps") if file.has("gaps") else np.zeros((0, 4))
    try:
        found = checked_gaps(rows, spikes.duration, spikes.n_units, spikes.n_trials)
    except InputError as error:
        raise file.error(str(error)) from None
    if not file.has("recorded_units"):
        return found
    recorded = file.numbers("recorded_units")
    known = np.ravel(recorded).tolist()
    if recorded.ndim > 1 or any(u != int(u) or not 0 <= u < spikes.n_units for u in known):
        raise file.error(
            f"`recorded_units` must be a list of whole numbers from 0 to {spikes.n_units - 1}; `n_units` says how many "
            "neurons the network has"
        )
    others = [unit for unit in range(spikes.n_units) if unit not in known]
    return np.concatenate([found, never_recorded(others, spikes.duration)])


def _arrays(path: Path) -> Mapping[str, NDArray]:
    if path.is_file() and path.stat().st_size and not zipfile.is_zipfile(path):
        raise InputError(f"{path}: is damaged or no .npz file; write it with numpy.savez")
    try:
        arrays = read_arrays(path)
    # a changed byte can make zlib fail, or look like an encryption, a compression or a size that nobody meant
    except (zlib.error, NotImplementedError, RuntimeError, MemoryError, OverflowError) as error:
        raise InputError(f"{path}: is damaged ({error}); copy or write it again") from None
    foreign = [name for name, values in arrays.items() if not isinstance(values, np.ndarray)]
    if foreign:
        raise InputError(
            f"{path}: `{foreign[0]}` is no array; an .npz file holds nothing but arrays"
        )
    return arrays


def _dense(file: _File) -> _Spikes:
    grid = file.numbers("spikes")
    if grid.ndim != 3 or 0 in grid.shape:
        raise file.error(
            f"`spikes` has shape {grid.shape}; (trial, time, neuron) is expected, none of them empty"
        )
    if not ((grid == 0) | (grid == 1)).all():
        raise file.error(
            "`spikes` holds other values than 0 and 1; use a finer dt, so that a step has at most one spike"
        )
    if not file.has("dt"):
        raise file.error("dense `spikes` need `dt`, the seconds of one step")
    dt = file.seconds("dt")
    n_trials, n_steps, n_units = grid.shape
    if file.has("duration") and abs(file.seconds("duration") / dt - n_steps) > 0.5:
        raise file.error(
            f"`duration` is {file.seconds('duration'):g} s, but `spikes` has {n_steps} steps of {dt:g} s"
        )
    none, ids = np.zeros(0), np.zeros(0, dtype=np.int64)
    return _Spikes(grid, none, ids, ids, n_steps * dt, dt, n_units, n_trials)


def _sparse(file: _File) -> _Spikes:
    times = file.numbers("spike_times").astype(np.float64)
    if times.ndim != 1:
        raise file.error(f"`spike_times` has shape {times.shape}; one dimension is expected")
    for name in ("unit_ids", "duration"):
        if not file.has(name):
            raise file.error(f"`{name}` is missing; it belongs to `spike_times`")
    units = file.ids("unit_ids", len(times))
    trials = (
        file.ids("trial_ids", len(times))
        if file.has("trial_ids")
        else np.zeros(len(times), dtype=np.int64)
    )
    duration = file.seconds("duration")
    outside = times[(times < 0) | (times > duration)]
    if len(outside):
        raise file.error(
            f"a spike at {outside[0]:g} s is outside the trial of {duration:g} s; times are seconds from its start"
        )
    n_units, n_trials = file.count("n_units", units), file.count("n_trials", trials)
    dt = file.seconds("dt") if file.has("dt") else DEFAULT_DT
    if dt > duration:
        raise file.error(f"`dt` is {dt:g} s, longer than the trial of {duration:g} s")
    order = np.lexsort((times, units, trials))
    return _Spikes(None, times[order], units[order], trials[order], duration, dt, n_units, n_trials)


def _silent(file: _File) -> _Spikes:
    """Stand in for the spikes of a file of drives: none, in trials as long as the shortest drive."""
    drives = [
        (name, values) for name, values in file.arrays.items() if not _is_known(file, name, values)
    ]
    if not drives:
        raise file.error(
            "holds no drive: no array of shape (time,), (time, neuron) or (trial, time, neuron)"
        )
    lengths = [values.shape[time_axis(values)] * file.step_of(name) for name, values in drives]
    n_trials = max(len(values) if values.ndim == 3 else 1 for _, values in drives)
    none, ids = np.zeros(0), np.zeros(0, dtype=np.int64)
    dt = file.seconds("dt") if file.has("dt") else min(file.step_of(name) for name, _ in drives)
    return _Spikes(None, none, ids, ids, min(lengths), dt, 0, n_trials)


def _is_known(file: _File, name: str, values: NDArray) -> bool:
    """Return whether an array is neither drive nor trace: one with a meaning of its own, or a note."""
    of_its_own = name in TEXTS or name in NUMBERS or name.startswith(PARAMETER)
    step = name.endswith("_dt") and file.has(name.removesuffix("_dt"))
    return of_its_own or step or values.dtype.kind in "SU" or values.ndim == 0


def _others(file: _File, n_trials: int) -> dict[str, Array]:
    """Return the drives and traces."""
    found: dict[str, Array] = {}
    for name, values in file.arrays.items():
        if _is_known(file, name, values):
            continue
        numbers = file.numbers(name)
        if numbers.ndim > 3 or not numbers.size:
            raise file.error(
                f"the drive `{name}` has shape {numbers.shape}; "
                "(time,), (time, neuron) or (trial, time, neuron) is expected, none of them empty"
            )
        if numbers.ndim == 3 and len(numbers) != n_trials:
            raise file.error(
                f"the drive `{name}` has {len(numbers)} trials, but there are {n_trials}"
            )
        file.step_of(name)
        found[name] = numbers.astype(np.float64)
    return found
