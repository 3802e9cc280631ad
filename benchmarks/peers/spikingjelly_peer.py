"""Peer: SpikingJelly, its `ParametricLIFNode` step by step with recurrent weights.

What SpikingJelly gives and what this file adds:
- `ParametricLIFNode`, the `LIFNode` whose leak can be learnt (in `LIFNode`, tau is a float), in single steps with
  `decay_input=True` and a hard reset with the gradient through the spike. The library makes one leak `w` and one threshold
  for a layer; here both are replaced by parameters for each neuron and lane, which its functions take, by way of their
  reference implementation in torch.
- The trace g and W g are torch operations here: `LinearRecurrentContainer` shares its weights over the batch and feeds
  back the spikes themselves, and `SynapseFilter` does not let the trace decay in the step of a spike.
Differences to the work item, none of which changes the numbers beyond rounding:
- The potential is u = (v - v_rest)/WIDTH, so that rest and reset are 0 and the surrogate `SuperSpike`, alpha/(1 + |x|)^2,
  has the right width; the gradient for v_rest is that for the threshold of u, times -1/WIDTH.
- The leak is 1/tau_m = sigmoid(w).
The van Rossum loss is torch.
"""

import torch
from spikingjelly.activation_based import functional, neuron, surrogate
from torch import Tensor, nn

from peers.problem import THRESHOLD, WIDTH, Problem, Work
from peers.torch_parts import leaves_of, recurrent, work


class Network(nn.Module):
    """Recurrent `ParametricLIFNode` neurons, all parameters per neuron and lane."""

    def __init__(self, W: Tensor, v_rest: Tensor, tau_m: Tensor, tau_g: Tensor) -> None:
        super().__init__()
        self.W = nn.Parameter(W / WIDTH)
        self.keep_g = nn.Parameter(1.0 - 1.0 / tau_g)
        self.neurons = neuron.ParametricLIFNode(
            surrogate_function=surrogate.SuperSpike(alpha=1.0), step_mode="s"
        )
        self.neurons.w = nn.Parameter(-torch.log(tau_m - 1.0))
        self.neurons.v_threshold = nn.Parameter((THRESHOLD - v_rest) / WIDTH)  # type: ignore[assignment]

    def forward(self, drive: Tensor) -> list[Tensor]:
        """Return the spikes [neuron, lane] of each step."""
        functional.reset_net(self.neurons)
        g = torch.zeros_like(self.keep_g)
        spikes = []
        for now in (drive / WIDTH).unbind():
            z = self.neurons(recurrent(self.W, g, now))
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
        "v_rest": neurons.v_threshold,
        "tau_m": neurons.w,
        "tau_g": network.keep_g,
    }
    factors = {
        "W": torch.tensor(1.0 / WIDTH),
        "v_rest": torch.tensor(-1.0 / WIDTH),
        "tau_m": -1.0 / (values["tau_m"] - 1.0),
        "tau_g": values["tau_g"] ** -2,
    }
    return work(problem, network, leaves, factors)
