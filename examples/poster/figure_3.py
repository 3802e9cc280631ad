"""Figure 3: spikes of the target and of the fitted network, rates, intervals, irregularity, correlations, distances.

Usage: python examples/poster/figure_3.py [A lif] [--seed 0]. A and B: the same input for both, C and D: noise of their own.
Writes docs/poster/figure_3_EXPERIMENT_KIND.png.
"""

import argparse

import numpy as np
from drawing import FITTED, GREY, STATES, TARGET, shade_neurons, write
from experiments import EXPERIMENTS, TEST_SEED, run
from matplotlib.figure import Figure
from protocol import BURN_IN_S, KINDS, POPULATIONS, Values, network, truth_of
from scores import debiased_distance

import eqsnn
from eqsnn.analysis.statistics import correlations, fano_factor, interval_cv

RASTER_S, LONG_S = 4.0, 300.0
BIN_S = 0.1


def rasters(ax, kind: str, fitted: Values, same_input: bool, seed: int) -> None:
    """Draw spikes of both networks, each neuron's target above its fitted spikes."""
    whole = BURN_IN_S + RASTER_S
    target = eqsnn.simulate(network(kind), whole, record=["x"], seed=seed)
    given = target if same_input else None
    model = eqsnn.simulate(network(kind), whole, parameters=fitted, seed=seed + 1, inputs=given)
    target, model = (r.window(BURN_IN_S, whole) for r in (target, model))
    shade_neurons(ax, "y")
    for run_, shift, colour, label in (
        (target, -0.2, TARGET, "target"),
        (model, 0.2, FITTED, "fitted"),
    ):
        ax.plot(
            run_.spike_times, run_.unit_ids + shift, "|", color=colour, markersize=4, label=label
        )
    f1 = np.nanmean(eqsnn.compare(target, model).f1)
    ax.set(
        ylim=(11.5, -0.5), xlim=(0, RASTER_S), xlabel="time (s)", ylabel="neuron", yticks=range(12)
    )
    noise = "the same input" if same_input else "noise of their own"
    ax.set_title(f"spikes, {noise}: F1 within 1 ms {f1:.2f}")
    ax.legend(loc="upper right", ncols=2, fontsize=7)


def bars(ax, target, fitted, title: str) -> None:
    """Draw one number for each neuron of both."""
    neurons = np.arange(len(target))
    shade_neurons(ax)
    ax.bar(neurons - 0.2, target, 0.4, color=TARGET)
    ax.bar(neurons + 0.2, fitted, 0.4, color=FITTED)
    ax.set(xlabel="neuron", xticks=neurons)
    ax.set_title(title, pad=14)


def intervals(ax, runs: list[eqsnn.Recording]) -> None:
    """Draw the densities of interspike intervals of each population."""
    edges = np.geomspace(1e-3, 3.0, 60)
    for number, name in enumerate(POPULATIONS):
        for run_, style in zip(runs, ("-", "--"), strict=True):
            units = range(4 * number, 4 * number + 4)
            pooled = np.concatenate([np.diff(run_.train(u)) for u in units])
            counts = np.histogram(pooled, edges)[0]
            colour = STATES[NAMES_OF[name]]
            ax.plot(
                np.sqrt(edges[:-1] * edges[1:]),
                counts / counts.sum(),
                style,
                color=colour,
                linewidth=1.2,
                label=f"{NAMES_OF[name]}, {'target' if style == '-' else 'fitted'}",
            )
    ax.set(xscale="log", xlabel="interspike interval (s)", ylabel="share", title="intervals")
    ax.legend(fontsize=6, frameon=False)


NAMES_OF = dict(zip(POPULATIONS, STATES, strict=True))


def matrix(figure: Figure, ax, runs: list[eqsnn.Recording]) -> None:
    """Draw the correlations of counts, the target's below the diagonal, those of the fitted network above it."""
    target, fitted = (correlations(r, bin_s=BIN_S) for r in runs)
    both = np.where(np.tri(len(target), k=-1, dtype=bool), target, fitted)
    np.fill_diagonal(both, np.nan)
    limit = max(0.05, float(np.nanmax(np.abs(both))))
    image = ax.imshow(both, cmap="PuOr", vmin=-limit, vmax=limit)
    figure.colorbar(image, ax=ax, shrink=0.8)
    ax.set(xticks=range(0, 12, 2), yticks=range(0, 12, 2), xlabel="neuron", ylabel="neuron")
    ax.set_title(f"correlations, {BIN_S * 1e3:g} ms:\ntarget below, fitted above the diagonal")


def distances(ax, kind: str, start: Values, fitted: Values, seed: int) -> None:
    """Draw the distance between its ceiling, a second run of the target, and its floor, silence."""
    rows = {
        "second run": debiased_distance(kind, None, seed),
        "fitted": debiased_distance(kind, fitted, seed),
        "start": debiased_distance(kind, start, seed),
        "silence": 1.0,
    }
    ax.barh(list(rows), list(rows.values()), color=(TARGET, FITTED, GREY, GREY))
    most = 1.3  # the start of a burster may lie tens of times beyond silence
    for row, value in enumerate(rows.values()):
        ax.text(min(value, 1.0), row, f" {value:.3g}", va="center", fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(min(0, *rows.values()), most)
    ax.set_title("van Rossum distance, 12 ms, without\nthe bias of independent noise")


def draw(experiment: str, kind: str, seed: int) -> Figure:
    """Draw the figure of one experiment."""
    fit = eqsnn.read_fit(run(experiment, kind, seed))
    fitted = {name: np.asarray(fit.parameters[name]) for name in truth_of(kind)}
    start = {name: np.asarray(fit.start[name]) for name in fitted}
    runs = [
        eqsnn.simulate(
            network(kind), LONG_S, burn_in=BURN_IN_S, seed=TEST_SEED + seed + k, parameters=values
        )
        for k, values in enumerate((None, fitted))
    ]
    figure = Figure(figsize=(13, 10), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1.2, 1, 1.1))
    rasters(figure.add_subplot(grid[0, :]), kind, fitted, experiment in "AB", TEST_SEED + seed)
    for column, (title, measure) in enumerate(
        (
            ("rate (Hz)", lambda r: r.rates()),
            ("CV of intervals", interval_cv),
            ("Fano factor, 100 ms", lambda r: fano_factor(r, bin_s=BIN_S)),
        )
    ):
        bars(figure.add_subplot(grid[1, column]), measure(runs[0]), measure(runs[1]), title)
    intervals(figure.add_subplot(grid[2, 0]), runs)
    matrix(figure, figure.add_subplot(grid[2, 1]), runs)
    distances(figure.add_subplot(grid[2, 2]), kind, start, fitted, TEST_SEED + seed)
    figure.suptitle(
        f"Experiment {experiment}, {kind}: target (blue), fitted (orange). All but the raster: {LONG_S:g} s, own noise"
    )
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", nargs="?", choices=EXPERIMENTS, default="A")
    parser.add_argument("kind", nargs="?", choices=KINDS, default="lif")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    write(draw(a.experiment, a.kind, a.seed), f"figure_3_{a.experiment}_{a.kind}")


if __name__ == "__main__":
    main()
