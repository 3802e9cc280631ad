"""Experiments A, B and C of the sleep networks: parameters from spikes, near and far, input known and unknown.

Usage: python examples/sleep_experiments.py A|B|C lif|izhikevich [--seeds 0,1] [--start near|far] [--seconds 60]. A: the
network's own input is given, start within 5 % (Izhikevich: 3 %, b 0.5 %); B: the same, start of the poster's authors and
seven draws around the truth by a factor exp(N(0, 0.5)); C: input unknown, only its law (Poisson, 500 Hz) is. Prints
errors before and after, spikes in common with unseen trials (A, B) or statistics of independent runs (C), and the
controls.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from sleep_recovery import LEARNED, MODELS, errors, near

import eqsnn
from eqsnn.analysis.statistics import interval_cv

POSTER = {
    "lif": {"tau_m": 2.0, "tau_g": 2.0, "v_rest": 30 - 70 / 1.11, "k": 2.0, "w": (-0.2, 0.4)},
    "izhikevich": {"a": 0.1, "b": 0.25, "c": -62.5, "d": 6.0, "tau_g": 4.5, "w": (-0.1, 0.3)},
}
FAR_STARTS = 8
KNOWN_SECONDS, TRIALS, TEST_TRIALS = 4.0, 10, 8


def poster_start(kind: str, truth: dict, rng: np.random.Generator) -> dict:
    """Return the start of the poster's authors, P being 70 mV here."""
    names = {name: name.rsplit(".", 1)[1] for name in truth}
    start = {n: np.full(truth[n].shape, POSTER[kind][local]) for n, local in names.items() if local != "w"}  # fmt: skip
    low, high = POSTER[kind]["w"]
    return {n: start.get(n, rng.uniform(low, high, truth[n].shape)) for n in truth}


def scattered(truth: dict, model: eqsnn.Model, rng: np.random.Generator) -> dict:
    """Return the truth times exp(N(0, 0.5)), inside its bounds; weights 0.2 off."""
    parameters, found = model.parameters(), {}
    for name, value in truth.items():
        if name.endswith(".w"):
            found[name] = value + 0.2 * rng.standard_normal(value.shape)
            continue
        p = parameters[name]
        low, high = p.low / p.unit.scale, p.high / p.unit.scale
        draws = value * np.exp(0.5 * rng.standard_normal((1000, *value.shape)))
        inside = draws[(draws > low).all(1) & (draws < high).all(1)]
        found[name] = inside[0]
    return found


def starts_of(experiment: str, kind: str, start: str, truth: dict, model: eqsnn.Model, seed: int) -> list[dict]:  # fmt: skip
    """Return the starts of an experiment."""
    rng = np.random.default_rng(seed)
    if start == "near":
        return [near(truth, kind, rng) for _ in range(1 if experiment == "A" else 2)]
    rest = [scattered(truth, model, rng) for _ in range(FAR_STARTS - 1)]
    return [poster_start(kind, truth, rng), *rest]


def known_stages(kind: str) -> tuple[eqsnn.Forced, ...]:
    """Return the stages where the input is known."""
    if kind == "lif":
        widths = (0.08, 0.025, 0.008, 0.0025, 0.0008)
        return (eqsnn.Forced(widths=widths, iterations=120, learning_rate=0.03, window=0.1, warm_up=0.04, keep=1),)  # fmt: skip
    noise = eqsnn.Forced(
        density="grid", diffusion=True, optimiser="scoring", window=0.5, warm_up=0.2, bins=48,
        threshold_width=0.001, widths=(0.005, 0.003, 0.002), iterations=12, keep=1,
    )  # fmt: skip
    return (noise,)


def show_errors(before: dict, after: dict, truth: dict) -> None:
    """Print errors of the first start and of the fit, by quantity."""
    start, end = errors(before, truth), errors(after, truth)
    for name, error in end.items():
        print(
            f"  {name:<8} median error {np.median(start[name]):.4f} -> {np.median(error):.4f}, largest {error.max():.4f}"
        )


def by_population(values: np.ndarray) -> str:
    """Return the mean over the four neurons of each population."""
    return " ".join(f"{value:.2f}" for value in np.nanmean(values.reshape(3, 4), axis=1))


def run(
    experiment: str, kind: str, start: str, seconds: float, seed: int, count: int | None
) -> None:
    """Simulate, fit, score."""
    model = eqsnn.load(MODELS / f"sleep_{kind}.eqs").learning(LEARNED[kind])
    plain = eqsnn.load(MODELS / f"sleep_{kind}.eqs")
    known = experiment != "C"
    duration, trials = (KNOWN_SECONDS, TRIALS) if known else (seconds, 1)
    target = eqsnn.simulate(plain, duration, trials=trials, burn_in=1.0, record=["x"] if known else [], seed=seed)  # fmt: skip
    learned = [name for name, p in model.parameters().items() if p.learned]
    truth = {name: target.parameters[name] for name in learned}
    starts = starts_of(experiment, kind, start, truth, model, seed)[:count]
    given = {name: np.stack([s[name] for s in starts]) for name in truth}
    stages = known_stages(kind) if known else None
    fit = eqsnn.fit(
        model, replace(target, parameters={}), starts=len(starts), start=given, stages=stages, tau=0.012,
        validation=0.2 if known else 0.1, seed=seed,
    )  # fmt: skip
    fitted = {name: fit.parameters[name] for name in truth}
    print(
        f"{experiment} {kind}, seed {seed}, {start} start, {fit.seconds:.0f} s, {fit.status.value}"
    )
    for report in fit.stages:
        print(f"  {report}")
    show_errors(starts[0], fitted, truth)
    if known:
        test = eqsnn.simulate(plain, KNOWN_SECONDS, trials=TEST_TRIALS, burn_in=1.0, record=["x"], seed=seed + 1000)  # fmt: skip
        for title, values in (("start", starts[0]), ("fitted", fitted)):
            own = eqsnn.simulate(plain, KNOWN_SECONDS, trials=TEST_TRIALS, inputs=test, parameters=values)  # fmt: skip
            scores = eqsnn.compare(test, own, tau=0.012)
            print(
                f"  {title}: F1 {np.nanmean(scores.f1):.3f}, van Rossum score {scores.van_rossum_score:.3f}, rates "
                f"{by_population(own.rates())} Hz (target {by_population(test.rates())})"
            )
        return
    test = eqsnn.simulate(plain, 120.0, burn_in=1.0, seed=seed + 1000)
    for title, values in (("start", starts[0]), ("fitted", fitted)):
        own = eqsnn.simulate(plain, 120.0, burn_in=1.0, seed=seed + 2000, parameters=values)
        print(
            f"  {title}: rates {by_population(own.rates())} Hz (target {by_population(test.rates())}), CV "
            f"{by_population(interval_cv(own))} (target {by_population(interval_cv(test))})"
        )
    within = [np.abs(fitted[n] - truth[n]) / fit.std[n] for n in truth]
    print(f"  within 1.645 stated standard errors: {np.mean(np.concatenate(within) < 1.645):.0%}")


def main() -> None:
    """Run an experiment for each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=("A", "B", "C"))
    parser.add_argument("kind", choices=list(LEARNED))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--start", choices=("near", "far"))
    parser.add_argument("--seconds", type=float, default=60.0, help="of spikes, in experiment C")
    parser.add_argument("--starts", type=int, help="restarts, the first ones of the experiment's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = arguments.start or ("far" if arguments.experiment == "B" else "near")
    for seed in arguments.seeds.split(","):
        run(
            arguments.experiment,
            arguments.kind,
            start,
            arguments.seconds,
            int(seed),
            arguments.starts,
        )


if __name__ == "__main__":
    main()
