"""Recording: spikes of one or several trials, with the traces and known drives that belong to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.files import read_arrays, write_arrays

Array = NDArray[np.float64]
PARAMETER = "parameter:"  # what the names of parameter values begin with in a file
RESERVED = {
    "spike_times",
    "unit_ids",
    "trial_ids",
    "duration",
    "n_units",
    "n_trials",
    "dt",
    "spikes",
    "unit_names",
    "description",
}


@dataclass(frozen=True, slots=True)
class Recording:
    """Spike trains on a grid of `dt` seconds.

    spike_times (s, within the trial), unit_ids and trial_ids are parallel; duration is that of each trial (s).
    traces: recorded variables, (trial, time, neuron), at the start of each step, in the units of the model file.
    inputs: known drives by name, (time,), (time, neuron) or (trial, time, neuron); their step is `input_dt[name]` or dt.
    parameters: of a simulation, the values it had, by `group.parameter` in the units of the model file.
    """

    spike_times: Array
    unit_ids: NDArray[np.int64]
    trial_ids: NDArray[np.int64]
    duration: float
    dt: float
    n_units: int
    n_trials: int = 1
    traces: Mapping[str, Array] = field(default_factory=dict, repr=False)
    inputs: Mapping[str, Array] = field(default_factory=dict, repr=False)
    input_dt: Mapping[str, float] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, Array] = field(default_factory=dict, repr=False)
    unit_names: tuple[str, ...] = ()
    description: str = ""

    @property
    def n_steps(self) -> int:
        """Number of steps of dt in a trial."""
        return round(self.duration / self.dt)

    def dense(self, dt: float | None = None) -> NDArray[np.uint8]:
        """Return spikes as 0/1, (trial, time, neuron); several spikes in one bin count once.

        A spike at time t belongs to bin floor(t/dt), where t may fall short of a bin's edge by 1e-3 dt (rounding).
        """
        return np.minimum(self.counts(dt or self.dt), 1).astype(np.uint8)

    def counts(self, bin_s: float) -> NDArray[np.int64]:
        """Return spike counts, (trial, bin, neuron); a last incomplete bin is left out."""
        n_bins = int(self.duration / bin_s + 1e-3)
        bins = np.floor(self.spike_times / bin_s + 1e-3).astype(np.int64)
        inside = bins < n_bins
        counts = np.zeros((self.n_trials, n_bins, self.n_units), dtype=np.int64)
        np.add.at(counts, (self.trial_ids[inside], bins[inside], self.unit_ids[inside]), 1)
        return counts

    def rates(self) -> Array:
        """Return firing rates in Hz, (neuron,)."""
        return np.bincount(self.unit_ids, minlength=self.n_units) / (self.duration * self.n_trials)

    def train(self, unit: int, trial: int = 0) -> Array:
        """Return the sorted spike times of one neuron in one trial."""
        return np.sort(self.spike_times[(self.unit_ids == unit) & (self.trial_ids == trial)])

    def window(self, start: float, stop: float) -> "Recording":
        """Return the part from `start` to `stop` seconds of every trial, with its drives and traces; times from 0."""
        if not 0 <= start < stop <= self.duration + 1e-9:
            raise InputError(
                f"the window {start} to {stop} s is not within the {self.duration} s of a trial"
            )
        inside = (self.spike_times >= start - 1e-9) & (self.spike_times < stop - 1e-9)
        cut = {
            name: _cut(values, self.input_dt.get(name, self.dt), start, stop)
            for name, values in self.inputs.items()
        }
        return replace(
            self,
            spike_times=np.maximum(self.spike_times[inside] - start, 0.0),
            unit_ids=self.unit_ids[inside],
            trial_ids=self.trial_ids[inside],
            duration=stop - start,
            inputs=cut,
            traces={
                name: _cut(values, self.dt, start, stop) for name, values in self.traces.items()
            },
        )

    def trials(self, wanted: Sequence[int]) -> "Recording":
        """Return some trials, renumbered from 0 in the order given."""
        places = {trial: n for n, trial in enumerate(wanted)}
        inside = np.isin(self.trial_ids, list(wanted))
        numbers = np.array([places[t] for t in self.trial_ids[inside]], dtype=np.int64)
        index = list(wanted)
        return replace(
            self,
            spike_times=self.spike_times[inside],
            unit_ids=self.unit_ids[inside],
            trial_ids=numbers,
            n_trials=len(index),
            inputs={
                name: values[index] if values.ndim == 3 else values
                for name, values in self.inputs.items()
            },
            traces={name: values[index] for name, values in self.traces.items()},
        )

    def select(self, units: Sequence[int]) -> "Recording":
        """Return some neurons, renumbered from 0 in the order given; drives and traces are kept as they are."""
        places = {unit: n for n, unit in enumerate(units)}
        inside = np.isin(self.unit_ids, list(units))
        numbers = np.array([places[u] for u in self.unit_ids[inside]], dtype=np.int64)
        names = tuple(self.unit_names[u] for u in units) if self.unit_names else ()
        return replace(
            self,
            spike_times=self.spike_times[inside],
            unit_ids=numbers,
            trial_ids=self.trial_ids[inside],
            n_units=len(units),
            unit_names=names,
        )

    def drive(self, name: str, n_steps: int, dt: float) -> Array:
        """Return a known drive on steps of `dt`, (trial or 1, time, neuron or 1).

        A coarser drive is held constant between its samples; a finer one is averaged within each step.
        """
        values = _three_dimensional(self.inputs[name])
        own = (
            self.input_dt.get(name, self.dt) or dt
        )  # a file of drives alone may leave the step to the model
        ratio = dt / own
        if ratio > 1.5:
            edges = np.round(np.arange(n_steps + 1) * ratio).astype(int)
            _require_length(name, values.shape[1], int(edges[-1]))
            sums = np.concatenate([np.zeros_like(values[:, :1]), np.cumsum(values, axis=1)], axis=1)
            return (sums[:, edges[1:]] - sums[:, edges[:-1]]) / np.diff(edges)[None, :, None]
        samples = np.floor(np.arange(n_steps) * ratio + 1e-6).astype(int)
        _require_length(name, values.shape[1], int(samples[-1]) + 1 if n_steps else 0)
        return values[:, samples]

    def save(self, path: str | Path) -> None:
        """Write the recording as an .npz file that `load_targets` reads."""
        arrays: dict[str, NDArray] = {
            "spike_times": self.spike_times,
            "unit_ids": self.unit_ids,
            "trial_ids": self.trial_ids,
            "duration": np.array(self.duration),
            "dt": np.array(self.dt),
            "n_units": np.array(self.n_units),
            "n_trials": np.array(self.n_trials),
        }
        for name, values in {**self.inputs, **self.traces}.items():
            arrays[name] = values
        arrays |= {f"{name}_dt": np.array(step) for name, step in self.input_dt.items()}
        arrays |= {
            f"{PARAMETER}{name}": np.asarray(value) for name, value in self.parameters.items()
        }
        if self.unit_names:
            arrays["unit_names"] = np.array(self.unit_names)
        if self.description:
            arrays["description"] = np.array(self.description)
        write_arrays(Path(path), arrays)


def from_dense(spikes: NDArray, dt: float, **more: object) -> Recording:
    """Return the recording of 0/1 spikes, (trial, time, neuron), on steps of `dt` seconds."""
    trial, step, unit = np.nonzero(spikes)
    n_trials, n_steps, n_units = spikes.shape
    return Recording(
        spike_times=step * dt,
        unit_ids=unit.astype(np.int64),
        trial_ids=trial.astype(np.int64),
        duration=n_steps * dt,
        dt=dt,
        n_units=n_units,
        n_trials=n_trials,
        **more,  # type: ignore[arg-type]
    )


def _cut(values: Array, dt: float, start: float, stop: float) -> Array:
    first, last = int(start / dt + 1e-3), round(stop / dt)
    return values[first:last] if values.ndim < 3 else values[:, first:last]


def _three_dimensional(values: Array) -> Array:
    if values.ndim == 1:
        return values[None, :, None]
    return values[None] if values.ndim == 2 else values


def _require_length(name: str, found: int, needed: int) -> None:
    if found < needed:
        raise InputError(
            f"the drive `{name}` has {found} samples, but {needed} are needed for the duration; extend it"
        )


def load_targets(path: str | Path) -> Recording:
    """Read spikes and known drives from an .npz file, sparse or dense (see docs/files.md).

    Raises InputError with one clear message for a missing, damaged, empty, wrongly shaped or NaN-carrying file.
    """
    path = Path(path)
    arrays = read_arrays(path)
    _refuse_non_numeric(path, arrays)
    if "spikes" in arrays:
        recording = _from_dense_arrays(path, arrays)
    elif "spike_times" in arrays:
        recording = _from_sparse_arrays(path, arrays)
    else:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(
            f"{path}: holds {found}; expected `spike_times` and `unit_ids`, or `spikes` (trial, time, neuron)"
        )
    return _with_drives(path, arrays, recording)


def load_inputs(path: str | Path) -> Recording:
    """Read known drives from an .npz file that may, but need not, hold spikes too. Raises InputError."""
    path = Path(path)
    arrays = read_arrays(path)
    if "spikes" in arrays or "spike_times" in arrays:
        return load_targets(path)
    _refuse_non_numeric(path, arrays)
    drives = [
        values
        for name, values in arrays.items()
        if name not in RESERVED and not name.endswith("_dt")
    ]
    trials = max([values.shape[0] for values in drives if values.ndim == 3], default=1)
    units = max([values.shape[-1] for values in drives if values.ndim >= 2], default=1)
    step = _positive(path, arrays, "dt") if "dt" in arrays else 0.0
    none, ids = np.zeros(0), np.zeros(0, dtype=np.int64)
    return _with_drives(path, arrays, Recording(none, ids, ids, 0.0, step, units, trials))


def _refuse_non_numeric(path: Path, arrays: Mapping[str, NDArray]) -> None:
    for name, values in arrays.items():
        if name in ("unit_names", "description"):
            continue
        if values.dtype.kind not in "iufb":
            raise InputError(f"{path}: `{name}` is of type {values.dtype}; numbers are expected")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(
                f"{path}: `{name}` contains NaN or infinity; remove or mask these values first"
            )


def _scalar(path: Path, arrays: Mapping[str, NDArray], name: str) -> float:
    values = arrays[name]
    if values.size != 1:
        raise InputError(f"{path}: `{name}` has shape {values.shape}; one number is expected")
    return float(values.reshape(()))


def _positive(path: Path, arrays: Mapping[str, NDArray], name: str) -> float:
    value = _scalar(path, arrays, name)
    if value <= 0:
        raise InputError(f"{path}: `{name}` is {value:g}; a positive number of seconds is expected")
    return value


def _from_dense_arrays(path: Path, arrays: Mapping[str, NDArray]) -> Recording:
    spikes = arrays["spikes"]
    if spikes.ndim != 3:
        raise InputError(
            f"{path}: `spikes` has shape {spikes.shape}; (trial, time, neuron) is expected"
        )
    if "dt" not in arrays:
        raise InputError(f"{path}: dense `spikes` need `dt`, the seconds of one step")
    if not np.isin(spikes, (0, 1)).all():
        raise InputError(
            f"{path}: `spikes` holds other values than 0 and 1; use a finer dt so that a bin has at most one spike"
        )
    return from_dense(spikes, _positive(path, arrays, "dt"))


def _from_sparse_arrays(path: Path, arrays: Mapping[str, NDArray]) -> Recording:
    times = arrays["spike_times"].astype(float)
    if times.ndim != 1:
        raise InputError(
            f"{path}: `spike_times` has shape {times.shape}; one dimension is expected"
        )
    for name in ("unit_ids", "duration"):
        if name not in arrays:
            raise InputError(f"{path}: `{name}` is missing; it belongs to `spike_times`")
    units = _ids(path, arrays, "unit_ids", len(times))
    trials = (
        _ids(path, arrays, "trial_ids", len(times))
        if "trial_ids" in arrays
        else np.zeros(len(times), np.int64)
    )
    duration = _positive(path, arrays, "duration")
    if len(times) and (times.min() < 0 or times.max() > duration):
        wrong = times.min() if times.min() < 0 else times.max()
        raise InputError(
            f"{path}: a spike at {wrong:g} s is outside the trial of {duration:g} s; times are seconds from its start"
        )
    n_units = _count(path, arrays, "n_units", units)
    n_trials = _count(path, arrays, "n_trials", trials)
    order = np.lexsort((times, units, trials))
    dt = _positive(path, arrays, "dt") if "dt" in arrays else 1e-3
    return Recording(times[order], units[order], trials[order], duration, dt, n_units, n_trials)


def _ids(path: Path, arrays: Mapping[str, NDArray], name: str, n: int) -> NDArray[np.int64]:
    values = arrays[name]
    if values.shape != (n,):
        raise InputError(
            f"{path}: `{name}` has shape {values.shape}, but there are {n} spike times"
        )
    if (values != np.floor(values)).any() or (values < 0).any():
        raise InputError(f"{path}: `{name}` must be whole numbers from 0 on")
    return values.astype(np.int64)


def _count(path: Path, arrays: Mapping[str, NDArray], name: str, ids: NDArray[np.int64]) -> int:
    least = int(ids.max()) + 1 if len(ids) else 1
    if name not in arrays:
        return least
    given = int(_scalar(path, arrays, name))
    if given < least:
        raise InputError(f"{path}: `{name}` is {given}, but ids go up to {least - 1}")
    return given


def _with_drives(path: Path, arrays: Mapping[str, NDArray], recording: Recording) -> Recording:
    inputs: dict[str, Array] = {}
    steps: dict[str, float] = {}
    values_of_parameters: dict[str, Array] = {}
    for name, values in arrays.items():
        if name.startswith(PARAMETER):
            values_of_parameters[name.removeprefix(PARAMETER)] = values.astype(float)
            continue
        if name in RESERVED or (name.endswith("_dt") and name.removesuffix("_dt") in arrays):
            continue
        if values.ndim not in (1, 2, 3):
            raise InputError(
                f"{path}: drive `{name}` has shape {values.shape}; (time,), (time, neuron) or (trial, time, neuron) is expected"
            )
        if values.ndim == 3 and values.shape[0] != recording.n_trials:
            raise InputError(
                f"{path}: drive `{name}` has {values.shape[0]} trials, but there are {recording.n_trials}"
            )
        inputs[name] = values.astype(float)
        if f"{name}_dt" in arrays:
            steps[name] = _positive(path, arrays, f"{name}_dt")
    names = tuple(map(str, arrays["unit_names"])) if "unit_names" in arrays else ()
    if names and len(names) != recording.n_units:
        raise InputError(f"{path}: {len(names)} unit_names for {recording.n_units} units")
    description = str(arrays["description"]) if "description" in arrays else ""
    return replace(
        recording,
        inputs=inputs,
        input_dt=steps,
        parameters=values_of_parameters,
        unit_names=names,
        description=description,
    )
