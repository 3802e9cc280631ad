"""fit_page: everything there is to say about a fit, as a page: warnings first, provenance last."""

import math
from collections.abc import Sequence
from pathlib import Path

from eqsnn.analysis.recovery import weight_error
from eqsnn.inference.provenance import Source
from eqsnn.inference.result import Fit
from eqsnn.inference.settings import Status
from eqsnn.report.doubt_section import doubt_section
from eqsnn.report.doubts import Doubts
from eqsnn.report.equations import blocks_of
from eqsnn.report.estimates import estimates_of
from eqsnn.report.findings import Against, Choices
from eqsnn.report.fit_tables import held_out_table, sentence, warnings_of
from eqsnn.report.numbers import count, number, percent
from eqsnn.report.open_section import open_section
from eqsnn.report.parameter_plots import plot_stage
from eqsnn.report.parameter_sections import parameter_section, recoveries, recovery_section
from eqsnn.report.parts import (
    Cell,
    Code,
    Equations,
    Fact,
    Facts,
    Fold,
    Notices,
    Page,
    Panel,
    Panels,
    Paragraph,
    Part,
    Section,
    Table,
    plain,
)
from eqsnn.report.spike_sections import comparison_facts, score_table, spike_sections
from eqsnn.report.svg import inline


def fit_page(
    fit: Fit,
    *,
    against: Against | None = None,
    test: Against | None = None,
    doubts: Doubts | None = None,
    notes: Sequence[str] = (),
    choices: Choices | None = None,
    command: str = "",
    made: str = "",
) -> Page:
    """Return the page of a fit.

    against: its targets with a run of the fitted model, None where they are not at hand; test: the same with spikes that
    the fit has not seen. doubts: profiles and a bootstrap of the fit. notes: what to say first besides the fit's own
    warnings. command, made: of the report itself.
    """
    choices = choices or Choices()
    every = [
        _first(fit, against, notes), _model(fit), parameter_section(fit), open_section(fit),
        doubt_section(fit, doubts or Doubts()), _convergence(fit), recovery_section(fit),
    ]  # fmt: skip
    sections = [section for section in every if section is not None]
    if against is not None:
        sections += spike_sections(against.recording, against.run, against.found, ("target", "model"), choices.bin_s)  # fmt: skip
    sections.append(_held_out(fit, test))
    sections.append(_provenance(fit, against, test, choices, command, made))
    return Page(
        title=f"Fit of {_name_of(fit)}",
        subtitle=_subtitle(fit, against),
        sections=tuple(sections),
        status=(fit.status.value, fit.status is Status.CONVERGED),
        footer="Made by eqsnn. This file holds everything that it shows and asks the network for nothing.",
    )


def _name_of(fit: Fit) -> str:
    source = fit.provenance.model
    return Path(source.path if source else fit.model.definition.path).name


def _subtitle(fit: Fit, against: Against | None) -> str:
    unknown = sum(int(e.exists.sum()) for e in estimates_of(fit))
    parts = [count(unknown, "unknown value"), f"{number(fit.seconds)} s", f"seed {fit.seed}"]
    if against is not None:
        r = against.recording
        name = f" of {Path(against.source.path).name}" if against.source else ""
        parts.insert(
            0,
            f"{len(r.spike_times)} spikes{name}: {count(r.n_units, 'neuron')}, {r.n_trials} × {r.duration:g} s",
        )
    if fit.provenance.date:
        parts.append(fit.provenance.date[:10])
    return " · ".join(parts)


def _first(fit: Fit, against: Against | None, notes: Sequence[str]) -> Section:
    warnings = [*warnings_of(fit), *notes]
    parts: list[Part] = []
    if warnings:
        parts.append(Notices("warning", tuple(warnings)))
    else:
        parts.append(Notices("good", ("No warnings.",)))
    if against is not None and against.notes:
        parts.append(Notices("note", against.notes))
    parts.append(Facts(tuple(_facts(fit, against))))
    return Section("summary", "Warnings and results" if warnings else "Results", tuple(parts))


def _facts(fit: Fit, against: Against | None) -> list[Fact]:
    facts = []
    found = {name: r for name, r in recoveries(fit).items() if r.elements}
    held = {name: value for name, value in fit.scores.items() if isinstance(value, int | float)}
    if "van_rossum_score" in held:
        facts.append(
            Fact("Held-out van Rossum", number(held["van_rossum_score"]), "0 perfect, 1 silent")
        )
    if "gamma" in held:
        facts.append(Fact("Held-out coincidences Γ", number(held["gamma"]), "1 perfect, 0 chance"))
    if found:
        total = sum(r.elements for r in found.values())
        covered = [r.covered * r.elements for r in found.values() if math.isfinite(r.covered)]
        if covered:
            facts.append(
                Fact(
                    "Truth within 90 % intervals",
                    percent(sum(covered) / total),
                    f"of {total} values",
                )
            )
        weights = [e for e in estimates_of(fit) if e.value.ndim == 2 and e.truth is not None]
        if weights:
            w = weights[0]
            error = (
                weight_error(w.value[w.exists], w.truth[w.exists])
                if w.truth is not None
                else math.nan
            )
            facts.append(Fact("Weight error", number(error), "‖W − W*‖/‖W*‖, 0 perfect"))
    if against is not None:
        facts += comparison_facts(against.found)
    return facts


def _model(fit: Fit) -> Section:
    definition = fit.model.definition
    parts = (
        Equations(blocks_of(definition)),
        Paragraph(f"Time step: {definition.dt:g} ms."),
        Fold("The model file, with the values found", (Code(definition.text),)),
    )
    return Section("model", "Model", parts)


def _convergence(fit: Fit) -> Section:
    places = sorted(set(fit.history_places[:, 0].tolist())) if len(fit.history_places) else []
    names = [report.stage for report in fit.stages]
    panels = tuple(
        Panel(
            f"Stage {stage + 1}: {names[stage]}" if stage < len(names) else f"Stage {stage + 1}",
            inline(plot_stage(fit, stage), f"stage{stage}", f"objective over the iterations of stage {stage + 1}"),
        )
        for stage in places
    )  # fmt: skip
    rows = tuple(
        plain(
            report.stage,
            f"{report.iterations}",
            number(report.first, 4),
            number(report.last, 4),
            number(report.gradient, 2),
            f"{report.kept}",
            report.stopped,
        )
        for report in fit.stages
    )
    parts: list[Part] = [Panels(panels)]
    if rows:
        head = ("stage", "iterations", "objective at first", "at last", "gradient", "restarts kept", "why it ended")  # fmt: skip
        parts.append(Table("Stages", head, rows, numeric=(1, 2, 3, 4, 5)))
    if fit.notes:
        parts.append(Notices("note", tuple(sentence(note) for note in fit.notes)))
    intro = "Objective of every restart (smaller is better); each level, between dotted lines, has an objective of its own."
    return Section("convergence", "Convergence", tuple(parts), intro)


def _held_out(fit: Fit, test: Against | None) -> Section:
    parts: list[Part] = [held_out_table(fit)]
    if test is not None:
        name = Path(test.source.path).name if test.source else "the test data"
        title = f"On {name}, which the fit has not seen"
        parts.append(score_table(test.found, ("recorded", "model"), title))
        parts += [Notices("note", test.notes)] if test.notes else []
    return Section("held-out", "Held-out scores", tuple(parts))


def _provenance(
    fit: Fit, against: Against | None, test: Against | None, choices: Choices, command: str, made: str
) -> Section:  # fmt: skip
    told = fit.provenance
    said = against.recording.description if against else ""
    rows = [
        (Cell("fit"), Cell(fit.command or "from Python", is_code=bool(fit.command))),
        (Cell("seed"), Cell(str(fit.seed))),
        (Cell("date"), Cell(told.date or "not recorded")),
        (Cell("machine"), Cell(f"{told.machine or 'not recorded'}; {number(fit.seconds)} s")),
        (Cell("versions"), Cell(", ".join(f"{n} {v}" for n, v in told.versions.items()))),
        *_file("model", told.model),
        *_file("targets", (against.source if against else None) or told.targets, said),
        *_file("test", test.source if test else None),
        (Cell("report"), Cell(command, is_code=True) if command else Cell("from Python")),
        (Cell("made"), Cell(f"{made}; the fitted model ran with seed {choices.seed}, counts in {choices.bin_s * 1e3:g} ms")),
    ]  # fmt: skip
    return Section("provenance", "Provenance", (Table("Where this comes from", (), tuple(rows)),))


def _file(what: str, source: Source | None, said: str = "") -> list[tuple[Cell, ...]]:
    if source is None:
        return []
    below = f"SHA-256 {source.sha256}" + (f"; {said}" if said else "")
    return [(Cell(what), Cell(source.path, below=below, is_code=True))]
