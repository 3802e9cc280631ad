"""Figures: rasters, convergence, kernel densities of parameters over training, NMF modules side by side."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import gaussian_kde

from eqsnn.analysis.nmf import EnsembleMatch
from eqsnn.files import write_atomically
from eqsnn.inference.profile import CROSSING, Profile
from eqsnn.inference.result import Fit
from eqsnn.simulation.recording import Recording

# Okabe & Ito's palette is told apart by colour-blind readers
BLUE, ORANGE, YELLOW, GREY = "#0072B2", "#D55E00", "#E69F00", "#666666"
RASTER_S = 4.0  # seconds shown of a trial
PANELS = 6  # parameters in the grid of densities
TICKS = 4  # intervals on an axis of a narrow panel
SLANT = 45  # degrees by which its labels are turned

STYLE: dict = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "eqsnn",
}


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, atomically."""
    write_atomically(
        path, lambda stream: figure.savefig(stream, format="png", dpi=150, bbox_inches="tight")
    )
    return path


def plot_rasters(recordings: Sequence[Recording], labels: Sequence[str]) -> Figure:
    """The first seconds of the first trial of each recording, one above the other."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 1.6 * len(recordings)))
        axes = figure.subplots(len(recordings), 1, sharex=True, squeeze=False)[:, 0]
        for ax, recording, label, colour in zip(
            axes, recordings, labels, (BLUE, ORANGE, GREY, YELLOW), strict=False
        ):
            first = (recording.trial_ids == 0) & (recording.spike_times < RASTER_S)
            size = max(1.0, min(40.0, 400 / max(recording.n_units, 1)))
            ax.scatter(
                recording.spike_times[first],
                recording.unit_ids[first],
                marker="|",
                s=size,
                linewidths=0.8,
                c=colour,
            )
            ax.set(ylabel="neuron", title=f"{label}: {recording.rates().mean():.1f} Hz")
            ax.set_ylim(-0.5, recording.n_units - 0.5)
            ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes[-1].set_xlabel("time (s)")
        figure.tight_layout()
    return figure


def plot_convergence(fit: Fit) -> Figure:
    """Objective of every start over the iterations; stages and levels are marked."""
    with mpl.rc_context(STYLE):
        stages = sorted(set(fit.history_places[:, 0].tolist()))
        figure = Figure(figsize=(4 * len(stages) + 1, 3))
        axes = figure.subplots(1, max(1, len(stages)), squeeze=False)[0]
        for ax, stage in zip(axes, stages, strict=False):
            rows = fit.history_places[:, 0] == stage
            losses, levels = fit.history_objective[rows], fit.history_places[rows, 1]
            ax.plot(losses, color=BLUE, alpha=0.4, linewidth=0.8)
            ax.plot(
                np.nanmin(np.where(np.isfinite(losses), losses, np.inf), axis=1),
                color=ORANGE,
                linewidth=1.5,
            )
            for border in np.flatnonzero(np.diff(levels)):
                ax.axvline(border + 0.5, color=GREY, linewidth=0.5, linestyle=":")
            ax.set(xlabel="entry of the history", ylabel="objective", title=f"stage {stage + 1}")
            if (losses[np.isfinite(losses)] > 0).all():
                ax.set_yscale("log")
        figure.tight_layout()
    return figure


def plot_densities(fit: Fit) -> Figure:
    """Pairwise kernel densities of the best start's parameters over training (blue), with the truth (yellow).

    Each parameter is represented by its mean over neurons. What is shown is the optimiser's path, not a posterior.
    """
    names = [name for name in fit.learned if name in fit.history][:PANELS]
    best = [_path_of_best(fit, name) for name in names]
    with mpl.rc_context(STYLE):
        n = max(1, len(names) - 1)
        figure = Figure(figsize=(2.4 * n + 0.6, 2.2 * n + 0.6))
        axes = figure.subplots(n, n, squeeze=False)
        for row in range(n):
            for column in range(n):
                ax = axes[row, column]
                if column > row or len(names) < 2:
                    ax.set_axis_off()
                    continue
                _density(ax, best[column], best[row + 1])
                for marker, source, colour in (
                    ("o", fit.truth, YELLOW),
                    ("x", fit.parameters, ORANGE),
                ):
                    if names[column] in source and names[row + 1] in source:
                        point = (np.mean(source[names[column]]), np.mean(source[names[row + 1]]))
                        ax.plot(
                            *point,
                            marker,
                            color=colour,
                            markersize=7,
                            markeredgecolor="black" if marker == "o" else colour,
                        )
                if row == n - 1:
                    ax.set_xlabel(names[column])
                if column == 0:
                    ax.set_ylabel(names[row + 1])
        figure.suptitle("over training: density blue, truth yellow, fitted orange", fontsize=9)
        figure.tight_layout()
    return figure


def _path_of_best(fit: Fit, name: str) -> np.ndarray:
    values = fit.history[name]
    alive = np.isfinite(values).reshape(values.shape[0], -1, values.shape[-1]).all(axis=(0, 1))
    start = int(np.flatnonzero(alive)[0]) if alive.any() else 0
    return np.nanmean(values[..., start].reshape(values.shape[0], -1), axis=1)


def _density(ax: Axes, x: np.ndarray, y: np.ndarray) -> None:
    ax.plot(x, y, color=BLUE, linewidth=0.5, alpha=0.5)
    if len(x) < 5 or np.ptp(x) == 0 or np.ptp(y) == 0 or abs(np.corrcoef(x, y)[0, 1]) > 1 - 1e-9:
        return
    pad_x, pad_y = 0.2 * np.ptp(x), 0.2 * np.ptp(y)
    grid = np.meshgrid(
        np.linspace(x.min() - pad_x, x.max() + pad_x, 40),
        np.linspace(y.min() - pad_y, y.max() + pad_y, 40),
    )
    values = gaussian_kde(np.vstack([x, y]))(np.vstack([g.ravel() for g in grid])).reshape(40, 40)
    ax.contourf(*grid, values, levels=8, cmap="Blues")


def plot_ensembles(match: EnsembleMatch, labels: tuple[str, str] = ("target", "model")) -> Figure:
    """Modules (top) and activation coefficients (bottom) of two recordings, matched."""
    modules = match.first.modules.shape[0]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.6 * modules + 1, 4.5))
        axes = figure.subplots(2, modules, squeeze=False)
        for k in range(modules):
            neurons = np.arange(match.first.modules.shape[1])
            axes[0, k].bar(neurons - 0.2, match.first.modules[k], 0.4, color=BLUE, label=labels[0])
            axes[0, k].bar(
                neurons + 0.2,
                match.second.modules[match.order[k]],
                0.4,
                color=ORANGE,
                label=labels[1],
            )
            axes[0, k].set(title=f"module {k + 1}", xlabel="neuron")
            shown = slice(0, 300)
            times = np.arange(match.first.activations.shape[0])[shown] * match.first.bin_s
            axes[1, k].plot(times, match.first.activations[shown, k], color=BLUE, linewidth=0.7)
            other = match.second.activations[shown, match.order[k]]
            axes[1, k].plot(times[: len(other)], other, color=ORANGE, linewidth=0.7)
            axes[1, k].set(xlabel="time (s)")
        axes[0, 0].set_ylabel("weight")
        axes[1, 0].set_ylabel("activation")
        axes[0, 0].legend(frameon=False, fontsize=7)
        figure.suptitle(
            f"cosine {match.cosine:.2f}, ceiling {match.ceiling:.2f}, floor {match.floor:.2f}",
            fontsize=9,
        )
        figure.tight_layout()
    return figure


def plot_recovery(fit: Fit) -> Figure:
    """Fitted against true values of every learned parameter whose truth is known."""
    names = [name for name in fit.learned if name in fit.truth]
    columns = min(4, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * columns + 0.6, 2.4 * rows + 0.4))
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, name in zip(axes, names, strict=False):
            truth = np.broadcast_to(fit.truth[name], fit.parameters[name].shape).ravel()
            fitted = fit.parameters[name].ravel()
            low, high = min(truth.min(), fitted.min()), max(truth.max(), fitted.max())
            pad = 0.05 * (high - low or abs(high) or 1.0)
            ax.plot([low - pad, high + pad], [low - pad, high + pad], color=GREY, linewidth=0.7)
            ax.plot(truth, fitted, "o", color=BLUE, markersize=3)
            ax.set(title=name, xlabel="truth", ylabel="fitted")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_locator(MaxNLocator(TICKS))
            # labels have many digits where truth and fit are close, and an offset would stand in the title
            ax.ticklabel_format(useOffset=False)
            ax.tick_params(axis="x", rotation=SLANT)
        for ax in axes[len(names) :]:
            ax.set_axis_off()
        figure.tight_layout()
    return figure


def plot_profile(profile: Profile) -> Figure:
    """Twice the loss of log-likelihood over the values of one parameter, with the level and ends of the 90 % interval."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4, 3))
        ax = figure.subplots()
        ax.plot(profile.values, profile.twice_loss, "o-", color=BLUE, markersize=3)
        ax.axhline(CROSSING, color=GREY, linewidth=0.7, linestyle=":")
        for end in (profile.low, profile.high):
            if np.isfinite(end):
                ax.axvline(end, color=ORANGE, linewidth=0.9)
        unit = "" if profile.unit == "1" else f" ({profile.unit})"
        ax.set(xlabel=profile.title + unit, ylabel=f"2 x loss of log {profile.source}")
        figure.tight_layout()
    return figure


def save_figures(fit: Fit, folder: Path) -> list[Path]:
    """Write the figures of a fit into a folder, those that make sense for it; return their paths."""
    written = [save(plot_convergence(fit), folder / "convergence.png")]
    if len(fit.learned) > 1 and len(fit.history_objective) > 1:
        written.append(save(plot_densities(fit), folder / "densities.png"))
    if any(name in fit.truth for name in fit.learned):
        written.append(save(plot_recovery(fit), folder / "recovery.png"))
    return written
