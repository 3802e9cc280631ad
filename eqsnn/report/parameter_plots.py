"""Panels of parameters for a report: estimates with intervals, weight matrices, recovery, convergence."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from eqsnn.inference.result import Fit
from eqsnn.inference.uncertainty import NINETY
from eqsnn.report.estimates import Estimate
from eqsnn.report.plots import BLUE, ORANGE
from eqsnn.report.svg import DENSE, FAINT, INK, PANEL, SQUARE, STYLE

Array = NDArray[np.float64]
WIDE = 40  # neurons from which on marks shrink


def plot_strip(estimate: Estimate) -> Figure:
    """Estimates of a parameter over neurons with 90 % intervals, start, truth and bounds."""
    value = estimate.value.ravel()
    at = np.arange(value.size)
    size = 5.0 if value.size <= WIDE else 3.0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        if estimate.start is not None:
            ax.plot(at, estimate.start.ravel(), "x", color=FAINT, markersize=size, label="start")
        if estimate.low is not None and estimate.high is not None:
            # a value given after the fit may lie outside; errors are not negative
            ends = [np.maximum(0, value - estimate.low.ravel()), np.maximum(0, estimate.high.ravel() - value)]  # fmt: skip
            ax.errorbar(at, value, np.nan_to_num(ends), fmt="none", ecolor=BLUE, elinewidth=1.2)
        ax.plot(at, value, "o", color=BLUE, markersize=size, label="fitted, 90 %")
        if estimate.truth is not None:
            ax.plot(
                at, estimate.truth.ravel(), "D", markerfacecolor="none", markeredgecolor=ORANGE,
                markeredgewidth=1.3, markersize=size + 1, label="truth",
            )  # fmt: skip
        _mark_bounds(ax, estimate.bounds)
        ax.set(xlabel="neuron", ylabel=estimate.label, xlim=(-0.7, value.size - 0.3))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handletextpad=0.2, columnspacing=1.2)  # fmt: skip
    return figure


def _mark_bounds(ax: Axes, bounds: tuple[float, float]) -> None:
    """Show a bound where it is near enough to matter: within the range of the axis and half of it again."""
    low, high = ax.get_ylim()
    reach = 0.5 * (high - low)
    for bound in bounds:
        if low - reach <= bound <= high + reach:
            ax.axhline(bound, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            ax.annotate(
                "bound", (1, bound), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7
            )  # fmt: skip


def plot_matrix(values: Array, exists: NDArray[np.bool_], limit: float, label: str) -> Figure:
    """A weight matrix, presynaptic neurons downwards; purple below 0, orange above; absent synapses are crossed out."""
    shown = np.where(exists, values, np.nan)
    with mpl.rc_context(STYLE | {"hatch.color": FAINT}):
        figure = Figure(figsize=SQUARE, layout="constrained")
        ax = figure.subplots()
        ax.patch.set(hatch="xxxx", edgecolor=FAINT, linewidth=0)
        image = ax.imshow(
            shown, cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto"
        )
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set(xlabel="postsynaptic neuron", ylabel="presynaptic neuron")
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, label=label, fraction=0.06)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def plot_recovered(estimate: Estimate) -> Figure:
    """Fitted against true values with 90 % intervals; on the line: recovered."""
    assert estimate.truth is not None, f"the truth of {estimate.name} is not known"
    here = estimate.exists
    truth, value = estimate.truth[here], estimate.value[here]
    many = truth.size > DENSE
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SQUARE, layout="constrained")
        ax = figure.subplots()
        low, high = min(truth.min(), value.min()), max(truth.max(), value.max())
        pad = 0.06 * (high - low or abs(high) or 1.0)
        ax.plot(
            [low - pad, high + pad], [low - pad, high + pad], color=FAINT, linewidth=1, zorder=1
        )
        if estimate.low is not None and estimate.high is not None and not many:
            ends = [np.maximum(0, value - estimate.low[here]), np.maximum(0, estimate.high[here] - value)]  # fmt: skip
            ax.errorbar(
                truth,
                value,
                np.nan_to_num(ends),
                fmt="none",
                ecolor=BLUE,
                elinewidth=0.8,
                alpha=0.5,
            )
        ax.plot(truth, value, "o", color=BLUE, markersize=2 if many else 4, rasterized=many)
        ax.set(xlabel=f"true {estimate.label}", ylabel=f"fitted {estimate.label}")
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
        ax.locator_params(nbins=5)
    return figure


def plot_pulls(estimates: list[Estimate]) -> Figure:
    """Errors of single values in standard errors; within the dotted lines the 90 % interval of a Gaussian."""
    known = [(e, e.truth, e.std) for e in estimates if e.truth is not None and e.std is not None]
    pulls = [(e.value.flat[0] - truth.flat[0]) / std.flat[0] for e, truth, std in known]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3, max(1.2, 0.16 * len(known) + 0.6)), layout="constrained")
        ax = figure.subplots()
        at = np.arange(len(known))[::-1]
        ax.axvline(0, color=FAINT, linewidth=1)
        for side in (-NINETY, NINETY):
            ax.axvline(side, color=FAINT, linewidth=1, linestyle=":")
        ax.plot(pulls, at, "o", color=BLUE, markersize=4)
        ax.set_yticks(at, [e.name.replace("->", "→") for e, _, _ in known], fontsize=7)
        far = max(3.0, float(np.nanmax(np.abs(pulls), initial=0)) * 1.1)
        ax.set(xlabel="(fitted − truth)/s.e.", xlim=(-far, far), ylim=(-0.7, len(known) - 0.3))
    return figure


def plot_stage(fit: Fit, stage: int) -> Figure:
    """Objective of every start over the iterations of one stage; dotted where a level ends."""
    rows = fit.history_places[:, 0] == stage
    losses, levels = fit.history_objective[rows], fit.history_places[rows, 1]
    finite = losses[np.isfinite(losses)]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        at = np.arange(len(losses))
        marker = "o" if len(losses) < 3 else ""
        lines = ax.plot(at, losses, color=BLUE, alpha=0.45, linewidth=0.9, marker=marker)
        if lines and losses.shape[1] > 1:
            lines[0].set_label("each restart")
        best = np.where(np.isfinite(losses), losses, np.inf).min(axis=1)
        best = np.where(np.isfinite(best), best, np.nan)
        ax.plot(at, best, color=ORANGE, marker=marker, linewidth=1.8, label="best")
        for border in np.flatnonzero(np.diff(levels)):
            ax.axvline(border + 0.5, color=FAINT, linewidth=0.8, linestyle=":")
        ax.set(xlabel="entry of the history", ylabel="objective")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if finite.size and (finite > 0).all() and finite.max() > 10 * finite.min():
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(lambda y, _: f"{y:g}")
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure
