"""The commands `data inspect`, `data convert` and `data split`: what is in a file, another format, parts to learn from."""

import argparse
import json
import shutil
import warnings
from pathlib import Path

from eqsnn.analysis.inspection import inspect
from eqsnn.errors import InputError
from eqsnn.formats.load import (
    FORMATS,
    chosen,
    format_of,
    inputs_of,
    read_source,
    save_recording,
    seconds_of,
)
from eqsnn.formats.source import Reading, Source, recording_of, wanted_drive
from eqsnn.quantities import seconds
from eqsnn.report import plots
from eqsnn.report.inspection_text import format_inspection
from eqsnn.simulation.network import SpikingModel, load
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.split import split

PARTS = {2: ("train", "test"), 3: ("train", "validation", "test")}  # names by the number of shares


def add_data(commands) -> None:
    """Add `eqsnn data` with its three commands."""
    command = commands.add_parser("data", help="look into recordings, convert and split them")
    data = command.add_subparsers(required=True, metavar="inspect|convert|split")
    _add_inspect(data)
    _add_convert(data)
    _add_split(data)


def _add_reading(command) -> None:
    """Add what says how a file is read and what of it is taken."""
    command.add_argument(
        "file", type=Path, metavar="FILE", help=".npz, .csv, .tsv, .txt, .nwb, or what Neo reads"
    )
    command.add_argument(
        "--format",
        metavar="NAME",
        help=f"{', '.join(FORMATS)} or neo:CLASS, where the file's name does not say",
    )
    command.add_argument(
        "--units", metavar="0,3,CA1*", help="names, patterns of names, or places from 0 on"
    )
    command.add_argument(
        "--window", metavar="10s:60s", help="part of each trial, on the file's clock"
    )
    command.add_argument("--trials", metavar="0,2,5-9", help="trials, from 0 on")
    command.add_argument(
        "--dt", metavar="TIME", help="step of the recording; spike times stay as they are"
    )
    command.add_argument(
        "--duration", metavar="TIME", help="of a trial, where the file does not say"
    )
    command.add_argument(
        "--time-unit", metavar="UNIT", help="of a table: s, ms, us, min, or 30kHz for samples"
    )
    command.add_argument(
        "--drive", action="append", default=[], metavar="NAME[=SIGNAL[:UNIT]]",
        help="take a signal of a Neo or NWB file as a drive, e.g. I_ext=stimulus:pA",
    )  # fmt: skip
    command.add_argument(
        "--intervals", metavar="TABLE", help="of an NWB file: its rows are trials, e.g. trials"
    )
    command.add_argument(
        "--names", metavar="COLUMN,...", help="of an NWB units table: they name the units"
    )


def _source(arguments: argparse.Namespace, model: SpikingModel | None = None) -> Source:
    unit = arguments.time_unit
    reading = Reading(
        time_unit=None if unit is None else seconds_of(unit),
        duration=_optional(arguments.duration),
        drives=(*map(wanted_drive, arguments.drive), *inputs_of(model)),
        intervals=arguments.intervals,
        names=tuple(arguments.names.split(",")) if arguments.names else (),
    )
    return read_source(arguments.file, reading, arguments.format)


def _recording(arguments: argparse.Namespace, source: Source) -> tuple[Recording, tuple[str, ...]]:
    try:
        whole, notes = recording_of(source, _optional(arguments.dt))
    except InputError as error:
        raise InputError(f"{arguments.file}: {error}") from None
    part = chosen(
        whole,
        units=None if arguments.units is None else [u.strip() for u in arguments.units.split(",")],
        window=None if arguments.window is None else _window(arguments.window),
        trials=None if arguments.trials is None else _ranges(arguments.trials),
        clock=source.clock,
    )
    return part, notes


def _optional(text: str | None) -> float | None:
    if text is None:
        return None
    value = seconds(text)
    if value <= 0:
        raise InputError(f"`{text}`: a positive time is expected")
    return value


def _window(text: str) -> tuple[float, float]:
    start, colon, stop = text.partition(":")
    if not colon:
        raise InputError(f"--window {text}: write START:STOP with units, as in 10s:60s")
    return seconds(start), seconds(stop)


def _ranges(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not (last.isdigit() and int(first) <= int(last))):
            raise InputError(f"--trials {text}: write numbers from 0 on, as in 0,2,5-9")
        found += range(int(first), int(last if dash else first) + 1)
    return found


def _add_inspect(data) -> None:
    command = data.add_parser("inspect", help="what is in a file, and what to mend before a fit")
    _add_reading(command)
    command.add_argument(
        "--model", type=Path, metavar="MODEL.eqs", help="its dt, and the drives it needs"
    )
    command.add_argument("--refractory", default="2ms", help="shorter intervals are violations")
    command.add_argument(
        "--all", action="store_true", help="a row for every unit, not for the first 40"
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="write a raster there")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=run_inspect)


def run_inspect(arguments: argparse.Namespace) -> int:
    """Print what is in a file."""
    model = None if arguments.model is None else load(arguments.model)
    source = _source(arguments, model)
    recording, notes = _recording(arguments, source)
    found = inspect(
        recording,
        source,
        format=arguments.format or format_of(arguments.file),
        dt=None if model is None else model.definition.dt * 1e-3,
        refractory=seconds(arguments.refractory),
        notes=(*notes, *_lacking(model, recording)),
    )
    if arguments.json:
        print(json.dumps({"file": str(arguments.file), **found.to_dict()}, indent=2))
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        print(arguments.file)
        print(format_inspection(found, width=min(width, 140), all_units=arguments.all), end="")
    if arguments.out is not None:
        figure = plots.plot_rasters([recording], [arguments.file.stem])
        written = plots.save(figure, arguments.out / f"{arguments.file.stem}_raster.png")
        if not arguments.json:
            print(f"written: {written}")
    return 0


def _lacking(model: SpikingModel | None, recording: Recording) -> list[str]:
    """Return what a model needs and the recording does not have."""
    if model is None:
        return []
    names = [wanted.name for wanted in inputs_of(model) if "." not in wanted.name]
    lacking = [
        name for name in names if not any(i.rsplit(".", 1)[-1] == name for i in recording.inputs)
    ]
    found = [
        f"the model needs the input `{name}`, but the file has no such drive; add an array, or name a signal with "
        f"--drive {name}=SIGNAL"
        for name in lacking
    ]
    populations = model.definition.populations
    spiking = [n for n in populations if model.definition.neuron_of(n).threshold is not None]
    sizes = [populations[name].size for name in spiking]
    if None not in sizes and sum(size or 0 for size in sizes) != recording.n_units:
        found.append(
            f"the model has {sum(size or 0 for size in sizes)} spiking neurons, the file {recording.n_units} units; choose "
            "--units, or say with `eqsnn fit --recorded` which neurons they are"
        )
    return found


def _add_convert(data) -> None:
    command = data.add_parser(
        "convert", help="write a recording, or a part of it, in another format"
    )
    _add_reading(command)
    command.add_argument(
        "out", type=Path, metavar="OUT", help="ends with .npz, .csv, .tsv, .txt, .nwb, .nix or .mat"
    )
    command.set_defaults(run=run_convert)


def run_convert(arguments: argparse.Namespace) -> int:
    """Write a recording in the format that the name of the output says."""
    recording = _told(arguments)
    save_recording(recording, arguments.out)
    print(f"{arguments.out}: {_described(recording)}")
    return 0


def _told(arguments: argparse.Namespace) -> Recording:
    recording, notes = _recording(arguments, _source(arguments))
    for note in notes:
        warnings.warn(f"{arguments.file}: {note}", stacklevel=2)
    return recording


def _described(recording: Recording) -> str:
    return (
        f"{len(recording.spike_times)} spikes of {recording.n_units} units in {recording.n_trials} x "
        f"{recording.duration:g} s"
    )


def _add_split(data) -> None:
    command = data.add_parser(
        "split", help="cut a recording into parts to learn from and to judge by"
    )
    _add_reading(command)
    command.add_argument("--by", choices=("time", "trial"), default="time")
    command.add_argument(
        "--shares",
        default="0.7,0.15,0.15",
        help="of train, validation and test, or of train and test",
    )
    command.add_argument("--seed", type=int, help="deal out trials at random, not in order")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.set_defaults(run=run_split)


def run_split(arguments: argparse.Namespace) -> int:
    """Write train.npz, validation.npz and test.npz."""
    try:
        shares = [float(share) for share in arguments.shares.split(",")]
    except ValueError:
        raise InputError(
            f"--shares {arguments.shares}: write numbers, as in 0.7,0.15,0.15"
        ) from None
    if len(shares) not in PARTS:
        raise InputError(
            f"--shares {arguments.shares}: two (train, test) or three (train, validation, test) are expected"
        )
    recording = _told(arguments)
    parts = split(recording, shares, by=arguments.by, seed=arguments.seed)
    for name, part in zip(PARTS[len(shares)], parts, strict=True):
        path = arguments.out / f"{name}.npz"
        part.save(path)
        print(f"{path}: {_described(part)}")
    return 0
