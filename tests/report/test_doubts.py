"""Profiles and bootstraps in a report: what they found stands beside the stated intervals, and belongs to the fit shown."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
import pytest

import eqsnn
from eqsnn.inference.bootstrap import read_bootstrap
from eqsnn.inference.profile import Profile, read_profile
from eqsnn.report.doubts import Doubts, doubts_of
from eqsnn.report.fit_page import fit_page
from eqsnn.report.numbers import NOTHING, between, number
from eqsnn.report.parts import render
from tests.report.conftest import Made, run_in
from tests.report.test_page import SECTIONS, parsed, rows, said, section


@pytest.fixture(scope="module")
def asked(made: Made, tmp_path_factory) -> Path:
    """The fit in a folder of its own, with two profiles and a bootstrap beside it."""
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(made.run, folder / "run")
    profile = ["profile", "run", made.targets, "--points"]
    assert run_in(folder, *profile, 5, "cells.v_rest", "--index", "1") == 0
    assert run_in(folder, *profile, 3, "cells->cells.w", "--index", "0,1") == 0
    assert run_in(folder, "bootstrap", "run", made.targets, "--n", 4, "--kind", "windows") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def page(made: Made, asked: Path) -> Element:
    assert run_in(asked.parent, "report", "run", made.targets) == 0
    return parsed((asked / "report.html").read_text(encoding="utf-8"))


def test_what_was_asked_for_has_a_section_after_what_the_data_leave_open(page):
    after = SECTIONS.index("open") + 1
    keys = [s.attrib["id"] for s in page.iter("section")]
    assert keys == [*SECTIONS[:after], "doubts", *SECTIONS[after:]]


def shown_of(fit: eqsnn.Fit, profile: Profile) -> Element:
    tree = parsed(render(fit_page(fit, doubts=Doubts((profile,)))))
    return section(tree, "doubts")


def test_a_profile_shows_its_interval_beside_the_stated_one(asked):
    fit = eqsnn.read_fit(asked)
    found = replace(read_profile(asked / "profile_cells.v_rest_1.json"), low=-69.2, high=-62.4)
    shown = rows(shown_of(fit, found), "Profiles")["cells.v_rest[1]"]
    std = fit.std["cells.v_rest"]
    assert std is not None
    low, high = (float(end[1]) for end in fit.interval["cells.v_rest"])
    assert shown[2] == between(-69.2, -62.4, float(std[1]))
    assert shown[3] == between(low, high, float(std[1]))
    assert shown[4] == number(-64, 4)  # the truth


def test_a_side_without_an_end_is_called_open(asked):
    found = read_profile(asked / "profile_cells.v_rest_1.json")
    half = shown_of(eqsnn.read_fit(asked), replace(found, low=-69.2, high=math.nan))
    assert rows(half, "Profiles")["cells.v_rest[1]"][2] == f"{number(-69.2)} to open"


def test_a_profile_that_finds_a_better_value_than_its_maximum_warns_of_the_search(asked):
    fit, found = eqsnn.read_fit(asked), read_profile(asked / "profile_cells.v_rest_1.json")
    for lowest, expected in ((0.0, False), (-6.0, True)):
        curve = np.array([4.0, lowest, 0.0, 1.0, 4.0])
        text = said(shown_of(fit, replace(found, twice_loss=curve)))
        assert ("explains the data better than its maximum, by 3.0 nats" in text) is expected


def test_every_profile_and_array_of_the_bootstrap_has_a_picture(page):
    pictures = [e for e in section(page, "doubts").iter() if str(e.tag).split("}")[-1] == "svg"]
    labels = [picture.attrib["aria-label"] for picture in pictures]
    assert len(pictures) == 4
    assert sum("twice the loss of log-likelihood over cells" in label for label in labels) == 2
    assert any("cells->cells.w[0, 1]" in label for label in labels)
    assert any("90 % intervals of cells.v_rest by neuron" in label for label in labels)
    assert any("standard errors of cells->cells.w" in label for label in labels)


def test_a_bootstrap_shows_its_errors_beside_the_stated_ones(asked, page):
    fit, found = eqsnn.read_fit(asked), read_bootstrap(asked)
    shown = rows(section(page, "doubts"), "Bootstrap")
    off = ~np.eye(4, dtype=bool)
    weights, std = fit.std["cells->cells.w"], found.std["cells->cells.w"]
    assert weights is not None
    assert shown["cells->cells.w"][1:3] == [
        number(float(np.median(v[off])), 2) for v in (weights, std)
    ]
    low, high = (float(end[0]) for end in found.interval["cells.tau_m"])
    assert shown["cells.tau_m"][4] == between(low, high, float(found.std["cells.tau_m"][0]))
    assert "4 replicates, windows of the targets drawn again" in said(section(page, "doubts"))


def test_a_network_with_one_synapse_or_none_has_its_interval_or_a_dash(asked):
    fit, found = eqsnn.read_fit(asked), read_bootstrap(asked)
    name = "cells->cells.w"
    low, high = (end[0, 1] for end in fit.interval[name])
    for there, stated in (([0, 1], between(low, high, 1.0)), (None, NOTHING)):
        values = np.full_like(found.values[name], np.nan)
        if there is not None:
            values[:, there[0], there[1]] = [-1.0, 1.0, -1.0, 1.0]
        own = replace(found, values={**found.values, name: values})
        tree = parsed(render(fit_page(fit, doubts=Doubts(bootstrap=own))))
        cells = rows(section(tree, "doubts"), "Bootstrap")[name]
        assert cells[3] == stated
        assert cells[4] == (between(-1.0, 1.0, 1.0) if there else NOTHING)


def test_what_was_saved_is_read_back(asked, tmp_path):
    profiled = read_profile(asked / "profile_cells_to_cells.w_0_1.json")
    fit = eqsnn.read_fit(asked)
    assert (profiled.name, profiled.index) == ("cells->cells.w", (0, 1))
    assert profiled.fitted == pytest.approx(fit.parameters["cells->cells.w"][0, 1], rel=1e-9)
    again = read_profile(profiled.save(tmp_path / "again.json"))
    np.testing.assert_array_equal(again.twice_loss, profiled.twice_loss)
    resampled = read_bootstrap(asked)
    resampled.save(tmp_path)
    assert (resampled.done, resampled.wanted, resampled.kind) == (4, 4, "windows")
    for name, values in read_bootstrap(tmp_path).values.items():
        np.testing.assert_array_equal(values, resampled.values[name])


def test_what_was_asked_about_another_fit_is_left_out_and_noted(asked, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(asked, run)
    fit = eqsnn.read_fit(run)
    kept, notes = doubts_of(fit, run)
    assert len(kept.profiles) == 2 and kept.bootstrap is not None and notes == []
    summary = json.loads((run / "summary.json").read_text())
    summary["parameters"]["cells.v_rest"]["value"][1] *= 1.01
    (run / "summary.json").write_text(json.dumps(summary))
    kept, notes = doubts_of(eqsnn.read_fit(run), run)
    assert [p.name for p in kept.profiles] == ["cells->cells.w"]
    assert kept.bootstrap is None
    assert [note.split()[0] for note in notes] == ["profile_cells.v_rest_1.json", "bootstrap.json"]
    assert "is of another fit" in notes[0]


@pytest.mark.parametrize("name", ["profile_cells.v_rest_1.json", "bootstrap.json"])
def test_a_file_that_holds_something_else_is_named(asked, tmp_path, capsys, name):
    shutil.copytree(asked, tmp_path / "run")
    (tmp_path / "run" / name).write_text('{"kind": 1}')
    assert run_in(tmp_path, "report", "run") == 2
    assert name in capsys.readouterr().err
