"""How the marginal likelihood of a sleep network changes when one parameter of the truth does; input unknown.

Usage: python benchmarks/landscape.py lif|izhikevich [--seconds 40] [--bins 64]. Prints, for Wake / REM / NREM, the
log-likelihood at the truth (nats) and its changes: a likelihood that can recover parameters has none above 0 by more
than noise.
"""

import argparse

import numpy as np
import torch
from sleep import POPULATIONS, WIDTH, log_likelihoods, simulated, values_at

import eqsnn
from eqsnn.inference.likelihood import ForcedObjective

CHANGES = {
    "lif": (("tau_m", 1.03), ("tau_m", 1 / 1.03), ("v_rest", 1.03), ("k", 1.1), ("k", 1 / 1.1), ("tau_g", 1.1)),
    "izhikevich": (("a", 1.1), ("b", 1.02), ("b", 0.98), ("c", 1.1), ("d", 1.2)),
}  # fmt: skip


def main() -> None:
    """Evaluate the truth and each change of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(CHANGES))
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--bins", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, _, data, known = simulated(arguments.kind, arguments.seconds, seed=0)
    warm_up = 0.1 if arguments.kind == "lif" else 0.5
    stage = eqsnn.Forced(
        widths=(WIDTH,), density="grid", bins=arguments.bins, window=1.0, warm_up=warm_up
    )

    objective = ForcedObjective(data, stage, 0, values_at(model, {}))

    def score(changes: dict[str, float]) -> np.ndarray:
        return log_likelihoods(objective, values_at(model, changes))[:, 0]

    truth = score({})
    print(
        f"truth: {truth.round(1)} nats, {100 * -truth.sum() / objective.scale:.4f} per 100 neuron-steps"
    )
    for name, factor in CHANGES[arguments.kind]:
        changed = {f"{p}.{name}": known[f"{p}.{name}"] * factor for p in POPULATIONS}
        print(f"{name} x {factor:.3f}: {(score(changed) - truth).round(1)}", flush=True)


if __name__ == "__main__":
    main()
