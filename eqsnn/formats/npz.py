""".npz, the format of eqsnn itself (docs/files.md): holds all that a recording holds."""

from pathlib import Path

import numpy as np

from eqsnn.errors import InputError
from eqsnn.files import read_arrays
from eqsnn.formats.source import Reading, Source, Wanted
from eqsnn.simulation.recording import Recording, load_inputs, load_targets


def read_npz(path: Path, reading: Reading) -> Source:
    """Return what an .npz file holds, spikes in the order of the file. Raises InputError (see `read_contents`)."""
    recording = load_targets(path) if reading.spikes_needed else load_inputs(path)
    arrays = read_arrays(path)
    spikes = recording.spike_times, recording.unit_ids, recording.trial_ids
    if "spike_times" in arrays:
        times = arrays["spike_times"].astype(np.float64)
        trials = arrays.get("trial_ids", np.zeros(len(times)))
        spikes = times, arrays["unit_ids"].astype(np.int64), trials.astype(np.int64)
    times, units, trials = spikes
    inputs, steps = dict(recording.inputs), dict(recording.input_dt)
    for wanted in reading.drives:
        _rename(path, inputs, steps, wanted)
    return Source(
        spike_times=times,
        unit_ids=units,
        trial_ids=trials,
        n_units=recording.n_units,
        starts=np.zeros(recording.n_trials),
        stops=np.full(recording.n_trials, recording.duration),
        dt=recording.dt,
        unit_names=recording.unit_names,
        gaps=recording.gaps,
        inputs=inputs,
        traces=recording.traces,
        input_dt=steps,
        parameters=recording.parameters,
        description=recording.description,
    )


def _rename(path: Path, inputs: dict, steps: dict, wanted: Wanted) -> None:
    """Call a drive of the file what the model calls it."""
    if wanted.signal not in inputs:
        if wanted.needed:
            raise InputError(
                f"{path}: there is no drive `{wanted.signal}`; the file has {', '.join(sorted(inputs)) or 'none'}"
            )
        return
    if wanted.unit:
        raise InputError(
            f"{path}: an .npz file does not say in which unit `{wanted.signal}` is, so it cannot be turned into "
            f"{wanted.unit}; leave the unit out"
        )
    inputs[wanted.name] = inputs.pop(wanted.signal)
    if wanted.signal in steps:
        steps[wanted.name] = steps.pop(wanted.signal)


def write_npz(recording: Recording, path: Path) -> tuple[str, ...]:
    """Write a recording; nothing is lost."""
    recording.save(path)
    return ()
