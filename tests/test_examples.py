"""The examples run; their long versions are the documentation's numbers."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
    import eqsnn  # noqa: PLC0415 (only where nitime is there)

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
        "--iterations",
        1,
        "--baseline",
        1,
    )
    assert "teacher-forced likelihood" in done.stdout
    assert "surrogate van Rossum alone" in done.stdout


def test_the_sleep_example_prints_errors_and_rates():
    done = run(ROOT / "examples" / "sleep_recovery.py", "lif", "--starts", 1, "--iterations", 1)
    assert "median error" in done.stdout
    assert "F1" in done.stdout


def test_the_aplysia_example_ends_quietly_without_its_recording(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["aplysia.py", "nowhere.npz"])
    runpy.run_path(str(ROOT / "examples" / "aplysia.py"), run_name="__main__")
    assert "not here" in capsys.readouterr().err
