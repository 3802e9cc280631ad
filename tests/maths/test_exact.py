"""Spikes at fractions of a step: the gradient is that of the simulated loss, and of the continuous-time model as dt -> 0."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from eqsnn.backends.kernel import Run
from eqsnn.backends.pytorch import compile_torch
from eqsnn.compiler import compile_program, exact_program, model_from_text, read_model
from eqsnn.errors import ModelError
from eqsnn.losses.spike_times import Trains, timed_van_rossum
from eqsnn.maths.program import NETWORK, Kind
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import parameters_of

TAU = 0.010

LIF = """
neuron cell:
    dv/dt = (v_rest - v + I + drive)/tau_m : mV
    dg/dt = -g/tau_g : 1
    drive : mV (input)
    I : mV
    threshold: v >= v_th
    reset:
        v = v_reset
        g += 1
    initial:
        v = v_start
    v_th : mV = -50*mV
    v_rest : mV = -65*mV
    v_reset : mV = -66*mV
    v_start : mV = -60*mV
    tau_m : ms = 12*ms
    tau_g : ms = 5*ms
synapse trace:
    k : mV = 3*mV
    I_post = k*g_pre : mV (summed)
network:
    dt = 0.5*ms
    cells : cell[2]
    cells -> cells : trace if i != j
"""
ADAPTIVE = """
neuron cell:
    dv/dt = (v_rest - v + drive - w)/tau_m : mV (unless refractory)
    dw/dt = (a*(v - v_rest) - w)/tau_w : mV
    dtheta/dt = -theta/tau_w : mV
    drive : mV (input)
    threshold: v > -50*mV + theta
    reset:
        v -= drop
        w += b
        theta += rise
    refractory: t_ref
    method: rk4
    initial: v = v_rest
    v_rest : mV = -65*mV
    drop : mV = 14*mV
    tau_m : ms = 9*ms
    tau_w : ms = 40*ms
    a : 1 = 0.1
    b : mV = 2*mV
    rise : mV = 3*mV
    t_ref : ms = 2.2*ms
network:
    dt = 0.5*ms
    cells : cell[2]
"""
NETWORK_OF_CONDUCTANCES = """
neuron cell:
    dv/dt = (v_rest - v + g_e*(E_e - v) + g_i*(E_i - v) + I + drive)/tau_m : mV
    dg_e/dt = -g_e/tau_e : 1
    dg_i/dt = -g_i/tau_i : 1
    ds/dt = -s/tau_i : 1
    I : mV
    drive : mV (input)
    threshold: v >= -50*mV
    reset:
        v = -64*mV
        s += 1
    initial: v = -60*mV
    v_rest : mV = -65*mV
    E_e : mV = 5*mV
    E_i : mV = -75*mV
    tau_m : ms = 12*ms
    tau_e : ms = 3*ms
    tau_i : ms = 7*ms
synapse excitatory:
    w : 1 = 0.05
    on_pre: g_e_post += w
synapse depressing:
    dx/dt = (1 - x)/tau_x : 1
    w : 1 = 0.1
    u : 1 = 0.4
    tau_x : ms = 50*ms
    initial: x = 1
    on_pre:
        g_i_post += w*u*x
        x -= u*x
synapse trace:
    k : mV = 1*mV
    I_post = k*s_pre : mV (summed)
synapse gap:
    c : mV = 0.5*mV
    I_post = c*tanh((v_pre - v_post)/(10*mV)) : mV (summed)
network:
    dt = 0.5*ms
    a : cell[2]
    b : cell[1]
    a -> b : excitatory delay 1.5*ms
    b -> a : depressing
    a -> a : trace if i != j delay 1*ms
    a -> b : gap
    b -> a : trace
"""
QUADRATIC = """
neuron cell:
    dv/dt = 0.04*v**2/(mV*ms) + 5*v/ms + 140*mV/ms - u + drive/ms : mV
    du/dt = a*(b*v - u) : mV/ms
    drive : mV (input)
    threshold: v >= peak
    reset:
        v = c
        u += d
    method: euler
    initial:
        v = c
        u = b*c
    a : 1/ms = 0.02/ms
    b : 1/ms = 0.2/ms
    c : mV = -65*mV
    d : mV/ms = 6*mV/ms
    peak : mV = 30*mV
network:
    dt = 0.1*ms
    cells : cell[1]
"""
MAPPED = """
neuron cell:
    v : mV
    drive : mV (input)
    update:
        v = v + dt/2*(v_rest - v + drive)/tau
        v = v + dt/2*(v_rest - v + drive)/tau
    threshold: v >= -50*mV
    reset: v = v_rest
    initial: v = v_rest
    v_rest : mV = -65*mV
    tau : ms = 10*ms
network:
    dt = 0.5*ms
    cells : cell[2]
"""
NOISY = LIF.replace("I + drive)/tau_m", "I + drive)/tau_m + 1*mV/ms**0.5*xi")
MODELS = {
    "LIF": (LIF, 16),
    "adaptive with refractoriness": (ADAPTIVE, 30),
    "conductances, depression, traces, gap junctions, delays": (NETWORK_OF_CONDUCTANCES, 15),
    "quadratic": (QUADRATIC, 14, 800),
    "update": (MAPPED, 16),
    "white noise": (NOISY, 16),
}


def given_by(model):
    """The values of the file, (neuron, 1) or (pre, post, 1)."""
    found = {}
    for name, parameter in parameters_of(model).items():
        assert isinstance(parameter.given, float)
        found[name] = torch.full((*parameter.shape, 1), parameter.given, dtype=torch.float64)
    return found


class Case:
    """A model with random drives, targets and parameters near those of its text; a loss for many lanes at once."""

    def __init__(self, text, drive, steps=240, kernel="symbolic", seed=1):
        self.model = model_from_text(text)
        self.steps = steps
        self.populations = setup.spiking_populations(self.model)
        self.outputs = tuple(f"{p}.{x}" for p in self.populations for x in ("spike", "offset"))
        program = exact_program(self.model)
        self.kernel = (
            compile_program(program, self.outputs, "native")
            if kernel == "native"
            else compile_torch(select(program, self.outputs), by_autograd=kernel == "autograd")
        )
        g = torch.Generator().manual_seed(seed)

        def random(*shape):
            return torch.rand(*shape, generator=g, dtype=torch.float64)

        self.drives = {"t": setup.times(0, steps, self.model.dt, torch.float64)}
        for given in program.of_kind(Kind.DRIVE):
            if given.space != NETWORK:
                size = setup.sizes_of(self.model, given.space)[0]
                self.drives[given.name] = drive * (1 + 0.5 * random(steps, size, 1))
        needed = {given.name for given in self.kernel.step.inputs}
        self.drives = {n: value for n, value in self.drives.items() if n in needed}
        self.values = {
            name: value * (1 + 0.05 * random(*value.shape))
            for name, value in given_by(self.model).items()
        }
        self.targets = {}
        for p in self.populations:
            shape = (steps, setup.sizes_of(self.model, p)[0], 1)
            self.targets[p] = Trains((random(*shape) < 0.05).double(), random(*shape))

    def trains(self, values):
        lanes = max(value.shape[-1] for value in values.values())
        held = values | setup.settings_of(self.model)
        synapses = setup.synapses_of(self.model)
        states = setup.initial_states(self.model, self.kernel.step, held, synapses, lanes)
        noise = setup.noise_of(0, 1)
        noise = noise.__class__(0, noise.stream.repeat(lanes), noise.first.repeat(lanes))
        run = Run(
            self.steps,
            states,
            held,
            self.drives,
            synapses,
            record=self.outputs,
            noise=noise,
            sizes=setup.population_sizes(self.model),
        )
        found = self.kernel.unroll(run).recorded
        return {p: Trains(found[f"{p}.spike"], found[f"{p}.offset"]) for p in self.populations}

    def loss(self, values):
        dt = self.model.dt * 1e-3
        total = torch.zeros(())
        for p, train in self.trains(values).items():
            total = total + timed_van_rossum(train, train, self.targets[p], tau=TAU, dt=dt).sum(0)
        return total

    def gradient(self):
        values = {name: value.clone().requires_grad_() for name, value in self.values.items()}
        found = torch.autograd.grad(
            self.loss(values).sum(), list(values.values()), allow_unused=True
        )
        return {
            name: torch.zeros_like(values[name]) if g is None else g
            for name, g in zip(values, found, strict=True)
        }

    def differences(self, relative=1e-5):
        """Central differences of fourth order, every perturbed network a lane of one run."""
        sizes = {name: value.numel() for name, value in self.values.items()}
        lanes = 4 * sum(sizes.values())
        values = {n: v.expand(*v.shape[:-1], lanes).clone() for n, v in self.values.items()}
        steps, at = {}, 0
        for name, value in values.items():
            flat = value.reshape(-1, lanes)
            steps[name] = relative * flat[:, 0].abs()
            for k in range(sizes[name]):
                flat[k, at : at + 4] += steps[name][k] * torch.tensor([-2.0, -1.0, 1.0, 2.0])
                at += 4
        with torch.no_grad():
            losses = self.loss(values)
        found, at = {}, 0
        for name, size in sizes.items():
            far, near, after, beyond = losses[at : at + 4 * size].reshape(size, 4).unbind(1)
            slope = (far - 8 * near + 8 * after - beyond) / (12 * steps[name])
            found[name] = slope.reshape(self.values[name].shape)
            at += 4 * size
        return found


def assert_gradient_is_finite_difference(case):
    spikes = sum(float(train.spikes.sum()) for train in case.trains(case.values).values())
    assert spikes >= 5
    found, expected = case.gradient(), case.differences()
    moving = 0
    for name, slope in expected.items():
        assert (found[name] - slope).norm() <= 1e-6 * slope.norm() + 1e-9, name
        moving += bool(slope.norm() > 1e-4)
    assert moving >= len(expected) - 3  # all but receptors without a synapse


@pytest.mark.parametrize("name", MODELS)
def test_symbolic_gradient_is_the_finite_difference_of_the_simulated_loss(name):
    assert_gradient_is_finite_difference(Case(*MODELS[name]))


@pytest.mark.parametrize("name", MODELS)
def test_gradient_of_the_native_backend_is_the_finite_difference(name):
    assert_gradient_is_finite_difference(Case(*MODELS[name], kernel="native"))


@pytest.mark.parametrize("name", MODELS)
def test_autograd_of_the_step_leaks_no_nan_and_agrees_with_the_symbolic_adjoint(name):
    text, drive, *_ = MODELS[name]
    symbolic = Case(text, drive, steps=120).gradient()
    autograd = Case(text, drive, steps=120, kernel="autograd").gradient()
    for parameter, expected in symbolic.items():
        assert (autograd[parameter] - expected).norm() <= 1e-10 * expected.norm() + 1e-12


CONSTANT = """
neuron cell:
    dv/dt = (v_inf - v)/tau_m : mV{frozen}
    threshold: v >= v_th
    reset: v = v_reset
    {refractory}
    initial: v = v_start
    v_inf : mV
    v_th : mV
    v_reset : mV
    v_start : mV
    tau_m : ms
    t_ref : ms = 2.3*ms
network:
    dt = {dt}*ms
    cells : cell[1] with v_inf = {v_inf}*mV, v_th = -50*mV, v_reset = -65*mV, v_start = -60*mV, tau_m = 10*ms
"""
POINT = {"v_inf": -45.0, "v_th": -50.0, "v_reset": -65.0, "v_start": -60.0, "tau_m": 10.0}


def simulated(text, steps, names):
    """Spike times (ms) of each neuron, differentiable in the values of `names`, one lane."""
    model = model_from_text(text)
    populations = setup.spiking_populations(model)
    outputs = tuple(f"{p}.{x}" for p in populations for x in ("spike", "offset"))
    kernel = compile_program(exact_program(model), outputs, "native")
    values = given_by(model)
    for name in names:
        values[name].requires_grad_()
    held, synapses = values | setup.settings_of(model), setup.synapses_of(model)
    states = setup.initial_states(model, kernel.step, held, synapses, 1)
    found = kernel.unroll(Run(steps, states, held, {}, synapses, record=outputs)).recorded
    times = {}
    for p in populations:
        spikes, offsets = (found[f"{p}.{x}"][:, 0, 0] for x in ("spike", "offset"))
        fired = torch.nonzero(spikes)[:, 0]
        times[p] = (fired + offsets[fired]) * model.dt
    return times, values


@pytest.mark.parametrize("period", [0.0, 2.3])
def test_spike_times_of_a_lif_neuron_are_those_of_its_closed_form_with_their_derivatives(period):
    lines = {
        "frozen": " (unless refractory)" if period else "",
        "refractory": "refractory: t_ref" if period else "",
        "v_inf": POINT["v_inf"],
    }
    names = [f"cells.{name}" for name in POINT] + (["cells.t_ref"] if period else [])
    reference = {
        name: torch.tensor(v, dtype=torch.float64).requires_grad_() for name, v in POINT.items()
    }
    wait = torch.tensor(period, dtype=torch.float64).requires_grad_()
    r = reference
    first = r["tau_m"] * torch.log((r["v_inf"] - r["v_start"]) / (r["v_inf"] - r["v_th"]))
    interval = r["tau_m"] * torch.log((r["v_inf"] - r["v_reset"]) / (r["v_inf"] - r["v_th"]))
    expected = first + 3 * (interval + wait)
    slopes = torch.autograd.grad(expected, [*reference.values(), wait])
    for dt in (0.4, 0.1, 0.025):
        times, values = simulated(CONSTANT.format(dt=dt, **lines), round(75 / dt), names)
        fourth = times["cells"][3]
        assert fourth.item() == pytest.approx(expected.item(), abs=0.05 * dt)
        found = torch.autograd.grad(fourth, [values[name] for name in names])
        for name, a, b in zip(names, found, slopes[: len(names)], strict=True):
            # the slope of the margin over the step stands for that at the crossing
            assert a.item() == pytest.approx(b.item(), rel=dt / POINT["tau_m"]), name


def test_van_rossum_gradient_is_the_closed_form_on_spike_times():
    """The derivative of 1/2 sum exp(-|t - s|/tau) pairs, by each time."""
    rng = np.random.default_rng(0)
    dt, steps, tau = 1e-3, 200, 0.012
    place = np.sort(rng.choice(steps, 12, replace=False))
    other = np.sort(rng.choice(steps, 9, replace=False))
    other[:2] = place[:2]  # in one step
    x, y = ((p + rng.random(len(p))) * dt for p in (place, other))

    def train(times, offsets):
        spikes = torch.zeros(steps, 1, 1, dtype=torch.float64)
        at = np.floor(times / dt).astype(int)
        spikes[at] = 1.0
        return Trains(
            spikes, torch.zeros_like(spikes).index_put((torch.tensor(at),), offsets[:, None, None])
        )

    alpha = torch.tensor(x / dt - np.floor(x / dt)).requires_grad_()
    beta = torch.tensor(y / dt - np.floor(y / dt))
    model, target = train(x, alpha), train(y, beta)
    distance = timed_van_rossum(model, model, target, tau=tau, dt=dt).sum()
    pairs = [np.exp(-np.abs(a[:, None] - b) / tau).sum() for a, b in ((x, x), (y, y), (x, y))]
    assert distance.item() == pytest.approx(pairs[0] / 2 + pairs[1] / 2 - pairs[2], rel=1e-12)
    by_time = torch.autograd.grad(distance, alpha)[0].numpy() / dt

    def pull(others):
        lag = x[:, None] - others
        return (np.sign(lag) * np.exp(-np.abs(lag) / tau)).sum(1)

    assert by_time == pytest.approx(-(pull(x) - pull(y)) / tau, rel=1e-10)


def test_one_spike_against_none_costs_a_half_wherever_it_falls_in_its_step():
    for offset in (0.0, 0.3, 0.99):
        spikes = torch.zeros(50, 1, 1, dtype=torch.float64)
        spikes[20] = 1.0
        one, none = Trains(spikes, offset * spikes), Trains(0 * spikes, 0 * spikes)
        found = timed_van_rossum(one, one, none, tau=0.01, dt=1e-3)
        assert float(found) == pytest.approx(0.5, rel=1e-12)


PAIR = """
neuron source:
    dv/dt = (v_inf - v)/tau_m : mV
    ds/dt = -s/tau_s : 1
    threshold: v >= -50*mV
    reset:
        v = -65*mV
        s += 1
    initial: v = -58*mV
    v_inf : mV = -43*mV
    tau_m : ms = 10*ms
    tau_s : ms = 4*ms
neuron sink:
    dv/dt = (v_inf - v + I + h)/tau_m : mV
    dh/dt = -h/tau_s : mV
    I : mV
    threshold: v >= -50*mV
    reset: v = -65*mV
    initial: v = -64*mV
    v_inf : mV = -49*mV
    tau_m : ms = 12*ms
    tau_s : ms = 4*ms
synapse summed:
    w : mV = 9*mV
    I_post = w*s_pre : mV (summed)
synapse jump:
    w : mV = 9*mV
    on_pre: h_post += w
network:
    dt = {dt}*ms
    a : source[1]
    b : sink[1]
    a -> b : {synapse} delay 2*ms
"""


def events_of_pair(values, horizon=120.0, delay=2.0):
    """Spike times of both neurons by root finding on closed forms: no grid at all."""
    a_inf, a_tau, tau_s, b_inf, b_tau, w = values
    first = a_tau * math.log((a_inf + 58) / (a_inf + 50))
    interval = a_tau * math.log((a_inf + 65) / (a_inf + 50))
    source = [first + k * interval for k in range(int(horizon / interval) + 1)]
    arrivals = [t + delay for t in source if t + delay < horizon]
    v, h, now, found = -64.0, 0.0, 0.0, []

    def potential(v, h, d):
        mixed = h * tau_s / (tau_s - b_tau) * (math.exp(-d / tau_s) - math.exp(-d / b_tau))
        return b_inf + (v - b_inf) * math.exp(-d / b_tau) + mixed

    for border in [*arrivals, horizon]:
        while True:
            grid = np.linspace(0, border - now, 400)
            above = [d for d in grid if potential(v, h, d) >= -50]
            if not above:
                break
            low, high = max(above[0] - (grid[1] - grid[0]), 0.0), above[0]
            for _ in range(80):
                middle = (low + high) / 2
                low, high = (low, middle) if potential(v, h, middle) >= -50 else (middle, high)
            now, h, v = now + high, h * math.exp(-high / tau_s), -65.0
            found.append(now)
        d = border - now
        v, h, now = potential(v, h, d), h * math.exp(-d / tau_s) + w, border
    return source, found


@pytest.mark.parametrize("synapse", ["summed", "jump"])
def test_gradient_through_a_delayed_synapse_goes_to_that_of_continuous_time(synapse):
    names = ["a.v_inf", "a.tau_m", ("a" if synapse == "summed" else "b") + ".tau_s"]
    names += ["b.v_inf", "b.tau_m", "a->b.w"]
    point = [-43.0, 10.0, 4.0, -49.0, 12.0, 9.0]
    last = events_of_pair(point)[1][3]
    expected = []
    for k in range(len(point)):
        ends = []
        for sign in (1, -1):
            moved = list(point)
            moved[k] += sign * 1e-4
            ends.append(events_of_pair(moved)[1][3])
        expected.append((ends[0] - ends[1]) / 2e-4)
    errors = []
    for dt in (0.2, 0.05):
        times, values = simulated(
            PAIR.format(dt=dt, synapse=synapse), round(last * 1.05 / dt), names
        )
        fourth = times["b"][3]
        # a summed coupling is held from the start of each step, which adds dt/2 to the length of a trace
        assert fourth.item() == pytest.approx(last, abs=6 * dt)
        found = torch.autograd.grad(fourth, [values[name] for name in names])
        difference = np.array([float(f) for f in found]) - expected
        errors.append(float(np.linalg.norm(difference) / np.linalg.norm(expected)))
    assert errors[0] < 0.2
    assert errors[1] < 0.4 * errors[0]


@pytest.mark.parametrize("synapse", ["summed", "jump"])
def test_gradient_by_a_delay_is_the_finite_difference_and_that_of_continuous_time(synapse):
    model = model_from_text(PAIR.format(dt=0.05, synapse=synapse))
    program = exact_program(model, delays=["a->b"])
    outputs = ("b.spike", "b.offset")
    compiled = compile_program(program, outputs, "native")
    values = given_by(model)

    def last_spike(delay):
        lanes = delay.shape[-1]
        held = {n: v.expand(*v.shape[:-1], lanes).clone() for n, v in values.items()}
        held |= setup.settings_of(model) | {"a->b.delay": delay.reshape(1, lanes)}
        synapses = setup.synapses_of(model)
        states = setup.initial_states(model, compiled.step, held, synapses, lanes)
        found = compiled.unroll(Run(1600, states, held, {}, synapses, record=outputs)).recorded
        spikes, offsets = (found[name][:, 0] for name in outputs)
        fired = torch.nonzero(spikes[:, 0])[3, 0]
        assert bool((spikes[fired] == 1).all())
        return (fired + offsets[fired]) * model.dt

    delay = torch.tensor([2.037], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(last_spike(delay).sum(), delay)
    with torch.no_grad():
        before, after = last_spike(torch.tensor([2.037 - 1e-5, 2.037 + 1e-5], dtype=torch.float64))
    assert found.item() == pytest.approx((after - before).item() / 2e-5, rel=1e-6)
    point = [-43.0, 10.0, 4.0, -49.0, 12.0, 9.0]
    late, early = (events_of_pair(point, delay=d)[1][3] for d in (2.037 + 1e-4, 2.037 - 1e-4))
    assert found.item() == pytest.approx((late - early) / 2e-4, rel=0.1)


REFUSED = {
    "threshold: v >= v_th": ("threshold: v == v_th", "no time of crossing"),
    "    initial:\n        v = v_start": (
        "    refractory: v > -60*mV\n    initial: v = v_start",
        "by a condition",
    ),
    "(v_rest - v + I + drive)/tau_m": (
        "(v_rest - v + I + drive)/tau_m + v*xi/ms**0.5",
        "multiplied by a state",
    ),
}


@pytest.mark.parametrize("written", REFUSED)
def test_what_has_no_time_of_crossing_is_refused(written):
    instead, message = REFUSED[written]
    assert written in LIF
    with pytest.raises(ModelError, match=message):
        exact_program(model_from_text(LIF.replace(written, instead)))


def test_a_delay_below_a_step_and_of_depressing_synapses_is_no_parameter():
    for text, name in ((LIF, "cells->cells"), (NETWORK_OF_CONDUCTANCES, "b->a:depressing")):
        with pytest.raises(ModelError, match="no derivative by a delay"):
            exact_program(model_from_text(text), delays=[name])


def test_an_update_that_is_no_step_of_some_length_is_refused():
    text = MAPPED.replace(
        "v = v + dt/2*(v_rest - v + drive)/tau", "v = 0.9*v + 0.1*(v_rest + drive)"
    )
    with pytest.raises(ModelError, match="no step of length dt"):
        exact_program(model_from_text(text))


# weights that postsynaptic spikes change: refused by name, as the only models of the collection
PLASTIC = {"inhibitory_plasticity", "stdp_additive", "stdp_multiplicative", "stdp_triplet"}


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "models").glob("*.eqs")), ids=lambda p: p.stem
)
def test_every_model_of_the_collection_has_an_exact_step(path):
    if path.stem in PLASTIC:
        with pytest.raises(ModelError, match="pathway `post` has no exact derivative"):
            exact_program(read_model(path))
        return
    program = exact_program(read_model(path))
    assert not any(given.name == "surrogate_width" for given in program.inputs)
