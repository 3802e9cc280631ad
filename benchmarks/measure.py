"""Timing of several pieces of work side by side, and the tables they are printed in."""

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from eqsnn.backends.compile_c import find_compiler
from eqsnn.backends.threads import usable_cores

WARM_UP = 0.3  # seconds
Work = Callable[[], object]


def machine() -> str:
    """Return one line about the machine and the compiler."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(
            line.split(":")[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    compiler = find_compiler()
    said = compiler.version.splitlines()[0] if compiler else "no C compiler"
    return f"machine: {usable_cores()} cores of {processor}, {platform.system()}, Python {platform.python_version()}, {said}"


def medians(work: Mapping[str, Work], *, rounds: int = 5) -> dict[str, float]:
    """Return the median seconds of each piece of work.

    In each of three passes every peer has the machine to itself for `rounds` runs, after a pause and a warm-up that do
    not count: thread pools of the peer before, which wait for work by spinning, have gone to sleep by then, and the
    cores are awake.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(3):
        for name, each in work.items():
            time.sleep(0.2)
            awake = time.perf_counter() + WARM_UP
            each()
            while time.perf_counter() < awake:
                each()
            for _ in range(rounds):
                begin = time.perf_counter()
                each()
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def ratio(other: float, own: float) -> str:
    """Return how many times slower another is."""
    return f"{other / own:.3g}x" if own > 0 else "-"
