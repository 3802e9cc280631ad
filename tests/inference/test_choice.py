"""The rule that chooses a density: what decides it, what it measures, what it says."""

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.inference.choice import choose_density
from eqsnn.inference.objectives import prepare
from eqsnn.inference.stages import Forced

MODEL = """
neuron cell:
    dv/dt = (v_rest - v + I - w)/tau_m + sigma*sqrt(2/tau_m)*xi : mV
    dw/dt = (a*(v - v_rest) - w)/tau_w : mV
    I : mV (input)
    threshold: v >= v_th
    reset:
        v = v_rest
        w += b
    initial: v = v_rest
    method: euler
    v_rest : mV = -65*mV
    v_th : mV = -50*mV
    tau_m : ms = 10*ms
    tau_w : ms = 40*ms
    a : 1 = 0.5
    b : mV = 2*mV
    sigma : mV = 4*mV
network:
    dt = 1*ms
    cells : cell[2]
"""


def chosen(text, stage=None, seconds=0.6):
    model = eqsnn.loads(text)
    steps = round(seconds / model.definition.dt * 1e3)
    current = np.full((1, steps, 2), 16.0)
    recording = eqsnn.simulate(model, seconds, inputs={"I": current})
    data = prepare(model.definition, recording, torch.float64)
    values = {
        name: torch.tensor(np.atleast_1d(p.draw(np.random.default_rng(0)))).unsqueeze(-1)
        for name, p in model.parameters().items()
    }
    return choose_density(data, stage or Forced(particles=128), values)


def test_without_private_noise_the_escape_likelihood_is_enough():
    choice = chosen(MODEL.replace(" + sigma*sqrt(2/tau_m)*xi", " + 0*sigma/ms"))
    assert choice.density == "escape"
    assert choice.error is None


def test_one_noisy_state_goes_on_a_grid():
    choice = chosen(MODEL.replace("a*(v - v_rest) - w", "-w"))
    assert choice.density == "grid"
    assert "cells.v" in choice.reason


def test_two_nearly_gaussian_states_take_the_moments_and_the_distances_are_told():
    choice = chosen(MODEL)
    assert choice.density == "moments"
    assert choice.error is not None
    assert choice.error["moments"] < 1
    assert set(choice.error) == {"moments", "grid", "particles"}
    assert f"{choice.error['moments']:.2g}" in choice.reason
    assert choice.warning == ""


BISTABLE = MODEL.replace(
    "(v_rest - v + I - w)/tau_m + sigma*sqrt(2/tau_m)*xi",
    "(v_rest - v + I*kick - w)/tau_m",
).replace(
    "    I : mV (input)\n",
    "    I : mV (input)\n    kick = poisson(40*Hz*dt)*12 : 1 (constant over dt)\n",
)


def test_rare_large_kicks_are_not_gaussian_and_the_moments_are_not_taken():
    choice = chosen(BISTABLE, seconds=1.0)
    assert choice.error is not None
    assert choice.density in ("grid", "particles")
    assert choice.error["moments"] > 2 * choice.error[choice.density]


@pytest.mark.parametrize("diffusion", [False, True])
def test_the_choice_can_be_used_as_it_is(diffusion):
    stage = Forced(diffusion=diffusion, widths=(0.1,), particles=32)
    choice = chosen(MODEL.replace("a*(v - v_rest) - w", "-w"), stage)
    assert choice.density == "grid"
