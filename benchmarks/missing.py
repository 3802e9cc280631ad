"""What missing data cost: a network of 12 neurons with known input, recovered from parts of its spikes.

    python benchmarks/missing.py

The errors are of the neurons that were recorded: v_rest in mV, tau_m relative, weights between them ||W - W*||/||W*||.
"""

import time

import numpy as np
from measure import table

import eqsnn
from eqsnn.inference.stages import Forced
from eqsnn.simulation.network import SpikingModel

N, TRIALS, SECONDS = 12, 4, 2.0
PIECE = 0.2  # seconds that are missing at a time
MODEL = f"""
neuron lif:
    dv/dt = (v_rest - v + I_syn + drive)/tau_m : mV
    dg/dt = -g/tau_g : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    tau_g : ms = 5*ms
    tau_m : ms ~ uniform(4*ms, 40*ms)
    v_rest : mV ~ uniform(-75*mV, -50*mV)
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 6*mV) in [-30*mV, 30*mV]
network:
    dt = 1*ms
    cells : lif[{N}]
    cells -> cells : exponential if i != j
"""


def network(mean: float) -> tuple[SpikingModel, eqsnn.Recording, dict]:
    """Return the model, its spikes and its parameters; 60 % of the weights exist, 80 % excite, `mean` mV each."""
    rng = np.random.default_rng(0)
    sign = np.where(rng.random(N) < 0.8, 1, -1)
    weights = rng.normal(mean, mean / 2, (N, N)).clip(0) * sign[:, None]
    weights *= (rng.random((N, N)) < 0.6) & ~np.eye(N, dtype=bool)
    truth = {"w": weights, "v_rest": rng.uniform(-65, -55, N), "tau_m": rng.uniform(8, 20, N)}
    drive = 55.0 * rng.poisson(0.25, (TRIALS, round(SECONDS * 1000), N))
    model = eqsnn.loads(MODEL)
    target = eqsnn.simulate(
        model, SECONDS, trials=TRIALS, inputs={"drive": drive}, parameters=truth, seed=1
    )
    return model, target, truth


def pieces(units: list[int]) -> np.ndarray:
    """Return gaps that take 30 % of the time, drawn for each of the units (-1: all of them at once)."""
    rng = np.random.default_rng(3)
    count = round(SECONDS / PIECE)
    return np.array(
        [
            [trial, k * PIECE, (k + 1) * PIECE, unit]
            for trial in range(TRIALS)
            for unit in units
            for k in rng.choice(count, round(0.3 * count), replace=False)
        ]
    )


def main() -> None:
    rows = []
    never = np.array([[-1, 0.0, SECONDS, 10], [-1, 0.0, SECONDS, 11]])
    cases = {
        "everything": np.zeros((0, 4)),
        "30 % of the time missing": pieces([-1]),
        "30 % of each neuron's time missing": pieces(list(range(N))),
        "2 of 12 neurons never recorded": never,
    }
    for mean in (2.0, 6.0):
        model, target, truth = network(mean)
        for name, gaps in cases.items():
            seen = target.hiding(gaps)
            kept = seen.recorded()
            began = time.monotonic()
            fit = eqsnn.fit(model, seen, starts=4, stages=(Forced(iterations=60),), validation=0)
            found = {n: fit.parameters[f"cells.{n}"][kept] for n in ("v_rest", "tau_m")}
            both = np.ix_(kept, kept)
            weights, exact = fit.parameters["cells->cells.w"][both], truth["w"][both]
            errors = [
                f"{np.abs(found['v_rest'] - truth['v_rest'][kept]).mean():.2f}",
                f"{np.abs(found['tau_m'] / truth['tau_m'][kept] - 1).mean():.3f}",
                f"{np.linalg.norm(weights - exact) / np.linalg.norm(exact):.3f}",
            ]
            rows.append([f"{mean:g}", name, *errors, f"{time.monotonic() - began:.0f}"])
    print(table(["weights, mV", "recorded", "v_rest", "tau_m", "weights", "seconds"], rows))


if __name__ == "__main__":
    main()
