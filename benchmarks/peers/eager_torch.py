"""Peer: a plain Python loop over eager torch operations with autograd, the usual way to train such a network.

The same work item, with nothing left out. What a careful user takes out of the loop is out of it: the reciprocals of
the time constants and the squares of the loss.
"""

import torch
from torch import Tensor

from peers.problem import THRESHOLD, Problem, Work
from peers.torch_parts import Spike, leaves_of, recurrent, work


def prepare(problem: Problem) -> Work:
    """Return the evaluation: forward and backward from the leaves, nothing is compiled."""
    leaves = leaves_of(problem)
    return work(problem, lambda drive: spiking(drive, **leaves), leaves)


def spiking(drive: Tensor, W: Tensor, v_rest: Tensor, tau_m: Tensor, tau_g: Tensor) -> list[Tensor]:
    """Return the spikes [neuron, lane] of each step."""
    rate_m, keep_g = 1.0 / tau_m, 1.0 - 1.0 / tau_g
    v, g = v_rest, torch.zeros_like(v_rest)
    spikes = []
    for now in drive.unbind():
        v = v + (v_rest - v + recurrent(W, g, now)) * rate_m
        z: Tensor = Spike.apply(v - THRESHOLD)  # type: ignore[assignment]
        v = v + z * (v_rest - v)
        g = g * keep_g + z
        spikes.append(z)
    return spikes
