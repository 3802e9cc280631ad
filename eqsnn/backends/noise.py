"""Counter-based noise: a number for each (seed, source, stream, element, step), the same in every backend and any order.

Philox2x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405) turns a key and two counters into 64 random bits. The
key is made of the seed and the name of the noise, the counters are the step and `stream * elements + element`, both
modulo 2^32. runtime.h has the same in C.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eqsnn.backends.kernel import Noise
from eqsnn.maths.program import Input, Kind

WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def key_of(seed: int, name: str) -> int:
    """Return the 32-bit key of a source of noise."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


def philox(
    key: int, steps: NDArray[np.uint64], elements: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return two 32-bit words for each pair of counters, which broadcast."""
    a, b = np.broadcast_arrays(steps & WORD, elements & WORD)
    for _ in range(10):
        product = a * np.uint64(0xD256D193)
        a, b = (product >> HALF) ^ np.uint64(key) ^ b, product & WORD
        key = (key + 0x9E3779B9) & 0xFFFFFFFF
    return a, b


def draw(noise: Noise, given: Input, n_elements: int, n_steps: int, dtype: torch.dtype) -> Tensor:
    """Return the values of a noise input, (time, element, lane); drawn in double precision, then rounded to `dtype`."""
    lanes = torch.stack([noise.stream, noise.first], dim=1).cpu().numpy()
    pairs, at = np.unique(lanes, axis=0, return_inverse=True)
    streams, begins = pairs.astype(np.uint64).T
    steps = np.arange(n_steps, dtype=np.uint64)[:, None, None] + begins
    elements = streams * np.uint64(n_elements) + np.arange(n_elements, dtype=np.uint64)[:, None]
    a, b = philox(key_of(noise.seed, given.name), steps, elements)
    if given.kind is Kind.UNIFORM:
        values = (a >> np.uint64(5)) * 2.0**-27 + (b >> np.uint64(6)) * 2.0**-53
    else:
        turn = b.astype(np.uint32).view(np.int32) * 2.0**-32
        values = np.sqrt(-2 * np.log((a + 0.5) * 2.0**-32)) * np.cos(2 * np.pi * turn)
    chosen = values if len(pairs) == lanes.shape[0] == 1 else values[:, :, at.reshape(-1)]
    return torch.from_numpy(np.ascontiguousarray(chosen)).to(dtype)


def drawn(
    noise: Noise | None,
    inputs: Iterable[Input],
    sizes: dict[str, int],
    n_steps: int,
    dtype: torch.dtype,
) -> dict[str, Tensor]:
    """Return the values of all noise inputs; nothing without noise."""
    if noise is None:
        return {}
    return {g.name: draw(noise, g, sizes[g.space], n_steps, dtype) for g in inputs}
