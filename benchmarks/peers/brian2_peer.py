"""Peer: Brian2, forward only, as a compiled program (`cpp_standalone`) or in Python with compiled steps (`cython`).

L lanes are one group of N*L neurons with block-diagonal synapses; floats are float32. `prepare` returns a `Run`: a call
gives the losses and no gradients, and its `seconds` is the time of the last run as Brian2 itself measures it: the loop
over the steps, without compilation, without the start of the process and without reading files.

Two ways to write the synapses:
- "summed": I_s = sum of W*g_pre at every step, the same network to the last detail. Brian2 walks all synapses at every
  step then, as the dense peers do.
- "event": each spike adds W to the current of the receiving neuron, which decays there, the way Brian2 is meant to be
  used; only the synapses of neurons that fire cost anything. It is the same network only where tau_g is equal in all
  neurons of a lane; here the tau_g of the receiving neuron is used instead, so the losses differ.

The van Rossum loss is computed in numpy from the recorded spikes and is not part of `seconds`.
"""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import brian2
import numpy as np
from brian2 import ms

from peers.problem import DT, THRESHOLD, Floats, Problem, Result, losses_of

Target = Literal["cpp_standalone", "cython"]
Coupling = Literal["summed", "event"]
Recorded = tuple[np.ndarray, np.ndarray, float]  # neuron and step of each spike, seconds

FOLDER = Path(__file__).parent / "build"
NEURON = """
dv/dt = (v_rest - v + I_s + drive(t, cell))/tau_m : 1
v_rest : 1 (constant)
tau_m : second (constant)
tau_g : second (constant)
cell : integer (constant)
"""
STATES = {
    "summed": "dg/dt = -g/tau_g : 1\nI_s : 1",
    "event": "dI_s/dt = -I_s/tau_g : 1",
}
RESETS = {"summed": "v = v_rest; g += 1", "event": "v = v_rest"}
SYNAPSES: dict[str, dict[str, Any]] = {
    "summed": {"model": "w : 1 (constant)\nI_s_post = w*g_pre : 1 (summed)"},
    "event": {"model": "w : 1 (constant)", "on_pre": "I_s_post += w"},
}


@dataclass
class Run:
    """A prepared simulation.

    Attributes:
        problem: what is simulated.
        record: runs it once.
        seconds: the time of the last run.
    """

    problem: Problem
    record: Callable[[], Recorded]
    seconds: float = field(default=float("nan"), init=False)

    def __call__(self) -> Result:
        """Run once; return the losses and no gradients."""
        neuron, step, self.seconds = self.record()
        return losses_of(self._spikes(neuron, step), self.problem.target), {}

    def _spikes(self, neuron: np.ndarray, step: np.ndarray) -> Floats:
        """Return the spikes [step, neuron, lane]; in the group a lane is N neurons in sequence."""
        p = self.problem
        spikes = np.zeros((p.steps, p.lanes, p.n), np.float32)
        spikes.reshape(p.steps, -1)[step, neuron] = 1.0
        return spikes.transpose(0, 2, 1)


def prepare(
    problem: Problem, target: Target = "cpp_standalone", coupling: Coupling = "summed"
) -> Run:
    """Return the simulation, compiled; several may be prepared and run in turn."""
    brian2.prefs.core.default_float_dtype = np.float32
    brian2.defaultclock.dt = DT * ms
    if target == "cython":
        return Run(problem, _in_python(problem, coupling))
    return Run(problem, _standalone(problem, coupling))


def _in_python(problem: Problem, coupling: Coupling) -> Callable[[], Recorded]:
    """Return a run in this process; the first, of one step, compiles and is undone."""
    brian2.set_device("runtime")
    brian2.prefs.codegen.target = "cython"
    network, monitor = _network(problem, coupling)
    network.store()
    network.run(DT * ms)
    elapsed = [0.0]

    def note(taken: Any, *_: Any) -> None:
        elapsed[0] = float(taken)

    def record() -> Recorded:
        network.restore()
        network.run(problem.steps * DT * ms, report=note, report_period=1e6 * brian2.second)
        return np.asarray(monitor.i), _steps(np.asarray(monitor.t)), elapsed[0]

    return record


def _standalone(problem: Problem, coupling: Coupling) -> Callable[[], Recorded]:
    """Return a run of a program that is compiled here, in a folder of its own."""
    name = f"brian2_{problem.n}_{problem.lanes}_{problem.steps}_{coupling}"
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    brian2.set_device("cpp_standalone", build_on_run=False)
    brian2.device.reinit()
    brian2.device.activate(build_on_run=False)
    brian2.defaultclock.dt = DT * ms
    network, _ = _network(problem, coupling)
    network.run(problem.steps * DT * ms)
    brian2.device.build(directory=str(folder), compile=True, run=False, with_output=False)
    brian2.set_device("runtime")

    def record() -> Recorded:
        subprocess.run([str(folder / "main")], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        results = folder / "results"
        neuron = np.fromfile(_only(results, "_dynamic_array_monitor_i*"), np.int32)
        seconds = float((results / "last_run_info.txt").read_text().split()[0])
        times = np.fromfile(_only(results, "_dynamic_array_monitor_t*"), np.float64)
        return neuron, _steps(times), seconds

    return record


def _network(problem: Problem, coupling: Coupling) -> tuple[brian2.Network, brian2.SpikeMonitor]:
    """Return the network and the monitor of its spikes."""
    drive = brian2.TimedArray(problem.drive, dt=DT * ms, name="drive")
    group = brian2.NeuronGroup(
        problem.n * problem.lanes,
        NEURON + STATES[coupling],
        threshold=f"v >= {THRESHOLD}",
        reset=RESETS[coupling],
        method="euler",
        namespace={"drive": drive},
        name="cells",
    )
    group.v_rest = group.v = _flat(problem.v_rest)
    group.tau_m = _flat(problem.tau_m) * ms
    group.tau_g = _flat(problem.tau_g) * ms
    group.cell = np.tile(np.arange(problem.n), problem.lanes)
    synapses = brian2.Synapses(group, group, name="synapses", **SYNAPSES[coupling])
    lane, pre, post = np.indices((problem.lanes, problem.n, problem.n)).reshape(3, -1)
    synapses.connect(i=lane * problem.n + pre, j=lane * problem.n + post)
    synapses.w = problem.W.transpose(2, 1, 0).reshape(-1)
    monitor = brian2.SpikeMonitor(group, name="monitor")
    return brian2.Network(group, synapses, monitor), monitor


def _flat(values: Floats) -> Floats:
    """Return values [neuron, lane] lane after lane, the order of the group."""
    return values.T.reshape(-1)


def _steps(times: np.ndarray) -> np.ndarray:
    """Return the index of the step for times in seconds."""
    return np.rint(times * 1e3 / DT).astype(np.int64)


def _only(folder: Path, pattern: str) -> Path:
    """Return the one file that matches."""
    (found,) = folder.glob(pattern)
    return found
