"""Peer: norse, its `LIFBoxCell` in a loop with recurrent weights.

What norse gives and what this file adds:
- `LIFBoxCell` is norse's neuron without a current of its own: Euler step, threshold, reset by value with the gradient
  through the spike. `LIFRecurrentCell` does not fit: its weights are shared by the batch, so it has no lanes with weights
  of their own, it filters the drive with the synaptic time constant, and it detaches the reset.
- The trace g and W g are torch operations here, since norse's synaptic current is filtered at the receiving neuron, which
  is the same only where tau_g is equal in all neurons.
Differences to the work item, none of which changes the numbers beyond rounding:
- Potentials are in units of WIDTH (2 mV), because norse's "super" surrogate is 1/(1 + |x|)^2 without a width.
- A neuron fires at v > threshold, not at v >= threshold.
The van Rossum loss is torch.
"""

import torch
from norse.torch import LIFBoxCell
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
from torch import Tensor

from peers.problem import DT, THRESHOLD, WIDTH, Problem, Work
from peers.torch_parts import leaves_of, recurrent, work


def prepare(problem: Problem) -> Work:
    """Return the evaluation: forward and backward from the leaves, nothing is compiled."""
    leaves = leaves_of(problem)
    return work(problem, lambda drive: spiking(drive, **leaves), leaves)


def spiking(drive: Tensor, W: Tensor, v_rest: Tensor, tau_m: Tensor, tau_g: Tensor) -> list[Tensor]:
    """Return the spikes [neuron, lane] of each step."""
    v_rest, W, keep_g = v_rest / WIDTH, W / WIDTH, 1.0 - DT / tau_g
    cell = LIFBoxCell(parameters_of(v_rest, tau_m), dt=DT)
    state, g = LIFBoxFeedForwardState(v=v_rest), torch.zeros_like(v_rest)
    spikes = []
    for now in (drive / WIDTH).unbind():
        z, state = cell(recurrent(W, g, now), state)
        g = g * keep_g + z
        spikes.append(z)
    return spikes


def parameters_of(v_rest: Tensor, tau_m: Tensor) -> LIFBoxParameters:
    """Return norse's parameters for a resting potential in units of WIDTH and a time constant in ms."""
    return LIFBoxParameters(
        tau_mem_inv=1.0 / tau_m,
        v_leak=v_rest,
        v_th=torch.as_tensor(THRESHOLD / WIDTH),
        v_reset=v_rest,
        method="super",
        alpha=torch.as_tensor(1.0),  # type: ignore[arg-type]  # has no effect on "super"
    )
