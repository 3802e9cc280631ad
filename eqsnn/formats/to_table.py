"""Spikes of a recording as a table of text."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from eqsnn.files import write_text
from eqsnn.formats.source import NO_PARAMETERS
from eqsnn.simulation.recording import Recording


def write_table(recording: Recording, path: Path) -> tuple[str, ...]:
    """Write spikes as a table, tabs in between for .tsv; return what it cannot hold."""
    names = recording.unit_names
    lost = [f"the {what} {', '.join(values)} cannot be held by a table and were left out; .npz, .nwb and .nix hold them"
            for what, values in (("drives", recording.inputs), ("traces", recording.traces)) if values]  # fmt: skip
    if recording.parameters:
        lost.append(NO_PARAMETERS)
    if names and (len(set(names)) < len(names) or any("\n" in n or "\r" in n for n in names)):
        lost.append(
            "the names of units are not all different, or have several lines; numbers stand in their place"
        )
        names = ()
    labels = names or tuple(map(str, range(recording.n_units)))
    text = io.StringIO()
    text.write(f"# duration: {float(recording.duration)!r} s\n# dt: {float(recording.dt)!r} s\n")
    text.write(f"# trials: {recording.n_trials}\n")
    text.write(f"# units: {json.dumps(list(names)) if names else recording.n_units}\n")
    if len(recording.gaps):
        text.write(f"# gaps: {json.dumps(recording.gaps.tolist())}\n")
    if recording.description:
        text.write(f"# description: {json.dumps(recording.description)}\n")
    writer = csv.writer(
        text, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", lineterminator="\n"
    )
    several = recording.n_trials > 1
    writer.writerow(["time", "unit", "trial"][: 3 if several else 2])
    order = np.lexsort((recording.unit_ids, recording.spike_times, recording.trial_ids))
    for i in order:
        row = [repr(float(recording.spike_times[i])), labels[recording.unit_ids[i]]]
        writer.writerow([*row, int(recording.trial_ids[i])] if several else row)
    write_text(path, text.getvalue())
    return tuple(lost)
