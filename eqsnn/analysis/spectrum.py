"""The rhythm of a population: the spectrum of its summed spike counts, and where that is largest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from eqsnn.errors import InputError
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Power of the population rate, (spikes/s)^2/Hz, at each frequency in Hz; mean over trials."""

    frequency: Array
    power: Array

    def peak(self, low: float, high: float) -> float:
        """Return the frequency in Hz of the largest power from `low` to `high` Hz, nan where there is no power."""
        inside = (self.frequency >= low) & (self.frequency <= high)
        if not inside.any():
            raise InputError(
                f"no frequency of the spectrum lies from {low:g} to {high:g} Hz; its step is {self.frequency[1]:g} Hz"
            )
        power = np.where(inside, self.power, -1.0)
        return float(self.frequency[np.argmax(power)]) if power.max() > 0 else float("nan")

    def share(self, low: float, high: float) -> float:
        """Return the share of all power (without the mean) that lies from `low` to `high` Hz."""
        inside = (self.frequency >= low) & (self.frequency <= high)
        whole = self.power[1:].sum()
        return float(self.power[inside].sum() / whole) if whole > 0 else float("nan")


def population_spectrum(recording: Recording, *, window: float, bin_s: float = 0.1) -> Spectrum:
    """Return the spectrum of the spikes of all neurons together, in bins of `bin_s` seconds.

    Welch's method: Hann windows of `window` seconds that overlap by half, each without its straight line (a slow drift is no
    rhythm), over all trials; the resolution is 1/window. scipy.signal.welch. Raises InputError for a window longer than a
    trial or shorter than four bins.
    """
    counts = recording.counts(bin_s).sum(2) / bin_s
    n = round(window / bin_s)
    if not 4 <= n <= counts.shape[1]:
        raise InputError(
            f"a window of {window:g} s has {n} bins of {bin_s:g} s; from 4 to the {counts.shape[1]} of a trial are expected"
        )
    frequency, power = welch(counts, fs=1 / bin_s, nperseg=n, detrend="linear", axis=1)
    return Spectrum(frequency, power.mean(0))
