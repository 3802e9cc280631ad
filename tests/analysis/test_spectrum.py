"""The rhythm of a population."""

import numpy as np
import pytest

from eqsnn.analysis.spectrum import population_spectrum
from eqsnn.errors import InputError
from eqsnn.simulation.recording import from_dense


def rhythmic(frequency: float, depth: float, *, rate: float = 5.0, seconds: float = 200.0):
    """Return 20 neurons that fire at random at rate*(1 + depth sin(2 pi frequency t)), on a grid of 10 ms."""
    t = np.arange(round(seconds / 0.01)) * 0.01
    chance = 0.01 * rate * (1 + depth * np.sin(2 * np.pi * frequency * t))
    spikes = np.random.default_rng(0).random((1, len(t), 20)) < chance[None, :, None]
    return from_dense(spikes.astype(np.uint8), 0.01)


@pytest.mark.parametrize("frequency", [0.1, 0.3, 1.5])
def test_the_peak_is_where_the_rate_oscillates(frequency):
    spectrum = population_spectrum(rhythmic(frequency, 0.5), window=50.0)
    assert spectrum.peak(0.05, 4.0) == pytest.approx(frequency, abs=0.02)


def test_random_spikes_have_the_flat_spectrum_of_their_total_rate():
    # a Poisson process has the one-sided spectrum 2*rate; (100 spikes/s)
    spectrum = population_spectrum(rhythmic(0.1, 0.0), window=10.0)
    inside = (spectrum.frequency > 0.5) & (spectrum.frequency < 4.5)
    assert spectrum.power[inside].mean() == pytest.approx(2 * 100, rel=0.1)
    assert spectrum.share(0.5, 4.5) == pytest.approx(0.8, abs=0.08)


def test_a_rhythm_has_the_power_of_its_sine_above_the_noise():
    spectrum = population_spectrum(rhythmic(0.5, 0.5), window=20.0)
    sine, noise = (100 * 0.5) ** 2 / 2, 2 * 100 * 5
    near = spectrum.share(0.35, 0.65)
    assert near == pytest.approx((sine + 200 * 0.3) / (sine + noise), rel=0.15)


def test_silence_has_no_peak():
    silent = from_dense(np.zeros((1, 1000, 2), np.uint8), 0.01)
    assert np.isnan(population_spectrum(silent, window=5.0).peak(0.5, 2.0))


def test_windows_and_bands_that_the_data_cannot_have_are_refused():
    recording = rhythmic(0.5, 0.5, seconds=20.0)
    with pytest.raises(InputError, match="a window of 30 s has 300 bins"):
        population_spectrum(recording, window=30.0)
    with pytest.raises(InputError, match=r"from 6 to 8 Hz; its step is 0\.1 Hz"):
        population_spectrum(recording, window=10.0).peak(6.0, 8.0)
