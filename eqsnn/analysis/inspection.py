"""What is in a recording before anything is fitted to it, and what speaks against fitting it as it is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from eqsnn.analysis.statistics import interval_cv, intervals
from eqsnn.analysis.time_grid import time_grid
from eqsnn.formats.source import Source
from eqsnn.simulation.gaps import SLACK
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]
REFRACTORY = 2e-3  # s: no neuron is expected to fire twice within it
CHANCE = 0.05
MIXED = 0.01  # share of intervals within the refractory period from which a unit looks like several neurons
SCARCE = 50  # spikes of a unit that say little about its parameters
SLOW = 0.2  # s: no interval as short as this among MANY, and the times are hardly seconds
MANY = 50
SAMPLES = 1000.0  # "s": a median interval above, of whole numbers, is rather counted in samples than in ms
FASTEST = 1000.0  # Hz: no neuron fires faster for long
LISTED = 8  # units that a warning names


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """One unit of a recording; rate in Hz, shortest interval in s, nan where there are too few spikes to say.

    intervals: number of those that no gap interrupts; violations: share of them within the refractory period;
    sharing_a_step: spikes that would be lost because another one is in the same step; duplicates: spikes at the time of
    another.
    """

    unit: int
    name: str
    spikes: int
    intervals: int
    rate: float
    cv: float
    shortest: float
    violations: float
    sharing_a_step: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a recording holds: see UnitFacts for its units; times in seconds.

    grid: the step of which all spike times are multiples, nan if there is none; step: the one that spikes sharing it
    are counted for; observed: share of all units' time that lies in no gap; drives: name to shape, step, lowest and
    highest value; warnings say what to do.
    """

    format: str
    n_trials: int
    duration: float
    clock: float
    dt: float
    grid: float
    step: float
    refractory: float
    observed: float
    gaps: int
    drives: Mapping[str, tuple[tuple[int, ...], float, float, float]]
    traces: tuple[str, ...]
    units: tuple[UnitFacts, ...]
    warnings: tuple[str, ...]
    recording: Recording = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the recording as plain values for JSON; what is not known is None."""
        plain = {
            name: _plain(getattr(self, name))
            for name in ("format", "n_trials", "duration", "clock", "dt", "grid", "step", "refractory",
                         "observed", "gaps", "traces", "warnings")
        }  # fmt: skip
        drives = {
            name: {"shape": list(shape), "dt": step, "min": _plain(low), "max": _plain(high)}
            for name, (shape, step, low, high) in self.drives.items()
        }
        units = [
            {name: _plain(getattr(unit, name)) for name in UnitFacts.__slots__}
            for unit in self.units
        ]
        spikes = sum(unit.spikes for unit in self.units)
        return plain | {"n_units": len(units), "n_spikes": spikes, "drives": drives, "units": units}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and not np.isfinite(value) else value


def inspect(
    recording: Recording,
    source: Source | None = None,
    *,
    format: str = "",
    dt: float | None = None,
    refractory: float = REFRACTORY,
    notes: tuple[str, ...] = (),
) -> Inspection:
    """Say what is in a recording. dt: the step of the model (s), default the recording's; notes: of whoever read it.

    source: what the file said before it became a recording, for what a recording cannot show: order and units of time.
    """
    step = dt or recording.dt
    units = _units(recording, step, refractory)
    grid = time_grid(recording.spike_times)
    spread = recording.observed_seconds()
    total = recording.duration * spread.size
    facts = Inspection(
        format=format,
        n_trials=recording.n_trials,
        duration=recording.duration,
        clock=source.clock if source else 0.0,
        dt=recording.dt,
        grid=grid,
        step=step,
        refractory=refractory,
        observed=float(spread.sum() / total) if total else 1.0,
        gaps=len(recording.gaps),
        drives={
            name: (
                v.shape,
                recording.input_dt.get(name, recording.dt),
                float(v.min()),
                float(v.max()),
            )
            for name, v in recording.inputs.items()
        },
        traces=tuple(recording.traces),
        units=units,
        warnings=(*notes, *_about_times(recording, source), *_about_units(units, step, refractory)),
        recording=recording,
    )
    return facts


def _units(recording: Recording, step: float, refractory: float) -> tuple[UnitFacts, ...]:
    rates, cvs, by_unit = recording.rates(), interval_cv(recording), intervals(recording)
    counts = np.bincount(recording.unit_ids, minlength=recording.n_units)
    n_steps = round(recording.duration / step) + 2
    slack = SLACK * min(step, recording.dt)
    steps = ((recording.spike_times + slack) / step).astype(np.int64)
    places = (recording.unit_ids * recording.n_trials + recording.trial_ids) * n_steps + steps
    taken = np.bincount(
        np.unique(places) // (n_steps * recording.n_trials), minlength=recording.n_units
    )
    return tuple(
        UnitFacts(
            unit=unit,
            name=recording.unit_names[unit] if recording.unit_names else "",
            spikes=int(counts[unit]),
            intervals=len(own),
            rate=float(rates[unit]),
            cv=float(cvs[unit]),
            shortest=float(own.min()) if len(own) else np.nan,
            violations=float((own < refractory).mean()) if len(own) else np.nan,
            sharing_a_step=int(counts[unit] - taken[unit]),
            duplicates=int((own == 0).sum()),
        )
        for unit, own in enumerate(by_unit)
    )


def _about_times(recording: Recording, source: Source | None) -> list[str]:
    """Return what is odd about the times: their unit, their order."""
    found = []
    own = np.concatenate([np.zeros(0), *intervals(recording)])
    own = own[own > 0]
    whole = bool(len(own)) and bool(
        (recording.spike_times == np.round(recording.spike_times)).all()
    )
    if len(own) >= MANY and (own.min() > SLOW or whole):
        counted = whole and np.median(own) > SAMPLES
        unit = (
            "samples (--time-unit 30kHz, or what the rate was)"
            if counted
            else "milliseconds (--time-unit ms)"
        )
        found.append(
            f"the shortest interval is {own.min():g} s and the median {np.median(own):g} s: the times look like {unit}, "
            "not seconds"
        )
    active = recording.rates()[recording.recorded()] if recording.n_units else np.zeros(0)
    if len(active) and np.median(active) > FASTEST:
        found.append(
            f"half of the units fire faster than {np.median(active):g} Hz: the times are hardly seconds; say the right "
            "--time-unit, or check the duration"
        )
    if source is not None and len(source.spike_times):
        places = source.unit_ids + source.n_units * source.trial_ids
        order = np.argsort(places, kind="stable")
        times, own_places = source.spike_times[order], places[order]
        back = int(((np.diff(times) < 0) & (np.diff(own_places) == 0)).sum())
        if back:
            found.append(
                f"the spikes of a unit are not in the order of time at {back} places; they are sorted on reading, but check "
                "that the columns are what they should be"
            )
    if len(recording.spike_times) and recording.n_trials == 1:
        first = float(recording.spike_times.min())
        clock = source.clock if source else 0.0
        if first > 0.5 * recording.duration and not len(recording.gaps):
            found.append(
                f"nothing fires before {first + clock:g} s; if the recording began there, choose "
                f"--window {first + clock:g}s:{recording.duration + clock:g}s"
            )
    return found


def _about_units(units: tuple[UnitFacts, ...], step: float, refractory: float) -> list[str]:
    if not units:
        return ["there are no units"]
    found = []
    mixed = [u for u in units if _is_mixed(u)]
    if mixed:
        worst = max(mixed, key=lambda u: u.violations)
        found.append(
            f"{_listed(mixed)}: more than {MIXED:.0%} of the intervals are shorter than {refractory * 1e3:g} ms (worst "
            f"{worst.violations:.1%}), so probably several neurons in one unit; sort again, or leave out with --units"
        )
    doubled = [u for u in units if u.duplicates]
    if doubled:
        found.append(
            f"{_listed(doubled)}: {sum(u.duplicates for u in doubled)} spikes are there twice, at the same time; remove "
            "one of each"
        )
    sharing = [u for u in units if u.sharing_a_step]
    if sharing:
        lost, of = sum(u.sharing_a_step for u in sharing), sum(u.spikes for u in units)
        least = min((u.shortest for u in sharing if u.shortest > 0), default=np.nan)
        finer = f" the shortest interval is {least * 1e3:.3g} ms;" if np.isfinite(least) else ""
        found.append(
            f"{_listed(sharing)}: {lost} of {of} spikes share a step of {step * 1e3:g} ms with another of the same unit "
            f"and would count once;{finer} choose a finer dt in the model"
        )
    silent = [u for u in units if not u.spikes and not np.isnan(u.rate)]
    scarce = [u for u in units if 0 < u.spikes < SCARCE]
    if silent:
        found.append(
            f"{_listed(silent)}: no spikes; their parameters are known only to keep them silent"
        )
    if scarce:
        found.append(
            f"{_listed(scarce)}: fewer than {SCARCE} spikes, which say little about parameters of their own; share "
            "parameters (`(shared)` in the model), or leave them out with --units"
        )
    return found


def _is_mixed(unit: UnitFacts) -> bool:
    """Return whether more violations than MIXED are there than chance explains (binomial test, 5 %)."""
    if not unit.violations > MIXED:
        return False
    few = round(unit.violations * unit.intervals)
    return bool(binomtest(few, unit.intervals, MIXED, alternative="greater").pvalue < CHANCE)


def _listed(units: list[UnitFacts]) -> str:
    names = [u.name or str(u.unit) for u in units]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"unit{'s' if len(names) > 1 else ''} {', '.join(names[:LISTED])}{more}"
