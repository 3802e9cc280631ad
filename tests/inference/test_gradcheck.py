"""gradcheck says of each gradient what it is, on models where the answer is known."""

import json

import numpy as np
import pytest

import eqsnn
from eqsnn.cli import main
from eqsnn.errors import InputError
from eqsnn.inference.gradcheck import ALL, gradcheck

TEXT = """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau_m : mV
    drive : mV (input)
    threshold: v >= -50*mV
    reset: v = -65*mV
    initial: v = -65*mV
    v_rest : mV ~ normal(-62*mV, 3*mV) in [-75*mV, -55*mV]
    tau_m : ms ~ lognormal(10*ms, 0.3) in [3*ms, 40*ms]
network:
    dt = 0.5*ms
    cells : lif[4]
"""
MODEL = eqsnn.loads(TEXT)


@pytest.fixture(scope="module")
def target():
    rng = np.random.default_rng(0)
    drive = 20 + 4 * np.repeat(rng.standard_normal((1, 30, 4)), 20, axis=1)
    truth = {"v_rest": -62.0, "tau_m": 10.0}
    return eqsnn.simulate(MODEL, 0.3, inputs={"drive": drive}, parameters=truth)


def checked(target, at, **more):
    found = gradcheck(MODEL.definition, MODEL.parameters(), target, at=at, **more)
    return found, {(row.mode, row.group): row for row in found.rows}


def test_exact_and_escape_are_the_derivatives_of_what_they_claim_and_surrogates_claim_nothing(
    target,
):
    found, rows = checked(target, {"cells.v_rest": -61.0, "cells.tau_m": 9.7})
    assert rows["exact", ALL].own_error < 1e-5
    # the width of the likelihood's threshold is relative to a distance that is not differentiated
    assert rows["escape 0.25", "cells.tau_m"].own_error < 1e-5
    assert np.isnan(rows["surrogate 0.1", ALL].own_error)
    assert found.target_spikes == len(target.spike_times)
    assert sum(found.elements.values()) == 8


def test_near_the_truth_the_exact_gradient_predicts_the_change_of_the_loss(target):
    found, rows = checked(target, {"cells.v_rest": -61.9, "cells.tau_m": 10.05}, step=1e-3)
    assert rows["exact", ALL].cosine > 0.95
    assert rows["exact", ALL].error < 0.3
    assert any("polish" in line for line in found.verdict)


def test_a_silent_model_is_told_to_start_with_the_likelihood(target):
    found, rows = checked(target, {"cells.v_rest": -74.0, "cells.tau_m": 39.0})
    assert found.spikes == 0
    assert any("silent" in line for line in found.verdict)
    assert any("escape likelihood first" in line for line in found.verdict)
    assert np.isfinite(rows["escape 0.25", "cells.tau_m"].own_error)


def test_grazing_spikes_are_counted():
    """With a drive that ends just above threshold every spike crosses it slowly."""
    counts = []
    for excess in (0.02, 12.0):
        drive = np.full((1, 600, 4), 12 + excess)
        recording = eqsnn.simulate(
            MODEL, 0.3, inputs={"drive": drive}, parameters={"v_rest": -62.0, "tau_m": 10.0}
        )
        found, _ = checked(recording, {"cells.v_rest": -62.0, "cells.tau_m": 10.0})
        assert found.spikes > 0
        counts.append(found.grazing / found.spikes)
    assert counts == [1.0, 0.0]


def test_the_command_prints_a_table_and_a_verdict_and_json(target, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.eqs").write_text(TEXT)
    target.save("target.npz")
    asked = ["gradcheck", "model.eqs", "target.npz", "--set", "tau_m=9.7ms", "--duration", "200ms"]
    assert main(asked) == 0
    shown = capsys.readouterr().out
    assert "surrogate 0.1" in shown
    assert "exact: " in shown
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    modes = {row["mode"].split()[0] for row in found["rows"]}
    assert modes == {"surrogate", "exact", "escape"}
    assert main([*asked, "--loss", "rate"]) == 2


def test_a_model_without_unknowns_is_refused(target):
    known = MODEL.with_values({"v_rest": -62.0, "tau_m": 10.0})
    with pytest.raises(InputError, match="no parameter of the model is unknown"):
        gradcheck(known.definition, known.parameters(), target)
