"""findings: a fit brought together with its targets: the fitted model runs on their inputs, and is compared with them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eqsnn.analysis.compare import Comparison, compare
from eqsnn.api import simulate
from eqsnn.errors import InputError
from eqsnn.formats.load import load_targets
from eqsnn.inference.provenance import Source, source_of
from eqsnn.inference.result import Fit
from eqsnn.simulation.recording import Recording

MOST_TRIALS = 8  # of the targets that the fitted model is run on


@dataclass(frozen=True, slots=True)
class Choices:
    """How a report compares; times in seconds."""

    seed: int = 1
    tau: float = 0.010
    bin_s: float = 0.1
    modules: int = 3


@dataclass(frozen=True, slots=True)
class Against:
    """A recording, a free run of the fitted model with its inputs, and how they compare.

    recording, run: of the same trials and units. source: the file; notes: what a reader should know about it.
    """

    recording: Recording
    run: Recording
    found: Comparison
    source: Source | None
    notes: tuple[str, ...] = ()


def run_against(
    fit: Fit, recording: Recording, choices: Choices, source: Source | None = None
) -> Against:
    """Run the fitted model freely with the inputs of a recording and compare; the first trials, if there are many.

    Raises InputError if the recording is not of the model's neurons.
    """
    told = fit.provenance
    n_neurons = _neurons_of(fit)
    if told.recorded and recording.n_units == len(told.recorded):
        recording = recording.placed(told.recorded, n_neurons)
    if recording.n_units != n_neurons:
        where = f"{source.path}: " if source else ""
        raise InputError(
            f"{where}the targets have {recording.n_units} neurons and the fitted model {n_neurons}; give the targets that "
            "it was fitted to"
        )
    notes = []
    if recording.n_trials > MOST_TRIALS:
        notes.append(
            f"{recording.n_trials} trials; the first {MOST_TRIALS} are compared and shown."
        )
        recording = recording.trials(range(MOST_TRIALS))
    run = _run(fit, recording, choices.seed)
    replicate = None
    if set(fit.learned) <= set(fit.truth):
        replicate = _run(fit, recording, choices.seed + 1, truth=True)
    if told.units:
        notes.append(
            f"Units {', '.join(map(str, told.units))} were fitted, driven by the recorded spikes of the others; here all "
            "neurons run freely, and these units are compared."
        )
        recording, run = recording.select(told.units), run.select(told.units)
        replicate = None if replicate is None else replicate.select(told.units)
    found = compare(
        recording, run, tau=choices.tau, bin_s=choices.bin_s, modules=choices.modules, replicate=replicate
    )  # fmt: skip
    return Against(recording, run, found, source, tuple(notes))


def _run(fit: Fit, recording: Recording, seed: int, *, truth: bool = False) -> Recording:
    values = {**fit.parameters, **fit.truth} if truth else fit.parameters
    return simulate(
        fit.model, recording.duration, trials=recording.n_trials, seed=seed, inputs=recording, parameters=values
    )  # fmt: skip


def _neurons_of(fit: Fit) -> int:
    definition = fit.model.definition
    spiking = [n for n in definition.populations if definition.neuron_of(n).threshold is not None]
    return int(np.sum([definition.populations[name].size or 0 for name in spiking]))


def targets_of(fit: Fit, given: Path | None) -> tuple[Recording | None, Source | None, list[str]]:
    """Return the targets of a fit, from the file given or else from where they were, with what to note about them.

    Raises InputError for a file that is given and cannot be read.
    """
    told = fit.provenance.targets
    if given is not None:
        recording = load_targets(given, model=fit.model)
        source = source_of(given)
        if told is not None and told.sha256 != source.sha256:
            why = f"{given.name} is not the file that was fitted: its SHA-256 differs."
            return recording, source, [why]
        return recording, source, []
    if told is None:
        why = "The fit does not say which file it was fitted to, so spikes are not compared; give it: eqsnn report RUN TARGETS.npz"
        return None, None, [why]
    path = Path(told.path)
    if not path.is_file():
        why = f"The targets are no longer at {path}, so spikes are not compared; say where they are: eqsnn report RUN TARGETS.npz"
        return None, told, [why]
    source = source_of(path)
    changed = f"{path} has changed since the fit: its SHA-256 differs."
    return (
        load_targets(path, model=fit.model),
        source,
        [] if source.sha256 == told.sha256 else [changed],
    )
