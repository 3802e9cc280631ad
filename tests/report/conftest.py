"""One small fit for all tests of its report, made by the command line, with names that would break a careless page."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from eqsnn.cli import main

EVIL = "<script>alert('x')</script> & <b>bold</b>"
MODEL = """# Four coupled neurons.
neuron lif:
    dv/dt = (v_rest - v + I_syn + drive)/tau_m : mV (unless refractory)
    dg/dt = -g/tau_g : 1
    I_syn : mV
    drive : mV (input)
    threshold: v >= -50*mV
    reset:
        v = v_rest
        g += 1
    refractory: 2*ms
    initial: v = v_rest
    tau_g : ms = 5*ms
    tau_m : ms ~ lognormal(15*ms, 0.3) in [5*ms, 40*ms] (shared)
    v_rest : mV ~ normal(-65*mV, 3*mV) in [-75*mV, -55*mV]
synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 3*mV) in [-15*mV, 15*mV]
network:
    dt = 1*ms
    cells : lif[4]
    cells -> cells : exponential if i != j
"""


@dataclass(frozen=True)
class Made:
    """Files of the fit: its folder, its targets, unseen spikes of the same network, its report."""

    run: Path
    targets: Path
    test: Path
    page: Path
    said: str  # by `eqsnn fit`


def run_in(folder: Path, *arguments: object) -> int:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return main([str(argument) for argument in arguments])
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    (folder / "four.eqs").write_text(MODEL)
    levels = np.random.default_rng(0).normal(16, 12, (2, 200, 4))
    for name, k in (("drive", 0), ("other", 1)):
        np.savez(folder / f"{name}.npz", drive=np.repeat(levels[k], 5, axis=0), drive_dt=1e-3)
    known = ["--set", "v_rest=-64mV", "--set", "tau_m=16ms"]
    for drive, out, seed in (("drive", "plain", 1), ("other", "unseen", 1)):
        arguments = ["simulate", "four.eqs", "--duration", "1s", "--input", f"{drive}.npz", *known]
        assert run_in(folder, *arguments, "--seed", seed, "--out", f"{out}.npz", "--quiet") == 0
    targets = folder / "targets <i>&.npz"
    with np.load(folder / "plain.npz") as arrays:
        np.savez(targets, **{**arrays, "description": np.array(EVIL)})
    fit = ["fit", "four.eqs", targets.name, "--starts", 3, "--iterations", 15, "--polish", 2]
    printed = io.StringIO()
    with redirect_stdout(printed):
        assert run_in(folder, *fit, "--seed", 0, "--out", "run") in (0, 1)
    assert run_in(folder, "report", "run") == 0
    return Made(
        folder / "run",
        targets,
        folder / "unseen.npz",
        folder / "run" / "report.html",
        printed.getvalue(),
    )


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """The browser of the system; tests that need it are skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(
            f"no browser: none of {', '.join(names)} is installed (apt-get install chromium)"
        )
    yield found
