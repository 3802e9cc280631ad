"""What is in a recording, as text for a terminal: facts, a row for each unit with a bar of its rate, a raster."""

import numpy as np

from eqsnn.analysis.inspection import Inspection, UnitFacts
from eqsnn.simulation.recording import Recording

BAR = 16  # characters of the longest bar
ROWS = 24  # of the raster
SHADES = " .:+*#@"  # by the number of spikes in a place
HEAD = f"{'unit':<14} {'spikes':>8} {'rate Hz':>8} {'ISI CV':>7} {'min ISI':>9} {'refr.':>7} {'same dt':>8}"


def format_inspection(found: Inspection, *, width: int = 100, all_units: bool = False) -> str:
    """Return the text of an inspection, lines of at most `width` characters; up to 40 units unless `all_units`."""
    return "\n".join(
        [*_facts(found), "", *_rows(found, all_units), "", *text_raster(found.recording, width), "",
         *(f"warning: {text}" for text in found.warnings)]
    ).rstrip() + "\n"  # fmt: skip


def _facts(found: Inspection) -> list[str]:
    recording = found.recording
    grid = f"multiples of {_ms(found.grid)}" if np.isfinite(found.grid) else "no common step"
    from_to = (
        f", {found.clock:g} to {found.clock + found.duration:g} s on the file's clock"
        if found.clock
        else ""
    )
    named = (
        f", named {', '.join(recording.unit_names[:4])}{', ...' if recording.n_units > 4 else ''}"
    )
    lines = [
        f"format    {found.format}" if found.format else "",
        f"units     {recording.n_units}{named if recording.unit_names else ''}",
        f"spikes    {len(recording.spike_times)}",
        f"trials    {found.n_trials} x {found.duration:g} s{from_to}",
        f"steps     dt {_ms(found.dt)}; spike times are {grid}",
        f"observed  {found.observed:.1%}, {found.gaps} gaps"
        if found.gaps
        else "observed  everything, no gaps",
        f"traces    {', '.join(found.traces)}" if found.traces else "",
        *(
            f"drive     {name}: {' x '.join(map(str, shape))}, every {_ms(step)}, {low:g} to {high:g}"
            for name, (shape, step, low, high) in found.drives.items()
        ),
    ]
    if not found.drives:
        lines.append("drive     none")
    return [f"          {recording.description}"] * bool(recording.description) + [
        line for line in lines if line
    ]


def _ms(step: float) -> str:
    return f"{step * 1e3:.6g} ms"


def _rows(found: Inspection, all_units: bool) -> list[str]:
    fastest = max((u.rate for u in found.units if np.isfinite(u.rate)), default=0.0)
    shown = found.units if all_units else found.units[:40]
    rows = [HEAD, *(_row(unit, fastest) for unit in shown)]
    if len(shown) < len(found.units):
        rows.append(f"... {len(found.units) - len(shown)} more; --all shows them, --json too")
    return rows


def _row(unit: UnitFacts, fastest: float) -> str:
    share = unit.rate / fastest if fastest > 0 and np.isfinite(unit.rate) else 0.0
    bar = "█" * int(share * BAR) + ("▌" if share * BAR % 1 >= 0.5 else "")
    name = (f"{unit.unit} {unit.name}" if unit.name else str(unit.unit))[:14]
    return (
        f"{name:<14} {unit.spikes:>8} {_number(unit.rate, '.2f'):>8} {_number(unit.cv, '.2f'):>7} "
        f"{_number(unit.shortest * 1e3, '.2f'):>6} ms {_number(unit.violations, '.1%'):>7} {unit.sharing_a_step:>8}  {bar}"
    ).rstrip()


def _number(value: float, how: str) -> str:
    return format(value, how) if np.isfinite(value) else "-"


def text_raster(recording: Recording, width: int = 100) -> list[str]:
    """Return the first trial's spikes as characters: rows are units or groups of neighbours, columns time."""
    if not recording.n_units or not len(recording.spike_times):
        return []
    columns = max(20, width - 16)
    rows = min(ROWS, recording.n_units)
    first = recording.trial_ids == 0
    place = np.minimum(
        (recording.spike_times[first] / recording.duration * columns).astype(int), columns - 1
    )
    row = recording.unit_ids[first] * rows // recording.n_units
    counts = np.zeros((rows, columns), dtype=int)
    np.add.at(counts, (row, place), 1)
    top = max(1, int(counts.max()))
    shade = np.ceil(counts / top * (len(SHADES) - 1)).astype(int)
    firsts = [int(np.ceil(k * recording.n_units / rows)) for k in range(rows + 1)]
    lines = []
    for k in range(rows):
        a, b = firsts[k], firsts[k + 1] - 1
        label = str(a) if a == b else f"{a}-{b}"
        lines.append(f"{label:>10} |" + "".join(SHADES[s] for s in shade[k]) + "|")
    end = f"{recording.duration:g} s"
    lines.append(" " * 12 + "0" + end.rjust(columns - 1))
    return lines
