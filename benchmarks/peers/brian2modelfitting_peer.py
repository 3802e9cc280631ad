"""Peer: brian2modelfitting, one fit; runs in its own environment, see brian2modelfitting.sh.

    python brian2modelfitting_peer.py DATA.npz OUT.npz METHOD N_SAMPLES DELTA_MS BUDGET_S CODEGEN FOLDER

DATA holds `current` (trial, time) in mV, `steps` and `trials` of the spikes, and dt in ms; OUT gets the time in seconds
at which each round ended since the fitter was made, and the best parameters then (tau_m in ms, v_rest in mV, gain).
"""

import sys
import time
import warnings

import numpy as np

# Nevergrad 0.3 uses names that NumPy dropped in 1.24; an alias each is what they were
np.float, np.int, np.bool = float, int, bool
warnings.simplefilter("ignore")

import brian2  # noqa: E402
from brian2 import ms, mV, second  # noqa: E402
from brian2modelfitting import GammaFactor, NevergradOptimizer, SpikeFitter  # noqa: E402

MODEL = """
dv/dt = (v_rest - v + gain*drive)/tau_m : volt
tau_m : second (constant)
v_rest : volt (constant)
gain : 1 (constant)
"""
NAMES = {"tau_m": 1e3, "v_rest": 1e3, "gain": 1.0}  # each with its factor to the units of OUT


def main() -> None:
    data_path, out, method, samples, delta, budget, codegen, folder = sys.argv[1:]
    brian2.BrianLogger.suppress_hierarchy("brian2")
    if codegen == "standalone":
        brian2.set_device("cpp_standalone", directory=folder)
    else:
        brian2.prefs.codegen.target = codegen
    data = np.load(data_path)
    current, dt, seed = data["current"], float(data["dt"]), int(data["seed"])
    np.random.seed(seed)
    spikes = [data["steps"][data["trials"] == n] * dt * ms for n in range(len(current))]
    stamps: list[float] = []
    found: list[list[float]] = []
    begin = time.perf_counter()

    def note(_parameters, _errors, best, _error, _index) -> bool:
        stamps.append(time.perf_counter() - begin)
        found.append([float(best[name]) * factor for name, factor in NAMES.items()])
        # the first round includes compilation
        return stamps[-1] - stamps[0] > float(budget)

    fitter = SpikeFitter(
        model=MODEL,
        input=current * mV,
        input_var="drive",
        output=spikes,
        dt=dt * ms,
        threshold="v >= -45*mV",
        reset="v = -60*mV",
        n_samples=int(samples),
        method="euler",
        param_init={"v": "-60*mV"},
    )
    fitter.fit(
        optimizer=NevergradOptimizer(method),
        metric=GammaFactor(delta=float(delta) * ms, time=current.shape[1] * dt * 1e-3 * second),
        n_rounds=10**6,
        callback=note,
        tau_m=[4 * ms, 40 * ms],
        v_rest=[-75 * mV, -50 * mV],
        gain=[0.5, 2.0],
    )
    seconds = np.array(stamps)
    extra = seconds[0] - np.median(np.diff(seconds[:20]))  # the first round includes compilation
    np.savez(out, seconds=seconds, found=np.array(found), compilation=extra)


if __name__ == "__main__":
    main()
