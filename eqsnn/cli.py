"""The command line: parse arguments, call, print; no science. Exit status: 0 done, 1 not converged, 2 input at fault."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from eqsnn.api import simulate
from eqsnn.cli_data import add_data
from eqsnn.cli_export import add_export
from eqsnn.cli_fit import add_fit
from eqsnn.cli_model import add_backend, assignments, warn_of, with_some_size
from eqsnn.cli_report import add_compare, add_plot, add_report
from eqsnn.cli_uncertainty import add_bootstrap, add_profile
from eqsnn.compiler import STAGES
from eqsnn.errors import InputError, ModelError
from eqsnn.formats.load import load_inputs, load_targets
from eqsnn.inference.gradcheck import gradcheck
from eqsnn.maths.suspicions import suspicions
from eqsnn.quantities import seconds
from eqsnn.report.explain import explain, format_explanation
from eqsnn.simulation.network import load


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    arguments = _parser().parse_args(argv)
    # the step of a small network is faster on one thread than on several that wait for each other
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments)
    except (ModelError, InputError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eqsnn", description="Spiking networks from equations, fitted to spike trains."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_check(commands)
    _add_show(commands)
    _add_simulate(commands)
    add_fit(commands)
    _add_gradcheck(commands)
    add_compare(commands)
    add_plot(commands)
    add_report(commands)
    add_data(commands)
    add_export(commands)
    add_profile(commands)
    add_bootstrap(commands)
    return parser


def _add_check(commands) -> None:
    command = commands.add_parser("check", help="report every mistake of a model file")
    command.add_argument("model", type=Path)
    command.add_argument(
        "--explain",
        action="store_true",
        help="equations written out, integrators, units, what spikes cannot tell, cost",
    )
    command.add_argument("--json", action="store_true", help="the explanation as JSON")
    command.set_defaults(run=run_check)


def run_check(arguments: argparse.Namespace) -> int:
    """Check a model file and say what was chosen for it."""
    model = load(arguments.model)
    definition = with_some_size(model)
    if arguments.explain or arguments.json:
        explanation = explain(definition)
        text = json.dumps(explanation.to_dict(), indent=2) + "\n"
        print(text if arguments.json else format_explanation(explanation), end="")
        for suspicion in suspicions(definition):
            print(suspicion, file=sys.stderr if arguments.json else sys.stdout)
        return 0
    notes = [
        line.strip().removeprefix("note").strip()
        for line in STAGES["program"](definition).splitlines()
        if line.strip().startswith("note ")
    ]
    print(f"{arguments.model}: ok")
    for suspicion in suspicions(definition):
        print(suspicion)
    for name, population in model.definition.populations.items():
        size = "as many as the targets have" if population.size is None else str(population.size)
        print(f"  {name}: {population.neuron}, {size}")
    print("\n".join(f"  {note}" for note in notes))
    return 0


def _add_show(commands) -> None:
    command = commands.add_parser("show", help="print a stage of compilation")
    command.add_argument("model", type=Path)
    command.add_argument("--stage", choices=list(STAGES), default="model")
    command.set_defaults(run=run_show)


def run_show(arguments: argparse.Namespace) -> int:
    """Print a stage of compilation."""
    print(load(arguments.model).show(arguments.stage), end="")
    return 0


def _add_simulate(commands) -> None:
    command = commands.add_parser("simulate", help="simulate a model and write its spikes")
    command.add_argument("model", type=Path)
    command.add_argument("--duration", required=True, help="seconds of each trial, e.g. 10s")
    command.add_argument("--trials", type=int, default=1)
    command.add_argument("--burn-in", default="0s", help="time discarded first")
    command.add_argument("--dt", help="time step, e.g. 0.1ms; default: the model's")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="value of a parameter, e.g. tau_m=12ms",
    )
    command.add_argument("--input", type=Path, metavar="FILE", help="known drives by their names")
    command.add_argument(
        "--record", action="append", default=[], metavar="NAME", help="variable to keep, e.g. v"
    )
    command.add_argument("--seed", type=int, default=0)
    add_backend(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    command.add_argument("--quiet", action="store_true", help="no warnings about the model")
    command.set_defaults(run=run_simulate)


def run_simulate(arguments: argparse.Namespace) -> int:
    """Simulate and write a recording."""
    model = load(arguments.model)
    if not arguments.quiet:
        warn_of(model)
    inputs = None if arguments.input is None else load_inputs(arguments.input, model=model)
    if not model.is_sized and inputs is not None and inputs.n_units > 1:
        model = model.sized(inputs.n_units)
    recording = simulate(
        model,
        seconds(arguments.duration),
        trials=arguments.trials,
        dt=None if arguments.dt is None else seconds(arguments.dt),
        seed=arguments.seed,
        inputs=inputs,
        parameters=assignments(model, arguments.set),
        record=arguments.record,
        burn_in=seconds(arguments.burn_in),
        backend=arguments.backend,
    )
    recording.save(arguments.out)
    rates = recording.rates()
    spread = f"{rates.min():.1f} to {rates.max():.1f} Hz" if len(rates) else "no spiking neurons"
    print(
        f"{arguments.out}: {len(recording.spike_times)} spikes of {recording.n_units} neurons "
        f"in {recording.n_trials} x {recording.duration:g} s, {spread}"
    )
    return 0


def _add_gradcheck(commands) -> None:
    command = commands.add_parser(
        "gradcheck",
        help="compare the gradient modes with finite differences on a model and its targets",
    )
    command.add_argument("model", type=Path)
    command.add_argument("targets", type=Path, metavar="TARGETS")
    command.add_argument(
        "--loss",
        default="van_rossum",
        help="a van Rossum distance, e.g. 'van_rossum(tau=5ms,20ms)'",
    )
    command.add_argument("--tau", default="10ms", help="time constant of distances that name none")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="where to compare; parameters not named are drawn from their distributions",
    )
    command.add_argument(
        "--learn", action="append", default=[], metavar="NAME", help="take a parameter as unknown"
    )
    command.add_argument(
        "--step",
        type=float,
        default=0.02,
        help="of the finite differences, in spreads of the distributions",
    )
    command.add_argument("--duration", default="1s", help="of the targets that is used")
    command.add_argument("--seed", type=int, default=0)
    add_backend(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run_gradcheck)


def run_gradcheck(arguments: argparse.Namespace) -> int:
    """Compare the gradient modes at one point."""
    model = load(arguments.model)
    targets = load_targets(arguments.targets, model=model)
    model = model.sized(targets.n_units).learning(arguments.learn)
    point = assignments(model, arguments.set)
    unknown = {name for name, parameter in model.parameters().items() if parameter.learned}
    model = model.with_values({name: v for name, v in point.items() if name not in unknown})
    result = gradcheck(
        model.definition,
        model.parameters(),
        targets,
        at={name: value for name, value in point.items() if name in unknown},
        loss=arguments.loss,
        tau=seconds(arguments.tau),
        step=arguments.step,
        seconds=seconds(arguments.duration),
        seed=arguments.seed,
        backend=arguments.backend,
    )
    print(json.dumps(result.to_dict(), indent=2) if arguments.json else result.summary())
    return 0
