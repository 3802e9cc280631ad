"""Forward and backward through 12 recurrent LIF neurons: symbolic adjoint, autograd of the same source, a loop by hand.

    python benchmarks/step_gradient.py [--steps 1000] [--lanes 1 64]

Of the torch backend, the reference. The peer is the usual eager torch loop with a custom surrogate, as it is written in
snnTorch or Norse. Prints microseconds a step (median of 3) and ratios.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from eqsnn.backends.kernel import Run
from eqsnn.backends.pytorch import TorchKernel, compile_torch
from eqsnn.backends.torch_functions import spike_function
from eqsnn.compiler import free_program, model_from_text
from eqsnn.losses.van_rossum import van_rossum
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup

TEXT = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + drive)/tau_m : mV
    dg/dt = -g/tau_g : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset:
        v = v_rest
        g += 1
    method: euler
    initial: v = v_rest
    v_rest : mV = -60*mV
    tau_m : ms = 12*ms
    tau_g : ms = 5*ms
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV = 1*mV
network:
    dt = 1*ms
    cells : lif[12]
    cells -> cells : exponential
"""
N = 12


def values(lanes: int) -> dict[str, Tensor]:
    """Return learnable parameters, one set a lane."""
    generator = torch.Generator().manual_seed(0)
    found = {
        "cells.v_rest": torch.full((N, lanes), -60.0),
        "cells.tau_m": torch.full((N, lanes), 12.0),
        "cells.tau_g": torch.full((N, lanes), 5.0),
        "cells->cells.w": torch.randn(N, N, lanes, generator=generator),
    }
    return {name: value.requires_grad_() for name, value in found.items()}


def generated(kernel: TorchKernel, drive: Tensor, target: Tensor, lanes: int) -> Callable[[], None]:
    """Return one evaluation of the loss and its gradient through a compiled Program."""
    model = model_from_text(TEXT)
    synapses = setup.synapses_of(model)

    def evaluate() -> None:
        given = values(lanes) | setup.settings_of(model) | {"surrogate_width": 0.1}
        states = setup.initial_states(model, kernel.step, given, synapses, lanes)
        run = Run(
            len(drive), states, given, {"cells.drive": drive}, synapses, record=("cells.spike",)
        )
        spikes = kernel.unroll(run).recorded["cells.spike"]
        van_rossum(spikes, target, tau=0.01, dt=1e-3).sum().backward()

    return evaluate


def by_hand(drive: Tensor, target: Tensor, lanes: int) -> Callable[[], None]:
    """Return the same evaluation as an eager loop."""
    spike = spike_function(False, lambda x: 1 / (1 + x.abs()) ** 2)

    def evaluate() -> None:
        v_rest, tau_m, tau_g, w = values(lanes).values()
        v, g, spikes = v_rest, torch.zeros(N, lanes), []
        for now in drive:
            current = (w * g.unsqueeze(1)).sum(0) + now
            v = v + (v_rest - v + current) / tau_m
            fired = spike(v + 45.0, 1.5)
            v = v + fired * (v_rest - v)
            g = g - g / tau_g + fired
            spikes.append(fired)
        van_rossum(torch.stack(spikes), target, tau=0.01, dt=1e-3).sum().backward()

    return evaluate


def microseconds(evaluate: Callable[[], None], steps: int) -> float:
    """Return the median time of three evaluations, per step."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        evaluate()
        times.append((time.perf_counter() - begin) / steps * 1e6)
    return statistics.median(times)


def main() -> None:
    """Time all three in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 64])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}, torch {torch.__version__}"
    )
    program = select(free_program(model_from_text(TEXT)), ["cells.spike"])
    from_program = {
        "symbolic adjoint": compile_torch(program),
        "autograd of the generated step": compile_torch(program, by_autograd=True),
    }
    generator = torch.Generator().manual_seed(1)
    drive = 55.0 * (torch.rand(arguments.steps, N, 1, generator=generator) < 0.25).float()
    target = (torch.rand(arguments.steps, N, 1, generator=generator) < 0.03).float()
    for lanes in arguments.lanes:
        rows = {
            name: microseconds(generated(kernel, drive, target, lanes), arguments.steps)
            for name, kernel in from_program.items()
        }
        rows["eager torch loop by hand"] = microseconds(
            by_hand(drive, target, lanes), arguments.steps
        )
        best = rows["symbolic adjoint"]
        print(f"{lanes} lanes")
        for name, value in rows.items():
            print(f"  {name:<32}{value:>9.0f} us/step  {value / best:>6.2f} x")


if __name__ == "__main__":
    main()
