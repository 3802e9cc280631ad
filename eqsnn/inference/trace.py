"""What a fit keeps of its way: the trace of values, how the stage at hand goes, and whether the last one settled."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eqsnn.inference.state import ALL_DONE, Progress


@dataclass(slots=True)
class Walked:
    """What a stage has seen so far."""

    count: int = 0
    first: float = float("nan")
    last: float = float("nan")
    gradient: float = float("nan")
    stopped: str = ALL_DONE
    undone: int = 0

    def note(self, losses: Tensor, gradient: Mapping[str, Tensor]) -> None:
        """Keep the best objective of an iteration and the size of its gradient."""
        safe = torch.where(torch.isfinite(losses), losses, torch.inf).detach()
        best = int(safe.argmin())
        self.last = float(safe[best])
        self.first = self.last if self.count == 0 else self.first
        self.count += 1
        if gradient:
            slopes = torch.cat([g[..., best].reshape(-1) for g in gradient.values()]).detach()
            self.gradient = float(slopes.square().mean().sqrt())


def record(progress: Progress, losses: Tensor, values: Mapping[str, Tensor], starts: int) -> None:
    """Add an entry to the history; nan for restarts that did not survive.

    losses: (restart,); values: parameter shape, then restart; starts: the number of restarts at the beginning.
    """
    losses_by_start = np.full(starts, np.nan)
    losses_by_start[progress.alive] = losses.detach().numpy()
    spread = {}
    for name, value in values.items():
        full = np.full((*value.shape[:-1], starts), np.nan)
        full[..., progress.alive] = value.detach().numpy()
        spread[name] = full
    progress.history.append(
        (progress.stage, progress.level, progress.iteration, losses_by_start, spread)
    )


def has_settled(history: list, stage: int) -> bool:
    """Say whether over the last fifth of a stage's last level the best objective moved less than 2 % of its size."""
    last = [entry for entry in history if entry[0] == stage]
    last = [entry for entry in last if entry[1] == last[-1][1]]
    best = np.array(
        [np.nanmin(entry[3]) if np.isfinite(entry[3]).any() else np.nan for entry in last]
    )
    tail = best[-max(2, len(best) // 5) :]
    return bool(
        len(tail) > 1
        and np.isfinite(tail).all()
        and np.ptp(tail) <= 0.02 * max(abs(tail[-1]), 1e-9)
    )
