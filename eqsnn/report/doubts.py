"""doubts: profiles and a bootstrap of a fit that lie in its folder, asked for after it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqsnn.inference.bootstrap import Bootstrap, read_bootstrap
from eqsnn.inference.profile import Profile, read_profile
from eqsnn.inference.result import Fit

SAME = 1e-6  # relative difference from rounding between the coordinates of a fit and its values


@dataclass(frozen=True, slots=True)
class Doubts:
    """Profiles and a bootstrap of one fit; nothing where nobody asked for them."""

    profiles: Sequence[Profile] = ()
    bootstrap: Bootstrap | None = None


def doubts_of(fit: Fit, folder: Path) -> tuple[Doubts, list[str]]:
    """Return what `eqsnn profile` and `eqsnn bootstrap` wrote into the folder of a fit, and what to say of it.

    A fit may have been written over the one that they asked about; theirs is then left out, and a note says so. Raises
    InputError for files that hold something else.
    """
    profiles, notes = [], []
    for path in sorted(folder.glob("profile_*.json")):
        found = read_profile(path)
        if _is_of(fit, found.name, found.index, found.fitted):
            profiles.append(found)
        else:
            notes.append(_other(path))
    path = folder / "bootstrap.json"
    resampled = read_bootstrap(folder) if path.exists() else None
    if resampled is not None:
        told = [
            _is_of(fit, n, (), resampled.fitted.get(n, np.array(np.nan))) for n in resampled.values
        ]
        if not all(told):
            resampled = None
            notes.append(_other(path))
    return Doubts(tuple(profiles), resampled), notes


def _other(path: Path) -> str:
    return f"{path.name} is of another fit than the one in its folder now, and is left out; run its command again."


def _is_of(
    fit: Fit, name: str, index: tuple[int, ...], fitted: float | NDArray[np.float64]
) -> bool:
    """Return whether these are values that the fit found; those that nobody wrote down, nan, may be."""
    if name not in fit.learned:
        return False
    own = fit.parameters[name]
    if index:
        if len(index) != own.ndim or any(i >= n for i, n in zip(index, own.shape, strict=True)):
            return False
        own = own[index]
    shown = np.broadcast_to(fitted, np.shape(own)) if np.ndim(fitted) == 0 else np.asarray(fitted)
    if np.shape(own) != shown.shape:
        return False
    return bool(np.allclose(np.where(np.isfinite(shown), shown, own), own, rtol=SAME, atol=0))
