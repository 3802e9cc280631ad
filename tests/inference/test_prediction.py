"""One-step-ahead scores of spikes that a fit has not seen."""

import numpy as np
import pytest

import eqsnn
from eqsnn.analysis.prediction import bernoulli_log_likelihood
from eqsnn.errors import InputError
from eqsnn.inference.prediction import log_likelihood

NOISY = """
neuron cell:
    dv/dt = (E - v)/(20*ms) : mV
    jitter = noise*log(1/rand() - 1) : mV (constant over dt)
    threshold: v >= 10*mV + jitter
    reset: v = 0*mV
    E : mV = 8*mV
    noise : mV = 1.5*mV

network:
    dt = 1*ms
    cells : cell[6]
"""
STAGE = eqsnn.Forced(widths=(0.15,))


def recorded():
    return eqsnn.simulate(eqsnn.loads(NOISY), 2.0, seed=3)


def known(recording):
    return eqsnn.Recording(
        recording.spike_times, recording.unit_ids, recording.trial_ids, recording.duration, recording.dt,
        recording.n_units, inputs={"jitter": np.zeros(2000)},
    )  # fmt: skip


def by_hand(spikes, e=8.0):
    """Return the log-odds of a spike in each step given the spikes before it: v relaxes to E, and is 0 after each."""
    v, found = np.zeros(spikes.shape[1]), np.zeros(spikes.shape)
    for n, fired in enumerate(spikes):
        v = e + (v - e) * np.exp(-1 / 20)
        found[n] = (v - 10) / 1.5
        v = np.where(fired > 0, 0.0, v)
    return found


def test_the_score_is_the_bernoulli_likelihood_of_the_steps_after_since():
    recording = recorded()
    spikes = recording.dense()[0].astype(float)
    found = log_likelihood(eqsnn.loads(NOISY), known(recording), stage=STAGE, since=1.5)
    expected = bernoulli_log_likelihood(spikes[1500:], by_hand(spikes)[1500:])
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_a_network_with_logistic_jitter_fires_with_the_probability_of_its_likelihood():
    spikes = recorded().dense()[0].astype(float)
    expected = (1 / (1 + np.exp(-by_hand(spikes)))).sum()
    assert spikes.sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_the_values_that_made_the_spikes_score_best():
    scores = [
        log_likelihood(eqsnn.loads(NOISY), known(recorded()), {"cells.E": e}, stage=STAGE).sum()
        for e in (6.0, 8.0, 10.0)
    ]
    assert np.argmax(scores) == 1


def test_a_score_that_starts_after_the_end_is_refused():
    with pytest.raises(InputError, match="starts at 2 s, but the recording lasts 2 s"):
        log_likelihood(eqsnn.loads(NOISY), known(recorded()), stage=STAGE, since=2.0)
