"""Distances between spike trains, against closed forms and Elephant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqsnn.analysis.distances import coincidences, f1_score, gamma_factor, van_rossum_distance

TRAIN = st.lists(st.integers(0, 2000), max_size=15, unique=True).map(
    lambda times: np.sort(times) * 1e-3
)
NONE = np.zeros(0)


def test_one_spike_against_none_costs_one_half_and_two_spikes_apart_one_minus_exp():
    assert van_rossum_distance(np.array([0.3]), NONE, tau=0.01) == pytest.approx(0.5, rel=1e-14)
    for apart in (0.001, 0.01, 0.05):
        distance = van_rossum_distance(np.array([0.3]), np.array([0.3 + apart]), tau=0.01)
        assert distance == pytest.approx(1 - np.exp(-apart / 0.01), rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(TRAIN, TRAIN, TRAIN)
def test_the_root_of_the_van_rossum_distance_is_a_metric(a, b, c):
    def d(x, y):
        return np.sqrt(van_rossum_distance(x, y, tau=0.02))

    assert d(a, a) == pytest.approx(0, abs=1e-6)
    assert d(a, b) == pytest.approx(d(b, a), abs=1e-6)
    assert d(a, c) <= d(a, b) + d(b, c) + 1e-6


def test_the_van_rossum_distance_is_elephants_after_rescaling():
    neo = pytest.importorskip("neo")
    quantities = pytest.importorskip("quantities")
    elephant = pytest.importorskip("elephant.spike_train_dissimilarity")
    rng = np.random.default_rng(0)
    trains = [np.sort(rng.uniform(0, 2, rng.integers(1, 40))) for _ in range(4)]
    wrapped = [neo.SpikeTrain(t * quantities.s, t_stop=2 * quantities.s) for t in trains]
    theirs = elephant.van_rossum_distance(wrapped, time_constant=0.02 * quantities.s)
    for i, a in enumerate(trains):
        for j, b in enumerate(trains):
            # Elephant's lone spike costs 1
            assert van_rossum_distance(a, b, tau=0.02) == pytest.approx(
                theirs[i, j] ** 2 / 2, rel=1e-9, abs=1e-9
            )


def test_coincidences_pair_spikes_one_to_one():
    data, model = np.array([9.0, 10.0, 11.0]), np.array([10.0, 100.0])
    assert coincidences(data, model, delta=2.0) == 1
    assert f1_score(data, model, delta=2.0) == pytest.approx(2 / 5)
    assert f1_score(data, data) == 1
    assert np.isnan(f1_score(NONE, NONE))


def test_gamma_is_one_for_the_same_train_and_zero_on_average_for_poisson_trains():
    rng = np.random.default_rng(0)
    data = np.sort(rng.uniform(0, 100, 2000))
    assert gamma_factor(data, data, duration=100.0) == pytest.approx(1)
    by_chance = [
        gamma_factor(np.sort(rng.uniform(0, 100, 2000)), data, duration=100.0) for _ in range(20)
    ]
    # one-to-one pairing loses a few of the coincidences that the correction expects
    assert abs(np.mean(by_chance)) < 0.05
