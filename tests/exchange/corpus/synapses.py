"""Synapses and networks in Brian2's syntax."""

import numpy as np
import pytest

b = pytest.importorskip("brian2")

mV, ms, nS, pA, nA, pF, Hz = b.mV, b.ms, b.nS, b.pA, b.nA, b.pF, b.Hz


def clocked(n, every=1.3, count=70):
    """Return a group of n neurons of which one spikes every 1.3 ms in turn."""
    return b.SpikeGeneratorGroup(n, np.arange(count) % n, np.arange(count) * every * ms)


def cuba(rng):
    """CUBA network: excitatory and inhibitory synapses, euler, random connections as pairs"""
    taum, taue, taui, Vt, Vr, El = 20 * ms, 5 * ms, 10 * ms, -50 * mV, -60 * mV, -49 * mV
    cells = b.NeuronGroup(
        20,
        """dv/dt = (ge + gi - (v - El))/taum : volt (unless refractory)
        dge/dt = -ge/taue : volt
        dgi/dt = -gi/taui : volt""",
        threshold="v > Vt",
        reset="v = Vr",
        refractory=5 * ms,
        method="euler",
    )
    cells.v = Vr + rng.random(20) * (Vt - Vr)
    we, wi = (60 * 0.27 / 10) * mV, (-20 * 4.5 / 10) * mV
    exc = b.Synapses(cells, cells, on_pre="ge += we")
    inh = b.Synapses(cells, cells, on_pre="gi += wi")
    i, j = np.nonzero(rng.random((20, 20)) < 0.2)
    exc.connect(i=i[i < 16], j=j[i < 16])
    inh.connect(i=i[i >= 16], j=j[i >= 16])
    duration = 0.15
    return locals()


def coba(rng):
    """COBA network from subgroups, exponential_euler, conductances"""
    taum, taue, taui, El, Ee, Ei = 20 * ms, 5 * ms, 10 * ms, -60 * mV, 0 * mV, -80 * mV
    cells = b.NeuronGroup(
        16,
        """dv/dt = (ge*(Ee - v) + gi*(Ei - v) - (v - El) + I)/taum : volt (unless refractory)
        dge/dt = -ge/taue : 1
        dgi/dt = -gi/taui : 1
        I : volt""",
        threshold="v > -50*mV",
        reset="v = El",
        refractory=5 * ms,
        method="exponential_euler",
    )
    cells.v, cells.I = -60 * mV + rng.random(16) * 10 * mV, rng.uniform(8, 20, 16) * mV
    exc = b.Synapses(cells[:12], cells, on_pre="ge += 0.1")
    exc.connect()
    inh = b.Synapses(cells[12:], cells, on_pre="gi += 0.4")
    inh.connect(condition="i + 12 != j")
    return locals()


def subgroup_to_subgroup(rng):
    """subgroups as source and target, one to one within them"""
    cells = b.NeuronGroup(
        10, "dv/dt = (I - v)/(6*ms) : 1\nI : 1", threshold="v > 1", reset="v = 0", method="exact"
    )
    cells.I = "1.3*int(i < 5) + 0.7*int(i >= 5)"
    cells.v = "0.15*i*int(i < 5)"
    syn = b.Synapses(cells[:5], cells[5:], on_pre="v_post += 0.5", delay=0.5 * ms)
    syn.connect(j="i")
    return locals()


def random_weights_delays(rng):
    """recurrent network with weights of each synapse and a scalar delay"""
    cells = b.NeuronGroup(
        10,
        "dv/dt = (1.2 + 0.03*i - v)/(8*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
    )
    cells.v = rng.random(10)
    syn = b.Synapses(cells, cells, "w : 1", on_pre="v_post += w", delay=2 * ms)
    syn.connect(condition="i != j")
    syn.w = rng.normal(0, 0.06, 90)
    return locals()


def ring(rng):
    """connections by a generator over neighbours, skipped outside"""
    cells = b.NeuronGroup(
        12,
        "dv/dt = (1.1 + 0.2*sin(i) - v)/(6*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
    )
    syn = b.Synapses(cells, cells, on_pre="v_post += 0.08", delay=1 * ms)
    syn.connect(j="k for k in range(i - 2, i + 3) if k != i", skip_if_invalid=True)
    return locals()


def distance_condition(rng):
    """condition over positions of both neurons"""
    cells = b.NeuronGroup(
        10,
        "dv/dt = (1.25 + 0.02*i - v)/(6*ms) : 1\nx : metre",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
    )
    cells.x = rng.random(10) * b.mm
    syn = b.Synapses(cells, cells, on_pre="v_post -= 0.05")
    syn.connect(condition="i != j and abs(x_pre - x_post) < 0.3*mm")
    return locals()


def stdp_event_driven(rng):
    """STDP: event-driven traces, on_pre and on_post, clip"""
    taupre = taupost = 20 * ms
    wmax, Apre, Apost = 0.6, 0.02, -0.021
    source = clocked(8)
    cells = b.NeuronGroup(
        3, "dv/dt = -v/(10*ms) : 1", threshold="v > 1", reset="v = 0", method="exact"
    )
    syn = b.Synapses(
        source,
        cells,
        """w : 1
        dapre/dt = -apre/taupre : 1 (event-driven)
        dapost/dt = -apost/taupost : 1 (event-driven)""",
        on_pre="""v_post += w
        apre += Apre
        w = clip(w + apost, 0, wmax)""",
        on_post="""apost += Apost
        w = clip(w + apre, 0, wmax)""",
    )
    syn.connect()
    syn.w = rng.uniform(0.1, 0.55, 24)
    return locals()


def stdp_recurrent(rng):
    """STDP with parameters per synapse in a recurrent network with delays of both pathways"""
    cells = b.NeuronGroup(
        6,
        "dv/dt = (1.15 + 0.05*i - v)/(8*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
    )
    syn = b.Synapses(
        cells,
        cells,
        """w : 1
        eta : 1
        dx/dt = -x/(15*ms) : 1 (event-driven)
        dy/dt = -y/(15*ms) : 1 (event-driven)""",
        on_pre="v_post += w; x += 1; w -= eta*y",
        on_post="y += 1; w += eta*x",
        delay={"pre": 1 * ms, "post": 0.5 * ms},
    )
    syn.connect(condition="i != j")
    syn.w, syn.eta = 0.05, rng.uniform(0.001, 0.01, 30)
    return locals()


def short_term_plasticity(rng):
    """Tsodyks-Markram with two event-driven variables"""
    source = clocked(4, every=1.1, count=80)
    cells = b.NeuronGroup(
        4, "dv/dt = -v/(12*ms) : 1", threshold="v > 0.4", reset="v = 0", method="exact"
    )
    syn = b.Synapses(
        source,
        cells,
        """du/dt = -u/(100*ms) : 1 (event-driven)
        dx/dt = (1 - x)/(60*ms) : 1 (event-driven)
        U : 1
        A : 1 (constant)""",
        on_pre="u += U*(1 - u)\nv_post += A*u*x\nx -= u*x",
    )
    syn.connect()
    syn.x, syn.U, syn.A = 1, "0.2 + 0.1*j", 1.2
    return locals()


def short_term_by_hand(rng):
    """depression with a hand-written time of the last update"""
    source = clocked(4, every=1.1, count=80)
    cells = b.NeuronGroup(
        3, "dv/dt = -v/(12*ms) : 1", threshold="v > 0.7", reset="v = 0", method="exact"
    )
    syn = b.Synapses(
        source,
        cells,
        "R : 1\nlast : second",
        on_pre="""R = 1 - (1 - R)*exp(-(t - last)/(40*ms))
        v_post += 0.5*R
        R *= 0.6
        last = t""",
    )
    syn.connect()
    syn.R = 1
    return locals()


def clock_driven_synapses(rng):
    """clock-driven conductance in each synapse, summed into the neuron"""
    cells = b.NeuronGroup(
        5,
        "dv/dt = (1.1 + 0.05*i + I - v)/(8*ms) : 1\nI : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    syn = b.Synapses(
        cells,
        cells,
        """dg/dt = -g/(4*ms) : 1 (clock-driven)
        I_post = 0.3*g : 1 (summed)""",
        on_pre="g += 1",
        method="exact",
    )
    syn.connect(condition="i < j")
    return locals()


def nmda(rng):
    """NMDA synapse: two clock-driven equations, nonlinear sum with v_post"""
    source = clocked(4, every=1.2, count=80)
    cells = b.NeuronGroup(
        4,
        "dv/dt = (-65*mV - v + 100*Mohm*I)/(10*ms) : volt\nI : amp",
        threshold="v > -50*mV",
        reset="v = -65*mV",
        method="euler",
    )
    cells.v = -65 * mV
    syn = b.Synapses(
        source,
        cells,
        """ds/dt = -s/(30*ms) + 0.5/ms*x*(1 - s) : 1 (clock-driven)
        dx/dt = -x/(2*ms) : 1 (clock-driven)
        I_post = w*s*(0*mV - v_post)/(1 + 0.3*exp(-0.062*v_post/mV)) : amp (summed)
        w : siemens""",
        on_pre="x += 1",
        method="euler",
    )
    syn.connect()
    syn.w = "(4 + j)*nS"
    return locals()


def gap_junctions(rng):
    """gap junctions: summed w*(v_pre - v_post)"""
    cells = b.NeuronGroup(
        6,
        "dv/dt = (v0 - v + I)/(10*ms) : 1\nv0 : 1\nI : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    cells.v, cells.v0 = "i*1.0/5", "1.05 + 0.05*i"
    syn = b.Synapses(cells, cells, "w : 1\nI_post = w*(v_pre - v_post) : 1 (summed)")
    syn.connect(condition="i != j")
    syn.w = 0.02
    return locals()


def several_sums(rng):
    """two Synapses objects summing into two variables, N_pre and N_post"""
    cells = b.NeuronGroup(
        5,
        """dv/dt = (1.3 + a + 0.1*c - v)/(7*ms) : 1
        ds/dt = -s/(5*ms) : 1
        a : 1
        c : 1""",
        threshold="v > 1",
        reset="v = 0; s += 1",
        method="euler",
    )
    cells.v = "0.15*i"
    one = b.Synapses(cells, cells, "a_post = -0.4*s_pre/N_pre : 1 (summed)")
    one.connect()
    two = b.Synapses(cells, cells, "c_post = s_pre*(i + 1)/(j + 1)/N_post : 1 (summed)")
    two.connect(condition="i == j")
    return locals()


def named_pathways(rng):
    """dictionary of on_pre pathways with a delay each"""
    source = clocked(4)
    cells = b.NeuronGroup(
        4,
        "dv/dt = (g - v)/(8*ms) : 1\ndg/dt = -g/(4*ms) : 1",
        threshold="v > 0.5",
        reset="v = 0",
        method="exact",
    )
    syn = b.Synapses(
        source,
        cells,
        "w : 1",
        on_pre={"fast": "v_post += 0.2*w", "slow": "g_post += w"},
        delay={"fast": 0.3 * ms, "slow": 2 * ms},
    )
    syn.connect()
    syn.w = "0.6 + 0.1*i"
    return locals()


def on_post_writes_both(rng):
    """on_post that writes x_pre and a synaptic variable"""
    cells = b.NeuronGroup(
        4,
        """dv/dt = (1.2 + 0.1*i - v - 0.2*r)/(6*ms) : 1
        dr/dt = -r/(10*ms) : 1""",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    syn = b.Synapses(cells, cells, "n : 1", on_pre="r_post += 0.05", on_post="n += 1\nr_pre += 0.1")
    syn.connect(condition="i != j")
    return locals()


def reads_both_neurons(rng):
    """on_pre that reads variables of both neurons"""
    cells = b.NeuronGroup(
        5,
        "dv/dt = (1.2 - v)/(6*ms) : 1\ng : 1\nlimit : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    cells.v, cells.g, cells.limit = "0.18*i", "0.02*(i + 1)", "0.3 + 0.1*i"
    syn = b.Synapses(cells, cells, on_pre="v_post += g_pre*int(limit_post > 0.45)")
    syn.connect(condition="i != j")
    return locals()


def triplet_stdp(rng):
    """triplet STDP: four traces, temporaries"""
    source = clocked(6)
    cells = b.NeuronGroup(
        3, "dv/dt = -v/(10*ms) : 1", threshold="v > 1", reset="v = 0", method="exact"
    )
    syn = b.Synapses(
        source,
        cells,
        """w : 1
        dr1/dt = -r1/(17*ms) : 1 (event-driven)
        dr2/dt = -r2/(100*ms) : 1 (event-driven)
        do1/dt = -o1/(34*ms) : 1 (event-driven)
        do2/dt = -o2/(125*ms) : 1 (event-driven)""",
        on_pre="""v_post += w
        change = -0.01*o1*(1 + 0.2*r2)
        w = clip(w + change, 0, 1)
        r1 += 1
        r2 += 1""",
        on_post="""change = 0.01*r1*(1 + 0.5*o2)
        w = clip(w + change, 0, 1)
        o1 += 1
        o2 += 1""",
    )
    syn.connect()
    syn.w = rng.uniform(0.3, 0.6, 18)
    return locals()


def incoming_normalisation(rng):
    """N_incoming in the weight of a synapse"""
    cells = b.NeuronGroup(
        8, "dv/dt = (1.2 + 0.03*i - v)/(6*ms) : 1", threshold="v > 1", reset="v = 0", method="euler"
    )
    syn = b.Synapses(cells, cells, on_pre="v_post += 0.2/N_incoming")
    syn.connect(condition="i < j")
    return locals()


def inhibitory_plasticity(rng):
    """Vogels inhibitory plasticity, target rate"""
    source = clocked(5)
    cells = b.NeuronGroup(
        3,
        "dv/dt = (1.3 + 0.1*i - v - g)/(8*ms) : 1\ndg/dt = -g/(5*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    alpha = 2 * 30 * Hz * 20 * ms
    syn = b.Synapses(
        source,
        cells,
        """w : 1
        dApre/dt = -Apre/(20*ms) : 1 (event-driven)
        dApost/dt = -Apost/(20*ms) : 1 (event-driven)""",
        on_pre="""Apre += 1.
        w = clip(w + (Apost - alpha)*0.01, 0, 1)
        g += w""",
        on_post="""Apost += 1.
        w = clip(w + Apre*0.01, 0, 1)""",
    )
    syn.connect()
    syn.w = 0.05
    return locals()


def synaptic_operation(rng):
    """run_regularly of Synapses: decay of weights"""
    source = clocked(4)
    cells = b.NeuronGroup(
        4, "dv/dt = -v/(10*ms) : 1", threshold="v > 0.7", reset="v = 0", method="exact"
    )
    syn = b.Synapses(source, cells, "w : 1", on_pre="v_post += w")
    syn.connect()
    syn.w = "0.5 + 0.05*i"
    syn.run_regularly("w *= 0.99", dt=2 * ms)
    return locals()


def two_populations(rng):
    """excitatory and inhibitory NeuronGroups with four Synapses objects"""
    eqs = """dv/dt = (mu + ge - gi - v)/(10*ms) : 1 (unless refractory)
    dge/dt = -ge/(3*ms) : 1
    dgi/dt = -gi/(6*ms) : 1
    mu : 1"""
    exc, inh = (
        b.NeuronGroup(n, eqs, threshold="v > 1", reset="v = 0", refractory=1 * ms, method="euler")
        for n in (8, 4)
    )
    exc.v, inh.v = rng.random(8), rng.random(4)
    exc.mu, inh.mu = 1.3, 1.1
    ee = b.Synapses(exc, exc, on_pre="ge += 0.1")
    ei = b.Synapses(exc, inh, on_pre="ge += 0.2", delay=0.4 * ms)
    ie = b.Synapses(inh, exc, on_pre="gi += 0.3", delay=0.4 * ms)
    ii = b.Synapses(inh, inh, on_pre="gi += 0.2")
    for syn in (ee, ei, ie, ii):
        syn.connect()
    return locals()


def sampled_connections(rng):
    """connect with a probability, drawn by Brian2"""
    b.seed(4)
    cells = b.NeuronGroup(
        12,
        "dv/dt = (1.2 + 0.02*i - v)/(6*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="exact",
    )
    syn = b.Synapses(cells, cells, "w : 1", on_pre="v_post += w")
    syn.connect(p=0.3)
    syn.w = "0.05*rand()"
    return locals()


def refractory_targets(rng):
    """arriving spikes are masked while the target is refractory"""
    source = clocked(3, every=0.7, count=130)
    cells = b.NeuronGroup(
        3,
        "dv/dt = -v/(10*ms) : volt (unless refractory)",
        threshold="v > 10*mV",
        reset="v = 0*mV",
        refractory=2 * ms,
        method="exact",
    )
    syn = b.Synapses(source, cells, on_pre="v += 4*mV")
    syn.connect()
    return locals()


def delayed_presynaptic_value(rng):
    """on_pre with a delay reads x_pre when the spike arrives"""
    cells = b.NeuronGroup(
        4,
        "dv/dt = (1.2 + 0.1*i - v)/(6*ms) : 1\ndx/dt = (i + 1 - x)/(15*ms) : 1",
        threshold="v > 1",
        reset="v = 0; x = 0",
        method="exact",
    )
    syn = b.Synapses(cells, cells, on_pre="v_post += 0.05*x_pre", delay=1.5 * ms)
    syn.connect(condition="i != j")
    return locals()


def delayed_spikes_beside_a_sum(rng):
    """a sum is not delayed where the spikes of the same synapses are"""
    cells = b.NeuronGroup(
        4,
        "dv/dt = (1.2 + 0.1*i - v + I)/(6*ms) : 1\nI : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
    )
    syn = b.Synapses(
        cells,
        cells,
        "I_post = 0.05*(v_pre - v_post) : 1 (summed)",
        on_pre="v_post += 0.05",
        delay=1.5 * ms,
    )
    syn.connect(condition="i != j")
    return locals()


TEXTS = (
    cuba, coba, subgroup_to_subgroup, random_weights_delays, ring, distance_condition, stdp_event_driven, stdp_recurrent,
    short_term_plasticity, short_term_by_hand, clock_driven_synapses, nmda, gap_junctions, several_sums, named_pathways,
    on_post_writes_both, reads_both_neurons, triplet_stdp, incoming_normalisation, inhibitory_plasticity,
    synaptic_operation, two_populations, sampled_connections, refractory_targets, delayed_presynaptic_value,
    delayed_spikes_beside_a_sum,
)  # fmt: skip
