"""Peer: snnTorch, its `Leaky` neuron in a loop with recurrent weights.

What snnTorch gives and what this file adds:
- `Leaky` with a learnable beta and a learnable threshold for each neuron and lane, reset to zero in the step of the spike
  (`reset_delay=False`; the default resets one step later), and `surrogate.custom_surrogate`, since `fast_sigmoid` has the
  height 1 at every width.
- The trace g and W g are torch operations here: the recurrent neurons `RLeaky` and `RSynaptic` share one `nn.Linear` over
  the batch, so they have no lanes with weights of their own.
Differences to the work item, none of which changes the numbers beyond rounding:
- The potential is u = v - v_rest, so that rest and reset are 0, and the threshold of u is THRESHOLD - v_rest: the gradient
  for v_rest is that for the threshold with the other sign.
- The leak is beta = 1 - 1/tau_m, clamped to 0..1 by the library; the input is multiplied by 1 - beta.
- A neuron fires at u > threshold, not at u >= threshold.
- `Leaky` evaluates the threshold once more per step, for its detached reset, which here never acts.
The van Rossum loss is torch.
"""

import snntorch as snn
import torch
from snntorch import surrogate
from torch import Tensor, nn

from peers.problem import THRESHOLD, WIDTH, Problem, Work
from peers.torch_parts import leaves_of, recurrent, work


def slope(x: Tensor, bar: Tensor, _spikes: Tensor) -> Tensor:
    """Return the gradient through the step, as snnTorch asks for it."""
    return bar / (WIDTH * (1.0 + x.abs() / WIDTH).square())


class Network(nn.Module):
    """Recurrent `Leaky` neurons, all parameters per neuron and lane."""

    def __init__(self, W: Tensor, v_rest: Tensor, tau_m: Tensor, tau_g: Tensor) -> None:
        super().__init__()
        self.W = nn.Parameter(W)
        self.keep_g = nn.Parameter(1.0 - 1.0 / tau_g)
        self.neurons = snn.Leaky(
            beta=1.0 - 1.0 / tau_m,
            threshold=THRESHOLD - v_rest,  # type: ignore[arg-type]
            spike_grad=surrogate.custom_surrogate(slope),
            learn_beta=True,
            learn_threshold=True,
            reset_mechanism="zero",
            reset_delay=False,
        )

    def forward(self, drive: Tensor) -> list[Tensor]:
        """Return the spikes [neuron, lane] of each step."""
        u = g = torch.zeros_like(self.keep_g)
        gain = 1.0 - self.neurons.beta
        spikes = []
        for now in drive.unbind():
            z, u = self.neurons(recurrent(self.W, g, now) * gain, u)
            g = g * self.keep_g + z
            spikes.append(z)
        return spikes


def prepare(problem: Problem) -> Work:
    """Return the evaluation: forward and backward from the library's parameters, nothing is compiled."""
    values = {name: value.detach() for name, value in leaves_of(problem).items()}
    network = Network(**values)
    neurons = network.neurons
    leaves = {
        "W": network.W,
        "v_rest": neurons.threshold,
        "tau_m": neurons.beta,
        "tau_g": network.keep_g,
    }
    factors = {
        "v_rest": torch.tensor(-1.0),
        "tau_m": values["tau_m"] ** -2,
        "tau_g": values["tau_g"] ** -2,
    }
    return work(problem, network, leaves, factors)
