"""The controls of the poster's experiments (examples/poster/controls.py) do what their page says."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eqsnn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "poster"))
import controls  # pyright: ignore[reportMissingImports]
import descent  # pyright: ignore[reportMissingImports]
import protocol  # pyright: ignore[reportMissingImports]
from descent import Descent, descend  # pyright: ignore[reportMissingImports]

TRUTH = protocol.truth_of("lif")
NEAR = protocol.near(TRUTH, "lif", np.random.default_rng(0))


@pytest.fixture(scope="module")
def target():
    return eqsnn.simulate(protocol.network("lif"), 0.5, trials=2, burn_in=0.2, record=["x"], seed=0)


def one_step(target, **changes):
    how = Descent(eqsnn.Free(warm_up=0.1, window=0.4), steps=1)
    return descend("lif", target, [NEAR], replace(how, **changes))


def test_a_step_in_the_units_of_the_file_is_as_long_for_millivolts_as_for_milliseconds_and_weights(
    target,
):
    found = one_step(target, scaled=False, learning_rate=0.001)
    for name, value in found.items():
        assert abs(value - NEAR[name]).item() == pytest.approx(0.001, rel=1e-3), name


def test_a_scaled_step_is_long_in_proportion_to_the_spread_of_a_parameter(target):
    found = one_step(target, learning_rate=0.001)
    moved = {name: abs(value - NEAR[name]).item() for name, value in found.items()}
    # normal(-50 mV, 15 mV) and normal(0, 0.2); bounds bend the map by less than a half
    assert moved["wake.v_rest"] == pytest.approx(0.015, rel=0.5)
    assert moved["nrem->rem.w"] == pytest.approx(0.0002, rel=0.5)


@pytest.mark.parametrize("scaled", [True, False])
def test_values_that_leave_their_bounds_are_put_back_onto_them(target, scaled):
    found = one_step(target, scaled=scaled, learning_rate=1e4)
    for name, p in protocol.learning("lif").parameters().items():
        if p.learned:
            ends = np.array([p.low, p.high]) / p.unit.scale
            assert np.abs(found[name].item() - ends).min() < 1e-4 * np.ptp(ends), name


def test_of_many_starts_the_one_with_the_least_loss_is_returned(target):
    silent = NEAR | {f"{p}.v_rest": np.array([-90.0]) for p in protocol.POPULATIONS}
    how = Descent(eqsnn.Free(warm_up=0.1, window=0.4), steps=1, learning_rate=1e-6)
    for starts in ([silent, TRUTH], [TRUTH, silent]):
        found = descend("lif", target, starts, how)
        assert found["rem.v_rest"] == pytest.approx(TRUTH["rem.v_rest"], abs=1e-3)


def test_the_plain_distance_loses_spikes_between_independent_noises_and_the_unbiased_one_does_not():
    target = eqsnn.simulate(protocol.network("lif"), 12.0, burn_in=1.0, seed=0)
    lost = {}
    for loss in (controls.PLAIN, controls.UNBIASED):
        how = replace(controls.gradient_of(loss), steps=25)
        values = descend("lif", target, [TRUTH], how)
        rates = {"target": controls.rates("lif", None, 0), loss: controls.rates("lif", values, 0)}
        lost[loss] = controls.fall(loss)({"rates": rates})
    assert lost[controls.PLAIN] > 0.25
    assert abs(lost[controls.UNBIASED]) < 0.1


def test_a_control_that_does_not_fail_is_called_missed_on_the_page_with_every_seeds_number():
    bad = {"f1": [0.1, 0.2, 0.3], "van_rossum": 0.9, "rate_error": 0.7}
    good = bad | {"f1": [0.8, 0.9, 0.97]}
    failing, surviving = ({"fitted": each, "seconds": 1.0} for each in (bad, good))

    def f1_row(**seeds):
        lines = controls.section("B", "lif", dict(enumerate(seeds.values())))
        return next(line for line in lines if line.startswith("| F1"))

    assert f1_row(a=failing).endswith("| at most 0.75 | 0.2 | met |")
    assert f1_row(a=failing, b=surviving).endswith("| at most 0.75 | 0.2, 0.89 | **missed** |")


def test_a_control_is_measured_again_only_if_its_settings_changed(monkeypatch, tmp_path):
    monkeypatch.setattr(controls, "OUT", tmp_path)
    calls = []

    def measure():
        calls.append(1)
        return {"fitted": len(calls)}

    first, again, changed = (
        controls.cached("B", "lif", 0, settings, measure)["fitted"]
        for settings in ("one", "one", "other")
    )
    assert (first, again, changed) == (1, 1, 2)


def test_a_search_from_the_truth_follows_the_plain_distance_into_silence():
    target = eqsnn.simulate(protocol.network("lif"), 6.0, burn_in=1.0, seed=0)
    how = replace(controls.search_of(controls.PLAIN), generations=25, step=0.5)
    values = descent.search("lif", target, TRUTH, how)
    assert set(values) == set(TRUTH)
    assert sum(controls.rates("lif", values, 0)) < 0.5 * sum(controls.rates("lif", None, 0))
