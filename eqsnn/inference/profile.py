"""Profile likelihood: how well the data are explained when one parameter is held and all others are fitted again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.files import write_text
from eqsnn.inference.maximise import holding, maximise
from eqsnn.inference.problem import Problem
from eqsnn.inference.uncertainty import laplace
from eqsnn.simulation.parameters import matching

CROSSING = 2.706  # 90 % quantile of chi-squared with one degree of freedom
REACH = 2.5  # standard errors on each side
MAYBE_NAN = ("low", "high", "fitted")  # which JSON cannot write
WIDENINGS = 3  # doublings of the reach, if the likelihood has not fallen far enough


@dataclass(frozen=True, slots=True)
class Profile:
    """Twice the loss of log-likelihood at values of one parameter, in the unit of the file.

    low, high: of the 90 % interval; nan on a side where the data set no limit within the reach. best: the maximum.
    fitted: what the fit had found, near which the maximum was looked for; nan in files of earlier versions.
    """

    name: str
    index: tuple[int, ...]
    unit: str
    values: NDArray[np.float64]
    twice_loss: NDArray[np.float64]
    best: float
    low: float
    high: float
    source: str
    fitted: float = math.nan

    @property
    def title(self) -> str:
        """The parameter with its index."""
        return self.name + (f"[{', '.join(map(str, self.index))}]" if self.index else "")

    def summary(self) -> str:
        """Return one line for people."""
        ends = [f"{end:.4g}" if math.isfinite(end) else "open" for end in (self.low, self.high)]
        return (
            f"{self.title} = {self.best:.4g} {self.unit}, 90 % interval {ends[0]} to {ends[1]} "
            f"(profile of the {self.source}, {len(self.values)} points)"
        )

    def save(self, path: Path) -> Path:
        """Write as JSON."""
        told = asdict(self) | {
            "values": self.values.tolist(),
            "twice_loss": self.twice_loss.tolist(),
        }
        told |= {n: told[n] if math.isfinite(told[n]) else None for n in MAYBE_NAN}
        write_text(path, json.dumps(told, indent=2) + "\n")
        return path


def read_profile(path: Path) -> Profile:
    """Read what `Profile.save` wrote. Raises InputError if it is something else."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        ends = {n: math.nan if told.get(n) is None else float(told[n]) for n in MAYBE_NAN}
        arrays = {n: np.asarray(told[n], float) for n in ("values", "twice_loss")}
        return Profile(**told | ends | arrays | {"index": tuple(told["index"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: is no profile that `eqsnn profile` wrote ({error})") from None


def profile(
    problem: Problem,
    z: Mapping[str, Tensor],
    name: str,
    index: int | Sequence[int] | None = None,
    points: int = 9,
) -> Profile:
    """Return the profile of one parameter around the maximum nearest to coordinates `z` (one lane).

    index: which element of it; points: values on both sides together, side by side, each started where the Gaussian
    approximation expects its maximum. Raises InputError if there is no such unknown. Source: Venzon & Moolgavkar,
    Applied Statistics 37 (1988) 87.
    """
    full, place, k = _place(problem, name, index)
    if points < 3:
        raise InputError(f"{points} points make no profile; at least 3 are expected")
    top, highest = maximise(problem, z)
    covariance = laplace(problem, top).covariance
    held = holding(problem, k)
    deviation = float(covariance[k, k].sqrt())
    for widening in range(WIDENINGS + 1):
        offsets = torch.linspace(-1, 1, points, dtype=covariance.dtype)
        offsets = offsets * REACH * 2**widening * deviation
        start = problem.packing.add(
            {n: v.expand(*v.shape[:-1], points) for n, v in top.items()},
            covariance[:, k, None] / covariance[k, k] * offsets,
        )
        end, found = maximise(held, start)
        loss = (2 * (highest - found)).numpy()
        if loss[0] > CROSSING and loss[-1] > CROSSING:
            break
    coordinate, scale = problem.coordinates[full], problem.unknown[full].unit.scale

    def value(at: Tensor) -> NDArray[np.float64]:
        return coordinate.to_value(at).numpy() / scale

    centre = float(problem.packing.vector(top)[k])
    low, high = (
        float(value(torch.tensor(centre + side)))
        for side in crossings(offsets.numpy(), np.maximum(loss, 0.0))
    )
    values = value(end[full].reshape(-1, points)[place])
    index = tuple(int(i) for i in np.unravel_index(place, problem.packing.shapes[full]))
    return Profile(
        full, index if problem.packing.shapes[full] != (1,) else (), problem.unknown[full].unit.name,
        values, loss, float(value(torch.tensor(centre))), low, high,
        "posterior" if problem.stage.prior else "likelihood", float(value(problem.packing.vector(z)[k, 0])),
    )  # fmt: skip


def crossings(offsets: NDArray, loss: NDArray) -> tuple[float, float]:
    """Return where twice the loss reaches 2.706 on each side of 0; nan where it does not.

    Its square root is nearly linear in the offset, so it is interpolated on that.
    """
    root, level = np.sqrt(loss), math.sqrt(CROSSING)
    ends = []
    for side in (-1, 1):
        here = side * offsets > 0
        x, y = np.append(0.0, np.sort(side * offsets[here])), root[here]
        y = np.append(0.0, y[::side])
        above = np.flatnonzero(y >= level)
        if not len(above):
            ends.append(math.nan)
            continue
        b = above[0]
        ends.append(side * float(np.interp(level, y[b - 1 : b + 1], x[b - 1 : b + 1])))
    return ends[0], ends[1]


def _place(problem: Problem, name: str, index: int | Sequence[int] | None) -> tuple[str, int, int]:
    """Return the full name, the flat place and the place in the vector of an unknown."""
    found = matching(problem.unknown, name)
    if len(found) > 1:
        raise InputError(f"`{name}` means {', '.join(found)}; name one of them")
    full, shape = found[0], problem.packing.shapes[found[0]]
    asked = () if index is None else (index,) if isinstance(index, int) else tuple(index)
    size = math.prod(shape)
    if size == 1:
        asked = (0,) * len(shape)
    inside = len(asked) == len(shape) and all(0 <= i < n for i, n in zip(asked, shape, strict=True))
    if not inside:
        kind = "pre, post" if len(shape) == 2 else "neuron"
        raise InputError(
            f"`{full}` has {'x'.join(map(str, shape))} values, and the index {index} is none of them; "
            f"give the index of one ({kind}, counted from 0)"
        )
    place = int(np.ravel_multi_index(asked, shape))
    for k in range(problem.packing.size):
        if problem.packing.label(k) == (full, place):
            return full, place, k
    raise InputError(f"`{full}` has no synapse at {asked}")
