"""`eqsnn data`, and the other commands on files that are no .npz, as a user types them."""

import json

import neo
import numpy as np
import pytest
import quantities as pq

import eqsnn
from eqsnn.cli import main
from tests.formats.recordings import assert_same_spikes, plain, recording

MODEL = """
neuron cell:
    dv/dt = (v_rest + I_ext - v)/tau : mV
    I_ext : mV (input)
    threshold: v >= -50*mV
    reset: v = v_rest
    initial: v = v_rest
    v_rest : mV ~ normal(-65*mV, 3*mV) in [-75*mV, -55*mV]
    tau : ms = 10*ms
network:
    dt = 1*ms
    cells : cell[2]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recording().save("rec.npz")
    (tmp_path / "model.eqs").write_text(MODEL)
    return tmp_path


def run(*arguments, status=0):
    assert main(["data", *map(str, arguments)]) == status


def test_inspect_prints_facts_rows_and_raster(folder, capsys):
    run("inspect", "rec.npz")
    out = capsys.readouterr().out
    for said in ("units     4, named a, b, c, silent", "trials    2 x 2 s", "multiples of 1 ms",
                 "drive     I_ext: 2 x 400 x 4, every 5 ms", "unit silent: no spikes", "gaps"):  # fmt: skip
        assert said in out
    made = recording()
    assert f"{made.rates()[0]:.2f}" in out


def test_inspect_prints_json_and_writes_a_raster(folder, capsys):
    run("inspect", "rec.npz", "--json", "--out", "figures")
    found = json.loads(capsys.readouterr().out)
    assert found["n_spikes"] == len(recording().spike_times)
    assert found["units"][0]["rate"] == pytest.approx(recording().rates()[0])
    assert (folder / "figures" / "rec_raster.png").read_bytes().startswith(b"\x89PNG")


def test_inspect_measures_against_the_step_and_the_inputs_of_a_model(folder, capsys):
    plain(dt=1e-4).save("bare.npz")
    run("inspect", "bare.npz", "--model", "model.eqs", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["step"] == 1e-3
    told = " ".join(found["warnings"])
    assert "needs the input `I_ext`" in told
    assert "the model has 2 spiking neurons, the file 4 units" in told


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.nwb", "out.nix", "out.npz"])
def test_convert_writes_what_every_other_format_reads(folder, name, capsys):
    run("convert", "rec.npz", name)
    run("convert", name, "back.npz")
    assert_same_spikes(eqsnn.load_targets("back.npz"), recording(), atol=1e-12)


def test_convert_takes_units_window_trials_and_step(folder, capsys):
    run(
        "convert",
        "rec.npz",
        "part.npz",
        "--units",
        "c,a",
        "--window",
        "250ms:1.5s",
        "--trials",
        "1",
        "--dt",
        "2ms",
    )
    found = eqsnn.load_targets("part.npz")
    assert_same_spikes(found, recording().trials([1]).select([2, 0]).window(0.25, 1.5))
    assert found.dt == 2e-3


def test_convert_warns_of_what_is_lost(folder, capsys):
    run("convert", "rec.npz", "out.csv")
    assert "warning: out.csv: the drives I_ext, light cannot be held" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shares", "names"),
    [("0.5,0.25,0.25", ["train", "validation", "test"]), ("0.75,0.25", ["train", "test"])],
)
def test_split_writes_parts_that_hold_every_spike_once(folder, shares, names, capsys):
    run("split", "rec.npz", "--shares", shares, "--out", "parts")
    parts = [eqsnn.load_targets(f"parts/{name}.npz") for name in names]
    assert sum(len(part.spike_times) for part in parts) == len(recording().spike_times)
    assert [part.duration for part in parts] == pytest.approx(
        [2 * float(s) for s in shares.split(",")]
    )
    assert sorted(path.stem for path in (folder / "parts").iterdir()) == sorted(names)


def test_split_by_trial(folder, capsys):
    run("split", "rec.npz", "--by", "trial", "--shares", "0.5,0.5", "--out", "parts")
    for k, name in enumerate(("train", "test")):
        assert_same_spikes(eqsnn.load_targets(f"parts/{name}.npz"), recording().trials([k]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspect", "missing.nwb"], "missing.nwb: there is no such file"),
        (["inspect", "empty.csv"], "empty.csv: is empty"),
        (["inspect", "broken.nwb"], "is damaged or no NWB file"),
        (["inspect", "rec.npz", "--window", "1s"], "write START:STOP"),
        (["inspect", "rec.npz", "--window", "1:2"], "is no time"),
        (["inspect", "rec.npz", "--trials", "a"], "write numbers from 0 on"),
        (["inspect", "rec.npz", "--units", "zz"], "no unit `zz`"),
        (["inspect", "rec.npz", "--dt", "0s"], "a positive time is expected"),
        (["convert", "rec.npz", "out.xls"], "no format that can be written"),
        (["convert", "rec.npz", "empty.csv/out.npz"], "cannot be written"),
        (["split", "rec.npz", "--shares", "a,b", "--out", "p"], "write numbers"),
        (["split", "rec.npz", "--shares", "1", "--out", "p"], "two (train, test) or three"),
        (["split", "rec.npz", "--by", "trial", "--out", "p"], "2 trials are too few"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(folder, arguments, said, capsys):
    (folder / "empty.csv").write_text("")
    (folder / "broken.nwb").write_text("no HDF5")
    run(*arguments, status=2)
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err and len(err.splitlines()) == 1


def test_fit_compare_and_simulate_take_files_of_other_libraries(folder, capsys):
    rng = np.random.default_rng(8)
    drive = np.repeat(rng.normal(17, 9, (120, 2)), 5, axis=0)
    model = eqsnn.load("model.eqs")
    made = eqsnn.simulate(
        model, 0.6, inputs={"I_ext": drive}, parameters={"cells.v_rest": np.array([-64.0, -66.0])}
    )
    block = eqsnn.to_neo(eqsnn.Recording(
        made.spike_times, made.unit_ids, made.trial_ids, made.duration, made.dt, made.n_units
    ))  # fmt: skip
    block.segments[0].analogsignals.append(
        neo.AnalogSignal(drive * 1e-3, units="V", sampling_rate=1 * pq.kHz, name="stimulus")
    )
    with neo.NixIO("foreign.nix", "ow") as io:
        io.write_block(block)
    run("convert", "foreign.nix", "target.nwb", "--drive", "I_ext=stimulus:mV")

    fitted = main(["fit", "model.eqs", "target.nwb", "--starts", "2", "--stages", "forced",
                   "--iterations", "20", "--out", "run", "--quiet"])  # fmt: skip
    assert fitted in (0, 1), capsys.readouterr().err
    again = ["simulate", "model.eqs", "--duration", "600ms", "--input", "target.nwb", "--set", "v_rest=-64mV",
             "--out", "again.npz", "--quiet"]  # fmt: skip
    assert main(again) == 0, capsys.readouterr().err
    expected = eqsnn.simulate(
        model, 0.6, inputs={"I_ext": drive}, parameters={"cells.v_rest": np.array(-64.0)}
    )
    assert_same_spikes(eqsnn.load_targets("again.npz"), expected)
    capsys.readouterr()
    eqsnn.save_recording(eqsnn.load_targets("target.nwb").select([0, 1]), "target.tsv")
    assert main(["compare", "target.nwb", "target.tsv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["van_rossum_score"] == pytest.approx(0, abs=1e-9)
