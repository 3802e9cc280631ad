"""The command line: parse arguments, call, print; no science. Exit status: 0 done, 1 not converged, 2 input at fault."""

import argparse
import json
import shlex
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eqsnn.api import fit, plan, simulate
from eqsnn.cli_data import add_data
from eqsnn.cli_export import add_export
from eqsnn.cli_report import add_compare, add_plot, add_report
from eqsnn.cli_uncertainty import add_bootstrap, add_profile
from eqsnn.compiler import BACKENDS, STAGES
from eqsnn.errors import InputError, ModelError
from eqsnn.formats.load import load_inputs, load_targets
from eqsnn.inference.gradcheck import gradcheck
from eqsnn.inference.gradient_free import OPTIMISERS
from eqsnn.inference.likelihood import DENSITIES
from eqsnn.inference.settings import Status
from eqsnn.inference.stages import Forced, Free, GradientFree, Stage
from eqsnn.language.model import Model
from eqsnn.losses import TERMS, parse_loss
from eqsnn.maths.suspicions import suspicions
from eqsnn.quantities import in_unit_of, seconds
from eqsnn.report.explain import explain, format_explanation
from eqsnn.report.plots import save_figures
from eqsnn.simulation.network import SpikingModel, load
from eqsnn.simulation.parameters import matching, parameters_of
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.setup import with_size

STAGE_CHOICES = ("auto", "forced+free", "forced", "free")


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
    _add_fit(commands)
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
    definition = _with_some_size(model)
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


def _warn(model: SpikingModel) -> None:
    """Print what is suspicious about a model on standard error."""
    for suspicion in suspicions(_with_some_size(model)):
        print(suspicion, file=sys.stderr)


def _with_some_size(model: SpikingModel) -> Model:
    """Return the definition of a model, one neuron standing for as many as the targets have."""
    definition = model.definition
    if model.is_sized:
        return definition
    known = sum(p.size or 0 for p in definition.populations.values())
    return with_size(definition, known + 1)


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
    _add_backend(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE.npz")
    command.add_argument("--quiet", action="store_true", help="no warnings about the model")
    command.set_defaults(run=run_simulate)


def _add_backend(command) -> None:
    command.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="native: compiled C; pytorch: the slow reference; auto: native where there is a C compiler",
    )


def run_simulate(arguments: argparse.Namespace) -> int:
    """Simulate and write a recording."""
    model = load(arguments.model)
    if not arguments.quiet:
        _warn(model)
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
        parameters=_assignments(model, arguments.set),
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


def _assignments(model: SpikingModel, texts: Sequence[str]) -> dict[str, float]:
    sized = (
        model
        if model.is_sized
        else model.sized(1 + sum(p.size or 0 for p in model.definition.populations.values()))
    )
    known = parameters_of(sized.definition)
    values: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"`{text}`: write NAME=VALUE, as in tau_m=12ms")
        for full in matching(known, name.strip()):
            values[full] = in_unit_of(value, known[full])
    return values


def _add_fit(commands) -> None:
    command = commands.add_parser(
        "fit", help="fit the unknown parameters of a model to spike trains"
    )
    command.add_argument("model", type=Path)
    command.add_argument("targets", type=Path, metavar="TARGETS")
    command.add_argument("--out", type=Path, default=Path("run"), metavar="DIR")
    command.add_argument(
        "--starts", type=int, default=16, help="restarts from different random values"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--fix", action="append", default=[], metavar="NAME=VALUE", help="take a parameter as known"
    )
    command.add_argument(
        "--learn", action="append", default=[], metavar="NAME", help="take a parameter as unknown"
    )
    command.add_argument(
        "--units",
        type=_numbers,
        default=(),
        metavar="0,3,5",
        help="explain the spikes of these units only; the others still drive synapses",
    )
    command.add_argument(
        "--recorded",
        type=_numbers,
        default=(),
        metavar="0,1,5",
        help="places of the targets' units in the model's network, whose other neurons were never recorded",
    )
    command.add_argument(
        "--loss",
        help="of the free-running stage (van_rossum unless named; with unknown noise only if named), "
        "e.g. 'van_rossum(tau=2ms,12ms) + 0.1*rate + 0.5*psth(bin=20ms)'; terms: "
        + ", ".join(TERMS),
    )
    command.add_argument(
        "--tau", default="10ms", help="time constant of distances that name none, and of the scores"
    )
    command.add_argument(
        "--stages",
        choices=STAGE_CHOICES,
        default=STAGE_CHOICES[0],
        help="auto: from what the data give and the model leaves open (the summary says why)",
    )
    command.add_argument(
        "--density",
        choices=("auto", *DENSITIES),
        default="auto",
        help="how noise that the data do not give is integrated out (docs/likelihood.md)",
    )
    command.add_argument(
        "--prior",
        action="store_true",
        help="maximise the posterior under the file's distributions, not the likelihood alone",
    )
    command.add_argument(
        "--optimiser",
        choices=("adam", *OPTIMISERS),
        default="adam",
        help="cmaes, random: the same objectives without gradients, to see what these buy",
    )
    command.add_argument(
        "--evaluations",
        type=int,
        help="candidates that each start tries in each stage without gradients",
    )
    command.add_argument(
        "--iterations", type=int, help="iterations at each width of the forced stage"
    )
    command.add_argument("--polish", type=int, help="iterations of the free-running stage")
    command.add_argument(
        "--learning-rate", type=float, help="of the forced stage, in units of the priors' spread"
    )
    command.add_argument(
        "--window", help="of the forced stage, e.g. 250ms; windows run side by side"
    )
    command.add_argument(
        "--warm-up", help="before each window, longer than the neurons' memory, e.g. 100ms"
    )
    command.add_argument(
        "--near",
        type=float,
        metavar="SHARE",
        help="start within this share of the recording's own parameters",
    )
    command.add_argument("--max-time", metavar="TIME", help="stop after, e.g., 5min")
    _add_backend(command)
    command.add_argument(
        "--validation", type=float, default=0.2, help="share held out to choose and score by"
    )
    command.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    command.add_argument("--checkpoint-every", default="20s", help="time between two checkpoints")
    command.add_argument("--quiet", action="store_true")
    command.set_defaults(run=run_fit)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"`{text}`: write whole numbers with commas, as in 0,3,5")
    return tuple(map(int, parts))


def run_fit(arguments: argparse.Namespace) -> int:
    """Fit, write the folder, print the summary."""
    tau = seconds(arguments.tau)
    if arguments.loss is not None:
        parse_loss(arguments.loss, tau=tau)
    model = load(arguments.model)
    targets = load_targets(arguments.targets, model=model)
    if not arguments.quiet:
        _warn(model)
    fixed = _assignments(model, arguments.fix)
    model = model.with_values(fixed).learning(arguments.learn)
    stages, notes = _stages(arguments, model, targets, tau)
    with ExitStack() as stack:
        report = None
        if sys.stderr.isatty() and not arguments.quiet:
            report = _Progress(stack)
        result = fit(
            model,
            targets,
            starts=arguments.starts,
            seed=arguments.seed,
            tau=tau,
            stages=stages,
            notes=notes,
            start=_near(model, targets, arguments),
            validation=arguments.validation,
            max_time=float("inf") if arguments.max_time is None else seconds(arguments.max_time),
            checkpoint=arguments.out / "checkpoint.npz",
            checkpoint_every=seconds(arguments.checkpoint_every),
            resume=arguments.resume,
            report=report,
            backend=arguments.backend,
            command=shlex.join(["eqsnn", *sys.argv[1:]]),
            units=arguments.units,
            recorded=arguments.recorded,
        )
    provenance = result.provenance.with_targets(
        arguments.targets, recorded=arguments.recorded, units=arguments.units
    )
    result = replace(result, provenance=provenance)
    result.save(arguments.out)
    figures = save_figures(result, arguments.out)
    if not arguments.quiet:
        print(result.summary())
        print(
            f"written: {arguments.out}/summary.json, fit.npz, fitted.eqs, {', '.join(path.name for path in figures)}"
        )
        print(f"a report to look at: eqsnn report {shlex.quote(str(arguments.out))}")
    if result.status is Status.INTERRUPTED:
        return 130
    return 0 if result.status is Status.CONVERGED else 1


class _Progress:
    """A progress bar with the time that is left, on standard error."""

    def __init__(self, stack: ExitStack) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:.0f} %"),
            TimeRemainingColumn(),
        )
        self.bar = stack.enter_context(Progress(*columns, console=Console(stderr=True)))
        self.task = self.bar.add_task("compiling", total=None)

    def __call__(self, stage: str, done: int, total: int, best: float) -> None:
        self.bar.update(self.task, description=f"{stage}  {best:.4g}", completed=done, total=total)


def _stages(
    arguments: argparse.Namespace, model: SpikingModel, targets: Recording, tau: float
) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """Return the stages that the arguments ask for, and why they are these."""
    given = {"iterations": arguments.iterations, "learning_rate": arguments.learning_rate}
    given |= {
        name: seconds(text)
        for name in ("window", "warm_up")
        if (text := getattr(arguments, name)) is not None
    }
    forced = {name: value for name, value in given.items() if value is not None}
    free = {} if arguments.polish is None else {"iterations": arguments.polish}
    notes: tuple[str, ...] = ()
    if arguments.stages == "auto":
        planned = plan(
            model, targets, loss=arguments.loss, tau=tau, density=arguments.density,
            prior=arguments.prior, seed=arguments.seed, backend=arguments.backend, recorded=arguments.recorded,
        )  # fmt: skip
        stages, notes = planned.stages, (*planned.reasons, *planned.warnings)
    else:
        density = "escape" if arguments.density == "auto" else arguments.density
        own = Forced(density=density, prior=arguments.prior)
        polish = Free(loss=arguments.loss or "van_rossum", tau=tau)
        stages = {"forced+free": (own, polish), "forced": (own,), "free": (polish,)}[
            arguments.stages
        ]
    stages = tuple(_adjusted(stage, forced, free, arguments.evaluations) for stage in stages)
    if arguments.optimiser == "adam":
        return stages, notes
    budget = {} if arguments.evaluations is None else {"evaluations": arguments.evaluations}
    searched = (
        replace(s, optimiser=arguments.optimiser)
        if isinstance(s, GradientFree)
        else GradientFree(arguments.optimiser, s, **budget)
        for s in stages
    )
    return tuple(searched), notes


def _adjusted(stage: Stage, forced: dict, free: dict, evaluations: int | None) -> Stage:
    """Return a stage with what the arguments say of its kind."""
    if isinstance(stage, GradientFree):
        return stage if evaluations is None else replace(stage, evaluations=evaluations)
    return replace(stage, **(forced if isinstance(stage, Forced) else free))


def _near(model: SpikingModel, targets: Recording, arguments: argparse.Namespace) -> dict | None:
    """Return starts scattered around the parameters that a simulated recording carries."""
    if arguments.near is None:
        return None
    if not targets.parameters:
        raise InputError(
            "--near needs targets made by `eqsnn simulate`, which carry their parameters"
        )
    sized = model if model.is_sized else model.sized(targets.n_units)
    return sized.near(targets.parameters, arguments.near, arguments.starts, arguments.seed)


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
    _add_backend(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run_gradcheck)


def run_gradcheck(arguments: argparse.Namespace) -> int:
    """Compare the gradient modes at one point."""
    model = load(arguments.model)
    targets = load_targets(arguments.targets, model=model)
    model = model.sized(targets.n_units).learning(arguments.learn)
    point = _assignments(model, arguments.set)
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
