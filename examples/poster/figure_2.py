"""Figure 2: kernel densities of the fitted parameters over training (blue), the truth (yellow), near and far starts.

Usage: python examples/poster/figure_2.py [lif izhikevich] [--seeds 0]. Columns 1 and 2 are what the poster showed: where the
optimiser has been, which is no measure of what the data say. Columns 3 to 5 are what it could not show: where all restarts
ended, and estimates with their 90 % intervals (LIF: from the likelihood) for every seed. Writes docs/poster/figure_2_KIND.png.
"""

import argparse

import numpy as np
from drawing import FITTED, GREY, TARGET, YELLOW, write
from experiments import run
from matplotlib.figure import Figure
from protocol import KINDS, POPULATIONS, family, truth_of
from scipy.stats import gaussian_kde

import eqsnn

PAIRS = {
    "lif": (("rem.tau_m", "rem.v_rest"), ("wake.tau_m", "wake.k"), ("rem->wake.w", "rem->rem.w")),
    "izhikevich": (("rem.a", "rem.b"), ("rem.c", "rem.d"), ("rem->wake.w", "rem->rem.w")),
}
GRID = 60
BOX = 4.0  # half width of a panel, in standard deviations of the path around its mean
LAST = 1 / 3  # of the entries of the history


def path(fit: eqsnn.Fit, name: str) -> np.ndarray:
    """Return the values of the best restart over training, (entry,)."""
    values = fit.history[name].reshape(len(fit.history_objective), -1)
    return values[:, int(np.flatnonzero(np.isfinite(values[-1]))[0])]


def late(values: np.ndarray) -> np.ndarray:
    """Return the last third of a path."""
    return values[-int(len(values) * LAST) :]


def true_point(truth: dict, names: tuple[str, str]) -> tuple[float, float]:
    """Return the true values of two parameters."""
    x, y = (float(truth[name].ravel()[0]) for name in names)
    return x, y


def share_denser(x: np.ndarray, y: np.ndarray, point: tuple[float, float]) -> float:
    """Return the share of a path's mass that lies at places denser than `point`: 0.5 is the edge of its densest half."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    density = gaussian_kde(np.vstack([x, y]))
    return float((density(np.vstack([x, y])) > density(np.array(point))).mean())


def draw_path(ax, fit: eqsnn.Fit, names: tuple[str, str], truth: dict) -> None:
    """Draw one panel of the poster, and the ends of all restarts beside it."""
    x, y = (path(fit, name) for name in names)
    right = true_point(truth, names)
    low, high = zip(*(_box(v, t) for v, t in zip((x, y), right, strict=True)), strict=True)
    grid = np.meshgrid(*(np.linspace(a, b, GRID) for a, b in zip(low, high, strict=True)))
    if np.ptp(x) > 0 and np.ptp(y) > 0:
        density = gaussian_kde(np.vstack([x, y]))(np.vstack([g.ravel() for g in grid]))
        ax.contourf(*grid, density.reshape(GRID, GRID), levels=10, cmap="Blues")
    ax.plot(x, y, color=TARGET, linewidth=0.4, alpha=0.6)
    ends = [fit.history[name].reshape(len(x), -1) for name in names]
    last = [_last_alive(values) for values in ends]
    ax.plot(*last, "x", color=GREY, markersize=5, label="ends of all restarts")
    ax.plot(x[-1], y[-1], "x", color=FITTED, markersize=8, markeredgewidth=2, label="fitted")
    ax.plot(*right, "o", color=YELLOW, markeredgecolor="black", markersize=8, label="truth")
    ax.set(xlabel=names[0], ylabel=names[1], xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def _last_alive(values: np.ndarray) -> np.ndarray:
    return np.array([column[np.isfinite(column)][-1] for column in values.T])


def _box(values: np.ndarray, truth: float) -> tuple[float, float]:
    spread = BOX * values.std() + 1e-9
    low, high = values.mean() - spread, values.mean() + spread
    pad = 0.08 * (max(high, truth) - min(low, truth))
    return min(low, truth - pad), max(high, truth + pad)


def draw_intervals(ax, fits: list[eqsnn.Fit], names: list[str], truth: dict, title: str) -> None:
    """Draw estimates and 90 % intervals of all seeds relative to the truth (weights: differences)."""
    for row, name in enumerate(names):
        right = float(truth[name].ravel()[0])
        scale = 1.0 if name.endswith(".w") else abs(right) / 100
        for number, fit in enumerate(fits):
            place = row + 0.6 * ((number + 1) / (len(fits) + 1) - 0.5)
            value = float(np.ravel(fit.parameters[name])[0])
            if name in fit.interval:
                ends = [float(np.ravel(end)[0]) for end in fit.interval[name]]
                ax.plot(
                    [(e - right) / scale for e in ends], [place, place], color=TARGET, linewidth=1
                )
            ax.plot((value - right) / scale, place, "o", color=FITTED, markersize=3)
    ax.axvline(0, color=YELLOW, linewidth=2, zorder=0)
    ax.set(yticks=range(len(names)), yticklabels=names, title=title)
    ax.tick_params(axis="y", labelsize=6)
    ax.locator_params(axis="x", nbins=4)
    ax.invert_yaxis()


def draw(kind: str, seeds: list[int]) -> Figure:
    """Draw the figure of one kind of network."""
    fits = {e: [eqsnn.read_fit(run(e, kind, seed)) for seed in seeds] for e in "AB"}
    truth = truth_of(kind)
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    axes = figure.subplots(3, 4, width_ratios=(1, 1, 0.9, 0.9))
    for row, pair in enumerate(PAIRS[family(kind)]):
        for column, (experiment, title) in enumerate((("A", "near start"), ("B", "far start"))):
            ax = axes[row, column]
            draw_path(ax, fits[experiment][0], pair, truth)
            if row == 0:
                ax.set_title(title)
    axes[0, 0].legend(fontsize=6, frameon=False)
    own = [n for n in truth if not n.endswith(".w") and n.split(".")[0] in POPULATIONS]
    weights = [n for n in truth if n.endswith(".w")]
    grid = axes[0, 2].get_gridspec()
    for ax in axes[:, 2:].ravel():
        ax.remove()
    for column, (experiment, title) in enumerate((("A", "near"), ("B", "far")), start=2):
        draw_intervals(
            figure.add_subplot(grid[:2, column]),
            fits[experiment],
            own,
            truth,
            f"{title}: error (%), 90 % intervals",
        )
        draw_intervals(
            figure.add_subplot(grid[2, column]),
            fits[experiment],
            weights,
            truth,
            f"{title}: error of weights",
        )
    figure.suptitle(
        f"{kind}: parameters over training (blue) and the truth (yellow); right: every seed with its interval"
    )
    for experiment, found in fits.items():
        inside = [
            share_denser(late(path(f, pair[0])), late(path(f, pair[1])), true_point(truth, pair))
            for f in found
            for pair in PAIRS[family(kind)]
        ]
        shown = " ".join(f"{share:.2f}" for share in inside)
        print(
            f"{experiment} {kind}: share of the last third of training that is denser than the truth: {shown}"
        )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=KINDS, default=("lif", "izhikevich"))
    parser.add_argument("--seeds", default="0", help="e.g. 0,1,2; densities are of the first")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        write(draw(kind, [int(s) for s in arguments.seeds.split(",")]), f"figure_2_{kind}")


if __name__ == "__main__":
    main()
