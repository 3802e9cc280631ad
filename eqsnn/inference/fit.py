"""fit: unknown parameters from spike trains, stage by stage, all restarts side by side as lanes.

How to fit is in settings.py, what is done in stages.py; walk.py takes the steps.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.inference.coordinates import Coordinate, coordinate_of
from eqsnn.inference.data import prepare
from eqsnn.inference.optimisers import adam_init
from eqsnn.inference.settings import Report, Settings, Status
from eqsnn.inference.stages import Forced, Free
from eqsnn.inference.state import Progress, StageReport, load_progress, save_progress
from eqsnn.inference.subset import checked_units, note_of, without_influence
from eqsnn.inference.unknowns import Unknowns
from eqsnn.inference.walk import Walk
from eqsnn.language.model import Model
from eqsnn.simulation.parameters import Parameter, centres_first, matching
from eqsnn.simulation.recording import Recording


@dataclass(frozen=True, slots=True)
class Found:
    """What a fit found, in coherent units: values of the surviving restarts, best first, and how it got there.

    held: which values nothing could be learned about, so that they are where they started, bool of parameter shape.
    whole: values of the best restart after a last step on all data, the validation part included; None without one.
    """

    values: dict[str, NDArray[np.float64]]  # parameter shape, then restart
    known: dict[str, NDArray[np.float64]]
    restarts: NDArray[np.int64]
    objective: NDArray[np.float64]  # on the validation part, by restart
    history: list
    status: Status
    warnings: tuple[str, ...]
    validation: Recording = field(repr=False)
    seconds: float = 0.0
    held: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    reports: tuple[StageReport, ...] = ()
    whole: dict[str, NDArray[np.float64]] | None = None

    def on_everything(self) -> "Found":
        """Return the same with the values after the last step, if there was one, in place of those before it."""
        if self.whole is None:
            return self
        values = {
            n: np.concatenate([self.whole[n][..., None], v[..., 1:]], -1)
            for n, v in self.values.items()
        }
        return replace(self, values=values)


def split(recording: Recording, share: float) -> tuple[Recording, Recording]:
    """Return training and validation parts: the last trials, or the end of the only trial. A share of 0: all for both."""
    if not 0 <= share < 1:
        raise InputError(
            f"the validation share is {share:g}; a number from 0 to below 1 is expected"
        )
    if share == 0:
        return recording, recording
    if recording.n_trials > 1:
        held = min(recording.n_trials - 1, max(1, round(share * recording.n_trials)))
        cut = recording.n_trials - held
        return recording.trials(range(cut)), recording.trials(range(cut, recording.n_trials))
    border = round(recording.duration * (1 - share) / recording.dt) * recording.dt
    return recording.window(0.0, border), recording.window(border, recording.duration)


def search(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    settings: Settings,
    *,
    start: Mapping[str, ArrayLike] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Report | None = None,
) -> Found:
    """Fit the unknown `parameters` of `model` to `recording`.

    `start`: values of the starts in the units of the file, one for all or with a leading dimension per start, instead
    of draws from the distributions. Raises InputError if nothing is unknown or the recording has no spikes.
    """
    began = time.monotonic()
    unknown = {name: p for name, p in parameters.items() if p.learned}
    if not unknown:
        raise InputError(
            "nothing to learn: no parameter of the model is unknown; write `~ distribution`, or use --learn NAME"
        )
    if not len(recording.spike_times):
        raise InputError("the targets hold no spikes, so nothing can be learned from them")
    if settings.units:
        checked_units(settings.units, recording)
    coordinates = {name: coordinate_of(parameter) for name, parameter in unknown.items()}
    rng = np.random.default_rng(settings.seed)
    known = {
        n: torch.from_numpy(p.draw(rng)).to(settings.dtype).unsqueeze(-1)
        for n, p in parameters.items()
        if not p.learned
    }
    training, held_out = split(recording, settings.validation)
    shortest = min(training.duration, held_out.duration)
    for stage in settings.stages:
        if isinstance(stage, Free):
            seconds = min(stage.window, shortest)
            compared = settings.units or recording.recorded()
            stage.composed.check(model.dt * 1e-3, seconds=seconds, neurons=len(compared))
    fingerprint = _fingerprint(model, parameters, recording, settings, start)
    if resume and checkpoint is not None and checkpoint.exists():
        progress = load_progress(checkpoint, fingerprint)
    else:
        z = _starts(unknown, coordinates, settings, start, rng)
        progress = Progress(
            z, adam_init(z), np.arange(settings.starts), dict(z), dict(z), history=[]
        )
    masked = bool(len(training.gaps) or len(held_out.gaps))
    ready, tested = (
        prepare(model, part, settings.dtype, settings.backend, masked=masked, units=settings.units)
        for part in (training, held_out)
    )
    held = without_influence(ready, unknown, Forced().warm_up) if settings.units else None
    unknowns = Unknowns(model, unknown, coordinates, known, ready.synapses, held)
    save = None
    if checkpoint is not None:
        save = partial(save_progress, checkpoint, fingerprint=fingerprint)
    walk = Walk(unknowns, ready, tested, settings, save=save, report=report, began=began)
    if held is not None and (note := note_of(held, settings.units)):
        walk.warnings.append(note)
    with _one_torch_thread():
        status = walk.run(progress)
        order, objective = walk.rank(progress)
        whole, status = _last_step(walk, progress, int(order[0]), status)
    values = unknowns.values(progress.z)
    return Found(
        values={name: value.detach().numpy()[..., order] for name, value in values.items()},
        known={name: value[..., 0].numpy() for name, value in known.items()},
        restarts=progress.alive[order],
        objective=objective[order],
        history=progress.history,
        status=status,
        warnings=tuple(dict.fromkeys(walk.warnings)),
        validation=held_out,
        seconds=time.monotonic() - began,
        reports=tuple(progress.reports),
        held={name: entries.numpy() for name, entries in (held or {}).items()},
        whole=whole,
    )


def _last_step(
    walk: Walk, progress: Progress, best: int, status: Status
) -> tuple[dict[str, NDArray[np.float64]] | None, Status]:
    """Return the values that the last step leads the best restart to, None without one, and how the fit ended."""
    if not walk.settings.last_step or status is Status.INTERRUPTED:
        return None, status
    try:
        found = walk.end_on_everything(progress, best)
    except KeyboardInterrupt:
        return None, Status.INTERRUPTED
    if found is None:
        return None, status
    values = walk.unknowns.values(found)
    return {name: v.detach().numpy()[..., 0] for name, v in values.items()}, status


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Leave the cores to the kernels: torch's other threads would wait for its small operations by spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _starts(
    unknown: Mapping[str, Parameter],
    coordinates: Mapping[str, Coordinate],
    settings: Settings,
    start: Mapping[str, ArrayLike] | None,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    given: dict[str, NDArray] = {}
    for name, value in (start or {}).items():
        for full in matching(unknown, name):
            given[full] = np.asarray(value, float) * unknown[full].unit.scale
    found, raw = {}, {}
    for name in centres_first(unknown):
        parameter = unknown[name]
        middle = [None] * settings.starts
        if parameter.centre in raw:
            middle = [float(value.reshape(-1)[0]) for value in raw[parameter.centre]]
        drawn = np.stack([parameter.draw_start(rng, centre) for centre in middle])
        if name in given:
            drawn = np.broadcast_to(given[name], drawn.shape)
        raw[name] = drawn
        values = torch.from_numpy(np.moveaxis(drawn, 0, -1).copy()).to(settings.dtype)
        found[name] = coordinates[name].to_real(values)
    return {name: found[name] for name in unknown}


def _fingerprint(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    settings: Settings,
    start: Mapping | None,
) -> str:
    digest = hashlib.sha256(model.text.encode())
    for array in (
        recording.spike_times,
        recording.unit_ids,
        recording.trial_ids,
        recording.gaps,
        *recording.inputs.values(),
    ):
        digest.update(np.ascontiguousarray(array).tobytes())
    for name, parameter in parameters.items():
        digest.update(
            f"{name}{parameter.learned}{np.asarray(parameter.given) if not parameter.learned else ''}".encode()
        )
    for name, value in (start or {}).items():
        digest.update(name.encode() + np.asarray(value, float).tobytes())
    digest.update(
        repr(
            (settings.stages, settings.starts, settings.seed, settings.validation, settings.dtype)
        ).encode()
    )
    digest.update(repr(settings.units).encode() if settings.units else b"")
    return digest.hexdigest()


__all__ = ["Found", "Report", "Settings", "Status", "search", "split"]
