"""notebook: models, recordings and fits as they show themselves in Jupyter, from the same parts as the pages.

The classes stand in layers below this one and cannot import it, so `show_in_notebooks` gives them the method that
IPython asks for; `import eqsnn` calls it. Nothing here needs matplotlib.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from eqsnn.inference.result import Fit
from eqsnn.inference.settings import Status
from eqsnn.language.model import Role
from eqsnn.report.equations import blocks_of
from eqsnn.report.estimates import estimates_of
from eqsnn.report.explain import names_of
from eqsnn.report.fit_tables import held_out_table, name_cell, parameter_table, warnings_of
from eqsnn.report.numbers import between, middle, number, short, unit
from eqsnn.report.parts import (
    Cell,
    Equations,
    Fact,
    Facts,
    Figure,
    Notices,
    Part,
    Table,
    render_parts,
)
from eqsnn.report.raster import still
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.parameters import matching, parameters_of
from eqsnn.simulation.recording import Recording

TITLES = {"=": "known", "~": "to be found"}


def model_html(model: SpikingModel) -> str:
    """Return a model's equations and parameters as a fragment of HTML."""
    definition = model.definition
    groups = [
        *((p.name, definition.neuron_of(p.name), p.values, "population") for p in definition.populations.values()),
        *((p.name, definition.synapse_of(p.name), p.values, "projection") for p in definition.projections.values() if not p.link),
    ]  # fmt: skip
    given = _given(model)
    rows = tuple(
        (
            name_cell(f"{group}.{found.name}"),
            Cell(unit(found.unit)),
            Cell(given.get(f"{group}.{found.name}", found.value)),
            Cell(found.scope),
        )
        for group, block, values, whole in groups
        for found in names_of(block, values, whole)
        if block.variables[found.name].role is Role.PARAMETER
    )
    table = Table("Parameters (~: to be found)", ("parameter", "unit", "value", "scope"), rows)
    parts: tuple[Part, ...] = (Equations(blocks_of(definition)), *((table,) if rows else ()))
    return render_parts(parts, f"Model {definition.path}, time step {definition.dt:g} ms")


def _given(model: SpikingModel) -> dict[str, str]:
    """Return what was said about parameters after the file was read, by full name."""
    if not model.values and not model.learned:
        return {}
    sized = model
    if not model.is_sized:
        known = sum(p.size or 0 for p in model.definition.populations.values())
        sized = model.sized(known + 1)
    names = parameters_of(sized.definition)
    found = {full: "~ as in the file" for name in model.learned for full in matching(names, name)}
    for name, value in model.values.items():
        array = np.asarray(value, float)
        text = short(float(array)) if array.ndim == 0 else between(array.min(), array.max())
        found |= {full: f"= {text}" for full in matching(names, name)}
    return found


def recording_html(recording: Recording) -> str:
    """Return what is in a recording, with its first seconds as a raster, as a fragment of HTML."""
    facts = [
        Fact("neurons", str(recording.n_units)),
        Fact("trials", f"{recording.n_trials} × {short(recording.duration)} s"),
        Fact("spikes", f"{len(recording.spike_times)}"),
    ]
    if recording.n_units:
        rates = recording.rates()
        known = rates[np.isfinite(rates)]
        span = between(known.min(), known.max()) if len(known) > 1 else ""
        facts.append(Fact("rate", f"{number(middle(rates))} Hz", f"median; {span}" if span else ""))
    facts.append(Fact("time step", f"{short(recording.dt * 1e3)} ms"))
    extra = {
        "drives": ", ".join(recording.inputs),
        "traces": ", ".join(recording.traces),
        "parameters known": ", ".join(recording.parameters),
        "gaps": str(len(recording.gaps)) if len(recording.gaps) else "",
        "description": recording.description,
    }
    rows = tuple((Cell(name), Cell(text)) for name, text in extra.items() if text)
    parts: list[Part] = [Facts(tuple(facts))]
    parts += [Figure(still([recording], ["spikes"]))] if recording.n_units else []
    parts += [Table("Besides spikes", (), rows)] if rows else []
    return render_parts(parts, "Recording")


def fit_html(fit: Fit) -> str:
    """Return a fit's warnings, parameters and scores as a fragment of HTML."""
    warnings = warnings_of(fit)
    level = "warning" if warnings else "good"
    parts: list[Part] = [
        Notices(level, tuple(warnings) or ("Converged, without warnings.",)),
        parameter_table(estimates_of(fit)),
        held_out_table(fit),
    ]
    if fit.uncertainty.open:
        parts.append(Notices("note", tuple(map(str, fit.uncertainty.open[:6]))))
    state = "converged" if fit.status is Status.CONVERGED else fit.status.value
    return render_parts(parts, f"Fit: {state} after {number(fit.seconds)} s, seed {fit.seed}")


SHOWN: dict[type[Any], Callable[[Any], str]] = {
    SpikingModel: model_html,
    Recording: recording_html,
    Fit: fit_html,
}


def show_in_notebooks() -> None:
    """Let models, recordings and fits show themselves as HTML where IPython displays them."""
    for kind, html in SHOWN.items():
        # frozen are the values of a class, not the class
        kind._repr_html_ = html
