"""Axes of figures say what is there: neurons are whole numbers."""

import numpy as np
import pytest

from eqsnn.report.plots import plot_rasters
from eqsnn.simulation.recording import Recording


@pytest.mark.parametrize("neurons", [1, 2, 3, 12, 200])
def test_neurons_of_a_raster_are_numbered_by_integers(neurons):
    recording = Recording(np.array([0.1]), np.array([0]), np.array([0]), 1.0, 1e-3, neurons)
    axis = plot_rasters([recording], ["target"]).axes[0]
    low, high = axis.get_ylim()
    shown = [tick for tick in axis.get_yticks() if low <= tick <= high]
    assert shown
    assert all(tick == round(tick) for tick in shown)
