"""offsets: where in its step each spike of a recording falls."""

import numpy as np
from numpy.typing import NDArray

from eqsnn.simulation.recording import GRID_SLACK, Recording

Array = NDArray[np.float64]


def spike_offsets(recording: Recording, dt: float, n_steps: int) -> tuple[Array, Array]:
    """Return spikes 0 or 1 and their fractions of a step of `dt` seconds, (trial, time, neuron) each.

    Times that all lie on the recording's own grid only name the bin a spike fell into, so they are put in its middle;
    other times are taken as they are. A spike beyond the last step belongs to it. Of several spikes in one step the
    last is kept.
    """
    times = recording.spike_times
    bins = times / recording.dt
    if np.all(np.abs(bins - np.round(bins)) < GRID_SLACK):
        times = times + recording.dt / 2
    steps = times / dt
    whole = np.minimum(np.floor(steps + 1e-9), n_steps - 1).astype(np.int64)
    spikes = np.zeros((recording.n_trials, n_steps, recording.n_units))
    offsets = np.zeros_like(spikes)
    order = np.argsort(times, kind="stable")
    place = (recording.trial_ids[order], whole[order], recording.unit_ids[order])
    spikes[place] = 1.0
    offsets[place] = np.clip(steps - whole, 0.0, 1.0)[order]
    return spikes, offsets
