"""to_brian2: the script runs and has the model's spikes; a network goes there and back unchanged."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import eqsnn
from eqsnn.cli import main
from eqsnn.errors import Span
from eqsnn.exchange.spelling import Spelling
from eqsnn.language import syntax as s
from eqsnn.language.expressions import Names
from eqsnn.language.units import unit_table
from tests.exchange.census import our_spikes, script
from tests.exchange.corpus import TEXTS

b = pytest.importorskip("brian2")

# one of each construct; all of the corpus go there and back, but Brian2 runs twice for each
THERE_AND_BACK = (
    "lif_exact", "adex", "boolean_parameter", "augmented_assignments", "names_of_the_language", "timed_array_2d_noise",
    "not_refractory_in_equations", "periodic_spike_generator", "heterogeneous_delays", "run_regularly_slower",
    "linked_noise", "linked_by_index", "custom_event_drives_synapses", "several_events", "shared_variable_operation",
    "coba", "stdp_recurrent", "short_term_plasticity", "nmda", "gap_junctions", "named_pathways", "synaptic_operation",
    "delayed_spikes_beside_a_sum", "incoming_normalisation",
)  # fmt: skip


def spikes_of_script(text: str, folder: Path, monkeypatch, dt: float) -> set[tuple[int, str]]:
    """Run a script; return its spikes by (step, population[neuron])."""
    (folder / "script.py").write_text(text)
    monkeypatch.chdir(folder)
    monitors = runpy.run_path(str(folder / "script.py"))["monitors"]
    return {
        (round(float(t) / dt), f"{name}[{i}]")
        for name, monitor in monitors.items()
        for t, i in zip(np.asarray(monitor.t), np.asarray(monitor.i), strict=True)
    }


@pytest.mark.parametrize("name", THERE_AND_BACK)
def test_a_network_goes_there_and_back_with_the_same_spikes(name, tmp_path, monkeypatch):
    objects, namespace = script(next(text for text in TEXTS if text.__name__ == name))
    network = b.Network(*objects)
    imported = eqsnn.from_brian2(network, namespace=namespace)
    if imported.drives:
        np.savez(tmp_path / "inputs.npz", dt=imported.dt, **imported.inputs(0.1))  # type: ignore[arg-type]
    spiking = [
        each
        for each in objects
        if "spike" in (getattr(each, "events", None) or {}) and hasattr(each, "spikes")
    ]
    monitors = [b.SpikeMonitor(each) for each in spiking]
    network.add(*monitors)
    network.run(0.1 * b.second, namespace=namespace)
    expected = {
        (round(float(t) / imported.dt), f"{group.name}[{i}]")
        for group, monitor in zip(spiking, monitors, strict=True)
        for t, i in zip(np.asarray(monitor.t), np.asarray(monitor.i), strict=True)
    }
    text = eqsnn.to_brian2(imported.model, duration=0.1)
    del objects, network, monitors, spiking, namespace
    assert len(expected) >= 20
    assert spikes_of_script(text, tmp_path, monkeypatch, imported.dt) == expected


OWN = """
function gain(x : 1, k : 1) = k/(1 + exp(-x)) : 1

equations leak:
    I_leak = g*(E - v) : pA

neuron cell:
    use leak with g = g_L, E = -70*mV
    dv/dt = (I_leak + I_syn + I_ext + where(t < 20*ms, 0, bump) + max(I_syn, 0)*0.1 - w)/C : mV (unless refractory)
    dw/dt = -w/(80*ms) : pA
    bump = min(60*pA, 20*pA*sin(2*pi*30*Hz*t)*gain(v/(10*mV), 2)) + 10*pA*sigmoid(v/mV) : pA
    I_syn : pA
    I_ext : pA (input)
    threshold: v > v_th and v > -1000*mV
    reset:
        v = -65*mV
        w += 20*pA
    refractory: 2*ms
    update: w = clip(max(w, 0) + 0, 0, 1000*pA)
    initial: v = -70*mV
    method: euler
    g_L : nS = 10*nS
    C : pF = 200*pF
    v_th : mV ~ normal(-50*mV, 2*mV) in [-60*mV, -40*mV]

synapse current:
    ds/dt = -s/(5*ms) : 1
    I_syn_post = weight*s : pA (summed)
    weight : pA ~ normal(10*pA, 5*pA) in [-50*pA, 50*pA]
    on_pre late: s += 1

network:
    dt = 0.1*ms
    cells : cell[6]
    cells -> cells : current if i != j probability 0.6 delay late 1.5*ms
"""


def test_a_model_file_runs_as_a_script_with_its_own_spikes(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    drive = 350 + 100 * rng.standard_normal((2000, 6))
    np.savez(tmp_path / "inputs.npz", I_ext=drive, dt=1e-4)
    model = eqsnn.loads(OWN)
    recording = eqsnn.simulate(model, 0.2, inputs={"I_ext": drive}, seed=3)
    text = eqsnn.to_brian2(model, duration=0.2, seed=3)
    expected = our_spikes(recording)
    assert len(expected) >= 50
    assert spikes_of_script(text, tmp_path, monkeypatch, 1e-4) == expected


def test_the_command_writes_a_script(tmp_path, capsys):
    model = tmp_path / "model.eqs"
    model.write_text(
        "neuron lif:\n    dv/dt = (20*mV - v)/(10*ms) : mV\n    threshold: v > 15*mV\n    reset: v = 0\n"
    )
    assert (
        main(
            [
                "export",
                str(model),
                "--to",
                "brian2",
                "--size",
                "3",
                "--out",
                str(tmp_path / "script.py"),
            ]
        )
        == 0
    )
    text = (tmp_path / "script.py").read_text()
    assert 'reset="v = 0*(volt)"' in text
    assert "NeuronGroup(\n    3," in text
    assert main(["export", str(model)]) == 2
    assert "no size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("sin(2*pi*30*Hz*t)", "erf(v/mV)"), "Brian2 has no `erf`"),
        (("I_syn_post = weight*s", "I_syn_post = weight*w_pre/pA"), "Brian2 delays events only"),
    ],
)
def test_what_brian2_lacks_is_refused(change, words):
    text = OWN.replace(*change).replace("delay late", "delay").replace("on_pre late", "on_pre")
    with pytest.raises(eqsnn.InputError, match=words):
        eqsnn.to_brian2(eqsnn.loads(text))


def test_every_unit_means_the_same_in_a_script():
    spelling = Spelling("here", Names({}), {}, {})
    for name, (_, factor) in unit_table().items():
        text = spelling.text(s.Name(Span("", 1, 1, 1, ""), name))
        meant = eval(text, {}, dict(b.core.namespace.DEFAULT_UNITS))
        assert float(meant) == pytest.approx(float(factor), rel=1e-14), name


def test_a_random_model_exports_its_draws(tmp_path, monkeypatch):
    text = """
neuron cell:
    dv/dt = (-60*mV - v + x)/(10*ms) + 5*mV*xi/sqrt(10*ms) : mV
    x = normal(10*mV, 3*mV) + uniform(0*mV, 2*mV) + poisson(0.5)*mV : mV (constant over dt)
    threshold: v > -48*mV or rand() < 0
    reset: v = -60*mV
    initial: v = -60*mV
network:
    cells : cell[40]
    noise : poisson[40] with rate = 50*Hz
"""
    model = eqsnn.loads(text)
    script_text = eqsnn.to_brian2(model, duration=0.5)
    b.seed(1)
    theirs = spikes_of_script(script_text, tmp_path, monkeypatch, 1e-4)
    ours = our_spikes(eqsnn.simulate(model, 0.5, seed=1))
    for name in ("cells", "noise"):
        counts = [sum(unit.startswith(name) for _, unit in spikes) for spikes in (ours, theirs)]
        assert min(counts) > 100
        assert counts[0] == pytest.approx(counts[1], rel=0.15)
