"""pairs: a compiled likelihood of one neuron of one lane, called for all of them, with its derivatives."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from eqsnn.backends.threads import aligned, run_blocks, usable_cores

Pair = Callable[[Any, Any, int, Any, int], int]  # inputs, results, pair, team, working memory


class Likelihood(Protocol):
    """A kernel of one population. held, feeds: what it reads, by name; library: None without a compiler."""

    held: tuple[str, ...]
    feeds: tuple[str, ...]
    library: Any

    def by_c(
        self, window: Any, escape_width: float, wanted: bool, values: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the log-likelihood and, if wanted, its derivatives by every value."""
        ...

    def by_torch(
        self, held: list[Tensor], feeds: list[Tensor], window: Any, escape_width: float
    ) -> Tensor:
        """Return the same by torch operations."""
        ...


def load_pairs(library: Any, name: str, sizes: int) -> None:
    """Declare the function `name` of a library, which takes so many sizes, and its `arena_bytes`."""
    pointers = ctypes.POINTER(ctypes.c_void_p)
    getattr(library, name).argtypes = [
        pointers, pointers, *[ctypes.c_long] * sizes, ctypes.c_double, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    library.arena_bytes.restype = ctypes.c_long
    library.arena_bytes.argtypes = [ctypes.c_long, ctypes.c_long]


def evaluate(
    kernel: Likelihood,
    held: Mapping[str, Tensor | float],
    feeds: Mapping[str, Tensor],
    window: Any,
    escape_width: float,
    shape: tuple[int, ...],
) -> Tensor:
    """Return the log-likelihood of the counted steps, (neuron, lane), which is `shape`; differentiable.

    held: parameters and settings, (neuron or 1, lane or 1) or floats; feeds: (time, neuron, lane).
    """
    given = [torch.as_tensor(held[n], dtype=torch.float64).expand(shape) for n in kernel.held]
    fed = [feeds[name].to(torch.float64) for name in kernel.feeds]
    if kernel.library is None:
        return kernel.by_torch(given, fed, window, escape_width)
    wanted = torch.is_grad_enabled() and any(v.requires_grad for v in (*given, *fed))
    return _WithSlopes.apply(kernel, window, escape_width, wanted, *given, *fed)  # type: ignore[return-value]


class _WithSlopes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: Likelihood, window: Any, width: float, wanted: bool, *values: Tensor
    ) -> Tensor:
        result, ctx.slopes = kernel.by_c(window, width, wanted, values)
        ctx.shapes = [v.shape for v in values]
        return result

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> tuple[Tensor | None, ...]:
        found = [
            (slope * bars[0]).sum_to_size(shape)
            for slope, shape in zip(ctx.slopes, ctx.shapes, strict=True)
        ]
        return None, None, None, None, *found


def run_pairs(
    call: Pair,
    values: Sequence[Tensor],
    lone: Sequence[Tensor | None],
    shape: tuple[int, int],
    needed: int,
    wanted: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Call a compiled function for every neuron and lane (`shape`), on all cores; return its value and derivatives.

    values: what is differentiated, (neuron, lane) or (time, neuron, lane), broadcast; lone: whatever else the function
    reads, None for a null pointer; needed: bytes of working memory of a call.
    """
    inputs: list[Tensor | None] = [
        v.detach().to(torch.float64).expand(_full_shape(v, shape)).contiguous() for v in values
    ]
    slopes = [torch.empty_like(v) for v in inputs if v is not None] if wanted else []
    inputs += [None if v is None else v.detach().contiguous() for v in lone]
    result = torch.empty(shape, dtype=torch.float64)
    addresses = [None if v is None else v.data_ptr() for v in inputs]
    table = (ctypes.c_void_p * len(addresses))(*addresses)
    places = (ctypes.c_void_p * (1 + len(slopes)))(*(v.data_ptr() for v in (result, *slopes)))

    pairs = shape[0] * shape[1]
    arenas = [aligned(needed) for _ in range(min(usable_cores(), pairs))]
    run_blocks(call, pairs, (table, places), None, arenas)
    return result, slopes


def _full_shape(value: Tensor, pair: tuple[int, int]) -> tuple[int, ...]:
    return (value.shape[0], *pair) if value.dim() == 3 else pair


def modulo(value: Tensor, lanes: int) -> Tensor:
    """Repeat the lanes of a value until there are so many."""
    return value[..., torch.arange(lanes) % value.shape[-1]]
