"""Figure 1: NMF modules (top) and activation coefficients (bottom) of a day, of the target and of the fitted network.

Usage: python examples/poster/figure_1.py [lif izhikevich] [--seed 0]. Experiment D: the sleep rate model drives the target;
the network fitted to it gets the same expected input, but noise of its own. Writes docs/poster/figure_1_KIND.png.
"""

import argparse

import numpy as np
from drawing import FITTED, STATES, TARGET, shade, shade_neurons, write
from experiments import run
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from protocol import DAY_S, KINDS, days, network, poisson, truth_of

import eqsnn
from eqsnn.analysis.nmf import compare_ensembles

SHOWN_DAYS, LEARNED_DAYS = 1, 5
BIN_S = 0.1
SMOOTH_S = 0.5  # of the curves that are drawn


def draw(kind: str, seed: int) -> Figure:
    """Factorise days of both networks and draw modules and activations side by side."""
    fit = eqsnn.read_fit(run("D", kind, seed))
    fitted = {name: fit.parameters[name] for name in truth_of(kind)}
    expected, state = days(LEARNED_DAYS, seed + 2000)
    runs = [
        eqsnn.simulate(
            network(kind),
            len(expected) / 1000,
            inputs={"x": poisson(expected, 1, seed + k)},
            parameters=values,
        )
        for k, values in enumerate((None, fitted, None))
    ]
    match = compare_ensembles(runs[0], runs[1], replicate=runs[2], bin_s=BIN_S, seed=seed)
    # modules in the order of the populations that weigh most in them
    order = np.argsort(
        [np.argmax(m.reshape(3, 4).sum(1)) for m in match.first.modules], kind="stable"
    )
    figure = Figure(figsize=(11, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, height_ratios=(1, 1.2))
    for column, module in enumerate(order):
        _modules(axes[0, column], match, module, column)
        _activations(axes[1, column], match, module, state)
    axes[0, 0].set_ylabel("module (unit norm)")
    axes[1, 0].set_ylabel("activation coefficient")
    handles = [Patch(color=TARGET, label="target"), Patch(color=FITTED, label="fitted")]
    handles += [Patch(color=colour, alpha=0.3, label=name) for name, colour in STATES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(
        f"{kind}: ensembles of a sleep-wake day. Cosine of modules {match.cosine:.3f}, of a second run of the target "
        f"{match.ceiling:.3f}, of shuffled neurons {match.floor:.2f}"
    )
    return figure


def _modules(ax, match, module: int, column: int) -> None:
    neurons = np.arange(match.first.modules.shape[1])
    shade_neurons(ax)
    ax.bar(neurons - 0.2, match.first.modules[module], 0.4, color=TARGET)
    ax.bar(neurons + 0.2, match.second.modules[match.order[module]], 0.4, color=FITTED)
    ax.set(xlabel="neuron", xticks=neurons, ylim=(0, 1))
    ax.set_title(f"module {column + 1}", pad=14)


def _activations(ax, match, module: int, state) -> None:
    shown, wide = round(SHOWN_DAYS * DAY_S / BIN_S), round(SMOOTH_S / BIN_S)
    hours = np.arange(shown) * BIN_S  # an hour is a second
    shade(ax, state[: round(SHOWN_DAYS * DAY_S * 1000) : 100], BIN_S)
    for found, place, colour in (
        (match.first, module, TARGET),
        (match.second, match.order[module], FITTED),
    ):
        curve = found.activations[:shown, place]
        ax.plot(hours, np.convolve(curve, np.ones(wide) / wide, "same"), color=colour, linewidth=1)
    ax.set(xlabel="time (h of the day, one per second of spikes)", xlim=(0, SHOWN_DAYS * DAY_S))
    ax.set_ylim(bottom=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", choices=KINDS, default=("lif", "izhikevich"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        write(draw(kind, arguments.seed), f"figure_1_{kind}")


if __name__ == "__main__":
    main()
