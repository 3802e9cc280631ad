"""Searches without gradients: recovery where guessing fails, repeatability, resumption, a missing package."""

import importlib
import importlib.util
import sys

import numpy as np
import pytest
import torch

import eqsnn
from eqsnn.cli import main
from eqsnn.inference.block_search import BlockSearches
from eqsnn.inference.fit import Status
from eqsnn.inference.gradient_free import OPTIMISERS, optimiser_of
from eqsnn.inference.optimisers import adam_init
from eqsnn.inference.scoring import Packing
from eqsnn.inference.stages import Forced, Free, GradientFree
from eqsnn.inference.state import Progress

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau_m : mV
    drive : mV (input)
    threshold: v >= -45*mV
    reset: v = v_rest
    initial: v = v_rest
    v_rest : mV ~ uniform(-75*mV, -50*mV)
    tau_m : ms ~ uniform(4*ms, 40*ms)
network:
    dt = 1*ms
    cell : lif[1]
"""
TRUTH = {"cell.v_rest": -61.0, "cell.tau_m": 13.0}
needs_cma = pytest.mark.skipif(
    importlib.util.find_spec("cma") is None, reason="the package `cma` is not installed"
)
EVERY = [pytest.param("cmaes", marks=needs_cma), "random"]
assert set(OPTIMISERS) == {"cmaes", "random"}


def target():
    noise = np.random.default_rng(0).normal(0, 12, (4, 60))
    drive = 20.0 + np.repeat(noise, 10, axis=1)[..., None]
    return eqsnn.simulate(
        eqsnn.loads(MODEL), 0.6, trials=4, inputs={"drive": drive}, parameters=TRUTH
    )


def error(fit):
    """Largest error of a parameter, relative to the width of its prior."""
    apart = [
        abs(float(np.squeeze(fit.parameters[name])) - value) / width
        for (name, value), width in zip(TRUTH.items(), (25.0, 36.0), strict=True)
    ]
    return max(apart)


def fit(stage, **options):
    options = {"starts": 2, "validation": 0.25} | options
    return eqsnn.fit(eqsnn.loads(MODEL), target(), stages=(stage,), **options)


@pytest.mark.parametrize("objective", [Forced(widths=(0.025,)), Free()], ids=["forced", "free"])
@pytest.mark.parametrize("optimiser", EVERY)
def test_both_parameters_are_recovered_where_a_single_guess_fails(optimiser, objective):
    tolerance = 0.05
    guesses = [error(fit(GradientFree("random", objective, 1, 1), seed=s)) for s in range(5)]
    assert np.median(guesses) > tolerance
    found = fit(GradientFree(optimiser, objective, evaluations=960))
    assert error(found) < tolerance
    assert found.history_objective.shape[1] == 2
    best = np.nanmin(found.history_objective, axis=1)
    assert (np.diff(best) <= 0).all()  # the best so far, so it never rises


@needs_cma
def test_cma_es_comes_closer_than_random_search_with_as_many_evaluations():
    objective = Forced(widths=(0.025,))
    cmaes, random = (fit(GradientFree(name, objective, 480)) for name in ("cmaes", "random"))
    assert np.nanmin(cmaes.history_objective) < np.nanmin(random.history_objective)


@pytest.mark.parametrize("optimiser", EVERY)
def test_the_same_seed_gives_the_same_fit_whatever_numpys_global_generator_does(optimiser):
    stage = GradientFree(optimiser, Free(), 64)
    np.random.seed(1)
    first = fit(stage, seed=1)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    again, other = fit(stage, seed=1), fit(stage, seed=2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    for name in TRUTH:
        np.testing.assert_array_equal(first.parameters[name], again.parameters[name])
    assert any((first.parameters[name] != other.parameters[name]).any() for name in TRUTH)


@pytest.mark.parametrize("optimiser", EVERY)
def test_a_fit_interrupted_keeps_its_best_and_goes_on_as_if_it_had_not_been(optimiser, tmp_path):
    stage = GradientFree(optimiser, Forced(widths=(0.025,)), 320)
    whole = fit(stage)

    def interrupt(_stage, done, _total, _best):
        if done == 8:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.npz"
    cut = fit(stage, checkpoint=checkpoint, report=interrupt)
    assert cut.status is Status.INTERRUPTED
    short = fit(GradientFree(optimiser, Forced(widths=(0.025,)), 8 * 16))
    resumed = fit(stage, checkpoint=checkpoint, resume=True)
    for name in TRUTH:
        np.testing.assert_array_equal(cut.parameters[name], short.parameters[name])
        np.testing.assert_array_equal(resumed.parameters[name], whole.parameters[name])


def test_time_runs_out_after_a_generation():
    found = fit(GradientFree("random", Free(), 10**6), max_time=0.0)
    assert found.status is Status.OUT_OF_TIME


@needs_cma
def test_cma_es_searches_a_single_coordinate_too():
    model = eqsnn.loads(
        MODEL.replace("v_rest : mV ~ uniform(-75*mV, -50*mV)", "v_rest : mV = -61*mV")
    )
    stages = (GradientFree("cmaes", Forced(widths=(0.025,)), 160),)
    found = eqsnn.fit(model, target(), stages=stages, starts=1)
    assert float(np.squeeze(found.parameters["cell.tau_m"])) == pytest.approx(13.0, rel=0.05)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(eqsnn.InputError, match="pip install cma"):
        fit(GradientFree("cmaes", Free(), 16))


def test_an_unknown_optimiser_is_refused_with_those_that_are():
    with pytest.raises(
        eqsnn.InputError, match="there is no optimiser `annealing`; there are cmaes, random"
    ):
        fit(GradientFree("annealing", Free(), 16))


def test_the_command_line_chooses_the_optimiser(tmp_path):
    (tmp_path / "model.eqs").write_text(MODEL)
    target().save(tmp_path / "target.npz")
    out = str(tmp_path / "run")
    files = [str(tmp_path / "model.eqs"), str(tmp_path / "target.npz")]
    options = [
        "--optimiser",
        "random",
        "--evaluations",
        "64",
        "--starts",
        "2",
        "--stages",
        "forced",
    ]
    assert main(["fit", *files, *options, "--out", out, "--quiet"]) in (0, 1)
    assert eqsnn.read_fit(tmp_path / "run").history_objective.shape[1] == 2


@needs_cma
def test_cma_es_stays_within_three_spreads_of_the_priors_or_as_far_out_as_its_start():
    rng = np.random.default_rng(0)
    asked = []
    for start in ([0.0, 0.0], [6.0, 0.0]):
        search = optimiser_of(np.array(start), GradientFree(step=2.0, population=40), rng)
        for _ in range(30):
            found = search.ask()
            search.tell(found, -found.sum(1))
            asked.append(found.max(0))
    inside, outside = np.split(np.array(asked), 2)
    assert inside.max() <= 3.0 + 1e-9 and inside.max() > 2.9
    assert 6.9 < outside[:, 0].max() <= 7.0 + 1e-9 and outside[:, 1].max() <= 3.0 + 1e-9


@needs_cma
@pytest.mark.parametrize(("step", "narrow"), [(0.1, True), (0.7, False)])
def test_a_narrow_search_that_has_converged_begins_anew_where_it_found_most(step, narrow):
    best = np.array([1.5, -0.5])
    search = optimiser_of(np.zeros(2), GradientFree(step=step, population=12), np.random.default_rng(0))  # fmt: skip
    centres = []
    for _ in range(300):
        found = search.ask()
        centres.append(found.mean(0))
        search.tell(found, ((found - best) ** 2).sum(1))
    away = np.linalg.norm(np.array(centres) - best, axis=1)
    converged = int(np.argmax(away < 1e-3))
    assert 0 < converged < 250
    assert (away[converged:] < 0.5).all() == narrow


@needs_cma
def test_a_narrow_search_goes_along_the_valley_that_it_converged_in_all_else_held_at_the_best(
    monkeypatch,
):
    monkeypatch.setattr("eqsnn.inference.gradient_free.VALLEYS", 3)
    search = optimiser_of(np.zeros(4), GradientFree(step=0.1, population=16), np.random.default_rng(0))  # fmt: skip
    best, lowest, moved = np.zeros(4), np.inf, []
    for _ in range(500):
        found = search.ask()
        varied = np.ptp(found, axis=0) > 0
        if not varied.all():
            np.testing.assert_array_equal(found[:, ~varied], np.broadcast_to(best[~varied], found[:, ~varied].shape))  # fmt: skip
        moved.append(tuple(np.flatnonzero(varied)))
        losses = 1e4 * (found[:, 0] - found[:, 2]) ** 2 + (found - 0.5) ** 2 @ np.ones(4)
        search.tell(found, losses)
        if losses.min() < lowest:
            best, lowest = found[losses.argmin()].copy(), losses.min()
    whole = moved.index(next(m for m in moved if len(m) == 2))
    assert all(len(m) == 4 for m in moved[:whole]) and {len(m) for m in moved} == {2, 4}
    pairs = [m for m in moved if len(m) == 2]
    assert pairs.count((0, 2)) > 0.9 * len(pairs)
    assert any(len(m) == 4 for m in moved[whole:])


@pytest.mark.parametrize("keep", [1, 3])
def test_a_search_keeps_as_many_restarts_as_it_is_told_to(keep):
    stages = (GradientFree("random", Free(), 32, keep=keep), GradientFree("random", Free(), 16))
    found = eqsnn.fit(eqsnn.loads(MODEL), target(), stages=stages, starts=4, validation=0.25)
    assert [report.kept for report in found.stages] == [keep, keep]


@needs_cma
def test_the_search_of_a_neuron_ends_once_its_candidates_are_within_so_many_nats():
    stage = GradientFree("cmaes", Forced(widths=(0.025,)), evaluations=1600, settled=1.0)
    found = fit(stage)
    (report,) = found.stages
    assert report.iterations < stage.iterations
    assert report.stopped == "of every neuron, candidates are within 1 nats of the best"
    assert error(found) < 0.05


def searched(offset: float, **options) -> np.ndarray:
    """The best loss after each generation of a search of one block; offset: of the loss in coarse generations."""
    entry = torch.arange(1)
    packing = Packing(("p",), {"p": (1,)}, {"p": entry}, entry, entry)
    start = {"p": torch.zeros(1, 1, dtype=torch.float64)}
    progress = Progress(start, adam_init(start), np.arange(1), start, start)
    stage = GradientFree("cmaes", Forced(), evaluations=8 * 20, population=8, step=0.1, **options)
    searches, best = BlockSearches(progress, stage, 0, packing, torch.ones(1).bool()), []
    while searches.generation < stage.iterations and not searches.ended:
        asked = searches.ask()["p"].numpy()
        losses = (asked - 0.5) ** 2 + (offset if searches.is_coarse else 0.0)
        searches.tell(losses.reshape(1, -1, 1))
        best.append(float(searches.best_loss[0]))
    return np.array(best)


@needs_cma
@pytest.mark.parametrize("settled", [0.0, 0.05])
def test_what_a_coarse_objective_found_is_worth_what_the_other_says(settled):
    best = searched(-1.0, coarse=Forced(seconds=1.0), coarse_generations=8, settled=settled)
    if settled:  # ended by the coarse objective
        assert len(best) < 8
        return
    assert best[:8].max() < -0.5
    assert 0.0 <= best[8:].max() < 0.01
    assert (np.diff(best[8:]) <= 0).all()


def two_blocks(stage: GradientFree, told: list[np.ndarray] | None = None) -> BlockSearches:
    """Searches of two blocks of one coordinate each, which have a third in common."""
    owners = torch.tensor([0, 1, -1])
    places = {"own": torch.arange(2), "both": torch.arange(1)}
    packing = Packing(("own", "both"), {"own": (2,), "both": (1,)}, places, owners, torch.arange(2))
    start = {n: torch.zeros(len(v), 1, dtype=torch.float64) for n, v in places.items()}
    progress = Progress(start, adam_init(start), np.arange(1), start, start)
    if told:
        progress.told, progress.iteration = np.stack(told), len(told)
    return BlockSearches(progress, stage, 0, packing, torch.ones(2).bool())


def worth(asked: dict[str, torch.Tensor]) -> torch.Tensor:
    """The loss of both blocks, least where their own is 0.3 and 0.6 and what they have in common -0.4."""
    return (asked["own"] - torch.tensor([[0.3], [0.6]])) ** 2 + (asked["both"] + 0.4) ** 2


@needs_cma
def test_what_is_common_has_candidates_of_its_own_number():
    stage = GradientFree("cmaes", Forced(), population=12, step=0.1, common=5)
    searches, told = two_blocks(stage), []
    for generation in range(80):
        together = searches.together
        assert together == (generation % 4 == 3)
        asked = searches.ask()
        varied = {n: np.ptp(v.numpy(), axis=-1) > 0 for n, v in asked.items()}
        assert varied["both"].all() == together and varied["own"].all() != together
        assert asked["own"].shape[-1] == (6 if together else 13)  # the incumbent is one of them
        told.append(searches.losses_of(worth(asked)))
        searches.tell(told[-1])
    found = searches.found()
    assert found["own"].flatten().tolist() == pytest.approx([0.3, 0.6], abs=0.01)
    assert found["both"].item() == pytest.approx(-0.4, abs=0.01)
    # a checkpoint holds what was told, from which a search goes on as if it had not been left
    again = two_blocks(stage, told)
    asked, wanted = again.ask(), searches.ask()
    for name, value in wanted.items():
        np.testing.assert_array_equal(asked[name], value)


@needs_cma
def test_what_is_common_is_searched_first_where_another_objective_takes_over():
    stage = GradientFree(
        "cmaes", Forced(), population=12, step=0.1, common=5, coarse=Forced(), coarse_generations=6, settled=0.01
    )  # fmt: skip
    searches, turns = two_blocks(stage), []
    for generation in range(12):
        if searches.together:
            turns.append(generation)
        # as long as the coarse objective guides, what is common makes no difference to the block that has settled
        little = torch.tensor([[1e-4 if searches.is_coarse else 1e3], [1e6]])
        searches.tell(searches.losses_of(little * worth(searches.ask())))
    assert searches.settled[0].tolist() == [True, False, False]
    assert turns == [3, 6, 7, 11]


@needs_cma
def test_what_is_common_is_searched_as_widely_as_at_first_where_another_objective_takes_over():
    stage = GradientFree(
        "cmaes", Forced(), population=12, step=0.1, coarse=Forced(), coarse_generations=60
    )
    searches, told, spreads = two_blocks(stage), [], {}
    for generation in range(62):
        asked = searches.ask()
        if searches.together:
            spreads[generation] = asked["both"].std().item()
        told.append(searches.losses_of(worth(asked)))
        searches.tell(told[-1])
    assert spreads[59] < 0.3 * spreads[3]
    assert spreads[60] == pytest.approx(spreads[3], rel=0.6)
    # around the best so far, and again the same after a checkpoint
    assert searches.found()["both"].item() == pytest.approx(-0.4, abs=0.02)
    np.testing.assert_array_equal(two_blocks(stage, told).ask()["own"], searches.ask()["own"])
