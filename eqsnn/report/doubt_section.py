"""doubt_section: profiles and bootstrap beside the intervals from the curvature, for those who asked for them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from eqsnn.inference.bootstrap import Bootstrap
from eqsnn.inference.profile import Profile
from eqsnn.inference.result import Fit
from eqsnn.report.doubt_plots import plot_both_errors, plot_both_intervals, plot_profile
from eqsnn.report.doubts import Doubts
from eqsnn.report.estimates import Estimate, estimates_of
from eqsnn.report.fit_tables import name_cell
from eqsnn.report.numbers import NOTHING, between, middle, number, unit, with_error
from eqsnn.report.parts import Cell, Notices, Panel, Panels, Part, Section, Table
from eqsnn.report.svg import inline

Array = NDArray[np.float64]
BETTER = 1.0  # twice the gain in log-likelihood from which on a profile has found another maximum


def doubt_section(fit: Fit, doubts: Doubts) -> Section | None:
    """Return what profiles and a bootstrap say beside the stated intervals, None where there is neither."""
    estimates = {e.name: e for e in estimates_of(fit)}
    parts: list[Part] = []
    if doubts.profiles:
        parts += _profiles(doubts.profiles, estimates)
    if doubts.bootstrap is not None:
        parts += _bootstrap(doubts.bootstrap, estimates)
    if not parts:
        return None
    intro = (
        "Stated intervals are those of the parameters above: a Gaussian around the estimate. A profile fits everything else "
        "again at each value of one parameter; a bootstrap fits other data that could have been recorded."
    )
    return Section("doubts", "Profiles and bootstrap", tuple(parts), intro)


def _profiles(profiles: Sequence[Profile], estimates: Mapping[str, Estimate]) -> list[Part]:
    rows, panels = [], []
    for k, p in enumerate(profiles):
        e = estimates[p.name]
        low, high, std, truth = (_at(values, p.index) for values in (e.low, e.high, e.std, e.truth))
        own = _ends(p.low, p.high, std)
        rows.append(
            (
                name_cell(p.name, p.title),
                Cell(unit(p.unit)),
                Cell(with_error(p.best, std)),
                Cell(own),
                Cell(_stated(low, high, std)),
                *([Cell(number(truth, 4))] if e.truth is not None else []),
            )
        )
        picture = inline(
            plot_profile(p, (low, high), truth), f"profile{k}", f"twice the loss of log-{p.source} over {p.title}; 90 % interval {own}"
        )  # fmt: skip
        panels.append(Panel(p.title, picture))
    truths = any(len(row) > 5 for row in rows)
    head = ["parameter", "unit", "maximum ± s.e.", "90 %, profile", "90 %, stated"]
    head += ["truth"] if truths else []
    padded = tuple(row if len(row) == len(head) else (*row, Cell(NOTHING)) for row in rows)
    note = (
        "A profile's interval ends where twice the loss reaches 2.706, the dotted line; open: not within 20 standard errors. "
        "The bar is the stated interval; the diamond is the truth, where it is known."
    )
    table = Table("Profiles", tuple(head), padded, tuple(range(2, len(head))), note)
    better = tuple(
        f"{p.title}: a value of the profile explains the data better than its maximum, by {number(-gain / 2, 2)} nats. "
        "The search had not found the best there is; go on with the fit before reading this interval."
        for p in profiles
        if (gain := float(np.nanmin(p.twice_loss))) < -BETTER
    )
    said: list[Part] = [Notices("warning", better)] if better else []
    return [*said, table, Panels(tuple(panels), "Profile by profile")]


def _at(values: Array | None, index: tuple[int, ...]) -> float:
    """Return one element, the only one where there is no index; nan where nothing is known."""
    if values is None:
        return math.nan
    return float(values[index]) if index else float(values.flat[0])


def _ends(low: float, high: float, std: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        return between(low, high, std)
    told = (number(end) if math.isfinite(end) else "open" for end in (low, high))
    return " to ".join(told)


def _stated(low: float, high: float, std: float) -> str:
    return between(low, high, std) if math.isfinite(low) and math.isfinite(high) else NOTHING


def _bootstrap(found: Bootstrap, estimates: Mapping[str, Estimate]) -> list[Part]:
    rows, panels = [], []
    stds, intervals = found.std, found.interval
    for k, (name, std) in enumerate(stds.items()):
        e, (low, high) = estimates[name], intervals[name]
        here = np.isfinite(std)
        cells = [
            name_cell(name),
            Cell(unit(found.units[name])),
            Cell(NOTHING if e.std is None else number(middle(e.std[here]), 2)),
            Cell(number(middle(std[here]), 2)),
        ]
        if here.sum() > 1:
            cells += [Cell("one for each"), Cell("one for each")]
            panels.append(_panel(e, std, low, high, f"bootstrap{k}"))
        else:
            own = middle(std[here])
            first, last = (
                math.nan if end is None else middle(end[here]) for end in (e.low, e.high)
            )
            cells += [
                Cell(_stated(first, last, own)),
                Cell(_stated(middle(low[here]), middle(high[here]), own)),
            ]
        rows.append(tuple(cells))
    how = {
        "parametric": "spikes simulated from the fit",
        "windows": "windows of the targets drawn again",
    }
    many = (
        f"{found.done}" if found.done == found.wanted else f"{found.done} of {found.wanted} wanted"
    )
    note = f"{many} replicates, {how[found.kind]}; intervals from 5 to 95 % of them. Of parameters with several values: medians."
    head = ("parameter", "unit", "s.e., stated", "s.e., bootstrap", "90 %, stated", "90 %, bootstrap")  # fmt: skip
    table = Table("Bootstrap", head, tuple(rows), (2, 3, 4, 5), note)
    return [
        table,
        *([Panels(tuple(panels), "Stated and bootstrapped, side by side")] if panels else []),
    ]


def _panel(e: Estimate, std: Array, low: Array, high: Array, key: str) -> Panel:
    """Return intervals by neuron, or the errors of weights, of both kinds."""
    if e.value.ndim == 1:
        said = f"90 % intervals of {e.name} by neuron, stated and bootstrapped"
        return Panel(e.name, inline(plot_both_intervals(e, low, high), key, said))
    said = f"standard errors of {e.name}, bootstrapped over stated"
    return Panel(e.name, inline(plot_both_errors(e, std), key, said))
