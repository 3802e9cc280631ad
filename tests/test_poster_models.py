"""The poster's later models fire spike for spike as loops written from their source's equations, one step a millisecond.

The loops follow the source: all neurons in one array, a matrix of weights with the signs of presynaptic types, updates in the
order of its code. They know nothing of the model files but the names of parameters.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import eqsnn
from eqsnn.inference.data import prepare
from eqsnn.inference.likelihood import ForcedObjective

MODELS = Path(__file__).parent.parent / "models"
N, STEPS = 12, 3000
TYPE = np.repeat([1.0, -1.0], N // 2)
P = Mapping[str, NDArray]
Loop = Callable[[P, NDArray, NDArray], NDArray]


def lif(p: P, w: NDArray, x: NDArray) -> NDArray:
    v, s, spikes = p["E_L"].copy(), np.zeros(N), np.zeros((STEPS, N))
    for n in range(STEPS):
        current = s @ w + x[n] + 0.15
        after = v + (p["E_L"] - v + p["R"] * current) / p["tau_m"]
        fired = after >= 30
        v = np.where(fired, p["E_L"], after)
        s = np.where(fired, 1, s * (1 - 1 / p["tau_s"]))
        spikes[n] = fired
    return spikes


def lif_asc(p: P, w: NDArray, x: NDArray) -> NDArray:
    v, s, i_a, spikes = p["E_L"].copy(), np.zeros(N), np.zeros(N), np.zeros((STEPS, N))
    for n in range(STEPS):
        current = (i_a + s) / 2 @ w + 1.75 * x[n]
        after = v + (p["G"] * (p["E_L"] - v) + p["R"] * current) / p["tau_m"]
        fired = after >= 30
        v = np.where(fired, p["E_L"], after)
        i_a = (1 - p["f_I"]) * i_a + fired * p["f_I"]
        s = np.where(fired, 1, s * (1 - 1 / p["tau_s"]))
        spikes[n] = fired
    return spikes


def lif_hs_17(p: P, w: NDArray, x: NDArray) -> NDArray:
    v, s, spikes = p["E_L"].copy(), np.zeros(N), np.zeros((STEPS, N))
    for n in range(STEPS):
        dv = (p["E_L"] - v + p["R"] * (s @ w + 1.75 * x[n])) / p["tau_m"]
        after = v + dv
        gate = np.clip(after / 30, 0, 1) * np.clip(dv / (30 - p["E_L"]), 0, 1)
        s = s + (-s + gate) / p["tau_s"]
        fired = after >= 30
        v = np.where(fired, p["E_L"], after)
        spikes[n] = fired
    return spikes


def moving_threshold(
    p: P, w: NDArray, x: NDArray, *, gain: float = 1.0, asc: bool = False, voltage: bool = False, factor: float = 1.1
) -> NDArray:  # fmt: skip
    """LIF_R; with `asc` LIF_R_ASC, with `voltage` besides GLIF."""
    tau_s = p["tau_g"] if "tau_g" in p else p["tau_s"]
    v, s, i_a, spikes = p["E_L"].copy(), np.zeros(N), np.zeros(N), np.zeros((STEPS, N))
    theta_s, theta_v = p["delta_theta_s"].copy(), np.zeros(N)
    r = 1.1 * (p["delta_theta_s"] - p["E_L"])
    if voltage:
        theta_v = p["delta_V"].copy()
        r = factor * (p["delta_theta_s"] / p["b_s"] - p["a_v"] / p["b_v"] * p["E_L"] + p["delta_V"])
    for n in range(STEPS):
        sent = (i_a + s) / 2 if asc else s
        current = sent @ w + gain * x[n]
        after = v + (p["G"] * (p["E_L"] - v) + r * current) / p["tau_m"]
        fired = after >= theta_s + theta_v
        v = np.where(fired, p["E_L"] + p["f_v"] * (v - p["E_L"]) - p["delta_V"], after)
        if asc and not voltage:
            theta_s = np.where(fired, theta_s + p["delta_theta_s"], (1 - p["b_s"]) * theta_s)
        else:
            theta_s = (1 - p["b_s"]) * theta_s + fired * p["delta_theta_s"]
        if voltage:
            moved = p["a_v"] * (v - p["E_L"]) - p["b_v"] * (theta_v - p["theta_inf"])
            theta_v = theta_v + (1 - fired) * moved
        if asc:
            i_a = (1 - p["f_I"]) * i_a + fired * p["f_I"]
        s = np.where(fired, 1, s * (1 - 1 / tau_s))
        spikes[n] = fired
    return spikes


def izhikevich(p: P, w: NDArray, x: NDArray) -> NDArray:
    v, u, s, spikes = p["c"].copy(), p["d"].copy(), np.zeros(N), np.zeros((STEPS, N))
    for n in range(STEPS):
        current = s @ w + x[n]
        after = v + 0.04 * v**2 + 5 * v + 140 - u + current + 0.1
        fired = after >= 30
        u = np.where(fired, p["d"], u + p["a"] * (p["b"] * v - u))
        v = np.where(fired, p["c"], after)
        s = np.where(fired, 1, s * (1 - 1 / p["tau_s"]))
        spikes[n] = fired
    return spikes


def microgif_exact(p: P, w: NDArray, x: NDArray) -> NDArray:
    return microgif(p, w, x, lambda _, above: above >= 0, scaled=True)


def microgif(
    p: P, w: NDArray, x: NDArray, decide: Callable[[int, NDArray], NDArray], *, scaled: bool = False
) -> NDArray:
    """decide: step and distance above the threshold to spikes, before refractoriness."""
    v, theta, since = p["E_L"].copy(), np.full(N, 15.0), np.full(N, 1e4)
    fired, spikes = np.zeros(N), np.zeros((STEPS, N))
    for n in range(STEPS):
        theta = theta + (15 - theta + p["J_theta"] * fired) / p["tau_theta"]
        eps = (1 + np.tanh(since - 1)) * np.exp(-(since - 1) / p["tau_s"]) / p["tau_s"]
        synaptic = eps @ w
        v = v + (p["E_L"] - v + x[n] + (p["tau_m"] * synaptic if scaled else 0)) / p["tau_m"]
        v = v if scaled else v + synaptic
        fired = np.where(since > 2, decide(n, v - theta), 0.0)
        v = np.where(fired, 0, v)
        since = np.where(fired, 0, since + 1)
        spikes[n] = fired
    return spikes


def counts(rng: np.random.Generator) -> NDArray:
    return rng.poisson(0.5, (STEPS, N)).astype(float)


LOOPS: dict[str, Loop] = {
    "poster_lif": lif,
    "poster_lif_asc": lif_asc,
    "poster_lif_hs_17": lif_hs_17,
    "poster_lif_r": moving_threshold,
    "poster_lif_r_soft": lambda p, w, x: moving_threshold(p, w, x, gain=1.75),
    "poster_lif_r_asc": lambda p, w, x: moving_threshold(p, w, x, asc=True),
    "poster_lif_r_asc_soft": lambda p, w, x: moving_threshold(p, w, x, gain=1.75, asc=True),
    "poster_glif": lambda p, w, x: moving_threshold(p, w, x, asc=True, voltage=True, factor=1.0),
    "poster_glif_soft": lambda p, w, x: moving_threshold(p, w, x, gain=1.75, asc=True, voltage=True),
    "poster_izhikevich": izhikevich,
    "poster_microgif_exact": microgif_exact,
}  # fmt: skip


def drawn(name: str, rng: np.random.Generator) -> tuple[dict, P, NDArray]:
    """Return starts of the file: as the model takes them, by local name for all neurons, and as a signed matrix."""
    model = eqsnn.load(MODELS / f"{name}.eqs")
    values, p, w = {}, {}, np.zeros((N, N))
    half = {"exc": slice(0, N // 2), "inh": slice(N // 2, N)}
    for full, parameter in model.parameters().items():
        group, local = full.rsplit(".", 1)
        value = parameter.draw(rng) / parameter.unit.scale
        values[full] = value
        if "->" in group:
            pre, post = group.split("->")
            w[half[pre], half[post]] = value
        else:
            p.setdefault(local, np.zeros(N))[half[group]] = value
    return values, p, w * TYPE[:, None] * (1 - np.eye(N))


@pytest.mark.parametrize("name", LOOPS)
def test_a_poster_model_fires_spike_for_spike_as_its_step_written_by_hand(name):
    rng = np.random.default_rng(4)
    values, p, w = drawn(name, rng)
    x = counts(rng) * (30 if "microgif" in name else 6 if "izhikevich" in name else 1)
    expected = LOOPS[name](p, w, x)
    run = eqsnn.simulate(
        eqsnn.load(MODELS / f"{name}.eqs"), STEPS / 1000, inputs={"x": x}, parameters=values
    )
    assert (expected.sum(0) > 5).all()
    np.testing.assert_array_equal(run.dense()[0], expected)


def test_the_drawn_gif_fires_by_the_probability_of_its_step_written_by_hand():
    rng = np.random.default_rng(4)
    values, p, w = drawn("poster_microgif", rng)
    w, x = (
        w / 10,
        counts(rng) * 20,
    )  # weights of the interval of the starts hold all neurons at their refractory time
    values |= {n: v / 10 for n, v in values.items() if n.endswith(".w")}
    model = eqsnn.load(MODELS / "poster_microgif.eqs")
    run = eqsnn.simulate(
        model, STEPS / 1000, inputs={"x": x}, parameters=values, record=["v", "theta"]
    )
    seen, chance = run.dense()[0], np.zeros((STEPS, N))

    def given(n: int, above: NDArray) -> NDArray:
        chance[n] = np.clip(p["c"] * np.exp(above / p["Delta_u"]), 0, 1)
        return seen[n]

    # the loop follows the model's own spikes: it would drop one that comes while refractory
    np.testing.assert_array_equal(microgif(p, w, x, given), seen)
    free = refractory_free(seen)
    assert seen.sum() > 500
    chance = chance * free
    spread = np.sqrt((chance * (1 - chance)).sum())
    assert abs((seen - chance).sum()) < 4 * spread
    likely = chance > np.quantile(chance[free], 0.8)
    spread = np.sqrt((chance * (1 - chance))[likely].sum())
    assert abs((seen - chance)[likely].sum()) < 4 * spread


def refractory_free(spikes: NDArray) -> NDArray:
    """Whether a neuron may fire: its last spike is more than three steps ago."""
    padded = np.vstack([np.zeros((3, N)), spikes])
    recent = sum(padded[3 - k : 3 - k + STEPS] for k in (1, 2, 3))
    return np.asarray(recent) == 0


def test_the_likelihood_of_drawn_spikes_is_that_of_bernoulli_trials_at_any_width():
    model = eqsnn.load(MODELS / "poster_microgif.eqs")
    rng = np.random.default_rng(4)
    values, p, w = drawn("poster_microgif", rng)
    w, x = w / 40, counts(rng) * 8
    values |= {n: v / 40 for n, v in values.items() if n.endswith(".w")}
    seen = eqsnn.simulate(model, STEPS / 1000, inputs={"x": x}, parameters=values)
    spikes, chance = seen.dense()[0], np.zeros((STEPS, N))

    def given(n: int, above: NDArray) -> NDArray:
        chance[n] = p["c"] * np.exp(above / p["Delta_u"])
        return spikes[n]

    microgif(p, w, x, given)
    free = refractory_free(spikes)
    assert chance[free].max() < 0.95
    each = np.where(spikes > 0, np.log(chance), np.log1p(-np.minimum(chance, 1 - 1e-9)))[free]
    tensors = {
        n: torch.tensor(q.draw(rng)).unsqueeze(-1)
        for n, q in model.with_values(values).parameters().items()
    }
    for width in (0.03, 0.001):
        stage = eqsnn.Forced(widths=(width,), window=STEPS / 1000, warm_up=0.0)
        data = prepare(model.definition, seen, torch.float64, "auto")
        found = ForcedObjective(data, stage, 0, tensors)(tensors, width)
        assert float(found) == pytest.approx(-each.sum() / (STEPS * N), rel=1e-9)


def test_a_network_that_draws_its_spikes_is_fitted_by_its_likelihood_alone():
    model = eqsnn.load(MODELS / "poster_microgif.eqs")
    x = counts(np.random.default_rng(0))
    stages = eqsnn.plan(model, eqsnn.simulate(model, STEPS / 1000, inputs={"x": x})).stages
    assert [stage.name for stage in stages] == ["forced"]
