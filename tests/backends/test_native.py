"""The native backend is the torch backend, only faster: same spikes, same numbers, same gradients."""

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.backends import compile_c, native_run
from eqsnn.backends.c_layout import RUNTIME
from eqsnn.backends.compile_c import find_compiler, load_library
from eqsnn.backends.kernel import Noise, Run
from eqsnn.backends.native import NativeKernel
from eqsnn.backends.noise import draw
from eqsnn.backends.pytorch import compile_torch
from eqsnn.compiler import (
    compile_program,
    forced_program,
    free_program,
    model_from_text,
    read_model,
)
from eqsnn.errors import InputError
from eqsnn.language.functions import symbol
from eqsnn.losses.van_rossum import van_rossum
from eqsnn.maths.append_loss import COUNTED, DECAY, append_van_rossum
from eqsnn.maths.integrators import INTEGRATORS, NotApplicable
from eqsnn.maths.program import NETWORK, Input, Kind
from eqsnn.maths.simplify import select
from eqsnn.maths.surrogates import SURROGATES
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import parameters_of
from tests.maths.test_adjoint import DELAYED, every_model, sized, states_of
from tests.simulation.constructs import CONSTRUCTS

ROOT = Path(__file__).parents[2]
COMPILER = find_compiler(os.environ.get("CC"))
pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler")


def values_of(model, lanes, dtype, same=()):
    """Parameters near the middle of their distributions, one set for each lane unless named in `same`."""
    rng = np.random.default_rng(0)
    values = {}
    for name, parameter in parameters_of(model).items():
        centre = 1.0 if parameter.prior is None else parameter.prior.arguments[0]
        centre = parameter.given if isinstance(parameter.given, float) else centre
        width = 1 if name in same else lanes
        noise = 0.01 * rng.random((*parameter.shape, width))
        values[name] = torch.tensor(centre + noise, dtype=dtype).requires_grad_()
    return values


def outcome(kernel, model, *, lanes, steps, dtype=torch.float64, same=(), periods=1, **wanted):
    """Run a kernel on fixed data; returns what it computed, and the gradient of a random function of all of it."""
    values = values_of(model, lanes, dtype, same)
    constants = values | setup.settings_of(model) | {"surrogate_width": 0.3, "escape_width": 0.2}
    constants |= {DECAY: 0.9}
    synapses = setup.synapses_of(model)
    generator = torch.Generator().manual_seed(1)
    drives = {}
    for g in kernel.step.of_kind(Kind.DRIVE, Kind.OBSERVED):
        name = str(g.symbol)
        if name == COUNTED:
            drives[name] = (torch.arange(steps).reshape(-1, 1, 1) >= steps // 4).to(dtype)
        elif g.space == NETWORK:
            drives[name] = setup.times(0, steps, model.dt, dtype)
        else:
            shape = (steps, *setup.sizes_of(model, g.space), lanes // periods)
            drives[name] = 30 * torch.rand(shape, generator=generator, dtype=torch.float64).to(
                dtype
            )
            if g.kind is Kind.OBSERVED:
                drives[name] = (drives[name] < 3).to(dtype)
    run = Run(
        steps,
        setup.initial_states(model, kernel.step, constants, synapses, lanes),
        constants,
        drives,
        synapses,
        noise=Noise(5, torch.arange(lanes) % 3, torch.arange(lanes) * 7),
        sizes=setup.population_sizes(model),
        weights=torch.linspace(0.5, 1.5, steps, dtype=dtype).reshape(-1, 1, 1),
        **wanted,
    )
    result = kernel.unroll(run)
    loss = torch.zeros((), dtype=dtype)
    found = {}
    for part, mapping in (
        ("recorded", result.recorded),
        ("total", result.totals),
        ("state", result.states),
    ):
        for name, value in mapping.items():
            exists = synapses.get(
                name.rsplit(".", 1)[0]
            )  # a synapse that is not there has no state
            value = value if exists is None else torch.where(exists, value, 0.0)
            found[f"{part} {name}"] = value.detach()
            loss = loss + (torch.rand(value.shape, generator=generator, dtype=dtype) * value).sum()
    for name, pending in result.pending.items():
        found[f"pending {name}"] = torch.stack(torch.broadcast_tensors(*pending)).detach()
    bars = torch.autograd.grad(loss, list(values.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(value) if bar is None else bar
        for (name, value), bar in zip(values.items(), bars, strict=True)
    }
    return found, gradients


def assert_native_is_torch(program, model, outputs, *, tolerance=1e-10, **options):
    reference = compile_torch(
        select(program, [*options.get("record", ()), *options.get("total", outputs)])
    )
    assert COMPILER is not None
    options = {"lanes": 5, "steps": 60, "total": tuple(outputs)} | options
    expected, bars = outcome(reference, model, **options)
    found, gradients = outcome(NativeKernel(reference, COMPILER), model, **options)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name.endswith((".spike", ".active")):
            assert torch.equal(found[name], value), name
        assert (found[name] - value).norm() <= tolerance * (value.norm() + 1e-3), name
    # two orders of summation differ by rounding of the largest terms that cancel
    rounding = 1e-5 * tolerance * max(float(bar.norm()) for bar in bars.values())
    for name, bar in bars.items():
        assert (gradients[name] - bar).norm() <= tolerance * bar.norm() + rounding, name
    return found, gradients


@every_model()
def test_every_model_runs_free_as_on_torch(path):
    model = sized(read_model(path))
    program = free_program(model)
    spikes = [f"{name}.spike" for name in setup.spiking_populations(model)]
    outputs = [*spikes, *states_of(program, model)]
    _, gradients = assert_native_is_torch(program, model, outputs, record=tuple(outputs[:2]))
    assert any(bool(bar.any()) for bar in gradients.values())


@every_model(without=("sleep_rate",))
def test_every_model_follows_observed_spikes_as_on_torch(path):
    model = sized(read_model(path))
    likelihoods = [f"{name}.log_likelihood" for name in setup.spiking_populations(model)]
    _, gradients = assert_native_is_torch(forced_program(model), model, likelihoods)
    assert any(bool(bar.any()) for bar in gradients.values())


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("lanes", [1, 2, 21])
def test_delays_synaptic_states_gap_junctions_and_refractoriness_are_torchs(surrogate, lanes):
    model = model_from_text(DELAYED)
    program = free_program(model, surrogate=surrogate)
    outputs = ["a.spike", "b.spike", "a.v", "b.v", "a.slow"]
    assert_native_is_torch(program, model, outputs, lanes=lanes, record=("a.v", "b.spike"))


@pytest.mark.parametrize("lanes", [1, 5])
def test_events_pathways_links_and_statements_of_every_kind_are_torchs(lanes):
    model = model_from_text(CONSTRUCTS)
    program = free_program(model)
    outputs = ["cells.spike", *states_of(program, model)]
    assert_native_is_torch(program, model, outputs, lanes=lanes, record=("cells.v", "cells.spike"))


def test_a_shared_junction_sums_over_as_many_neighbours_as_each_neuron_has():
    model = eqsnn.loads(
        """
neuron cell:
    dv/dt = current/ms : 1
    current : 1
    initial: v = i*i
    method: euler
synapse junction:
    current_post = g*(v_pre - v_post) : 1 (summed)
    g : 1 = 0.25 (shared)
network:
    dt = 0.1*ms
    cells : cell[5]
    cells -> cells : junction if abs(i - j) == 1
"""
    )
    expected = np.arange(5.0) ** 2
    for _ in range(30):
        inner = np.diff(expected)
        expected += 0.1 * 0.25 * (np.append(inner, 0) - np.append(0, inner))
    for backend in ("native", "pytorch"):
        run = eqsnn.simulate(model, 3.1e-3, record=["v"], backend=backend)
        np.testing.assert_allclose(run.traces["cells.v"][0, -1], expected, rtol=1e-12)


def test_draws_that_no_state_depends_on_are_known_on_the_way_back(monkeypatch):
    """Long runs are walked again segment by segment; these threshold draws act on the likelihood alone."""
    monkeypatch.setattr(native_run, "SEGMENT_BYTES", 1000)
    monkeypatch.setattr(native_run, "TAPE_BYTES", 0)
    model = model_from_text(
        """
neuron cell:
    dv/dt = -v/(10*ms) : 1
    threshold: v > 1
    reset: v = 0
synapse pulse:
    w : 1 = 0.3
    on_pre: v_post += w
network:
    dt = 0.1*ms
    source : poisson[4] with rate ~ lognormal(50*Hz, 0.3) in [1*Hz, 500*Hz]
    cells : cell[3]
    source -> cells : pulse delay 1.5*ms
"""
    )
    likelihoods = ["source.log_likelihood", "cells.log_likelihood"]
    assert_native_is_torch(forced_program(model), model, likelihoods, steps=200)


LINEAR_AND_NOT = {
    "linear": "dv/dt = (w - v + drive)/tau : mV\n    dw/dt = (0.3*v - w)/tau_w : mV",
    "nonlinear": "dv/dt = (w - v + drive + tanh(v/mV)*mV)/tau : mV\n    dw/dt = (0.3*v - w*abs(w)/mV)/tau_w : mV",
    "noisy": "dv/dt = (w - v + drive)/tau + sigma*xi*tau**-0.5 : mV\n    dw/dt = (0.3*v - w)/tau_w : mV",
    "time-dependent": "dv/dt = (w - v*(1 + drive/mV/40) + drive)/tau : mV\n    dw/dt = (sin(t/ms)*v - w)/tau_w : mV",
}


@pytest.mark.parametrize("kind", LINEAR_AND_NOT)
@pytest.mark.parametrize("method", INTEGRATORS)
def test_every_integrator_is_torchs_wherever_it_applies(method, kind):
    text = f"""
neuron cell:
    {LINEAR_AND_NOT[kind]}
    drive : mV (input)
    threshold: v >= 12*mV
    reset: v = 0*mV
    tau : ms = 10*ms
    tau_w : ms = 20*ms
    sigma : mV = 1*mV
network:
    dt = 0.5*ms
    cells : cell[3]
"""
    model = model_from_text(text)
    try:
        program = free_program(model, method=method)
    except eqsnn.ModelError as refusal:
        assert isinstance(refusal.__cause__, NotApplicable)
        return
    found, _ = assert_native_is_torch(program, model, ["cells.spike", "cells.v", "cells.w"])
    assert found["total cells.spike"].sum() > 0


NETWORK_OF = """
neuron cell:
    dv/dt = (-v + s + drive)/tau : mV
    dg/dt = -g/(5*ms) : 1
    s : mV
    drive : mV (input)
    threshold: v >= 9*mV
    reset:
        v = 0*mV
        g += 1
    {refractory}
    tau : ms = 10*ms{shared}
synapse graded:
    s_post = w*g_pre : mV (summed)
    w : mV = 0.5*mV
synapse pulse:
    on_pre: v += w
    w : mV = 0.7*mV
synapse gap:
    s_post = c*tanh((v_pre - v_post)/mV) : mV (summed)
    c : mV = 0.2*mV (shared)
network:
    dt = 0.5*ms
    one : cell[{one}]
    two : cell[{two}]
    one -> two : {first}{how}
    two -> one : {second}
"""


@settings(max_examples=12, deadline=None)
@given(
    one=st.integers(1, 9),
    two=st.integers(1, 9),
    first=st.sampled_from(["graded", "pulse", "gap"]),
    second=st.sampled_from(["graded", "pulse", "gap"]),
    how=st.sampled_from(
        ["", " if i != j", " probability 0.1", " probability 0.5 delay 1.5*ms", " delay 2*ms"]
    ),
    refractory=st.sampled_from(["", "refractory: 2*ms"]),
    shared=st.sampled_from(["", " (shared)"]),
    lanes=st.integers(1, 19),
    steps=st.integers(1, 90),
    same=st.booleans(),
)
def test_random_networks_are_torchs(
    one, two, first, second, how, refractory, shared, lanes, steps, same
):
    text = NETWORK_OF.format(
        one=one, two=two, first=first, second=second, how=how, refractory=refractory, shared=shared
    )
    model = model_from_text(text)
    weights = {"one->two.w", "two->one.w"} if same else ()
    assert_native_is_torch(
        free_program(model),
        model,
        ["one.spike", "two.spike", "one.v"],
        lanes=lanes,
        steps=steps,
        same=weights,
        record=("two.v",),
    )


@pytest.mark.parametrize("how", ["", " if i != j", " probability 0.05"])
@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("same", [False, True])
def test_networks_too_large_for_the_first_cache_are_torchs(how, lanes, same):
    text = NETWORK_OF.format(
        one=70, two=45, first="graded", second="pulse", how=how, refractory="", shared=""
    )
    model = model_from_text(text.replace("0.5*mV\n", "0.1*mV\n"))
    found, _ = assert_native_is_torch(
        free_program(model),
        model,
        ["one.spike", "two.spike"],
        lanes=lanes,
        steps=40,
        same={"one->two.w", "two->one.w"} if same else (),
    )
    assert found["total two.spike"].sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("periods", [1, 3])
def test_the_van_rossum_loss_of_the_step_is_that_of_its_spikes(dtype, periods):
    model = model_from_text(
        NETWORK_OF.format(
            one=4, two=3, first="graded", second="pulse", how="", refractory="", shared=""
        )
    )
    free = free_program(model)
    program = append_van_rossum(free, ["one", "two"])
    options = {"lanes": 33, "steps": 700, "dtype": dtype, "periods": periods}
    tolerance = 1e-10 if dtype is torch.float64 else 1e-3
    found, _ = assert_native_is_torch(
        program,
        model,
        ["one.van_rossum", "two.van_rossum"],
        record=("one.spike",),
        tolerance=tolerance,
        **options,
    )
    assert found["recorded one.spike"].sum() > 100


def test_the_van_rossum_terms_add_up_to_the_distance():
    model = model_from_text(
        NETWORK_OF.format(
            one=4, two=3, first="graded", second="pulse", how="", refractory="", shared=""
        )
    )
    program = append_van_rossum(free_program(model), ["one"])
    kernel = compile_program(program, ["one.spike", "one.van_rossum"], "native")
    steps, dt, tau = 300, model.dt * 1e-3, 0.01
    generator = torch.Generator().manual_seed(0)
    observed = (torch.rand(steps, 4, 1, generator=generator) < 0.05).double()
    drive = 30 * torch.rand(steps, 4, 1, generator=generator, dtype=torch.float64)
    decay = float(np.exp(-dt / tau))
    constants = {n: v.detach() for n, v in values_of(model, 3, torch.float64).items()}
    constants |= setup.settings_of(model) | {"surrogate_width": 0.1, DECAY: decay}
    synapses = setup.synapses_of(model)
    run = Run(
        steps,
        setup.initial_states(model, kernel.step, constants, synapses, 3),
        constants,
        {
            "one.drive": drive,
            "two.drive": drive[:, :3],
            "one.observed": observed,
            COUNTED: torch.ones(steps, 1, 1, dtype=torch.float64),
            "t": setup.times(0, steps, model.dt, torch.float64),
        },
        synapses,
        record=("one.spike",),
        total=("one.van_rossum",),
    )
    result = kernel.unroll(run)
    last = result.states["one.(trace)"]
    total = result.totals["one.van_rossum"] + decay**2 / 2 * last**2
    spikes = result.recorded["one.spike"]
    assert spikes.sum() > 10
    torch.testing.assert_close(
        total, van_rossum(spikes, observed, tau=tau, dt=dt), rtol=1e-12, atol=1e-12
    )


def test_a_run_cut_in_two_continues_with_what_is_on_its_way():
    model = model_from_text(DELAYED.replace("drive : mV (input)", "drive = 30*mV : mV"))
    kernel = compile_program(free_program(model), ["a.spike", "b.spike"], "native")
    constants = {n: v.detach() for n, v in values_of(model, 2, torch.float64).items()}
    constants |= setup.settings_of(model) | {"surrogate_width": 0.1}
    synapses = setup.synapses_of(model)
    states = setup.initial_states(model, kernel.step, constants, synapses, 2)

    def run(first, steps, states, pending):
        drives = {"t": setup.times(first, steps, model.dt, torch.float64)}
        noise = setup.noise_of(0, 2, first)
        sizes = setup.population_sizes(model)
        return kernel.unroll(
            Run(
                steps,
                states,
                constants,
                drives,
                synapses,
                pending,
                ("a.spike",),
                noise=noise,
                sizes=sizes,
            )
        )

    whole = run(0, 90, states, {})
    start = run(0, 41, states, {})
    rest = run(41, 49, start.states, start.pending)
    joined = torch.cat([start.recorded["a.spike"], rest.recorded["a.spike"]])
    assert joined.sum() > 0
    assert torch.equal(joined, whole.recorded["a.spike"])


# ---- elementary functions and noise ----------------------------------------------------------------------------


FUNCTIONS = {
    "exp_": (np.exp, (-700, 700)),
    "log_": (np.log, (1e-300, 1e300)),
    "log1p_": (np.log1p, (-0.999, 50)),
    "expm1_": (np.expm1, (-30, 30)),
    "tanh_": (np.tanh, (-20, 20)),
    "sigmoid_": (lambda x: 1 / (1 + np.exp(-x)), (-300, 300)),
    "logsigmoid_": (lambda x: -np.logaddexp(0, -x), (-300, 300)),
}


@pytest.fixture(scope="module")
def elementary():
    assert COMPILER is not None
    libraries = {}
    for double in (0, 1):
        body = "\n".join(
            f"void all_{name}(const real *x, real *y, long n) {{ for (long i = 0; i < n; i++) y[i] = {name}(x[i]); }}"
            for name in FUNCTIONS
        )
        libraries[double] = load_library(
            f"#define LB 4\n#define DOUBLE {double}\n{RUNTIME}\n{body}\n", COMPILER
        )
    return libraries


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("double", [0, 1])
def test_elementary_functions_are_exact_to_a_few_units_in_the_last_place(elementary, name, double):
    exact, (low, high) = FUNCTIONS[name]
    dtype = np.float64 if double else np.float32
    rng = np.random.default_rng(0)
    if not double:
        low, high = max(low, -80), min(high, 80)
    near = rng.normal(size=20000) * 10.0 ** rng.uniform(-8, 0, 20000)
    x = np.concatenate([rng.uniform(low, high, 20000), near]).astype(dtype)
    x = x[(x > low) & (x < high)]
    y = np.empty_like(x)
    call(elementary[double], f"all_{name}", x, y)
    truth = exact(x.astype(np.longdouble))
    error = np.abs(y - truth) / np.abs(np.spacing(truth.astype(dtype)))
    assert error.max() < (8 if name != "logsigmoid_" else 12), x[error.argmax()]


@pytest.mark.parametrize("double", [0, 1])
def test_elementary_functions_keep_infinities_and_nan(elementary, double):
    dtype = np.float64 if double else np.float32
    x = np.array([np.inf, -np.inf, np.nan, 0.0], dtype)
    with np.errstate(all="ignore"):
        for name, (exact, _) in FUNCTIONS.items():
            y = np.empty_like(x)
            call(elementary[double], f"all_{name}", x, y)
            np.testing.assert_array_equal(y, exact(x).astype(dtype), err_msg=name)


def call(library, name, x, y):
    function = getattr(library, name)
    function(
        x.ctypes.data_as(ctypes.c_void_p), y.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(x))
    )


def test_noise_has_its_distribution_and_no_memory():
    noise = Noise(3, torch.arange(40), torch.zeros(40, dtype=torch.int64))
    for kind, cdf in (
        (Kind.UNIFORM, lambda x: x),
        (Kind.NORMAL, lambda x: 0.5 * (1 + torch.erf(x / 2**0.5))),
    ):
        x = draw(noise, Input(symbol("a.noise"), "a", kind), 5, 500, torch.float64)
        ordered = cdf(x.reshape(-1).sort().values)
        gap = (ordered - torch.linspace(0, 1, len(ordered), dtype=torch.float64)).abs().max()
        assert gap < 1.63 / len(ordered) ** 0.5  # Kolmogorov-Smirnov at 1 %
        flat = x.reshape(500, -1)
        assert abs(float(np.corrcoef(flat[1:].reshape(-1), flat[:-1].reshape(-1))[0, 1])) < 0.012
        assert np.abs(np.corrcoef(flat.numpy().T)[np.triu_indices(200, 1)]).max() < 0.25


def test_noise_depends_on_stream_and_step_alone():
    given_noise = Input(symbol("a.noise"), "a", Kind.NORMAL)
    whole = draw(
        Noise(3, torch.arange(4), torch.zeros(4, dtype=torch.int64)),
        given_noise,
        5,
        50,
        torch.float64,
    )
    part = draw(Noise(3, torch.tensor([2]), torch.tensor([30])), given_noise, 5, 20, torch.float64)
    assert torch.equal(part[:, :, 0], whole[30:, :, 2])
    other = draw(Noise(4, torch.tensor([2]), torch.tensor([30])), given_noise, 5, 20, torch.float64)
    assert not torch.equal(other, part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_of_both_backends_is_the_same(dtype):
    text = """
neuron cell:
    dv/dt = -v/(10*ms) + sigma*xi*ms**-0.5 + count/ms : 1
    count = poisson(rate*dt) : 1 (constant over dt)
    threshold: v > 4
    reset: v = 0
    sigma : 1 = 0.7
    rate : Hz = 400*Hz
network:
    dt = 1*ms
    cells : cell[7]
"""
    model = eqsnn.loads(text)
    by_backend = [
        eqsnn.simulate(
            model, 0.4, trials=5, seed=3, record=["v", "count"], dtype=dtype, backend=backend
        )
        for backend in ("native", "pytorch")
    ]
    native, reference = by_backend
    assert len(native.spike_times) > 100
    tolerance = 1e-10 if dtype is torch.float64 else 2e-5
    np.testing.assert_array_equal(native.traces["cells.count"], reference.traces["cells.count"])
    if dtype is torch.float64:
        np.testing.assert_array_equal(native.spike_times, reference.spike_times)
    np.testing.assert_allclose(
        native.traces["cells.v"][:, :100],
        reference.traces["cells.v"][:, :100],
        rtol=tolerance,
        atol=tolerance,
    )


# ---- fits, failures, the cache ---------------------------------------------------------------------------------


def test_a_parameter_that_is_not_a_number_shows_in_the_result():
    model = model_from_text(
        NETWORK_OF.format(
            one=2, two=2, first="graded", second="pulse", how="", refractory="", shared=""
        )
    )
    kernel = compile_program(free_program(model), ["one.v"], "native")
    constants = {n: v.detach() for n, v in values_of(model, 1, torch.float32).items()}
    constants["one.tau"] = constants["one.tau"] * torch.nan
    constants |= setup.settings_of(model) | {"surrogate_width": 0.1}
    synapses = setup.synapses_of(model)
    states = setup.initial_states(model, kernel.step, constants, synapses, 1)
    drives = {"one.drive": torch.ones(9, 2, 1), "two.drive": torch.ones(9, 2, 1)}
    run = Run(9, states, constants, drives, synapses, record=("one.v",))
    assert kernel.unroll(run).recorded["one.v"].isnan()[1:].all()


def test_a_fit_ends_the_same_on_both_backends():
    text = NETWORK_OF.format(
        one=3, two=3, first="graded", second="pulse", how="", refractory="", shared=" (shared)"
    )
    text = text.replace(
        "tau : ms = 10*ms (shared)", "tau : ms ~ lognormal(12*ms, 0.3) in [2*ms, 50*ms] (shared)"
    )
    model = eqsnn.loads(text)
    drive = 25 * np.random.default_rng(0).random((2000, 6))
    targets = eqsnn.simulate(model, 1.0, inputs={"drive": drive}, parameters={"tau": 9.0}, seed=1)
    stages = (eqsnn.Forced(widths=(0.2, 0.1), iterations=15), eqsnn.Free(iterations=4))
    fits = [
        eqsnn.fit(model, targets, starts=3, stages=stages, backend=backend)
        for backend in ("native", "pytorch")
    ]
    for name, value in fits[0].parameters.items():
        np.testing.assert_allclose(value, fits[1].parameters[name], rtol=1e-6)


def test_without_a_compiler_torch_takes_over_with_one_warning(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("CC", "no-such-compiler")
    compile_c.find_compiler.cache_clear()
    try:
        model = eqsnn.loads("network:\n    dt = 1*ms\n    source : poisson[3] with rate = 20*Hz\n")
        with pytest.warns(UserWarning, match="no C compiler was found; install gcc or clang"):
            eqsnn.simulate(model, 0.1)
        with pytest.raises(InputError, match="no C compiler was found"):
            eqsnn.simulate(model, 0.1, backend="native")
    finally:
        compile_c.find_compiler.cache_clear()


def test_an_unknown_backend_is_refused_by_name():
    model = eqsnn.loads("network:\n    dt = 1*ms\n    source : poisson[3] with rate = 20*Hz\n")
    with pytest.raises(
        InputError, match="there is no backend `cuda`; the backends are auto, native, pytorch"
    ):
        eqsnn.simulate(model, 0.1, backend="cuda")


SCRIPT = """
    import eqsnn
    model = eqsnn.load("models/sleep_lif.eqs")
    print(len(eqsnn.simulate(model, 0.1, trials=3).spike_times))
"""


def python(script, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_compile_the_same_model_at_once_all_succeed(tmp_path):
    cache = tmp_path / "cache"
    runs = [python(SCRIPT, EQSNN_CACHE=str(cache)) for _ in range(3)]
    said = [run.communicate() for run in runs]
    assert all(run.returncode == 0 for run in runs), said
    assert len({out for out, _ in said}) == 1
    assert {path.suffix for path in cache.iterdir()} == {".so"}
    assert cache.stat().st_mode & 0o077 == 0


def test_a_cache_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.setenv("EQSNN_CACHE", str(tmp_path))
    compile_c.cache_folder.cache_clear()
    try:
        with pytest.raises(InputError, match="is not a folder that only you can write"):
            compile_c.cache_folder()
    finally:
        compile_c.cache_folder.cache_clear()


def test_control_c_waits_for_the_threads_and_keeps_what_was_reached(tmp_path):
    model = ROOT / "models" / "sleep_lif.eqs"
    targets = tmp_path / "targets.npz"
    eqsnn.simulate(eqsnn.load(model), 3.0, trials=4, seed=1, record=["x"]).save(targets)
    command = [sys.executable, "-m", "eqsnn", "fit", str(model), str(targets), "--learn", "tau_m"]
    command += ["--iterations", "100000", "--stages", "forced", "--checkpoint-every", "1s"]
    run = subprocess.Popen(
        [*command, "--quiet", "--out", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run" / "checkpoint.npz").exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    time.sleep(1)
    run.send_signal(signal.SIGINT)
    _, problems = run.communicate(timeout=60)
    assert run.returncode == 130, problems
    assert (tmp_path / "run" / "summary.json").exists()


MEMORY = """
    import resource, numpy as np, torch, eqsnn
    from tests.backends.test_native import long_run
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    long_run(steps=2000)
    small = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    inputs = long_run(steps=100_000)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - small) / 1024 - inputs / 2**20)
"""


def long_run(steps):
    """Forward and backward over 12 neurons and 64 lanes; returns the bytes of the inputs."""
    model = model_from_text(
        NETWORK_OF.format(
            one=6, two=6, first="graded", second="graded", how="", refractory="", shared=""
        )
    )
    program = append_van_rossum(free_program(model, detach_reset=True), ["one", "two"])
    kernel = compile_program(program, ["one.van_rossum", "two.van_rossum"], "native")
    constants = values_of(model, 64, torch.float32)
    settings_ = setup.settings_of(model) | {"surrogate_width": 0.1, DECAY: 0.9}
    synapses = setup.synapses_of(model)
    states = setup.initial_states(model, kernel.step, constants | settings_, synapses, 64)
    each = torch.rand(steps, 6, 1)
    drives = {"one.drive": 20 * each, "two.drive": 20 * each, "one.observed": (each < 0.1).float()}
    drives |= {"two.observed": drives["one.observed"], COUNTED: torch.ones(steps, 1, 1)}
    run = Run(
        steps,
        states,
        constants | settings_,
        drives,
        synapses,
        total=("one.van_rossum", "two.van_rossum"),
    )
    result = kernel.unroll(run)
    torch.cat(list(result.totals.values())).sum().backward()
    assert all(
        value.grad is not None and value.grad.isfinite().all() for value in constants.values()
    )
    return sum(value.numel() * 4 for value in drives.values())


def test_memory_for_a_hundred_thousand_steps_stays_below_300_megabytes_above_the_inputs():
    run = python(MEMORY)
    out, problems = run.communicate()
    assert run.returncode == 0, problems
    assert float(out) < 300


SANITIZED = """
    import torch
    from eqsnn.compiler import forced_program, free_program, model_from_text, read_model
    from eqsnn.simulation import setup
    from tests.backends.test_native import NETWORK_OF, assert_native_is_torch
    from tests.maths.test_adjoint import DELAYED, MODELS, sized

    for path in MODELS:
        if path.stem in ("lif", "adex", "sleep_lif"):
            model = sized(read_model(path))
            names = setup.spiking_populations(model)
            spikes = [f"{name}.spike" for name in names]
            assert_native_is_torch(free_program(model), model, spikes, record=(f"{names[0]}.v",))
            likelihoods = [f"{name}.log_likelihood" for name in names]
            single = {"dtype": torch.float32, "tolerance": 1e-2}
            assert_native_is_torch(forced_program(model), model, likelihoods, **single)
    model = model_from_text(DELAYED)
    for lanes in (1, 3, 17):
        options = {"lanes": lanes, "steps": 700, "record": ("a.v",)}
        assert_native_is_torch(free_program(model), model, ["a.spike", "b.v"], **options)
    for how in ("", " probability 0.1"):
        text = NETWORK_OF.format(
            one=40, two=41, first="graded", second="gap", how=how, refractory="", shared=""
        )
        model = model_from_text(text)
        for same in ((), ("one->two.w",)):
            options = {"lanes": 9, "steps": 20, "same": same}
            assert_native_is_torch(free_program(model), model, ["one.spike"], **options)
    print("clean")
"""


@pytest.mark.slow
def test_generated_code_is_clean_under_the_address_and_undefined_behaviour_sanitizers(tmp_path):
    libraries = [
        subprocess.run(
            ["gcc", f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        )
        for name in ("asan", "ubsan")
    ]
    preload = " ".join(found.stdout.strip() for found in libraries)
    if "/" not in preload:
        pytest.skip("gcc has no sanitizer libraries here")
    run = python(
        SANITIZED,
        LD_PRELOAD=preload,
        ASAN_OPTIONS="detect_leaks=0",
        CC="gcc -g -fsanitize=address,undefined -fno-sanitize-recover=all",
        EQSNN_CACHE=str(tmp_path / "cache"),
    )
    out, problems = run.communicate()
    assert run.returncode == 0, problems[-3000:]
    assert out.split()[-1] == "clean"
