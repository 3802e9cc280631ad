"""Tables and figures of the worked examples, as sections of one Markdown page that each example rewrites by itself."""

import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import eqsnn
from eqsnn.analysis.nmf import binned, factorise, match
from eqsnn.analysis.spectrum import population_spectrum
from eqsnn.files import write_atomically

mpl.use("Agg")


def table(rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return rows of named cells as a Markdown table; the columns are those of the first row."""
    names = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    return "\n".join(
        lines
        + [f"| {name} | " + " | ".join(row[c] for c in names) + " |" for name, row in rows.items()]
    )


def write_section(page: Path, name: str, text: str) -> None:
    """Put the text between the marks of this section, at the end of the page where there are none."""
    before = page.read_text(encoding="utf-8") if page.exists() else "# Real recordings\n"
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    whole = f"{begin}\n{text}\n{end}"
    marked = re.escape(begin) + ".*?" + re.escape(end)
    found = (
        re.sub(marked, lambda _: whole, before, flags=re.DOTALL)
        if begin in before
        else f"{before}\n{whole}\n"
    )
    write_atomically(page, lambda stream: stream.write(found.encode()))
    print(f"written: {page}")


def save(page: Path, name: str, what: str, figure: Figure) -> str:
    """Save a figure beside the page and return the line that shows it."""
    path = page.parent / f"real_{name}_{what}.png"
    page.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    return f"![{what} of {name}]({path.name})"


def raster_figure(page: Path, name: str, shown: Mapping[str, eqsnn.Recording]) -> str:
    """Draw the spikes of each recording side by side, neurons in the order of the modules of the first."""
    first = next(iter(shown.values()))
    if first.n_units == 1:
        return single_raster(page, name, shown)
    found = factorise(binned(first, bin_s=0.5, unit_variance=True), bin_s=0.5)
    order = np.lexsort((-found.modules.max(0), found.modules.argmax(0)))
    row = np.argsort(order)
    figure = Figure(figsize=(3.2 * len(shown), 3.2), layout="constrained")
    for axes, (title, recording) in zip(
        figure.subplots(1, len(shown), sharey=True), shown.items(), strict=True
    ):
        axes.plot(
            recording.spike_times,
            row[recording.unit_ids],
            "|",
            color="black",
            markersize=1.5,
            markeredgewidth=0.4,
        )
        axes.set(title=title, xlabel="time, s", xlim=(0, recording.duration), ylim=(-1, len(row)))
    figure.axes[0].set_ylabel("neuron, by module of the recording")
    return save(page, name, "rasters", figure)


def single_raster(page: Path, name: str, shown: Mapping[str, eqsnn.Recording]) -> str:
    """Draw the spikes of one neuron, a row for each recording."""
    figure = Figure(figsize=(10, 0.5 + 0.35 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.eventplot(
        [r.spike_times for r in shown.values()],
        lineoffsets=[-float(k) for k in range(len(shown))],
        linelengths=0.8,
        linewidths=0.8,
        color="black",
    )
    axes.set(yticks=-np.arange(len(shown)), yticklabels=list(shown), xlabel="time, s", xlim=(0, 1))
    return save(page, name, "rasters", figure)


def rhythm_figure(
    page: Path, name: str, shown: Mapping[str, eqsnn.Recording], window: float
) -> str:
    """Draw the population spectra, and the three modules of each recording matched to those of the first."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    reference, shift, order = None, 0.0, np.arange(next(iter(shown.values())).n_units)
    for (title, recording), colour in zip(
        shown.items(), ("black", "#E69F00", "#56B4E9", "#009E73"), strict=False
    ):
        spectrum = population_spectrum(recording, window=min(window, recording.duration / 2))
        seen = (spectrum.frequency > 0) & (spectrum.frequency < 1)
        left.semilogy(spectrum.frequency[seen], spectrum.power[seen], color=colour, label=title)
        modules = factorise(binned(recording, bin_s=0.5, unit_variance=True), bin_s=0.5).modules
        if reference is None:
            reference = modules
            order = np.lexsort((-modules.max(0), modules.argmax(0)))
        _, places = match(reference, modules)
        right.step(
            np.arange(modules.size),
            shift + modules[list(places)][:, order].reshape(-1),
            color=colour,
            linewidth=0.8,
        )
        shift -= 0.5
    left.set(xlabel="frequency, Hz", ylabel="power, (spikes/s)²/Hz", title="population rate")
    left.legend(fontsize=7)
    right.set(
        xlabel="neuron, module after module", yticks=[], title="modules, matched to the recording"
    )
    return save(page, name, "rhythm", figure)
