"""Reading and writing files so that nothing is half-written and nothing is unpickled."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call `write` with a temporary file beside `path`, then rename it; a failure leaves `path` as it was."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_by_path(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path beside `path`, of the same suffix, then rename what it wrote; for libraries.

    A failure leaves `path` as it was. Raises InputError if the place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from error
    place = Path(folder) / f"writing{path.suffix}"
    try:
        write(place)
        os.chmod(place, 0o644)
        os.replace(place, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda stream: stream.write(text.encode("utf-8")))


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write named arrays as a compressed .npz, atomically."""
    write_atomically(path, lambda stream: np.savez_compressed(stream, **arrays))  # type: ignore[arg-type]


def read_arrays(path: Path) -> dict[str, NDArray]:
    """Return the arrays of an .npz file. Raises InputError if it is missing, damaged or holds Python objects."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.is_dir() or path.stat().st_size == 0:
        what = "a folder" if path.is_dir() else "empty"
        raise InputError(f"{path}: is {what}; an .npz file is expected")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(
                    f"{path}: holds a single array; an .npz file with named arrays is expected"
                )
            return {name: archive[name] for name in archive.files}
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise InputError(
                f"{path}: holds Python objects, which are never loaded; save plain numeric arrays"
            ) from None
        raise InputError(f"{path}: is damaged or no .npz file ({error})") from None
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        raise InputError(f"{path}: is damaged or no .npz file ({error})") from None
