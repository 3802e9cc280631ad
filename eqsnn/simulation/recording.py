"""Recording: spikes of one or several trials, with the traces and known drives that belong to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from warnings import warn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqsnn.errors import InputError
from eqsnn.files import write_arrays
from eqsnn.simulation.gaps import (
    checked_gaps,
    contradicting,
    cut_gaps,
    never_recorded,
    observed_seconds,
    renumber,
    seen_steps,
    within,
)
from eqsnn.simulation.recording_file import NUMBERS, PARAMETER, TEXTS, Contents, read_contents
from eqsnn.simulation.resample import cut, resample, whole_steps

Array = NDArray[np.float64]
RESERVED = {*TEXTS, *NUMBERS, "file", "allow_pickle"}  # the last two are arguments of numpy's savez
STORED = ("spike_times", "unit_ids", "trial_ids", "duration", "dt", "n_units", "n_trials")
NO_GAPS = np.zeros((0, 4))
LARGEST = 2**33  # bins; more would not fit into the memory of a usual machine
GRID_SLACK = 1e-3  # of a step: how far rounding may push a stamp below the edge of its bin


@dataclass(frozen=True, slots=True)
class Recording:
    """Spike trains on a grid of `dt` seconds.

    spike_times (s, within the trial), unit_ids and trial_ids are parallel, in any order; duration is that of each
    trial (s). traces: recorded variables, (trial, time, neuron), at the start of each step, in the units of the model
    file. inputs: known drives by name, (time,), (time, neuron) or (trial, time, neuron), with step `input_dt[name]` or
    dt. parameters: of a simulated recording, the values it was made with, in the units of the model file. gaps:
    what was not observed, rows of trial, start (s), end (s), unit, with -1 for every trial or unit. Raises InputError
    if the parts contradict each other.
    """

    spike_times: Array = field(repr=False)
    unit_ids: NDArray[np.int64] = field(repr=False)
    trial_ids: NDArray[np.int64] = field(repr=False)
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
    gaps: Array = field(default_factory=lambda: NO_GAPS, repr=False)

    def __post_init__(self) -> None:
        times = np.asarray(self.spike_times, dtype=np.float64)
        units, trials = (np.asarray(ids, dtype=np.int64) for ids in (self.unit_ids, self.trial_ids))
        if times.ndim != 1 or not times.shape == units.shape == trials.shape:
            raise InputError(
                f"spike_times, unit_ids and trial_ids have shapes {times.shape}, {units.shape}, {trials.shape}; "
                "they must be lists of equal length"
            )
        if not self.dt > 0:
            raise InputError(f"dt is {self.dt:g} s; a positive number is expected")
        inside = (times >= 0) & (times <= self.duration)
        if not inside.all():
            raise InputError(
                f"a spike at {times[~inside][0]:g} s is outside the trial of {self.duration:g} s; "
                "times are seconds from its start"
            )
        _require_ids("unit_ids", units, self.n_units)
        _require_ids("trial_ids", trials, self.n_trials)
        gaps = checked_gaps(self.gaps, self.duration, self.n_units, self.n_trials)
        unseen = np.flatnonzero(contradicting(gaps, times, units, trials, self.dt))
        if len(unseen):
            first = unseen[0]
            raise InputError(
                f"unit {units[first]} has a spike at {times[first]:g} s of trial {trials[first]}, within a gap of its "
                "recording; leave out the spike or correct `gaps`"
            )
        given = {"spike_times": times, "unit_ids": units, "trial_ids": trials, "gaps": gaps}
        for name, array in given.items():
            object.__setattr__(self, name, array)

    @property
    def n_steps(self) -> int:
        """Number of steps of dt in a trial, an incomplete last one included."""
        return whole_steps(self.duration, self.dt)

    def dense(self, dt: float | None = None) -> NDArray[np.uint8]:
        """Return spikes as 0/1, (trial, time, neuron), on steps of `dt` seconds (default: the recording's own).

        A spike at t belongs to step floor(t/dt), where t may fall 1e-3 of a step short of an edge (rounding), so stamps
        n*dt come back exactly. A spike at the very end of a trial belongs to its last step. Warns if several spikes
        of a neuron share a step: they count once.
        """
        step = dt or self.dt
        shape = (self.n_trials, whole_steps(self.duration, step), self.n_units)
        spikes = np.zeros(_affordable(shape, step), dtype=np.uint8)
        spikes[self.trial_ids, self._bins(step, shape[1]), self.unit_ids] = 1
        lost = len(self.spike_times) - int(spikes.sum(dtype=np.int64))
        if lost:
            warn(
                f"{lost} of {len(self.spike_times)} spikes share a step of {step:g} s with another spike of the same "
                "neuron and are counted once; use a finer dt",
                stacklevel=2,
            )
        return spikes

    def counts(self, bin_s: float) -> NDArray[np.int64]:
        """Return spike counts, (trial, bin, neuron), in bins of `bin_s` seconds; an incomplete last bin is left out.

        Raises InputError if not even one bin fits into a trial.
        """
        n_bins = int((self.duration + GRID_SLACK * self.dt) / bin_s) if bin_s > 0 else 0
        if n_bins == 0:
            raise InputError(
                f"no bin of {bin_s:g} s fits into a trial of {self.duration:g} s; choose a shorter bin"
            )
        shape = _affordable((self.n_trials, n_bins, self.n_units), bin_s)
        # a spike at the very end belongs to the last bin, as in numpy.histogram
        whole = n_bins * bin_s >= self.duration - GRID_SLACK * self.dt
        bins = self._bins(bin_s, n_bins if whole else n_bins + 1)
        kept = bins < n_bins
        places = np.ravel_multi_index(
            (self.trial_ids[kept], bins[kept], self.unit_ids[kept]), shape
        )
        return np.bincount(places, minlength=int(np.prod(shape))).reshape(shape)

    def _bins(self, bin_s: float, n_bins: int) -> NDArray[np.int64]:
        """Return the bin of each spike, at most n_bins - 1."""
        slack = GRID_SLACK * min(self.dt, bin_s)
        return np.minimum(((self.spike_times + slack) / bin_s).astype(np.int64), n_bins - 1)

    def rates(self) -> Array:
        """Return firing rates in Hz, (neuron,), over all observed time; nan for a neuron never observed."""
        counts = np.bincount(self.unit_ids, minlength=self.n_units)
        if not len(self.gaps):
            return counts / (self.duration * self.n_trials)
        seconds = self.observed_seconds().sum(0)
        return np.where(seconds > 0, counts / np.where(seconds > 0, seconds, 1.0), np.nan)

    def observed_seconds(self) -> Array:
        """Return how long each neuron was observed in each trial, in seconds, (trial, neuron)."""
        return observed_seconds(self.gaps, self.duration, self.n_units, self.n_trials)

    def seen(self, dt: float | None = None) -> NDArray[np.bool_]:
        """Return which steps of `dt` seconds lie in no gap, not even in part: bool, (trial, time, neuron)."""
        step = dt or self.dt
        shape = (self.n_trials, whole_steps(self.duration, step), self.n_units)
        return seen_steps(self.gaps, _affordable(shape, step), step)

    def recorded(self) -> NDArray[np.int64]:
        """Return the neurons that were observed at any time, (neuron,)."""
        return np.flatnonzero(self.observed_seconds().sum(0) > 0)

    def hiding(self, gaps: Array) -> "Recording":
        """Return the recording as if these gaps had been there, too: without the spikes that lie in them."""
        own = checked_gaps(gaps, self.duration, self.n_units, self.n_trials)
        slack = GRID_SLACK * self.dt
        ids = self.unit_ids, self.trial_ids
        hidden = within(own, self.spike_times, *ids, first=-slack, last=-slack)
        kept = self._of_spikes(np.flatnonzero(~hidden))
        return replace(kept, gaps=np.concatenate([self.gaps, own]))

    def placed(self, places: Sequence[int], n_units: int) -> "Recording":
        """Return the recording as that of a network of `n_units` neurons, of which these were recorded, in this order.

        The others are never observed. Drives are kept: they are those of the whole network. Raises InputError.
        """
        index = np.asarray(places, dtype=np.int64)
        _require_ids("the places of the recorded units", index, n_units)
        if len(index) != self.n_units or len(set(index.tolist())) != len(index):
            raise InputError(
                f"{len(index)} places are given for {self.n_units} recorded units; one for each, all different, "
                "are expected"
            )
        own = self.gaps.copy()
        single = own[:, 3] >= 0
        own[single, 3] = index[own[single, 3].astype(np.int64)]
        others = sorted(set(range(n_units)) - set(index.tolist()))
        names = ["" for _ in range(n_units)] if self.unit_names else []
        for place, name in zip(index, self.unit_names, strict=False):
            names[place] = name
        return replace(
            self,
            unit_ids=index[self.unit_ids],
            n_units=n_units,
            unit_names=tuple(names),
            gaps=np.concatenate([own, never_recorded(others, self.duration)]),
        )

    def train(self, unit: int, trial: int = 0) -> Array:
        """Return the sorted spike times of one neuron in one trial."""
        return np.sort(self.spike_times[(self.unit_ids == unit) & (self.trial_ids == trial)])

    def trains(self) -> list[list[Array]]:
        """Return the sorted spike times of every neuron in every trial: `trains()[trial][unit]`."""
        order = np.lexsort((self.spike_times, self.unit_ids, self.trial_ids))
        places = (self.trial_ids * self.n_units + self.unit_ids)[order]
        borders = np.searchsorted(places, np.arange(1, self.n_trials * self.n_units))
        parts = np.split(self.spike_times[order], borders)
        return [parts[k * self.n_units : (k + 1) * self.n_units] for k in range(self.n_trials)]

    def window(self, start: float, stop: float) -> "Recording":
        """Return the part from `start` to `stop` seconds of every trial, with its drives and traces; times from 0.

        A spike at `stop` belongs to what follows, unless `stop` is the end of the trial. Raises InputError if the
        window is not within the trial, or starts between two steps while there are traces or drives to cut.
        """
        slack = GRID_SLACK * self.dt
        if not 0 <= start < stop <= self.duration + slack:
            raise InputError(
                f"the window {start:g} to {stop:g} s is not within the {self.duration:g} s of a trial"
            )
        to_the_end = stop >= self.duration - slack
        before_stop = (self.spike_times < stop - slack) | to_the_end
        inside = (self.spike_times >= start - slack) & before_stop
        drives = {
            name: cut(values, self.input_dt.get(name, self.dt), self.dt, start, stop)
            for name, values in self.inputs.items()
        }
        return replace(
            self._of_spikes(np.flatnonzero(inside)),
            spike_times=np.clip(self.spike_times[inside] - start, 0.0, stop - start),
            duration=stop - start,
            inputs={name: values for name, (values, _) in drives.items()},
            input_dt={name: own for name, (_, own) in drives.items() if own != self.dt},
            traces={n: cut(v, self.dt, self.dt, start, stop)[0] for n, v in self.traces.items()},
            gaps=cut_gaps(self.gaps, start, stop),
        )

    def trials(self, wanted: Sequence[int]) -> "Recording":
        """Return some trials, renumbered from 0 in the order given; a trial named twice is there twice."""
        index = np.asarray(wanted, dtype=np.int64)
        _require_ids("the wanted trials", index, self.n_trials)
        found = [np.flatnonzero(self.trial_ids == trial) for trial in index]
        return replace(
            self._of_spikes(_joined(found)),
            trial_ids=np.repeat(np.arange(len(index)), [len(part) for part in found]),
            n_trials=len(index),
            inputs={
                name: values[index] if values.ndim == 3 and len(values) == self.n_trials else values
                for name, values in self.inputs.items()
            },
            traces={name: values[index] for name, values in self.traces.items()},
            gaps=renumber(self.gaps, 0, index),
        )

    def select(self, units: Sequence[int]) -> "Recording":
        """Return some neurons, renumbered from 0 in the order given.

        Drives and traces with one column for each neuron are cut likewise; others are kept as they are.
        """
        index = np.asarray(units, dtype=np.int64)
        _require_ids("the wanted units", index, self.n_units)
        found = [np.flatnonzero(self.unit_ids == unit) for unit in index]

        def columns(values: Array) -> Array:
            by_unit = values.ndim > 1 and values.shape[-1] == self.n_units
            return values[..., index] if by_unit else values

        return replace(
            self._of_spikes(_joined(found)),
            unit_ids=np.repeat(np.arange(len(index)), [len(part) for part in found]),
            n_units=len(index),
            unit_names=tuple(self.unit_names[unit] for unit in index) if self.unit_names else (),
            inputs={name: columns(values) for name, values in self.inputs.items()},
            traces={name: columns(values) for name, values in self.traces.items()},
            gaps=renumber(self.gaps, 3, index),
        )

    def _of_spikes(self, index: NDArray[np.int64]) -> "Recording":
        return replace(
            self,
            spike_times=self.spike_times[index],
            unit_ids=self.unit_ids[index],
            trial_ids=self.trial_ids[index],
        )

    def drive(self, name: str, n_steps: int, dt: float) -> Array:
        """Return a known drive on `n_steps` steps of `dt` seconds, (trial or 1, time, neuron or 1).

        A coarser drive is held constant between its samples; a finer one is averaged within each step. Raises
        InputError for an unknown name or too few samples.
        """
        if name not in self.inputs:
            known = ", ".join(sorted(self.inputs)) or "none"
            raise InputError(f"there is no drive `{name}`; the recording has {known}")
        try:
            return resample(
                _by_trial(self.inputs[name]), self.input_dt.get(name, self.dt), dt, n_steps
            )
        except IndexError as error:
            raise InputError(
                f"the drive `{name}` is too short: {error}; extend it or choose a shorter duration"
            ) from None

    def save(self, path: str | Path) -> None:
        """Write the recording as an .npz file that `load_targets` reads back equal.

        Raises InputError if the name of a drive or trace is one of the file's own, or the place cannot be written.
        """
        names = [*self.inputs, *self.traces]
        for name in names:
            step_of_another = name.removesuffix("_dt") in {*names} - {name}
            if name in RESERVED or names.count(name) > 1 or step_of_another:
                raise InputError(
                    f"the drive or trace `{name}` would collide in the file; rename it"
                )
        steps = {n: own for n, own in self.input_dt.items() if n in self.inputs}
        numbers = {name: getattr(self, name) for name in STORED}
        numbers |= {**self.inputs, **self.traces, **{f"{n}_dt": own for n, own in steps.items()}}
        numbers |= {f"{PARAMETER}{name}": value for name, value in self.parameters.items()}
        texts = {
            "unit_names": self.unit_names,
            "trace_names": tuple(self.traces),
            "description": self.description,
        }
        if len(self.gaps):
            numbers["gaps"] = self.gaps
        arrays = numbers | {name: text for name, text in texts.items() if text}
        write_arrays(Path(path), {name: np.asarray(value) for name, value in arrays.items()})


def from_dense(
    spikes: ArrayLike,
    dt: float,
    *,
    inputs: Mapping[str, Array] | None = None,
    input_dt: Mapping[str, float] | None = None,
    unit_names: Sequence[str] = (),
    description: str = "",
) -> Recording:
    """Return the recording of 0/1 spikes, (trial, time, neuron), on steps of `dt` seconds; step n is stamped n*dt.

    Raises InputError for another shape or other values.
    """
    grid = np.asarray(spikes)
    if grid.ndim != 3 or 0 in grid.shape:
        raise InputError(
            f"`spikes` has shape {grid.shape}; (trial, time, neuron) is expected, none of them empty"
        )
    if not ((grid == 0) | (grid == 1)).all():
        raise InputError(
            "`spikes` holds other values than 0 and 1; use a finer dt so that a bin has at most one spike"
        )
    trial, unit, step = np.nonzero(grid.transpose(0, 2, 1))
    n_trials, n_steps, n_units = grid.shape
    return Recording(
        spike_times=step.astype(np.float64) * dt,
        unit_ids=unit,
        trial_ids=trial,
        duration=n_steps * dt,
        dt=dt,
        n_units=n_units,
        n_trials=n_trials,
        inputs=dict(inputs or {}),
        input_dt=dict(input_dt or {}),
        unit_names=tuple(unit_names),
        description=description,
    )


def load_targets(path: str | Path) -> Recording:
    """Read spikes, known drives and traces from an .npz file, sparse or dense (see docs/files.md).

    Spike times without `dt` are put on steps of 1 ms. Nothing is unpickled. Raises InputError with one clear message
    for a missing, damaged, empty, wrongly shaped, NaN-carrying or contradictory file.
    """
    return _recording_of(read_contents(Path(path)))


def load_inputs(path: str | Path) -> Recording:
    """Read known drives from an .npz file, which need not hold spikes; errors as in `load_targets`."""
    return _recording_of(read_contents(Path(path), spikes_needed=False))


def _recording_of(found: Contents) -> Recording:
    if found.spikes is None:
        times, units, trials = found.spike_times, found.unit_ids, found.trial_ids
    else:
        trials, units, steps = np.nonzero(found.spikes.transpose(0, 2, 1))
        times = steps.astype(np.float64) * found.dt
    return Recording(
        spike_times=times,
        unit_ids=units,
        trial_ids=trials,
        duration=found.duration,
        dt=found.dt,
        n_units=found.n_units,
        n_trials=found.n_trials,
        traces=found.traces,
        inputs=found.drives,
        input_dt=found.drive_dt,
        parameters=found.parameters,
        unit_names=found.unit_names,
        description=found.description,
        gaps=found.gaps,
    )


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _by_trial(values: Array) -> Array:
    """Return (time,) or (time, neuron) as (trial, time, neuron)."""
    return (
        values[None, :, None] if values.ndim == 1 else values[None] if values.ndim == 2 else values
    )


def _require_ids(name: str, ids: NDArray[np.int64], below: int) -> None:
    wrong = ids[(ids < 0) | (ids >= below)]
    if len(wrong):
        raise InputError(
            f"{name} contains {wrong[0]}; whole numbers from 0 to {below - 1} are expected"
        )


def _affordable(shape: tuple[int, int, int], bin_s: float) -> tuple[int, int, int]:
    if np.prod(shape, dtype=float) > LARGEST:
        raise InputError(
            f"{shape[0]} trials of {shape[1]} bins of {bin_s:g} s for {shape[2]} neurons do not fit into memory; "
            "number the neurons from 0 without gaps, use longer bins, or cut a window"
        )
    return shape
