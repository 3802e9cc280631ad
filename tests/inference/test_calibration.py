"""Simulation-based calibration: where truths from the prior lie in the distributions that fits state (Talts et al. 2018)."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom, kstest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import calibration  # pyright: ignore[reportMissingImports]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "fits"), [("single", 60), ("network", 30)])
def test_stated_intervals_hold_the_truth_as_often_as_they_say(kind, fits):
    kinds = calibration.run(kind, fits, seconds=8.0, seed=1)
    inside = np.concatenate([k.inside for k in kinds])
    low, high = binom.ppf([0.001, 0.999], len(inside), 0.9)
    assert low <= inside.sum() <= high
    for k in kinds:
        assert kstest(k.rank, "uniform").pvalue > 1e-3, k.name
