"""Controls of the poster's experiments: what must fail fails, and what must stay where it is stays.

Usage: python examples/poster/controls.py [--seeds 0] [--kinds lif,izhikevich] [--controls A0,A,B,C,ablations]. Results lie in
runs/poster/controls, where what was done before is taken from, and as a page in docs/poster/controls.md.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import protocol
import scores as score
import torch
from descent import Descent, Search, descend, search
from experiments import RUNS, TEST_SEED, fit_from, starts_of, target_of
from protocol import ROOT, Values, family
from table import SAME_INPUT, Row, Scores, f1, heading

import eqsnn

OUT = RUNS / "controls"
PAGE = ROOT / "docs" / "poster" / "controls.md"
KINDS = ("lif", "izhikevich")
PLAIN, UNBIASED = (
    f"{name}(tau={score.TAU_S * 1e3:g}ms)" for name in ("plain_van_rossum", "van_rossum")
)
NAIVE = Descent(eqsnn.Free(tau=score.TAU_S, detach_reset=False), steps=500, scaled=False)
SECONDS, SEARCH_SECONDS, RATE_SECONDS = (
    60.0,
    20.0,
    120.0,
)  # of spikes in C: by gradient, by search, of its rates
FALL, KEPT = 0.5, 0.1  # of the rates: at least with the plain loss, at most with the unbiased one


def forced_fit(
    kind: str, target: eqsnn.Recording, starts: list[Values], stages: tuple, seed: int
) -> Values:
    """Return what a fit of the experiments finds from these starts."""
    fit = fit_from(kind, target, starts, stages, seed, uncertainty=False)
    return {name: np.asarray(fit.parameters[name]) for name in protocol.truth_of(kind)}


def scored(kind: str, values: Values, seed: int) -> Scores:
    """Return errors of parameters and the scores of spikes given the target's own input."""
    errors = score.parameter_errors(values, protocol.truth_of(kind))
    return {"errors": errors} | score.same_input(kind, values, TEST_SEED + seed)


def from_the_truth(kind: str, seed: int) -> Scores:
    """A0: fit as in A, but from the truth."""
    target = target_of("A", kind, seed, 0.0)
    stages = protocol.stages("A", kind)
    assert stages is not None
    values = forced_fit(kind, target, [protocol.truth_of(kind)], stages, seed)
    return {"fitted": scored(kind, values, seed)}


def start_itself(kind: str, seed: int) -> Scores:
    """A: the start without a fit; modules of the target against those of its second run, before and after shuffling its neurons."""
    truth = protocol.truth_of(kind)
    (start,) = starts_of("A", kind, truth, seed)
    match = score.ensembles(kind, truth, TEST_SEED + seed)
    return {
        "fitted": scored(kind, start, seed),
        "nmf": {"same": match.ceiling, "shuffled": match.floor},
    }


def naive(kind: str, seed: int) -> Scores:
    """B: one learning rate for millivolts, milliseconds and weights, surrogate gradients of the running network."""
    truth = protocol.truth_of(kind)
    starts = starts_of("B", kind, truth, seed)
    values = descend(kind, target_of("B", kind, seed, 0.0), starts, NAIVE, seed)
    return {"fitted": scored(kind, values, seed)}


def independent_noise(kind: str, seed: int) -> Scores:
    """C: rates that the plain and the unbiased distance lead to; from the truth, so that nothing but the loss moves them."""
    truth = protocol.truth_of(kind)
    found = {"target": rates(kind, None, seed)}
    target = target_of("C", kind, seed, SEARCH_SECONDS)
    for loss in (PLAIN, UNBIASED):
        values = search(kind, target, truth, search_of(loss), seed)
        found[f"search, {loss}"] = rates(kind, values, seed)
    if family(kind) == "lif":  # derivatives of an upstroke are not finite
        target = target_of("C", kind, seed, SECONDS)
        near = starts_of("C", kind, truth, seed)[0]
        found["near start"] = rates(kind, near, seed)
        runs = (("truth", truth, PLAIN), ("truth", truth, UNBIASED), ("near start", near, UNBIASED))
        for title, start, loss in runs:
            values = descend(kind, target, [start], gradient_of(loss), seed)
            found[f"gradient from the {title}, {loss}"] = rates(kind, values, seed)
    return {"rates": found}


def search_of(loss: str) -> Search:
    """Return the search that minimises a loss as it is, without its gradient."""
    return Search(eqsnn.Free(loss))


def gradient_of(loss: str) -> Descent:
    """Return the descent of a loss by surrogate gradients, scaled and without resets as in a fit."""
    return Descent(eqsnn.Free(loss), learning_rate=0.03, steps=100)


def rates(kind: str, values: Values | None, seed: int) -> list[float]:
    """Return the rate of each population in Hz, with input of its own; values None is the target."""
    run = eqsnn.simulate(
        protocol.network(kind),
        RATE_SECONDS,
        burn_in=protocol.BURN_IN_S,
        seed=TEST_SEED + seed,
        parameters=values,
    )
    return score.by_population(run.rates())


def fall(which: str) -> Callable[[Scores], float]:
    """Return the share of the target's spikes that a network has lost."""
    return lambda s: 1 - sum(s["rates"][which]) / sum(s["rates"]["target"])


def rows_of(control: str, kind: str) -> Iterator[Row]:
    """Return what is wanted of a control: failures, where the experiment it belongs to must succeed."""
    experiment = control[0]
    least, distance, rate = SAME_INPUT.get((experiment, family(kind)), (0.0, None, 0.0))
    if control == "A0":
        yield Row("F1, 1 ms, same input", f1, 0.95, below=False)
    elif control in ("A", "B"):
        yield Row("F1, 1 ms, same input", f1, least)
        if distance is not None:
            yield Row("van Rossum score, 12 ms", _fitted("van_rossum"), distance, below=False)
        yield Row("rate error of neurons, same input", _fitted("rate_error"), rate, below=False)
    if control == "A":
        yield Row("cosine of modules, a second target", lambda s: s["nmf"]["same"], 0.95, False)
        yield Row("the same, its neurons shuffled", lambda s: s["nmf"]["shuffled"], 0.6)
    if control == "C":
        ways = ["search"]
        if family(kind) == "lif":
            ways += ["gradient from the truth"]
        for way in ways:
            yield Row(f"spikes lost, {way}, plain", fall(f"{way}, {PLAIN}"), FALL, below=False)
            yield Row(f"spikes lost, {way}, unbiased", fall(f"{way}, {UNBIASED}"), KEPT)
        if family(kind) == "lif":
            which = f"gradient from the near start, {UNBIASED}"
            yield Row("spikes lost, gradient from the near start, unbiased", fall(which), KEPT)


def _fitted(name: str) -> Callable[[Scores], float]:
    return lambda s: s["fitted"][name]


@dataclass(frozen=True, slots=True)
class Control:
    """What is done, in words; the function that does it; what its result depends on beside kind and seed."""

    title: str
    measure: Callable[[str, int], Scores]
    settings: Callable[[str], object]


CONTROLS = {
    "A0": Control(
        "a fit that starts at the truth must not drift",
        from_the_truth,
        lambda kind: protocol.stages("A", kind),
    ),
    "A": Control(
        "the start itself must not do, nor modules of shuffled neurons", start_itself, lambda _: ()
    ),
    "B": Control(
        "Adam with one learning rate of 0.05 in the units of the file, down the surrogate gradient of the van Rossum "
        "distance of the running network, from the far starts, must fail",
        naive,
        lambda _: NAIVE,
    ),
    "C": Control(
        "between independent noises the plain van Rossum distance must make rates fall by more than half, the unbiased "
        "one must not",
        independent_noise,
        lambda _: (SECONDS, SEARCH_SECONDS, [(search_of(x), gradient_of(x)) for x in (PLAIN, UNBIASED)]),
    ),
}  # fmt: skip

REFERENCE = Descent(eqsnn.Free(tau=score.TAU_S))
TAU_SET = "van_rossum(tau=2ms,12ms,100ms)"


def _running(**changes) -> Descent:
    return replace(REFERENCE, stage=replace(REFERENCE.stage, **changes))


# one change each of the first; the second is no descent of a distance but the likelihood of a fit, with as many steps
ABLATIONS: dict[str, Descent | eqsnn.Forced] = {
    "running freely": REFERENCE,
    "teacher forcing, likelihood": eqsnn.Forced(
        widths=(0.08, 0.025, 0.008, 0.0025, 0.0008),
        iterations=40,
        learning_rate=0.03,
        window=0.1,
        warm_up=0.04,
        keep=1,
    ),
    "surrogate width 0.02 instead of 0.1": _running(width=0.02),
    "surrogate width 0.5": _running(width=0.5),
    "gradient through resets, too": _running(detach_reset=False),
    "no scaling: units of the file": replace(REFERENCE, scaled=False),
    "no scaling, and through resets": replace(_running(detach_reset=False), scaled=False),
    "tau 2 ms instead of 12 ms": _running(tau=0.002),
    "tau 100 ms": _running(tau=0.1),
    "tau 2, 12 and 100 ms": _running(loss=TAU_SET),
}
NEAR_ONLY = ("tau 2, 12 and 100 ms",)  # keeps the spikes of all starts, which takes minutes


def ablation(title: str, kind: str, seed: int) -> Scores:
    """Return the scores of what a way of fitting finds from the starts of A and of B."""
    how, truth = ABLATIONS[title], protocol.truth_of(kind)
    found = {}
    for experiment in "A" if title in NEAR_ONLY else "AB":
        target = target_of(experiment, kind, seed, 0.0)
        starts = starts_of(experiment, kind, truth, seed)
        values = (
            descend(kind, target, starts, how, seed)
            if isinstance(how, Descent)
            else forced_fit(kind, target, starts, (how,), seed)
        )
        found[experiment] = {"fitted": scored(kind, values, seed)}
    return found


def cached(
    name: str, kind: str, seed: int, settings: object, measure: Callable[[], Scores]
) -> Scores:
    """Return scores as they were measured with these settings and this model before, else measure and keep them."""
    model = (ROOT / "models" / f"sleep_{kind}.eqs").read_bytes()
    key = {"settings": repr(settings), "model": hashlib.sha256(model).hexdigest()}
    path = OUT / f"{name}_{kind}_{seed}.json"
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["key"] == key:
            return kept["scores"]
    began = time.monotonic()
    scores = measure() | {"seconds": time.monotonic() - began}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"key": key, "scores": scores}, indent=1, default=float)
    path.write_text(text + "\n")
    print(f"{path} ({scores['seconds']:.0f} s)", flush=True)
    return json.loads(text)["scores"]


def measured(control: str, kind: str, seed: int) -> Scores:
    """Return the scores of a control, which is not run again."""
    what = CONTROLS[control]
    return cached(control, kind, seed, what.settings(kind), lambda: what.measure(kind, seed))


def measured_ablation(title: str, kind: str, seed: int) -> Scores:
    """Return the scores of an ablation, which is not run again."""
    name = f"ablation_{list(ABLATIONS).index(title)}"
    settings = (title, ABLATIONS[title])
    return cached(name, kind, seed, settings, lambda: ablation(title, kind, seed))


def section(control: str, kind: str, seeds: dict[int, Scores]) -> list[str]:
    """Return the lines of the page on one control: every seed has its number."""
    seconds = np.median([s["seconds"] for s in seeds.values()])
    title = _first_upper(CONTROLS[control].title)
    said = f"{title}. Seeds {', '.join(map(str, seeds))}; {seconds:.0f} s each."
    lines = heading(f"{control}, {kind}", said)
    for row in rows_of(control, kind):
        values = [row.read(s) for s in seeds.values()]
        holds = all(row.holds(v) for v in values)
        found = ", ".join(f"{v:.3g}" for v in values)
        lines.append(row.line(found, "met" if holds else "**missed**"))
    if control == "C":
        lines += ["", f"Rates in Hz, Wake / REM / NREM, seed {next(iter(seeds))}:", ""]
        first = next(iter(seeds.values()))["rates"]
        lines += [
            f"- {title}: {' / '.join(f'{r:.1f}' for r in each)}" for title, each in first.items()
        ]
    return [*lines, ""]


def _first_upper(text: str) -> str:
    return text[0].upper() + text[1:]


def ablation_table(kind: str, seed: int, found: dict[str, Scores]) -> list[str]:
    """Return the lines of the page on ablations."""
    lines = [
        f"### Ablations, {kind}, seed {seed}",
        "",
        f"{REFERENCE.steps} steps of Adam from the start of A, and from those of B (the best by its loss): the surrogate gradient of the "
        "running network, unit-scaled coordinates, resets left out of the gradient, width 0.1, tau 12 ms; every row below the "
        "first changes one of these. Errors are medians over the populations, of weights over the blocks.",
        "",
        "| | near: F1 | van Rossum | q | tau_m | k | tau_g | w | far: F1 | van Rossum | q |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, scores in found.items():
        cells = [title]
        for experiment, names in (("A", ("q", "tau_m", "k", "tau_g", "w")), ("B", ("q",))):
            if experiment not in scores:
                cells += ["not run"] + [""] * (1 + len(names))
                continue
            fitted = scores[experiment]["fitted"]
            cells += [f"{f1(scores[experiment]):.3f}", f"{fitted['van_rossum']:.3f}"]
            for name in names:
                error = float(np.median(fitted["errors"][name]))
                cells.append(f"{error:.3f}" if name == "w" else f"{error:.1%}")
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def main(words: list[str] | None = None) -> None:
    """Run the controls that were not run before, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--controls", default=",".join((*CONTROLS, "ablations")))
    parser.add_argument("--out", type=Path, default=PAGE)
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    wanted, kinds = arguments.controls.split(","), arguments.kinds.split(",")
    lines = [
        "# Controls",
        "",
        "Written by `python examples/poster/controls.py`; [poster.md](../poster.md) says what the experiments are and what the controls "
        "show. `met`: what must fail fails, what must stay stays, in all seeds, whose numbers stand side by side.",
        "",
    ]
    for name in (name for name in CONTROLS if name in wanted):
        for kind in kinds:
            lines += section(name, kind, {seed: measured(name, kind, seed) for seed in seeds})
    if "ablations" in wanted:
        found = {title: measured_ablation(title, "lif", seeds[0]) for title in ABLATIONS}
        lines += ablation_table("lif", seeds[0], found)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
