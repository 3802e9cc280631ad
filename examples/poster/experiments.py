"""Run one experiment of the poster: simulate the target, fit, score; what was done before is not done again.

Usage: python examples/poster/experiments.py A|B|C|D lif|izhikevich[_intended] [--seed 0] [--out runs/poster]. Results lie in
OUT/A_lif_0: the fit's folder, target.npz and scores.json. C takes --seconds of spikes; all print their scores.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import protocol
import scores as score
import torch
from protocol import DAYS, KINDS, ROOT, TRIAL_S, TRIALS, Values
from rich.console import Console
from rich.progress import Progress

import eqsnn

RUNS = ROOT / "runs" / "poster"
EXPERIMENTS = ("A", "B", "C", "D")
SECONDS = 300.0  # of spikes in C
LONGEST_S = 1200.0  # of a fit, which then keeps what it has reached
TEST_SEED = 1000


def target_of(experiment: str, kind: str, seed: int, seconds: float) -> eqsnn.Recording:
    """Return the spikes to fit, with the network's input where the experiment gives it."""
    plain = protocol.network(kind)
    if experiment == "C":
        return eqsnn.simulate(plain, seconds, burn_in=protocol.BURN_IN_S, seed=seed)
    if experiment == "D":
        expected, _ = protocol.days(DAYS, seed)
        x = protocol.poisson(expected, 1, seed)
        return eqsnn.simulate(plain, len(expected) / 1000, inputs={"x": x}, seed=seed)
    return eqsnn.simulate(
        plain, TRIAL_S, trials=TRIALS, burn_in=protocol.BURN_IN_S, record=["x"], seed=seed
    )


def starts_of(experiment: str, kind: str, truth: Values, seed: int) -> list[Values]:
    """Return the starts of an experiment."""
    rng = np.random.default_rng(seed)
    if experiment in "AC" or (experiment == "D" and protocol.family(kind) == "izhikevich"):
        twice = experiment == "C" and protocol.family(kind) == "lif"
        return [protocol.near(truth, kind, rng) for _ in range(2 if twice else 1)]
    return protocol.far(truth, kind, rng)


def run(experiment: str, kind: str, seed: int, seconds: float = SECONDS, out: Path = RUNS) -> Path:
    """Return the folder of an experiment, which is fitted and scored if this was not done before."""
    folder = out / f"{experiment}_{kind}_{seed}"
    stages = protocol.stages(experiment, kind)
    model_text = (ROOT / "models" / f"sleep_{kind}.eqs").read_bytes()
    settings = {
        "experiment": experiment,
        "kind": kind,
        "seed": seed,
        "stages": repr(stages),
        "seconds": seconds if experiment == "C" else None,
        "model": hashlib.sha256(model_text).hexdigest(),
    }
    key = folder / "settings.json"
    if not (key.exists() and json.loads(key.read_text()) == settings):
        fit_and_save(experiment, kind, seed, seconds, stages, folder)
        key.write_text(json.dumps(settings, indent=1))
        (folder / "scores.json").unlink(missing_ok=True)
    if not (folder / "scores.json").exists():
        found = scored(experiment, kind, eqsnn.read_fit(folder), seed)
        (folder / "scores.json").write_text(json.dumps(found, indent=1, default=float))
    return folder


def fit_from(
    kind: str, target: eqsnn.Recording, starts: list[Values], stages, seed: int, **options
) -> eqsnn.Fit:
    """Return the fit of a network whose parameters are unknown, from these starts; options: as in `eqsnn.fit`."""
    given = {name: np.stack([s[name] for s in starts]) for name in protocol.truth_of(kind)}
    return eqsnn.fit(
        protocol.learning(kind),
        target,
        starts=len(starts),
        start=given,
        stages=stages,
        tau=score.TAU_S,
        seed=seed,
        **options,
    )


def fit_and_save(
    experiment: str, kind: str, seed: int, seconds: float, stages, folder: Path
) -> None:
    """Fit an experiment; its folder holds the fit and the targets."""
    target = target_of(experiment, kind, seed, seconds)
    starts = starts_of(experiment, kind, protocol.truth_of(kind), seed)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(f"{experiment} {kind} {seed}", total=None)
        fit = fit_from(
            kind,
            target,
            starts,
            stages,
            seed,
            validation=0.1 if experiment == "C" else 0.2,
            max_time=LONGEST_S,
            command=f"python examples/poster/experiments.py {experiment} {kind} --seed {seed}",
            report=lambda stage, done, total, best: bar.update(task, completed=done, total=total),
        )
    fit.save(folder)
    with_inputs(target).save(folder / "target.npz")


def with_inputs(target: eqsnn.Recording) -> eqsnn.Recording:
    """Return a target whose recorded noise is an input instead of a trace, as the fit reads it."""
    recorded = {"x": _side_by_side(target, "wake.x")} if "wake.x" in target.traces else {}
    return replace(target, traces={}, inputs=target.inputs or recorded)


def _side_by_side(target: eqsnn.Recording, name: str) -> np.ndarray:
    local = name.rsplit(".", 1)[1]
    return np.concatenate([target.traces[f"{p}.{local}"] for p in protocol.POPULATIONS], axis=-1)


def scored(experiment: str, kind: str, fit: eqsnn.Fit, seed: int) -> dict:
    """Return all scores of an experiment, those of its start, and those of a second run of the target."""
    truth = protocol.truth_of(kind)
    fitted = {name: np.asarray(fit.parameters[name]) for name in truth}
    start = starts_of(experiment, kind, truth, seed)[0]
    test = TEST_SEED + seed
    found: dict = {"seconds": fit.seconds, "status": fit.status.value}
    for title, values in (("start", start), ("fitted", fitted)):
        found[title] = {
            "errors": score.parameter_errors(values, truth),
            "statistics": score.statistics(kind, values, test + 1),
        }
        if experiment in "AB":
            found[title] |= score.same_input(kind, values, test)
    found["target"] = score.statistics(kind, None, test + 2)
    match = score.ensembles(kind, fitted, test)
    found["nmf"] = {n: getattr(match, n) for n in ("cosine", "ceiling", "floor", "score")}
    found |= score.psth(kind, fitted, test)
    if experiment == "C":
        found["distance"] = {
            title: score.debiased_distance(kind, values, test)
            for title, values in (("start", start), ("fitted", fitted), ("ceiling", None))
        }
        inside = [
            np.abs(fitted[n] - truth[n]) < 1.645 * e for n in truth if (e := fit.std[n]) is not None
        ]
        found["within_90"] = float(np.mean(np.concatenate(inside))) if inside else None
    if experiment == "D":
        found["states"] = score.sleep_states(kind, fitted, test)
    return found


def main() -> None:
    """Run an experiment and print its scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of spikes, in C")
    parser.add_argument("--out", type=Path, default=RUNS)
    a = parser.parse_args()
    torch.set_num_threads(1)
    folder = run(a.experiment, a.kind, a.seed, a.seconds, a.out)
    print((folder / "scores.json").read_text())
    print(f"results: {folder}")


if __name__ == "__main__":
    main()
