"""The poster's sleep networks: what is unknown, what is recorded, where fits start, and by which stages they go.

The four experiments: A, the network's own input is given, start near the truth; B, the same from far; C, the input is
unknown, only its law (Poisson, 500 Hz) is; D, a day of the sleep rate model drives the network, an hour in a second.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import eqsnn
from eqsnn.inference.pipeline import (
    ESCAPE,
    GUIDED,
    LAST_GENERATIONS,
    REFINE,
    STEP_FAR,
    STEP_LAST,
    WIDE_GENERATIONS,
)

Array = NDArray[np.float64]
Values = dict[str, Array]

ROOT = Path(__file__).parents[2]
KINDS = ("lif", "izhikevich", "lif_intended", "izhikevich_intended")
POPULATIONS = ("wake", "rem", "nrem")
EACH = 4  # neurons of a population
LEARNED = {
    "lif": ("tau_m", "tau_g", "v_rest", "k", "w"),
    "izhikevich": ("a", "b", "c", "d", "tau_g", "w"),
}
# of the authors; their P of 100 mV with v_rest at -60 mV is, at our 70 mV, the resting potential of the same P/(30 - v_rest)
AUTHORS = {
    "lif": {"tau_m": 2.0, "tau_g": 2.0, "v_rest": 30 - 70 / 1.11, "k": 2.0},
    "izhikevich": {"a": 0.1, "b": 0.25, "c": -62.5, "d": 6.0, "tau_g": 4.5},
}
WEIGHTS = {"lif": (-0.2, 0.4), "izhikevich": (-0.1, 0.3)}
NEAR = {"lif": 0.05, "izhikevich": 0.03, "b": 0.005, "w": 0.02}
TRIAL_S, TRIALS, BURN_IN_S = 4.0, 10, 1.0
FAR_STARTS = 8
LOW, HIGH = 0.1, 0.5  # expected input events in a step
DAYS = 2
DAY_S = 24.0
CANDIDATES = 64  # of a generation


def family(kind: str) -> str:
    """Return `lif` or `izhikevich`."""
    return kind.split("_")[0]


def network(kind: str) -> eqsnn.Model:
    """Return the network with the poster's parameters; `kind` is one of KINDS."""
    return eqsnn.load(ROOT / "models" / f"sleep_{kind}.eqs")


def learning(kind: str) -> eqsnn.Model:
    """Return the network with everything unknown that the poster fitted."""
    return network(kind).learning(LEARNED[family(kind)])


def truth_of(kind: str) -> Values:
    """Return the true values of what is unknown."""
    known = eqsnn.simulate(network(kind), 0.01).parameters
    return {n: np.asarray(known[n]) for n, p in learning(kind).parameters().items() if p.learned}


def poisson(rate: Array, trials: int, seed: int) -> Array:
    """Return counts, (trial, time, neuron), of expected counts (time,) or (time, neuron); independent for all."""
    expected = np.broadcast_to(rate.reshape(len(rate), -1), (len(rate), 3 * EACH))
    drawn = np.random.default_rng(seed).poisson(expected, (trials, *expected.shape))
    return drawn.astype(float)


def in_turn(seconds: float) -> Array:
    """Return expected counts, (time, neuron): in each 4 s the three populations take turns at 0.5, the others at 0.1."""
    place = (np.arange(round(seconds * 1000)) * 3 // 4000) % 3
    return np.repeat(np.where(place[:, None] == np.arange(3), HIGH, LOW), EACH, axis=1)


def days(n: int, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """Return `n` days of the rate model, an hour in a second: expected counts (time, neuron), and the state (time,).

    The state is 0 Wake where f_W > 2 Hz, else 1 REM where f_R > 2 Hz, else 2 NREM. Its first day is left out.
    """
    names = [f"sleep.f_{letter}" for letter in "WRN"]
    model = eqsnn.load(ROOT / "models" / "sleep_rate.eqs")
    run = eqsnn.simulate(model, 86400.0 * n, burn_in=86400.0, record=names, seed=seed)
    when = (np.arange(round(n * DAY_S * 1000)) * (86400 / (DAY_S * 1000))).astype(int)
    rates = np.stack([run.traces[name][0, when, 0] for name in names], axis=1)
    state = np.where(rates[:, 0] > 2, 0, np.where(rates[:, 1] > 2, 1, 2))
    expected = LOW + (HIGH - LOW) * rates / np.array([6.5, 5.0, 5.0])
    return np.repeat(expected, EACH, axis=1), state


def near(truth: Values, kind: str, rng: np.random.Generator) -> Values:
    """Return a start of experiment A."""
    found = {}
    for name, value in truth.items():
        local = name.rsplit(".", 1)[1]
        if local == "w":
            found[name] = value + NEAR["w"] * rng.standard_normal(value.shape)
        else:
            share = NEAR.get(local, NEAR[family(kind)])
            found[name] = value * (1 + share * rng.uniform(-1, 1, value.shape))
    return found


def far(truth: Values, kind: str, rng: np.random.Generator) -> list[Values]:
    """Return the starts of experiment B: that of the authors, and the truth times exp(N(0, 0.5)) within its bounds."""
    given, parameters = AUTHORS[family(kind)], learning(kind).parameters()
    starts: list[Values] = [{} for _ in range(FAR_STARTS)]
    for name, value in truth.items():
        local = name.rsplit(".", 1)[1]
        if local == "w":
            low, high = WEIGHTS[family(kind)]
            starts[0][name] = rng.uniform(low, high, value.shape)
        else:
            starts[0][name] = np.full(value.shape, given[local])
        for start in starts[1:]:
            start[name] = _scattered(value, parameters[name], local == "w", rng)
    return starts


def _scattered(value: Array, parameter, weight: bool, rng: np.random.Generator) -> Array:
    scale = parameter.unit.scale
    spread = rng.standard_normal((1000, *value.shape))
    draws = value + 0.2 * spread if weight else value * np.exp(0.5 * spread)
    inside = (draws > parameter.low / scale) & (draws < parameter.high / scale)
    return draws[inside.reshape(len(draws), -1).all(1)][0]


# those of `eqsnn.plan` for 40 s whose input is known, without the free-running one
KNOWN_INPUT = (ESCAPE, replace(REFINE, window=0.13))


def stages(experiment: str, kind: str) -> tuple | None:
    """Return the stages of a fit, None for those of `eqsnn.plan`: it integrates the unknown input out."""
    if experiment == "C":
        return None
    if family(kind) == "lif":
        return KNOWN_INPUT
    return known_upstroke(from_far=experiment == "B")


def known_upstroke(from_far: bool) -> tuple:
    """Return the stages for Izhikevich neurons whose input is known.

    From its initial state a REM neuron fires for a second, which the data do not show: that is the warm-up. An upstroke
    multiplies derivatives a thousandfold, so none are used. Observed spikes drive synapses and reset neurons, so that a
    wide search has eight numbers of one population to find at a time. Decays of traces trade against the
    weights of other populations, so the second search is one over everything.
    """

    def search(generations: int, step: float, together: bool) -> eqsnn.GradientFree:
        return eqsnn.GradientFree(
            "cmaes",
            GUIDED,
            evaluations=generations * CANDIDATES,
            population=CANDIDATES,
            step=step,
            keep=1,
            together=together,
            name="together" if together else "wide",
        )

    near = search(LAST_GENERATIONS, STEP_LAST, True)
    return (search(WIDE_GENERATIONS, STEP_FAR, False), near) if from_far else (near,)
