"""Fitting: recovery from far away, repeatability, resumption, coordinates, optimiser."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.inference.coordinates import Coordinate
from eqsnn.inference.optimisers import adam_init, adam_step
from eqsnn.inference.stages import Forced, Free

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + drive)/tau_m : mV
    dg/dt = -g/tau_g : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    method: euler
    v_rest : mV ~ uniform(-75*mV, -50*mV)
    tau_m : ms ~ uniform(4*ms, 40*ms)
    tau_g : ms = 5*ms
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-30*mV, 30*mV]
network:
    dt = 1*ms
    cells : lif
    cells -> cells : exponential if i != j
"""


def network(trials=5, seconds=1.5, n=3):
    rng = np.random.default_rng(0)
    truth = {
        "cells.v_rest": rng.uniform(-65, -55, n),
        "cells.tau_m": rng.uniform(8, 20, n),
        "cells->cells.w": rng.normal(0, 6, (n, n)) * (1 - np.eye(n)),
    }
    drive = rng.poisson(0.25, (trials, round(seconds * 1000), n)) * 55.0
    model = eqsnn.loads(MODEL)
    recording = eqsnn.simulate(
        model, seconds, trials=trials, inputs={"drive": drive}, parameters=truth
    )
    return model, recording, truth


def test_a_far_start_with_known_input_recovers_weights_rest_and_time_constants():
    model, recording, truth = network()
    stages = (Forced(iterations=120, learning_rate=0.15, window=0.25, warm_up=0.05),)
    fit = eqsnn.fit(model, recording, starts=4, stages=stages, seed=0)
    weights, true_weights = fit.parameters["cells->cells.w"], truth["cells->cells.w"]
    assert np.linalg.norm(weights - true_weights) < 0.15 * np.linalg.norm(true_weights)
    assert np.abs(fit.parameters["cells.v_rest"] - truth["cells.v_rest"]).mean() < 0.5
    assert (np.abs(fit.parameters["cells.tau_m"] / truth["cells.tau_m"] - 1) < 0.05).all()
    assert fit.scores["van_rossum_score"] < 0.3
    assert fit.history["cells.v_rest"].shape[1:] == (3, 4)
    np.testing.assert_array_equal(np.diag(weights), 0)  # synapses that do not exist


def test_a_free_stage_never_returns_something_worse_on_validation_than_it_started_from():
    model, recording, truth = network(trials=3, seconds=0.6)
    stages = (Free(iterations=2, learning_rate=5.0, keep=99),)
    fit = eqsnn.fit(model, recording, starts=2, stages=stages, start=truth, validation=0.34)
    for name, value in truth.items():
        np.testing.assert_allclose(fit.parameters[name], value, rtol=1e-4, atol=1e-3)


def test_the_same_seed_gives_the_same_fit_and_another_seed_another():
    model, recording, _ = network(trials=2, seconds=0.5)
    stages = (Forced(iterations=3),)
    first, again, other = (
        eqsnn.fit(model, recording, starts=2, stages=stages, seed=seed) for seed in (1, 1, 2)
    )
    for name in first.learned:
        np.testing.assert_array_equal(first.parameters[name], again.parameters[name])
    assert any((first.parameters[name] != other.parameters[name]).any() for name in first.learned)


def test_a_fit_killed_and_resumed_ends_where_an_uninterrupted_one_does(tmp_path):
    _, recording, _ = network(trials=2, seconds=0.6)
    recording.save(tmp_path / "target.npz")
    (tmp_path / "model.eqs").write_text(MODEL)
    command = [
        sys.executable,
        "-m",
        "eqsnn",
        "fit",
        "model.eqs",
        "target.npz",
        "--starts",
        "3",
        "--iterations",
        "25",
    ]
    command += ["--polish", "3", "--seed", "3", "--quiet", "--checkpoint-every", "0s"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    whole = subprocess.run([*command, "--out", "whole"], cwd=tmp_path, env=environment, check=False)
    assert whole.returncode in (0, 1)
    process = subprocess.Popen([*command, "--out", "killed"], cwd=tmp_path, env=environment)
    checkpoint = tmp_path / "killed" / "checkpoint.npz"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    assert process.poll() is None, "the fit was over before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "summary.json").exists()
    resumed = subprocess.run(
        [*command, "--out", "killed", "--resume"], cwd=tmp_path, env=environment, check=False
    )
    assert resumed.returncode == whole.returncode
    one, other = (eqsnn.read_fit(tmp_path / name) for name in ("whole", "killed"))
    for name in one.parameters:
        np.testing.assert_array_equal(one.parameters[name], other.parameters[name])
    np.testing.assert_array_equal(one.history_objective, other.history_objective)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    model, recording, _ = network(trials=2, seconds=0.4)
    stages = (Forced(iterations=1),)
    eqsnn.fit(model, recording, starts=1, stages=stages, checkpoint=tmp_path / "c.npz")
    with pytest.raises(eqsnn.InputError, match="another model, recording or settings"):
        eqsnn.fit(
            model,
            recording,
            starts=1,
            stages=stages,
            seed=5,
            checkpoint=tmp_path / "c.npz",
            resume=True,
        )


def test_a_saved_fit_simulates_and_reads_back_as_it_was(tmp_path):
    model, recording, _ = network(trials=2, seconds=0.4)
    fit = eqsnn.fit(model, recording, starts=2, stages=(Forced(iterations=2),))
    fit.save(tmp_path / "run")
    again = eqsnn.read_fit(tmp_path / "run")
    fitted = eqsnn.load(tmp_path / "run" / "fitted.eqs")
    for name, value in fit.parameters.items():
        np.testing.assert_allclose(again.parameters[name], value, rtol=1e-12)
        given = np.asarray(fitted.parameters()[name].given)
        np.testing.assert_allclose(given, value, rtol=1e-12)
    drive = recording.inputs["drive"]
    one = eqsnn.simulate(fitted, 0.4, trials=2, inputs={"drive": drive})
    two = eqsnn.simulate(model, 0.4, trials=2, inputs={"drive": drive}, parameters=fit.parameters)
    np.testing.assert_array_equal(one.spike_times, two.spike_times)


def test_private_noise_that_is_not_in_the_data_is_warned_of():
    model = eqsnn.loads(
        "neuron n:\n    dv/dt = -v/tau + x*mV/ms : mV\n    x = poisson(0.5) : 1 (constant over dt)\n"
        "    threshold: v > 5*mV\n    reset: v = 0*mV\n    tau : ms ~ lognormal(10*ms, 0.3)\nnetwork:\n    dt = 1*ms\n    c : n[2]\n"
    )
    recording = eqsnn.simulate(model, 1.0, parameters={"tau": 12.0}, record=["x"])
    with_noise = eqsnn.fit(model, recording, starts=1, stages=(Forced(iterations=1),))
    assert not any("private noise" in warning for warning in with_noise.warnings)
    from_spikes = eqsnn.Recording(
        recording.spike_times,
        recording.unit_ids,
        recording.trial_ids,
        recording.duration,
        recording.dt,
        2,
    )
    without = eqsnn.fit(model, from_spikes, starts=1, stages=(Forced(iterations=1),))
    assert any("c.x" in warning for warning in without.warnings)


@settings(max_examples=200, deadline=None)
@given(
    low=st.floats(-100, 99),
    width=st.floats(0.1, 100),
    share=st.floats(0.01, 0.99),
    logarithmic=st.booleans(),
    z=st.floats(-50, 50),
)
def test_a_coordinate_keeps_its_bounds_and_is_undone_by_its_inverse(
    low, width, share, logarithmic, z
):
    inner = (low / 20, low / 20 + width / 20) if logarithmic else (low, low + width)
    coordinate = Coordinate(
        *inner, inner[0] + share * (inner[1] - inner[0]), 0.3 * (inner[1] - inner[0]), logarithmic
    )
    value = coordinate.to_value(torch.tensor(z, dtype=torch.float64))
    outer = tuple(np.exp(b) for b in inner) if logarithmic else inner
    assert (
        outer[0] * (1 - 1e-12 * np.sign(outer[0]))
        <= value.item()
        <= outer[1] * (1 + 1e-12 * np.sign(outer[1]))
    )
    if abs(z) < 3:
        again = coordinate.to_value(coordinate.to_real(value))
        assert again.item() == pytest.approx(value.item(), rel=1e-5, abs=1e-5 * width)


def test_adam_follows_torchs_own_step_for_step():
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    ours, state = {"p": start.clone()}, adam_init({"p": start})
    theirs = start.clone().requires_grad_()
    reference = torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99), eps=1e-12)
    for n in range(20):
        gradient = torch.cos(ours["p"] + n)
        ours, state = adam_step(ours, {"p": gradient}, state, learning_rate=0.1)
        theirs.grad = torch.cos(theirs.detach() + n)
        reference.step()
    torch.testing.assert_close(ours["p"], theirs.detach(), rtol=1e-10, atol=0)


def test_a_restart_whose_gradient_is_not_finite_stays_where_it_is():
    z = {"p": torch.tensor([1.0, 2.0])}
    moved, _ = adam_step(
        z, {"p": torch.tensor([float("nan"), 1.0])}, adam_init(z), learning_rate=0.1
    )
    assert moved["p"][0] == 1.0
    assert moved["p"][1] != 2.0
