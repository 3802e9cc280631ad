"""Brian2 (numpy target, float64) is the reference: the same spikes, in the same steps, on the same input."""

import numpy as np
import pytest

from eqsnn.compiler import model_from_text
from eqsnn.simulation.run import empty_inputs, simulate_model, with_values

b = pytest.importorskip("brian2")

N = 20


@pytest.fixture(autouse=True)
def numpy_target():
    b.start_scope()
    b.prefs.codegen.target = "numpy"


def our_spikes(text, steps, drive, values):
    model = model_from_text(text)
    parameters = with_values(model, values)
    duration = steps * model.dt * 1e-3
    recording = simulate_model(
        model,
        duration,
        parameters=parameters,
        inputs=empty_inputs(model, 1, {"drive": drive}),
        seed=0,
    )
    return set(
        zip(
            np.round(recording.spike_times / recording.dt).astype(int),
            recording.unit_ids,
            strict=True,
        )
    )


def brian_spikes(monitor, dt_ms):
    return set(
        zip(
            np.round(np.asarray(monitor.t / b.ms) / dt_ms).astype(int),
            np.asarray(monitor.i),
            strict=True,
        )
    )


def assert_same(ours, theirs):
    assert len(theirs) >= 500
    assert ours == theirs, f"{len(ours ^ theirs)} of {len(theirs)} spikes differ"


def test_lif_with_refractory_period_fires_in_the_same_steps_as_brian2():
    rng = np.random.default_rng(1)
    steps, dt = 10_000, 0.1
    drive = 18 + 8 * rng.standard_normal((steps, N))
    ours = our_spikes(
        """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau_m : mV (unless refractory)
    drive : mV (input)
    threshold: v > v_th
    reset: v = v_reset
    refractory: 2.05*ms
    initial: v = v_rest
    method: euler
    v_rest : mV = -65*mV
    v_reset : mV = -67*mV
    v_th : mV = -50*mV
    tau_m : ms
network:
    dt = 0.1*ms
    cells : lif[20] with tau_m = 10*ms
""",
        steps,
        drive,
        {"tau_m": np.linspace(8, 14, N)},
    )
    b.defaultclock.dt = dt * b.ms
    waveform = b.TimedArray(drive * b.mV, dt=dt * b.ms)
    group = b.NeuronGroup(
        N,
        "dv/dt = (-65*mV - v + waveform(t, i))/tau_m : volt (unless refractory)\ntau_m : second",
        threshold="v > -50*mV",
        reset="v = -67*mV",
        refractory=2.05 * b.ms,
        method="euler",
        namespace={"waveform": waveform},
    )
    group.v = -65 * b.mV
    group.tau_m = np.linspace(8, 14, N) * b.ms
    monitor = b.SpikeMonitor(group)
    b.Network(group, monitor).run(steps * dt * b.ms)
    assert_same(ours, brian_spikes(monitor, dt))


def test_exactly_integrated_lif_fires_in_the_same_steps_as_brian2():
    rng = np.random.default_rng(6)
    steps, dt = 10_000, 0.1
    drive = 18 + 8 * rng.standard_normal((steps, N))
    ours = our_spikes(
        """
neuron lif:
    dv/dt = (-65*mV - v + g*10*mV + held)/(10*ms) : mV (unless refractory)
    dg/dt = -g/(4*ms) : 1
    held = drive : mV (constant over dt)
    drive : mV (input)
    threshold: v > -50*mV
    reset:
        v = -67*mV
        g -= 0.5
    refractory: 1*ms
    initial: v = -65*mV
    method: exact
network:
    dt = 0.1*ms
    cells : lif[20]
""",
        steps,
        drive,
        {},
    )
    b.defaultclock.dt = dt * b.ms
    waveform = b.TimedArray(drive * b.mV, dt=dt * b.ms)
    group = b.NeuronGroup(
        N,
        """dv/dt = (-65*mV - v + g*10*mV + held)/(10*ms) : volt (unless refractory)
        dg/dt = -g/(4*ms) : 1
        held = waveform(t, i) : volt (constant over dt)""",
        threshold="v > -50*mV",
        reset="v = -67*mV; g -= 0.5",
        refractory=1 * b.ms,
        method="exact",
        namespace={"waveform": waveform},
    )
    group.v = -65 * b.mV
    monitor = b.SpikeMonitor(group)
    b.Network(group, monitor).run(steps * dt * b.ms)
    assert_same(ours, brian_spikes(monitor, dt))


def test_adaptive_lif_with_conductance_synapses_and_delays_fires_in_the_same_steps_as_brian2():
    rng = np.random.default_rng(2)
    steps, dt = 10_000, 0.1
    drive = 420 + 120 * rng.standard_normal((steps, N))
    weights = rng.uniform(0.5, 4.0, (N, N))
    ours = our_spikes(
        """
neuron cell:
    dv/dt = (g_L*(E_L - v) + g_e*(E_e - v) - w + drive)/C : mV (unless refractory)
    dg_e/dt = -g_e/tau_e : nS
    dw/dt = (a*(v - E_L) - w)/tau_w : pA
    drive : pA (input)
    threshold: v > -48*mV
    reset:
        v = -60*mV
        w += 30*pA
    refractory: 1.5*ms
    initial: v = E_L
    method: euler
    C : pF = 200*pF
    g_L : nS = 10*nS
    E_L : mV = -70*mV
    E_e : mV = 0*mV
    tau_e : ms = 5*ms
    tau_w : ms = 100*ms
    a : nS = 2*nS
synapse excitatory:
    weight : nS = 1*nS
    on_pre: g_e_post += weight
network:
    dt = 0.1*ms
    cells : cell[20]
    cells -> cells : excitatory if i != j delay 1.5*ms
""",
        steps,
        drive,
        {"cells->cells.weight": weights},
    )
    b.defaultclock.dt = dt * b.ms
    waveform = b.TimedArray(drive * b.pA, dt=dt * b.ms)
    group = b.NeuronGroup(
        N,
        """dv/dt = (10*nS*(-70*mV - v) + g_e*(0*mV - v) - w + waveform(t, i))/(200*pF) : volt (unless refractory)
        dg_e/dt = -g_e/(5*ms) : siemens
        dw/dt = (2*nS*(v + 70*mV) - w)/(100*ms) : amp""",
        threshold="v > -48*mV",
        reset="v = -60*mV; w += 30*pA",
        refractory=1.5 * b.ms,
        method="euler",
        namespace={"waveform": waveform},
    )
    group.v = -70 * b.mV
    synapses = b.Synapses(
        group, group, "weight : siemens", on_pre="g_e_post += weight", delay=1.5 * b.ms
    )
    synapses.connect(condition="i != j")
    synapses.weight = weights[np.asarray(synapses.i), np.asarray(synapses.j)] * b.nS
    monitor = b.SpikeMonitor(group)
    b.Network(group, synapses, monitor).run(steps * dt * b.ms)
    assert_same(ours, brian_spikes(monitor, dt))


def test_izhikevich_neurons_with_summed_synapses_fire_in_the_same_steps_as_brian2():
    rng = np.random.default_rng(3)
    steps, dt = 10_000, 0.5
    drive = 5 + 3 * rng.standard_normal((steps, N))
    weights = rng.normal(0, 0.6, (N, N))
    ours = our_spikes(
        """
neuron cell:
    dv/dt = (0.04*v**2 + 5*v + 140 - u + I + drive)/ms : 1
    du/dt = 0.02*(0.2*v - u)/ms : 1
    dg/dt = -g/(5*ms) : 1
    I : 1
    drive : 1 (input)
    threshold: v >= 30
    reset:
        v = -65
        u += 8
        g += 1
    initial:
        v = -65
        u = -13
    method: euler
synapse current:
    w : 1 = 0
    I_post = w*g_pre : 1 (summed)
network:
    dt = 0.5*ms
    cells : cell[20]
    cells -> cells : current
""",
        steps,
        drive,
        {"cells->cells.w": weights},
    )
    b.defaultclock.dt = dt * b.ms
    waveform = b.TimedArray(drive, dt=dt * b.ms)
    group = b.NeuronGroup(
        N,
        """dv/dt = (0.04*v**2 + 5*v + 140 - u + I + waveform(t, i))/ms : 1
        du/dt = 0.02*(0.2*v - u)/ms : 1
        dg/dt = -g/(5*ms) : 1
        I : 1""",
        threshold="v >= 30",
        reset="v = -65; u += 8; g += 1",
        method="euler",
        namespace={"waveform": waveform},
    )
    group.v, group.u = -65, -13
    synapses = b.Synapses(group, group, "w : 1\nI_post = w*g_pre : 1 (summed)")
    synapses.connect()
    synapses.w = weights[np.asarray(synapses.i), np.asarray(synapses.j)]
    monitor = b.SpikeMonitor(group)
    b.Network(group, synapses, monitor).run(steps * dt * b.ms)
    assert_same(ours, brian_spikes(monitor, dt))


def test_adex_neurons_fire_in_the_same_steps_as_brian2():
    rng = np.random.default_rng(4)
    steps, dt = 10_000, 0.1
    drive = 1100 + 200 * rng.standard_normal((steps, N))
    text = """
neuron adex:
    dv/dt = (g_L*(E_L - v) + g_L*D_T*exp((v - v_T)/D_T) - w + drive)/C : mV
    dw/dt = (a*(v - E_L) - w)/tau_w : pA
    drive : pA (input)
    threshold: v > -40*mV
    reset:
        v = E_L
        w += 80.5*pA
    initial: v = E_L
    method: euler
    C : pF = 281*pF
    g_L : nS = 30*nS
    E_L : mV = -70.6*mV
    v_T : mV = -50.4*mV
    D_T : mV = 2*mV
    a : nS = 4*nS
    tau_w : ms = 144*ms
network:
    dt = 0.1*ms
    cells : adex[20]
"""
    ours = our_spikes(text, steps, drive, {})
    b.defaultclock.dt = dt * b.ms
    waveform = b.TimedArray(drive * b.pA, dt=dt * b.ms)
    group = b.NeuronGroup(
        N,
        """dv/dt = (30*nS*(-70.6*mV - v) + 30*nS*2*mV*exp((v + 50.4*mV)/(2*mV)) - w + waveform(t, i))/(281*pF) : volt
        dw/dt = (4*nS*(v + 70.6*mV) - w)/(144*ms) : amp""",
        threshold="v > -40*mV",
        reset="v = -70.6*mV; w += 80.5*pA",
        method="euler",
        namespace={"waveform": waveform},
    )
    group.v = -70.6 * b.mV
    monitor = b.SpikeMonitor(group)
    b.Network(group, monitor).run(steps * dt * b.ms)
    assert_same(ours, brian_spikes(monitor, dt))


def test_exponential_euler_and_boolean_refractoriness_agree_with_brian2():
    rng = np.random.default_rng(5)
    steps, dt = 15_000, 0.1
    phase = np.arange(steps)[:, None] * dt / 40 + rng.random(N)
    drive = 8 + 40 * np.sin(2 * np.pi * phase) + 15 * rng.standard_normal((steps, N))
    ours = our_spikes(
        """
neuron cell:
    dv/dt = (-60*mV - v + s*10*mV + drive)/(10*ms) : mV
    ds/dt = (1 - s)*0.1/ms*sigmoid((v + 50*mV)/(5*mV)) - s*0.05/ms : 1
    drive : mV (input)
    threshold: v > -40*mV
    reset: s = 0
    refractory: v > -45*mV
    initial: v = -60*mV
    method: exponential_euler
network:
    dt = 0.1*ms
    cells : cell[20]
""",
        steps,
        drive,
        {},
    )
    b.defaultclock.dt = dt * b.ms
    waveform = b.TimedArray(drive * b.mV, dt=dt * b.ms)
    group = b.NeuronGroup(
        N,
        """dv/dt = (-60*mV - v + s*10*mV + waveform(t, i))/(10*ms) : volt
        ds/dt = (1 - s)*0.1/ms/(1 + exp(-(v + 50*mV)/(5*mV))) - s*0.05/ms : 1""",
        threshold="v > -40*mV",
        reset="s = 0",
        refractory="v > -45*mV",
        method="exponential_euler",
        namespace={"waveform": waveform},
    )
    group.v = -60 * b.mV
    monitor = b.SpikeMonitor(group)
    b.Network(group, monitor).run(steps * dt * b.ms)
    assert_same(ours, brian_spikes(monitor, dt))
