"""Peer: the network written by hand in C, forward and adjoint, through ctypes; two threads over blocks of 16 lanes.

The same work item. The C source is specialised for the number of neurons and for the lanes of a block, which are 16, or
as many as the problem has where it has fewer; lanes are padded to whole blocks by repeating the last one. With up to 16
lanes there is one block and so one thread.
"""

import ctypes
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from peers.problem import KEEP_F, PARAMETERS, THRESHOLD, WIDTH, Problem, Result, Work

FOLDER = Path(__file__).parent
BLOCK = 16  # lanes: one register of 512 bits, or two of 256
MANY = 64  # neurons: above, the adjoint of the weights goes row by row
FLAGS = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fPIC"]


def library(n: int, block: int) -> ctypes.CDLL:
    """Return the library for n neurons and blocks of so many lanes, compiled if it is missing or outdated."""
    source = FOLDER / "hand_lif.c"
    built = FOLDER / "build" / f"hand_lif_{n}_{block}.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(exist_ok=True)
        sizes = [f"-DNN={n}", f"-DLB={block}", f"-DROWS={int(n > MANY)}"]
        compiled = built.with_suffix(".o")
        subprocess.run(["cc", *sizes, *FLAGS, "-c", str(source), "-o", str(compiled)], check=True)
        # -ffast-math must not be given here, see hand_lif.c
        subprocess.run(["cc", "-shared", str(compiled), "-o", str(built), "-lm"], check=True)
    found = ctypes.CDLL(str(built))
    found.block.argtypes = [ctypes.c_int] * 3 + [ctypes.c_void_p] * 6 + [ctypes.c_float] * 3
    found.block.argtypes += [ctypes.c_void_p] * 5
    found.block.restype = None
    return found


def prepare(problem: Problem, threads: int = 2) -> Work:
    """Return the evaluation; compilation and padding are done here."""
    block = min(BLOCK, problem.lanes)
    compiled = library(problem.n, block)
    padding = -problem.lanes % block
    values = [np.pad(v, _behind(v.ndim, padding), "edge") for v in problem.parameters().values()]
    inputs = [problem.drive, problem.target.astype(np.uint8), *values]
    lanes = problem.lanes + padding
    pool = ThreadPoolExecutor(threads)

    def evaluate() -> Result:
        outputs = [np.empty(lanes, np.float32), *(np.empty_like(value) for value in values)]
        given = (problem.steps, lanes, *_addresses(inputs), THRESHOLD, WIDTH, KEEP_F)
        tail = _addresses(outputs)
        list(pool.map(lambda begin: compiled.block(begin, *given, *tail), range(0, lanes, block)))
        losses, *gradients = (x[..., : problem.lanes] for x in outputs)
        return losses, dict(zip(PARAMETERS, gradients, strict=True))

    return evaluate


def _behind(dimensions: int, padding: int) -> list[tuple[int, int]]:
    """Return the widths for `np.pad` that lengthen only the last dimension."""
    return [(0, 0)] * (dimensions - 1) + [(0, padding)]


def _addresses(arrays: Sequence[np.ndarray]) -> list[int]:
    """Return where the data of contiguous arrays begin."""
    return [array.ctypes.data for array in arrays]
