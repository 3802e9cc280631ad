"""Every format of data in one table; `load_targets` reads and `save_recording` writes by the name of a file."""

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from warnings import warn

from eqsnn.errors import InputError
from eqsnn.formats.from_nwb import read_nwb
from eqsnn.formats.from_table import read_table
from eqsnn.formats.neo_files import read_neo, write_neo
from eqsnn.formats.npz import read_npz, write_npz
from eqsnn.formats.source import Reading, Source, Wanted, recording_of, wanted_drive
from eqsnn.formats.to_nwb import write_nwb
from eqsnn.formats.to_table import write_table
from eqsnn.language.model import Role
from eqsnn.quantities import SECONDS
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.recording import Recording

Read = Callable[[Path, Reading], Source]
Write = Callable[[Recording, Path], tuple[str, ...]]  # returns what the format cannot hold


@dataclass(frozen=True, slots=True)
class Format:
    """A family of files: the ends of their names, how to read them, and the ends of names that can be written."""

    suffixes: tuple[str, ...]
    read: Read
    write: Write
    written: tuple[str, ...]


# the names `--format` accepts; a name of no row is asked of Neo
FORMATS: Mapping[str, Format] = {
    "npz": Format((".npz",), read_npz, write_npz, (".npz",)),
    "csv": Format((".csv", ".tsv", ".txt"), read_table, write_table, (".csv", ".tsv", ".txt")),
    "nwb": Format((".nwb",), read_nwb, write_nwb, (".nwb",)),
    "neo": Format((), read_neo, write_neo, (".nix", ".mat")),
}


def load_targets(
    path: str | Path,
    *,
    units: Sequence[int | str] | None = None,
    window: tuple[float, float] | None = None,
    trials: Sequence[int] | None = None,
    dt: float | None = None,
    format: str | None = None,
    duration: float | None = None,
    time_unit: str | None = None,
    drives: Sequence[str] = (),
    intervals: str | None = None,
    names: Sequence[str] = (),
    model: SpikingModel | None = None,
) -> Recording:
    """Read spikes, known drives and traces from a file: .npz, a table of text, NWB, or whatever Neo reads (docs/files.md).

    units: which, in this order: numbers are places from 0 on, texts names, with `*` and `?` as in file names.
    window: start and stop (s) on the file's clock, or from the start of each trial where trials start at different
    times. trials: which, from 0 on. dt: seconds of a step (default: the file's, else 1 ms); spike times stay as they are.

    format: a key of FORMATS or `neo:CLASS`, where the name of the file does not say. duration: seconds of a trial,
    where the file does not say. time_unit: of a table, `ms`, `us`, `min`, or `30kHz` for samples. drives: signals of Neo
    and NWB files, as `NAME`, `NAME=SIGNAL` or `NAME=SIGNAL:UNIT` with the name and unit in the model; model: takes
    signals named like its inputs. intervals: a table of an NWB file, each row of which is a trial. names: columns of
    the units table that name the units.

    What is assumed or left out is warned of. Nothing is unpickled. Raises InputError with one clear message for a
    missing, damaged, empty or contradictory file, a choice that is not in it, or a library that is not installed.
    """
    reading = Reading(
        time_unit=None if time_unit is None else seconds_of(time_unit),
        duration=duration,
        drives=(*map(wanted_drive, drives), *inputs_of(model)),
        intervals=intervals,
        names=tuple(names),
    )
    source = read_source(path, reading, format)
    recording, notes = _located(path, source, dt)
    for note in notes:
        warn(f"{path}: {note}", stacklevel=2)
    return chosen(recording, units=units, window=window, trials=trials, clock=source.clock)


def load_inputs(path: str | Path, *, model: SpikingModel | None = None) -> Recording:
    """Read known drives from a file that need not hold spikes; of Neo and NWB files, signals named like `model`'s inputs.

    Raises InputError as `load_targets`.
    """
    source = read_source(path, Reading(drives=inputs_of(model), spikes_needed=False))
    return _located(path, source, None)[0]


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording in the format that the name of the file says: .npz, .csv, .tsv, .txt, .nwb, .nix or .mat.

    Warns of what the format cannot hold. Raises InputError for another name, a missing library, or a place that cannot
    be written.
    """
    place = Path(path)
    suffix = place.suffix.lower()
    found = next((f for f in FORMATS.values() if suffix in f.written), None)
    if found is None:
        known = ", ".join(suffix for f in FORMATS.values() for suffix in f.written)
        raise InputError(
            f"{path}: `{suffix}` is no format that can be written; end the name with one of {known}"
        )
    for lost in found.write(recording, place):
        warn(f"{path}: {lost}", stacklevel=2)


def read_source(path: str | Path, reading: Reading, format: str | None = None) -> Source:
    """Return what a file says, on its own clock. Raises InputError (see `load_targets`)."""
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path}: there is no such file")
    if place.is_file() and place.stat().st_size == 0:
        raise InputError(f"{path}: is empty; a file of spike times is expected")
    name, _, io = (format or format_of(place)).partition(":")
    if name not in FORMATS or (io and name != "neo"):
        raise InputError(
            f"there is no format `{format}`; the formats are {', '.join(FORMATS)} and neo:CLASS, e.g. neo:AsciiSpikeTrainIO"
        )
    return FORMATS[name].read(place, replace(reading, io=io or None))


def format_of(path: Path) -> str:
    """Return the key of FORMATS for a file: by the end of its name, else by its first bytes, else Neo."""
    suffix = path.suffix.lower()
    for name, found in FORMATS.items():
        if suffix in found.suffixes:
            return name
    return "npz" if path.is_file() and zipfile.is_zipfile(path) else "neo"


def chosen(
    recording: Recording,
    *,
    units: Sequence[int | str] | None = None,
    window: tuple[float, float] | None = None,
    trials: Sequence[int] | None = None,
    clock: float = 0.0,
) -> Recording:
    """Return some units and trials of a recording and a window of them (s), on a clock that shows `clock` at its start.

    Units without names are called by the places that they had. Raises InputError for what is not there.
    """
    if trials is not None:
        recording = recording.trials(trials)
    if units is not None:
        places = places_of(recording, units)
        names = recording.unit_names or tuple(map(str, range(recording.n_units)))
        recording = replace(recording.select(places), unit_names=tuple(names[i] for i in places))
    if window is None:
        return recording
    start, stop = (edge - clock for edge in window)
    length = recording.duration
    if not -1e-9 <= start < stop <= length + 1e-9 * (1 + length):
        raise InputError(
            f"the window {window[0]:g} to {window[1]:g} s is not within the recording, from {clock:g} to {clock + length:g} s"
        )
    return recording.window(max(start, 0.0), min(stop, length))


def places_of(recording: Recording, units: Sequence[int | str]) -> list[int]:
    """Return the places of units: numbers are places, texts names, patterns of names or, of no name, places."""
    found: list[int] = []
    names = recording.unit_names
    for unit in units:
        if not isinstance(unit, str):
            found.append(int(unit))
            continue
        named = [i for i, name in enumerate(names) if name == unit]
        named = named or [i for i, name in enumerate(names) if fnmatchcase(name, unit)]
        if not named and unit.isdigit() and int(unit) < recording.n_units:
            named = [int(unit)]
        if not named:
            known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            raise InputError(
                f"there is no unit `{unit}`; the recording has {known or f'no names, but units 0 to {recording.n_units - 1}'}"
            )
        found += named
    if len(set(found)) < len(found):
        twice = next(i for i in found if found.count(i) > 1)
        raise InputError(f"unit {twice} is chosen twice; name each unit once")
    return found


def seconds_of(time_unit: str) -> float:
    """Return the seconds of one unit of time, or of one sample: `ms` is 1e-3, `30kHz` 1/30000. Raises InputError."""
    text = time_unit.strip()
    if text in SECONDS:
        return SECONDS[text]
    for suffix, factor in (("kHz", 1e3), ("Hz", 1.0)):
        number = text.removesuffix(suffix)
        try:
            rate = float(number) * factor if number != text else 0.0
        except ValueError:
            rate = 0.0
        if 0 < rate < float("inf"):
            return 1 / rate
    raise InputError(
        f"`{time_unit}` is no unit of time; write s, ms, us, min, or the sampling rate of samples, as in 30kHz"
    )


def inputs_of(model: SpikingModel | None) -> tuple[Wanted, ...]:
    """Return the inputs of a model as drives to take where a file has them, by `population.name` or `name`."""
    if model is None:
        return ()
    definition = model.definition
    inputs = [
        (population, variable.name)
        for population in definition.populations
        for variable in definition.neuron_of(population).variables.values()
        if variable.role is Role.INPUT
    ]
    names = dict.fromkeys(
        [f"{population}.{name}" for population, name in inputs] + [n for _, n in inputs]
    )
    return tuple(Wanted(name, name, needed=False) for name in names)


def _located(
    path: str | Path, source: Source, dt: float | None
) -> tuple[Recording, tuple[str, ...]]:
    try:
        return recording_of(source, dt)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
