"""fit_tables: parameters, scores and warnings of a fit as parts, for its page and for notebooks; nothing is drawn here."""

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from eqsnn.analysis.recovery import recovery, weight_error
from eqsnn.inference.result import Fit
from eqsnn.inference.settings import Status
from eqsnn.report import mathematics
from eqsnn.report.estimates import Estimate
from eqsnn.report.numbers import (
    NOTHING,
    between,
    decimals_for,
    fixed,
    middle,
    number,
    percent,
    short,
    unit,
    with_error,
)
from eqsnn.report.parts import Cell, Table, plain

Array = NDArray[np.float64]
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


def name_cell(name: str, shown: str = "") -> Cell:
    """Return a parameter's symbol, typeset, and its full name, or what else is to be shown of it."""
    symbol = mathematics.math(mathematics.name(name.rsplit(".", 1)[-1]), block=False)
    return Cell(shown or name, math=Markup(symbol), is_code=True)


def parameter_table(estimates: list[Estimate]) -> Table:
    """Return estimates with errors, intervals, starts, bounds, and the truth where it is known."""
    with_truth = any(e.truth is not None for e in estimates)
    head = ["parameter", "unit", "fitted ± s.e.", "90 % interval", "start"]
    head += ["truth", "error"] if with_truth else []
    head += ["bounds"]
    rows = tuple(_row(e, with_truth) for e in estimates)
    several = any(e.value.size > 1 for e in estimates)
    note = ""
    if several:
        note = "Of parameters with several values: medians (± the median standard error), then the range of the estimates."
    if with_truth:
        note += " Error: of one value relative to the truth; of several the median of that; of weights ‖W − W*‖/‖W*‖."
    return Table("What was learned", tuple(head), rows, tuple(range(2, len(head))), note.strip())


def _row(e: Estimate, with_truth: bool) -> tuple[Cell, ...]:
    here = e.exists
    value, std = middle(e.value[here]), None if e.std is None else middle(e.std[here])
    cells = [name_cell(e.name), Cell(unit(e.unit))]
    if here.sum() > 1:
        span = between(float(e.value[here].min()), float(e.value[here].max()), std)
        cells += [
            Cell(with_error(value, std), f"{here.sum()} values, {span}"),
            Cell("one for each"),
        ]
    else:
        interval = NOTHING
        if e.low is not None and e.high is not None and here.any():
            interval = between(float(e.low[here][0]), float(e.high[here][0]), std)
        cells += [Cell(with_error(value, std)), Cell(interval)]
    decimals = decimals_for(std) if std is not None and np.isfinite(std) and std > 0 else None
    cells.append(Cell(_rounded(e.start, here, decimals)))
    if with_truth:
        cells += [Cell(_rounded(e.truth, here, decimals)), Cell(_error(e))]
    cells.append(Cell(_bounds(e.bounds)))
    return tuple(cells)


def _rounded(values: Array | None, here: NDArray[np.bool_], decimals: int | None) -> str:
    if values is None or not here.any():
        return NOTHING
    value = middle(values[here])
    # as many decimals as the estimate beside it, unless that would show none of the value
    if decimals is None or not 0 <= decimals <= 6:
        return number(value)
    return fixed(value, decimals)


def _error(e: Estimate) -> str:
    if e.truth is None:
        return NOTHING
    here = e.exists
    if e.value.ndim == 2:
        size = float(np.linalg.norm(e.truth[here]))
        return number(weight_error(e.value[here], e.truth[here])) if size > 0 else NOTHING
    found = recovery(e.value, e.truth, std=e.std)
    return percent(found.relative)


def _bounds(bounds: tuple[float, float]) -> str:
    low, high = bounds
    if not np.isfinite(low) and not np.isfinite(high):
        return "none"
    return f"{short(low)} to {short(high)}"


def held_out_table(fit: Fit) -> Table:
    """Return what the fit scored on the part of its targets that it held out."""
    known = [name for name in SCORES if isinstance(fit.scores.get(name), int | float)]
    rows = tuple(
        plain(SCORES[name][0], _score(name, float(fit.scores[name])), SCORES[name][1])
        for name in known
    )
    head = ("score", "value", "how to read it")
    return Table("On the part that the fit held out", head, rows, numeric=(1,))


def _score(name: str, value: float) -> str:
    return short(value) if name == "escape_width" else number(value)


def warnings_of(fit: Fit) -> list[str]:
    """Return everything that a reader should know first: a search that did not end, doubtful errors, the fit's own warnings."""
    found = [] if fit.status is Status.CONVERGED else [_not_converged(fit)]
    found += fit.warnings
    if "standard errors from the maximum" in fit.uncertainty.note:
        found.append(f"Standard errors: {fit.uncertainty.note}")
    return [sentence(warning) for warning in found]


def _not_converged(fit: Fit) -> str:
    ended = [
        f"{report.stage}: {report.stopped}" for report in fit.stages if not report.is_exhausted
    ]
    why = f" ({'; '.join(ended)})" if ended else ""
    return f"The search ended {fit.status.value}{why}: values may not be the best there are; go on with more iterations or more time"


def sentence(text: str) -> str:
    """Return a text as a sentence: a capital at its start, a full stop at its end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
