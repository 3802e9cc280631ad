"""The contract of a backend: a Kernel runs a Program for many steps, differentiably.

Tensors inside a kernel are ordered (neuron, lane), synaptic ones (pre, post, lane), sequences (time, neuron, lane).
A *lane* is one independent copy of the network. A dimension that a value does not depend on has size 1; shared values
have shape (1, lane) in both populations and projections.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from eqsnn.maths.program import Program


@dataclass(frozen=True, slots=True)
class Noise:
    """Private noise, drawn as the run goes: lane l follows `stream[l]`, from its step `first[l]` on.

    stream, first: int64 (lane,). Equal seeds, streams and steps give equal numbers, whatever the backend, the lanes
    beside it and the steps before it.
    """

    seed: int
    stream: Tensor
    first: Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """Everything a kernel needs for `n_steps` steps. Keys are the names of the Program's symbols.

    states: (neuron, lane) each, synaptic ones (pre, post, lane). parameters: PARAMETER and SETTING inputs, tensors or
    floats. drives: DRIVE and OBSERVED inputs, (time, neuron or 1, lanes): of fewer lanes than the
    run, lane l reads l modulo their number; noise inputs, too, unless `noise` says how
    to draw them. synapses: for each projection the
    existing pairs, bool (pre, post, 1). pending: for each delayed arrival the last `steps` values sent, oldest first;
    absent at the start. record: outputs kept for every step. total: outputs summed over the steps, each step weighted
    by `weights` (time, 1, lanes) if given.
    sizes: neurons of each population; only those that no tensor shows are needed.
    """

    n_steps: int
    states: Mapping[str, Tensor]
    parameters: Mapping[str, Tensor | float]
    drives: Mapping[str, Tensor] = field(default_factory=dict)
    synapses: Mapping[str, Tensor] = field(default_factory=dict)
    pending: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    record: tuple[str, ...] = ()
    total: tuple[str, ...] = ()
    weights: Tensor | None = None
    noise: Noise | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> "Run":
        """Return the run with its tensors on a device, for the `pytorch` backend; gradients reach those that were moved."""

        def moved(values: Mapping) -> dict:
            return {n: v.to(device) if isinstance(v, Tensor) else v for n, v in values.items()}

        return replace(
            self,
            states=moved(self.states),
            parameters=moved(self.parameters),
            drives=moved(self.drives),
            synapses=moved(self.synapses),
            pending={n: tuple(v.to(device) for v in values) for n, values in self.pending.items()},
            weights=None if self.weights is None else self.weights.to(device),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a kernel returns: recorded (time, neuron, lane), totals (neuron, lane), and where the network stands."""

    recorded: Mapping[str, Tensor]
    totals: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    pending: Mapping[str, tuple[Tensor, ...]]


class Kernel(Protocol):
    """A compiled Program. `unroll` is differentiable in states and parameters with torch's autograd."""

    @property
    def program(self) -> Program:
        """The Program that was compiled."""
        ...

    @property
    def step(self) -> Program:
        """One step, everything constant over a run taken out of it."""
        ...

    @property
    def source(self) -> str:
        """The generated code, for people to read."""
        ...

    def unroll(self, run: Run) -> Outcome:
        """Run the Program for `run.n_steps` steps."""
        ...
