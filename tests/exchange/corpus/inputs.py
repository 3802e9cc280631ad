"""Drives, sources of spikes, delays and regular operations, in Brian2's syntax."""

import numpy as np
import pytest

b = pytest.importorskip("brian2")

mV, ms, nS, pA, nA, pF, Hz = b.mV, b.ms, b.nS, b.pA, b.nA, b.pF, b.Hz


def timed_array_1d(rng):
    """TimedArray ta(t) coarser than dt, aligned grid, automatic exact"""
    wave = b.TimedArray(rng.uniform(10, 35, 50) * mV, dt=2 * ms)
    cells = b.NeuronGroup(
        4,
        "dv/dt = (wave(t) + i*mV - v)/(6*ms) : volt",
        threshold="v > 15*mV",
        reset="v = 0*mV",
    )
    return locals()


def timed_array_2d_noise(rng):
    """noise fed as a two-dimensional TimedArray ta(t, i) on the steps"""
    noise = b.TimedArray(18 + 25 * rng.standard_normal((1000, 6)), dt=0.1 * ms)
    cells = b.NeuronGroup(
        6,
        "dv/dt = (noise(t, i)*mV - v)/(8*ms) : volt (unless refractory)",
        threshold="v > 14*mV",
        reset="v = 0*mV",
        refractory=1 * ms,
        method="euler",
    )
    return locals()


def timed_array_constant_over_dt(rng):
    """TimedArray (constant over dt) under rk4, a step that does not divide its dt"""
    wave = b.TimedArray(rng.uniform(0.8, 2.2, 40), dt=2.75 * ms)
    cells = b.NeuronGroup(
        4,
        "dv/dt = (I - v + 0.05*i)/(6*ms) : 1\nI = wave(t) : 1 (constant over dt)",
        threshold="v > 1",
        reset="v = 0",
        method="rk4",
    )
    return locals()


def shorter_timed_array(rng):
    """TimedArray that ends before the run: the last value is held"""
    wave = b.TimedArray(np.array([0.5, 2.5, 1.4]), dt=10 * ms)
    cells = b.NeuronGroup(
        5,
        "dv/dt = (wave(t) - v)/(4*ms)*(1 + 0.1*i) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    return locals()


def ornstein_uhlenbeck_fed(rng):
    """OU current written with draws from a TimedArray instead of xi"""
    draws = b.TimedArray(rng.standard_normal((1000, 5)), dt=0.1 * ms)
    cells = b.NeuronGroup(
        5,
        """dv/dt = (-60*mV - v + 100*Mohm*x)/(10*ms) : volt
        dx/dt = (0.14*nA - x)/(5*ms) + 0.05*nA*sqrt(2/(5*ms))*draws(t, i)/sqrt(dt) : amp""",
        threshold="v > -48*mV",
        reset="v = -60*mV",
        method="euler",
    )
    cells.v = -60 * mV
    return locals()


def spike_generator(rng):
    """SpikeGeneratorGroup driving on_pre with weights of each synapse"""
    times = np.sort(rng.choice(900, 200, replace=False)) * 0.1 * ms
    source = b.SpikeGeneratorGroup(10, rng.integers(0, 10, 200), times)
    cells = b.NeuronGroup(
        4, "dv/dt = -v/(10*ms) : 1", threshold="v > 1", reset="v = 0", method="exact"
    )
    syn = b.Synapses(source, cells, "w : 1", on_pre="v_post += w")
    syn.connect()
    syn.w = rng.uniform(0.1, 0.5, 40)
    return locals()


def periodic_spike_generator(rng):
    """SpikeGeneratorGroup with a period, scalar delay"""
    source = b.SpikeGeneratorGroup(3, [0, 1, 2, 0], [1, 3, 4, 7] * ms, period=10 * ms)
    cells = b.NeuronGroup(
        3, "dv/dt = -v/(8*ms) : 1", threshold="v > 0.8", reset="v = 0", method="exact"
    )
    syn = b.Synapses(source, cells, on_pre="v += 0.6", delay=1.3 * ms)
    syn.connect(j="i")
    return locals()


def spikes_off_the_grid(rng):
    """SpikeGeneratorGroup with times between the steps"""
    source = b.SpikeGeneratorGroup(2, np.arange(60) % 2, (np.arange(60) * 1.537 + 0.04) * ms)
    cells = b.NeuronGroup(
        2, "dv/dt = -v/(8*ms) : volt", threshold="v > 9*mV", reset="v = 0*mV", method="exact"
    )
    syn = b.Synapses(source, cells, "w : volt (shared)", on_pre="v += w")
    syn.connect()
    syn.w = 6 * mV
    return locals()


def heterogeneous_delays(rng):
    """delay of each synapse by a string over i and j"""
    source = b.SpikeGeneratorGroup(6, np.arange(60) % 6, np.arange(60) * 1.5 * ms)
    cells = b.NeuronGroup(
        6, "dv/dt = -v/(9*ms) : 1", threshold="v > 1", reset="v = 0", method="exact"
    )
    syn = b.Synapses(source, cells, on_pre="v_post += 0.45")
    syn.connect()
    syn.delay = "(1 + 0.4*abs(i - j))*ms"
    return locals()


def delays_from_an_array(rng):
    """delay of each synapse from an array, explicit pairs"""
    source = b.SpikeGeneratorGroup(5, np.arange(60) % 5, np.arange(60) * 1.5 * ms)
    cells = b.NeuronGroup(
        5, "dv/dt = -v/(9*ms) : 1", threshold="v > 0.9", reset="v = 0", method="exact"
    )
    syn = b.Synapses(source, cells, on_pre="v_post += 0.5")
    i, j = np.nonzero(rng.random((5, 5)) < 0.6)
    syn.connect(i=i, j=j)
    syn.delay = rng.choice([0.5, 1.2, 3.0], len(i)) * ms
    return locals()


def run_regularly_each_step(rng):
    """run_regularly on every step"""
    cells = b.NeuronGroup(
        4,
        "dv/dt = (I - v)/(5*ms) : 1\nI : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    cells.run_regularly("I = 1.4 + 0.5*sin(2*pi*30*Hz*t + i)")
    return locals()


def run_regularly_slower(rng):
    """run_regularly every 7 ms, with += on a state"""
    cells = b.NeuronGroup(
        4,
        "dv/dt = (0.8 + 0.02*i - v)/(5*ms) : 1\nkicks : 1",
        threshold="v > 1",
        reset="v = 0.2",
        method="euler",
    )
    cells.run_regularly("kicks += 1\nv += 0.45", dt=4 * ms)
    return locals()


def linked_noise(rng):
    """linked variable 1:1 and one source for all, shared noise"""
    draws = b.TimedArray(rng.standard_normal(1000), dt=0.1 * ms)
    source = b.NeuronGroup(1, "dx/dt = -x/(5*ms) + 0.6*draws(t)/sqrt(dt*5*ms) : 1", method="euler")
    own = b.NeuronGroup(4, "dy/dt = (i - y)/(20*ms) : 1", method="exact")
    cells = b.NeuronGroup(
        4,
        """dv/dt = (1.3 + x + 0.1*y - v)/(5*ms) : 1
        x : 1 (linked)
        y : 1 (linked)""",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    cells.x = b.linked_var(source.x)
    cells.y = b.linked_var(own.y)
    return locals()


def linked_by_index(rng):
    """linked variable with an index array"""
    source = b.NeuronGroup(2, "dx/dt = (1.3 + 0.4*i - x)/(3*ms) : 1", method="exact")
    cells = b.NeuronGroup(
        6,
        "dv/dt = (x + 0.05*i - v)/(4*ms) : 1\nx : 1 (linked)",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    cells.x = b.linked_var(source.x, index=np.arange(6) // 3)
    return locals()


def custom_event(rng):
    """custom event with run_on_event"""
    cells = b.NeuronGroup(
        4,
        """dv/dt = (1.5 + 0.1*i - v - 0.5*w)/(5*ms) : 1
        dw/dt = -w/(20*ms) : 1""",
        threshold="v > 1",
        reset="v = -0.2",
        events={"low": "v < 0"},
        method="euler",
    )
    cells.run_on_event("low", "w += 0.05")
    return locals()


def custom_event_drives_synapses(rng):
    """synapses that wait for a custom event (on_event)"""
    cells = b.NeuronGroup(
        4,
        "dv/dt = (1.4 + 0.1*i - v)/(5*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        events={"half": "v > 0.5 and v < 0.53"},
        method="euler",
    )
    listeners = b.NeuronGroup(
        4, "dg/dt = -g/(3*ms) : 1", threshold="g > 1", reset="g = 0", method="exact"
    )
    syn = b.Synapses(cells, listeners, on_pre="g_post += 0.3", on_event={"pre": "half"})
    syn.connect()
    return locals()


def several_events(rng):
    """two custom events and a spike in one group"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = (1.3 + 0.15*i - v)*boost/(5*ms) : 1
        boost : 1
        peaks : 1""",
        threshold="v > 1",
        reset="v = 0; boost = 1",
        events={"first": "v > 0.3 and v < 0.34", "second": "v > 0.7 and v < 0.73"},
        method="euler",
    )
    cells.boost = 1
    cells.run_on_event("first", "boost = 1.3")
    cells.run_on_event("second", "boost = 0.8\npeaks += 1")
    return locals()


def shared_variable_operation(rng):
    """shared variable changed by run_regularly, shared subexpression"""
    cells = b.NeuronGroup(
        4,
        """dv/dt = (level + 0.1*i - v)/(5*ms) : 1
        phase : 1 (shared)
        level = 1.3 + 0.4*sin(phase) : 1 (shared)""",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    cells.run_regularly("phase += 0.02")
    return locals()


def deterministic_poisson(rng):
    """PoissonGroup with rates of 0 and of 1/dt, rates by a string with a TimedArray"""
    on = b.TimedArray(np.array([0, 1, 0, 1, 1, 0]) / (0.1 * ms), dt=5 * ms)
    source = b.PoissonGroup(3, rates="on(t)*int(i != 1)")
    cells = b.NeuronGroup(
        3, "dv/dt = -v/(9*ms) : 1", threshold="v > 1", reset="v = 0", method="exact"
    )
    syn = b.Synapses(source, cells, on_pre="v_post += 0.12")
    syn.connect(j="i")
    return locals()


TEXTS = (
    timed_array_1d, timed_array_2d_noise, timed_array_constant_over_dt, shorter_timed_array, ornstein_uhlenbeck_fed,
    spike_generator, periodic_spike_generator, spikes_off_the_grid, heterogeneous_delays, delays_from_an_array,
    run_regularly_each_step, run_regularly_slower, linked_noise, linked_by_index, custom_event,
    custom_event_drives_synapses, several_events, shared_variable_operation, deterministic_poisson,
)  # fmt: skip
