"""The command `fit`: its options, the stages that they ask for, and what it writes and prints."""

import argparse
import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eqsnn.api import fit, plan
from eqsnn.cli_model import add_backend, assignments, warn_of
from eqsnn.errors import InputError
from eqsnn.formats.load import load_targets
from eqsnn.inference.gradient_free import OPTIMISERS
from eqsnn.inference.likelihood import DENSITIES
from eqsnn.inference.settings import Status
from eqsnn.inference.stages import Forced, Free, GradientFree, Rates, Stage
from eqsnn.losses import TERMS, parse_loss
from eqsnn.quantities import seconds
from eqsnn.report.plots import save_figures
from eqsnn.simulation.network import SpikingModel, load
from eqsnn.simulation.recording import Recording

STAGE_CHOICES = ("auto", "forced+free", "forced", "free")


def add_fit(commands) -> None:
    """Add the command."""
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
        help="auto: from what the data give and the model leaves open (the summary says why); forced: those of these "
        "stages that observed spikes drive",
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
    add_backend(command)
    command.add_argument(
        "--validation", type=float, default=0.2, help="share held out to choose and score by"
    )
    command.add_argument(
        "--no-last-step",
        action="store_true",
        help="estimate from the rest alone; else, where noise is integrated out, one last step is on all data",
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
        warn_of(model)
    fixed = assignments(model, arguments.fix)
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
            last_step=not arguments.no_last_step,
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
    density = "escape" if arguments.density == "auto" else arguments.density
    own = Forced(density=density, prior=arguments.prior)
    polish = Free(loss=arguments.loss or "van_rossum", tau=tau)
    if arguments.stages in ("auto", "forced"):
        planned = plan(
            model, targets, loss=arguments.loss, tau=tau, density=arguments.density,
            prior=arguments.prior, seed=arguments.seed, backend=arguments.backend, recorded=arguments.recorded,
        )  # fmt: skip
        stages, notes = planned.stages, (*planned.reasons, *planned.warnings)
        if arguments.stages == "forced":
            notes = ()  # they speak of stages that are left out
            stages = tuple(stage for stage in stages if isinstance(stage, Forced)) or (own,)
    else:
        stages = {"forced+free": (own, polish), "free": (polish,)}[arguments.stages]
    stages = tuple(_adjusted(stage, forced, free, arguments.evaluations) for stage in stages)
    if arguments.optimiser == "adam":
        return stages, notes
    budget = {} if arguments.evaluations is None else {"evaluations": arguments.evaluations}
    searched = (
        replace(s, optimiser=arguments.optimiser)
        if isinstance(s, GradientFree)
        else GradientFree(arguments.optimiser, s, **budget)
        for s in stages
        if not isinstance(s, Rates)
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
