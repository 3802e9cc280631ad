"""The functions that generated torch source calls, beyond torch's own."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PHI_SERIES_BELOW = (
    0.5  # |x| below which phi_k is summed as a series; 16 terms leave less than 1e-16
)
PHI_TERMS = 16
FAR_BELOW = (
    -30.0
)  # bound below which a truncated normal number follows from the leading term of the tail


def sqrt(x: Tensor | float) -> Tensor | float:
    """Square root of a tensor or a setting."""
    return torch.sqrt(x) if isinstance(x, Tensor) else math.sqrt(x)


def detach(x: Tensor | float) -> Tensor | float:
    """Stop-gradient."""
    return x.detach() if isinstance(x, Tensor) else x


def whole_quotient(x: Tensor | float, y: Tensor | float) -> Tensor | float:
    """Largest integer not above x/y."""
    quotient = x / y
    return torch.floor(quotient) if isinstance(quotient, Tensor) else math.floor(quotient)


def logsigmoid(x: Tensor) -> Tensor:
    """log(1/(1 + e^-x))."""
    return torch.nn.functional.logsigmoid(x)


def normal_hazard(x: Tensor) -> Tensor:
    """Standard normal density over distribution function, without overflow or cancellation in the tail."""
    return math.sqrt(2 / math.pi) / torch.special.erfcx(-x / math.sqrt(2))


def normal_below(u: Tensor, b: Tensor) -> Tensor:
    """The y with Phi(y) = u Phi(b); b and u in (0, 1]. Far below zero Phi(b) is taken as phi(b)/|b|."""
    far = b < FAR_BELOW
    # half of erfc, because torch's own distribution function is 0 from -9 on
    below = 0.5 * torch.special.erfc(-b.clamp(min=FAR_BELOW) / math.sqrt(2))
    near = torch.special.ndtri((u * below).clamp(min=1e-300, max=1 - 1e-16))
    return torch.where(far, -torch.sqrt(b.clamp(max=FAR_BELOW) ** 2 - 2 * torch.log(u)), near)


def mix(spike: Tensor, chosen: Tensor | float, other: Tensor | float) -> Tensor:
    """`chosen` where the spike is 1, else `other`; the gradient by the spike is their difference."""
    if not isinstance(chosen, Tensor) and not isinstance(other, Tensor):
        return spike * (chosen - other) + other
    value = torch.where(spike > 0.5, chosen, other)
    return value + (spike - spike.detach()) * (chosen - other) if spike.requires_grad else value


def phi(k: int, x: Tensor) -> Tensor:
    """The phi function of order k, elementwise: a series near 0, the recurrence phi_k = (phi_{k-1} - 1/(k-1)!)/x elsewhere."""
    if k == 1:
        near = x.abs() < 1e-8
        safe = torch.where(near, torch.ones_like(x), x)
        return torch.where(near, 1 + x / 2, torch.expm1(safe) / safe)
    near = x.abs() < PHI_SERIES_BELOW
    small = torch.where(near, x, torch.zeros_like(x))
    series = torch.zeros_like(x)
    for n in reversed(range(PHI_TERMS)):
        series = series * small + 1 / math.factorial(n + k)
    large = torch.where(near, torch.ones_like(x), x)
    return torch.where(near, series, (phi(k - 1, large) - 1 / math.factorial(k - 1)) / large)


def matrix_exponential(row: int, column: int, n: int, *entries: Tensor | float) -> Tensor:
    """Entry (row, column) of the exponential of the n x n matrix given row by row; entries broadcast."""
    like = next(entry for entry in entries if isinstance(entry, Tensor))
    tensors = torch.broadcast_tensors(
        *(torch.as_tensor(e, dtype=like.dtype, device=like.device) for e in entries)
    )
    matrix = torch.stack(tensors, dim=-1).reshape(*tensors[0].shape, n, n)
    return torch.linalg.matrix_exp(matrix)[..., row, column]


@torch.no_grad()
def poisson_quantile(u: Tensor, rate: Tensor | float) -> Tensor:
    """Smallest count whose Poisson distribution function exceeds u; above a rate of 500 a rounded normal quantile."""
    mean = torch.as_tensor(rate, dtype=u.dtype, device=u.device).clamp(min=0)
    u, mean = torch.broadcast_tensors(u, mean)
    small = mean.clamp(max=500.0)
    probability = torch.exp(-small)
    cumulative, count = probability.clone(), torch.zeros_like(u)
    highest = int(small.max() + 12 * small.max().sqrt() + 20) if u.numel() else 0
    for k in range(1, highest + 1):
        reached = cumulative <= u
        if not bool(reached.any()):
            break
        count += reached
        probability = probability * small / k
        cumulative = cumulative + probability
    normal = torch.round(
        mean + torch.sqrt(mean) * torch.special.ndtri(u.clamp(1e-16, 1 - 1e-16))
    ).clamp(min=0)
    return torch.where(mean > 500.0, normal, count)


def couple(weight: Tensor, source: Tensor | float, transposed: bool) -> Tensor:
    """Weighted sum over one side of the synapses: weight (pre, post, lane), source (pre or post, lane), or a number."""
    if not isinstance(source, Tensor):
        source = weight.new_full((weight.shape[1 if transposed else 0], 1), source)
    if weight.shape[2] == 1:
        matrix = weight[:, :, 0]
        return (matrix if transposed else matrix.t()) @ source.expand(
            weight.shape[1 if transposed else 0], -1
        )
    return (weight * source.unsqueeze(0 if transposed else 1)).sum(1 if transposed else 0)


def outer(before: Tensor, after: Tensor, exists: Tensor) -> Tensor:
    """Products of pre- and postsynaptic values on existing synapses: (pre, post, lane)."""
    return exists * (before.unsqueeze(1) * after.unsqueeze(0))


def reduce(source: Tensor, exists: Tensor, to_post: bool) -> Tensor:
    """Sum a synaptic value over existing synapses."""
    return torch.where(exists, source, 0.0).sum(0 if to_post else 1)


class _SurrogateSpike(torch.autograd.Function):
    """A hard threshold whose derivative by the margin is slope(margin/width)/width."""

    @staticmethod
    def forward(
        ctx: Any, margin: Tensor, width: Tensor | float, strict: bool, slope: Callable
    ) -> Tensor:
        ctx.save_for_backward(margin, torch.as_tensor(width, dtype=margin.dtype))
        ctx.slope = slope
        return ((margin > 0) if strict else (margin >= 0)).to(margin.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        margin, width = ctx.saved_tensors
        return grad_outputs[0] * ctx.slope(margin / width) / width, None, None, None


def spike_function(
    strict: bool, slope: Callable[[Tensor], Tensor]
) -> Callable[[Tensor, Tensor | float], Tensor]:
    """Return spike(margin, width): 1 where the margin is >= 0 (> 0 if strict), with a surrogate derivative."""

    def spike(margin: Tensor, width: Tensor | float) -> Tensor:
        if margin.requires_grad:
            return _SurrogateSpike.apply(margin, width, strict, slope)  # type: ignore[return-value]
        return ((margin > 0) if strict else (margin >= 0)).to(margin.dtype)

    return spike
