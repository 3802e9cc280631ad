"""fit_page: everything there is to say about a fit, as a page: warnings first, provenance last."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from eqsnn.analysis.recovery import weight_error
from eqsnn.inference.provenance import Source
from eqsnn.inference.result import Fit
from eqsnn.inference.settings import Status
from eqsnn.inference.uncertainty import NEAR
from eqsnn.language.model import Model
from eqsnn.maths.symmetries import symmetries
from eqsnn.report.equations import blocks_of
from eqsnn.report.findings import Against, Choices
from eqsnn.report.numbers import number, percent, short
from eqsnn.report.parameter_plots import estimates_of, plot_stage
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
from eqsnn.report.spike_sections import comparison_facts, spike_sections
from eqsnn.report.svg import inline

# what `fit` scores on the held-out part: title, how to read it
SCORES = {
    "forced_log_likelihood_per_step": ("log-likelihood", "nats for each neuron and step, one step ahead of the recorded spikes"),
    "escape_width": ("at escape width", "of the threshold at which these spikes are most likely"),
    "van_rossum_score": ("van Rossum", "0 perfect, 1 no better than silence"),
    "gamma": ("coincidences Γ, 2 ms", "1 perfect, 0 chance"),
    "f1": ("F1, 1 ms", "1 perfect"),
    "rate_error": ("rate error", "mean relative"),
    "rate": ("rate, Hz", "of the fitted model, running freely"),
}  # fmt: skip
MOST_OPEN = 12  # directions in a page


def fit_page(
    fit: Fit,
    *,
    against: Against | None = None,
    test: Against | None = None,
    notes: Sequence[str] = (),
    choices: Choices | None = None,
    command: str = "",
    made: str = "",
) -> Page:
    """Return the page of a fit.

    against: its targets with a run of the fitted model, None where they are not at hand; test: the same with spikes that
    the fit has not seen. notes: what to say first besides the fit's own warnings. command, made: of the report itself.
    """
    choices = choices or Choices()
    sections = [_first(fit, against, notes), _model(fit), parameter_section(fit), _open(fit), _convergence(fit)]  # fmt: skip
    recovered = recovery_section(fit)
    sections += [recovered] if recovered is not None else []
    if against is not None:
        sections += spike_sections(against.recording, against.run, against.found, ("target", "model"), choices.bin_s)  # fmt: skip
    sections.append(_held_out(fit, test))
    sections.append(_provenance(fit, against, test, choices, command, made))
    return Page(
        title=f"Fit of {_name_of(fit)}",
        subtitle=_subtitle(fit, against),
        sections=tuple(sections),
        status=(fit.status.value, fit.status is Status.CONVERGED),
        footer=f"Made by eqsnn {fit.provenance.versions.get('eqsnn', '')}. This file holds everything that it shows and asks the network for nothing.",
    )


def _name_of(fit: Fit) -> str:
    source = fit.provenance.model
    return Path(source.path if source else fit.model.definition.path).name


def _subtitle(fit: Fit, against: Against | None) -> str:
    unknown = sum(int(e.exists.sum()) for e in estimates_of(fit))
    parts = [f"{unknown} unknown values", f"{number(fit.seconds)} s", f"seed {fit.seed}"]
    if against is not None:
        r = against.recording
        name = f" of {Path(against.source.path).name}" if against.source else ""
        parts.insert(
            0,
            f"{len(r.spike_times)} spikes{name}: {r.n_units} neurons, {r.n_trials} × {r.duration:g} s",
        )
    if fit.provenance.date:
        parts.append(fit.provenance.date[:10])
    return " · ".join(parts)


def _first(fit: Fit, against: Against | None, notes: Sequence[str]) -> Section:
    warnings = list(fit.warnings)
    if fit.status is not Status.CONVERGED:
        warnings.insert(0, _not_converged(fit))
    if "standard errors from the maximum" in fit.uncertainty.note:
        warnings.append(f"Standard errors: {fit.uncertainty.note}.")
    warnings += notes
    parts: list[Part] = []
    if warnings:
        parts.append(Notices("warning", tuple(_sentence(w) for w in warnings)))
    else:
        parts.append(Notices("good", ("No warnings.",)))
    if against is not None and against.notes:
        parts.append(Notices("note", against.notes))
    parts.append(Facts(tuple(_facts(fit, against))))
    return Section("summary", "Warnings and results" if warnings else "Results", tuple(parts))


def _not_converged(fit: Fit) -> str:
    ended = [
        f"{report.stage}: {report.stopped}" for report in fit.stages if not report.is_exhausted
    ]
    why = f" ({'; '.join(ended)})" if ended else ""
    return f"The search ended {fit.status.value}{why}: values may not be the best there are; go on with more iterations or more time"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


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


def _open(fit: Fit) -> Section:
    """What the data leave open, from the curvature and from the equations; and whether restarts agree."""
    doubt, parts = fit.uncertainty, []
    if doubt.open:
        rows = tuple(
            (Cell(str(d)), Cell(number(d.information, 2)))
            for d in doubt.open[:MOST_OPEN]
        )  # fmt: skip
        more = len(doubt.open) - MOST_OPEN
        parts.append(
            Table(
                "Combinations of parameters that the spikes hardly determine",
                ("direction", "information"),
                rows,
                numeric=(1,),
                note="Information in units of the prior's: below 1 the data say less than the model file does; 0: nothing."
                + (f" And {more} more, in summary.json." if more > 0 else ""),
            )
        )
    elif doubt.source != "none":
        parts.append(Notices("good", ("The data say more about every combination of the unknowns than the model file does.",)))  # fmt: skip
    found = symmetries(_with_unknowns(fit))
    parts += [
        Notices("note", tuple(
            f"{' and '.join(s.unknowns)}: no spike changes with any c in {s}"
            + (f"; {s.invariant} matters." if s.invariant else ".")
            for s in found
        ))
    ] if found else [Paragraph("The equations themselves have no unknowns that could change together without changing a spike.")]  # fmt: skip
    if doubt.nats is not None and len(doubt.nats) > 1:
        near = int((doubt.nats < NEAR).sum())
        parts.append(
            Paragraph(
                f"{near} of {len(doubt.nats)} surviving restarts reached the best within {NEAR:g} nats; if few do, the search and not the data is the limit."
            )  # fmt: skip
        )
    return Section("open", "What the data leave open", tuple(parts))


def _with_unknowns(fit: Fit) -> Model:
    """Return the definition in which what was learned is unknown again, as it was before values were written in."""
    definition, learned = fit.model.definition, set(fit.learned)
    populations, projections = (
        {
            name: replace(
                entry,
                values={n: v for n, v in entry.values.items() if f"{name}.{n}" not in learned},
            )
            for name, entry in entries.items()
        }
        for entries in (definition.populations, definition.projections)
    )
    return replace(definition, populations=populations, projections=projections)


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
        parts.append(Notices("note", tuple(_sentence(note) for note in fit.notes)))
    intro = "Objective of every restart (smaller is better). Levels of a stage, between dotted lines, have objectives of their own."  # fmt: skip
    return Section("convergence", "Convergence", tuple(parts), intro)


def _held_out(fit: Fit, test: Against | None) -> Section:
    known = [name for name in SCORES if isinstance(fit.scores.get(name), int | float)]
    rows = tuple(
        plain(SCORES[name][0], _score(name, float(fit.scores[name])), SCORES[name][1])
        for name in known
    )
    parts: list[Part] = [
        Table("On the part that the fit held out", ("score", "value", "how to read it"), rows, numeric=(1,))
    ]  # fmt: skip
    if test is not None:
        f = test.found
        scores = (
            plain("van Rossum", number(f.van_rossum_score), SCORES["van_rossum_score"][1]),
            plain("coincidences Γ, 2 ms", number(_mean(f.gamma)), SCORES["gamma"][1]),
            plain("F1, 1 ms", number(_mean(f.f1)), "1 perfect"),
            *(plain(fact.label, fact.value, fact.note) for fact in comparison_facts(f)[0::2]),
            *(plain(fact.label, fact.value, fact.note) for fact in comparison_facts(f)[3:]),
        )
        name = Path(test.source.path).name if test.source else "the test data"
        parts.append(Table(f"On {name}, which the fit has not seen", ("score", "value", "how to read it"), scores, numeric=(1,)))  # fmt: skip
        parts += [Notices("note", test.notes)] if test.notes else []
    return Section("held-out", "Held-out scores", tuple(parts))


def _score(name: str, value: float) -> str:
    return short(value) if name == "escape_width" else number(value)


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _provenance(
    fit: Fit, against: Against | None, test: Against | None, choices: Choices, command: str, made: str
) -> Section:  # fmt: skip
    told = fit.provenance
    rows = [
        (Cell("fit"), Cell(fit.command or "from Python", is_code=bool(fit.command))),
        (Cell("seed"), Cell(str(fit.seed))),
        (Cell("date"), Cell(told.date or "not recorded")),
        (Cell("machine"), Cell(f"{told.machine or 'not recorded'}; {number(fit.seconds)} s")),
        (Cell("versions"), Cell(", ".join(f"{n} {v}" for n, v in told.versions.items()))),
        *_file("model", told.model),
        *_file("targets", (against.source if against else None) or told.targets),
        *_file("test", test.source if test else None),
        (Cell("report"), Cell(command, is_code=True) if command else Cell("from Python")),
        (Cell("made"), Cell(f"{made}; the fitted model ran with seed {choices.seed}, counts in {choices.bin_s * 1e3:g} ms")),
    ]  # fmt: skip
    return Section("provenance", "Provenance", (Table("Where this comes from", (), tuple(rows)),))


def _file(what: str, source: Source | None) -> list[tuple[Cell, ...]]:
    if source is None:
        return []
    return [(Cell(what), Cell(source.path, below=f"SHA-256 {source.sha256}", is_code=True))]
