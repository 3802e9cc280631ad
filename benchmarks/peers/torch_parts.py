"""What the torch peers share: leaves, the surrogate, the recurrent input and the van Rossum loss.

All tensors have the lanes innermost, as the problem has them. The libraries treat states elementwise, so their neurons
do not mind; for the recurrent input it is the faster layout (measured in `recurrent`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from peers.problem import KEEP_F, WIDTH, Problem, Result, Work

Spiking = Callable[[Tensor], list[Tensor]]


class Spike(torch.autograd.Function):
    """A step at 0 whose derivative is 1/(WIDTH*(1 + |x|/WIDTH)^2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return 1 where x >= 0."""
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *bars: Tensor) -> Tensor:
        """Return the gradient with respect to x."""
        (x,) = ctx.saved_tensors
        return bars[0] / (WIDTH * (1.0 + x.abs() / WIDTH).square())


def leaves_of(problem: Problem) -> dict[str, Tensor]:
    """Return a copy of what the gradient is asked for, by name, as leaves."""
    return {
        name: torch.from_numpy(value.copy()).requires_grad_()
        for name, value in problem.parameters().items()
    }


def recurrent(W: Tensor, g: Tensor, now: Tensor) -> Tensor:
    """Return now + sum over pre of W[post, pre]*g[pre], per lane, in the fastest eager way that was found.

    Microseconds forward and backward, one thread: 12 neurons and 64 lanes 61 as here, 88 with lanes first, 129 by
    `baddbmm`, 204 by `einsum`; 100 neurons and 16 lanes 169, 221, 769 and 555. One lane is a matrix-vector product.
    """
    if W.shape[2] == 1:
        return torch.addmv(now.squeeze(1), W.squeeze(2), g.squeeze(1)).unsqueeze(1)
    return (W * g.unsqueeze(0)).sum(1) + now


def van_rossum(spikes: list[Tensor], target: Tensor) -> Tensor:
    """Return the loss of each lane; the squares are taken at once, after the recursion."""
    f = torch.zeros_like(spikes[0])
    trace = []
    for z, wanted in zip(spikes, target.unbind(), strict=True):
        f = f * KEEP_F + (z - wanted)
        trace.append(f)
    return torch.stack(trace).square().sum((0, 1))


def work(
    problem: Problem,
    spiking: Spiking,
    leaves: Mapping[str, Tensor],
    factors: Mapping[str, Tensor] | None = None,
) -> Work:
    """Return the evaluation of a network: the losses, and the gradients by autograd.

    Args:
        problem: drive and target are taken from it.
        spiking: from the drive [steps, neuron, 1] to the spikes [neuron, lane] of each step.
        leaves: for each parameter of the problem, what stands for it in the network.
        factors: the derivative of a leaf with respect to the parameter, where the leaf is a function of it.
    """
    drive, target = (torch.from_numpy(x).unsqueeze(2) for x in (problem.drive, problem.target))
    factors = factors or {}

    def evaluate() -> Result:
        losses = van_rossum(spiking(drive), target)
        gradients = torch.autograd.grad(losses.sum(), list(leaves.values()))
        return losses.detach().numpy(), {
            name: (gradient * factors[name] if name in factors else gradient).numpy()
            for name, gradient in zip(leaves, gradients, strict=True)
        }

    return evaluate
