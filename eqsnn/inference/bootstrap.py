"""Bootstrap: the spread of estimates over data that could have been recorded instead."""

import json
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.files import read_arrays, write_arrays, write_text
from eqsnn.inference.lanes import OWN_NOISE
from eqsnn.inference.maximise import maximise
from eqsnn.inference.problem import Problem, problem_of
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.run import simulate_model

KINDS = ("auto", "parametric", "windows")
Count = Callable[[int, int], None]  # replicates done, in all


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Estimates of every unknown, (replicate, ...), in the units of the file; nan where a synapse does not exist.

    fitted: what the fit had found, from which every replicate was fitted; empty in files of earlier versions.
    """

    values: Mapping[str, NDArray[np.float64]]
    units: Mapping[str, str]
    kind: str
    wanted: int
    fitted: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Number of replicates."""
        return len(next(iter(self.values.values())))

    @property
    def std(self) -> dict[str, NDArray[np.float64]]:
        """Standard deviation over replicates."""
        return {name: v.std(0, ddof=1) for name, v in self.values.items()}

    @property
    def interval(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Percentile intervals, 5 to 95 %."""
        ends = {name: np.percentile(v, (5, 95), axis=0) for name, v in self.values.items()}
        return {name: (low, high) for name, (low, high) in ends.items()}

    def summary(self) -> str:
        """Return a table for people."""
        lines = [f"bootstrap ({self.kind}), {self.done} of {self.wanted} replicates"]
        for name, (low, high) in self.interval.items():
            numbers = (np.nanmedian(v) for v in (self.std[name], low, high))
            std, low, high = (f"{v:.4g}" for v in numbers)
            many = (
                f", medians of {self.values[name][0].size}" if self.values[name][0].size > 1 else ""
            )
            lines.append(f"{name} [{self.units[name]}]: std {std}, 90 % from {low} to {high}{many}")
        return "\n".join(lines)

    def save(self, folder: Path) -> Path:
        """Write bootstrap.json and bootstrap.npz (all replicates)."""
        write_arrays(folder / "bootstrap.npz", dict(self.values))
        told = {
            name: {
                "unit": self.units[name],
                "std": _listed(self.std[name]),
                "low": _listed(low),
                "high": _listed(high),
                **({"fitted": _listed(self.fitted[name])} if name in self.fitted else {}),
            }
            for name, (low, high) in self.interval.items()
        }
        whole = {
            "kind": self.kind, "replicates": self.done, "wanted": self.wanted, "parameters": told,
        }  # fmt: skip
        write_text(folder / "bootstrap.json", json.dumps(whole, indent=2) + "\n")
        return folder / "bootstrap.json"


def read_bootstrap(folder: Path) -> Bootstrap:
    """Read what `Bootstrap.save` wrote. Raises InputError if the folder holds something else."""
    path = folder / "bootstrap.json"
    values = read_arrays(folder / "bootstrap.npz")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = told["parameters"]
        return Bootstrap(
            {name: values[name] for name in entries},
            {name: entry["unit"] for name, entry in entries.items()},
            told["kind"],
            told.get("wanted", told["replicates"]),
            {n: np.asarray(e["fitted"], float) for n, e in entries.items() if "fitted" in e},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: is nothing that `eqsnn bootstrap` wrote ({error})") from None


def bootstrap(
    problem: Problem,
    z: Mapping[str, Tensor],
    n: int = 50,
    *,
    kind: str = "auto",
    seed: int = 0,
    count: Count | None = None,
) -> Bootstrap:
    """Return the estimates from `n` other data sets, each maximised from coordinates `z` (one lane).

    kind: `parametric`, spikes simulated from `z` with the inputs of the targets and noise of their own (Efron 1979); or
    `windows`, the windows of the targets drawn again with replacement, for a model that did not make the data or makes
    the same spikes every time. `auto` is parametric where the likelihood is that of the model. Ctrl-C keeps the
    replicates that are done. Raises InputError.
    """
    if n < 2 or kind not in KINDS:
        raise InputError(f"{n} replicates of kind `{kind}`: at least 2 of {', '.join(KINDS)}")
    chosen = ("parametric" if problem.exact else "windows") if kind == "auto" else kind
    scale = {name: p.unit.scale for name, p in problem.unknown.items()}
    exists = problem.packing.add(
        {m: torch.zeros_like(v) for m, v in z.items()}, torch.ones(problem.packing.size, 1).to(next(iter(z.values())))
    )  # fmt: skip

    def in_units(at: Mapping[str, Tensor]) -> dict[str, NDArray[np.float64]]:
        values = problem.values(at)
        there = {n: torch.where(exists[n] > 0, values[n], torch.nan)[..., 0] for n in scale}
        return {name: value.numpy() / scale[name] for name, value in there.items()}

    found: dict[str, list[NDArray]] = {name: [] for name in problem.unknown}
    rng = np.random.default_rng(seed)
    try:
        for k in range(n):
            other = (
                _simulated(problem, z, seed + k)
                if chosen == "parametric"
                else _redrawn(problem, rng)
            )
            best, _ = maximise(other, z)
            for name, value in in_units(best).items():
                found[name].append(value)
            if count is not None:
                count(k + 1, n)
    except KeyboardInterrupt:
        done = min(map(len, found.values()))
        if done < 2:
            raise
        found = {name: kept[:done] for name, kept in found.items()}
    units = {name: p.unit.name for name, p in problem.unknown.items()}
    values = {name: np.stack(kept) for name, kept in found.items()}
    return Bootstrap(values, units, chosen, n, in_units(z))


def _simulated(problem: Problem, z: Mapping[str, Tensor], seed: int) -> Problem:
    """Return the same likelihood of spikes simulated at z."""
    data = problem.objective.data
    values = {name: v[..., 0].numpy() for name, v in problem.values(z).items()}
    parameters = {
        name: replace(p, given=values[name], learned=False) for name, p in problem.unknown.items()
    } | {n: replace(p, given=values[n], learned=False) for n, p in problem.others.items()}
    recording = simulate_model(
        data.model,
        data.recording.duration,
        parameters=parameters,
        inputs=data.recording,
        trials=data.recording.n_trials,
        seed=seed + OWN_NOISE,
        backend=data.backend,
    )
    return problem_of(
        data.model, {**problem.others, **problem.unknown}, _same_inputs(recording, data.recording),
        problem.stage, values, backend=data.backend, width=problem.width, like=problem,
    )  # fmt: skip


def _same_inputs(recording: Recording, targets: Recording) -> Recording:
    return replace(recording, inputs=targets.inputs, traces={})


def _redrawn(problem: Problem, rng: np.random.Generator) -> Problem:
    """Return the likelihood of windows drawn with replacement."""
    objective = copy(problem.objective)
    drawn = np.sort(rng.integers(0, problem.windows, problem.windows))
    objective.lanes = objective.lanes.part(torch.from_numpy(drawn))
    return replace(problem, objective=objective)


def _listed(values: NDArray[np.float64]) -> list:
    return np.where(np.isfinite(values), values.astype(object), np.array(None)).tolist()
