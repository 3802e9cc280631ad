"""After the likelihood, rates of the network left alone are brought to those observed, and no further than chance asks for."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.inference import walk
from eqsnn.inference.data import prepare
from eqsnn.inference.problem import Problem, problem_of
from eqsnn.inference.rates import Matching, RatesObjective
from eqsnn.inference.settings import Status

TEXT = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + 20*mV*x)/tau_m : mV
    dg/dt = -g/(5*ms) : 1
    I_syn : mV
    x = poisson(500*Hz * dt) : 1 (constant over dt)
    threshold: v >= -50*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    method: euler
    v_rest : mV ~ normal(-60*mV, 3*mV) in [-75*mV, -52*mV] SHARED
    tau_m : ms ~ lognormal(12*ms, 0.4) in [3*ms, 50*ms] SHARED
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV = -2*mV
network:
    dt = 1*ms
    cells : lif[3]
    cells -> cells : exponential if i != j
"""
OWN, SHARED = TEXT.replace(" SHARED", ""), TEXT.replace(" SHARED", " (shared)")
TRUTH = {"v_rest": np.array([-58.0, -60.0, -62.0]), "tau_m": np.array([8.0, 12.0, 16.0])}
SHARED_TRUTH = {"v_rest": np.array(-60.0), "tau_m": np.array(12.0)}
GRID = eqsnn.Forced(
    widths=(0.001,), density="grid", bins=64, optimiser="scoring", window=0.5, warm_up=0.2
)


def recorded(text, truth, seconds, seed=1, trials=1):
    found = eqsnn.simulate(
        eqsnn.loads(text), seconds, parameters=truth, burn_in=1.0, seed=seed, trials=trials
    )
    return replace(found, parameters={})


def fit(text, target, start, **options):
    stages = (eqsnn.Rates(GRID),)
    return eqsnn.fit(
        eqsnn.loads(text), target, starts=1, start=start, stages=stages, seed=0, **options
    )


def matching_of(text, truth, target):
    """The steps of a stage from the truth, where that is, and the likelihood."""
    model = eqsnn.loads(text)
    scale = {n: p.unit.scale for n, p in model.parameters().items()}
    values = {f"cells.{n}": np.atleast_1d(v) * scale[f"cells.{n}"] for n, v in truth.items()}
    values["cells->cells.w"] = np.full((3, 3), -2.0) * scale["cells->cells.w"]
    problem = problem_of(model.definition, model.parameters(), target, GRID, values)
    z = problem.at(values)
    data = prepare(model.definition, target, torch.float64)
    objective = RatesObjective(data, eqsnn.Rates(GRID), 0, problem.packing)
    return Matching(problem, objective, z, 0.001), z, problem


def test_rates_that_differ_by_more_than_chance_are_brought_to_those_observed():
    target = recorded(OWN, TRUTH, 240.0)
    wrong = TRUTH | {"v_rest": TRUTH["v_rest"] - np.array([1.5, 0.0, -1.5])}
    found = fit(OWN, target, wrong)
    before, after = (
        eqsnn.simulate(eqsnn.loads(OWN), 300.0, parameters=p, burn_in=1.0, seed=7).rates()
        for p in (wrong, found.parameters)
    )
    off = np.abs(before / target.rates() - 1)
    assert off[0] > 0.1 and off[2] > 0.1
    # one standard deviation of what the fit compared may remain, and its two draws differ by chance from this third one
    chance = 1 / np.sqrt(240.0 * target.rates())
    assert (np.abs(after / target.rates() - 1) < 4 * chance).all()
    assert "within chance" in str(found.stages[0])


def test_what_most_data_say_of_rates_is_not_undone_by_chance_in_a_short_part_held_out():
    right = recorded(OWN, TRUTH, 20.0, trials=10)
    wrong = TRUTH | {"v_rest": TRUTH["v_rest"] - np.array([1.5, 0.0, -1.5])}
    other = recorded(OWN, wrong, 20.0, seed=2, trials=10)
    kept, chance = right.trial_ids < 9, other.trial_ids == 9
    mixed = {
        name: np.concatenate([getattr(right, name)[kept], getattr(other, name)[chance]])
        for name in ("spike_times", "unit_ids", "trial_ids")
    }
    found = fit(OWN, replace(right, **mixed), wrong, validation=0.1)
    assert not found.stages[0].undone
    assert (np.abs(found.parameters["cells.v_rest"] - wrong["v_rest"]) > 0.1).any()


def test_a_stage_that_was_interrupted_goes_on_to_the_same_end(tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    target = recorded(OWN, TRUTH, 60.0)
    wrong = TRUTH | {"v_rest": TRUTH["v_rest"] - 1.5}
    whole = fit(OWN, target, wrong)
    checkpoint = tmp_path / "checkpoint.npz"
    part = fit(OWN, target, wrong, checkpoint=checkpoint, report=interrupt)
    resumed = fit(OWN, target, wrong, checkpoint=checkpoint, resume=True)
    assert whole.stages[0].iterations > 2
    assert not np.array_equal(part.parameters["cells.v_rest"], whole.parameters["cells.v_rest"])
    for name in ("cells.v_rest", "cells.tau_m"):
        np.testing.assert_array_equal(resumed.parameters[name], whole.parameters[name])


@pytest.fixture
def late(monkeypatch):
    """How many seconds the clock of a fit is ahead."""
    ahead = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0])
    monkeypatch.setattr(walk, "time", clock)
    return ahead


def test_a_fit_that_runs_out_of_time_on_all_data_still_matches_rates_and_goes_on_from_where_time_ran_out(
    tmp_path, late
):
    def after_one_step(*_):
        late[0] = 9e5

    target = recorded(OWN, TRUTH, 60.0)
    wrong = TRUTH | {"v_rest": TRUTH["v_rest"] - np.array([4.0, 0.0, -4.0])}
    stages = (replace(GRID, iterations=4), eqsnn.Rates(GRID))
    options = {"starts": 1, "start": wrong, "stages": stages, "seed": 0, "uncertainty": False}
    whole = eqsnn.fit(eqsnn.loads(OWN), target, **options)
    kept = {"checkpoint": tmp_path / "checkpoint.npz"}
    short = eqsnn.fit(
        eqsnn.loads(OWN), target, **options, **kept, max_time=1e6, report=after_one_step
    )
    assert short.status is Status.OUT_OF_TIME
    assert short.stages[0].iterations == 1
    first, last = short.stages[1].first, short.stages[1].last
    assert first > 1 > 0.1 > last
    late[0] = 0.0
    longer = eqsnn.fit(eqsnn.loads(OWN), target, **options, **kept, resume=True)
    for name in ("cells.v_rest", "cells.tau_m"):
        np.testing.assert_array_equal(longer.parameters[name], whole.parameters[name])
    late[0] = 9e5
    hopeless = eqsnn.fit(eqsnn.loads(OWN), target, **options, max_time=1e5)
    assert len(hopeless.stages) == 1


def test_scores_are_not_computed_again_where_steps_before_have_ended(monkeypatch):
    computed, scores = [], Problem.scores

    def counted(self, z, *rest, **options):
        computed.append(torch.cat([v.flatten() for v in z.values()]).tolist())
        return scores(self, z, *rest, **options)

    monkeypatch.setattr(Problem, "scores", counted)
    wrong = TRUTH | {"v_rest": TRUTH["v_rest"] - np.array([4.0, 0.0, -4.0])}
    stage = replace(GRID, iterations=1)
    options = {"starts": 1, "stages": (stage, eqsnn.Rates(stage)), "uncertainty": False}
    found = eqsnn.fit(eqsnn.loads(OWN), recorded(OWN, TRUTH, 60.0), start=wrong, **options)
    assert found.stages[1].first > found.stages[1].last  # it took steps, which need scores
    assert len(computed) > 1
    assert all(z not in computed[:k] for k, z in enumerate(computed))


def test_a_step_that_would_not_end_in_time_is_not_begun_but_one_is_always_taken(tmp_path, late):
    def after_a_slow_step(*_):
        late[0] += 1e5

    target = recorded(OWN, TRUTH, 20.0)
    stages = (replace(GRID, density="moments", iterations=6),)
    wrong = TRUTH | {"v_rest": TRUTH["v_rest"] - 4.0}
    options = {"starts": 1, "start": wrong, "stages": stages, "seed": 0, "uncertainty": False}
    options |= {"checkpoint": tmp_path / "checkpoint.npz", "report": after_a_slow_step}
    found = eqsnn.fit(eqsnn.loads(OWN), target, **options, max_time=2.5e5)
    assert found.status is Status.OUT_OF_TIME
    assert found.stages[0].iterations == 2
    late[0] = 0.0
    found = eqsnn.fit(eqsnn.loads(OWN), target, **options, max_time=0.5e5, resume=True)
    assert found.status is Status.OUT_OF_TIME
    assert found.stages[-1].iterations == 1


def test_rates_that_agree_leave_all_parameters_where_they_are():
    target = recorded(OWN, TRUTH, 30.0)
    found = fit(OWN, target, TRUTH)
    assert found.stages[0].iterations == 1
    for name, value in TRUTH.items():
        assert found.parameters[f"cells.{name}"] == pytest.approx(value, rel=1e-12)


class Steep(RatesObjective):
    """Rates that rise a hundredfold within a tenth of what a linear step would go: too far is far too far."""

    def __init__(self, matching, z):  # nothing is simulated
        self.deviation, self.start, self.tried = matching.objective.deviation, matching.values(z), 0

    def differences(self, values, width):
        self.tried += 1
        moved = (values["cells.v_rest"] - self.start["cells.v_rest"]).T  # mV
        return 20.0 - torch.expm1(30.0 * moved).clamp(max=1e3)


def test_a_step_that_goes_too_far_ends_between_what_was_too_little_and_what_was_too_much():
    matching, z, _ = matching_of(OWN, TRUTH, recorded(OWN, TRUTH, 30.0))
    matching.objective = steep = Steep(matching, z)
    matching.wrong = torch.ones(1, 3, dtype=torch.bool)
    here = steep.differences(matching.values(z), 0.001)
    there, left = matching.step(z, here)
    assert steep.tried > 3
    assert float(left) < 0.01 * float(steep.of(here))
    assert (steep.differences(matching.values(there), 0.001).abs() < 3).all()


@pytest.mark.parametrize("name", ["v_rest", "tau_m"])
def test_how_a_count_depends_on_a_parameter_is_what_simulations_on_both_sides_differ_by(name):
    """The covariance of counts and scores against differences of long runs."""
    model = eqsnn.loads(SHARED)
    matching, z, problem = matching_of(SHARED, SHARED_TRUTH, recorded(SHARED, SHARED_TRUTH, 400.0))
    scale = {n: p.unit.scale for n, p in model.parameters().items()}
    place = [problem.packing.label(k)[0] for k in range(problem.packing.size)].index(
        f"cells.{name}"
    )
    runs = []
    for step in (0.1, -0.1):
        moved = torch.zeros(problem.packing.size, 1, dtype=torch.float64)
        moved[place] = step
        there = problem.values(problem.packing.add(z, moved))
        given = {n: there[f"cells.{n}"][..., 0].numpy() / scale[f"cells.{n}"] for n in SHARED_TRUTH}
        run = eqsnn.simulate(model, 4000.0, parameters=given, burn_in=1.0, seed=3)
        runs.append(len(run.spike_times) / 10)
    assert float(matching.slope[0, place]) == pytest.approx((runs[0] - runs[1]) / 0.2, rel=0.1)


def test_a_fit_with_unknown_noise_ends_by_comparing_rates():
    target = recorded(OWN, TRUTH, 6.0)
    *before, last = eqsnn.plan(eqsnn.loads(OWN), target).stages
    assert isinstance(last, eqsnn.Rates) and last.likelihood == before[-1]
