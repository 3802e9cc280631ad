"""Guided stages: observed spikes drive synapses, neurons decouple, and each block is searched for by itself."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.analysis.recovery import weight_error
from eqsnn.cli import main
from eqsnn.inference.data import prepare
from eqsnn.inference.objectives import FreeObjective
from eqsnn.inference.settings import Status
from eqsnn.inference.stages import Free, GradientFree

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cma") is None, reason="the package `cma` is not installed"
)
MODEL = """
neuron izhikevich:
    v : mV
    u : mV/ms
    g : 1
    drive : mV/ms (input)
    s : mV/ms
    update:
        v = v + dt*(0.04*v**2/(mV*ms) + 5*v/ms + 140*mV/ms - u + drive + s)
        u = u + dt*a*(b*v - u)
        g = g - dt*g/tau_g
    threshold: v >= 30*mV
    reset:
        v = c
        u += 4*mV/ms
        g += 1
    initial:
        v = c
        u = b*c
    a : 1/ms = 0.05/ms
    b : 1/ms ~ normal(0.23/ms, 0.02/ms) in [0.15/ms, 0.3/ms]
    c : mV ~ normal(-58*mV, 5*mV) in [-75*mV, -45*mV]
    tau_g : ms = 8*ms
synapse linear:
    s_post = w*g_pre : mV/ms (summed)
    w : mV/ms ~ normal(0*mV/ms, 3*mV/ms) in [-12*mV/ms, 12*mV/ms]
network:
    dt = 1*ms
    first : izhikevich[2]
    second : izhikevich[2]
    first -> second : linear
    second -> first : linear
"""
TRUTH = {
    "first.b": [0.22, 0.24], "first.c": [-60.0, -52.0],
    "second.b": [0.21, 0.25], "second.c": [-55.0, -63.0],
    "first->second.w": [[3.0, -4.0], [-2.0, 5.0]], "second->first.w": [[-3.0, 2.0], [4.0, -5.0]],
}  # fmt: skip


def target():
    levels = np.random.default_rng(0).normal(8, 9, (4, 120, 4))
    drive = np.repeat(levels, 10, axis=1)
    parameters = {name: np.array(value) for name, value in TRUTH.items()}
    return eqsnn.simulate(eqsnn.loads(MODEL), 1.2, trials=4, inputs={"drive": drive}, parameters=parameters)  # fmt: skip


def objective_and_values(changed, *, guided=True, units=()):
    """An objective, and the true values but for some, as it takes them."""
    model, recording = eqsnn.loads(MODEL), target()
    data = prepare(model.definition, recording, torch.float64, units=units)
    values = model.with_values(
        {n: np.array(v) for n, v in {**TRUTH, **changed}.items()}
    ).parameters()
    rng = np.random.default_rng(0)
    drawn = {n: torch.from_numpy(p.draw(rng)).double().unsqueeze(-1) for n, p in values.items()}
    return FreeObjective(data, Free(guided=guided, window=1.2, warm_up=0.0), 0), drawn


def distances(changed, *, guided):
    """Van Rossum distance of each neuron when some parameters are not the true ones."""
    objective, drawn = objective_and_values(changed, guided=guided)
    return objective.by_neuron(drawn, 0.1)[:, 0].numpy()


@pytest.mark.parametrize("guided", [True, False])
def test_the_truth_has_no_distance(guided):
    np.testing.assert_array_equal(distances({}, guided=guided), 0.0)


def test_observed_spikes_keep_an_error_to_the_neuron_that_made_it():
    wrong = {"first.b": [0.25, 0.24]}
    guided, free = (distances(wrong, guided=g) for g in (True, False))
    assert guided[0] > 0
    np.testing.assert_array_equal(guided[1:], 0.0)
    assert (free[2:] > 0).all()


def test_a_presynaptic_time_constant_acts_on_the_neurons_that_its_trace_reaches():
    found = distances({"first.tau_g": [18.0, 18.0]}, guided=True)
    np.testing.assert_array_equal(found[:2], 0.0)
    assert (found[2:] > 0).all()


def stage(*, guided=True, evaluations=900):
    aim = Free(guided=guided, tau=0.01, window=1.2, warm_up=0.0)
    return GradientFree("cmaes", aim, evaluations=evaluations, population=12)


def fit(found, **options):
    options = {"starts": 2, "validation": 0.25, "seed": 1} | options
    return eqsnn.fit(eqsnn.loads(MODEL), target(), stages=(found,), **options)


def test_weights_come_closer_by_blocks_than_by_one_search_over_everything():
    errors = []
    for guided in (True, False):
        found = fit(stage(guided=guided))
        errors.append(np.mean([weight_error(found.parameters[n], v) for n, v in TRUTH.items() if n.endswith(".w")]))  # fmt: skip
    assert errors[0] < errors[1] / 2


def test_what_a_restart_has_reached_is_never_lost():
    best = np.nanmin(fit(stage(evaluations=360)).history_objective, axis=1)
    assert best[-1] < 0.5 * best[0]


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path):
    whole = fit(stage(evaluations=360))

    def interrupt(_stage, done, _total, _best):
        if done == 12:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.npz"
    assert fit(stage(evaluations=360), checkpoint=checkpoint, report=interrupt).status is Status.INTERRUPTED  # fmt: skip
    resumed = fit(stage(evaluations=360), checkpoint=checkpoint, resume=True)
    for name in TRUTH:
        np.testing.assert_array_equal(resumed.parameters[name], whole.parameters[name])


def test_a_guided_stage_refuses_what_it_cannot_do():
    with pytest.raises(eqsnn.InputError, match="cannot guide a stage whose gradient is exact"):
        Free(guided=True, gradient="exact")
    with pytest.raises(eqsnn.InputError, match="needs all neurons observed"):
        hidden = target().hiding(np.array([[0, 0.2, 0.3, 1]]))
        eqsnn.fit(eqsnn.loads(MODEL), hidden, starts=1, stages=(Free(guided=True, iterations=1),))


def moved(found):
    """Which values of each unknown are not where they started."""
    return {n: (found.parameters[n] != found.start[n]).tolist() for n in found.learned}


ONTO_THE_CHOSEN = {
    "first.b": [True, False], "first.c": [True, False],
    "second.b": [True, False], "second.c": [True, False],
    "first->second.w": [[True, False], [True, False]], "second->first.w": [[True, False], [True, False]],
}  # fmt: skip


def test_the_command_line_fits_some_units_by_the_stages_that_are_planned(tmp_path):
    (tmp_path / "model.eqs").write_text(MODEL)
    target().save(tmp_path / "target.npz")
    files = [str(tmp_path / name) for name in ("model.eqs", "target.npz")]
    options = ["--units", "0,2", "--evaluations", "96", "--starts", "2", "--validation", "0.25"]
    assert main(["fit", *files, *options, "--out", str(tmp_path / "run"), "--quiet"]) in (0, 1)
    found = eqsnn.read_fit(tmp_path / "run")
    assert [report.stage for report in found.stages] == ["wide search", "last search"]
    assert moved(found) == ONTO_THE_CHOSEN
    assert any("only units 0, 2 were fitted" in warning for warning in found.warnings)


def test_a_unit_is_found_as_well_alone_as_among_all():
    alone, among = fit(stage(), units=[2]), fit(stage())
    for name in ("second.b", "second.c"):
        errors = [abs(found.parameters[name][0] / TRUTH[name][0] - 1) for found in (alone, among)]
        assert errors[0] < max(0.02, 1.5 * errors[1])
    assert np.nanmin(alone.history_objective[-1]) < 0.5 * np.nanmin(alone.history_objective[0])


def test_the_objective_of_some_units_is_the_mean_distance_of_these():
    wrong = {"first.b": [0.25, 0.22], "second.c": [-50.0, -58.0]}
    every = distances(wrong, guided=True)
    objective, drawn = objective_and_values(wrong, units=(0, 3))
    assert every[0] > 0 and every[3] > 0
    assert float(objective(drawn, 0.1)) == pytest.approx(every[[0, 3]].mean(), rel=1e-12)


def test_what_acts_on_several_units_is_searched_for_if_it_reaches_a_chosen_one():
    model = eqsnn.loads(MODEL.replace("tau_g : ms = 8*ms", "tau_g : ms ~ uniform(4*ms, 20*ms)"))
    found = eqsnn.fit(
        model, target(), starts=2, validation=0.25, stages=(stage(evaluations=96),), units=[2]
    )
    assert moved(found)["first.tau_g"] == [True, True]
    assert not moved(found)["second.tau_g"][1]


SHARED_TRACE = MODEL.replace("tau_g : ms = 8*ms", "tau_g : ms ~ uniform(4*ms, 20*ms) (shared)")


def test_a_trace_that_weights_trade_against_is_found_by_a_search_over_everything():
    model = eqsnn.loads(SHARED_TRACE).with_values(
        {n: np.array(v) for n, v in TRUTH.items() if not n.endswith(".w")}
    )
    errors = []
    for together in (True, False):
        found = eqsnn.fit(
            model,
            target(),
            starts=2,
            validation=0.25,
            seed=1,
            stages=(replace(stage(evaluations=2400), together=together),),
        )
        taus = [float(found.parameters[f"{n}.tau_g"][0]) for n in ("first", "second")]
        errors.append(np.abs(np.array(taus) / 8.0 - 1).max())
    assert errors[0] < 0.05
    assert errors[0] < errors[1]


def test_the_plan_ends_with_everything_at_once_only_if_something_acts_on_several_neurons():
    def last(text):
        found = eqsnn.plan(eqsnn.loads(text), target()).stages[-1]
        assert isinstance(found, GradientFree) and isinstance(found.objective, Free)
        return found.together, found.objective.tau

    (apart, sharp), (together, blunt) = last(MODEL), last(SHARED_TRACE)
    assert (apart, together) == (False, True)
    assert sharp < blunt


def test_gradients_pass_through_a_guided_stage_as_well():
    found = fit(Free(guided=True, iterations=2))
    assert found.stages[0].gradient > 0
