"""Drives of an imported model: what Brian2 keeps in a TimedArray or a SpikeGeneratorGroup, sampled on the model's steps."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPIKE_SLACK = (
    1e-3  # of a step: Brian2 puts a spike this little before an edge into the step after it
)


@dataclass(frozen=True, slots=True)
class Waveform:
    """Values held for `dt` seconds each, (time,) or (time, neuron); the last one is held for ever."""

    values: NDArray[np.float64]
    dt: float

    def sample(self, n_steps: int, dt: float) -> NDArray[np.float64]:
        """Return the values at steps 0, 1, ... of `dt` seconds, chosen as Brian2 does, rounding included."""
        finer = 2 ** math.ceil(math.log2(8 * self.dt / dt)) if 8 * self.dt > dt else 1
        times = np.arange(n_steps) * dt
        index = (np.round(times / (self.dt / finer)) / finer).astype(np.int64)
        return self.values[np.clip(index, 0, len(self.values) - 1)]

    @property
    def duration(self) -> float:
        """Seconds until the last value has been held for its time."""
        return len(self.values) * self.dt


@dataclass(frozen=True, slots=True)
class SpikeTrains:
    """Given spikes: `indices` of neurons and `times` in seconds, repeated every `period` seconds (0: once)."""

    indices: NDArray[np.int64]
    times: NDArray[np.float64]
    n_neurons: int
    period: float = 0.0

    def sample(self, n_steps: int, dt: float) -> NDArray[np.float64]:
        """Return 1 in the steps of `dt` seconds with a spike and 0 elsewhere, (time, neuron)."""
        spikes = np.zeros((n_steps, self.n_neurons))
        steps = np.floor((self.times + SPIKE_SLACK * dt) / dt).astype(np.int64)
        cycle = round(self.period / dt) if self.period else n_steps
        for first in range(0, n_steps, max(1, cycle)):
            now = first + steps
            spikes[now[now < n_steps], self.indices[now < n_steps]] = 1.0
        return spikes

    @property
    def duration(self) -> float:
        """Seconds until after the last spike."""
        return max(self.period, float(self.times.max(initial=0.0)))


Drive = Waveform | SpikeTrains
