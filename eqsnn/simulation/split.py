"""Parts of a recording to learn from, to choose by and to judge by."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from eqsnn.errors import InputError
from eqsnn.simulation.recording import Recording


def split(
    recording: Recording, shares: Sequence[float], *, by: str = "time", seed: int | None = None
) -> tuple[Recording, ...]:
    """Return the parts of a recording that the shares ask for, in this order; every spike is in exactly one of them.

    by: `time` cuts each trial at whole steps of dt, times of each part from 0 on; `trial` deals out whole trials, in
    order, or shuffled if there is a `seed`. Inputs, traces and gaps are cut alike. Raises InputError for shares that are
    not positive or do not add up to 1, or of which one is left without a step or a trial.
    """
    if len(shares) < 2 or not all(0 < s < 1 for s in shares) or abs(sum(shares) - 1) > 1e-6:
        raise InputError(
            f"the shares {', '.join(f'{s:g}' for s in shares)} are not two or more positive numbers that add up to 1, "
            "as in 0.7,0.15,0.15"
        )
    if by not in ("time", "trial"):
        raise InputError(f"a recording is split by `time` or by `trial`, not by `{by}`")
    pieces = recording.n_trials if by == "trial" else recording.n_steps
    edges = np.round(np.cumsum([0.0, *shares]) * pieces).astype(int)
    edges[-1] = pieces
    if (np.diff(edges) < 1).any():
        what = "trials" if by == "trial" else "steps"
        raise InputError(
            f"{pieces} {what} are too few for the shares {', '.join(f'{s:g}' for s in shares)}; "
            + ("split by time, or choose fewer parts" if by == "trial" else "choose fewer parts")
        )
    if by == "trial":
        order = np.arange(pieces)
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        return tuple(
            recording.trials(np.sort(order[a:b]).tolist()) for a, b in pairwise(edges.tolist())
        )
    times = [min(edge * recording.dt, recording.duration) for edge in edges.tolist()]
    times[-1] = recording.duration
    return tuple(recording.window(a, b) for a, b in pairwise(times))
