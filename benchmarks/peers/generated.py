"""The work item on eqsnn: the network as a text, the loss as part of the step, through any backend."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from eqsnn.backends.kernel import Kernel, Run
from eqsnn.compiler import compile_program, free_program, model_from_text
from eqsnn.maths.append_loss import COUNTED, DECAY, append_van_rossum
from eqsnn.simulation import setup
from peers.problem import KEEP_F, Floats, Problem, Result, Work

# What torch itself does around a kernel is little; its second thread would wait for work by spinning, on a core that the
# kernel needs. `eqsnn fit` does the same.
torch.set_num_threads(1)

Coupling = Literal["summed", "event"]

NEURON = """
neuron cell:
    dv/dt = (v_rest - v + I + s) / tau_m : mV
    {trace}
    I : mV (input)
    threshold: v >= -50*mV
    reset:
        v = v_rest
        {jump}
    method: euler
    initial:
        v = v_rest
    v_rest : mV ~ normal(-65*mV, 5*mV) in [-90*mV, -55*mV]
    tau_m : ms ~ lognormal(15*ms, 0.3) in [2*ms, 100*ms]
    tau_g : ms ~ lognormal(5*ms, 0.3) in [1.5*ms, 50*ms]
synapse linear:
    {synapse}
    w : mV ~ normal(0*mV, 1*mV) in [-50*mV, 50*mV]
network:
    dt = 1*ms
    cells : cell[{n}]
    cells -> cells : linear{sparse}
"""
# as in brian2_peer: `event` adds the weight at a spike and decays it in the postsynaptic neuron
PARTS = {
    "summed": {
        "trace": "dg/dt = -g / tau_g : 1\n    s : mV",
        "jump": "g += 1",
        "synapse": "s_post = w * g_pre : mV (summed)",
    },
    "event": {"trace": "ds/dt = -s / tau_g : mV", "jump": "", "synapse": "on_pre: s += w"},
}


def text_of(n: int, coupling: Coupling, probability: float = 1.0) -> str:
    """Return the model of n neurons."""
    sparse = "" if probability == 1 else f" probability {probability}"
    return NEURON.format(n=n, sparse=sparse, **PARTS[coupling])


def work_on(
    kernel: Kernel, problem: Problem, text: str, values: dict[str, Tensor], *, gradient: bool
) -> Work:
    """Return the evaluation on a kernel: forward and backward, or forward alone."""
    model = model_from_text(text)
    synapses = setup.synapses_of(model)
    settings = setup.settings_of(model) | {"surrogate_width": 0.1, DECAY: KEEP_F}
    drives = {
        "cells.I": torch.from_numpy(problem.drive).unsqueeze(-1),
        "cells.observed": torch.from_numpy(problem.target).unsqueeze(-1),
        COUNTED: torch.ones(problem.steps, 1, 1),
    }

    def evaluate() -> Result:
        zero = torch.zeros(problem.n, problem.lanes)
        start = {"cells.v": values["cells.v_rest"].expand(problem.n, problem.lanes)}
        states = {str(state): start.get(str(state), zero) for state in kernel.step.next_states}
        run = Run(
            problem.steps,
            states,
            {**values, **settings},
            drives,
            synapses,
            total=kernel_outputs(kernel),
        )
        with torch.set_grad_enabled(gradient):
            losses = kernel.unroll(run).totals["cells.van_rossum"].sum(0) * 2 / (1 - KEEP_F**2)
            bars = torch.autograd.grad(losses.sum(), list(values.values())) if gradient else ()
        names = ("v_rest", "tau_m", "tau_g", "W")
        found = {name: bar.numpy() for name, bar in zip(names, bars, strict=False)}
        if found:
            found["W"] = found["W"].transpose(1, 0, 2)
        return losses.detach().numpy(), found

    return evaluate


def kernel_outputs(kernel: Kernel) -> tuple[str, ...]:
    """Return the outputs a kernel was compiled for."""
    return tuple(kernel.step.outputs)


def prepare(
    problem: Problem,
    *,
    backend: str = "native",
    coupling: Coupling = "summed",
    probability: float = 1.0,
    gradient: bool = True,
) -> Work:
    """Return the evaluation; the library is compiled at the first call."""
    text = text_of(problem.n, coupling, probability)
    program = append_van_rossum(free_program(model_from_text(text)), ["cells"])
    kernel = compile_program(program, ["cells.van_rossum"], backend)
    return work_on(kernel, problem, text, tensors_of(problem), gradient=gradient)


def tensors_of(problem: Problem) -> dict[str, Tensor]:
    """Return the parameters as eqsnn orders them: weights are (pre, post, lane)."""

    def leaf(value: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(value)).requires_grad_()

    return {
        "cells.v_rest": leaf(problem.v_rest),
        "cells.tau_m": leaf(problem.tau_m),
        "cells.tau_g": leaf(problem.tau_g),
        "cells->cells.w": leaf(problem.W.transpose(1, 0, 2)),
    }
