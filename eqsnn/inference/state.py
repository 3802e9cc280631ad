"""Where a fit stands: everything that its next iteration depends on, as plain arrays."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.files import read_arrays, write_arrays
from eqsnn.inference.optimisers import AdamState

ALL_DONE = "all iterations done"  # why a stage ended that could have gone on
HISTORY_EVERY = 5  # iterations between two entries of the history


@dataclass(frozen=True, slots=True)
class StageReport:
    """How a stage went, and why it ended.

    first, last: the best objective at its first and last iteration; gradient: root mean square of the gradient at the
    last (unit-scaled coordinates; nan without gradients); kept: restarts; undone: restarts that went back to where it
    began, being worse on what it is judged by.
    """

    stage: str
    iterations: int
    first: float
    last: float
    gradient: float
    kept: int
    stopped: str
    undone: int = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether it ended because there was nothing left to do, not because it was out of iterations."""
        return not self.stopped.startswith(ALL_DONE)

    def __str__(self) -> str:
        if not self.iterations:
            return f"{self.stage}: no iteration; {self.stopped}"
        slope = "" if np.isnan(self.gradient) else f", gradient {self.gradient:.2g}"
        return (
            f"{self.stage}: {self.first:.5g} -> {self.last:.5g} in {self.iterations} iterations{slope}, "
            f"{self.kept} restart{'s' if self.kept != 1 else ''} kept; {self.stopped}"
        )


@dataclass(slots=True)
class Progress:
    """Coordinates of the surviving restarts and the optimiser's state, at an iteration of a level of a stage.

    `alive`: original numbers of the surviving restarts. `before`, `level_start`: coordinates when the stage
    and the level began, to go back to. `score`: the best held-out objective of the level before. damping, last_step: of
    second-order steps, (restart, ...), empty before the first. `told`: losses of the candidates of a search without
    gradients, (generation, restart, candidate). reports: of the stages that ended.
    history: objective and values every few iterations; entries are (stage, level, iteration, ...).
    """

    z: dict[str, Tensor]
    adam: AdamState
    alive: NDArray[np.int64]
    before: dict[str, Tensor]
    level_start: dict[str, Tensor]
    score: float = float("inf")
    stage: int = 0
    level: int = 0
    iteration: int = 0
    damping: Tensor = field(default_factory=lambda: torch.ones(0))
    last_step: Tensor = field(default_factory=lambda: torch.ones(0))
    history: list[tuple[int, int, int, NDArray[np.float64], dict[str, NDArray[np.float64]]]] = None  # type: ignore[assignment]
    told: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 0)))
    reports: list[StageReport] = field(default_factory=list)

    def keep(self, places: NDArray[np.int64]) -> None:
        """Go on with these of the surviving restarts only."""
        index = torch.from_numpy(places)
        self.z = {name: value[..., index] for name, value in self.z.items()}
        self.before = {name: value[..., index] for name, value in self.before.items()}
        self.level_start = {name: value[..., index] for name, value in self.level_start.items()}
        mean = {name: value[..., index] for name, value in self.adam.mean.items()}
        square = {name: value[..., index] for name, value in self.adam.square.items()}
        self.adam = AdamState(mean, square, self.adam.steps)
        self.alive = self.alive[places]
        if len(self.damping):
            self.damping, self.last_step = self.damping[index], self.last_step[index]


def save_progress(path: Path, progress: Progress, fingerprint: str) -> None:
    """Write a checkpoint; `fingerprint` identifies model, data and settings."""
    arrays: dict[str, NDArray] = {
        "fingerprint": np.array(fingerprint),
        "place": np.array(
            [progress.stage, progress.level, progress.iteration, progress.adam.steps]
        ),
        "alive": progress.alive,
        "score": np.array(progress.score),
        "damping": progress.damping.numpy(),
        "last_step": progress.last_step.numpy(),
        "told": progress.told,
        "reports": np.array(json.dumps([asdict(report) for report in progress.reports])),
    }
    groups = {
        "z": progress.z,
        "mean": progress.adam.mean,
        "square": progress.adam.square,
        "before": progress.before,
        "level_start": progress.level_start,
    }
    for group, values in groups.items():
        arrays |= {f"{group}:{name}": value.numpy() for name, value in values.items()}
    for n, (stage, level, iteration, losses, values) in enumerate(progress.history):
        arrays[f"history:{n}:place"] = np.array([stage, level, iteration])
        arrays[f"history:{n}:loss"] = losses
        arrays |= {f"history:{n}:value:{name}": value for name, value in values.items()}
    write_arrays(path, arrays)


def load_progress(path: Path, fingerprint: str) -> Progress:
    """Read a checkpoint. Raises InputError if it belongs to another model, recording or settings."""
    arrays = read_arrays(path)
    if "fingerprint" not in arrays or str(arrays["fingerprint"]) != fingerprint:
        raise InputError(
            f"{path}: belongs to another model, recording or settings; choose another --out, or leave --resume out"
        )
    stage, level, iteration, steps = (int(v) for v in arrays["place"])

    def group(name: str) -> dict[str, Tensor]:
        return {
            key.split(":", 1)[1]: torch.from_numpy(value)
            for key, value in arrays.items()
            if key.startswith(f"{name}:")
        }

    adam = AdamState(group("mean"), group("square"), steps)
    return Progress(
        group("z"),
        adam,
        arrays["alive"],
        group("before"),
        group("level_start"),
        float(arrays["score"]),
        stage,
        level,
        iteration,
        torch.from_numpy(arrays["damping"]),
        torch.from_numpy(arrays["last_step"]),
        _history(arrays),
        arrays["told"],
        [StageReport(**report) for report in json.loads(str(arrays["reports"]))],
    )


def _history(arrays: Mapping[str, NDArray]) -> list:
    history, n = [], 0
    while f"history:{n}:place" in arrays:
        prefix = f"history:{n}:value:"
        values = {
            key.removeprefix(prefix): value
            for key, value in arrays.items()
            if key.startswith(prefix)
        }
        history.append(
            (*(int(v) for v in arrays[f"history:{n}:place"]), arrays[f"history:{n}:loss"], values)
        )
        n += 1
    return history
