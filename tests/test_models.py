"""The model library: every file can be used as it stands, and does what its source says."""

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import eqsnn
from eqsnn.language.check import check
from eqsnn.language.model import Model
from eqsnn.language.parse import parse
from eqsnn.simulation.parameters import parameters_of

MODELS = Path(__file__).parent.parent / "models"
FILES = sorted(MODELS.glob("*.eqs"))
POPULATIONS = ("wake", "rem", "nrem")
# row: postsynaptic, column: presynaptic, in the order of POPULATIONS
WEIGHTS_AS_CODED = np.array([[0, -0.4, -0.2], [0.1, 0.16, 0], [-0.168, -0.13, 0]])
PRESETS = {  # a, b, c, d of the five classes of Izhikevich 2003, figure 2
    "regular spiking": (0.02, 0.2, -65, 8),
    "intrinsically bursting": (0.02, 0.2, -55, 4),
    "chattering": (0.02, 0.2, -50, 2),
    "fast spiking": (0.1, 0.2, -65, 2),
    "low-threshold spiking": (0.02, 0.25, -65, 2),
}


@cache
def read(name: str) -> Model:
    path = MODELS / f"{name}.eqs"
    return check(parse(path.read_text(encoding="utf-8"), path.name))


def weights(model: Model) -> NDArray:
    """Weights between populations, [post, pre]."""
    known = parameters_of(model)
    rows = [[known[f"{pre}->{post}.w"].given for pre in POPULATIONS] for post in POPULATIONS]
    return np.array(rows, dtype=float)


def per_neuron(*values: float) -> NDArray:
    return np.repeat(values, 4)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_model_file_passes_its_check(path):
    model = read(path.stem)
    assert model.populations


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_model_file_begins_with_a_title_and_names_its_source(path):
    text = path.read_text(encoding="utf-8")
    comments = text[: text.index("\nneuron ")]
    assert re.match(r"# [A-Z].*[.:,]?\n", text)
    assert "# Source: " in comments
    assert re.search(r"doi:10\.\d{4,}/\S+", comments)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_model_file_can_be_fitted_within_finite_bounds(path):
    free = [p for p in parameters_of(read(path.stem)).values() if p.prior is not None]
    assert free
    for parameter in free:
        assert math.isfinite(parameter.low), parameter.name
        assert math.isfinite(parameter.high), parameter.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_known_values_lie_strictly_within_the_bounds_that_learning_would_use(path):
    for parameter in parameters_of(read(path.stem)).values():
        if parameter.prior is not None and isinstance(parameter.given, float):
            assert parameter.low < parameter.given < parameter.high, parameter.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_starts_can_be_drawn_from_every_distribution(path):
    rng = np.random.default_rng(0)
    for parameter in parameters_of(read(path.stem)).values():
        if parameter.prior is not None:
            start = parameter.draw_start(rng)
            assert start.shape == parameter.shape
            assert ((parameter.low <= start) & (start <= parameter.high)).all(), parameter.name


@pytest.mark.parametrize("kind", ["lif", "izhikevich"])
def test_the_sleep_models_carry_the_weights_as_coded_and_their_transpose(kind):
    np.testing.assert_array_equal(weights(read(f"sleep_{kind}")), WEIGHTS_AS_CODED)
    np.testing.assert_array_equal(weights(read(f"sleep_{kind}_intended")), WEIGHTS_AS_CODED.T)


@pytest.mark.parametrize("kind", ["lif", "izhikevich"])
def test_the_two_orientations_differ_in_their_weights_only(kind):
    coded, intended = (read(name) for name in (f"sleep_{kind}", f"sleep_{kind}_intended"))
    assert coded.neurons == intended.neurons
    assert coded.populations == intended.populations
    assert coded.synapses == intended.synapses
    assert list(coded.projections) == list(intended.projections)


def sleep_lif(counts: NDArray, weight: NDArray) -> NDArray:
    """The step of the poster's leaky neurons, by hand; counts (time, neuron), weight [post, pre]."""
    v_rest, tau_m = per_neuron(-37, -80, -37), per_neuron(2.5, 0.6, 1.75)
    tau_g, k = per_neuron(2.5, 1.0, 2.5), per_neuron(6, 2, 3)
    v, g, spikes = np.zeros(12), np.zeros(12), np.zeros(counts.shape)
    for n, x in enumerate(counts):
        current = 70 / (1 + np.exp(-k * (weight @ g + x)))
        v = v + (v_rest - v + current) / tau_m
        spikes[n] = v >= 30
        v = np.where(spikes[n], v_rest, v)
        g = np.where(spikes[n], 1.0, g - g / tau_g)
    return spikes


def sleep_izhikevich(counts: NDArray, weight: NDArray) -> NDArray:
    """The step of the poster's Izhikevich neurons, by hand; counts (time, neuron), weight [post, pre]."""
    a, b = per_neuron(0.15, 0.12, 0.10), per_neuron(0.25, 0.245, 0.25)
    c, d, tau_g = per_neuron(-65, -42, -62), per_neuron(2, 1.3, 2), per_neuron(5, 1, 3)
    v, u, g, spikes = c.astype(float), d.astype(float), np.zeros(12), np.zeros(counts.shape)
    for n, x in enumerate(counts):
        current = weight @ g + x
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + current)
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + current)
        spikes[n] = v >= 30
        u = u + a * (b * v - u)
        v, u = np.where(spikes[n], c, v), np.where(spikes[n], d, u)
        g = np.where(spikes[n], 1.0, g - g / tau_g)
    return spikes


@pytest.mark.parametrize("orientation", ["", "_intended"])
@pytest.mark.parametrize("by_hand", [sleep_lif, sleep_izhikevich], ids=lambda step: step.__name__)
def test_a_sleep_model_fires_spike_for_spike_as_its_step_written_by_hand(
    by_hand: Callable, orientation: str
):
    counts = np.random.default_rng(3).poisson(0.5, (2000, 12)).astype(float)
    coded = np.kron(WEIGHTS_AS_CODED, np.ones((4, 4)))
    expected = by_hand(counts, coded.T if orientation else coded)
    model = eqsnn.load(MODELS / f"{by_hand.__name__}{orientation}.eqs")
    recording = eqsnn.simulate(model, 2.0, inputs={"x": counts})
    assert expected.sum() > 80
    np.testing.assert_array_equal(recording.dense()[0], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rates", "tolerance"),
    [
        ("sleep_lif", (6.3, 15.0, 6.2), 0.08),
        ("sleep_lif_intended", (7.2, 17.9, 6.3), 0.08),
        # bursts make the rate of the REM neurons uncertain even over 96 s
        ("sleep_izhikevich", (3.8, 15.8, 6.5), 0.25),
        ("sleep_izhikevich_intended", (4.3, 6.4, 6.6), 0.25),
    ],
)
def test_a_sleep_model_has_the_published_rates_under_its_own_noise(name, rates, tolerance):
    recording = eqsnn.simulate(eqsnn.load(MODELS / f"{name}.eqs"), 4.0, trials=24, seed=5)
    found = recording.rates().reshape(3, 4).mean(axis=1)
    np.testing.assert_allclose(found, rates, rtol=tolerance)


def test_the_leaky_neuron_fires_at_the_interval_of_the_closed_form():
    drive, tau, v_rest = 25.0, 20.0, -65.0
    values = {"cells.tau_m": tau, "cells.v_rest": v_rest, "cells->cells.w": 0.0}
    model = eqsnn.load(MODELS / "lif.eqs")
    steps = 20_000
    recording = eqsnn.simulate(
        model, steps * 5e-5, dt=5e-5, inputs={"I_ext": np.full(steps, drive)}, parameters=values
    )
    intervals = np.diff(recording.spike_times[recording.unit_ids == 0]) * 1e3
    expected = 2.0 + tau * math.log(drive / (drive - (-50.0 - v_rest)))
    assert len(intervals) > 30
    np.testing.assert_allclose(intervals, expected, atol=2 * 0.05)


def izhikevich_rates(dt_ms: float, duration_ms: float) -> NDArray:
    """Rates (Hz) of the presets at I = 10 by Euler's method, written by hand."""
    a, b, c, d = np.array(list(PRESETS.values())).T
    v, u, n = c.copy(), b * c, np.zeros(len(a))
    for _ in range(round(duration_ms / dt_ms)):
        slope = 0.04 * v**2 + 5 * v + 140 - u + 10, a * (b * v - u)
        v, u = v + dt_ms * slope[0], u + dt_ms * slope[1]
        fired = v >= 30
        n += fired
        v, u = np.where(fired, c, v), np.where(fired, u + d, u)
    return n / duration_ms * 1e3


def test_the_izhikevich_presets_fire_within_five_percent_of_a_ten_times_finer_step():
    a, b, c, d = np.array(list(PRESETS.values())).T
    model = eqsnn.loads((MODELS / "izhikevich.eqs").read_text().replace("[1]", "[5]"))
    recording = eqsnn.simulate(
        model, 2.0, inputs={"I": np.full(20_000, 10.0)}, parameters={"a": a, "b": b, "c": c, "d": d}
    )
    fine = izhikevich_rates(0.01, 2000)
    np.testing.assert_allclose(recording.rates(), fine, rtol=0.05)


def test_the_adaptive_receptor_without_jumps_of_adaptation_is_the_plain_one():
    stimulus = np.random.default_rng(1).standard_normal(4000)
    shared = {"gain": 10.0, "bias": 16.0, "tau_m": 5.0}
    runs = [
        eqsnn.simulate(
            eqsnn.load(MODELS / f"{name}.eqs"),
            2.0,
            inputs={"stimulus": stimulus},
            parameters=values,
        )
        for name, values in (
            ("plain_lif_receptor", shared),
            ("adaptive_lif", shared | {"b": 0.0, "tau_w": 50.0}),
            ("adaptive_lif", shared | {"b": 1.0, "tau_w": 50.0}),
        )
    ]
    plain, without, adapting = (run.spike_times for run in runs)
    np.testing.assert_array_equal(without, plain)
    assert 10 < len(adapting) < len(plain)


def test_the_adex_neuron_adapts_to_a_step_of_current():
    recording = eqsnn.simulate(
        eqsnn.load(MODELS / "adex.eqs"),
        0.5,
        inputs={"I_ext": np.full(5000, 1000.0)},
        parameters={
            "exc->exc.weight": 0.0,
            "exc->inh.weight": 0.0,
            "inh->exc.weight": 0.0,
            "inh->inh.weight": 0.0,
        },
    )
    intervals = np.diff(recording.spike_times[recording.unit_ids == 0])
    assert len(intervals) > 5
    assert intervals[-1] > 1.5 * intervals[0]
    assert (np.diff(intervals) > -1e-3).all()


def sleep_rate_slopes(_: float, y: NDArray) -> list[float]:
    """Right-hand sides of Hericé & Sakata 2019 without noise, by hand; rates in Hz, time in s."""
    f_w, f_n, f_r, c_w, c_n, c_r, h = y
    i_w, i_n, i_r = -1.68 * c_n + c_r, -2.0 * c_w, -4.0 * c_w - 1.3 * c_n + 1.6 * c_r
    return [
        (6.5 / 2 * (1 + math.tanh((i_w + 0.4) / 0.5)) - f_w) / 1500,
        (5 / 2 * (1 + math.tanh((i_n + 1.5 * h) / 0.175)) - f_n) / 600,
        (5 / 2 * (1 + math.tanh((i_r + 0.9) / 0.13)) - f_r) / 60,
        (math.tanh(f_w / 5) - c_w) / 25,
        (math.tanh(f_n / 4) - c_n) / 10,
        (math.tanh(f_r / 2) - c_r) / 10,
        (1 - h) / 34830 if f_w >= 2 else -h / 30600,
    ]


RATE_STATES = ("f_W", "f_N", "f_R", "c_W", "c_N", "c_R", "h")


def test_the_rate_model_without_noise_follows_the_equations_of_its_source():
    steps = 1000
    recording = eqsnn.simulate(
        eqsnn.load(MODELS / "sleep_rate.eqs"),
        float(steps),
        inputs={"noise": np.zeros(steps)},
        record=RATE_STATES,
    )
    start = [6, 0.001, 0.001, 0.9, 0.001, 0.001, 0.5]
    times = np.arange(steps)
    exact = solve_ivp(sleep_rate_slopes, (0, steps), start, t_eval=times, rtol=1e-10, atol=1e-12).y
    found = [recording.traces[f"sleep.{name}"][0, :, 0] for name in RATE_STATES]
    np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-9)


@pytest.mark.slow
def test_the_rate_model_sleeps_in_cycles_of_nrem_and_rem_for_eight_of_twenty_four_hours():
    hours = 48
    recording = eqsnn.simulate(
        eqsnn.load(MODELS / "sleep_rate.eqs"), hours * 3600.0, record=("f_W", "f_R"), seed=0
    )
    f_w, f_r = (recording.traces[f"sleep.{name}"][0, :, 0] for name in ("f_W", "f_R"))
    state = np.where(f_w > 2, "W", np.where(f_r > 2, "R", "N"))
    shares = [np.mean(state == name) for name in "WNR"]
    np.testing.assert_allclose(shares, (0.67, 0.27, 0.06), atol=0.04)
    changes = np.flatnonzero(state[1:] != state[:-1])
    kinds = [f"{state[n]}{state[n + 1]}" for n in changes]
    assert kinds.count("NR") >= 5
    assert 12 <= changes[0] / 3600 <= 15  # hours until the first sleep
