"""The table of experiments: what was wanted of each, what was found, and whether that is enough.

Usage: python examples/poster/table.py [--out docs/poster/experiments.md] [--keep]. Reads runs/poster/*/scores.json, as
experiments.py left them, and for seeds that were not run here what --keep has put into docs/poster/scores.json; numbers
are medians over the seeds that are there, in brackets the smallest and the largest. Experiments of which there are none
keep the table that they have.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from experiments import EXPERIMENTS, RUNS
from protocol import KINDS, ROOT, family

from eqsnn.files import write_text

KEPT = ROOT / "docs" / "poster" / "scores.json"

Scores = dict


@dataclass(frozen=True, slots=True)
class Row:
    """One wanted number: how it is read from the scores of a seed, the limit, and in how many seeds of ten it must hold."""

    title: str
    read: Callable[[Scores], float]
    limit: float
    below: bool = True
    share: float = 0.5

    def holds(self, value: float) -> bool:
        """Return whether a number is within the limit."""
        return value <= self.limit if self.below else value >= self.limit

    def line(self, found: str, verdict: str) -> str:
        """Return its line of a table."""
        sign = "at most" if self.below else "at least"
        return f"| {self.title} | {sign} {self.limit:g} | {found} | {verdict} |"


def typical(name: str, errors: dict[str, list[float]]) -> float:
    """Return the median error over the populations, of what does nothing but in REM that of REM (identifiable.py)."""
    return errors[name][REM] if name in SILENT else float(np.median(errors[name]))


def error(name: str) -> Callable[[Scores], float]:
    """Return the typical error of a quantity."""
    return lambda s: typical(name, s["fitted"]["errors"])


def reduced(name: str) -> Callable[[Scores], float]:
    """Return by how much the error of the start was divided."""
    return lambda s: (
        typical(name, s["start"]["errors"]) / max(typical(name, s["fitted"]["errors"]), 1e-12)
    )


def largest(name: str) -> Callable[[Scores], float]:
    """Return the largest error of a quantity."""
    return lambda s: float(np.max(s["fitted"]["errors"][name]))


def rate_off(*populations: int) -> Callable[[Scores], float]:
    """Return the largest relative error of the rate of populations, each network with noise of its own."""
    return lambda s: max(_off(s, "rate", p) for p in populations or (0, 1, 2))


def statistic_off(name: str, *, relative: bool) -> Callable[[Scores], float]:
    """Return the largest error over the populations of a statistic."""
    return lambda s: max(_off(s, name, p, relative) for p in range(3))


def _off(scores: Scores, name: str, population: int, relative: bool = True) -> float:
    found, wanted = (scores[w][name][population] for w in ("found", "target"))
    return abs(found - wanted) / (wanted if relative else 1.0)


def correlation_off(scores: Scores) -> float:
    """Return the largest error of a block of correlations."""
    found, wanted = (np.array(scores[w]["correlation"]) for w in ("found", "target"))
    return float(np.abs(found - wanted).max())


def f1(scores: Scores) -> float:
    """Return the mean F1 of the neurons."""
    return float(np.mean(scores["fitted"]["f1"]))


def least(what: str) -> Callable[[Scores], float]:
    """Return the least correlation of activations, one of `states` of the scores."""
    return lambda s: min(s["states"][what])


def decoded(window: str, who: str) -> Callable[[Scores], float]:
    """Return how well the states of a network are decoded from windows of its spikes."""
    return lambda s: s["states"]["decoded"][window][who]["regression"]


SAME_INPUT = {
    ("A", "lif"): (0.90, 0.10, 0.03),
    ("B", "lif"): (0.75, 0.25, 0.05),
    ("A", "izhikevich"): (0.70, None, 0.10),
    ("B", "izhikevich"): (0.40, None, 0.15),
}
PARAMETERS = {
    ("A", "lif"): {"q": 0.005, "tau_m": 0.01, "k": 0.03, "tau_g": 0.15, "w": 0.06},
    ("B", "lif"): {"q": 0.015, "tau_m": 0.03, "k": 0.05},
    ("C", "lif"): {"q": 0.03, "tau_m": 0.10},
    ("A", "izhikevich"): {"w": 0.03},
    ("B", "izhikevich"): {"b": 0.005, "a": 0.05, "c": 0.10, "d": 0.10},
}
REM = 1
SILENT = (
    "c",
    "d",
)  # of Wake and NREM they do nothing: a neuron has forgotten its reset before its next spike
REDUCED = ("a", "b", "c", "d", "tau_g")  # of the Izhikevich network in A ...
REDUCED_BY = 3.0
HELD = {("B", "lif"): 0.8, ("B", "izhikevich"): 0.6}
STATES = (
    ("activations, same input, least correlation", least("same_input")),
    ("activations, mean of 20 runs, least correlation", least("mean")),
    ("its ceiling, a second target", least("mean_ceiling")),
    ("activations of single runs, least correlation", least("single")),
    ("its ceiling, a second target", least("single_ceiling")),
)
STATES_LIMIT = 0.95
HEADING = "### "  # of an experiment's table


def rows_of(experiment: str, kind: str) -> Iterator[Row]:
    """Return what is wanted of an experiment."""
    which = (experiment, family(kind))
    share = HELD.get(which, 0.5)
    yield from _parameters(which, share)
    if experiment in "AB":
        found, distance, rate = SAME_INPUT[which]
        yield Row("F1, 1 ms, same input", f1, found, below=False, share=share)
        if distance is not None:
            yield Row(
                "van Rossum score, 12 ms",
                lambda s: s["fitted"]["van_rossum"],
                distance,
                share=share,
            )
        yield Row(
            "rate error of neurons, same input",
            lambda s: s["fitted"]["rate_error"],
            rate,
            share=share,
        )
    if experiment == "C":
        yield from _statistics(family(kind))
    nmf, psth = (0.95, 0.97) if experiment == "A" else (0.90, 0.95)
    yield Row("NMF score of the modules", lambda s: s["nmf"]["score"], nmf, below=False)
    yield Row("PSTH correlation / ceiling", lambda s: s["psth_score"], psth, below=False)
    if experiment == "D":
        for title, read in STATES:
            yield Row(title, read, STATES_LIMIT, below=False)
        for window in ("0.1 s", "0.2 s"):
            for title, who in (("fitted", "fitted"), ("the target itself", "target")):
                said = f"states decoded from {window}, {title}"
                yield Row(said, decoded(window, who), STATES_LIMIT, below=False)


def _parameters(which: tuple[str, str], share: float) -> Iterator[Row]:
    for name, limit in PARAMETERS.get(which, {}).items():
        read = largest(name) if name == "w" else error(name)
        what = (
            "largest error" if name == "w" else "error of REM" if name in SILENT else "median error"
        )
        yield Row(f"{name}, {what}", read, limit, share=share)
    if which == ("A", "izhikevich"):
        for name in REDUCED:
            of = " of REM" if name in SILENT else ""
            yield Row(f"{name}{of}, error divided by", reduced(name), REDUCED_BY, below=False)


def _statistics(kind: str) -> Iterator[Row]:
    if kind == "lif":
        yield Row("rate of populations", rate_off(), 0.05)
        yield Row("CV of intervals, largest error", statistic_off("cv", relative=False), 0.1)
        yield Row("Fano factor, largest error", statistic_off("fano", relative=True), 0.10)
        yield Row("correlations of populations, largest error", correlation_off, 0.03)
        yield Row("van Rossum distance without bias", lambda s: s["distance"]["fitted"], 0.1)
        yield Row("its ceiling, a second target", lambda s: s["distance"]["ceiling"], 0.1)
    else:
        yield Row("rate of Wake and NREM", rate_off(0, 2), 0.10)
        yield Row("rate of REM", rate_off(1), 0.25)
        yield Row("CV of intervals, largest error", statistic_off("cv", relative=True), 0.20)
        yield Row("Fano factor, largest error", statistic_off("fano", relative=True), 0.30)
        yield Row("correlations of populations, largest error", correlation_off, 0.1)


def runs(first: str = "") -> dict[str, Scores]:
    """Return the scores of every run whose name, that of its folder, begins so."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    found = {name: s for name, s in kept.items() if name.startswith(first)}
    here = RUNS.glob(f"{first}*/scores.json")
    return found | {path.parent.name: json.loads(path.read_text()) for path in here}


def keep() -> None:
    """Write the scores of all runs to where they are kept, a line each."""
    lines = [f"{json.dumps(name)}: {json.dumps(s)}" for name, s in sorted(runs().items())]
    write_text(KEPT, "{\n" + ",\n".join(lines) + "\n}\n")


def results(experiment: str, kind: str) -> dict[int, Scores]:
    """Return the scores of every seed that was run."""
    first = f"{experiment}_{kind}_"
    seeds = {name.removeprefix(first): scores for name, scores in runs(first).items()}
    return {
        int(seed): seeds[seed] | {"found": seeds[seed]["fitted"]["statistics"]}
        for seed in sorted(filter(str.isdecimal, seeds), key=int)
    }


def heading(title: str, said: str) -> list[str]:
    """Return the lines above the rows of a table of what was wanted and found."""
    return [f"{HEADING}{title}", "", said, "", "| | wanted | found | |", "|---|---|---|---|"]


def table(experiment: str, kind: str) -> list[str]:
    """Return the lines of one experiment's table."""
    seeds = results(experiment, kind)
    if not seeds:
        return []
    seconds = np.median([s["seconds"] for s in seeds.values()])
    said = f"Seeds {', '.join(map(str, seeds))}; a fit took {seconds:.0f} s."
    lines = heading(f"{experiment}, {kind}", said)
    for row in rows_of(experiment, kind):
        values = [row.read(s) for s in seeds.values()]
        holds = sum(row.holds(v) for v in values)
        verdict = "met" if holds >= row.share * len(values) else "**missed**"
        count = f" in {holds} of {len(values)}" if len(values) > 1 else ""
        found = f"{np.median(values):.3g}"
        if len(values) > 1:
            found += f" ({min(values):.3g} to {max(values):.3g})"
        lines.append(row.line(found, f"{verdict}{count}"))
    return [*lines, ""]


def written(path: Path) -> dict[str, list[str]]:
    """Return the lines of every table that a file holds, by its title."""
    found: dict[str, list[str]] = {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for part in text.split(f"\n{HEADING}")[1:]:
        title = part.split("\n", 1)[0]
        found[title] = [*f"{HEADING}{part}".rstrip().split("\n"), ""]
    return found


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "poster" / "experiments.md")
    parser.add_argument("--keep", action="store_true", help="the scores, in docs/poster")
    arguments = parser.parse_args(words)
    if arguments.keep:
        keep()
    lines = [
        "# Experiments A to D",
        "",
        "Written by `make poster`; [poster.md](../poster.md) says what they are.",
        "",
    ]
    before = written(arguments.out)
    for kind in KINDS:
        for experiment in EXPERIMENTS:
            lines += table(experiment, kind) or before.get(f"{experiment}, {kind}", [])
    write_text(arguments.out, "\n".join(lines).rstrip() + "\n")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
