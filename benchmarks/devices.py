"""A GPU beside the cores: forward and backward through a recurrent LIF network by its size and number of lanes.

    python benchmarks/devices.py [--steps 200] [--neurons 100 1000] [--lanes 1 64]

The torch backend runs wherever the tensors of its run lie, the native backend on the cores. Prints microseconds a step
and ratios; without a GPU only the cores are timed.
"""

import argparse
from collections.abc import Callable

import measure
import torch
from step_gradient import TEXT

from eqsnn.backends.kernel import Kernel, Run
from eqsnn.compiler import compile_program, free_program, model_from_text
from eqsnn.language.model import Model
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup


def network(neurons: int) -> Model:
    """Return the network of step_gradient.py with so many neurons."""
    return model_from_text(TEXT.replace("lif[12]", f"lif[{neurons}]"))


def evaluation(
    kernel: Kernel, model: Model, lanes: int, steps: int, device: str
) -> Callable[[], None]:
    """Return one run and the gradient of its total number of spikes by every parameter, float32."""
    (neurons,) = setup.sizes_of(model, "cells")
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(neurons, neurons, 1, generator=generator) / neurons**0.5
    own = {"v_rest": -60.0, "tau_m": 12.0, "tau_g": 5.0}
    values = {f"cells.{n}": torch.full((neurons, lanes), v) for n, v in own.items()}
    values = {n: v.to(device).requires_grad_() for n, v in values.items()}
    values["cells->cells.w"] = weights.to(device).requires_grad_()
    drive = 55.0 * (torch.rand(steps, neurons, 1, generator=generator) < 0.25).float()
    given = values | setup.settings_of(model) | {"surrogate_width": 0.1}
    synapses = {name: exists.to(device) for name, exists in setup.synapses_of(model).items()}

    def evaluate() -> None:
        states = setup.initial_states(model, kernel.step, given, synapses, lanes)
        run = Run(
            steps, states, given, {"cells.drive": drive}, synapses, total=("cells.spike",)
        ).to(device)
        total = kernel.unroll(run).totals["cells.spike"].sum()
        torch.autograd.grad(total, list(values.values()))
        if device == "cuda":
            torch.cuda.synchronize()

    return evaluate


def main() -> None:
    """Print a row for each size and number of lanes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--neurons", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 64])
    arguments = parser.parse_args()
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(measure.machine())
    if "cuda" in devices:
        print(f"GPU: {torch.cuda.get_device_name()}, torch {torch.__version__}")
    rows = []
    for neurons in arguments.neurons:
        model = network(neurons)
        program = select(free_program(model), ["cells.spike"])
        torch_kernel = compile_program(program, ["cells.spike"], "pytorch")
        native = compile_program(program, ["cells.spike"], "native")
        for lanes in arguments.lanes:
            work = {
                f"pytorch, {device}": evaluation(
                    torch_kernel, model, lanes, arguments.steps, device
                )
                for device in devices
            }
            work["native"] = evaluation(native, model, lanes, arguments.steps, "cpu")
            found = measure.medians(work, rounds=1)
            own = found["native"]
            cells = [
                f"{seconds / arguments.steps * 1e6:.3g} ({measure.ratio(seconds, own)})"
                for seconds in found.values()
            ]
            rows.append([str(neurons), str(lanes), *cells])
    head = ["neurons", "lanes", *(f"pytorch, {d}" for d in devices), "native"]
    print(measure.table(head, rows))


if __name__ == "__main__":
    main()
