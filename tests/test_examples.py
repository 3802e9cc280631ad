"""The examples run; their long versions are the documentation's numbers."""

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eqsnn

ROOT = Path(__file__).parents[1]


def run(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def test_the_receptor_of_nitime_becomes_targets_and_a_null_model(tmp_path):
    pytest.importorskip("nitime")

    run(ROOT / "examples" / "receptor_data.py", tmp_path)
    train, test = (
        eqsnn.load_targets(tmp_path / f"receptor_{part}.npz") for part in ("train", "test")
    )
    assert (train.duration, test.duration) == (7.0, 3.0)
    assert len(train.spike_times) + len(test.spike_times) == pytest.approx(929, abs=1)
    assert np.abs(train.inputs["stimulus"]).max() < 5


def test_the_known_input_example_prints_both_methods():
    done = run(
        ROOT / "examples" / "known_input_network.py",
        "--starts",
        1,
        "--trials",
        2,
        "--baseline",
        1,
    )
    assert "teacher-forced likelihood" in done.stdout
    assert "surrogate van Rossum alone" in done.stdout


def test_an_experiment_of_the_poster_is_fitted_scored_and_not_done_again(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "poster"))
    experiments, protocol, scores, table = (
        importlib.import_module(name) for name in ("experiments", "protocol", "scores", "table")
    )
    quick = {"TEST_TRIALS": 1, "LONG_S": 4.0, "ENSEMBLE_S": 8.0, "PSTH_TRIALS": 2}
    for name, value in quick.items():
        monkeypatch.setattr(scores, name, value)
    stages = protocol.stages("A", "lif")
    shorter = (replace(stages[0], widths=(0.025,), iterations=2),)
    monkeypatch.setattr(protocol, "stages", lambda *_: shorter)
    folder = experiments.run("A", "lif", 0, out=tmp_path)
    found = json.loads((folder / "scores.json").read_text())
    start, fitted = (found[which]["errors"] for which in ("start", "fitted"))
    assert set(start) == {"q", "tau_m", "tau_g", "k", "w"}
    assert np.median(fitted["tau_m"]) != np.median(start["tau_m"]) > 0
    assert 0 < np.mean(found["fitted"]["f1"]) <= 1
    target = eqsnn.load_targets(folder / "target.npz")
    assert target.inputs["x"].shape == (protocol.TRIALS, 4000, 12)
    monkeypatch.setattr(experiments, "fit_and_save", lambda *_: pytest.fail("fitted again"))
    assert experiments.run("A", "lif", 0, out=tmp_path) == folder
    monkeypatch.setattr(table, "RUNS", tmp_path)
    rows = table.table("A", "lif")
    assert any(row.startswith("| F1, 1 ms, same input | at least 0.9 |") for row in rows)
    monkeypatch.setattr(table, "KEPT", tmp_path / "kept.json")
    page = tmp_path / "page.md"
    page.write_text("# Experiments\n\n### A, lif\n\nold\n\n### D, lif\n\nnot run here\n")
    table.main(["--out", str(page), "--keep"])
    assert page.read_text().endswith("### D, lif\n\nnot run here\n")
    assert "old" not in page.read_text()
    monkeypatch.setattr(table, "RUNS", tmp_path / "nothing")
    assert table.table("A", "lif") == rows


def recorded_by_hand(path):
    """Write eight neurons that take turns, each by its own chance."""
    from eqsnn.simulation.recording import from_dense  # noqa: PLC0415

    t = np.arange(2000) * 0.01
    chance = 0.05 * (1 + np.sin(2 * np.pi * 0.5 * t[:, None] + np.arange(8) * np.pi / 4))
    spikes = np.random.default_rng(0).random((1, 2000, 8)) < chance
    recording: eqsnn.Recording = from_dense(spikes.astype(np.uint8), 0.01)
    recording.save(path)


def test_the_aplysia_example_writes_its_table_and_figures(tmp_path):
    recorded_by_hand(tmp_path / "turns.npz")
    options = ("--iterations", 1, "--trials", 1, "--neurons", 4, "--seconds", 10)
    page = tmp_path / "page.md"
    example = ROOT / "examples" / "real" / "aplysia.py"
    done = run(example, "--recording", tmp_path / "turns.npz", "--out", page, *options)
    for row in ("Poisson", "GLM", "plain LIF network", "network with adaptation"):
        assert f"| {row} |" in done.stdout
        assert f"| {row} |" in page.read_text(encoding="utf-8")
    assert (tmp_path / "real_turns_rasters.png").exists()


def test_the_receptor_example_scores_four_models(tmp_path):
    pytest.importorskip("nitime")
    example = ROOT / "examples" / "real" / "receptor.py"
    done = run(
        example, "--starts", 1, "--iterations", 2, "--trials", 1, "--out", tmp_path / "page.md"
    )
    for row in (
        "adaptive LIF",
        "plain LIF",
        "GLM, stimulus and history",
        "Poisson with the right rate",
    ):
        assert f"| {row} |" in done.stdout


def test_the_aplysia_example_ends_quietly_without_its_recording(tmp_path):
    done = run(ROOT / "examples" / "real" / "aplysia.py", "--recording", tmp_path / "nowhere.npz")
    assert "not here" in done.stderr


def test_the_glm_finds_the_couplings_that_made_its_spikes(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "real"))
    glm = importlib.import_module("glm")
    taus, dt = ((0.02,), (0.01,)), 0.001
    couple = np.array([[0.0, 1.5], [-1.5, 0.0]])
    truth = glm.Glm(
        np.full(2, -3.0), couple[None], np.full((1, 2), -2.0), np.zeros((1, 2)), np.ones(1), np.zeros((1, 2)), taus, dt, 1.0
    )  # fmt: skip
    spikes = truth.run(np.zeros((1, 2)), 60_000, 1, 0)[0]
    found = glm.fit_glm(spikes, taus, dt, 1.0, 100)
    np.testing.assert_allclose(found.couple[0], couple, atol=0.15)
    np.testing.assert_allclose(found.own, truth.own, atol=0.3)
    np.testing.assert_allclose(truth.logits(spikes)[1:3], found.logits(spikes)[1:3], atol=0.3)
