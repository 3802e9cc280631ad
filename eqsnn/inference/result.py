"""Fit: the result of `eqsnn.fit`, in the units of the model file, and its folder on disk."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.files import read_arrays, write_arrays, write_text
from eqsnn.inference.export import fitted_text
from eqsnn.inference.fit import Found, Status
from eqsnn.simulation.network import SpikingModel, load

PACKAGES = ("eqsnn", "torch", "numpy", "sympy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted parameters and how they were found; everything in the units of the model file.

    parameters: best restart, shape (1,), (neuron,) or (pre, post), known ones included. std: standard errors, None
    where not estimated. restarts: every surviving restart, best first, restart last. history: iterations (stage,
    level, iteration), objective (entry, start) and values (entry, ..., start); nan after a start was dropped.
    start: where the best restart began. truth: of a simulated target, the values it had, empty otherwise.
    scores: on held-out data (see docs/files.md).
    """

    model: SpikingModel
    parameters: Mapping[str, NDArray[np.float64]]
    learned: tuple[str, ...]
    std: Mapping[str, NDArray[np.float64] | None]
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

    def summary(self) -> str:
        """Return a table for people: each learned parameter over its elements and restarts, scores, warnings."""
        lines = self._table()
        lines += [
            "",
            f"status: {self.status.value} after {self.seconds:.0f} s, {self.objective.size} restarts kept",
        ]
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
                for title in ((("truth",) if known else ()) + ("start", "fitted", "spread"))
            )
        ]
        for name in self.learned:
            cells = [self.truth.get(name)] if known else []
            cells += [
                self.start.get(name),
                self.parameters[name],
                np.nanstd(self.restarts[name], axis=-1),
            ]
            numbers = "".join(
                f"{'' if cell is None else f'{np.median(cell):.4g}':>11}" for cell in cells
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
                "std": None if self.std.get(name) is None else np.asarray(self.std[name]).tolist(),
                "learned": name in self.learned,
                **({"truth": np.asarray(self.truth[name]).tolist()} if name in self.truth else {}),
                **({"start": np.asarray(self.start[name]).tolist()} if name in self.start else {}),
            }
            for name, value in self.parameters.items()
        }
        summary = {
            "parameters": entries,
            "scores": _json(self.scores),
            "status": self.status.value,
            "seed": self.seed,
            "command": self.command,
            "warnings": list(self.warnings),
            "seconds": self.seconds,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
            },
        }
        arrays: dict[str, NDArray] = dict(self.restarts)
        arrays |= {f"history:{name}": values for name, values in self.history.items()}
        arrays |= {
            "objective": self.objective,
            "history_places": self.history_places,
            "history_objective": self.history_objective,
        }
        write_arrays(folder / "fit.npz", arrays)
        write_arrays(
            folder / "fitted.npz", {n: v for n, v in self.parameters.items() if v.size > 1}
        )
        write_text(folder / "fitted.eqs", fitted_text(self.model, self.parameters, self.learned))
        # last, because a folder with a summary is a finished fit
        write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
        return folder


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
    truth: Mapping[str, NDArray[np.float64]] | None = None,
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
        std=dict.fromkeys(scale),
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
        truth={name: value for name, value in (truth or {}).items() if name in scale},
        start={name: value[0][..., found.restarts[0]] for name, value in history.items()},
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
        std={
            name: None if entry["std"] is None else np.asarray(entry["std"])
            for name, entry in summary["parameters"].items()
        },
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
    )
