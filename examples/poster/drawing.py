"""What the figures of the poster share: colours of the populations, the style, and how a figure is written."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from protocol import ROOT

from eqsnn.report.plots import BLUE, GREY, ORANGE, STYLE, YELLOW, save

FIGURES = ROOT / "docs" / "poster"
# Okabe and Ito; told apart by colour-blind readers
STATES = {"Wake": "#E69F00", "REM": "#CC79A7", "NREM": "#56B4E9"}
TARGET, FITTED = BLUE, ORANGE
mpl.rcParams.update(STYLE)


def write(figure: Figure, name: str, folder: Path = FIGURES) -> Path:
    """Write a figure, say where, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = save(figure, folder / f"{name}.png")
    print(f"written: {path}")
    return path


def shade(ax: Axes, state, step_s: float) -> None:
    """Colour the background of an axis by the state, (time,) of 0 Wake, 1 REM, 2 NREM, in steps of `step_s` seconds."""
    for number, colour in enumerate(STATES.values()):
        ax.fill_between(
            [k * step_s for k in range(len(state))],
            0,
            1,
            where=state == number,
            step="post",
            transform=ax.get_xaxis_transform(),
            color=colour,
            alpha=0.18,
            linewidth=0,
        )


def shade_neurons(ax: Axes, along: str = "x") -> None:
    """Mark which neurons of an axis belong to which population."""
    for number, (name, colour) in enumerate(STATES.items()):
        span = ax.axvspan if along == "x" else ax.axhspan
        span(4 * number - 0.5, 4 * number + 3.5, color=colour, alpha=0.15, linewidth=0)
        if along == "x":
            ax.text(
                4 * number + 1.5,
                1.01,
                name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                fontsize=7,
            )


__all__ = ["FITTED", "GREY", "STATES", "TARGET", "YELLOW", "shade", "shade_neurons", "write"]
