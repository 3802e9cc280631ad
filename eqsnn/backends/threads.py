"""Threads for libraries that hold no lock of Python's: blocks of lanes side by side, or a team for one large network."""

import os
import sys
import threading
from collections.abc import Callable
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


def run_blocks(function: Callable[..., int], n_blocks: int, threads: int, *args: Any) -> None:
    """Call a library function for every block of lanes, several at a time. Raises MemoryError if one has no memory."""
    left = iter(range(n_blocks))
    lock = threading.Lock()
    failed: list[int] = []

    def work() -> None:
        while True:
            with lock:
                block = next(left, None)
            if block is None:
                return
            if function(*args[:2], block, *args[2:]) != 0:
                failed.append(block)

    others = [threading.Thread(target=work) for _ in range(min(threads, n_blocks) - 1)]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failed:
        raise MemoryError(
            "there is not enough memory for a block of lanes; use fewer starts or shorter windows"
        )


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
        for thread in helping:
            thread.start()
        try:
            work(address)
        finally:
            self.dismiss(address)
            for thread in helping:
                thread.join()


def aligned(n_bytes: int) -> Tensor:
    """Return memory whose first address is a multiple of 64."""
    whole = torch.empty(n_bytes + 64, dtype=torch.uint8)
    return whole[-whole.data_ptr() % 64 :]
