"""from_brian2: what the text says, how values get there, what is refused."""

import numpy as np
import pytest

import eqsnn
from eqsnn.exchange.connections import condition_text, delay_text
from eqsnn.exchange.drives import SpikeTrains, Waveform
from eqsnn.exchange.literals import quantity_text, unit_text
from eqsnn.language.units import parse_unit, scale_of

b = pytest.importorskip("brian2")


@pytest.fixture(autouse=True)
def numpy_target():
    b.start_scope()
    b.prefs.codegen.target = "numpy"
    b.defaultclock.dt = 0.1 * b.ms


def lif(**options):
    return b.NeuronGroup(
        3,
        "dv/dt = (1.5 - v)/(5*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
        name="cells",
        **options,
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.01, "second", "10*ms"), (1e-4, "second", "0.1*ms"), (-0.07, "volt", "-70*mV"), (0.0, "volt", "0*mV"),
        (2.81e-10, "farad", "281*pF"), (3e-8, "siemens", "30*nS"), (1e8, "ohm", "100*Mohm"), (0.5, "1", "0.5"),
        (7.0, "1", "7"), (3.0, "siemens/metre**2", "3*siemens/metre**2"), (0.1 + 0.2, "1", "0.30000000000000004"),
    ],
)  # fmt: skip
def test_a_value_is_written_with_a_usual_prefix_and_all_its_digits(value, unit, text):
    assert quantity_text(value, parse_unit(unit).dimension) == text


def test_a_written_value_reads_back_as_the_same_number():
    rng = np.random.default_rng(0)
    volt = parse_unit("volt").dimension
    for value in rng.lognormal(-3, 4, 300):
        number, unit = quantity_text(value, volt).split("*")
        from_text = float(number) * parse_unit(unit).scale / float(scale_of(volt, 1))  # type: ignore[arg-type]
        assert from_text == pytest.approx(value, rel=4e-16)


@pytest.mark.parametrize(
    "unit", ["volt", "siemens/metre**2", "amp/metre**2", "volt**2", "volt/second**(1/2)", "1/second**2", "mmolar", "ohm*metre"]
)  # fmt: skip
def test_the_name_of_a_unit_has_its_dimension_and_is_si(unit):
    named = parse_unit(unit_text(parse_unit(unit).dimension))
    assert (named.dimension, named.scale) == (parse_unit(unit).dimension, parse_unit(unit).scale)


@pytest.mark.parametrize("dt", [0.1, 0.25, 1.0, 2.75])
def test_a_waveform_is_sampled_as_a_timed_array(dt):
    values = np.random.default_rng(1).random(40)
    array = b.TimedArray(values, dt=dt * b.ms)
    group = b.NeuronGroup(1, "x = array(t) : 1", namespace={"array": array})
    monitor = b.StateMonitor(group, "x", record=True)
    b.Network(group, monitor).run(50 * b.ms)
    np.testing.assert_array_equal(Waveform(values, dt * 1e-3).sample(500, 1e-4), monitor.x[0])


def test_given_spikes_fall_into_brian2s_steps():
    times, indices = np.array([0.00004, 0.0001, 0.00029999999, 0.0032]), np.array([0, 1, 0, 1])
    group = b.SpikeGeneratorGroup(2, indices, times * b.second)
    monitor = b.SpikeMonitor(group)
    b.Network(group, monitor).run(5 * b.ms)
    dense = SpikeTrains(indices, times, 2).sample(50, 1e-4)
    steps = np.round(np.asarray(monitor.t) / 1e-4).astype(int)
    assert set(zip(*np.nonzero(dense), strict=True)) == set(
        zip(steps, np.asarray(monitor.i), strict=True)
    )


@pytest.mark.parametrize(
    "condition", ["", "i == j", "i != j", "i < j", "abs(i - j) <= 2", "j == (i + 1) % 8", "i // 2 == j // 2", "i >= 3 and j <= 5"]
)  # fmt: skip
def test_a_rule_is_found_for_connections(condition):
    i, j = np.indices((8, 8))
    rules = {
        "": i >= 0, "i == j": i == j, "i != j": i != j, "i < j": i < j, "abs(i - j) <= 2": abs(i - j) <= 2,
        "j == (i + 1) % 8": j == (i + 1) % 8, "i // 2 == j // 2": i // 2 == j // 2, "i >= 3 and j <= 5": (i >= 3) & (j <= 5),
    }  # fmt: skip
    rows, columns = np.nonzero(rules[condition])
    assert condition_text(rows, columns, 8, 8) == condition


def test_delays_are_a_time_or_an_expression():
    i, j = (part.ravel() for part in np.indices((4, 4)))
    assert delay_text(np.full(16, 0.002), i, j, (4, 4), 1e-4) == "2*ms"
    assert delay_text(np.zeros(16), i, j, (4, 4), 1e-4) == ""
    assert delay_text((1 + abs(i - j)) * 1e-3, i, j, (4, 4), 1e-4) == "(1*ms + 1*ms*abs(i - j))"


def test_equations_as_text_find_the_callers_variables():
    tau = 10 * b.ms  # noqa: F841 (found by its name)
    imported = eqsnn.from_brian2("dv/dt = -v/tau : volt", initial={"v": 20 * b.mV}, method="exact")
    assert "tau : second = 10*ms (shared)" in imported.text
    assert "v = 20*mV" in imported.text
    trace = imported.simulate(0.01, record=["v"]).traces["cells.v"][0, :, 0]
    np.testing.assert_allclose(trace, 0.02 * np.exp(-np.arange(100) / 100), rtol=1e-12)


def test_a_namespace_of_the_group_comes_before_that_of_the_run():
    group = b.NeuronGroup(1, "dv/dt = -v/tau : 1", namespace={"tau": 7 * b.ms}, method="exact")
    assert "= 7*ms" in eqsnn.from_brian2(group, namespace={"tau": 9 * b.ms}).text
    other = b.NeuronGroup(1, "dv/dt = -v/tau : 1", method="exact")
    assert "= 9*ms" in eqsnn.from_brian2(other, namespace={"tau": 9 * b.ms}).text


def test_values_of_each_element_are_arrays_in_si_units():
    cells = b.NeuronGroup(3, "dv/dt = -v/tau : volt\ntau : second", name="cells", method="exact")
    cells.tau, cells.v = [1, 2, 3] * b.ms, [10, 20, 30] * b.mV
    imported = eqsnn.from_brian2(cells)
    np.testing.assert_array_equal(imported.parameters["cells.tau"], [0.001, 0.002, 0.003])
    np.testing.assert_array_equal(imported.parameters["cells.v_start"], [0.01, 0.02, 0.03])


def test_a_saved_import_runs_from_its_files(tmp_path):
    rng = np.random.default_rng(2)
    wave = b.TimedArray(rng.uniform(1, 2, (200, 3)), dt=0.5 * b.ms)
    cells = b.NeuronGroup(
        3,
        "dv/dt = (wave(t, i) - v)/(5*ms) : 1\nw : 1",
        threshold="v > w",
        reset="v = 0",
        method="euler",
        name="cells",
    )
    cells.w = [0.8, 0.9, 1.0]
    imported = eqsnn.from_brian2(cells, namespace={"wave": wave})
    written = imported.save(tmp_path / "model.eqs")
    assert {path.name for path in written} == {"model.eqs", "model.npz", "model_inputs.npz"}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}
    model = eqsnn.load(tmp_path / "model.eqs")
    with np.load(tmp_path / "model_inputs.npz", allow_pickle=False) as inputs:
        again = eqsnn.simulate(model, 0.1, inputs={"wave": inputs["cells.wave"]})
    recording = imported.simulate(0.1)
    assert len(recording.spike_times) > 20
    np.testing.assert_array_equal(recording.spike_times, again.spike_times)


def test_many_pairs_without_a_rule_go_into_a_file(tmp_path):
    rng = np.random.default_rng(3)
    cells = b.NeuronGroup(
        40,
        "dv/dt = (1.5 - v)/(5*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method="euler",
        name="cells",
    )
    cells.v = rng.random(40)
    synapses = b.Synapses(cells, cells, on_pre="v_post -= 0.02", name="pulses")
    i, j = np.nonzero(rng.random((40, 40)) < 0.3)
    synapses.connect(i=i, j=j)
    imported = eqsnn.from_brian2([cells, synapses])
    assert 'pairs "pulses_pairs.npz"' in imported.text
    imported.save(tmp_path / "model.eqs")
    own, again = imported.simulate(0.05), eqsnn.simulate(eqsnn.load(tmp_path / "model.eqs"), 0.05)
    np.testing.assert_array_equal(own.spike_times, again.spike_times)


def test_poisson_sources_fire_at_their_rates():
    source = b.PoissonGroup(50, rates=np.linspace(10, 100, 50) * b.Hz, name="source")
    cells = b.NeuronGroup(1, "dv/dt = -v/(10*ms) : volt", name="cells", method="exact")
    background = b.PoissonInput(cells, "v", 100, 20 * b.Hz, weight=0.1 * b.mV)
    imported = eqsnn.from_brian2([source, cells, background])
    recording = imported.simulate(20.0, record=["cells.v"], seed=1)
    np.testing.assert_allclose(recording.rates(), np.linspace(10, 100, 50), atol=10)
    # Campbell: N * rate * weight * tau
    assert recording.traces["cells.v"].mean() == pytest.approx(100 * 20 * 0.1e-3 * 0.01, rel=0.05)


def gsl():
    return b.NeuronGroup(1, "dv/dt = -v/(5*ms) : 1", method="gsl", name="cells")


def operation():
    return [lif(), b.NetworkOperation(lambda: None, name="steps")]


def synapses_onto_synapses():
    cells = lif()
    one = b.Synapses(cells, cells, "w : 1", on_pre="v_post += w", name="one")
    one.connect()
    two = b.Synapses(cells, one, on_pre="w_post += 0.1", name="two")
    two.connect()
    return [cells, one, two]


def twice_connected():
    cells = lif()
    pulses = b.Synapses(cells, cells, on_pre="v_post += 0.1", name="pulses")
    pulses.connect(n=2)
    return [cells, pulses]


def python_function():
    @b.check_units(x=1, result=1)
    def half(x):
        return x / 2

    return b.NeuronGroup(
        1, "dv/dt = half(v)/ms : 1", namespace={"half": half}, method="euler", name="cells"
    )


def two_clocks():
    return [lif(), b.NeuronGroup(1, "dx/dt = -x/(5*ms) : 1", dt=0.5 * b.ms, name="slow")]


def array_in_the_namespace():
    return b.NeuronGroup(
        2, "dv/dt = -v/tau : 1", namespace={"tau": [1, 2] * b.ms}, method="euler", name="cells"
    )


def unknown_name():
    return b.NeuronGroup(1, "dv/dt = -v/tau_nowhere : 1", method="euler", name="cells")


def other_slot():
    cells = lif()
    cells.run_regularly("v += 0.1", when="end")
    return cells


def compartments():
    return b.SpatialNeuron(b.Soma(30 * b.um), "Im = 0*amp/metre**2 : amp/metre**2", name="cable")


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (gsl, "cells: the integration method `gsl`"), (operation, "steps: a network_operation"),
        (synapses_onto_synapses, "one: Synapses that other Synapses act on"),
        (twice_connected, "pulses: several synapses between"), (python_function, "cells: the Python function `half`"),
        (two_clocks, "time steps of 0.0001 s, 0.0005 s"), (array_in_the_namespace, "cells: the array `tau`"),
        (unknown_name, "cells: `tau_nowhere`"), (other_slot, "run_regularly in the slot `end`"),
        (compartments, "cable: a neuron with compartments"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_is_refused_by_name(build, words):
    with pytest.raises(eqsnn.InputError) as refusal:
        eqsnn.from_brian2(build(), namespace={})
    assert words in str(refusal.value)
    assert ";" in str(refusal.value), "the message says what to do"


def test_a_network_that_has_run_is_refused():
    network = b.Network(lif())
    network.run(1 * b.ms)
    with pytest.raises(eqsnn.InputError, match="has already run"):
        eqsnn.from_brian2(network)


def test_without_brian2_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "brian2", None)
    with pytest.raises(eqsnn.InputError, match="pip install"):
        eqsnn.from_brian2("dv/dt = -v/ms : 1")


def test_a_dimensionless_glif_network_with_explicit_resets_and_summed_currents_runs_unchanged():
    """The form of the poster authors' own Brian2 script: time in tau = 1 ms, a current of its own in every synapse."""
    rng = np.random.default_rng(2)
    b.defaultclock.dt = 1 * b.ms
    tau = 1 * b.ms
    cells = b.NeuronGroup(
        12,
        """dv/dt = (G*(E_L - v) + R_I/(1 + exp(-(I_ext + I_syn_tot)))/C_m)/tau : 1
        dtheta_v/dt = (a_v*(v - E_L) - b_v*(theta_v - theta_inf))/tau : 1
        dtheta_s/dt = (-b_s*theta_s)/tau : 1
        I_ext : 1
        I_syn_tot : 1
        E_L : 1
        R_I : 1
        G : 1
        C_m : 1
        f_v : 1
        f_I : 1
        a_v : 1
        b_v : 1
        b_s : 1
        delta_theta_s : 1
        delta_V : 1
        theta_inf : 1
        I_A : 1""",
        threshold="v > (theta_s + theta_v)",
        reset="""v = E_L + f_v*(v - E_L) - delta_V
        theta_s = theta_s - b_s*theta_s + delta_theta_s""",
        method="euler",
        namespace={"tau": tau},
        name="cells",
    )
    values = {
        "E_L": -55, "R_I": 160, "G": 0.7, "C_m": 1.5, "f_v": 0.15, "f_I": 0.3, "a_v": 0.1, "b_v": 0.4, "b_s": 0.3,
        "delta_theta_s": 20, "delta_V": 11, "theta_inf": -12, "I_A": 1.5,
    }  # fmt: skip
    for name, value in values.items():
        setattr(cells, name, value * (1 + 0.05 * rng.standard_normal(12)))
    cells.v = "E_L"
    cells.theta_s = "delta_theta_s"
    recurrent = b.Synapses(
        cells,
        cells,
        "I_syn_tot_post = w*I_syn : 1 (summed)\ndI_syn/dt = -f_I*I_syn/tau : 1 (clock-driven)\nw : 1",
        on_pre="I_syn = I_syn - f_I*I_syn + I_A",
        method="euler",
        namespace={"tau": tau},
        name="recurrent",
    )
    recurrent.connect(condition=True)
    recurrent.w = rng.normal(0.0, 0.4, 144)
    when, who = np.nonzero(rng.random((1000, 12)) < 0.2)
    source = b.SpikeGeneratorGroup(12, who, when * b.ms, name="source")
    feedforward = b.Synapses(
        source,
        cells,
        "I_ext_post = I_in : 1 (summed)\ndI_in/dt = -I_in/tau : 1 (clock-driven)",
        on_pre="I_in = 1",
        method="euler",
        namespace={"tau": tau},
        name="feedforward",
    )
    feedforward.connect(j="i")
    monitor = b.SpikeMonitor(cells, name="monitor")
    network = b.Network(cells, recurrent, source, feedforward, monitor)
    found = eqsnn.from_brian2(network).simulate(1.0)
    network.run(1 * b.second)
    expected = sorted(zip(np.round(monitor.t / b.ms), np.asarray(monitor.i), strict=True))
    own = sorted(zip(np.round(found.spike_times * 1e3), found.unit_ids, strict=True))
    assert len(expected) > 200
    assert [u for u in own if u[1] < 12 or found.n_units == 12] == expected
