"""A network goes on from recorded spikes."""

import numpy as np
import pytest

import eqsnn
from eqsnn.errors import InputError

NETWORK = """
neuron cell:
    dv/dt = (24*mV + I_syn + drive - v)/(20*ms) : mV (unless refractory)
    dw/dt = -w/(300*ms) : mV
    dg/dt = -g/(10*ms) : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= 15*mV + w
    reset:
        v = 0*mV
        w += 0.5*mV
        g += 1
    refractory: 3*ms

synapse inhibition:
    I_syn_post = -3*mV*g_pre : mV (summed)

network:
    dt = 1*ms
    cells : cell[4]
    cells -> cells : inhibition if i != j
"""


def whole_and_model():
    model = eqsnn.loads(NETWORK)
    drive = np.random.default_rng(0).normal(0, 10, (1200, 4))
    return eqsnn.simulate(model, 1.2, inputs={"drive": drive}), model, drive


def test_a_deterministic_network_that_follows_its_own_spikes_goes_on_as_it_would_have():
    whole, model, drive = whole_and_model()
    after = whole.window(0.0, 0.7)
    again = eqsnn.simulate(model, 0.5, inputs={"drive": drive}, after=after)
    assert len(again.spike_times) > 20
    np.testing.assert_array_equal(again.dense()[0], whole.dense()[0][700:])


def test_what_it_follows_matters():
    whole, model, drive = whole_and_model()
    silent = whole.window(0.0, 0.7).select([0, 1, 2, 3])
    none = eqsnn.Recording(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64), 0.7, 1e-3, 4)
    first, second = (
        eqsnn.simulate(model, 0.5, inputs={"drive": drive}, after=past) for past in (silent, none)
    )
    # no spike before it means no adaptation
    assert len(second.train(0, 0)[second.train(0, 0) < 0.1]) > len(
        first.train(0, 0)[first.train(0, 0) < 0.1]
    )


def test_noise_goes_its_own_way_in_each_trial():
    model = eqsnn.loads(
        NETWORK.replace("drive : mV (input)", "drive = 20*mV*randn() : mV (constant over dt)")
    )
    past = eqsnn.simulate(model, 0.3, seed=1)
    found = eqsnn.simulate(model, 0.4, trials=3, seed=2, after=past)
    assert found.n_trials == 3
    assert not np.array_equal(found.dense()[0], found.dense()[1])


def test_a_recording_of_other_neurons_is_refused():
    whole, model, drive = whole_and_model()
    with pytest.raises(InputError, match="has 3 units and 1 trials; 4 units and 1 or 1 trials"):
        eqsnn.simulate(model, 0.2, inputs={"drive": drive}, after=whole.select([0, 1, 2]))
    with pytest.raises(InputError, match="takes no burn-in"):
        eqsnn.simulate(model, 0.2, inputs={"drive": drive}, after=whole, burn_in=0.1)
