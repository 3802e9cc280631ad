"""The symbolic adjoint is an independent derivation of what torch's autograd computes from the same source."""

from pathlib import Path

import pytest
import torch

from eqsnn.backends.kernel import Run
from eqsnn.backends.pytorch import compile_torch
from eqsnn.compiler import forced_program, free_program, model_from_text, read_model
from eqsnn.maths.program import NETWORK, Kind
from eqsnn.maths.simplify import select
from eqsnn.maths.surrogates import SURROGATES
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import parameters_of
from tests.simulation.constructs import CONSTRUCTS

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.eqs"))
# of each family of models the smallest that has what the family adds; the rest of the library is slow
EVERYDAY = {
    *("adaptive_lif", "adex", "gif", "glif", "hodgkin_huxley", "izhikevich", "lif", "mat2", "nmda"),
    *("plain_lif_receptor", "sleep_izhikevich", "sleep_lif", "sleep_rate", "stdp_triplet"),
    *("gap_junction", "lif_alpha", "lif_delta", "tsodyks_markram"),
}
STEPS, LANES = 40, 2


def every_model(without=(), everyday=EVERYDAY):
    """Run a test on every file of models/, all but the everyday ones in the slow run."""
    return pytest.mark.parametrize(
        "path",
        [
            pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem not in everyday))
            for path in MODELS
            if path.stem not in without
        ],
    )


DELAYED = """
neuron cell:
    dv/dt = (-60*mV - v + g*(0*mV - v) + drive)/tau : mV (unless refractory)
    dg/dt = -g/tau_g : 1
    dz/dt = -z/tau_g : 1
    drive : mV (input)
    slow : 1
    threshold: v > -50*mV and z < 3
    reset:
        v -= 9*mV
        z += 1
    refractory: 1*ms
    initial: v = -55*mV
    tau : ms = 10*ms
    tau_g : ms = 5*ms (shared)
synapse pulse:
    w : 1 = 0.1
    x : 1
    on_pre:
        g_post += w*exp(-x)
        x += 0.2
synapse junction:
    k : 1 = 0.1 (shared)
    slow_post = tanh(k*(v_pre - v_post)/mV) : 1 (summed)
network:
    dt = 0.5*ms
    a : cell[3]
    b : cell[2]
    a -> b : pulse delay 1*ms
    b -> a : pulse if i < j
    a -> a : junction probability 0.7 delay 1.5*ms
"""


def gradients(kernel, model, outputs, *, dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def near(value, shape):
        value = value + 0.01 * torch.rand(shape, generator=generator, dtype=dtype)
        return value.to(device).requires_grad_()

    values = {}
    for name, parameter in parameters_of(model).items():
        centre = 1.0 if parameter.prior is None else parameter.prior.arguments[0]
        centre = parameter.given if isinstance(parameter.given, float) else centre
        values[name] = near(torch.tensor(centre, dtype=dtype), (*parameter.shape, LANES))
    settings = setup.settings_of(model) | {"surrogate_width": 0.3, "escape_width": 0.2}
    synapses = setup.synapses_of(model)
    states = setup.initial_states(model, kernel.step, {**values, **settings}, synapses, LANES)
    drives = {}
    for given in kernel.step.of_kind(Kind.DRIVE, Kind.OBSERVED):
        name = str(given.symbol)
        if given.space == NETWORK:
            drives[name] = setup.times(0, STEPS, model.dt, dtype)
        else:
            shape = (STEPS, *setup.sizes_of(model, given.space), 1)
            drives[name] = 30 * torch.rand(shape, generator=generator, dtype=dtype)
            if given.kind is Kind.OBSERVED:
                drives[name] = (drives[name] < 3).to(dtype)
    run = Run(
        STEPS,
        states,
        {**values, **settings},
        drives,
        synapses,
        record=tuple(outputs),
        noise=setup.noise_of(0, LANES),
    )
    recorded = kernel.unroll(run.to(device)).recorded
    loss = torch.zeros((), dtype=dtype, device=device)
    for value in recorded.values():
        share = torch.rand(value.shape, generator=generator, dtype=dtype).to(device)
        loss = loss + (value * share).sum()
    found = torch.autograd.grad(loss, list(values.values()), allow_unused=True)
    return dict(zip(values, found, strict=True)), loss


def assert_adjoint_is_autograd(program, model, outputs):
    selected = select(program, outputs)
    symbolic, loss = gradients(compile_torch(selected), model, outputs)
    by_autograd = compile_torch(selected, by_autograd=True)
    reference, again = gradients(by_autograd, model, outputs)
    assert torch.equal(loss.detach(), again.detach())
    some = False
    # two orders of summation differ by rounding of the largest terms that cancel
    rounding = 1e-15 * max(float(g.norm()) for g in reference.values() if g is not None)
    for name, expected in reference.items():
        found = symbolic[name]
        found = torch.zeros(()) if found is None else found
        expected = torch.zeros(()) if expected is None else expected
        some = some or bool(expected.abs().sum() > 0)
        assert (found - expected).norm() <= 1e-10 * expected.norm() + rounding, name
    assert some, "the loss depends on no parameter"


def sized(model):
    return (
        setup.with_size(model, sum(p.size or 0 for p in model.populations.values()) + 3)
        if any(p.size is None for p in model.populations.values())
        else model
    )


def states_of(program, model):
    return [
        f"{name}.{variable.name}"
        for name in model.populations
        for variable in model.neuron_of(name).variables.values()
        if variable.role.value == "state"
        or (variable.role.value == "variable" and f"{name}.{variable.name}" in program.outputs)
    ]


@every_model()
def test_symbolic_adjoint_of_the_free_step_is_torch_autograd(path):
    model = sized(read_model(path))
    program = free_program(model)
    spikes = [f"{name}.spike" for name in setup.spiking_populations(model)]
    assert_adjoint_is_autograd(program, model, [*spikes, *states_of(program, model)])


@every_model()
def test_symbolic_adjoint_of_the_forced_likelihood_is_torch_autograd(path):
    model = sized(read_model(path))
    spiking = setup.spiking_populations(model)
    if not spiking:
        assert path.stem == "sleep_rate", "every other model fires spikes"
        return
    program = forced_program(model)
    assert_adjoint_is_autograd(program, model, [f"{name}.log_likelihood" for name in spiking])


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("detach_reset", [False, True])
def test_adjoint_crosses_delays_synaptic_states_gap_junctions_and_every_surrogate(
    surrogate, detach_reset
):
    model = model_from_text(DELAYED)
    program = free_program(model, surrogate=surrogate, detach_reset=detach_reset)
    assert_adjoint_is_autograd(program, model, ["a.spike", "b.spike", "a.v", "b.v", "a.slow"])


def test_adjoint_crosses_events_pathways_links_and_statements_of_every_kind():
    model = model_from_text(CONSTRUCTS)
    program = free_program(model)
    states = [x for x in states_of(program, model) if not x.endswith(("flag", "count"))]
    assert_adjoint_is_autograd(program, model, ["cells.spike", *states])


@pytest.mark.parametrize("method", ["euler", "exponential_euler", "midpoint", "rk4", "exact"])
def test_gradient_of_a_smooth_forced_likelihood_is_its_finite_difference(method):
    text = """
neuron cell:
    dv/dt = (v_rest - v + w + drive)/tau : mV
    dw/dt = (a*(v - v_rest) - w)/tau_w : mV
    drive : mV (input)
    threshold: v >= -50*mV
    reset: v = -65*mV
    v_rest : mV = -60*mV
    tau : ms = 10*ms
    tau_w : ms = 10*ms
    a : 1 = -0.5
network:
    dt = 0.5*ms
    cells : cell[2]
"""
    model = model_from_text(text)
    program = select(forced_program(model, method=method), ["cells.log_likelihood"])
    kernel = compile_torch(program)
    generator = torch.Generator().manual_seed(1)
    drives = {
        "cells.drive": 20 * torch.rand(60, 2, 1, generator=generator, dtype=torch.float64),
        "cells.observed": (torch.rand(60, 2, 1, generator=generator) < 0.1).double(),
        "t": setup.times(0, 60, model.dt, torch.float64),
    }
    base = {"v_rest": -60.0, "tau": 10.0, "tau_w": 10.0, "a": -0.5}

    def objective(vector):
        values = {
            f"cells.{name}": v.reshape(1, 1).expand(2, 1)
            for name, v in zip(base, vector, strict=True)
        }
        values |= setup.settings_of(model) | {"surrogate_width": 0.3, "escape_width": 0.3}
        states = setup.initial_states(model, kernel.step, values, {}, 1)
        run = Run(60, states, values, drives, total=("cells.log_likelihood",))
        return kernel.unroll(run).totals["cells.log_likelihood"].sum()

    point = torch.tensor(list(base.values()), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(objective(point), point)
    for n in range(len(base)):
        step = torch.zeros(len(base), dtype=torch.float64)
        step[n] = 1e-5
        with torch.no_grad():
            numeric = (objective(point + step) - objective(point - step)) / 2e-5
        assert float(gradient[n]) == pytest.approx(float(numeric), rel=1e-6, abs=1e-8)
