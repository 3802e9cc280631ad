"""Second-order steps never make a fit worse, and learn curvature from how gradients change along them."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.inference.curvature import (
    LEAST_SHARE,
    LastStep,
    by_group,
    curvature_of,
    no_step,
    told_by,
    unflatten,
)
from eqsnn.inference.problem import problem_of
from eqsnn.inference.scoring import CUT, OUTLYING, Packing, Scores, without_outliers
from eqsnn.inference.second_order import OVERHEAD, Ascent

NETWORK = """
neuron lif:
    dv/dt = (v_rest - v + I_syn + 30*mV*x)/tau_m : mV
    dg/dt = -g/tau_g : 1
    x = poisson(250*Hz * dt) : 1 (constant over dt)
    I_syn : mV
    threshold: v >= -50*mV
    reset:
        v = v_rest
        g += 1
    initial: v = v_rest
    method: euler
    v_rest : mV ~ uniform(-70*mV, -52*mV)
    tau_m : ms ~ uniform(4*ms, 30*ms)
    tau_g : ms ~ uniform(2*ms, 10*ms)
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-20*mV, 20*mV]
network:
    dt = 1*ms
    cells : lif[3]
    cells -> cells : exponential if i != j
"""
TRUTH = {
    "cells.v_rest": np.array([-57.0, -58.0, -56.0]),
    "cells.tau_m": np.array([10.0, 12.0, 9.0]),
    "cells.tau_g": np.array([4.0, 5.0, 6.0]),
    "cells->cells.w": np.array([[0.0, 4.0, 2.0], [5.0, 0.0, 3.0], [-6.0, -4.0, 0.0]]),
}


def packing_of(owners: list[int]) -> Packing:
    """A packing of one name whose entries have these owners."""
    n = len(owners)
    blocks = torch.arange(max(owners) + 1)
    return Packing(("p",), {"p": (n,)}, {"p": torch.arange(n)}, torch.tensor(owners), blocks)


def scores(by_window: torch.Tensor, packing: Packing) -> Scores:
    """Scores without a prior; the first group alone adds to those of what is common."""
    restarts, n, windows = by_window.shape
    nothing = torch.zeros(restarts, n, dtype=by_window.dtype)
    common = by_window[:, packing.common_places]
    shared = torch.zeros(
        restarts, len(packing.own_of_groups), common.shape[1], windows, dtype=by_window.dtype
    )
    shared[:, 0] = common
    likelihood = torch.zeros(restarts, packing.n_blocks + 1)
    return Scores(likelihood, by_window, shared, nothing, nothing)


@pytest.fixture(scope="module", params=["by_moments", "on_grid"])
def problem(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def on_grid():
    return problem_with("grid")


@pytest.fixture(scope="module")
def by_moments():
    return problem_with("moments")


def problem_with(density):
    model = eqsnn.loads(NETWORK)
    target = eqsnn.simulate(model, 4.0, parameters=TRUTH, burn_in=0.5, seed=1)
    stage = eqsnn.Forced(
        widths=(0.001,), density=density, bins=32, optimiser="scoring", window=0.2, warm_up=0.1
    )
    units = {n: p.unit.scale for n, p in model.parameters().items()}
    truth = {n: v * units[n] for n, v in TRUTH.items()}
    found = problem_of(
        model.definition, model.parameters(), replace(target, parameters={}), stage, truth
    )
    return found, truth


def start_of(problem, truth, restarts=2, far=0.6, seed=0):
    """Coordinates off the truth by so many of the priors' spreads."""
    noise = torch.Generator().manual_seed(seed)
    return {
        n: (z + far * torch.randn(*z.shape[:-1], restarts, dtype=z.dtype, generator=noise))
        for n, z in problem.at(truth).items()
    }


def climb(ascent):
    ascent.step()
    ascent.catch_up()


def parts_of(packing: Packing, vectors: torch.Tensor) -> list[torch.Tensor]:
    """The coordinates of each group, then what is common, of (restart, coordinate)."""
    common = packing.common_places
    return [
        torch.cat([vectors[:, places], vectors[:, common]], 1) for places in packing.own_of_groups
    ]


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_a_bent_curvature_explains_the_last_change_of_the_gradient_and_stays_positive_definite(
    seed,
):
    noise = torch.Generator().manual_seed(seed)
    packing = packing_of([0, 0, 0, 1, 1, -1])
    here = scores(torch.randn(1, 6, 40, dtype=torch.float64, generator=noise), packing)
    start = curvature_of(here, packing)
    moved = torch.randn(1, 6, dtype=torch.float64, generator=noise)
    expected = [
        (matrix @ part[:, :, None]).squeeze(2)
        for matrix, part in zip(start.groups.values(), parts_of(packing, moved), strict=True)
    ]
    shares = 0.1 + 1.4 * torch.rand(2, generator=noise)
    seen = [share * change for share, change in zip(shares, expected, strict=True)]
    bent = curvature_of(here, packing, LastStep(by_group(moved, packing), torch.cat(seen, 1)))
    believed = shares.clamp(min=LEAST_SHARE)  # a curvature that fell further is not believed
    for matrix, part, change, share in zip(
        bent.groups.values(), parts_of(packing, moved), expected, believed, strict=True
    ):
        torch.testing.assert_close((matrix @ part[:, :, None]).squeeze(2), share * change)
        torch.testing.assert_close(matrix, matrix.transpose(1, 2))
        assert float(torch.linalg.eigvalsh(matrix)[0, 0]) > -1e-9


def test_a_step_that_made_a_group_worse_can_only_tell_of_more_curvature():
    packing = packing_of([0, 0, 1])
    start = curvature_of(scores(torch.randn(1, 3, 30, dtype=torch.float64), packing), packing)
    moved = torch.ones(1, 3, dtype=torch.float64)
    expected = torch.cat(
        [
            (matrix @ part[:, :, None]).squeeze(2)
            for matrix, part in zip(start.groups.values(), parts_of(packing, moved), strict=True)
        ],
        1,
    )
    worse = torch.zeros(1, 2, dtype=torch.bool)
    assert not told_by(start, moved, 0.5 * expected, worse).changed.any()
    for factor, better in ((2, worse), (0.5, ~worse)):
        told = told_by(start, moved, factor * expected, better)
        torch.testing.assert_close(told.changed, factor * expected)


def test_what_is_saved_of_the_last_step_gives_it_back():
    packing = packing_of([0, 1, 0, 1, 1, -1])
    here = scores(torch.randn(3, 6, 30, dtype=torch.float64), packing)
    step = LastStep(*(torch.randn_like(part) for part in no_step(here, packing)))
    again = unflatten(step.flat)
    assert all(torch.equal(a, b) for a, b in zip(step, again, strict=True))


def test_a_joint_step_of_a_quadratic_with_independent_scores_is_that_of_newton():
    packing = packing_of([0, 0, 1, -1])
    noise = torch.Generator().manual_seed(3)
    own = 0.05 * torch.randn(2, 3, 4000, dtype=torch.float64, generator=noise)
    by_window = torch.stack([own[0, 0], own[0, 1] - own[0, 0], own[1, 0], own[0, 2] + own[1, 2]])[None]  # fmt: skip
    shared = torch.stack([own[0, 2] + own[0, 0], own[1, 2] - 2 * own[1, 0]])
    by_window[0, 3] = shared.sum(0)
    nothing = torch.zeros(1, 4, dtype=torch.float64)
    here = Scores(torch.zeros(1, 3), by_window, shared[None, :, None], nothing, nothing)
    matrix = 1e-3 * torch.eye(4, dtype=torch.float64)
    for places, common in zip(packing.own_of_groups, shared, strict=True):
        part = torch.cat([by_window[0, places], common[None]])
        part = part - part.mean(1, keepdim=True)
        each = torch.cat([places, torch.tensor([3])])
        matrix[each[:, None], each] += part @ part.T
    expected = torch.linalg.solve(matrix, here.gradient[0])
    step = curvature_of(here, packing).joint_step(here.gradient, torch.zeros(1, 3))
    torch.testing.assert_close(step[0], expected, rtol=1e-6, atol=1e-9)


def test_what_groups_of_neurons_add_to_common_scores_is_their_gradient(by_moments):
    problem, truth = by_moments
    z = start_of(problem, truth, restarts=2)
    found, packing = problem.scores(z), problem.packing
    common = packing.common_places
    torch.testing.assert_close(found.shared.sum(1), found.by_window[:, common])
    step = 1e-4
    for k, place in enumerate(common.tolist()):
        one = torch.zeros(packing.size, 2, dtype=torch.float64)
        one[place] = step
        above, below = (problem.posterior(packing.add(z, sign * one)) for sign in (1, -1))
        slopes = ((above - below) / (2 * step))[:, :-1]
        torch.testing.assert_close(found.shared[:, :, k].sum(2), slopes, rtol=1e-3, atol=1e-3)


def test_no_step_makes_any_restart_worse_and_together_they_come_near_the_truth(problem):
    problem, truth = problem
    ascent = Ascent(problem, start_of(problem, truth))
    reached = [ascent.posterior.sum(1)]
    for _ in range(30):
        climb(ascent)
        reached.append(ascent.posterior.sum(1))
        torch.testing.assert_close(ascent.posterior, problem.posterior(ascent.z))
        if ascent.ended:
            break
    assert all(bool((b >= a - 1e-9).all()) for a, b in pairwise(reached))
    at_truth = float(problem.posterior(problem.at(truth)).sum())
    assert float(reached[-1].max()) > at_truth > float(reached[0].max())


def test_steps_go_on_from_what_was_saved_as_if_they_had_not_been_interrupted(problem):
    problem, truth = problem
    z = start_of(problem, truth, restarts=1)
    whole = Ascent(problem, z)
    for _ in range(5):
        climb(whole)
    first = Ascent(problem, z)
    for _ in range(2):
        climb(first)
    second = Ascent(problem, first.z, first.damping, first.last.flat)
    for _ in range(2, 5):
        climb(second)
    for name in z:
        torch.testing.assert_close(whole.z[name], second.z[name])


def test_scores_of_some_neurons_are_those_of_all_and_the_others_have_none(on_grid):
    problem, truth = on_grid
    z, packing = start_of(problem, truth, restarts=2, far=0.2), problem.packing
    needed = torch.tensor([True, False, True])
    some, everybody = problem.scores(z, needed), problem.scores(z)
    for b, places in enumerate(packing.own_places):
        for found, of in zip(some, everybody, strict=True):
            part = slice(b, b + 1) if found.shape[1] != packing.size else places
            expected = of[:, part] if needed[b] or found is some.prior else 0 * of[:, part]
            torch.testing.assert_close(found[:, part], expected)


class Recorded:
    """A problem that remembers of which neurons scores were asked for, None for all."""

    def __init__(self, problem, spares=True):
        self.problem, self.spares, self.asked = problem, spares, []

    def __getattr__(self, name):
        return getattr(self.problem, name)

    def scores(self, z, needed=None):
        self.asked.append(None if needed is None else needed.tolist())
        return self.problem.scores(z, needed)


def test_a_neuron_far_behind_takes_more_steps_than_the_others_and_nothing_is_asked_of_them(on_grid):
    problem, truth = on_grid
    start = {n: v.clone() for n, v in problem.at(truth).items()}
    start["cells->cells.w"][:, 1] -= 1.5
    start["cells.v_rest"][1] -= 1.0
    found = []
    for spares in (True, False):
        recorded = Recorded(problem, spares)
        ascent = Ascent(recorded, start)  # type: ignore[arg-type]
        climb(ascent)
        found.append((float(ascent.posterior[0, 1]), [each for each in recorded.asked if each]))
        torch.testing.assert_close(ascent.posterior, problem.posterior(ascent.z))
        torch.testing.assert_close(ascent.here.gradient, problem.scores(ascent.z).gradient)
    (further, some), (less, nobody) = found
    assert not nobody
    assert some
    assert all(each == [False, True, False] for each in some)
    assert further > less + 1


def test_nobody_catches_up_when_there_is_no_time_for_it(on_grid):
    problem, truth = on_grid
    start = {n: v.clone() for n, v in problem.at(truth).items()}
    start["cells->cells.w"][:, 1] -= 1.5
    ascent = Ascent(problem, start)
    before = {n: v.clone() for n, v in ascent.z.items()}
    shares = []
    ascent.catch_up(lambda share: bool(shares.append(share)))
    assert shares == [pytest.approx(OVERHEAD + 1 / 3)]
    assert all(torch.equal(ascent.z[n], v) for n, v in before.items())


def test_crossing_puts_the_best_neurons_of_all_restarts_together(problem):
    problem, truth = problem
    near, off = problem.at(truth), start_of(problem, truth, restarts=2, far=0.3)
    first, second = {n: v.clone() for n, v in near.items()}, {n: v.clone() for n, v in near.items()}
    first["cells.v_rest"][0] = off["cells.v_rest"][0, :1] + 1
    second["cells.v_rest"][1] = off["cells.v_rest"][1, 1:] + 1
    ascent = Ascent(problem, {n: torch.cat([first[n], second[n]], -1) for n in near})
    assert ascent.cross()
    best = float(ascent.posterior.sum(1).max())
    assert best == pytest.approx(float(problem.posterior(near).sum()))


def test_a_step_that_is_too_long_is_shortened_for_its_neuron_and_keeps_its_direction():
    packing = packing_of([0, 0, 1, -1])
    noise = torch.Generator().manual_seed(5)
    here = scores(torch.randn(1, 4, 50, dtype=torch.float64, generator=noise), packing)
    curvature, damping = curvature_of(here, packing), torch.zeros(1, 3)
    gradient = torch.tensor([[0.3, -0.2, 0.1, 0.0]], dtype=torch.float64)
    short = curvature.own_step(gradient, damping)
    assert float(short.abs().max()) < 1
    strong = torch.tensor([[500.0, 500.0, 1.0, 1.0]]) * gradient
    long = curvature.own_step(strong, damping)
    assert float(long[0, :2].abs().max()) == pytest.approx(1.0)
    torch.testing.assert_close(long[0, 0] / long[0, 1], short[0, 0] / short[0, 1])
    torch.testing.assert_close(long[0, 2], short[0, 2])


class OverACliff:
    """Two neurons with a coordinate each and a common one; the second loses 1000 nats where it moves by itself."""

    class objective:
        scale = 1.0

    class stage:
        prior = False

    spares = False

    def __init__(self):
        self.packing = packing_of([0, 1, -1])
        self.noise = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))  # fmt: skip
        self.noise -= self.noise.mean(1, keepdim=True)
        self.tried = []

    def likelihood(self, x):
        first = -((x[0] - 0.5 - 0.1 * x[2]) ** 2) - (x[2] - 0.4) ** 2
        away = (x[1] - 0.2 * x[2]).abs()
        second = x[1] - torch.where(away > 0.05, 1000.0, 0.0) - (x[2] - 0.4) ** 2
        return torch.stack([first, second, torch.zeros_like(first)])

    def scores(self, z, needed=None):
        x = z["p"].detach().requires_grad_()
        found = self.likelihood(x)
        each = [torch.autograd.grad(part.sum(), x, retain_graph=True)[0] for part in found[:2]]
        self.tried.append(x.detach().clone())
        spread = self.noise * torch.tensor([[1.5], [1.5], [1.5]]) / 7.0
        by_window = (torch.stack(each).sum(0) / 50)[:, :, None] + spread[:, None, :]
        shared = torch.stack([g[2] / 50 + spread[2] for g in each])
        return Scores(
            found.detach().T, by_window.permute(1, 0, 2), shared[None, :, None], torch.zeros(1, 3), torch.zeros(1, 3),
        )  # fmt: skip

    def with_prior(self, likelihood, z):
        return likelihood


def test_a_neuron_that_falls_does_not_stop_the_others_and_what_is_common():
    problem = OverACliff()
    start = {"p": torch.zeros(3, 1, dtype=torch.float64)}
    ascent = Ascent(problem, start, torch.full((1, 3), 1e-3))  # type: ignore[arg-type]
    before = float(ascent.posterior.sum())
    ascent.step()
    # here, all together, and once more without a step of the second neuron's own
    assert len(problem.tried) == 3
    assert float(problem.likelihood(problem.tried[1]).sum()) < before - 900
    assert float(ascent.posterior.sum()) > before
    moved = ascent.z["p"][:, 0]
    assert float(moved[0]) > 0.1
    assert float(moved[2]) > 0.05
    own, others = ascent.damping[0, 1], ascent.damping[0, 0]
    assert float(own) > 1e-3 > float(others)


def test_where_the_others_have_nothing_to_gain_a_neuron_that_falls_tries_again_alone():
    problem = OverACliff()
    start = {"p": torch.tensor([[0.62], [0.08], [0.4]], dtype=torch.float64)}
    ascent = Ascent(problem, start, torch.full((1, 3), 1e-3))  # type: ignore[arg-type]
    before = float(ascent.posterior.sum())
    ascent.step()
    # here, all together, and the second neuron alone
    assert len(problem.tried) == 3
    assert float(problem.likelihood(problem.tried[1]).sum()) < before - 900
    moved = problem.tried[2] - start["p"]
    assert float(moved[1]) != 0
    assert moved[[0, 2]].tolist() == [[0], [0]]
    assert float(ascent.posterior.sum()) >= before


class FallingOnce(Recorded):
    """A problem in which the third neuron falls off a cliff the first time that a step is tried."""

    def scores(self, z, needed=None):
        found = super().scores(z, needed)
        fell = torch.zeros_like(found.likelihood)
        fell[:, 2] = 1000.0 if len(self.asked) == 2 else 0.0
        return found._replace(likelihood=found.likelihood - fell)


@pytest.mark.parametrize("groups", [2, 3])
def test_scores_stay_those_of_where_it_stands_when_one_neuron_moves_alone(on_grid, groups):
    problem, truth = on_grid
    problem = replace(problem, packing=replace(problem.packing, most_groups=groups))
    start = problem.at(truth)
    start["cells.v_rest"][2] += 0.3
    falling = FallingOnce(problem)
    # all but the third neuron move so little that they gain next to nothing
    hardly = torch.tensor([[1e4, 1e4, 1e-3, 1e6]])
    ascent = Ascent(falling, start, hardly)  # type: ignore[arg-type]
    ascent.step()
    # here, all together, and the third neuron alone
    assert falling.asked[:3] == [None, None, [False, False, True]]
    assert not all(torch.equal(ascent.z[n], start[n]) for n in start)
    expected = problem.scores(ascent.z)
    torch.testing.assert_close(ascent.here.gradient, expected.gradient)
    torch.testing.assert_close(ascent.here.shared, expected.shared)


def heavy_scores(jump: float, windows: int = 200) -> tuple[Scores, Packing]:
    """Scores of two blocks of two coordinates each and a common one; in window 7 the first block's jump."""
    packing = packing_of([0, 0, 1, 1, -1])
    drawn = torch.randn(
        1, 6, windows, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    drawn[:, 4:] *= 50.0  # of what is common, in another unit
    drawn[:, (0, 1, 4), 7] = jump * torch.tensor([1.0, -2.0, 150.0], dtype=torch.float64)
    by_window = torch.cat([drawn[:, :4], drawn[:, 4:].sum(1, keepdim=True)], 1)
    shared = drawn[:, 4:, None]
    zero = torch.zeros(1, 5, dtype=torch.float64)
    return Scores(torch.zeros(1, 3), by_window, shared, zero, zero), packing


def test_scores_without_outliers_stay_as_they_are():
    scores, packing = heavy_scores(1.0)
    kept = without_outliers(scores, packing)
    for before, after in zip(scores, kept, strict=True):
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("jump", [20.0, 1e6, float("inf")])
def test_a_window_on_a_cliff_counts_no_more_than_an_unusual_one_and_keeps_its_direction(jump):
    scores, packing = heavy_scores(jump)
    kept = without_outliers(scores, packing)
    others = torch.arange(200) != 7
    torch.testing.assert_close(kept.by_window[..., others], scores.by_window[..., others])
    # the second block's part of what is common has nothing to do with it
    torch.testing.assert_close(kept.shared[:, 1], scores.shared[:, 1])
    torch.testing.assert_close(kept.by_window[:, 2:4], scores.by_window[:, 2:4])
    torch.testing.assert_close(kept.by_window[:, 4], kept.shared.sum(1)[:, 0])
    own = torch.cat([kept.by_window[0, :2, 7], kept.shared[0, 0, :, 7]])
    assert (own / torch.tensor([1.0, 1.0, 50.0])).abs().max() < 1.3 * CUT < OUTLYING
    if jump < 1e7:
        assert own.tolist() == pytest.approx(
            (own[0] * torch.tensor([1.0, -2.0, 150.0])).tolist(), rel=0.4
        )


def test_few_windows_do_not_say_what_is_an_outlier():
    scores, packing = heavy_scores(1e6, windows=12)
    assert without_outliers(scores, packing) is scores


def test_scores_of_bursting_neurons_have_no_outliers():
    text = Path("models/sleep_izhikevich.eqs").read_text(encoding="utf-8")
    network = "network:\n    dt = 1*ms\n    rem : sleep_izhikevich[1] with s = 0\n"
    model = eqsnn.loads(text[: text.index("synapse linear")] + network)
    bursting = {"rem.a": 0.12, "rem.b": 0.245, "rem.c": -42.0, "rem.d": 1.3, "rem.tau_g": 1.0}
    recording = eqsnn.simulate(model, 40.0, parameters=bursting, seed=0)
    parameters = model.parameters()
    moved = dict(recording.parameters) | {"rem.c": np.array([-42.3])}
    best = {n: v * parameters[n].unit.scale for n, v in moved.items()}
    stage = eqsnn.Forced(widths=(0.001,), density="grid", window=1.0, warm_up=1.0, bins=64)
    problem = problem_of(model.definition, parameters, recording, stage, best)
    z = problem.at(best)
    raw, kept = problem.raw_scores(z), problem.scores(z)
    for before, after in zip(without_outliers(raw, problem.packing), kept, strict=True):
        torch.testing.assert_close(after, before)
    c = list(problem.packing.names).index("rem.c")
    assert kept.by_window[0, c].std() < 0.1 * raw.by_window[0, c].std()
