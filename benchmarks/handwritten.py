"""(g) Generated C against C by hand for the same model: AdEx neurons with conductance synapses.

    python benchmarks/handwritten.py [LANES]

12 neurons, 20000 steps of 0.1 ms, van Rossum loss, gradients of the weights and of eight parameters of each neuron. The
losses and gradients of both are compared, too, over 300 steps. The other handwritten kernel is a column of lanes.py.
"""

import ctypes
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from measure import machine, medians, ratio, table

from eqsnn.backends.kernel import Run
from eqsnn.backends.threads import usable_cores
from eqsnn.compiler import compile_program, free_program, model_from_text
from eqsnn.maths.append_loss import COUNTED, DECAY, append_van_rossum
from eqsnn.simulation import setup

FOLDER = Path(__file__).parent / "peers"
N, BLOCK = 12, 16
STEPS, FEW = 20000, 300  # 2 s for the time; gradients are compared before they grow beyond measure
DECAY_PER_STEP = math.exp(-0.1 / 10)
NAMES = ("g_L", "E_L", "v_T", "delta_T", "a", "b", "tau_w", "tau_s")
CENTRES = (10.0, -70.0, -50.0, 2.0, 2.0, 30.0, 30.0, 5.0)
TEXT = """
neuron adex:
    dv/dt = (g_L*(E_L - v + delta_T*exp((v - v_T)/delta_T)) - u + s*(0*mV - v) + I)/(200*pF) : mV
    du/dt = (a*(v - E_L) - u)/tau_w : pA
    ds/dt = -s/tau_s : nS
    I : pA (input)
    threshold: v >= -40*mV
    reset:
        v = -58*mV
        u += b
    method: euler
    initial: v = E_L
    g_L : nS = 10*nS
    E_L : mV = -70*mV
    v_T : mV = -50*mV
    delta_T : mV = 2*mV
    a : nS = 2*nS
    b : pA = 30*pA
    tau_w : ms = 30*ms
    tau_s : ms = 5*ms
synapse pulse:
    w : nS = 1*nS
    on_pre: s += w
network:
    dt = 0.1*ms
    cells : adex[12]
    cells -> cells : pulse
"""


def arrays(lanes: int, steps: int) -> dict[str, np.ndarray]:
    """Return parameters, weights (post, pre), a drive and target spikes."""
    rng = np.random.default_rng(0)
    found = {
        name: (c * (1 + 0.05 * rng.uniform(-1, 1, (N, lanes)))).astype(np.float32)
        for name, c in zip(NAMES, CENTRES, strict=True)
    }
    found["W"] = rng.uniform(0, 1.5, (N, N, lanes)).astype(np.float32)
    found["I"] = (250 + 300 * np.repeat(rng.normal(size=(steps // 50, N)), 50, axis=0)).astype(
        np.float32
    )
    found["target"] = (rng.random((steps, N)) < 0.001).astype(np.float32)
    return found


def by_hand(given: dict[str, np.ndarray], lanes: int):
    """Return the evaluation of hand_adex.c, blocks of lanes in threads."""
    built = FOLDER / "build" / "hand_adex.so"
    built.parent.mkdir(exist_ok=True)
    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno"]
    flags += ["-fno-trapping-math", "-shared", "-fPIC", f"-DNN={N}", f"-DLB={BLOCK}"]
    source = str(FOLDER / "hand_adex.c")
    subprocess.run(["cc", *flags, source, "-o", str(built), "-lm"], check=True)
    block = ctypes.CDLL(str(built)).block
    block.argtypes = [*[ctypes.c_int] * 3, *[ctypes.c_void_p] * 4, ctypes.c_float]
    block.argtypes += [ctypes.c_void_p] * 3
    parameters = np.ascontiguousarray(np.stack([given[name] for name in NAMES]))
    inputs = [given["I"], given["target"].astype(np.uint8), given["W"], parameters]
    pool = ThreadPoolExecutor(usable_cores())

    def evaluate():
        made = [np.empty(lanes, np.float32), np.empty_like(given["W"]), np.empty_like(parameters)]
        addresses = [x.ctypes.data for x in inputs]
        outputs = [x.ctypes.data for x in made]

        def run(first: int) -> None:
            block(first, len(given["I"]), lanes, *addresses, DECAY_PER_STEP, *outputs)

        list(pool.map(run, range(0, lanes, BLOCK)))
        return made[0], {"W": made[1], **dict(zip(NAMES, made[2], strict=True))}

    return evaluate


def generated(given: dict[str, np.ndarray], lanes: int):
    """Return the evaluation of the generated kernel."""
    torch.set_num_threads(1)
    model = model_from_text(TEXT)
    program = append_van_rossum(free_program(model), ["cells"])
    kernel = compile_program(program, ["cells.van_rossum"], "native")
    values = {f"cells.{name}": torch.from_numpy(given[name]).requires_grad_() for name in NAMES}
    weights = np.ascontiguousarray(given["W"].transpose(1, 0, 2))
    values["cells->cells.w"] = torch.from_numpy(weights).requires_grad_()
    synapses = setup.synapses_of(model)
    settings = setup.settings_of(model) | {"surrogate_width": 0.1, DECAY: DECAY_PER_STEP}
    drives = {
        "cells.I": torch.from_numpy(given["I"]).unsqueeze(-1),
        "cells.observed": torch.from_numpy(given["target"]).unsqueeze(-1),
        COUNTED: torch.ones(len(given["I"]), 1, 1),
    }
    zero = torch.zeros(N, lanes)

    def evaluate():
        states = {state.name: zero for state in kernel.step.next_states}
        states["cells.v"] = values["cells.E_L"]
        run = Run(
            len(given["I"]),
            states,
            {**values, **settings},
            drives,
            synapses,
            total=("cells.van_rossum",),
        )
        losses = kernel.unroll(run).totals["cells.van_rossum"].sum(0) * 2 / (1 - DECAY_PER_STEP**2)
        bars = torch.autograd.grad(losses.sum(), list(values.values()))
        found = dict(zip((*NAMES, "W"), (bar.numpy() for bar in bars), strict=True))
        found["W"] = found["W"].transpose(1, 0, 2)
        return losses.detach().numpy(), found

    return evaluate


def main() -> None:
    lanes = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    few, given = (arrays(lanes, steps) for steps in (FEW, STEPS))
    (own, own_bars), (peer, peer_bars) = generated(few, lanes)(), by_hand(few, lanes)()
    same = np.isclose(own, peer, rtol=1e-3)
    apart = max(
        float(
            np.linalg.norm((own_bars[n] - peer_bars[n])[..., same])
            / np.linalg.norm(peer_bars[n][..., same])
        )
        for n in own_bars
    )
    work = {"generated": generated(given, lanes), "by hand": by_hand(given, lanes)}
    seconds = {name: t / STEPS * 1e6 for name, t in medians(work, rounds=3).items()}
    print(machine())
    print(
        f"losses agree in {same.sum()} of {lanes} lanes (spikes of the others differ by rounding);"
    )
    print(f"largest relative difference of a gradient in those: {apart:.1e}")
    rows = [
        [
            f"{lanes}",
            *(f"{t:.2f}" for t in seconds.values()),
            ratio(seconds["generated"], seconds["by hand"]),
        ]
    ]
    print(table(["lanes", "generated, us/step", "by hand, us/step", "generated/by hand"], rows))


if __name__ == "__main__":
    main()
