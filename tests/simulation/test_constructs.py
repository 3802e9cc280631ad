"""Constructs beyond threshold, reset and sums: Brian2 is the reference for what they do, finite differences for slopes."""

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.backends.kernel import Run
from eqsnn.compiler import compile_program, forced_program, model_from_text
from eqsnn.errors import ModelError
from eqsnn.inference.export import fitted_text
from eqsnn.maths.connect import existing_pairs
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import parameters_of
from tests.simulation.constructs import CONSTRUCTS

N, STEPS = 10, 3000


def drive_and_weights():
    rng = np.random.default_rng(0)
    return 20 + 9 * rng.standard_normal((STEPS, N)), rng.uniform(0.5, 2, (N, N))


def brian_run(drive, weights):
    b = pytest.importorskip("brian2")
    b.start_scope()
    b.prefs.codegen.target = "numpy"
    b.defaultclock.dt = 0.1 * b.ms
    wave = b.TimedArray(drive * b.mV, dt=0.1 * b.ms)
    source = b.NeuronGroup(N, "dx/dt = -x/(30*ms) : 1", method="euler", name="a_source")
    source.x = "3 + i"
    cells = b.NeuronGroup(
        N,
        """dv/dt = (-65*mV - v + wave(t, i) + g + y*mV*0.2)/(10*ms) : volt (unless refractory)
        dg/dt = -g/(5*ms) : volt
        dx/dt = -x/(20*ms) : 1
        y : 1 (linked)
        flag : boolean
        count : integer
        low_steps : 1""",
        threshold="v > -50*mV and (flag or not flag)",
        reset="v = -66*mV; jump = 0.25; x += 2*jump",
        refractory=2 * b.ms,
        method="euler",
        events={"low": "v < -60*mV"},
        namespace={"wave": wave},
        name="cells",
    )
    cells.v = -65 * b.mV
    cells.y = b.linked_var(source, "x")
    cells.run_on_event("low", "low_steps += 1\nflag = count > 3")
    regular = """count += 1
    count = count % 7
    g += 0.1*mV*exp((v + 60*mV)/(20*mV))*int(not_refractory)"""
    cells.run_regularly(regular, dt=5 * b.ms)
    cells.run_regularly("v += 0.05*mV*sin(t/ms)", when="synapses", order=0)
    synapses = b.Synapses(
        cells,
        cells,
        """dapre/dt = -apre/(20*ms) : 1 (event-driven)
        dapost/dt = -apost/(15*ms) : 1 (event-driven)
        w : volt""",
        on_pre={
            "pre": "g_post += w\napre += 0.1\nw = clip(w + apost*mV, 0*mV, 3*mV)",
            "kick": "x_post += 0.0001",
        },
        on_post="apost -= 0.12\nw = clip(w + apre*mV, 0*mV, 3*mV)\nx_pre += 0.01",
        on_event={"pre": "spike", "kick": "low"},
    )
    synapses.connect("i != j")
    synapses.pre.delay = "(0.1 + abs(i - j)*0.3)*ms"
    synapses.post.delay = 0.5 * b.ms
    synapses.w = weights[np.asarray(synapses.i), np.asarray(synapses.j)] * b.mV
    spikes = b.SpikeMonitor(cells)
    states = b.StateMonitor(cells, ["v", "x", "count", "low_steps"], record=True)
    b.Network(source, cells, *cells.contained_objects, synapses, spikes, states).run(
        STEPS * 0.1 * b.ms
    )
    fired = {
        (round(float(t / b.ms) / 0.1), int(i)) for t, i in zip(spikes.t, spikes.i, strict=True)
    }
    return fired, {
        "v": np.asarray(states.v).T * 1e3,
        **{x: np.asarray(getattr(states, x)).T for x in ("x", "count", "low_steps")},
    }


@pytest.mark.parametrize("backend", ["pytorch", "native"])
def test_every_construct_together_is_brian2_spike_for_spike_and_state_for_state(backend):
    drive, weights = drive_and_weights()
    run = eqsnn.simulate(
        eqsnn.loads(CONSTRUCTS),
        STEPS * 1e-4,
        inputs={"drive": drive},
        parameters={"cells->cells.w0": weights},
        record=["v", "x", "count", "low_steps"],
        backend=backend,
    )
    ours = {(round(t / 1e-4), int(n)) for t, n in zip(run.spike_times, run.unit_ids, strict=True)}
    fired, states = brian_run(drive, weights)
    assert len(fired) > 200
    assert ours == fired
    for name, expected in states.items():
        np.testing.assert_allclose(run.traces[f"cells.{name}"][0], expected, rtol=0, atol=1e-9)
    assert states["count"].max() == 6
    assert states["low_steps"].max() > 100


def test_a_parameter_within_each_construct_has_the_slope_of_its_finite_difference():
    model = model_from_text(CONSTRUCTS)
    steps = 300
    drive = drive_and_weights()[0][:steps]
    program = forced_program(model)
    kernel = compile_program(program, ["cells.log_likelihood"])
    generator = torch.Generator().manual_seed(1)
    drives = {
        "cells.drive": torch.from_numpy(drive)[..., None],
        "cells.observed": (torch.rand(steps, N, 1, generator=generator) < 0.02).double(),
        "t": setup.times(0, steps, model.dt, torch.float64),
    }
    synapses, start = setup.synapses_of(model), setup.start_of(model)
    settings = setup.settings_of(model) | {"surrogate_width": 0.3, "escape_width": 0.3}
    base = {
        name: torch.full((*p.shape, 1), float(p.given), dtype=torch.float64)  # type: ignore[arg-type]
        for name, p in parameters_of(model).items()
    }

    def objective(changed):
        values = base | changed
        states = setup.initial_states(model, kernel.step, values | settings, synapses, 1, start)
        run = Run(
            steps, states, values | settings, drives, synapses, total=("cells.log_likelihood",)
        )
        return kernel.unroll(run).totals["cells.log_likelihood"].sum()

    inside = ["pull", "push", "shake", "tau"]
    names = [f"cells.{name}" for name in inside]
    names += [f"cells->cells.{name}" for name in ("w0", "tau_plus", "up", "down")]
    names += ["source.decay"]
    values = {name: base[name].clone().requires_grad_() for name in names}
    slopes = dict(
        zip(names, torch.autograd.grad(objective(values), list(values.values())), strict=True)
    )
    for name in names:
        shift = 1e-6 * float(base[name].flatten()[0])
        with torch.no_grad():
            above, below = (objective({name: base[name] + s}) for s in (shift, -shift))
        numeric = float(above - below) / (2 * shift)
        assert numeric != 0, name
        assert float(slopes[name].sum()) == pytest.approx(numeric, rel=1e-4), name


def connected(clauses, pre=6, post=6):
    text = f"""
neuron cell:
    dv/dt = -v/ms : 1
    y : 1
synapse sum:
    y_post = 1 : 1 (summed)
network:
    a : cell[{pre}]
    b : cell[{post}]
    a -> b : sum {clauses}
"""
    return existing_pairs(model_from_text(text), "a->b")


def test_a_target_expression_connects_one_to_one():
    np.testing.assert_array_equal(connected("to i", 4, 6), np.eye(4, 6, dtype=bool))


def test_an_iterator_connects_neighbours_and_leaves_out_what_is_no_neuron():
    i, j = np.indices((6, 6))
    found = connected("to i + k for k in range(-2, 3) if k != 0")
    np.testing.assert_array_equal(found, (abs(i - j) <= 2) & (i != j))


def test_a_range_may_depend_on_the_presynaptic_neuron():
    i, j = np.indices((6, 6))
    np.testing.assert_array_equal(connected("to k for k in range(i)"), j < i)


def test_a_probability_may_depend_on_the_pair_and_is_drawn_once_for_a_file():
    found = connected("probability exp(-abs(i - j)/5)", 200, 200)
    np.testing.assert_array_equal(found, connected("probability exp(-abs(i - j)/5)", 200, 200))
    i, j = np.indices((200, 200))
    for distance in (0, 5, 10):
        near = abs(i - j) == distance
        error = 3 * np.sqrt(0.25 / near.sum())
        assert found[near].mean() == pytest.approx(np.exp(-distance / 5), abs=error)


def test_listed_pairs_are_the_synapses_there_are(tmp_path):
    np.savez(tmp_path / "pairs.npz", i=[0, 2, 2], j=[1, 0, 3])
    path = tmp_path / "model.eqs"
    path.write_text(
        """
neuron cell:
    dv/dt = -v/ms : 1
    y : 1
synapse sum:
    y_post = 1 : 1 (summed)
network:
    a : cell[4]
    a -> a : sum pairs "pairs.npz"
"""
    )
    found = existing_pairs(eqsnn.load(path).definition, "a->a")
    assert set(zip(*np.nonzero(found), strict=True)) == {(0, 1), (2, 0), (2, 3)}
    np.savez(tmp_path / "pairs.npz", i=[0, 0], j=[1, 1])
    with pytest.raises(ModelError, match="lists a pair more than once"):
        eqsnn.load(path)


def test_synapses_can_be_counted():
    text = """
neuron cell:
    dv/dt = -v/ms : 1
    y : 1
synapse share:
    y_post = 1/N_incoming + 100/N_outgoing : 1 (summed)
network:
    a : cell[4]
    b : cell[3]
    a -> b : share if i >= j
"""
    run = eqsnn.simulate(eqsnn.loads(text), 1e-3, record=["y"])
    exists = np.greater_equal.outer(np.arange(4), np.arange(3))
    outgoing = exists.sum(1)
    expected = [1 + sum(100 / outgoing[exists[:, j]]) for j in range(3)]
    np.testing.assert_allclose(run.traces["b.y"][0, 0], expected, rtol=1e-12)


def test_the_blocks_of_an_included_file_can_be_used_and_are_part_of_the_text(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "leak.eqs").write_text(
        "function twice(x : 1) = 2*x : 1\nequations leak:\n    I = g*(E - v) : pA\n    g : nS = 10*nS\n"
    )
    path = tmp_path / "model.eqs"
    path.write_text(
        'include "parts/leak.eqs"\nneuron cell:\n    use leak with E = -70*mV, g = g_L\n'
        "    dv/dt = twice(I/pA)*pA/(100*pF) : mV\n"
    )
    model = eqsnn.load(path)
    assert set(model.definition.neurons["cell"].variables) == {"v", "I", "g_L"}
    again = eqsnn.loads(model.definition.text)
    run, same = (eqsnn.simulate(m, 5e-3, record=["v"]) for m in (model, again))
    np.testing.assert_array_equal(run.traces["cells.v"], same.traces["cells.v"])
    t = np.arange(50) * 0.1
    np.testing.assert_allclose(
        run.traces["cells.v"][0, :, 0], -70 * (1 - np.exp(-t / 5)), rtol=1e-9
    )


def test_a_file_that_includes_itself_or_lies_elsewhere_is_refused(tmp_path):
    path = tmp_path / "model.eqs"
    body = "\nneuron cell:\n    dv/dt = -v/ms : 1\n"
    path.write_text(f'include "model.eqs"{body}')
    with pytest.raises(ModelError, match="includes itself"):
        eqsnn.load(path)
    path.write_text(f'include "../other.eqs"{body}')
    with pytest.raises(ModelError, match=r"not an \.eqs file beside the model"):
        eqsnn.load(path)


def test_arriving_spikes_may_set_or_scale_a_variable_whatever_their_order():
    text = """
neuron source:
    spikes : 1 (input)
    threshold: spikes > 0.5
neuron cell:
    dv/dt = 0/ms : 1
    dw/dt = 0/ms : 1
    initial: v = 8; w = 5
synapse scale:
    on_pre: v *= 0.5; w = 1
network:
    dt = 1*ms
    a : source[3]
    b : cell[2]
    a -> b : scale if i >= j
"""
    spikes = np.zeros((4, 3))
    spikes[1] = 1
    run = eqsnn.simulate(eqsnn.loads(text), 4e-3, inputs={"spikes": spikes}, record=["v", "w"])
    np.testing.assert_allclose(run.traces["b.v"][0, -1], [1, 2])
    np.testing.assert_allclose(run.traces["b.w"][0, -1], [1, 1])


def test_a_fit_with_links_and_pathways_can_be_written_and_read_again():
    model = eqsnn.loads(CONSTRUCTS)
    values = {name: np.full(p.shape, float(p.given)) for name, p in model.parameters().items()}  # type: ignore[arg-type]
    values = {
        name: value[:1] if value.ndim == 1 else value[:1, :1] for name, value in values.items()
    }
    text = fitted_text(model, values, ())
    again = eqsnn.loads(text)
    assert again.definition.projections.keys() == model.definition.projections.keys()
    ours, theirs = (m.definition.projections["cells->cells"] for m in (model, again))
    assert (ours.delay, ours.delays, ours.condition) == (
        theirs.delay,
        theirs.delays,
        theirs.condition,
    )


def test_the_milstein_method_reaches_strong_order_one_on_a_known_path():
    """Noise that multiplies a state, in Stratonovich's sense: x = exp(s W)."""
    text = """
neuron cell:
    EQUATION : 1
    initial: x = START
    method: METHOD
network:
    dt = DT*ms
    cells : cell[400]
"""

    def last(dt, equation, start, method):
        filled = text.replace("DT", str(dt)).replace("EQUATION", equation)
        model = eqsnn.loads(filled.replace("START", start).replace("METHOD", method))
        return eqsnn.simulate(model, 1e-3, record=["x"], seed=3).traces["cells.x"][0, -1]

    errors = []
    for dt in (0.02, 0.005):
        found = last(dt, "dx/dt = 0.5*x*xi/ms**0.5", "1", "milstein")
        path = last(dt, "dx/dt = xi/ms**0.5", "0", "euler")
        errors.append(np.sqrt(np.mean((found - np.exp(0.5 * path)) ** 2)))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.2)
