"""Log-likelihoods of predicted spikes, and bits per spike."""

import math

import numpy as np
import pytest
from scipy.stats import bernoulli

from eqsnn.analysis.prediction import bernoulli_log_likelihood, bits_per_spike, rate_logits
from eqsnn.errors import InputError


def test_the_log_likelihood_is_that_of_scipys_bernoulli_distribution():
    rng = np.random.default_rng(0)
    spikes, logits = (rng.random((50, 3)) < 0.3).astype(float), rng.normal(-1, 2, (50, 3))
    expected = bernoulli.logpmf(spikes, 1 / (1 + np.exp(-logits))).sum(0)
    np.testing.assert_allclose(bernoulli_log_likelihood(spikes, logits), expected, rtol=1e-12)


def test_a_hopeless_prediction_costs_its_log_odds_and_not_infinity():
    found = bernoulli_log_likelihood(np.array([[1.0], [0.0]]), np.array([[-1000.0], [1000.0]]))
    np.testing.assert_allclose(found, -2000)


def test_the_rates_of_the_learned_part_are_the_baseline():
    spikes = np.zeros((100, 2))
    spikes[:20, 0] = 1
    np.testing.assert_allclose(rate_logits(spikes), [math.log(0.25), math.log(0.005 / 0.995)])


def test_a_perfect_forecast_of_a_fair_coin_tells_two_bits_per_spike():
    # n steps at log 2 each, half of them spikes: n log 2/(n/2)/log 2
    spikes = np.tile([[1.0], [0.0]], (50, 1))
    baseline = bernoulli_log_likelihood(spikes, rate_logits(spikes))
    perfect = bernoulli_log_likelihood(spikes, np.where(spikes > 0, 50.0, -50.0))
    assert bits_per_spike(perfect, baseline, spikes.sum()) == pytest.approx(2)
    assert bits_per_spike(baseline, baseline, spikes.sum()) == 0


def test_bits_per_spike_need_spikes():
    with pytest.raises(InputError, match="no spikes were held out"):
        bits_per_spike(np.zeros(1), np.zeros(1), 0)
