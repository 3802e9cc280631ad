"""The poster's later models, each recovered from the spikes of a target of its own; the input is known.

Usage: python examples/poster/authors_models.py [--models poster_lif,...] [--seeds 0] [--seconds 12] [--out docs/authors_models.md].
Two populations of six neurons; parameters of the target as its authors list them, or one draw from the intervals their fits start
from, with 2.5 % of noise for each neuron, 5 % for each weight. Starts are independent draws from those intervals. What spikes cannot
tell (a common scale of all voltages) is scored as ratios. Errors are medians of |p - p*|/|p*|, weights ||W - W*||/||W*||.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from authors_targets import CASES, SCALED, truth_of

import eqsnn
from eqsnn.analysis.compare import rate_error
from eqsnn.analysis.recovery import weight_error
from eqsnn.files import write_text

MODELS = Path(__file__).parents[2] / "models"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def identifiable(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what spikes show of one population's parameters: themselves, or the combinations that act."""
    found = {name: value for name, value in p.items() if name not in ("J_theta", "tau_theta")}
    if "G" in p:
        found["G/tau_m"] = p["G"] / p["tau_m"]
    if "delta_theta_s" in p:
        found |= {f"{name}/E_L": found.pop(name) / p["E_L"] for name in SCALED if name in p}
        found["reset"] = 1 - p["f_v"] - p["delta_V"] / p["E_L"]
        r = p["delta_theta_s"] - p["E_L"]
        if "a_v" in p:
            r = p["delta_theta_s"] / p["b_s"] - p["a_v"] / p["b_v"] * p["E_L"] + p["delta_V"]
        found["gain"] = r / p["E_L"] / p["tau_m"]
    elif "G" in p:
        found["gain"] = (30 - p["E_L"]) * p["tau_m"]
    if "c" in p and "Delta_u" in p:
        found["rate at rest"] = p["c"] * np.exp((p["E_L"] - 15) / p["Delta_u"])
    if "Delta_u" in p or "J_theta" in p:
        found["15 mV - E_L"] = 15 - found.pop("E_L")
    elif "G" in p:
        del found["E_L"]
    return found


def errors(values: dict, truth: dict) -> dict[str, float]:
    """Return median relative errors over both populations, that of the weights, and that of weights times their traces' areas."""
    groups = [g for g in ("exc", "inh") if any(n.startswith(f"{g}.") for n in truth)]
    shown = [
        [
            identifiable({n.split(".")[1]: v for n, v in which.items() if n.startswith(f"{g}.")})
            for g in groups
        ]
        for which in (values, truth)
    ]
    found = {
        name: float(np.median([abs(a[name] / b[name] - 1) for a, b in zip(*shown, strict=True)]))
        for name in shown[1][0]
    }
    weights, charges = zip(*(sent(which) for which in (values, truth)), strict=True)
    return {**found, "w": weight_error(*weights), "charge": weight_error(*charges)}


def sent(values: dict) -> tuple[np.ndarray, np.ndarray]:
    """Return all weights, and each times the area of its trace."""
    weights, charges = [], []
    for name, w in values.items():
        if name.endswith(".w"):
            pre, post = name[:3], name[5:8]
            trace = values[f"{pre}.tau_g" if f"{pre}.tau_g" in values else f"{pre}.tau_s"]
            area = trace[:, None] + (f"{pre}.f_I" in values)
            exists = ~np.eye(6, dtype=bool) if pre == post else np.ones((6, 6), dtype=bool)
            weights.append(w[exists])
            charges.append((w * area)[exists])
    return np.concatenate(weights), np.concatenate(charges)


@dataclass(frozen=True)
class Row:
    """Errors at the start and after the fit, and what the fitted network does with inputs of its own."""

    model: str
    seed: int
    start: dict[str, float]
    fitted: dict[str, float]
    f1: tuple[float, ...]  # start, fitted
    rate_error: tuple[float, ...]
    rate: float
    seconds: float  # of one core


def recover(name: str, seed: int, seconds: float, stages: tuple = ()) -> Row:
    """Simulate a target, fit from the authors' starts, score on trials that the fit has not seen."""
    case, rng = CASES[name], np.random.default_rng(seed)
    model = eqsnn.load(MODELS / f"{name}.eqs")
    truth = truth_of(model, case, rng)
    trials, steps = max(2, round(seconds * case.more / 2)), 2000
    x, unseen = (rng.poisson(0.5, (n, steps, 12)) * case.event for n in (trials, 2))
    target = eqsnn.simulate(model, 2.0, trials=trials, inputs={"x": x}, parameters=truth, seed=seed)
    first = {n: p.draw_start(rng) / p.unit.scale for n, p in model.parameters().items() if n in truth}  # fmt: skip
    first |= {n: case.shrunk * w for n, w in first.items() if n.endswith(".w")}
    began = time.process_time()
    fit = eqsnn.fit(
        model, replace(target, parameters={}), starts=1, stages=stages or case.stages, seed=seed, start=first,
    )  # fmt: skip
    took = time.process_time() - began
    fitted = {n: fit.parameters[n] for n in truth}
    # the same seed draws the same spikes of a model that draws its spikes
    test = eqsnn.simulate(model, 2.0, trials=2, inputs={"x": unseen}, parameters=truth, seed=seed + 1)  # fmt: skip
    own = [eqsnn.simulate(model, 2.0, trials=2, inputs={"x": unseen}, parameters=v, seed=seed + 1) for v in (first, fitted)]  # fmt: skip
    scores = [eqsnn.compare(test, run) for run in own]
    return Row(
        name, seed, errors(first, truth), errors(fitted, truth),
        tuple(float(np.nanmean(s.f1)) for s in scores), tuple(rate_error(test.rates(), r.rates()) for r in own),
        float(test.rates().mean()), took,
    )  # fmt: skip


def table(rows: list[Row]) -> str:
    """Return a Markdown table: start -> fitted."""
    lines = [
        "| model | seed | parameters: median error, start -> fitted | weights | weights x areas | F1 (1 ms) | rate error | rate | time |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        shown = {k: e for k, e in r.fitted.items() if k not in ("w", "charge")}
        each = ", ".join(f"{k} {r.start[k]:.1%} -> {e:.1%}" for k, e in shown.items())
        lines.append(
            f"| {r.model} | {r.seed} | {each} | {r.start['w']:.2f} -> {r.fitted['w']:.3f} | {r.fitted['charge']:.3f} "
            f"| {r.f1[0]:.2f} -> {r.f1[1]:.3f} | {r.rate_error[0]:.0%} -> {r.rate_error[1]:.1%} | {r.rate:.0f} Hz | {r.seconds:.0f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(CASES))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--seconds", type=float, default=12.0, help="of spikes to fit")
    parser.add_argument("--out", type=Path, help="a page whose table is written anew")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in arguments.models.split(","):
        for seed in arguments.seeds.split(","):
            rows.append(recover(name, int(seed), arguments.seconds))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if arguments.out:
        before, _, rest = arguments.out.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        write_text(arguments.out, f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}")


if __name__ == "__main__":
    main()
