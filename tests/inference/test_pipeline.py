"""The stages of a fit follow from what the data give; every stage says how it went and why it ended."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eqsnn
from eqsnn.inference import walk
from eqsnn.inference.pipeline import SHORTEST, Plan
from eqsnn.inference.second_order import Ascent
from eqsnn.inference.stages import GradientFree

NOISY = """
neuron lif:
    dv/dt = (v_rest - v + 4*mV*x)/tau_m : mV
    x = poisson(2500*Hz * dt) : 1 (constant over dt)
    threshold: v >= -50*mV
    reset: v = v_rest
    initial: v = v_rest
    method: euler
    v_rest : mV ~ normal(-60*mV, 3*mV) in [-75*mV, -52*mV]
    tau_m : ms ~ lognormal(12*ms, 0.4) in [3*ms, 50*ms]
network:
    dt = 1*ms
    cells : lif[3]
"""
WHITE = NOISY.replace("4*mV*x)/tau_m", "10*mV)/tau_m + 6*mV*xi*tau_m**-0.5").replace(
    "    x = poisson(2500*Hz * dt) : 1 (constant over dt)\n", ""
)
TRUTH = {"v_rest": np.array([-58.0, -60.0, -62.0]), "tau_m": np.array([8.0, 12.0, 16.0])}
QUICK = eqsnn.Forced(
    widths=(0.01,), density="grid", bins=32, optimiser="scoring", iterations=12, window=0.4,
    warm_up=0.15,
)  # fmt: skip


@pytest.fixture(scope="module")
def noisy():
    return eqsnn.simulate(
        eqsnn.loads(NOISY), 6.0, parameters=TRUTH, record=["x"], burn_in=0.5, seed=2
    )


def unseen(recording):
    """The recording without its noise and its truth."""
    return replace(recording, traces={}, inputs={}, parameters={})


def likelihoods(chosen: Plan) -> list[eqsnn.Forced]:
    """The stages of a plan that ends with rates alone."""
    found = [stage for stage in chosen.stages if isinstance(stage, eqsnn.Forced)]
    assert chosen.stages == (*found, eqsnn.Rates(found[-1]))
    return found


def test_noise_that_the_data_give_is_taken_as_known_and_the_network_is_polished_running_freely(
    noisy,
):
    chosen = eqsnn.plan(eqsnn.loads(NOISY), noisy)
    annealed, refined, free = chosen.stages
    assert isinstance(annealed, eqsnn.Forced) and isinstance(refined, eqsnn.Forced)
    assert annealed.density == refined.density == "escape"
    assert annealed.optimiser == "adam" and refined.optimiser == "scoring"
    assert min(refined.widths) < min(annealed.widths)
    assert isinstance(free, eqsnn.Free)


@pytest.mark.parametrize("text", [NOISY, WHITE], ids=["counts", "white noise"])
def test_noise_that_the_data_do_not_give_is_integrated_out_on_a_grid_where_one_state_is_noisy(
    text, noisy
):
    chosen = eqsnn.plan(eqsnn.loads(text), unseen(noisy), started=True)
    assert {stage.density for stage in likelihoods(chosen)} == {"grid"}
    assert "integrated out" in chosen.reasons[0] and "one state" in chosen.reasons[0]


def test_drawn_starts_come_near_by_moments_and_given_ones_stay_where_they_are(noisy):
    drawn = eqsnn.plan(eqsnn.loads(NOISY), unseen(noisy))
    given = eqsnn.plan(eqsnn.loads(NOISY), unseen(noisy), started=True)
    densities = [(stage.density, stage.optimiser) for stage in likelihoods(drawn)]
    assert densities[:2] == [("moments", "adam"), ("moments", "scoring")]
    assert drawn.stages[2:] == given.stages and "moments" in drawn.reasons[0]


def test_a_named_loss_adds_a_free_stage_after_the_likelihood(noisy):
    chosen = eqsnn.plan(eqsnn.loads(NOISY), unseen(noisy), loss="energy(tau=20ms)")
    assert isinstance(chosen.stages[-1], eqsnn.Free) and "energy" in str(chosen.stages[-1].composed)


def test_a_named_density_and_priors_are_obeyed(noisy):
    chosen = eqsnn.plan(eqsnn.loads(NOISY), unseen(noisy), density="moments", prior=True)
    assert all(stage.density == "moments" and stage.prior for stage in likelihoods(chosen))
    with pytest.raises(eqsnn.InputError, match=r"no density `gauss`.*moments"):
        eqsnn.plan(eqsnn.loads(NOISY), noisy, density="gauss")


def test_a_neuron_with_an_upstroke_is_searched_for_without_gradients():
    model = eqsnn.load("models/izhikevich.eqs")
    target = eqsnn.simulate(model, 0.5, inputs={"I": np.full((5000, 1), 10.0)}, seed=0)
    chosen = eqsnn.plan(model, target)
    assert "upstroke" in chosen.reasons[0]
    first, nearer = chosen.stages[0], eqsnn.plan(model, target, started=True).stages[0]
    assert isinstance(first, GradientFree) and isinstance(nearer, GradientFree)
    assert isinstance(first.objective, eqsnn.Free) and first.objective.guided
    assert nearer.step < first.step


def test_an_upstroke_in_data_with_gaps_gets_diffusion_noise_instead_of_a_wide_threshold():
    model = eqsnn.load("models/izhikevich.eqs")
    target = eqsnn.simulate(model, 0.5, inputs={"I": np.full((5000, 1), 10.0)}, seed=0)
    chosen = eqsnn.plan(model, target.hiding(np.array([[-1, 0.1, 0.2, -1]])))
    first = chosen.stages[0]
    assert isinstance(first, eqsnn.Forced) and first.diffusion and first.density == "grid"
    assert "upstroke" in chosen.reasons[0]


def test_izhikevich_neurons_are_recovered_by_the_plan():
    text = Path("models/sleep_izhikevich.eqs").read_text(encoding="utf-8")
    one = (
        text[: text.index("network:")]
        + "network:\n    dt = 1*ms\n    cells : sleep_izhikevich[6]\n"
    )
    truth = {"a": 0.12, "b": 0.248, "c": -58.0, "d": 1.6, "tau_g": 3.0}
    model = eqsnn.loads(one)
    x = np.random.default_rng(0).poisson(0.6, (4, 1500, 6)).astype(float)
    target = eqsnn.simulate(model, 1.5, trials=4, inputs={"x": x}, parameters=truth)
    fit = eqsnn.fit(model.with_values({"tau_g": 3.0}), target, starts=3, seed=0)
    assert float(fit.parameters["cells.a"][0]) == pytest.approx(0.12, rel=0.02)
    assert float(fit.parameters["cells.b"][0]) == pytest.approx(0.248, rel=0.002)
    assert fit.scores["f1"] > 0.9
    assert "no standard errors" in fit.summary() or not any(e is not None for e in fit.std.values())


def test_long_recordings_are_first_looked_at_in_part(noisy):
    long = replace(unseen(noisy), duration=200.0)
    chosen = eqsnn.plan(eqsnn.loads(NOISY), long)
    seconds = [stage.seconds for stage in likelihoods(chosen) if stage.density == "grid"]
    assert seconds[0] >= SHORTEST and seconds == sorted(seconds) and seconds[-1] == float("inf")
    assert chosen.stages[-1].keep == 1


def test_moments_take_the_place_of_grids_on_part_of_the_data():
    long = unseen(eqsnn.simulate(eqsnn.loads(NOISY), 150.0, parameters=TRUTH, seed=2))
    drawn = likelihoods(eqsnn.plan(eqsnn.loads(NOISY), long))
    given = likelihoods(eqsnn.plan(eqsnn.loads(NOISY), long, started=True))
    assert [stage.name for stage in drawn[:3]] == ["descent", "approach", "approach with all data"]
    assert [stage.density for stage in drawn[:3]] == ["moments"] * 3
    assert given[0].name == "coarse" and drawn[1].seconds > given[0].seconds
    assert math.isinf(drawn[2].seconds)
    assert drawn[3:] == [stage for stage in given if math.isinf(stage.seconds)]


def test_steps_on_a_grid_from_the_maximum_by_moments_are_hardly_damped(noisy, monkeypatch):
    begun = []

    class Noted(Ascent):
        def __init__(self, problem, z, damping=None, last=None):
            begun.append((problem.stage.density, damping))
            super().__init__(problem, z, damping, last)

    monkeypatch.setattr(walk, "Ascent", Noted)
    stages = (replace(QUICK, density="moments", iterations=2), replace(QUICK, iterations=1))
    eqsnn.fit(eqsnn.loads(NOISY), unseen(noisy), starts=2, stages=stages)
    (first, none), (second, handed) = begun
    assert (first, second) == ("moments", "grid")
    assert len(none) == 0 and bool((handed == walk.NEAR_DAMPING).all())


def test_moments_see_little_data_once(noisy):
    drawn = likelihoods(eqsnn.plan(eqsnn.loads(NOISY), unseen(noisy)))
    assert [stage.name for stage in drawn].count("approach with all data") == 0


def test_noise_integrated_out_recovers_what_one_draw_of_it_does_not(noisy):
    model = eqsnn.loads(NOISY)
    options = {"starts": 3, "seed": 1, "validation": 0.2}
    marginal = eqsnn.fit(model, unseen(noisy), stages=(QUICK,), **options)
    drawn = eqsnn.fit(model, unseen(noisy), stages=(eqsnn.Forced(iterations=60),), **options)

    def off(fit):
        return np.abs(fit.parameters["cells.v_rest"] - TRUTH["v_rest"]).mean()

    assert off(marginal) < 1.0
    assert off(marginal) < off(drawn) / 2
    assert any("one draw of it" in warning for warning in drawn.warnings)
    assert not any("one draw of it" in warning for warning in marginal.warnings)


def test_every_stage_reports_where_it_began_and_ended_and_why_it_stopped(noisy, tmp_path):
    stages = (replace(QUICK, iterations=3), eqsnn.Free(iterations=2, window=0.5))
    fit = eqsnn.fit(eqsnn.loads(NOISY), unseen(noisy), starts=2, stages=stages)
    first, second = fit.stages
    assert (first.stage, second.stage) == ("forced", "free")
    assert first.last <= first.first and first.iterations <= 3 and first.gradient > 0
    assert (first.kept, second.kept) == (2, 1) and first.stopped
    assert str(first) in fit.summary()
    fit.save(tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text())["stages"][0]["stage"] == "forced"
    assert eqsnn.read_fit(tmp_path).stages == fit.stages


def test_few_spikes_for_many_unknowns_are_warned_of(noisy):
    short = eqsnn.simulate(eqsnn.loads(NOISY), 0.3, parameters=TRUTH, record=["x"], seed=1)
    stages = (eqsnn.Forced(widths=(0.1,), iterations=2, window=0.05, warm_up=0.02),)
    fit = eqsnn.fit(eqsnn.loads(NOISY), short, starts=1, stages=stages, validation=0.0)
    assert any("spikes for 6 unknowns are few" in warning for warning in fit.warnings)


def test_a_fitted_network_without_drive_that_falls_silent_is_warned_of(noisy):
    silent = eqsnn.loads(NOISY.replace("4*mV*x", "0*mV"))
    stages = (eqsnn.Forced(widths=(0.1,), iterations=2),)
    fit = eqsnn.fit(silent, unseen(noisy), starts=1, stages=stages)
    assert any("the fitted network is silent" in warning for warning in fit.warnings)


def test_a_fit_that_had_nothing_left_to_gain_says_so_again_when_it_is_resumed(noisy, tmp_path):
    stage = replace(QUICK, density="moments", iterations=60)
    options = {"starts": 1, "seed": 1, "stages": (stage,), "checkpoint": tmp_path / "fit.npz"}
    first = eqsnn.fit(eqsnn.loads(NOISY), unseen(noisy), **options)
    again = eqsnn.fit(eqsnn.loads(NOISY), unseen(noisy), resume=True, **options)
    assert "promises less" in first.stages[0].stopped
    for name in first.learned:
        np.testing.assert_array_equal(first.parameters[name], again.parameters[name])
    assert first.status.value == again.status.value == "converged"
