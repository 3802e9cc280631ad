"""compile: C source to a loaded library, through a private cache that several processes may share.

The key of an entry is its source, the compiler and its version, the flags and the processor. A library is written to a
temporary name and renamed, so whoever finds it finds it whole; two processes that compile the same source at once
both succeed.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from eqsnn.errors import InputError

FLAGS = (
    "-std=gnu99",
    "-O2",  # -O3 unrolls every loop over a few neurons: ten times the compilation, no speed
    "-ftree-vectorize",
    "-fPIC",
    "-shared",
    "-fopenmp-simd",  # vector loops only, no threads and no library
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-w",
)
# Left out where the compiler does not know them. gcc's code motion moves work into branches of its own making, and a
# loop with branches is no vector loop any more.
OPTIONAL = ("-march=native", "-mprefer-vector-width=512", "-fno-tree-pre", "-fno-tree-sink")


class Compiler(NamedTuple):
    """A C compiler, what it says it is, and the flags it accepts."""

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]


class CompilationError(Exception):
    """The compiler refused generated source: our mistake, or a broken compiler."""


@functools.cache
def find_compiler(asked: str | None = None) -> Compiler | None:
    """Return the first of $CC, cc, gcc and clang that compiles, None if there is none."""
    candidates = [asked] if asked else [os.environ.get("CC"), "cc", "gcc", "clang"]
    for candidate in candidates:
        command = tuple(shlex.split(candidate or ""))
        if not command or shutil.which(command[0]) is None:
            continue
        said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
        flags = tuple(flag for flag in OPTIONAL if _accepts(command, flag))
        if said.returncode == 0 and _accepts(command, *FLAGS, *flags):
            return Compiler(command, said.stdout.strip(), (*FLAGS, *flags))
    return None


def _accepts(command: tuple[str, ...], *flags: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("double probe(double x) { return x + 1; }\n", encoding="utf-8")
        target = ["-Werror", "-c", "-o", str(source.with_suffix(".o")), str(source)]
        kept = [flag for flag in flags if flag not in ("-shared", "-w")]
        run = subprocess.run([*command, *kept, *target], capture_output=True, check=False)
        return run.returncode == 0


def load_library(source: str, compiler: Compiler, *, extra: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Return the compiled library of a source. Raises CompilationError with what the compiler said."""
    flags = (*compiler.flags, *extra)
    parts = [source, *compiler.command, compiler.version, *flags, _processor()]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    target = cache_folder() / f"{key}.so"
    if not target.exists():
        _compile(source, compiler, flags, target)
    return ctypes.CDLL(str(target))


def _compile(source: str, compiler: Compiler, flags: tuple[str, ...], target: Path) -> None:
    handle, name = tempfile.mkstemp(suffix=".so", prefix="compiling-", dir=target.parent)
    os.close(handle)
    scratch = Path(name)
    text = scratch.with_suffix(".c")
    try:
        text.write_text(source, encoding="utf-8")
        command = [*compiler.command, *flags, "-o", name, str(text), "-lm"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            raise CompilationError(f"{shlex.join(command)} failed:\n{run.stderr.strip()}")
        os.replace(scratch, target)
    finally:
        text.unlink(missing_ok=True)
        scratch.unlink(missing_ok=True)


@functools.cache
def cache_folder() -> Path:
    """Return a folder that only this user can write: $EQSNN_CACHE, else eqsnn/ in the user's cache; else a temporary one.

    Raises InputError if $EQSNN_CACHE cannot be used; a library that others could replace is never loaded.
    """
    asked = os.environ.get("EQSNN_CACHE")
    if asked:
        folder = _private(Path(asked))
        if folder is None:
            raise InputError(
                f"$EQSNN_CACHE = {asked} is not a folder that only you can write; name another or unset it"
            )
        return folder
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return _private(Path(home, "eqsnn")) or Path(tempfile.mkdtemp(prefix="eqsnn-"))


def _private(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return None
    if sys.platform != "win32":
        open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if found.st_uid != os.getuid() or open_to_others:
            return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None


@functools.cache
def _processor() -> str:
    """What -march=native depends on: a cache may be shared by machines."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in text.splitlines() if line.startswith(wanted)}))
