"""Threads for libraries that hold no lock of Python's: blocks of lanes side by side, or a team for one large network."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor


def usable_cores() -> int:
    """Return the number of cores this process may use; $OMP_NUM_THREADS may ask for fewer."""
    cores = os.process_cpu_count() if sys.version_info >= (3, 13) else _cores_of_process()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores or 1, int(asked)) if asked.isdigit() and int(asked) > 0 else cores or 1


def _cores_of_process() -> int | None:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()


def run_blocks(
    function: Callable[..., int],
    n_blocks: int,
    args: Sequence[Any],
    team: int | None,
    arenas: Sequence[Tensor],
) -> None:
    """Call a library function for every block of lanes, as many at a time as there are arenas."""
    left = iter(range(n_blocks))
    lock = threading.Lock()
    stopped = threading.Event()

    def work(arena: Tensor) -> None:
        address = arena.data_ptr()
        while not stopped.is_set():
            with lock:
                block = next(left, None)
            if block is None:
                return
            function(*args[:2], block, *args[2:], team, address)

    others = [threading.Thread(target=work, args=(arena,)) for arena in arenas[1:]]
    try:
        for thread in others:
            thread.start()
        work(arenas[0])
    except BaseException:
        stopped.set()
        raise
    finally:
        wait_for(others)


def wait_for(threads: Sequence[threading.Thread]) -> None:
    """Wait until all have ended, Ctrl-C or not: they work on memory that is freed afterwards."""
    interrupted = False
    for thread in threads:
        while thread.ident is not None and thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt


KEPT_BYTES = (
    64 * 1024 * 1024
)  # arenas up to this size are kept for the next run: fresh memory is slow memory


@dataclass(frozen=True, slots=True)
class Arenas:
    """Working memory for the threads of a library. `bytes_for(walked, gathered)` says how much a block needs."""

    bytes_for: Callable[[int, int], int]
    free: list[Tensor] = field(default_factory=list)

    @contextmanager
    def lent(self, count: int, walked: int, gathered: int) -> Iterator[list[Tensor]]:
        """Lend memory to `count` threads."""
        needed = self.bytes_for(walked, gathered)
        fitting = [self.free.pop() for _ in range(min(count, len(self.free)))]
        fitting = [arena for arena in fitting if len(arena) >= needed]
        lent = [*fitting, *(aligned(needed) for _ in range(count - len(fitting)))]
        try:
            yield lent
        finally:
            if needed <= KEPT_BYTES:
                self.free.extend(lent)


class Assistants(NamedTuple):
    """Threads that share the heavy couplings of a single block: `assist` waits for work until it is dismissed."""

    assist: Callable[..., None]
    dismiss: Callable[..., None]

    def during(self, work: Callable[[int], None], threads: int) -> None:
        """Call `work` with the address of a team of `threads` threads, this one included."""
        team = aligned(64)
        team.zero_()
        team.view(torch.int64)[2] = threads
        address = team.data_ptr()
        helping = [
            threading.Thread(target=self.assist, args=(address, n)) for n in range(1, threads)
        ]
        try:
            for thread in helping:
                thread.start()
            work(address)
        finally:
            self.dismiss(address)
            wait_for(helping)


def aligned(n_bytes: int) -> Tensor:
    """Return memory whose first address is a multiple of 64."""
    whole = torch.empty(n_bytes + 64, dtype=torch.uint8)
    return whole[-whole.data_ptr() % 64 :]
