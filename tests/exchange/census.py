"""The census: every text of the corpus as a Brian2 network and as what `from_brian2` makes of it, on the same input."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import eqsnn
from eqsnn.exchange.imported import Imported

b = pytest.importorskip("brian2")

DURATION = 0.1  # s, unless the text has a `duration` of its own


@dataclass(frozen=True)
class Outcome:
    """Of one text: how many spikes Brian2 has, how many differ, the largest difference of a state over its range."""

    name: str
    constructs: str
    spikes: int
    differing: int
    states: int
    difference: float

    @property
    def matches(self) -> bool:
        """Whether every spike is in its step; without spikes, whether the states agree to 1e-9 of their range."""
        if self.spikes:
            return self.differing == 0
        return self.states > 0 and self.difference < 1e-9

    @property
    def is_random(self) -> bool:
        """Whether the text draws random values, which differ between simulators."""
        return "xi" in self.constructs or "rand" in self.constructs

    def __str__(self) -> str:
        numbers = f"{self.spikes:5d} spikes {self.differing:3d} differ  {self.states:2d} states {self.difference:8.1e}"
        return f"{self.name:32s} {numbers}  {self.constructs}"


def script(text: Callable) -> tuple[list[Any], dict[str, Any]]:
    """Run a text of the corpus; return its Brian2 objects and its namespace."""
    b.start_scope()
    b.prefs.codegen.target = "numpy"
    b.defaultclock.dt = 0.1 * b.ms
    namespace = text(np.random.default_rng(3))
    return list(_objects(namespace.values())), namespace


def _objects(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, b.core.base.BrianObject) and type(value).__name__ != "Subgroup":
            yield value
        elif isinstance(value, list | tuple):
            yield from _objects(value)


def compare(text: Callable) -> Outcome:
    """Run a text in both simulators; spikes by (step, population, neuron), states at the start of every step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        objects, namespace = script(text)
        duration = namespace.get("duration", DURATION)
        network = b.Network(*objects)
        imported = eqsnn.from_brian2(network, namespace=namespace)
        theirs, traces = run_brian2(network, objects, duration, namespace)
        ours = imported.simulate(
            duration, record=[imported.renamed.get(name, name) for name in traces]
        )
    return outcome(text, imported, ours, theirs, traces)


Spikes = set[tuple[int, str]]


def run_brian2(
    network: Any, objects: list[Any], duration: float, namespace: dict
) -> tuple[Spikes, dict[str, Any]]:
    """Return the spikes and the states of a run of Brian2 from here on, by the names of the imported model."""
    spiking = [
        each
        for each in objects
        if "spike" in (getattr(each, "events", None) or {}) and hasattr(each, "spikes")
    ]
    monitors = {each.name: b.SpikeMonitor(each) for each in spiking}
    states = {
        each.name: b.StateMonitor(
            each, sorted(each.equations.diff_eq_names), record=True, when="before_groups"
        )
        for each in objects
        if type(each).__name__ == "NeuronGroup" and each.equations.diff_eq_names
    }
    network.add(*monitors.values(), *states.values())
    network.run(duration * b.second, namespace=namespace)
    dt = float(np.asarray(next(iter(objects)).clock.dt_)) if objects else 1e-4
    spikes = {
        (round(float(t) / dt), f"{name}[{i}]")
        for name, monitor in monitors.items()
        for t, i in zip(np.asarray(monitor.t), np.asarray(monitor.i), strict=True)
    }
    traces = {
        f"{name}.{state}": np.asarray(getattr(monitor, state)).T
        for name, monitor in states.items()
        for state in monitor.record_variables
    }
    return spikes, traces


def our_spikes(recording: eqsnn.Recording) -> Spikes:
    """Return the spikes of a recording by (step, population[neuron])."""
    return {
        (round(t / recording.dt), recording.unit_names[unit])
        for t, unit in zip(recording.spike_times, recording.unit_ids, strict=True)
    }


def outcome(
    text: Callable, imported: Imported, ours: eqsnn.Recording, theirs: Spikes, traces: dict
) -> Outcome:
    """Return how far two runs of a text are apart."""
    differences = [0.0]
    for name, expected in traces.items():
        found = ours.traces[imported.renamed.get(name, name)][0]
        spread = np.ptp(expected) or np.abs(expected).max() or 1.0
        differences.append(float(np.abs(found - expected).max() / spread))
    constructs = " ".join((text.__doc__ or "").split())
    name = getattr(text, "__name__", str(text))
    differing = len(theirs ^ our_spikes(ours))
    return Outcome(name, constructs, len(theirs), differing, len(traces), max(differences))
