"""The command line: what it promises, and that no mistake of a user ever shows a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eqsnn
from eqsnn.cli import main

MODELS = Path(__file__).parents[1] / "models"

MODEL = """
neuron lif:
    dv/dt = (v_rest - v + drive)/tau_m : mV
    drive : mV (input)
    threshold: v >= v_th
    reset: v = v_rest
    initial: v = v_rest
    v_th : mV = -50*mV
    v_rest : mV ~ normal(-65*mV, 3*mV) in [-75*mV, -55*mV]
    tau_m : ms ~ lognormal(10*ms, 0.3) in [3*ms, 40*ms]
network:
    dt = 1*ms
    cells : lif[2]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("model.eqs").write_text(MODEL)
    np.savez("drive.npz", drive=np.random.default_rng(0).normal(18, 10, (3, 600, 2)), drive_dt=1e-3)
    return tmp_path


def simulate(*more):
    arguments = [
        "simulate",
        "model.eqs",
        "--duration",
        "600ms",
        "--trials",
        "3",
        "--input",
        "drive.npz",
    ]
    return main([*arguments, "--out", "rec.npz", *more])


def test_check_accepts_a_model_and_reports_the_chosen_integrator(folder, capsys):
    assert main(["check", "model.eqs"]) == 0
    assert "integrated by exact because it is linear" in capsys.readouterr().out


def test_check_of_a_faulty_model_prints_the_place_and_exits_with_2(folder, capsys):
    Path("bad.eqs").write_text(MODEL.replace("tau_m : mV", "taum : mV"))
    assert main(["check", "bad.eqs"]) == 2
    assert "bad.eqs:3:" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["syntax", "model", "program", "adjoint", "torch"])
def test_every_stage_of_compilation_can_be_printed(stage, capsys):
    assert main(["show", str(MODELS / "sleep_lif.eqs"), "--stage", stage]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 20


def test_simulate_fit_compare_and_plot_work_one_after_the_other(folder, capsys):
    assert simulate("--record", "v", "--set", "tau_m=12ms") == 0
    recording = eqsnn.load_targets("rec.npz")
    assert recording.traces["cells.v"].shape == (3, 600, 2)
    assert recording.parameters["cells.tau_m"] == pytest.approx([12, 12])
    status = main(
        [
            "fit",
            "model.eqs",
            "rec.npz",
            "--starts",
            "2",
            "--iterations",
            "4",
            "--polish",
            "1",
            "--out",
            "run",
        ]
    )
    assert status in (0, 1)
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["parameters"]["cells.tau_m"]["unit"] == "ms"
    assert summary["parameters"]["cells.tau_m"]["learned"] is True
    assert summary["parameters"]["cells.v_th"]["learned"] is False
    assert np.shape(summary["parameters"]["cells.tau_m"]["value"]) == (2,)
    for name in (
        "fit.npz",
        "fitted.eqs",
        "fitted.npz",
        "checkpoint.npz",
        "convergence.png",
        "recovery.png",
    ):
        assert (folder / "run" / name).stat().st_size > 0
    arguments = [
        "--duration",
        "600ms",
        "--trials",
        "3",
        "--input",
        "drive.npz",
        "--out",
        "again.npz",
    ]
    assert main(["simulate", "run/fitted.eqs", *arguments]) == 0
    capsys.readouterr()
    assert main(["compare", "rec.npz", "again.npz", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["van_rossum_score"] >= 0
    assert main(["compare", "rec.npz", "again.npz", "--out", "figures"]) == 0
    assert main(["plot", "run", "--out", "figures"]) == 0
    assert main(["plot", "rec.npz", "--out", "figures"]) == 0
    assert {"rasters.png", "convergence.png", "rec_raster.png"} <= {
        path.name for path in Path("figures").iterdir()
    }


def test_fix_and_learn_turn_unknowns_into_knowns_and_back(folder):
    assert simulate() == 0
    common = ["rec.npz", "--starts", "1", "--iterations", "1", "--polish", "0", "--quiet"]
    main(["fit", "model.eqs", *common, "--fix", "tau_m=0.012second", "--out", "fixed"])
    summary = json.loads(Path("fixed/summary.json").read_text())["parameters"]
    assert summary["cells.tau_m"]["learned"] is False
    assert summary["cells.tau_m"]["value"] == pytest.approx([12.0, 12.0])
    assert summary["cells.v_rest"]["learned"] is True


def test_a_fit_takes_any_loss_in_one_line(folder):
    assert simulate() == 0
    common = ["fit", "model.eqs", "rec.npz", "--starts", "1", "--iterations", "1", "--polish", "1"]
    for loss in ("van_rossum", "van_rossum(tau=2ms,12ms) + 0.1*rate + 0.5*psth(bin=20ms)"):
        assert main([*common, "--quiet", "--tau", "12ms", "--loss", loss, "--out", "run"]) in (0, 1)
        assert Path("run/summary.json").exists()


def test_a_loss_that_is_none_shows_the_place_before_any_work(folder, capsys):
    # not even the targets are read: there are none
    arguments = ["fit", "model.eqs", "rec.npz", "--loss", "van_rossum(tau=10)"]
    assert main(arguments) == 2
    message, line, caret = capsys.readouterr().err.splitlines()
    assert message == ("loss, column 18: found `)`; expected a unit of time after 10: s, ms, us")
    assert line.index(")") == caret.index("^")


def corrupted(path):
    path.write_bytes(b"PK\x03\x04 this is no archive")


def empty(path):
    path.write_bytes(b"")


def objects(path):
    np.savez(
        path,
        spike_times=np.array([1.0, None], dtype=object),
        unit_ids=np.array([0, 0]),
        duration=1.0,
    )


def not_a_number(path):
    np.savez(path, spike_times=np.array([0.1, np.nan]), unit_ids=np.array([0, 1]), duration=1.0)


def wrong_shape(path):
    np.savez(path, spikes=np.zeros((10, 2)), dt=1e-3)


def without_duration(path):
    np.savez(path, spike_times=np.array([0.1]), unit_ids=np.array([0]))


def silent(path):
    np.savez(path, spikes=np.zeros((1, 100, 2)), dt=1e-3, drive=np.zeros(100))


def without_drive(path):
    np.savez(path, spike_times=np.array([0.1]), unit_ids=np.array([1]), duration=0.5)


def wrong_neurons(path):
    np.savez(
        path, spike_times=np.array([0.1]), unit_ids=np.array([7]), duration=0.5, drive=np.zeros(500)
    )


@pytest.mark.parametrize(
    "damage",
    [
        corrupted,
        empty,
        objects,
        not_a_number,
        wrong_shape,
        without_duration,
        silent,
        without_drive,
        wrong_neurons,
    ],
    ids=lambda damage: damage.__name__,
)
def test_faulty_targets_give_one_clear_message_and_exit_status_2(damage, folder, capsys):
    damage(folder / "target.npz")
    assert main(["fit", "model.eqs", "target.npz", "--starts", "1", "--out", "run"]) == 2
    message = capsys.readouterr().err.strip()
    assert message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    assert not Path("run/summary.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "missing.eqs"],
        ["simulate", "model.eqs", "--duration", "ten", "--out", "x.npz"],
        [
            "simulate",
            "model.eqs",
            "--duration",
            "1s",
            "--input",
            "drive.npz",
            "--set",
            "tau_m=12mV",
            "--out",
            "x.npz",
        ],
        [
            "simulate",
            "model.eqs",
            "--duration",
            "1s",
            "--input",
            "drive.npz",
            "--set",
            "tau=12ms",
            "--out",
            "x.npz",
        ],
        [
            "simulate",
            "model.eqs",
            "--duration",
            "0.2s",
            "--input",
            "drive.npz",
            "--record",
            "u",
            "--out",
            "x.npz",
        ],
        ["simulate", "model.eqs", "--duration", "5s", "--input", "drive.npz", "--out", "x.npz"],
        ["simulate", "model.eqs", "--duration", "1s", "--out", "x.npz"],
        ["compare", "drive.npz", "drive.npz"],
        ["plot", "nowhere"],
    ],
    ids=" ".join,
)
def test_faulty_arguments_give_a_message_and_exit_status_2(arguments, folder, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip()


def test_the_module_runs_as_a_command(folder):
    done = subprocess.run(
        [sys.executable, "-m", "eqsnn", "check", "model.eqs"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(MODELS.parent), "PATH": "/usr/bin:/bin"},
    )
    assert (done.returncode, done.stderr) == (0, "")


NOISY = """
neuron lif:
    dv/dt = (v_rest - v + 4*mV*x)/tau_m : mV
    x = poisson(2500*Hz * dt) : 1 (constant over dt)
    threshold: v >= -50*mV
    reset: v = v_rest
    initial: v = v_rest
    method: euler
    v_rest : mV ~ normal(-60*mV, 3*mV) in [-75*mV, -52*mV]
    tau_m : ms = 12*ms
network:
    dt = 1*ms
    cells : lif[2]
"""


def test_a_fit_says_which_stages_it_chose_and_why(folder, capsys):
    Path("noisy.eqs").write_text(NOISY)
    main(["simulate", "noisy.eqs", "--duration", "2s", "--seed", "3", "--out", "rec.npz"])
    capsys.readouterr()
    arguments = ["fit", "noisy.eqs", "rec.npz", "--starts", "2", "--iterations", "3", "--prior"]
    assert main([*arguments, "--out", "run"]) in (0, 1)
    out = capsys.readouterr().out
    assert "private noise (cells.x) is integrated out, density `grid`" in out
    assert "stage forced:" in out
    summary = json.loads(Path("run/summary.json").read_text())
    assert summary["stages"][0]["iterations"] <= 3
    assert "integrated out" in summary["notes"][0]


def test_a_density_that_does_not_exist_is_refused_with_those_that_do(folder, capsys):
    simulate()
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "model.eqs", "rec.npz", "--density", "gauss"])
    assert stopped.value.code == 2
    assert "grid" in capsys.readouterr().err
