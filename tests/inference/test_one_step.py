"""What was held out to choose by counts in the end: one step on all data leads to where a fit of all data would be."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.cli import main
from eqsnn.inference.fit import split
from eqsnn.inference.one_step import NAME, one_step
from eqsnn.inference.problem import problem_of

NETWORK = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + 4*mV*x)/tau_m : mV
    dg/dt = -g/tau_g : 1
    x = poisson(2500*Hz * dt) : 1 (constant over dt)
    I_syn : mV
    threshold: v >= -50*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    method: euler
    v_rest : mV ~ normal(-60*mV, 2*mV) in [-75*mV, -52*mV]
    tau_m : ms ~ lognormal(10*ms, 0.3) in [4*ms, 30*ms]
    tau_g : ms ~ lognormal(5*ms, 0.3) in [2*ms, 10*ms]
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-20*mV, 20*mV]
network:
    dt = 1*ms
    cells : lif[3]
    cells -> cells : exponential if i != j
"""
TRUTH = {
    "cells.v_rest": np.array([-60.0, -61.0, -59.0]),
    "cells.tau_m": np.array([10.0, 12.0, 9.0]),
    "cells.tau_g": np.array([4.0, 5.0, 6.0]),
    "cells->cells.w": np.array([[0.0, 4.0, 2.0], [5.0, 0.0, 3.0], [-6.0, -4.0, 0.0]]),
}
STAGE = eqsnn.Forced(
    widths=(0.005,), density="moments", optimiser="scoring", iterations=40, window=0.25, warm_up=0.1
)
START = TRUTH | {"cells.v_rest": TRUTH["cells.v_rest"] - 1.0, "cells->cells.w": np.zeros((3, 3))}
HELD_OUT = 0.4


@pytest.fixture(scope="module")
def target():
    found = eqsnn.simulate(eqsnn.loads(NETWORK), 30.0, parameters=TRUTH, burn_in=0.5, seed=4)
    return replace(found, parameters={})


def fit(target, stages=(STAGE,), **options):
    options = {"validation": HELD_OUT, "starts": 1, "start": START, "seed": 0} | options
    return eqsnn.fit(eqsnn.loads(NETWORK), target, stages=stages, **options)


@pytest.fixture(scope="module")
def before(target):
    """A fit of the training part alone."""
    return fit(target, last_step=False)


@pytest.fixture(scope="module")
def after(target):
    return fit(target)


def distance(one, other):
    """In standard errors of the other, root mean square over all unknowns."""
    off = [(one.parameters[n] - other.parameters[n]) / other.std[n] for n in other.learned]
    return float(np.sqrt(np.nanmean(np.concatenate([o.ravel() for o in off]) ** 2)))


def problems(target, stage=STAGE):
    """The likelihoods of the training and of the held-out part, and the coordinates of the truth."""
    model = eqsnn.loads(NETWORK)
    values = {n: TRUTH[n] * p.unit.scale for n, p in model.parameters().items()}
    training, held_out = split(target, HELD_OUT)
    one = problem_of(model.definition, model.parameters(), training, stage, values)
    other = problem_of(model.definition, model.parameters(), held_out, stage, values, like=one)
    return one, other, one.at(values)


def test_one_step_leads_to_the_maximum_of_all_data(target, before, after):
    whole = fit(target, validation=0.0)
    assert distance(before, whole) > 0.3
    assert distance(after, whole) < distance(before, whole) / 2


def test_scores_are_of_the_estimate_that_never_saw_the_held_out_part(before, after):
    assert after.scores == before.scores
    np.testing.assert_array_equal(after.objective, before.objective)
    assert distance(after, before) > 0.1


def test_standard_errors_are_those_of_all_data_where_all_of_them_count(before, after):
    seen = [after.std[name] / before.std[name] for name in after.learned]
    middle = np.nanmedian(np.concatenate([ratio.ravel() for ratio in seen]))
    np.testing.assert_allclose(middle, np.sqrt(1 - HELD_OUT), rtol=0.1)


def test_the_summary_says_that_the_held_out_part_counts(before, after):
    assert [report.stage for report in before.stages] == [STAGE.name]
    *_, last = after.stages
    assert last.stage == NAME and last.last < last.first
    assert str(last) in after.summary()


def test_no_step_follows_a_stage_that_seeks_something_else(target):
    stages = (STAGE, eqsnn.Free(iterations=1, window=1.0))
    assert NAME not in [report.stage for report in fit(target, stages).stages]


def test_no_step_is_taken_up_a_likelihood_that_is_not_the_models_own(target):
    escape = replace(STAGE, density="escape", iterations=2)
    assert NAME not in [report.stage for report in fit(target, (escape,)).stages]


def test_no_step_is_taken_again_that_held_out_data_undid(target):
    found = fit(target, start=TRUTH)
    assert "undone" in found.stages[-1].stopped
    np.testing.assert_allclose(found.parameters["cells.v_rest"], TRUTH["cells.v_rest"])


def test_no_step_is_taken_from_an_estimate_that_little_data_made(target):
    assert NAME not in [r.stage for r in fit(target, (replace(STAGE, seconds=10.0),)).stages]


@pytest.mark.parametrize("right", [True, False])
def test_a_step_follows_rates_only_if_they_were_right(target, right):
    start = START if right else TRUTH | {"cells.v_rest": TRUTH["cells.v_rest"] - 2.0}
    steps = replace(STAGE, iterations=25 if right else 0)
    found = fit(target, (steps, eqsnn.Rates(STAGE)), start=start)
    assert (NAME in [report.stage for report in found.stages]) is right


@given(seed=st.integers(0, 1000), size=st.floats(0.0, 2.0), prior=st.booleans())
@settings(max_examples=10, deadline=None)
def test_a_step_from_anywhere_makes_all_data_more_likely_or_is_not_taken(target, seed, size, prior):
    training, held_out, z = problems(target, replace(STAGE, prior=prior))
    shift = np.random.default_rng(seed).normal(0, size, (training.packing.size, 1))
    z = training.packing.add(z, torch.from_numpy(shift))
    found = one_step(training, held_out, z)
    if found is not None:
        there, report = found
        likelier = [
            float((p.likelihood(there) - p.likelihood(z)).sum()) for p in (training, held_out)
        ]
        # the prior counts once
        assert float((training.posterior(there) - training.posterior(z)).sum()) + likelier[1] > 0
        scale = training.objective.scale + held_out.objective.scale
        assert report.first - report.last == pytest.approx(sum(likelier) / scale)


def test_a_step_that_some_neurons_always_lose_by_is_the_one_that_all_gain_most_by(
    target, monkeypatch
):
    training, held_out, z = problems(target)
    whole, _ = one_step(training, held_out, z)  # type: ignore[misc]
    monkeypatch.setattr("eqsnn.inference.one_step.LOSS", -1e9)  # nobody gains as much
    there, _ = one_step(training, held_out, z)  # type: ignore[misc]
    for name, value in whole.items():
        torch.testing.assert_close(there[name], value)


def test_scores_of_the_training_part_need_not_be_computed_again(target):
    training, held_out, z = problems(target)
    there, _ = one_step(training, held_out, z)  # type: ignore[misc]
    again, _ = one_step(training, held_out, z, training.scores(z))  # type: ignore[misc]
    for name, value in there.items():
        torch.testing.assert_close(again[name], value)


def test_the_last_step_is_damped_as_those_before_it_had_to_be(target):
    training, held_out, z = problems(target)
    size = training.packing.n_blocks + 1
    steps = [
        one_step(training, held_out, z, damping=torch.full((1, size), damping))
        for damping in (0.0, 10.0)
    ]
    whole, damped = (
        float((training.packing.vector(found[0]) - training.packing.vector(z)).norm())  # type: ignore[index]
        for found in steps
    )
    assert 0 < damped < whole / 2


def test_the_command_line_leaves_the_last_step_out_if_asked_to(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.eqs").write_text(NETWORK)
    target.save(tmp_path / "spikes.npz")
    options = ["--starts", "1", "--stages", "forced", "--density", "moments", "--quiet"]
    for out, more in (("with", []), ("without", ["--no-last-step"])):
        main(["fit", "net.eqs", "spikes.npz", "--out", out, *options, *more])
    names = [
        [r.stage for r in eqsnn.read_fit(tmp_path / out).stages] for out in ("with", "without")
    ]
    assert names[0] == [*names[1], NAME]
