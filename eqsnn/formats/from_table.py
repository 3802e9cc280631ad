"""Tables of spikes as text (.csv, .tsv, .txt): a row for each spike, time, unit and, if there are several, trial.

Lines that begin with `#` say what rows cannot: `# duration: 10 s`, `# dt: 0.001 s`, `# trials: 2`, `# units: 5` or a list
of names, `# gaps: rows`. pandas reads such a file with `comment="#"`.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.formats.source import Reading, Source
from eqsnn.quantities import SECONDS
from eqsnn.simulation.gaps import checked_gaps
from eqsnn.simulation.recording_file import DEFAULT_DT

Array = NDArray[np.float64]
# the names of columns, in small letters and without their unit
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "times", "t", "spike_time", "spike_times", "spiketime", "timestamp", "timestamps"),
    "unit": ("unit", "units", "unit_id", "unit_ids", "unit_name", "neuron", "neuron_id", "cell", "cell_id", "cluster",
             "cluster_id", "id", "i"),
    "trial": ("trial", "trials", "trial_id", "trial_ids", "segment", "sweep", "repeat", "episode"),
}  # fmt: skip
MOST_LABELS = 10**7  # units or trials; a larger number is a slip
DELIMITERS = "\t", ";", ","
_UNIT_OF_TIME = re.compile(r"[ _]*[\[(]([a-z]+)[\])]$|_(s|ms|us|min)$")
_NOTE = re.compile(r"#\s*(\w+)\s*:\s*(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class _Places:
    """Which columns hold what, and the seconds of one unit of time."""

    time: int
    unit: int
    trial: int | None
    scale: float
    columns: int


@dataclass(slots=True)
class _Rows:
    """The rows of a table as read, labels not yet numbered."""

    times: list[float] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    trials: list[str] = field(default_factory=list)


def read_table(path: Path, reading: Reading) -> Source:
    """Return the spikes of a text table. Raises InputError with the line at fault."""
    asked = next((wanted.name for wanted in reading.drives if wanted.needed), None)
    if asked is not None:
        raise InputError(f"{path}: a table of spikes holds no drive `{asked}`; leave --drive out")
    lines = _lines(path)
    notes = _notes(path, lines)
    number, places, delimiter = _header(path, lines, reading)
    rows = _rows(path, lines, number, places, delimiter)
    times = np.array(rows.times) * places.scale
    unit_ids, units = _numbered(path, rows.units, notes.get("units"), "unit")
    trial_ids, trials = _numbered(path, rows.trials, notes.get("trials"), "trial")
    n_trials = max(1, len(trials))
    first = min(0.0, float(times.min())) if len(times) else 0.0
    told = []
    if first < 0:
        told.append(
            f"times go from {first:g} s on; a trial starts there, so that time 0 of the file is {-first:g} s of the recording"
        )
    dt = notes.get("dt")
    length = reading.duration or notes.get("duration")
    if length is None:
        if not len(times):
            raise InputError(f"{path}: holds no spikes and no duration; add `# duration: 10 s`")
        length = _up_to(float(times.max()) - first, dt or DEFAULT_DT)
        told.append(
            f"the file does not say how long a trial lasts; {length:g} s, up to the last spike, are assumed; "
            "say it with --duration"
        )
    starts = np.full(n_trials, first)
    listed = isinstance(notes.get("units"), list)
    numbered = not listed and units == tuple(str(i) for i in range(len(units)))
    try:
        gaps = checked_gaps(notes.get("gaps", []), length, len(units), n_trials)
    except (InputError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None
    if reading.spikes_needed or len(times):
        return Source(
            times, unit_ids, trial_ids, len(units), starts, starts + length,
            dt=dt, unit_names=() if numbered else units, gaps=gaps,
            description=notes.get("description", ""), notes=tuple(told),
        )  # fmt: skip
    raise InputError(f"{path}: a table of spikes holds no drive; give an .npz file")


def _lines(path: Path) -> list[str]:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a table of spikes is expected")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is no text (byte {error.start} is not UTF-8); if it is a file that Neo reads, say --format neo"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    # only line ends are ends of lines; str.splitlines takes other characters for such, too
    lines = io.StringIO(text, newline="").readlines()
    if not any(line.strip() for line in lines):
        raise InputError(f"{path}: is empty; rows of time, unit and perhaps trial are expected")
    return lines


def _notes(path: Path, lines: Sequence[str]) -> dict:
    """Return what the lines beginning with # say: numbers of seconds, and lists."""
    found: dict = {}
    for number, line in enumerate(lines, 1):
        match = _NOTE.match(line)
        if match is None:
            continue
        name, text = match.group(1).lower(), match.group(2)
        try:
            if name in ("duration", "dt"):
                value, unit = re.fullmatch(r"([^\s]+?)\s*(s|ms|us|min|h)?", text).groups()  # type: ignore[union-attr]
                found[name] = float(value) * SECONDS[unit or "s"]
                if not (found[name] > 0 and np.isfinite(found[name])):
                    raise ValueError
            elif name in ("units", "trials", "gaps", "description"):
                # a description of another writer is plain text
                found[name] = json.loads(text) if name != "description" or text[:1] == '"' else text
                if not isinstance(found[name], str if name == "description" else int | list):
                    raise ValueError
                if isinstance(found[name], int) and not 0 <= found[name] <= MOST_LABELS:
                    raise ValueError
        except (ValueError, AttributeError):
            raise InputError(
                f"{path}:{number}: `{line.strip()}` is not understood; write, e.g., `# duration: 10 s`, `# units: 5`, "
                '`# units: ["a", "b"]` or `# gaps: [[-1, 0.5, 1.0, -1]]`'
            ) from None
    return found


def _header(path: Path, lines: Sequence[str], reading: Reading) -> tuple[int, _Places, str | None]:
    """Return the line of the first row of data (from 0), the columns, and what separates them (None: blanks)."""
    number = next((n for n, line in enumerate(lines) if line.strip() and line[0] != "#"), None)
    if number is None:
        return len(lines), _Places(0, 1, 2, 1.0, 2), ","
    line = lines[number]
    delimiter = next((mark for mark in DELIMITERS if mark in line), None)
    cells = [cell.strip() for cell in _cells(line, delimiter)]
    if _number(cells[0], delimiter) is not None:
        if len(cells) not in (2, 3):
            raise InputError(
                f"{path}:{number + 1}: {len(cells)} columns without names; time, unit and perhaps trial are expected, "
                "or a first line that names the columns"
            )
        trial = 2 if len(cells) == 3 else None
        return number, _Places(0, 1, trial, reading.time_unit or 1.0, len(cells)), delimiter
    return number + 1, _named(path, number + 1, cells, reading), delimiter


def _named(path: Path, line: int, cells: Sequence[str], reading: Reading) -> _Places:
    places, scale = {}, 1.0
    for place, cell in enumerate(cells):
        name = cell.lower()
        match = _UNIT_OF_TIME.search(name)
        bare = name[: match.start()] if match else name
        if bare in COLUMNS["time"] and "time" not in places:
            unit = (match.group(1) or match.group(2)) if match else "s"
            if unit not in SECONDS and reading.time_unit is None:
                raise InputError(
                    f"{path}:{line}: `{cell}`: `{unit}` is no unit of time; say --time-unit, e.g. ms or 30kHz for samples"
                )
            places["time"], scale = place, SECONDS.get(unit, 1.0)
        for what in ("unit", "trial"):
            if name in COLUMNS[what] and what not in places:
                places[what] = place
    for what in ("time", "unit"):
        if what not in places:
            raise InputError(
                f"{path}:{line}: no column `{what}` among {', '.join(cells)}; name one so, or one of: "
                + ", ".join(COLUMNS[what])
            )
    return _Places(
        places["time"], places["unit"], places.get("trial"), reading.time_unit or scale, len(cells)
    )


def _cells(line: str, delimiter: str | None) -> list[str]:
    return line.split() if delimiter is None else next(csv.reader([line], delimiter=delimiter))


def _number(text: str, delimiter: str | None) -> float | None:
    try:
        return float(text.replace(",", ".") if delimiter == ";" else text)
    except ValueError:
        return None


def _cells_by_line(
    path: Path, lines: Sequence[str], first: int, delimiter: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row with the number of its line, from 1."""
    if delimiter is None:
        yield from ((number, line.split()) for number, line in enumerate(lines[first:], first + 1))
        return
    reader = csv.reader(lines[first:], delimiter=delimiter)
    try:
        for cells in reader:
            yield first + reader.line_num, cells
    except csv.Error as error:
        raise InputError(
            f"{path}:{first + reader.line_num}: is no row of a table ({error})"
        ) from None


def _rows(
    path: Path, lines: Sequence[str], first: int, places: _Places, delimiter: str | None
) -> _Rows:
    rows = _Rows()
    for number, cells in _cells_by_line(path, lines, first, delimiter):
        if not cells or cells[0].startswith("#"):
            continue
        if len(cells) != places.columns:
            raise InputError(
                f"{path}:{number}: {len(cells)} columns, but {places.columns} in the first line; complete the row"
            )
        time = _number(cells[places.time], delimiter)
        if time is None or not np.isfinite(time):
            raise InputError(
                f"{path}:{number}: `{cells[places.time]}` is no time; a finite number is expected"
            )
        rows.times.append(time)
        rows.units.append(cells[places.unit])
        rows.trials.append("0" if places.trial is None else cells[places.trial])
    return rows


def _numbered(
    path: Path, labels: Sequence[str], known: int | list | None, what: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the place of each label among all labels, and these: as the file lists them, by number, or as they come."""
    if known is None:
        written = {label: label.strip() for label in dict.fromkeys(labels)}
        if all(_whole(name) is not None for name in written.values()):
            # numpy.savetxt writes 2.000000000000000000e+00
            written = {label: str(_whole(name)) for label, name in written.items()}
            names = sorted(set(written.values()), key=int)
        else:
            names = list(dict.fromkeys(written.values()))
        bare = [written[label] for label in labels]
    else:
        names = list(map(str, known if isinstance(known, list) else range(known)))
        listed = set(names)
        bare = [label if label in listed else label.strip() for label in labels]
        strange = next((label for label in bare if label not in listed), None)
        if strange is not None:
            raise InputError(
                f"{path}: there is a spike of {what} `{strange}`, which `# {what}s:` does not list; add it there"
            )
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[label] for label in bare], dtype=np.int64), tuple(names)


def _whole(label: str) -> int | None:
    """Return a label as a whole number, if it is one."""
    try:
        return (
            int(label)
            if re.fullmatch(r"[+-]?\d+", label)
            else int(str(float(label)).removesuffix(".0"))
        )
    except ValueError:
        return None


def _up_to(last: float, dt: float) -> float:
    """Return the end of the step in which the last spike is."""
    return float((np.floor(last / dt + 1e-3) + 1) * dt)
