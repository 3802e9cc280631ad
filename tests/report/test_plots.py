"""Axes of figures say what is there and can be read: neurons are whole numbers, labels keep clear of each other."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from eqsnn.report.plots import plot_rasters, plot_recovery
from eqsnn.simulation.recording import Recording


@pytest.mark.parametrize("neurons", [1, 2, 3, 12, 200])
def test_neurons_of_a_raster_are_numbered_by_integers(neurons):
    recording = Recording(np.array([0.1]), np.array([0]), np.array([0]), 1.0, 1e-3, neurons)
    axis = plot_rasters([recording], ["target"]).axes[0]
    low, high = axis.get_ylim()
    shown = [tick for tick in axis.get_yticks() if low <= tick <= high]
    assert shown
    assert all(tick == round(tick) for tick in shown)


def test_labels_of_recovery_do_not_lie_over_each_other_where_fit_and_truth_are_close():
    values = {
        "wake.v_rest": (-36.9998, -36.9804),
        "rem.tau_m": (0.6, 0.599997),
        "rem->nrem.w": (-0.16804, -0.16818),
        "nrem->rem.w": (0.0, 0.00049),
    }
    truth, fitted = ({n: np.array(pair[k]) for n, pair in values.items()} for k in (0, 1))
    fit = SimpleNamespace(learned=tuple(values), truth=truth, parameters=fitted)
    figure = plot_recovery(fit)  # type: ignore[arg-type]
    FigureCanvasAgg(figure).draw()
    for ax in figure.axes[: len(values)]:
        low, high = ax.get_xlim()
        labels = [t for t in ax.get_xticklabels() if low <= t.get_position()[0] <= high]
        assert len(labels) > 1
        assert not any(axis.get_offset_text().get_text() for axis in (ax.xaxis, ax.yaxis))
        angle = np.radians(labels[0].get_rotation())
        places = [ax.transData.transform((t.get_position()[0], low))[0] for t in labels]
        labels[0].set_rotation(0)
        box = labels[0].get_window_extent()
        # turned labels are parallel: clear if their lines are, or if they are shorter than their distance
        clear = max(
            np.diff(places).min() * np.sin(angle) / box.height,
            np.diff(places).min() / (box.width * np.cos(angle) + 1),
        )
        assert clear > 1
