"""Recover a spiking sleep model from its own spikes, same input, near start; print errors, rates, coincidences.

Usage: python examples/sleep_recovery.py lif|izhikevich [--seed 0] [--starts 2] [--iterations 60] [--polish 20]. The
start scatters every parameter by 5 % (LIF) or 3 % and b by 0.5 % (Izhikevich), weights by 0.02. P and the threshold
are fixed, so that v_rest is scored through q = P/(30 mV - v_rest), the one combination that spikes can tell.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import eqsnn
from eqsnn.analysis.distances import f1_score
from eqsnn.analysis.statistics import interval_cv

MODELS = Path(__file__).parents[1] / "models"
LEARNED = {
    "lif": ("tau_m", "tau_g", "v_rest", "k", "w"),
    "izhikevich": ("a", "b", "c", "d", "tau_g", "w"),
}


def near(
    truth: dict[str, np.ndarray], kind: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return a start close to the truth."""
    found = {}
    for name, value in truth.items():
        local = name.rsplit(".", 1)[1]
        if local == "w":
            found[name] = value + 0.02 * rng.standard_normal(value.shape)
        else:
            share = 0.005 if local == "b" else 0.05 if kind == "lif" else 0.03
            found[name] = value * (1 + share * rng.uniform(-1, 1, value.shape))
    return found


def errors(values: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return relative errors by quantity over the populations; of weights the absolute ones, of v_rest those of q."""
    grouped: dict[str, list[float]] = {}
    for name, true in truth.items():
        local = name.rsplit(".", 1)[1]
        found, true = float(values[name].ravel()[0]), float(true.ravel()[0])
        if local == "v_rest":
            grouped.setdefault("q", []).append(abs((30 - true) / (30 - found) - 1))
        elif local == "w":
            grouped.setdefault("w (abs)", []).append(abs(found - true))
        else:
            grouped.setdefault(local, []).append(abs(found / true - 1))
    return {name: np.array(values) for name, values in grouped.items()}


def main() -> None:
    """Simulate, fit from near, score on 8 trials that were not seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(LEARNED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--polish", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = eqsnn.load(MODELS / f"sleep_{arguments.kind}.eqs").learning(LEARNED[arguments.kind])
    plain = eqsnn.load(MODELS / f"sleep_{arguments.kind}.eqs")
    target = eqsnn.simulate(plain, 4.0, trials=10, record=["x"], seed=arguments.seed)
    test = eqsnn.simulate(plain, 4.0, trials=8, record=["x"], seed=arguments.seed + 1000)
    learned = [name for name, p in model.parameters().items() if p.learned]
    truth = {name: target.parameters[name] for name in learned}
    rng = np.random.default_rng(arguments.seed)
    starts = [near(truth, arguments.kind, rng) for _ in range(arguments.starts)]
    forced = eqsnn.Forced(
        widths=(0.08, 0.025, 0.008, 0.0025, 0.0008),
        iterations=arguments.iterations,
        learning_rate=0.03,
        window=0.1 if arguments.kind == "lif" else 0.25,
        warm_up=0.04 if arguments.kind == "lif" else 0.1,
    )
    stages: tuple = (forced,)
    if arguments.polish:
        stages = (forced, eqsnn.Free(iterations=arguments.polish, tau=0.012))
    start = {name: np.stack([s[name] for s in starts]) for name in truth}
    fit = eqsnn.fit(
        model,
        replace(target, parameters={}),
        starts=arguments.starts,
        start=start,
        stages=stages,
        tau=0.012,
    )
    fitted = {name: fit.parameters[name] for name in truth}
    own = eqsnn.simulate(plain, 4.0, trials=8, inputs=test, parameters=fitted)
    scores = eqsnn.compare(test, own, tau=0.012)
    before, after = errors(starts[0], truth), errors(fitted, truth)
    print(f"sleep {arguments.kind}, seed {arguments.seed}, {fit.seconds:.0f} s, {fit.status.value}")
    for name, error in after.items():
        print(
            f"  {name:<8} median error {np.median(before[name]):.4f} -> {np.median(error):.4f}, largest {error.max():.4f}"
        )
    pairs = [(test.train(u, k), own.train(u, k)) for u in range(12) for k in range(8)]
    print(
        f"  F1 {np.nanmean([f1_score(a, b) for a, b in pairs]):.3f}, van Rossum score (12 ms) {scores.van_rossum_score:.3f}"
    )
    print(
        f"  mean relative rate error {np.mean(np.abs(scores.rates[1] / scores.rates[0] - 1)):.3f}"
    )
    print(
        f"  rates {scores.rates[0].reshape(3, 4).mean(1).round(1)} -> {scores.rates[1].reshape(3, 4).mean(1).round(1)} Hz"
    )
    print(
        f"  CV {interval_cv(test).reshape(3, 4).mean(1).round(2)} -> {interval_cv(own).reshape(3, 4).mean(1).round(2)}"
    )


if __name__ == "__main__":
    main()
