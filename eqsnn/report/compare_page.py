"""compare_page: two recordings of the same neurons side by side, as a page."""

from collections.abc import Sequence

from eqsnn.analysis.compare import Comparison
from eqsnn.inference.provenance import Source
from eqsnn.report.numbers import count
from eqsnn.report.parts import Cell, Facts, Notices, Page, Part, Section, Table
from eqsnn.report.spike_sections import comparison_facts, spike_sections
from eqsnn.simulation.recording import Recording


def compare_page(
    a: Recording,
    b: Recording,
    found: Comparison,
    *,
    labels: tuple[str, str],
    sources: Sequence[Source] = (),
    bin_s: float = 0.1,
    command: str = "",
    made: str = "",
) -> Page:
    """Return the page on recording b against the target a, whose comparison is `found`."""
    parts: list[Part] = []
    if a.description or b.description:
        said = zip(labels, (a.description, b.description), strict=True)
        parts.append(Notices("note", tuple(f"{name}: {text}" for name, text in said if text)))
    parts.append(Facts(tuple(comparison_facts(found))))
    sections = [
        Section("summary", "Results", tuple(parts)),
        *spike_sections(a, b, found, labels, bin_s),
        _provenance(labels, sources, command, made),
    ]
    spikes = f"{len(a.spike_times)} and {len(b.spike_times)} spikes"
    return Page(
        title=f"{labels[1]} against {labels[0]}",
        subtitle=f"{count(a.n_units, 'neuron')}, {a.n_trials} × {a.duration:g} s · {spikes}",
        sections=tuple(sections),
        footer="Made by eqsnn. This file holds everything that it shows and asks the network for nothing.",
    )


def _provenance(
    labels: tuple[str, str], sources: Sequence[Source], command: str, made: str
) -> Section:
    rows = [
        (Cell(label), Cell(source.path, below=f"SHA-256 {source.sha256}", is_code=True))
        for label, source in zip(labels, sources, strict=False)
    ]
    rows += [(Cell("command"), Cell(command, is_code=True))] if command else []
    rows += [(Cell("made"), Cell(made))] if made else []
    return Section("provenance", "Provenance", (Table("Where this comes from", (), tuple(rows)),))
