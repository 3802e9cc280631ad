"""What a presynaptic parameter does to each postsynaptic neuron is told apart in a single backward pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.inference.paths import paths_of
from eqsnn.inference.problem import problem_of

SIZE = 5
NETWORK = """
neuron lif:
    dv/dt = (v_rest - v + I_syn{own} + 30*mV*x)/tau_m : mV
    dg/dt = -g/tau_g : 1
    x = poisson(250*Hz * dt) : 1 (constant over dt)
    I_syn : mV
    threshold: v >= -50*mV
    reset:
        v = v_rest
        g += 1
    initial:
        v = v_rest{initial}
    method: euler
    v_rest : mV ~ uniform(-70*mV, -52*mV)
    tau_m : ms ~ uniform(4*ms, 30*ms)
    tau_g : ms ~ uniform(2*ms, 10*ms){shared}
synapse exponential:
    I_syn_post = {current} : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-20*mV, 20*mV]
network:
    dt = 1*ms
    cells : lif[5]
    cells -> cells : exponential if i != j{delay}
"""
PLAIN = {
    "own": "", "initial": "", "shared": "", "current": "w*g_pre", "delay": "",
}  # fmt: skip
FORMS = {
    "one": {},
    "delayed": {"delay": " delay 3*ms"},
    "its own inhibition": {"own": " - 2*mV*g"},
    "two paths": {"own": " - 1*mV*g", "current": "w*g_pre + 0.3*w*g_pre**2"},
    "seen from the postsynaptic side": {"current": "w*g_pre*(1 + v_rest_post/(-200*mV))"},
    "pair by pair": {"current": "w*tanh(g_pre*(1 + v_rest_post/(-200*mV)))"},
    "one value for all": {"shared": " (shared)"},
}
TOGETHER = {
    "starts from it": {"initial": "\n        g = tau_g/(10*ms)"},
    "one value for all that acts on its own neuron, too": {"own": " - 2*mV*g", "shared": " (shared)"},
}  # fmt: skip


def text_of(**changes):
    return NETWORK.format(**(PLAIN | changes))


def truth_of(text):
    rng = np.random.default_rng(3)
    several = "(shared)" not in text
    return {
        "cells.v_rest": rng.uniform(-58, -55, SIZE),
        "cells.tau_m": rng.uniform(9, 14, SIZE),
        "cells.tau_g": rng.uniform(3, 7, SIZE) if several else np.array([5.0]),
        "cells->cells.w": rng.normal(0, 4, (SIZE, SIZE)) * (1 - np.eye(SIZE)),
    }


def problem_at(text, density, truth=None, target=None):
    """The problem of a network simulated for two seconds, and the coordinates of the truth."""
    model = eqsnn.loads(text)
    truth = truth_of(text) if truth is None else truth
    if target is None:
        simulated = eqsnn.simulate(model, 2.0, parameters=truth, burn_in=0.2, seed=1)
        target = replace(simulated, parameters={})
    width = 0.05 if density == "escape" else 0.01
    stage = eqsnn.Forced(
        widths=(width,), density=density, bins=32, window=0.25, warm_up=0.1, precision="double"
    )
    units = {n: p.unit.scale for n, p in model.parameters().items()}
    values = {n: v * units[n] for n, v in truth.items()}
    problem = problem_of(model.definition, model.parameters(), target, stage, values)
    return problem, problem.at(values), target


@pytest.mark.parametrize("density", ["escape", "moments", "grid"])
@pytest.mark.parametrize("form", FORMS)
def test_one_backward_pass_tells_apart_what_one_for_each_neuron_does(form, density):
    problem, z, _ = problem_at(text_of(**FORMS[form]), density)
    assert problem.paths is not None
    found, expected = problem.scores(z), replace(problem, paths=None).scores(z)
    assert found.shared.abs().max() > 0.1
    size = float(expected.shared.abs().max())
    torch.testing.assert_close(found.shared, expected.shared, rtol=1e-7, atol=1e-9 * size)
    torch.testing.assert_close(found.by_window, expected.by_window, rtol=1e-7, atol=1e-9 * size)
    torch.testing.assert_close(found.likelihood, expected.likelihood)


@pytest.mark.parametrize("form", TOGETHER)
def test_what_cannot_be_told_apart_in_one_pass_is_told_by_several(form):
    problem, z, _ = problem_at(text_of(**TOGETHER[form]), "moments")
    assert problem.paths is None
    found = problem.scores(z)
    common = problem.packing.common_places
    torch.testing.assert_close(found.shared.sum(1), found.by_window[:, common])


def test_what_passes_on_through_a_further_synapse_is_not_told_apart():
    # the trace h is driven by a current and goes on to others
    text = text_of().replace("    dg/dt = -g/tau_g : 1", "    dg/dt = -g/tau_g : 1\n    dh/dt = (I_syn/mV - h)/tau_g : 1")  # fmt: skip
    text = text.replace("w*g_pre", "w*(g_pre + 0.1*h_pre)")
    problem, _, _ = problem_at(text, "escape")
    assert paths_of(problem.objective, problem.packing) is None


def test_the_derivative_through_a_synapse_is_that_by_a_decay_time_of_its_own():
    """The reference is another network, whose synapses have the traces, and decay times of their own."""
    plain, of_synapses = text_of(), text_of()
    for old, new in (
        ("    dg/dt = -g/tau_g : 1\n", ""),
        ("        g += 1\n", ""),
        ("    tau_g : ms ~ uniform(2*ms, 10*ms)\n", ""),
        ("    I_syn_post = w*g_pre : mV (summed)\n",
         "    ds/dt = -s/tau_s : 1\n    method: euler\n    I_syn_post = w*s : mV (summed)\n    on_pre: s += 1\n"),
        ("in [-20*mV, 20*mV]\n", "in [-20*mV, 20*mV]\n    tau_s : ms ~ uniform(2*ms, 10*ms)\n"),
    ):  # fmt: skip
        assert old in of_synapses
        of_synapses = of_synapses.replace(old, new)
    truth = truth_of(plain)
    problem, z, target = problem_at(plain, "moments", truth)
    own = {n: v for n, v in truth.items() if n != "cells.tau_g"}
    own["cells->cells.tau_s"] = np.repeat(truth["cells.tau_g"][:, None], SIZE, 1)
    reference, there, _ = problem_at(of_synapses, "moments", own, target)
    found, expected = problem.scores(z), reference.scores(there)
    assert problem.paths is not None
    torch.testing.assert_close(found.likelihood[:, :-1].sum(), expected.likelihood[:, :-1].sum())
    packing = reference.packing
    by_name = {packing.label(k): expected.by_window[0, k] for k in range(packing.size)}
    for column, place in enumerate(problem.packing.common_places.tolist()):
        _, pre = problem.packing.label(place)
        for post in range(SIZE):
            if pre != post:
                alone = by_name["cells->cells.tau_s", pre * SIZE + post]
                torch.testing.assert_close(found.shared[0, post, column], alone, rtol=1e-6, atol=1e-9)  # fmt: skip
