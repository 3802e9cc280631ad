"""Time until a fit knows its parameters: eqsnn against brian2modelfitting, on one neuron with a known current.

    sh benchmarks/peers/brian2modelfitting.sh && python benchmarks/peer_fit.py [--seeds 5] [--budget 5]

A leaky integrate-and-fire neuron with unknown time constant, resting potential and gain of its input, known threshold
and reset; its spikes in four trials of one second, each with another known current, at steps of 0.1 ms; another truth
and other currents for each seed. Priors and bounds, data, steps, integrator and precision are the same for all, and
each may use one core. The error of a fit at a moment is that of the parameters it holds for its best then: the mean of
|tau_m/truth - 1|, |gain/truth - 1| and |v_rest - truth| over the truth's distance to threshold.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import machine, ratio, table

import eqsnn

FOLDER = Path(__file__).parent
THRESHOLD = -45.0
MODEL = """
neuron lif:
    dv/dt = (v_rest - v + gain*drive)/tau_m : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset: v = -60*mV
    initial: v = -60*mV
    method: euler
    tau_m : ms ~ uniform(4*ms, 40*ms)
    v_rest : mV ~ uniform(-75*mV, -50*mV)
    gain : 1 ~ uniform(0.5, 2)
network:
    dt = 0.1*ms
    cell : lif[1]
"""
NAMES = ("cell.tau_m", "cell.v_rest", "cell.gain")
TOLERANCES = (0.05, 0.02, 0.01)


@dataclass(frozen=True)
class Problem:
    """One seed's data and truth, (tau_m in ms, v_rest in mV, gain)."""

    seed: int
    truth: np.ndarray
    target: eqsnn.Recording

    def error(self, found: np.ndarray) -> np.ndarray:
        """Return the errors of rows of parameters."""
        scale = np.array([self.truth[0], THRESHOLD - self.truth[1], self.truth[2]])
        return np.mean(np.abs(found - self.truth) / scale, axis=-1)


@dataclass(frozen=True)
class Curve:
    """Error of the best so far, by the seconds since the fit began; `compilation`: how many of these it took."""

    seconds: np.ndarray
    error: np.ndarray
    compilation: float

    def at(self, moment: float) -> float:
        """Return the error at a moment after compilation."""
        n = np.searchsorted(self.seconds - self.compilation, moment, side="right")
        return float("inf") if n == 0 else float(self.error[n - 1])


def problem(seed: int) -> Problem:
    """Draw a truth and currents; simulate its spikes."""
    rng = np.random.default_rng(seed)
    while True:
        truth = np.array([rng.uniform(8, 25), rng.uniform(-68, -55), rng.uniform(0.7, 1.5)])
        # steps of 10 ms, so that the time constant shows
        drive = np.repeat(rng.normal(18, 12, (4, 100)), 100, axis=1)
        target = eqsnn.simulate(
            eqsnn.loads(MODEL),
            1.0,
            trials=4,
            inputs={"drive": drive[..., None]},
            parameters=dict(zip(NAMES, truth, strict=True)),
        )
        if 10 < target.rates().mean() < 80:
            return Problem(seed, truth, target)


WHOLE = eqsnn.Free(warm_up=0.0)  # the initial state is known, so every spike counts
STAGES: dict[str, tuple[tuple[eqsnn.Forced | eqsnn.Free | eqsnn.GradientFree, ...], int]] = {
    "eqsnn, CMA-ES, 1 start": ((eqsnn.GradientFree("cmaes", WHOLE, 10**6),), 1),
    "eqsnn, CMA-ES, 4 starts": ((eqsnn.GradientFree("cmaes", WHOLE, 10**6),), 4),
    "eqsnn, forced (gradients)": ((eqsnn.Forced(),), 16),
    "eqsnn, forced, then CMA-ES": (
        (eqsnn.Forced(), eqsnn.GradientFree("cmaes", WHOLE, 10**6, step=0.1)),
        16,
    ),
}
# optimiser of Nevergrad, samples per round, window of the gamma factor in ms
PEERS = (("DE", 100, 0.5), ("CMA", 30, 0.5), ("CMA", 100, 0.5), ("CMA", 100, 2.0))


def own(name: str) -> Callable[[Problem, float], Curve]:
    """Return a fit by eqsnn, in a process of its own with an empty cache: its compilation takes the time it takes."""

    def run(problem: Problem, budget: float) -> Curve:
        with tempfile.TemporaryDirectory() as folder:
            data, out = Path(folder) / "data.npz", Path(folder) / "out.npz"
            problem.target.save(data)
            options = ["--own", name, data, out, problem.seed, "--budget", budget]
            start([sys.executable, Path(__file__), *options], {"EQSNN_CACHE": folder})
            return curve(problem, out)

    return run


def run_own(name: str, data: str, out: str, seed: str, budget: float) -> None:
    """Fit, and write the time of every entry of the history with the parameters held for the best then."""
    stages, starts = STAGES[name]
    target, stamps = eqsnn.load_targets(data), []
    begin = time.perf_counter()
    fit = eqsnn.fit(
        eqsnn.loads(MODEL),
        target,
        starts=starts,
        seed=int(seed),
        stages=stages,
        validation=0.0,
        max_time=budget,
        report=lambda *_: stamps.append(time.perf_counter() - begin),
    )
    at, behind, before = [], 0, (0, 0)
    for stage, level, iteration in fit.history_places.tolist():
        if (stage, level) != before:
            behind, before = behind + stages[before[0]].iterations, (stage, level)
        at.append(behind + iteration)
    found = np.stack([np.squeeze(fit.history[name], 1) for name in NAMES], axis=-1)
    # the restart with the best objective, whatever the truth says
    loss = np.where(np.isfinite(fit.history_objective), fit.history_objective, np.inf)
    best = found[np.arange(len(at)), np.argmin(loss, axis=1)]
    seconds = np.array(stamps)
    np.savez(out, seconds=seconds[at], found=best, compilation=compilation(seconds))


def start(command: Sequence[object], environment: Mapping[str, str]) -> None:
    """Run a program on one core; end with what it said if it failed."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)


def curve(problem: Problem, out: Path) -> Curve:
    """Read what a fit wrote."""
    with np.load(out) as found:
        return Curve(found["seconds"], problem.error(found["found"]), float(found["compilation"]))


def compilation(stamps: np.ndarray) -> float:
    """Return what the first round took longer than those after it."""
    return float(stamps[0] - np.median(np.diff(stamps[:20])))


def peer(
    python: Path, method: str, samples: int, delta: float, codegen: str
) -> Callable[[Problem, float], Curve]:
    """Return a fit by brian2modelfitting."""

    def run(problem: Problem, budget: float) -> Curve:
        recording = problem.target
        with tempfile.TemporaryDirectory() as folder:
            data, out = Path(folder) / "data.npz", Path(folder) / "out.npz"
            np.savez(
                data,
                current=recording.inputs["drive"][..., 0],
                steps=np.rint(recording.spike_times / recording.dt).astype(int),
                trials=recording.trial_ids,
                dt=recording.dt * 1e3,
                seed=problem.seed,
            )
            script = FOLDER / "peers" / "brian2modelfitting_peer.py"
            settings = [method, samples, delta, budget, codegen, Path(folder) / "code"]
            command = [python, script, data, out, *settings]
            # folders and caches of its own, so that compilation takes its time
            start(command, {"HOME": folder, "XDG_CACHE_HOME": folder})
            return curve(problem, out)

    return run


def time_to(curves: list[Curve], tolerance: float) -> float:
    """Return the seconds after compilation from which the median error over the seeds is within `tolerance`."""
    moments = np.unique(np.concatenate([c.seconds - c.compilation for c in curves]))
    for moment in moments:
        if np.median([curve.at(moment) for curve in curves]) <= tolerance:
            return float(moment)
    return float("inf")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=5.0, help="seconds of each fit")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--peer", type=Path, default=cache / "eqsnn" / "brian2modelfitting")
    parser.add_argument("--codegen", default="standalone")
    parser.add_argument("--own", nargs=4, metavar=("NAME", "DATA", "OUT", "SEED"))
    arguments = parser.parse_args()
    if arguments.own:
        name, data, out, seed = arguments.own
        run_own(name, data, out, seed, arguments.budget)
        return
    python = arguments.peer / "bin" / "python"
    fits: Mapping[str, Callable[[Problem, float], Curve]] = {
        **{name: own(name) for name in STAGES},
    } | {
        f"brian2modelfitting, {method}, {samples} samples, {delta:g} ms": peer(
            python, method, samples, delta, arguments.codegen
        )
        for method, samples, delta in PEERS
    }
    problems = [problem(seed) for seed in range(arguments.seeds)]
    curves: dict[str, list[Curve]] = {name: [] for name in fits}
    for each in problems:
        for name, fit in fits.items():
            curves[name].append(fit(each, arguments.budget))
            print(f"seed {each.seed}: {name}", file=sys.stderr)
    print(machine())
    print(report(curves))


def report(curves: Mapping[str, list[Curve]]) -> str:
    """Return the table: for each tolerance the seconds and how many times those of eqsnn's gradients."""
    reference, rows = next(iter(curves.values())), []
    for name, found in curves.items():
        extra = float(np.median([curve.compilation for curve in found]))
        row = [name, f"{extra:.1f}"]
        for tolerance in TOLERANCES:
            seconds = time_to(found, tolerance)
            against = ratio(seconds, time_to(reference, tolerance))
            reached = np.isfinite(seconds)
            row.append(f"{seconds:.2f} ({against})" if reached else "not reached")
        at_2 = time_to(found, 0.02) + extra
        reference_extra = float(np.median([curve.compilation for curve in reference]))
        against = ratio(at_2, time_to(reference, 0.02) + reference_extra)
        row.append(f"{at_2:.1f} ({against})" if np.isfinite(at_2) else "not reached")
        row.append(f"{100 * np.median([curve.error[-1] for curve in found]):.2g} %")
        rows.append(row)
    head = [
        "fit",
        "compilation, s",
        *(f"{100 * tolerance:g} %, s" for tolerance in TOLERANCES),
        "2 % with compilation, s",
        "error at the end",
    ]
    return table(head, rows)


if __name__ == "__main__":
    main()
