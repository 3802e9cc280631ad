"""Files and folders of every format that Neo reads; .nix and .mat written by it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqsnn.errors import InputError
from eqsnn.files import write_by_path
from eqsnn.formats.from_neo import block_source
from eqsnn.formats.optional import library
from eqsnn.formats.source import NO_PARAMETERS, Reading, Source
from eqsnn.formats.to_neo import block_of
from eqsnn.simulation.recording import Recording

RUNS_CODE = {"PickleIO"}  # what is unpickled can do anything
READ_ONLY: Mapping[str, Mapping[str, str]] = {"NixIO": {"mode": "ro"}, "NWBIO": {"mode": "r"}}
WRITERS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    ".nix": ("NixIO", {"mode": "ow"}),
    ".mat": ("NeoMatlabIO", {}),
}


def read_neo(path: Path, reading: Reading) -> Source:
    """Return what a file or folder holds that Neo reads. Raises InputError if no class of Neo can."""
    io_classes, errors = _classes(path, reading.io), []
    for io_class in io_classes:
        name = io_class.__name__
        try:
            blocks = io_class(str(path), **READ_ONLY.get(name, {})).read()
            blocks = [b for b in blocks if hasattr(b, "segments")]
        except ImportError as error:
            errors.append(f"{name} needs the library {error.name}, which is not installed")
            continue
        # a reader of Neo that meets a file of another kind may fail in any way
        except Exception as error:
            errors.append(f"{name}: {' '.join(str(error).split()) or type(error).__name__}")
            continue
        found = [b for b in blocks if any(s.spiketrains for s in b.segments)]
        if found or (blocks and not reading.spikes_needed):
            try:
                return block_source(found or blocks, reading)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        errors.append(f"{name}: reads it, but it holds no spike trains")
    raise InputError(f"{path}: cannot be read by Neo ({'; '.join(errors)})")


def _classes(path: Path, name: str | None) -> list[Any]:
    neo_io = library("neo.io", "neo")
    if name is not None:
        found = [c for c in neo_io.iolist if c.__name__ == name]
    else:
        try:
            found = neo_io.list_candidate_ios(path)
        except (ValueError, OSError):
            found = []
    found = list(dict.fromkeys(found))
    if found and all(c.__name__ in RUNS_CODE for c in found):
        raise InputError(
            f"{path}: is a pickle, which could run any code and is never loaded; write it with Neo's NixIO instead"
        )
    if not found:
        what = (
            f"Neo has no class `{name}`" if name else "is of no format that Neo knows by its name"
        )
        raise InputError(
            f"{path}: {what}; formats: .npz, .csv, .tsv, .txt, .nwb and those of Neo (say which with "
            "--format neo:CLASS, e.g. neo:AsciiSpikeTrainIO)"
        )
    return [c for c in found if c.__name__ not in RUNS_CODE]


def write_neo(recording: Recording, path: Path) -> tuple[str, ...]:
    """Write a recording by Neo: .nix (NixIO) or .mat (NeoMatlabIO); return what is not in the file."""
    name, mode = WRITERS[path.suffix.lower()]
    io_class = getattr(library("neo.io", "neo"), name)
    if name == "NixIO":
        library("nixio", "neo")
    block = block_of(recording)

    def write(place: Path) -> None:
        io = io_class(str(place), **mode)
        io.write_block(block)
        if hasattr(io, "close"):
            io.close()

    write_by_path(path, write)
    return (NO_PARAMETERS,) if recording.parameters else ()
