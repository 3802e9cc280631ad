"""Provenance: what a fit was made from, when, where and with which versions, so that it can be made again."""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eqsnn.language.model import Model

PACKAGES = ("eqsnn", "torch", "numpy", "sympy", "scikit-learn")


@dataclass(frozen=True, slots=True)
class Source:
    """A file that was read: its absolute path and the SHA-256 of its bytes."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a fit comes from.

    model, targets: None where they were no files. recorded, units: as given to `fit`. date: ISO 8601, of the end of the
    fit. versions: of Python and of what the numbers depend on.
    """

    model: Source | None = None
    targets: Source | None = None
    recorded: tuple[int, ...] = ()
    units: tuple[int, ...] = ()
    date: str = ""
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def with_targets(
        self, path: Path, *, recorded: Sequence[int] = (), units: Sequence[int] = ()
    ) -> "Provenance":
        """Return the same with the file of the targets, and which of its units were used for what."""
        source = source_of(path) if path.is_file() else None
        return replace(self, targets=source, recorded=tuple(recorded), units=tuple(units))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def source_of(path: Path) -> Source:
    """Return a file's path and digest."""
    return Source(str(path.resolve()), hashlib.sha256(path.read_bytes()).hexdigest())


def provenance_of(model: Model) -> Provenance:
    """Return what is known at the end of a fit of `model`: its file, the time, the machine, the versions."""
    path = Path(model.path)
    return Provenance(
        model=source_of(path) if path.is_file() else None,
        date=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        machine=f"{platform.system()} {platform.machine()}",
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on.

    One that runs from its sources, without having been installed, is `not installed`: a fit must not be lost for that.
    """
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_provenance(summary: Mapping[str, Any]) -> Provenance:
    """Return what `summary.json` tells; folders of earlier versions hold only the versions."""
    told = dict(summary.get("provenance", {}))
    for name in ("model", "targets"):
        told[name] = Source(**told[name]) if told.get(name) else None
    for name in ("recorded", "units"):
        told[name] = tuple(told.get(name, ()))
    return Provenance(**{**told, "versions": summary.get("versions", {})})
