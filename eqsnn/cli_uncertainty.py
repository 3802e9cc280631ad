"""The commands `profile` and `bootstrap`: what a finished fit leaves uncertain."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from eqsnn.errors import InputError
from eqsnn.formats.load import load_targets
from eqsnn.inference.bootstrap import KINDS
from eqsnn.inference.result import read_fit
from eqsnn.report import plots


def add_profile(commands) -> None:
    """Add the command."""
    command = commands.add_parser(
        "profile", help="hold one parameter at several values and fit the others again"
    )
    command.add_argument("fit", type=Path, metavar="RUN")
    command.add_argument("targets", type=Path, metavar="TARGETS")
    command.add_argument("parameter", metavar="PARAMETER", help="e.g. cells.tau_m")
    command.add_argument(
        "--index",
        metavar="I",
        help="which element: a neuron as in 3, a weight as in 0,2 (pre,post)",
    )
    command.add_argument("--points", type=int, default=9)
    command.add_argument("--out", type=Path, metavar="DIR", help="default: RUN")
    command.set_defaults(run=run_profile)


def run_profile(arguments: argparse.Namespace) -> int:
    """Profile one parameter; write profile_NAME.json and .png."""
    fit = read_fit(arguments.fit)
    targets = load_targets(arguments.targets, model=fit.model)
    found = fit.profile(
        arguments.parameter, _index(arguments.index), points=arguments.points, targets=targets
    )
    out = arguments.out or arguments.fit
    stem = "profile_" + "_".join([found.name.replace("->", "_to_"), *map(str, found.index)])
    written = [
        found.save(out / f"{stem}.json"),
        plots.save(plots.plot_profile(found), out / f"{stem}.png"),
    ]
    print(found.summary())
    print("written: " + ", ".join(map(str, written)))
    return 0


def _index(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--index {text}: write whole numbers, as in 3 or 0,2") from None


def add_bootstrap(commands) -> None:
    """Add the command."""
    command = commands.add_parser(
        "bootstrap",
        help="fit other data that could have been recorded, for the spread of estimates",
    )
    command.add_argument("fit", type=Path, metavar="RUN")
    command.add_argument("targets", type=Path, metavar="TARGETS")
    command.add_argument("--n", type=int, default=50, help="replicates")
    command.add_argument(
        "--kind",
        choices=KINDS,
        default="auto",
        help="parametric: spikes simulated from the fit; windows: the recorded ones drawn again",
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", type=Path, metavar="DIR", help="default: RUN")
    command.set_defaults(run=run_bootstrap)


def run_bootstrap(arguments: argparse.Namespace) -> int:
    """Bootstrap all unknowns; write bootstrap.json and bootstrap.npz. Status 130 if it was interrupted."""
    fit = read_fit(arguments.fit)
    targets = load_targets(arguments.targets, model=fit.model)
    shown = sys.stderr.isatty()
    with Progress(console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("replicates", total=arguments.n)
        found = fit.bootstrap(
            arguments.n,
            kind=arguments.kind,
            seed=arguments.seed,
            targets=targets,
            count=lambda done, total: bar.update(task, completed=done, total=total),
        )
    path = found.save(arguments.out or arguments.fit)
    print(found.summary())
    print(f"written: {path}, bootstrap.npz")
    return 0 if found.done == found.wanted else 130
