"""Sections on parameters: the table, estimates of single neurons, weight matrices, recovery of a known truth."""

import numpy as np
from numpy.typing import NDArray

from eqsnn.analysis.recovery import Recovery, recovery
from eqsnn.inference.result import Fit
from eqsnn.report.estimates import Estimate, estimates_of
from eqsnn.report.fit_tables import name_cell, parameter_table
from eqsnn.report.numbers import NOTHING, between, number, percent, unit, with_error
from eqsnn.report.parameter_plots import plot_matrix, plot_pulls, plot_recovered, plot_strip
from eqsnn.report.parts import Cell, Fold, Panel, Panels, Paragraph, Part, Section, Table
from eqsnn.report.svg import inline

Array = NDArray[np.float64]
MOST_LISTED = 60  # neurons up to which every value stands in a table, too


def parameter_section(fit: Fit) -> Section:
    """Return table, strips and matrices of everything that was learned, and what was known."""
    estimates = estimates_of(fit)
    parts: list[Part] = [parameter_table(estimates), *_strips(estimates), *_matrices(estimates)]
    known = [name for name in fit.parameters if name not in fit.learned]
    if known:
        parts.append(Fold(f"What was known ({len(known)})", (_known(fit, known),)))
    source = {
        "likelihood": "from the curvature of the model's likelihood",
        "sandwich": "from a sandwich estimator, because what was maximised is not the model's own likelihood",
        "none": "not available",
    }[fit.uncertainty.source]
    note = fit.uncertainty.note.split("; the estimate lies")[0]  # which stands among the warnings
    intro = f"Standard errors (±) and 90 % intervals: {source}" + (f"; {note}." if note else ".")
    return Section("parameters", "Parameters", tuple(parts), intro)


def _strips(estimates: list[Estimate]) -> list[Part]:
    shown = [e for e in estimates if e.value.ndim == 1 and e.value.size > 1]
    if not shown:
        return []
    panels = tuple(
        Panel(e.name, inline(plot_strip(e), f"strip{k}", f"estimates of {e.name} by neuron"))
        for k, e in enumerate(shown)
    )
    parts: list[Part] = [Panels(panels, "Neuron by neuron")]
    groups = dict.fromkeys(e.name.rsplit(".", 1)[0] for e in shown)
    for group in groups:
        own = [e for e in shown if e.name.rsplit(".", 1)[0] == group]
        if own[0].value.size <= MOST_LISTED:
            parts.append(Fold(f"Every value of {group} in a table", (_listed(own),)))
    return parts


def _listed(own: list[Estimate]) -> Table:
    head = ["neuron"]
    for e in own:
        head += [e.label, "90 % interval"] + (["truth"] if e.truth is not None else [])
    rows = []
    for k in range(own[0].value.size):
        cells = [Cell(str(k))]
        for e in own:
            std = None if e.std is None else float(e.std[k])
            cells.append(Cell(with_error(float(e.value[k]), std)))
            interval = NOTHING
            if e.low is not None and e.high is not None:
                interval = between(float(e.low[k]), float(e.high[k]), std)
            cells.append(Cell(interval))
            cells += [Cell(number(float(e.truth[k]), 4))] if e.truth is not None else []
        rows.append(tuple(cells))
    group = own[0].name.rsplit(".", 1)[0]
    return Table(f"{group}, neuron by neuron", tuple(head), tuple(rows), tuple(range(1, len(head))))


def _matrices(estimates: list[Estimate]) -> list[Part]:
    parts: list[Part] = []
    for k, e in enumerate(e for e in estimates if e.value.ndim == 2):
        here = e.exists
        known = [e.value] + ([e.truth] if e.truth is not None else [])
        limit = max((float(np.nanmax(np.abs(m[here]), initial=0)) for m in known), default=0) or 1.0
        shown = [("fitted", e.value, limit)]
        if e.truth is not None:
            shown += [
                ("truth", e.truth, limit),
                ("difference, fitted − truth", e.value - e.truth, limit),
            ]
        elif e.std is not None:
            shown.append(("standard error", e.std, limit))
        panels = tuple(
            Panel(title, inline(plot_matrix(m, here, top, e.label), f"matrix{k}{n}", f"{e.name}: {title}"))
            for n, (title, m, top) in enumerate(shown)
        )  # fmt: skip
        parts.append(Panels(panels, e.name.replace("->", " → ")))
    if parts:
        parts.append(Paragraph("Purple: negative; orange: positive; one scale for all; crossed out: no synapse."))  # fmt: skip
    return parts


def _known(fit: Fit, names: list[str]) -> Table:
    units = {name: p.unit.name for name, p in fit.model.parameters().items()}
    rows = []
    for name in names:
        values = fit.parameters[name]
        same = values.size == 1 or np.ptp(values) == 0
        text = number(float(values.flat[0]), 4) if same else between(values.min(), values.max())
        rows.append((name_cell(name), Cell(unit(units[name])), Cell(text)))
    return Table("What was known", ("parameter", "unit", "value"), tuple(rows), (2,))


def recoveries(fit: Fit) -> dict[str, Recovery]:
    """Return how well each learned parameter whose truth is known was recovered."""
    return {
        e.name: recovery(
            e.value, e.truth, start=e.start, std=e.std,
            interval=None if e.low is None or e.high is None else (e.low, e.high),
        )
        for e in estimates_of(fit)
        if e.truth is not None
    }  # fmt: skip


def _single(estimates: list[Estimate], found: dict[str, Recovery]) -> tuple[Panel, ...]:
    """Return the errors of parameters that are one value, in standard errors, if there are any."""
    own = [e for e in estimates if e.name in found and found[e.name].elements == 1]
    own = [e for e in own if e.std is not None and np.nanmax(e.std) > 0]
    if not own:
        return ()
    inside = sum(found[e.name].covered == 1 for e in own)
    said = f"the 90 % intervals of {inside} of {len(own)} hold the truth"
    picture = inline(
        plot_pulls(own), "pulls", f"errors of single values in standard errors; {said}"
    )
    return (Panel("Single values", picture, said),)


def recovery_section(fit: Fit) -> Section | None:
    """Return the comparison with the truth, None where it is not known."""
    found = recoveries(fit)
    if not found:
        return None
    estimates = estimates_of(fit)
    units = {e.name: e.unit for e in estimates}
    rows = tuple(
        (
            name_cell(name),
            Cell(str(r.elements)),
            Cell(f"{number(r.absolute)} {unit(units[name])}".strip()),
            Cell(percent(r.relative)),
            Cell(percent(r.start)),
            Cell(number(r.correlation)),
            Cell(percent(r.covered)),
            Cell(number(r.errors, 2)),
        )
        for name, r in found.items()
        if r.elements > 1
    )
    head = (
        "parameter", "values", "mean error", "median relative", "at the start", "correlation", "truth in 90 % interval",
        "error / s.e.",
    )  # fmt: skip
    panels = tuple(
        Panel(e.name, inline(plot_recovered(e), f"recovered{k}", f"fitted over true values of {e.name}"))
        for k, e in enumerate(estimates)
        if e.truth is not None and e.exists.sum() > 1
    )  # fmt: skip
    panels += _single(estimates, found)
    note = "Error / s.e.: root mean square; 1 if standard errors are right. Relative errors leave out values whose truth is 0."
    table = Table("Fitted against the truth", head, rows, tuple(range(1, 8)), note)
    parts: list[Part] = [table] if rows else []
    parts += [Panels(panels)] if panels else [Paragraph("The table of parameters shows the truth.")]
    intro = "The targets were simulated, so the values that made them are known."
    return Section("recovery", "Recovery of the truth", tuple(parts), intro)
