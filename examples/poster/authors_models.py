"""The poster's later models, each recovered from the spikes of a target of its own; the input is known.

Usage: python examples/poster/authors_models.py [--models poster_lif,...] [--seeds 0] [--seconds 12] [--out docs/authors_models.md].
Two populations of six neurons; parameters of the target as its authors list them, or one draw from the intervals their fits start
from, with 2.5 % of noise for each neuron, 5 % for each weight. Starts are independent draws from those intervals. What spikes cannot
tell (a common scale of all voltages) is scored as ratios. Errors are medians of |p - p*|/|p*|, weights ||W - W*||/||W*||.
"""

import argparse
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

import eqsnn
from eqsnn.analysis.compare import rate_error
from eqsnn.analysis.recovery import weight_error
from eqsnn.files import write_text

MODELS = Path(__file__).parents[2] / "models"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
# the scale of all voltages is free in these: score their ratios to E_L
SCALED = ("delta_theta_s", "delta_V", "theta_inf")
WEAK = {"w": (0.25, 0.25, 0.45, 0.35)}  # weights from the interval of the starts would let LIF_R fire in every third step
LIF = {"tau_m": (2.8, 1.8), "E_L": (-56, -64), "tau_s": (3.5, 2.0), "w": (0.55, 0.55, 0.5, 0.5)}
GLIF = {
    "tau_m": (3.4, 2.6), "G": (0.7, 0.8), "E_L": (-52, -62), "delta_theta_s": (18, 18), "b_s": (0.4, 0.25),
    "f_v": (0.14, 0.14), "delta_V": (10, 12), "f_I": (0.5, 0.35), "b_v": (0.3, 0.4), "a_v": (0.2, 0.3),
    "theta_inf": (-12, -11), "tau_s": (4.5, 2.4), "tau_g": (4.5, 2.4), "w": (0.55, 0.45, 0.5, 0.35),
}  # fmt: skip
GIF = {
    "tau_m": (10, 10), "tau_s": (3, 6), "tau_theta": (1000, 1000), "J_theta": (1.0, 0.2), "E_L": (3.5, 2.0),
    "c": (0.2, 0.2), "Delta_u": (5, 5), "w": (2, 2, 4, 4),
}  # fmt: skip
PLACES = ("exc", "inh"), ("exc->exc", "exc->inh", "inh->exc", "inh->inh")
ESCAPE = eqsnn.Forced(
    widths=(0.1, 0.03, 0.01, 0.003, 0.001), iterations=120, learning_rate=0.1, final_rate=0.05, window=0.25, warm_up=0.06, keep=1
)  # fmt: skip
# nothing to anneal where spikes are drawn
DRAWN = replace(ESCAPE, widths=(0.02,), iterations=400, final_rate=0.02)


@dataclass(frozen=True)
class Case:
    """What is particular to a model: its target, the size of its input events, its stages and restarts."""

    target: dict = field(default_factory=dict)  # by parameter for exc and inh, or the four projections; else drawn
    event: float = 1.0
    stages: tuple[eqsnn.Forced, ...] = (ESCAPE,)
    more: int = 1  # times the data


CASES = {
    "poster_lif": Case(LIF, 0.9),
    "poster_lif_asc": Case(event=0.6),
    "poster_lif_hs_17": Case(event=0.6),
    "poster_lif_r": Case(WEAK, 1.0),
    "poster_lif_r_soft": Case(WEAK, 0.6),
    "poster_lif_r_asc": Case(event=1.4),
    "poster_lif_r_asc_soft": Case(event=0.8),
    "poster_glif": Case(GLIF, 0.8),
    "poster_glif_soft": Case(GLIF, 0.4),
    "poster_izhikevich": Case(event=8.0),
    "poster_microgif": Case(GIF, 20.0, (DRAWN,), more=3),
    "poster_microgif_exact": Case({**GIF, "w": (0.3, 0.3, 0.5, 0.5)}, 25.0),
}  # fmt: skip


def truth_of(model: eqsnn.Model, case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return a target within the bounds of the file."""
    found = {}
    for name, p in model.parameters().items():
        if not p.learned:
            continue
        group, local = name.rsplit(".", 1)
        low, high = p.low / p.unit.scale, p.high / p.unit.scale
        base = rng.uniform(*p.prior.arguments) / p.unit.scale
        if local in case.target:
            base = case.target[local][PLACES["->" in group].index(group)]
        noise = rng.standard_normal(p.shape) * (0.05 if local == "w" else 0.025)
        found[name] = np.clip(base * (1 + noise), low + 0.01 * (high - low), high - 0.01 * (high - low))
    return found


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
        [identifiable({n.split(".")[1]: v for n, v in which.items() if n.startswith(f"{g}.")}) for g in groups]
        for which in (values, truth)
    ]
    found = {
        name: float(np.median([abs(a[name] / b[name] - 1) for a, b in zip(*shown, strict=True)]))
        for name in shown[1][0]
    }
    weights, charges = [], []
    for which in (values, truth):
        each = {n: v[~np.eye(6, dtype=bool)] if n[:3] == n[5:8] else v.ravel() for n, v in which.items() if n.endswith(".w")}
        areas = {}
        for n in each:
            trace = next((which[k] for k in (f"{n[:3]}.tau_s", f"{n[:3]}.tau_g") if k in which))
            area = np.repeat((trace + (f"{n[:3]}.f_I" in which))[:, None], 6, axis=1)
            areas[n] = area[~np.eye(6, dtype=bool)] if n[:3] == n[5:8] else area.ravel()
        weights.append(np.concatenate([*each.values()]))
        charges.append(np.concatenate([each[n] * areas[n] for n in each]))
    return {**found, "w": weight_error(*weights), "charge": weight_error(*charges)}


@dataclass(frozen=True)
class Row:
    """Errors at the start and after the fit, and what the fitted network does with inputs of its own."""

    model: str
    seed: int
    start: dict[str, float]
    fitted: dict[str, float]
    f1: tuple[float, float]  # start, fitted
    rate_error: tuple[float, float]
    rate: float
    seconds: float


def recover(name: str, seed: int, seconds: float, stages: tuple = ()) -> Row:
    """Simulate a target, fit from the authors' starts, score on trials that the fit has not seen."""
    case, rng = CASES[name], np.random.default_rng(seed)
    model = eqsnn.load(MODELS / f"{name}.eqs")
    truth = truth_of(model, case, rng)
    trials, steps = max(2, round(seconds * case.more / 2)), 2000
    x, unseen = (rng.poisson(0.5, (n, steps, 12)) * case.event for n in (trials, 2))
    target = eqsnn.simulate(model, 2.0, trials=trials, inputs={"x": x}, parameters=truth, seed=seed)
    first = {n: p.draw_start(rng) / p.unit.scale for n, p in model.parameters().items() if p.learned}
    began = time.perf_counter()
    fit = eqsnn.fit(
        model, replace(target, parameters={}), starts=1, stages=stages or case.stages, seed=seed, start=first,
    )  # fmt: skip
    took = time.perf_counter() - began
    fitted = {n: fit.parameters[n] for n in truth}
    # the same seed draws the same spikes of a model that draws its spikes
    test = eqsnn.simulate(model, 2.0, trials=2, inputs={"x": unseen}, parameters=truth, seed=seed + 1)
    own = [eqsnn.simulate(model, 2.0, trials=2, inputs={"x": unseen}, parameters=v, seed=seed + 1) for v in (first, fitted)]
    scores = [eqsnn.compare(test, run) for run in own]
    return Row(
        name, seed, errors(first, truth), errors(fitted, truth),
        tuple(float(np.nanmean(s.f1)) for s in scores), tuple(rate_error(test.rates(), r.rates()) for r in own),
        float(test.rates().mean()), took,
    )  # fmt: skip


def table(rows: list[Row]) -> str:
    """Return a Markdown table: start -> fitted."""
    lines = ["| model | seed | parameters: median error, start -> fitted | weights | weights x areas | F1 (1 ms) | rate error | rate | time |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        each = ", ".join(f"{k} {r.start[k]:.1%} -> {e:.1%}" for k, e in r.fitted.items() if k not in ("w", "charge"))
        lines.append(
            f"| {r.model} | {r.seed} | {each} | {r.start['w']:.2f} -> {r.fitted['w']:.3f} | {r.fitted['charge']:.3f} | {r.f1[0]:.2f} -> {r.f1[1]:.3f} "
            f"| {r.rate_error[0]:.0%} -> {r.rate_error[1]:.1%} | {r.rate:.0f} Hz | {r.seconds:.0f} s |"
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
