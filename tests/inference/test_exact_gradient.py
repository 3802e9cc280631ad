"""The free-running stage with the exact gradient: same switch, same windows, spike times instead of surrogates."""

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.errors import InputError
from eqsnn.inference.objectives import FreeObjective, prepare
from eqsnn.inference.stages import Free
from eqsnn.simulation.offsets import spike_offsets
from eqsnn.simulation.recording import Recording

MODEL = eqsnn.loads("""
neuron lif:
    dv/dt = (v_rest - v + I + drive)/tau_m : mV (unless refractory)
    ds/dt = -s/tau_s : 1
    I : mV
    drive : mV (input)
    threshold: v >= -50*mV
    reset:
        v = v_rest
        s += 1
    refractory: 1.5*ms
    initial: v = v_rest
    v_rest : mV = -62*mV
    tau_m : ms ~ lognormal(10*ms, 0.3) in [3*ms, 40*ms]
    tau_s : ms = 4*ms
synapse trace:
    w : mV ~ normal(0*mV, 2*mV) in [-20*mV, 20*mV]
    I_post = w*s_pre : mV (summed)
network:
    dt = 0.5*ms
    cells : lif[3]
    cells -> cells : trace if i != j
""")


def recording(seconds=0.8):
    rng = np.random.default_rng(0)
    steps = round(seconds * 2000)
    drive = 18 + 6 * np.repeat(rng.standard_normal((2, steps // 20, 3)), 20, axis=1)
    return eqsnn.simulate(
        MODEL, seconds, trials=2, inputs={"drive": drive}, parameters={"tau_m": 12.0, "w": 2.0}
    )


def values(tau_m, w):
    sized = {
        n: torch.from_numpy(p.draw(np.random.default_rng(0)))[..., None]
        for n, p in MODEL.parameters().items()
    }
    lanes = len(tau_m)
    sized["cells.tau_m"] = torch.tensor(tau_m, dtype=torch.float64).expand(3, lanes).clone()
    sized["cells->cells.w"] = torch.tensor(w, dtype=torch.float64).expand(3, 3, lanes).clone()
    return sized


def objective(target, loss="van_rossum", backend="native", **settings):
    data = prepare(MODEL.definition, target, torch.float64, backend)
    stage = Free(loss=loss, gradient="exact", window=0.3, warm_up=0.1, **settings)
    return FreeObjective(data, stage, seed=0)


@pytest.mark.parametrize("loss", ["van_rossum", "van_rossum(tau=4ms,20ms)"])
def test_gradient_of_the_stage_is_the_finite_difference_of_its_loss(loss):
    aim = objective(recording(), loss)
    given = values([11.0], [1.0])
    names = ("cells.tau_m", "cells->cells.w")
    for name in names:
        given[name].requires_grad_()
    gradient = torch.autograd.grad(aim(given, 0.1).sum(), [given[name] for name in names])
    for name, found in zip(names, gradient, strict=True):
        step = 1e-6
        moved = {n: v.detach().expand(*v.shape[:-1], 2).clone() for n, v in given.items()}
        moved[name] += step * torch.tensor([1.0, -1.0])
        with torch.no_grad():
            up, down = aim(moved, 0.1)
        assert found.sum().item() == pytest.approx((up - down).item() / (2 * step), rel=1e-5)


def test_both_backends_and_all_restarts_agree():
    target = recording()
    both = [
        objective(target, backend=name)(values([11.0, 9.0], [1.0, 0.5]), 0.1)
        for name in ("native", "pytorch")
    ]
    assert both[0].numpy() == pytest.approx(both[1].numpy(), rel=1e-9)
    alone = objective(target)(values([9.0], [0.5]), 0.1)
    assert both[0][1].item() == pytest.approx(alone.item(), rel=1e-9)


def test_a_polish_with_the_exact_gradient_lowers_the_distance_of_spike_times():
    target = recording()
    stage = Free(gradient="exact", iterations=15, learning_rate=0.02, window=0.4, warm_up=0.1)
    start = {"tau_m": 11.3, "w": 1.7}
    fit = eqsnn.fit(MODEL, target, starts=1, stages=(stage,), start=start, validation=0.0)
    first, last = fit.history_objective[0], fit.history_objective[-1]
    assert np.nanmin(last) < 0.8 * np.nanmin(first)


def test_an_unknown_gradient_and_a_loss_that_sees_no_times_are_refused():
    with pytest.raises(InputError, match="surrogate or exact"):
        Free(gradient="magic")
    with pytest.raises(InputError, match="which rate does not see"):
        Free(gradient="exact", loss="van_rossum + rate")


def test_times_on_the_recordings_own_grid_lie_in_the_middle_of_their_bin_and_others_where_they_are():
    ids = np.zeros(3, dtype=int)

    def made(times):
        return Recording(np.array(times), ids, ids, 0.1, 1e-3, 1)

    spikes, offsets = spike_offsets(made([0.003, 0.010, 0.099]), 1e-3, 100)
    assert np.nonzero(spikes[0, :, 0])[0].tolist() == [3, 10, 99]
    assert offsets[0, [3, 10, 99], 0] == pytest.approx(0.5)
    spikes, offsets = spike_offsets(made([0.0032, 0.0107, 0.1]), 1e-3, 100)
    assert np.nonzero(spikes[0, :, 0])[0].tolist() == [3, 10, 99]
    assert offsets[0, [3, 10, 99], 0] == pytest.approx([0.2, 0.7, 1.0])
