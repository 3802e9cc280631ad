"""How free runs of a network compare with its recording: rate, rhythm, ensembles."""

import numpy as np

import eqsnn
from eqsnn.analysis.spectrum import population_spectrum

BAND, WINDOW, BIN = (
    (0.03, 0.5),
    45.0,
    0.5,
)  # Hz in which the rhythm is looked for, s, s of ensembles


def free_row(target: eqsnn.Recording, runs: list[eqsnn.Recording]) -> dict[str, str]:
    """Return how free runs compare with the recording: rate, spectral peak of each, ensembles."""
    peaks = [
        population_spectrum(run, window=min(WINDOW, run.duration / 2)).peak(*BAND) for run in runs
    ]
    power = [
        population_spectrum(run, window=min(WINDOW, run.duration / 2)).share(*BAND) for run in runs
    ]
    found = [
        eqsnn.compare_ensembles(target, run, bin_s=BIN, shuffles=50)
        for run in runs
        if len(run.spike_times)
    ]
    rates = [run.rates().mean() for run in runs]
    row = {
        "rate, Hz": f"{np.mean(rates):.2f}",
        "spectral peak, Hz": f"{np.median(peaks):.3f} ({min(peaks):.3f} to {max(peaks):.3f})",
    }
    row |= {"power at 0.03 to 0.5 Hz": f"{np.mean(power):.2f}"}
    cosines = (
        np.mean([[m.cosine, m.ceiling, m.floor] for m in found], 0) if found else np.full(3, np.nan)
    )
    return row | {
        "module cosine": f"{cosines[0]:.3f}",
        "ceiling, floor": f"{cosines[1]:.3f}, {cosines[2]:.3f}",
    }
