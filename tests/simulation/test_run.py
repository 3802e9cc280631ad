"""Simulation and the step module: closed forms, repeatability, one step at a time as all at once."""

import math

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.simulation import run

LIF = """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau : mV
    drive : mV (input)
    threshold: v > v_th
    reset: v = v_rest
    initial: v = v_rest
    v_rest : mV = -65*mV
    v_th : mV = -50*mV
    tau : ms ~ lognormal(20*ms, 0.3)
network:
    dt = 0.1*ms
    cells : lif
"""

DELAYED = """
neuron cell:
    dv/dt = (-65*mV - v + g*mV + x*mV)/(10*ms) : mV (unless refractory)
    dg/dt = -g/(5*ms) : 1
    x = poisson(0.5)*40 : 1 (constant over dt)
    threshold: v > -50*mV
    reset: v = -65*mV
    refractory: 1*ms
    initial: v = -65*mV
synapse pulse:
    w : 1 ~ uniform(0, 20)
    on_pre: g_post += w
network:
    dt = 0.5*ms
    a : cell[3]
    b : cell[2]
    a -> b : pulse delay 1.5*ms
    b -> a : pulse
"""


@pytest.mark.parametrize("tau", [10.0, 20.0, 35.0])
def test_the_interspike_interval_of_a_driven_lif_is_the_closed_form(tau):
    model = eqsnn.loads(LIF)
    recording = eqsnn.simulate(
        model, 1.0, inputs={"drive": np.full(10_000, 20.0)}, parameters={"tau": tau}
    )
    expected = tau * math.log(20 / (20 - 15)) * 1e-3
    intervals = np.diff(recording.spike_times)
    np.testing.assert_allclose(intervals, expected, atol=1.01e-4)


def test_a_seed_repeats_a_recording_and_trials_differ():
    model = eqsnn.loads(DELAYED)
    one, again, other = (eqsnn.simulate(model, 0.5, trials=2, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.spike_times, again.spike_times)
    assert len(one.spike_times) > 20
    assert one.dense()[0].tolist() != one.dense()[1].tolist()
    assert one.dense().tolist() != other.dense().tolist()


def test_recorded_noise_given_back_repeats_the_network_without_its_seed():
    model = eqsnn.loads(DELAYED)
    first = eqsnn.simulate(model, 0.5, seed=1, record=["x"])
    again = eqsnn.simulate(model, 0.5, seed=9, inputs=first, parameters=first.parameters)
    np.testing.assert_array_equal(first.spike_times, again.spike_times)


def test_a_run_in_chunks_is_the_run_in_one_piece(monkeypatch):
    model = eqsnn.loads(DELAYED)
    noise = {"x": 40.0 * np.random.default_rng(0).poisson(0.5, (1000, 5))}
    whole = eqsnn.simulate(model, 0.5, inputs=noise)
    monkeypatch.setattr(run, "CHUNK", 37 * 5)
    pieces = eqsnn.simulate(model, 0.5, inputs=noise)
    assert len(whole.spike_times) > 20
    np.testing.assert_array_equal(whole.spike_times, pieces.spike_times)


def test_burn_in_is_the_beginning_cut_off():
    model = eqsnn.loads(DELAYED)
    noise = {"x": 40.0 * np.random.default_rng(0).poisson(0.5, (1000, 5))}
    whole = eqsnn.simulate(model, 0.5, inputs=noise)
    late = eqsnn.simulate(model, 0.3, burn_in=0.2, inputs=noise)
    np.testing.assert_array_equal(whole.dense()[:, 400:], late.dense())


def test_poisson_neurons_fire_at_their_rate_independently():
    model = eqsnn.loads("network:\n    dt = 1*ms\n    source : poisson[50] with rate = 20*Hz\n")
    recording = eqsnn.simulate(model, 20.0, seed=0)
    # 20000 spikes: three standard errors
    assert recording.rates().mean() == pytest.approx(20, abs=3 * math.sqrt(20 / (50 * 20)))
    assert np.corrcoef(recording.counts(0.1)[0].T)[np.triu_indices(50, 1)].std() == pytest.approx(
        1 / math.sqrt(200), rel=0.15
    )


def test_the_step_module_walks_the_same_network_as_simulate_and_learns():
    model = eqsnn.loads(DELAYED)
    noise = 40.0 * np.random.default_rng(0).poisson(0.5, (200, 5))
    text = DELAYED.replace("x = poisson(0.5)*40 : 1 (constant over dt)", "x : 1 (input)")
    expected = eqsnn.simulate(model, 0.1, inputs={"x": noise}, seed=4).dense()[0]
    module = eqsnn.loads(text).step_module(seed=4, dtype=torch.float64)
    state, spikes = module.initial_state(batch=2), []
    for row in noise:
        now = torch.from_numpy(row).expand(2, 5)
        state, fired = module(state, {"a.x": now[:, :3], "b.x": now[:, 3:]})
        spikes.append(fired)
    found = torch.stack(spikes, dim=1)
    assert expected.sum() > 5
    np.testing.assert_array_equal(found[0].detach().numpy(), expected)
    found.sum().backward()
    gradients = [parameter.grad for parameter in module.parameters()]
    assert len(gradients) == 2
    assert all(
        g is not None and bool(torch.isfinite(g).all()) and bool((g != 0).any()) for g in gradients
    )


JUNCTIONS = """
neuron cell:
    dv/dt = (-60*mV - v + gap*10*ms)/(10*ms) : mV
    gap : mV/ms
    initial: v = -60*mV + i*mV
synapse junction:
    gap_post = g*(v_pre - v_post) : mV/ms (summed)
    g : 1/ms
network:
    cells : cell[4]
    cells -> cells : junction with g = 0.05/ms if abs(i - j) == 1
"""


@pytest.mark.parametrize("backend", ["pytorch", "auto"])
def test_the_sum_of_constant_weights_counts_existing_synapses_only(backend):
    # g*(v_pre - v_post) needs the sum of g itself, which does not change over a run
    recording = eqsnn.simulate(eqsnn.loads(JUNCTIONS), 0.001, record=["gap"], backend=backend)
    v = -60.0 + np.arange(4)
    joined = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) == 1
    expected = 0.05 * (joined * (v[:, None] - v[None, :])).sum(0)
    np.testing.assert_allclose(recording.traces["cells.gap"][0, 0], expected, atol=1e-12)


def test_a_bare_draw_that_the_data_name_is_given_by_the_data():
    model = eqsnn.loads(
        "neuron n:\n"
        "    x = rand() : 1 (constant over dt)\n"
        "    v : 1\n"
        "    update: v = x\n"
        "    threshold: v > 0.5\n"
        "    reset: v = 0\n"
        "network:\n"
        "    dt = 1*ms\n"
        "    cells : n[2]\n"
    )
    given = np.random.default_rng(0).random((50, 2))
    run = eqsnn.simulate(model, 0.05, inputs={"x": given}, seed=3)
    np.testing.assert_array_equal(run.dense()[0], given > 0.5)
