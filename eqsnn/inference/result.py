"""Fit: the result of `eqsnn.fit`, in the units of the model file, and its folder on disk."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.files import read_arrays, write_arrays, write_text
from eqsnn.inference.bootstrap import Bootstrap, bootstrap
from eqsnn.inference.export import PAIRS_FILE, fitted_text, listed_pairs
from eqsnn.inference.fit import Found
from eqsnn.inference.handover import Proposal
from eqsnn.inference.open_directions import Direction
from eqsnn.inference.problem import Problem, problem_of, with_traces
from eqsnn.inference.profile import Profile, profile
from eqsnn.inference.provenance import Provenance, provenance_of, read_provenance, versions
from eqsnn.inference.settings import Status
from eqsnn.inference.stages import Forced
from eqsnn.inference.state import StageReport
from eqsnn.inference.uncertainty import Uncertainty, unknown_uncertainty
from eqsnn.simulation.network import SpikingModel, load
from eqsnn.simulation.recording import Recording


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted parameters and how they were found; everything in the units of the model file.

    parameters: best restart, shape (1,), (neuron,) or (pre, post), known ones included. uncertainty: standard errors,
    90 % intervals and what the data leave open (docs/uncertainty.md). restarts: every surviving restart, best first,
    restart last. history: iterations (stage, level, iteration), objective (entry, start) and values (entry, ...,
    start); nan after a start was dropped.
    start: where the best restart began. truth: of a simulated target, the values it had, empty otherwise.
    scores: on held-out data (see docs/files.md). stages: how each went and why it ended; notes: why they were chosen.
    targets: what was fitted; None for a fit read from its folder. bounds: of what was learned, (low, high), infinite if
    open. provenance: files, date, machine and versions.
    """

    model: SpikingModel
    parameters: Mapping[str, NDArray[np.float64]]
    learned: tuple[str, ...]
    restarts: Mapping[str, NDArray[np.float64]]
    objective: NDArray[np.float64]
    history_places: NDArray[np.int64]
    history_objective: NDArray[np.float64]
    history: Mapping[str, NDArray[np.float64]] = field(repr=False)
    scores: Mapping[str, float]
    status: Status
    warnings: tuple[str, ...]
    seed: int
    seconds: float
    command: str = ""
    truth: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    start: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)
    uncertainty: Uncertainty = field(
        default_factory=lambda: unknown_uncertainty("not estimated"), repr=False
    )
    targets: Recording | None = field(default=None, repr=False)
    stages: tuple[StageReport, ...] = ()
    notes: tuple[str, ...] = ()
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict, repr=False)
    provenance: Provenance = field(default_factory=Provenance, repr=False)

    @property
    def std(self) -> dict[str, NDArray[np.float64] | None]:
        """Standard errors; None for what is known or could not be estimated, nan for synapses that do not exist."""
        return {name: self.uncertainty.std.get(name) for name in self.parameters}

    @property
    def interval(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """90 % intervals of what was learned, (low, high)."""
        doubt = self.uncertainty
        return {name: (doubt.low[name], doubt.high[name]) for name in doubt.std}

    @property
    def open_directions(self) -> tuple[str, ...]:
        """Combinations of parameters that the data leave open, in words."""
        return tuple(map(str, self.uncertainty.open))

    def likelihood(self, targets: Recording | None = None) -> tuple[Problem, dict[str, Tensor]]:
        """Return the likelihood that was maximised, on these targets, and the coordinates of the best restart.

        targets: needed for a fit that was read from its folder. Raises InputError without targets or a likelihood.
        """
        targets = self.targets if targets is None else with_traces(targets)
        if targets is None:
            raise InputError("a fit read from its folder does not hold its targets; give them")
        stage = self.uncertainty.stage
        if stage is None:
            raise InputError(
                f"this fit has no likelihood to ask ({self.uncertainty.note}); fit with a Forced stage"
            )
        unknown = self.model.learning(self.learned).parameters()
        best = {name: v * unknown[name].unit.scale for name, v in self.parameters.items()}
        problem = problem_of(
            self.model.definition, unknown, targets, stage, best, seed=self.seed, width=self.uncertainty.width,
            units=self.provenance.units,
        )  # fmt: skip
        return problem, problem.at(best)

    def profile(
        self,
        name: str,
        index: int | Sequence[int] | None = None,
        points: int = 9,
        targets: Recording | None = None,
    ) -> Profile:
        """Return the profile likelihood of one unknown: all others are fitted again at each of `points` values of it.

        index: which neuron, or (pre, post) of a weight; targets: see `likelihood`. Raises InputError.
        """
        return profile(*self.likelihood(targets), name, index, points)

    def bootstrap(
        self,
        n: int = 50,
        *,
        kind: str = "auto",
        seed: int = 0,
        targets: Recording | None = None,
        count: Callable[[int, int], None] | None = None,
    ) -> Bootstrap:
        """Return the estimates from `n` other data sets: simulated from the fit, or windows of the targets drawn again.

        kind: `auto`, `parametric` or `windows` (inference/bootstrap.py); count: called with replicates done and in all;
        targets: see `likelihood`. Raises InputError.
        """
        return bootstrap(*self.likelihood(targets), n, kind=kind, seed=seed, count=count)

    def proposal(self, widen: float = 1.0) -> Proposal:
        """Return a torch distribution around the fit, over all unknowns in the units of the file (docs/uncertainty.md).

        widen: factor of its standard deviations. Raises InputError if the fit has no standard errors.
        """
        model = self.model.learning(self.learned)
        return Proposal(model, self.parameters, self.uncertainty, widen)

    def summary(self) -> str:
        """Return a table for people: each learned parameter over its elements and restarts, scores, warnings."""
        lines = self._table()
        lines += [
            "",
            f"status: {self.status.value} after {self.seconds:.0f} s, {self.objective.size} restarts kept",
        ]
        lines += [f"stage {report}" for report in self.stages]
        lines += [f"note: {note}" for note in self.notes]
        lines += self.uncertainty.lines()
        lines += [
            f"held out: {name} = {value:.4g}"
            for name, value in self.scores.items()
            if isinstance(value, float)
        ]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        units = {name: p.unit.name for name, p in self.model.parameters().items()}
        width = max([len(name) for name in self.learned], default=10)
        known = [name for name in self.learned if name in self.truth]
        head = f"{'parameter':<{width}}  {'unit':<6}"
        lines = [
            head
            + "".join(
                f"{title:>11}"
                for title in (
                    (("truth",) if known else ()) + ("start", "fitted", "± std", "spread")
                )
            )
        ]
        for name in self.learned:
            cells = [self.truth.get(name)] if known else []
            cells += [
                self.start.get(name),
                self.parameters[name],
                self.std[name],
                np.nanstd(self.restarts[name], axis=-1),
            ]
            numbers = "".join(
                f"{'' if cell is None else f'{np.nanmedian(cell):.4g}':>11}" for cell in cells
            )
            size = (
                f"  median of {self.parameters[name].size}"
                if self.parameters[name].size > 1
                else ""
            )
            lines.append(f"{name:<{width}}  {units[name]:<6}{numbers}{size}")
        return lines

    def save(self, folder: str | Path) -> Path:
        """Write summary.json, fit.npz, fitted.eqs and fitted.npz; return the folder."""
        folder = Path(folder)
        units = {name: p.unit.name for name, p in self.model.parameters().items()}
        entries = {
            name: {
                "unit": units[name],
                "value": value.tolist(),
                **_errors(self.uncertainty, name),
                "learned": name in self.learned,
                **({"bounds": _json(self.bounds[name])} if name in self.bounds else {}),
                **({"truth": np.asarray(self.truth[name]).tolist()} if name in self.truth else {}),
                **({"start": np.asarray(self.start[name]).tolist()} if name in self.start else {}),
            }
            for name, value in self.parameters.items()
        }
        summary = {
            "parameters": entries,
            "uncertainty": _described(self.uncertainty),
            "scores": _json(self.scores),
            "status": self.status.value,
            "seed": self.seed,
            "command": self.command,
            "warnings": list(self.warnings),
            "stages": [_json(asdict(report)) for report in self.stages],
            "notes": list(self.notes),
            "seconds": self.seconds,
            "versions": dict(self.provenance.versions or versions()),
            "provenance": _without(self.provenance.to_dict(), "versions"),
        }
        arrays: dict[str, NDArray] = dict(self.restarts)
        arrays |= {f"history:{name}": values for name, values in self.history.items()}
        arrays |= {
            "objective": self.objective,
            "history_places": self.history_places,
            "history_objective": self.history_objective,
        }
        doubt = self.uncertainty
        extra = {"covariance": doubt.covariance, "nats": doubt.nats}
        arrays |= {name: value for name, value in extra.items() if value is not None}
        write_arrays(folder / "fit.npz", arrays)
        write_arrays(
            folder / "fitted.npz", {n: v for n, v in self.parameters.items() if v.size > 1}
        )
        if pairs := listed_pairs(self.model):
            write_arrays(folder / PAIRS_FILE, pairs)
        write_text(folder / "fitted.eqs", fitted_text(self.model, self.parameters, self.learned))
        # last, because a folder with a summary is a finished fit
        write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        return folder


def _errors(doubt: Uncertainty, name: str) -> dict[str, object]:
    """Return standard error and interval as JSON, null where a synapse does not exist."""
    if name not in doubt.std:
        return {"std": None}
    parts = {"std": doubt.std, "low": doubt.low, "high": doubt.high}
    return {key: _json(values[name].tolist()) for key, values in parts.items()}


def _described(doubt: Uncertainty) -> dict[str, object]:
    return {
        "source": doubt.source,
        "note": doubt.note,
        "stage": None if doubt.stage is None else _json(asdict(doubt.stage)),
        "width": _json(doubt.width),
        "open_directions": [
            {"said": str(d), "information": d.information, "components": dict(d.components)}
            for d in doubt.open
        ],
    }


def _read_uncertainty(summary: Mapping, arrays: Mapping[str, NDArray]) -> Uncertainty:
    """Return what `save` wrote, or that a folder of an earlier version holds none."""
    told = summary.get("uncertainty")
    if told is None:
        return unknown_uncertainty("written before standard errors were estimated")
    std, low, high = (
        {
            name: np.asarray(entry[key], float)
            for name, entry in summary["parameters"].items()
            if entry.get("std") is not None
        }
        for key in ("std", "low", "high")
    )
    opened = tuple(
        Direction(d["information"], tuple(d["components"].items())) for d in told["open_directions"]
    )
    width = float("nan") if told["width"] is None else told["width"]
    return Uncertainty(
        std, low, high, told["source"], told["note"], opened, _read_stage(told["stage"]), width,
        arrays.get("covariance"), arrays.get("nats"),
    )  # fmt: skip


def _read_stage(told: Mapping | None) -> Forced | None:
    if told is None:
        return None
    known = {f.name: f for f in fields(Forced)}
    values: dict[str, Any] = {
        n: tuple(v) if isinstance(v, list) else v for n, v in told.items() if n in known
    }
    # what JSON cannot write, infinity, is null
    return Forced(**_filled(values, math.inf))


def _filled(told: Mapping[str, Any], value: float) -> dict[str, Any]:
    """Return what JSON told with the value that its nulls stand for."""
    return {name: value if v is None else v for name, v in told.items()}


def _without(told: Mapping[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in told.items() if key != name}


def _read_bounds(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Return the bounds of a parameter; what JSON cannot write, infinity, is null."""
    low, high = entry["bounds"]
    return -math.inf if low is None else low, math.inf if high is None else high


def _json(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _json(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def make_fit(
    model: SpikingModel,
    found: Found,
    scores: Mapping[str, float],
    seed: int,
    command: str = "",
    targets: Recording | None = None,
    uncertainty: Uncertainty | None = None,
    notes: tuple[str, ...] = (),
) -> Fit:
    """Put what a search found into the units of the model file."""
    scale = {name: p.unit.scale for name, p in model.parameters().items()}
    best = {name: value[..., 0] / scale[name] for name, value in found.values.items()}
    known = {name: value / scale[name] for name, value in found.known.items()}
    names = list(found.values)
    history = (
        {
            name: np.stack([entry[4][name] for entry in found.history]) / scale[name]
            for name in names
        }
        if found.history
        else {}
    )
    return Fit(
        model=model,
        parameters={name: (best | known)[name] for name in scale},
        learned=tuple(names),
        restarts={name: value / scale[name] for name, value in found.values.items()},
        objective=found.objective,
        history_places=np.array([entry[:3] for entry in found.history], dtype=np.int64).reshape(
            -1, 3
        ),
        history_objective=np.array([entry[3] for entry in found.history]),
        history=history,
        scores=scores,
        status=found.status,
        warnings=found.warnings,
        seed=seed,
        seconds=found.seconds,
        command=command,
        truth={n: v for n, v in (targets.parameters if targets else {}).items() if n in scale},
        start={name: value[0][..., found.restarts[0]] for name, value in history.items()},
        uncertainty=(uncertainty or unknown_uncertainty("not estimated")).scaled(scale),
        targets=targets,
        stages=found.reports,
        notes=notes,
        bounds={
            name: (p.low / p.unit.scale, p.high / p.unit.scale)
            for name, p in model.parameters().items()
            if p.learned
        },
        provenance=provenance_of(model.definition),
    )


def read_fit(folder: str | Path) -> Fit:
    """Read a fit's folder again. Raises InputError if it is not one."""
    folder = Path(folder)
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(
            f"{folder}: is no finished fit ({error}); give the folder that `eqsnn fit --out` wrote"
        ) from None
    arrays = read_arrays(folder / "fit.npz")
    parameters = {
        name: np.asarray(entry["value"], float) for name, entry in summary["parameters"].items()
    }
    return Fit(
        model=load(folder / "fitted.eqs"),
        parameters=parameters,
        learned=tuple(name for name, entry in summary["parameters"].items() if entry["learned"]),
        restarts={
            name: arrays[name] for name, entry in summary["parameters"].items() if entry["learned"]
        },
        objective=arrays["objective"],
        history_places=arrays["history_places"],
        history_objective=arrays["history_objective"],
        history={
            name.removeprefix("history:"): value
            for name, value in arrays.items()
            if name.startswith("history:")
        },
        scores=summary["scores"],
        status=Status(summary["status"]),
        warnings=tuple(summary["warnings"]),
        seed=summary["seed"],
        seconds=summary["seconds"],
        command=summary["command"],
        truth={
            n: np.asarray(entry["truth"])
            for n, entry in summary["parameters"].items()
            if "truth" in entry
        },
        start={
            n: np.asarray(entry["start"])
            for n, entry in summary["parameters"].items()
            if "start" in entry
        },
        uncertainty=_read_uncertainty(summary, arrays),
        stages=tuple(
            StageReport(**_filled(report, np.nan)) for report in summary.get("stages", [])
        ),
        notes=tuple(summary.get("notes", [])),
        bounds={
            n: _read_bounds(entry)
            for n, entry in summary["parameters"].items()
            if "bounds" in entry
        },
        provenance=read_provenance(summary),
    )
