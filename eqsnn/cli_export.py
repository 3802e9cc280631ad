"""The command `export`: a model for another simulator."""

import argparse
from collections.abc import Callable
from pathlib import Path

from eqsnn.errors import InputError
from eqsnn.exchange.to_brian2 import to_brian2
from eqsnn.files import write_text
from eqsnn.quantities import seconds
from eqsnn.simulation.network import SpikingModel, load

TARGETS: dict[str, Callable[..., str]] = {"brian2": to_brian2}  # the names `--to` accepts


def add_export(commands) -> None:
    """Add `eqsnn export`."""
    command = commands.add_parser("export", help="write a model as a script for another simulator")
    command.add_argument("model", type=Path)
    command.add_argument("--to", choices=list(TARGETS), default="brian2")
    command.add_argument(
        "--out", type=Path, metavar="SCRIPT.py", help="default: print it on standard output"
    )
    command.add_argument(
        "--size", type=int, metavar="N", help="neurons of a population without a size"
    )
    command.add_argument("--duration", default="1s", help="how long the script simulates")
    command.add_argument("--seed", type=int, default=0, help="of the values of unknown parameters")
    command.add_argument(
        "--input",
        default="inputs.npz",
        metavar="FILE.npz",
        help="where the script finds the model's drives, as for `eqsnn simulate`",
    )
    command.set_defaults(run=run_export)


def run_export(arguments: argparse.Namespace) -> int:
    """Write the script."""
    model = _with_size(load(arguments.model), arguments.size)
    text = TARGETS[arguments.to](
        model,
        seed=arguments.seed,
        duration=seconds(arguments.duration),
        inputs_file=arguments.input,
    )
    if arguments.out is None:
        print(text, end="")
        return 0
    write_text(arguments.out, text)
    print(f"{arguments.out}: {len(text.splitlines())} lines; run it with `python {arguments.out}`")
    return 0


def _with_size(model: SpikingModel, size: int | None) -> SpikingModel:
    if size is None or model.is_sized:
        return model
    if size < 1:
        raise InputError(
            f"a population of {size} neurons; write --size with a whole number from 1 on"
        )
    known = sum(population.size or 0 for population in model.definition.populations.values())
    return model.sized(known + size)
