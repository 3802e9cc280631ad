"""The commands `report`, `compare` and `plot`: what came of a fit or a simulation, to look at."""

import argparse
import json
import shlex
import sys
from datetime import datetime
from pathlib import Path

from eqsnn.analysis.compare import compare
from eqsnn.errors import InputError
from eqsnn.files import write_text
from eqsnn.formats.load import load_targets
from eqsnn.inference.provenance import source_of
from eqsnn.inference.result import read_fit
from eqsnn.quantities import seconds
from eqsnn.report import plots
from eqsnn.report.compare_page import compare_page
from eqsnn.report.doubts import doubts_of
from eqsnn.report.findings import Against, Choices, run_against, targets_of
from eqsnn.report.fit_page import fit_page
from eqsnn.report.parts import render


def add_report(commands) -> None:
    """Add `eqsnn report`."""
    command = commands.add_parser(
        "report", help="write everything about a fit into one HTML page to look at and to pass on"
    )
    command.add_argument("fit", type=Path, metavar="RUN", help="the folder that `eqsnn fit` wrote")
    command.add_argument(
        "targets",
        type=Path,
        nargs="?",
        metavar="TARGETS",
        help="what was fitted; default: the file that the fit was given",
    )
    command.add_argument(
        "--test", type=Path, metavar="TEST", help="spikes that the fit has not seen, for scores"
    )
    command.add_argument(
        "--seed", type=int, default=1, help="of the noise in the runs of the fitted model"
    )
    _add_scales(command)
    command.add_argument(
        "--out", type=Path, metavar="FILE.html", help="default: report.html in RUN"
    )
    command.set_defaults(run=run_report)


def _add_scales(command) -> None:
    command.add_argument("--tau", default="10ms", help="of the van Rossum distance")
    command.add_argument(
        "--bin", default="100ms", help="bin of counts for NMF, correlations and Fano factor"
    )
    command.add_argument("--modules", type=int, default=3)


def run_report(arguments: argparse.Namespace) -> int:
    """Write the report of a fit."""
    out = arguments.out or arguments.fit / "report.html"
    if out.is_dir():
        raise InputError(f"{out}: is a folder; give --out a file, as in {out / 'report.html'}")
    fit = read_fit(arguments.fit)
    choices = Choices(
        arguments.seed, seconds(arguments.tau), seconds(arguments.bin), arguments.modules
    )
    targets, source, notes = targets_of(fit, arguments.targets)
    doubts, left_out = doubts_of(fit, arguments.fit)
    notes = [*notes, *left_out]
    against = None if targets is None else run_against(fit, targets, choices, source)
    test: Against | None = None
    if arguments.test is not None:
        test = run_against(
            fit, load_targets(arguments.test, model=fit.model), choices, source_of(arguments.test)
        )
    page = fit_page(
        fit,
        against=against,
        test=test,
        doubts=doubts,
        notes=notes,
        choices=choices,
        command=_command(),
        made=_now(),
    )
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    _write(out, render(page))
    return 0


def _command() -> str:
    return shlex.join(["eqsnn", *sys.argv[1:]])


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _write(path: Path, text: str) -> None:
    write_text(path, text)
    print(f"written: {path} ({len(text.encode()) / 1e6:.1f} MB), one file that any browser opens")


def add_compare(commands) -> None:
    """Add `eqsnn compare`."""
    command = commands.add_parser("compare", help="score recording B against the target A")
    command.add_argument("a", type=Path, metavar="A")
    command.add_argument("b", type=Path, metavar="B")
    _add_scales(command)
    command.add_argument(
        "--replicate",
        type=Path,
        help="another recording of the target, for the ceiling of the NMF score",
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write figures and compare.html there"
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace) -> int:
    """Compare two recordings."""
    a, b = load_targets(arguments.a), load_targets(arguments.b)
    replicate = None if arguments.replicate is None else load_targets(arguments.replicate)
    result = compare(
        a,
        b,
        tau=seconds(arguments.tau),
        bin_s=seconds(arguments.bin),
        modules=arguments.modules,
        replicate=replicate,
    )
    print(json.dumps(result.to_dict(), indent=2) if arguments.json else result.summary())
    if arguments.out is None:
        return 0
    labels = (arguments.a.stem, arguments.b.stem)
    written = [plots.save(plots.plot_rasters([a, b], labels), arguments.out / "rasters.png")]
    if result.nmf is not None:
        ensembles = plots.plot_ensembles(result.nmf, labels)
        written.append(plots.save(ensembles, arguments.out / "ensembles.png"))
    page = compare_page(
        a,
        b,
        result,
        labels=labels,
        sources=(source_of(arguments.a), source_of(arguments.b)),
        bin_s=seconds(arguments.bin),
        command=_command(),
        made=_now(),
    )
    path = arguments.out / "compare.html"
    write_text(path, render(page))
    if not arguments.json:
        print("written: " + ", ".join(map(str, [*written, path])))
    return 0


def add_plot(commands) -> None:
    """Add `eqsnn plot`."""
    command = commands.add_parser("plot", help="draw a fit's folder or a recording")
    command.add_argument("what", type=Path, metavar="RUN_OR_RECORDING")
    command.add_argument("--out", type=Path, metavar="DIR")
    command.set_defaults(run=run_plot)


def run_plot(arguments: argparse.Namespace) -> int:
    """Draw figures."""
    out = arguments.out or (arguments.what if arguments.what.is_dir() else arguments.what.parent)
    if arguments.what.is_dir():
        written = plots.save_figures(read_fit(arguments.what), out)
    else:
        name = arguments.what.stem
        figure = plots.plot_rasters([load_targets(arguments.what)], [name])
        written = [plots.save(figure, out / f"{name}_raster.png")]
    print("written: " + ", ".join(map(str, written)))
    return 0
