"""open_section: what the data leave open, from the curvature and from the equations, and whether restarts agree."""

from dataclasses import replace

from eqsnn.inference.result import Fit
from eqsnn.inference.uncertainty import NEAR
from eqsnn.language.model import Model
from eqsnn.maths.symmetries import symmetries
from eqsnn.report.numbers import number
from eqsnn.report.parts import Cell, Notices, Paragraph, Part, Section, Table

MOST_OPEN = 12  # directions in a page


def open_section(fit: Fit) -> Section:
    """Return the section on what cannot be known from these spikes."""
    doubt = fit.uncertainty
    parts: list[Part] = []
    if doubt.open:
        parts.append(_directions(fit))
    elif doubt.source != "none":
        said = "The data say more about every combination of the unknowns than the model file does."
        parts.append(Notices("good", (said,)))
    found = tuple(
        f"{' and '.join(s.unknowns)}: no spike changes with any c in {s}"
        + (f"; {s.invariant} matters." if s.invariant else ".")
        for s in symmetries(_with_unknowns(fit))
    )
    none = "The equations have no unknowns that could change together without changing a spike."
    parts.append(Notices("note", found) if found else Paragraph(none))
    if doubt.nats is not None and len(doubt.nats) > 1:
        near = int((doubt.nats < NEAR).sum())
        parts.append(
            Paragraph(
                f"{near} of {len(doubt.nats)} surviving restarts reached the best within {NEAR:g} nats; "
                "if few do, the search and not the data is the limit."
            )
        )
    return Section("open", "What the data leave open", tuple(parts))


def _directions(fit: Fit) -> Table:
    found = fit.uncertainty.open
    more = len(found) - MOST_OPEN
    rows = ((Cell(str(d)), Cell(number(d.information, 2))) for d in found[:MOST_OPEN])
    return Table(
        "Combinations of parameters that the spikes hardly determine",
        ("direction", "information"),
        tuple(rows),
        numeric=(1,),
        note="Information in units of the prior's: below 1 the data say less than the model file does; 0: nothing."
        + (f" And {more} more, in summary.json." if more > 0 else ""),
    )


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
