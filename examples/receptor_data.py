"""Write the auditory receptor of a grasshopper, which ships with nitime, as targets for `eqsnn fit`.

Usage: python examples/receptor_data.py OUT_DIR. A Locusta receptor neuron heard a tone whose
amplitude was modulated at random up to 200 Hz for 10 s (Rokem et al. 2006,
doi:10.1152/jn.00911.2005). The known drive is the level in dB, centred and scaled, and late by the
cell's latency, read off the spike-triggered average of the first 7 s. Writes receptor_train.npz
(first 7 s), receptor_test.npz (last 3 s), receptor_input.npz (the last 3 s with half a second
before them, for a burn-in) and poisson_test.npz (a null model with the right rate).
"""

import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from eqsnn import Recording
from eqsnn.files import write_arrays

DURATION, TRAINED, LEAD = 10.0, 7.0, 0.5  # s
STEP = 50e-6  # s, of the stimulus
GRID = 0.5e-3  # s


def receptor() -> Recording:
    """Return all 10 s with the drive `stimulus`."""
    folder = files("nitime") / "data"
    times = np.loadtxt(str(folder / "grasshopper_spike_times1.txt")) * 1e-6
    amplitude = np.loadtxt(str(folder / "grasshopper_stimulus1.txt"))[:, 1]
    amplitude = amplitude[: round(DURATION / STEP)]
    level = 20 * np.log10(np.maximum(amplitude, amplitude[amplitude > 0].min()))
    ids = np.zeros(len(times), dtype=np.int64)
    return Recording(
        spike_times=times[times < DURATION],
        unit_ids=ids[times < DURATION],
        trial_ids=ids[times < DURATION],
        duration=DURATION,
        dt=GRID,
        n_units=1,
        inputs={"stimulus": (level - level.mean()) / level.std()},
        input_dt={"stimulus": STEP},
        description="grasshopper auditory receptor, nitime, BSD-3-Clause",
    )


def latency(train: Recording) -> float:
    """Return the lag of the largest spike-triggered average, less 1 ms for the membrane's own, in seconds."""
    level, lags = train.inputs["stimulus"], np.arange(0, 0.015, STEP)
    times = train.spike_times[train.spike_times > lags[-1]]
    average = [level[((times - lag) / STEP).astype(int)].mean() for lag in lags]
    return float(lags[int(np.argmax(average))]) - 1e-3


def delayed(recording: Recording, seconds: float) -> Recording:
    """Return the recording with its stimulus `seconds` later; the first samples are the mean level."""
    n = round(seconds / STEP)
    level = np.concatenate([np.zeros(n), recording.inputs["stimulus"]])[
        : len(recording.inputs["stimulus"])
    ]
    return replace(recording, inputs={"stimulus": level})


def main(out: Path) -> None:
    """Write the four files."""
    whole = receptor()
    late = latency(whole.window(0.0, TRAINED))
    whole = delayed(whole, late)
    train, test = whole.window(0.0, TRAINED), whole.window(TRAINED, DURATION)
    train.save(out / "receptor_train.npz")
    test.save(out / "receptor_test.npz")
    lead = whole.window(TRAINED - LEAD, DURATION)
    write_arrays(
        out / "receptor_input.npz",
        {"stimulus": lead.inputs["stimulus"], "stimulus_dt": np.array(STEP)},
    )
    rng = np.random.default_rng(0)
    fires = rng.random((1, round((DURATION - TRAINED) / GRID), 1)) < train.rates()[0] * GRID
    null = (np.flatnonzero(fires[0, :, 0]) * GRID).astype(np.float64)
    zeros = np.zeros(len(null), dtype=np.int64)
    Recording(null, zeros, zeros, DURATION - TRAINED, GRID, 1).save(out / "poisson_test.npz")
    print(
        f"{out}: {len(train.spike_times)} spikes to learn from, {len(test.spike_times)} held out, latency {late * 1e3:.2f} ms"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
