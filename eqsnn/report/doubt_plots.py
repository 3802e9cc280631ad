"""Panels of profiles and bootstraps: curves with their intervals, and two kinds of intervals or errors beside each other."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from eqsnn.inference.profile import CROSSING, Profile
from eqsnn.report.estimates import Estimate
from eqsnn.report.numbers import unit
from eqsnn.report.plots import BLUE, ORANGE
from eqsnn.report.svg import DENSE, FAINT, INK, PANEL, SQUARE, STYLE

Array = NDArray[np.float64]
APART = 0.18  # of a neuron, between two intervals of it
STATED_AT = (
    0.07  # height of the bar of the stated interval, as a share of the axes, below the curve
)
ROOM = 0.18  # for it, as a share of the height of the curve


def plot_profile(profile: Profile, stated: tuple[float, float], truth: float) -> Figure:
    """Twice the loss of log-likelihood over a parameter, the level and ends of its 90 % interval, the stated one, the truth.

    stated, truth: nan where they are not known.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        order = np.argsort(profile.values)
        ax.plot(profile.values[order], profile.twice_loss[order], "o-", color=INK, markersize=3)
        ax.axhline(CROSSING, color=FAINT, linewidth=1, linestyle=":")
        for end in (profile.low, profile.high):
            if np.isfinite(end):
                ax.plot([end, end], [0, CROSSING], color=INK, linewidth=0.8, linestyle=":")
        bottom, top = ax.get_ylim()
        ax.set_ylim(bottom - ROOM * (top - bottom), top)
        below = ax.get_xaxis_transform()
        ax.plot(stated, (STATED_AT, STATED_AT), "|-", color=BLUE, linewidth=2, transform=below)
        ax.plot(
            truth, STATED_AT, "D", markerfacecolor="none", markeredgecolor=ORANGE, markersize=6, transform=below
        )  # fmt: skip
        shown = unit(profile.unit)
        ax.set(
            xlabel=profile.title + (f" ({shown})" if shown else ""), ylabel=f"2 × loss of log-{profile.source}"
        )  # fmt: skip
    return figure


def plot_both_intervals(estimate: Estimate, low: Array, high: Array) -> Figure:
    """Stated and bootstrapped 90 % intervals of a parameter over neurons, with the truth where it is known."""
    value = estimate.value
    at = np.arange(value.size)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=PANEL, layout="constrained")
        ax = figure.subplots()
        if estimate.low is not None and estimate.high is not None:
            ax.vlines(at - APART, estimate.low, estimate.high, color=BLUE, linewidth=2, label="stated")  # fmt: skip
        ax.vlines(at + APART, low, high, color=ORANGE, linewidth=1, label="bootstrap")
        ax.plot(at, value, "o", color=BLUE, markersize=3)
        if estimate.truth is not None:
            ax.plot(
                at, estimate.truth, "D", markerfacecolor="none", markeredgecolor=ORANGE, markersize=5, label="truth"
            )  # fmt: skip
        ax.set(xlabel="neuron", ylabel=estimate.label, xlim=(-0.7, value.size - 0.3))
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, handletextpad=0.4, columnspacing=1.2)  # fmt: skip
    return figure


def plot_both_errors(estimate: Estimate, std: Array) -> Figure:
    """Bootstrapped over stated standard errors of weights; on the line: they agree."""
    here = np.isfinite(std)
    stated = estimate.std[here] if estimate.std is not None else np.full(here.sum(), np.nan)
    many = int(here.sum()) > DENSE
    top = 1.05 * max(float(np.nanmax(both, initial=0)) for both in (stated, std[here])) or 1.0
    shown = estimate.label
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SQUARE, layout="constrained")
        ax = figure.subplots()
        ax.plot([0, top], [0, top], color=FAINT, linewidth=1, zorder=1)
        ax.plot(stated, std[here], "o", color=BLUE, markersize=2 if many else 4, rasterized=many)
        ax.set(xlabel=f"s.e. of {shown}, stated", ylabel="bootstrap", xlim=(0, top), ylim=(0, top))
        ax.locator_params(nbins=5)
    return figure
