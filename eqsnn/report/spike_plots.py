"""Panels of spikes for a report: two recordings compared in rates, intervals, variability, correlations and ensembles."""

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from eqsnn.analysis.nmf import EnsembleMatch
from eqsnn.report.plots import BLUE, ORANGE
from eqsnn.report.svg import DENSE, FAINT, PANEL, SQUARE, STYLE

Array = NDArray[np.float64]
Labels = tuple[str, str]
SHOWN_BINS = 200  # of the activations
INTERVAL_BINS = 40
MANY = 40  # neurons from which on bars become lines


def plot_pairs(first: Array, second: Array, labels: Labels, what: str) -> Figure:
    """One statistic of every neuron, the model's over the target's; on the line: equal."""
    here = np.isfinite(first) & np.isfinite(second)
    x, y = first[here], second[here]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SQUARE, layout="constrained")
        ax = figure.subplots()
        both = np.concatenate([x, y]) if len(x) else np.array([0.0, 1.0])
        low, high = both.min(), both.max()
        pad = 0.06 * (high - low or abs(high) or 1.0)
        ax.plot(
            [low - pad, high + pad], [low - pad, high + pad], color=FAINT, linewidth=1, zorder=1
        )
        many = len(x) > DENSE
        ax.plot(x, y, "o", color=BLUE, markersize=2 if many else 4, alpha=0.8, rasterized=many)
        ax.set(xlabel=f"{what}, {labels[0]}", ylabel=f"{what}, {labels[1]}")
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad))
        ax.locator_params(nbins=5)
    return figure


def plot_by_neuron(first: Array, second: Array, labels: Labels, what: str) -> Figure:
    """One statistic over neurons, target and model side by side."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        at = np.arange(len(first))
        for values, label, colour, marker, face in (
            (first, labels[0], BLUE, "o", BLUE),
            (second, labels[1], ORANGE, "D", "none"),
        ):
            ax.plot(
                at, values, marker, color=colour, markerfacecolor=face, markersize=4.5, label=label
            )
        low = np.fmin(first, second)
        ax.vlines(at, low, np.fmax(first, second), color=FAINT, linewidth=0.8, zorder=1)
        ax.set(xlabel="neuron", ylabel=what, xlim=(-0.7, len(at) - 0.3))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        _legend(ax)
    return figure


def plot_intervals(first: Array, second: Array, labels: Labels) -> Figure:
    """Interspike intervals of all neurons on a logarithmic axis, as densities per decade."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        both = np.concatenate([first, second])
        both = both[both > 0]
        if not len(both):
            ax.text(0.5, 0.5, "no intervals", transform=ax.transAxes, ha="center")
            return figure
        edges = np.geomspace(both.min() * 1e3 * 0.999, both.max() * 1e3 * 1.001, INTERVAL_BINS + 1)
        width = np.diff(np.log10(edges))
        for values, label, colour, line in (
            (first, labels[0], BLUE, "-"),
            (second, labels[1], ORANGE, (0, (4, 1.5))),
        ):
            if not len(values):
                continue
            height = np.histogram(values * 1e3, edges)[0] / len(values) / width
            ax.stairs(height, edges, color=colour, linewidth=1.6, linestyle=line, label=label)
        ax.set_xscale("log")
        ax.set(xlabel="interval (ms)", ylabel="share per decade")
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        _legend(ax)
    return figure


def plot_over_time(first: Array, second: Array, bin_s: float, labels: Labels) -> Figure:
    """Rate over time, averaged over neurons and trials, (bin,) in Hz."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        for values, label, colour, line in (
            (first, labels[0], BLUE, "-"),
            (second, labels[1], ORANGE, (0, (4, 1.5))),
        ):
            at = (np.arange(len(values)) + 0.5) * bin_s
            ax.plot(at, values, color=colour, linewidth=1.3, linestyle=line, label=label)
        ax.set(xlabel="time (s)", ylabel="rate (Hz)")
        ax.set_ylim(bottom=0)
        _legend(ax)
    return figure


def plot_matches(gamma: Array, f1: Array) -> Figure:
    """Coincidence factor and F1 of every neuron."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        at = np.arange(len(gamma))
        size = 4.5 if len(at) <= MANY else 3.0
        ax.plot(at, gamma, "o", color=BLUE, markersize=size, label="Γ, 2 ms")
        ax.plot(
            at, f1, "s", color=ORANGE, markerfacecolor="none", markersize=size, label="F1, 1 ms"
        )
        ax.axhline(0, color=FAINT, linewidth=0.8)
        ax.set(
            xlabel="neuron",
            ylabel="coincidences",
            ylim=(min(-0.05, np.nanmin(gamma, initial=0) - 0.05), 1.05),
        )
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        _legend(ax)
    return figure


def plot_correlations(matrix: Array, limit: float) -> Figure:
    """Correlations of spike counts between neurons; the diagonal is left out."""
    shown = matrix.copy()
    np.fill_diagonal(shown, np.nan)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SQUARE, layout="constrained")
        ax = figure.subplots()
        image = ax.imshow(
            shown, cmap="PuOr_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto"
        )
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set(xlabel="neuron", ylabel="neuron")
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=ax, label="correlation", fraction=0.06)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def plot_module(match: EnsembleMatch, k: int, labels: Labels) -> Figure:
    """One module of the target and its match: weights of the neurons (top), activation over time (bottom)."""
    first, second = match.first, match.second
    other = match.order[k]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.3, 3.3), layout="constrained")
        top, bottom = figure.subplots(2, 1)
        at = np.arange(first.modules.shape[1])
        if len(at) <= MANY:
            top.bar(at - 0.2, first.modules[k], 0.4, color=BLUE, label=labels[0])
            # the pattern tells the two apart where colours do not
            top.bar(
                at + 0.2, second.modules[other], 0.4, facecolor="none", edgecolor=ORANGE,
                hatch="////", linewidth=0.9, label=labels[1],
            )  # fmt: skip
        else:
            top.plot(at, first.modules[k], color=BLUE, linewidth=1, label=labels[0])
            top.plot(at, second.modules[other], "--", color=ORANGE, linewidth=1, label=labels[1])
        top.set(xlabel="neuron", ylabel="weight")
        top.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for found, column, colour, line in ((first, k, BLUE, "-"), (second, other, ORANGE, "--")):
            values = found.activations[:SHOWN_BINS, column]
            bottom.plot(
                np.arange(len(values)) * first.bin_s, values, line, color=colour, linewidth=1
            )
        bottom.set(xlabel="time (s)", ylabel="activation")
        _legend(top)
    return figure


def _legend(ax: Axes) -> None:
    ax.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handletextpad=0.4, columnspacing=1.2
    )
