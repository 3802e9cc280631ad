"""The report of a fit: it says what the fit says, holds everything itself, and trusts no name from a file."""

import hashlib
import json
import re
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import numpy as np
import pytest

import eqsnn
from eqsnn.cli import main
from eqsnn.report.findings import MOST_TRIALS, Choices, run_against, targets_of
from eqsnn.report.numbers import number, percent, with_error
from eqsnn.report.parts import Panels, Raster, Table
from eqsnn.report.spike_sections import spike_sections
from tests.report.conftest import EVIL, Made, run_in

SECTIONS = [
    "summary", "model", "parameters", "open", "convergence", "recovery", "raster", "statistics", "ensembles",
    "held-out", "provenance",
]  # fmt: skip
LIMIT = 3_000_000  # bytes


def parsed(text: str) -> Element:
    """Return the tree; raises for anything that is not valid HTML."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def section(tree: Element, key: str) -> Element:
    found = tree.find(f".//section[@id='{key}']")
    assert found is not None, f"no section {key}"
    return found


def said(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def rows(element: Element, caption: str) -> dict[str, list[str]]:
    """Return the table with this caption: the cells of each row by the last word of its header."""
    for table in element.iter("table"):
        head = table.find("caption")
        if head is not None and said(head).startswith(caption):
            body = table.findall("tbody/tr")
            return {said(row[0]).split()[-1]: [said(cell) for cell in row[1:]] for row in body}
    raise AssertionError(f"no table {caption}")


@pytest.fixture(scope="module")
def page(made: Made) -> Element:
    return parsed(made.page.read_text(encoding="utf-8"))


def test_the_report_is_valid_html_with_a_section_for_everything_asked_for(page):
    assert [s.attrib["id"] for s in page.iter("section")] == SECTIONS
    links = [a.attrib["href"] for a in page.findall(".//nav//a")]
    assert links == [f"#{key}" for key in SECTIONS]


def test_the_report_refers_to_nothing_outside_itself(made, page):
    for element in page.iter():
        for name, value in element.attrib.items():
            if str(name).split("}")[-1] in ("src", "href", "srcset", "action", "data", "poster"):
                assert value.startswith(("#", "data:")), (element.tag, name, value[:80])
    text = made.page.read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_every_id_on_the_page_is_unique(page):
    ids = [e.attrib["id"] for e in page.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))


def test_the_report_is_small(made):
    assert made.page.stat().st_size < LIMIT


def test_names_and_descriptions_from_files_are_text_and_never_markup(made, page):
    text = made.page.read_text(encoding="utf-8")
    assert "<script>alert" not in text and "<b>bold" not in text
    provenance = said(section(page, "provenance"))
    assert EVIL in provenance
    assert "targets <i>&.npz" in provenance
    assert len(list(page.iter("script"))) == 2  # the spikes and what draws them


def test_estimates_in_the_report_are_those_of_the_fit(made, page):
    fit = eqsnn.read_fit(made.run)
    shown = rows(section(page, "parameters"), "What was learned")
    value, std = fit.parameters["cells.tau_m"][0], fit.std["cells.tau_m"]
    assert std is not None
    cells = shown["cells.tau_m"]
    assert cells[0] == "ms"
    assert cells[1] == with_error(value, std[0])
    low, high = (float(end[0]) for end in fit.interval["cells.tau_m"])
    left, right = cells[2].split(" to ")
    assert float(left) == pytest.approx(low, abs=std[0]) and float(right) == pytest.approx(
        high, abs=std[0]
    )
    assert float(cells[4]) == pytest.approx(16, abs=std[0])
    assert cells[5] == percent(abs(value - 16) / 16)
    assert cells[6] == "5 to 40"
    weights, spread = fit.parameters["cells->cells.w"], fit.std["cells->cells.w"]
    assert spread is not None
    off = ~np.eye(4, dtype=bool)
    assert shown["cells->cells.w"][1].startswith(
        with_error(float(np.median(weights[off])), float(np.nanmedian(spread)))
    )
    assert "12 values" in shown["cells->cells.w"][1]


def test_the_truth_is_compared_with_synapses_that_exist(made, page):
    fit = eqsnn.read_fit(made.run)
    off = ~np.eye(4, dtype=bool)
    truth, fitted = fit.truth["cells->cells.w"][off], fit.parameters["cells->cells.w"][off]
    shown = rows(section(page, "recovery"), "Fitted against the truth")["cells->cells.w"]
    assert shown[0] == "12"
    assert shown[1] == f"{number(np.abs(fitted - truth).mean())} mV"
    assert shown[4] == number(np.corrcoef(fitted, truth)[0, 1])
    low, high = (end[off] for end in fit.interval["cells->cells.w"])
    assert shown[5] == percent(((low <= truth) & (truth <= high)).mean())


def test_warnings_come_first_and_say_why_the_search_ended(made, page):
    first = section(page, "summary")
    notices = first.find(".//ul")
    assert notices is not None and notices.attrib["class"] == "notices warning"
    assert "not converged" in said(notices)
    for warning in eqsnn.read_fit(made.run).warnings:
        assert warning.rstrip(".")[1:] in said(notices)


def test_every_stage_says_where_it_began_and_why_it_ended(made, page):
    shown = rows(section(page, "convergence"), "Stages")
    reports = eqsnn.read_fit(made.run).stages
    assert list(shown) == [report.stage for report in reports]
    for report in reports:
        assert shown[report.stage][0] == str(report.iterations)
        assert shown[report.stage][-1] == report.stopped


def test_every_picture_has_words_for_those_who_do_not_see_it(page):
    pictures = [e for e in page.iter() if str(e.tag).split("}")[-1] == "svg"]
    assert len(pictures) > 15
    assert all(p.attrib.get("role") == "img" and p.attrib.get("aria-label") for p in pictures)


def test_provenance_holds_what_is_needed_to_make_the_fit_again(made, page):
    shown = rows(section(page, "provenance"), "Where this comes from")
    summary = json.loads((made.run / "summary.json").read_text())
    told = summary["provenance"]
    assert summary["seed"] == 0 and shown["seed"] == ["0"]
    for what in ("model", "targets"):
        assert told[what]["path"] in shown[what][0] and told[what]["sha256"] in shown[what][0]
    assert f"torch {summary['versions']['torch']}" in shown["versions"][0]
    assert told["date"] in shown["date"][0]


@pytest.fixture(scope="module")
def moved(made: Made, tmp_path_factory) -> Path:
    """The fit in a folder of its own, whose targets are no longer where they were."""
    run = tmp_path_factory.mktemp("moved") / "run"
    shutil.copytree(made.run, run)
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["provenance"]["targets"]["path"] = str(run / "gone.npz")
    path.write_text(json.dumps(summary))
    return run


def test_without_its_targets_a_fit_is_reported_without_spikes_and_says_how_to_give_them(
    made, moved, capsys
):
    assert main(["report", str(moved), "--test", str(made.test)]) == 0
    assert "eqsnn report RUN TARGETS.npz" in capsys.readouterr().err
    tree = parsed((moved / "report.html").read_text(encoding="utf-8"))
    missing = ("raster", "statistics", "ensembles")
    assert [s.attrib["id"] for s in tree.iter("section")] == [
        k for k in SECTIONS if k not in missing
    ]
    assert "gone.npz" in said(section(tree, "summary"))

    # unseen spikes get a table of their own
    table = rows(section(tree, "held-out"), "On unseen.npz")
    fit, target = eqsnn.read_fit(made.run), eqsnn.load_targets(made.test)
    run = eqsnn.simulate(fit.model, 1.0, inputs=target, parameters=fit.parameters, seed=1)
    again = eqsnn.compare(target, run)
    assert table["ms"][2] == number(
        float(np.nanmean(again.f1))
    )  # F1, 1 ms is the last of that name
    assert str(made.test) in said(section(tree, "provenance"))


def test_other_targets_than_those_fitted_are_noted(made):
    fit = eqsnn.read_fit(made.run)
    assert targets_of(fit, made.test)[2] == [
        "unseen.npz is not the file that was fitted: its SHA-256 differs."
    ]
    assert targets_of(fit, made.targets)[2] == targets_of(fit, None)[2] == []


def test_targets_that_have_changed_since_the_fit_are_noted(made, tmp_path):
    path = Path(shutil.copy(made.test, tmp_path))
    fit = eqsnn.read_fit(made.run)
    told = fit.provenance.targets
    assert told is not None
    moved = replace(fit, provenance=replace(fit.provenance, targets=replace(told, path=str(path))))
    assert targets_of(moved, None)[2] == [f"{path} has changed since the fit: its SHA-256 differs."]


def test_a_fit_of_an_earlier_version_is_reported_as_far_as_it_goes(made, tmp_path):
    run = tmp_path / "old"
    shutil.copytree(made.run, run)
    summary = json.loads((run / "summary.json").read_text())
    del summary["provenance"], summary["stages"], summary["uncertainty"]
    for entry in summary["parameters"].values():
        for name in ("bounds", "truth", "start", "low", "high", "std"):
            entry.pop(name, None)
    (run / "summary.json").write_text(json.dumps(summary))
    assert main(["report", str(run), str(made.targets)]) == 0
    tree = parsed((run / "report.html").read_text(encoding="utf-8"))
    assert "recovery" not in [s.attrib["id"] for s in tree.iter("section")]
    shown = rows(section(tree, "parameters"), "What was learned")
    assert shown["cells.tau_m"][-1] == "none"  # bounds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "nothing"), "is no finished fit"),
        (("report", "run", "wrong.npz"), "have 3 neurons and the fitted model 4"),
        (("report", "run", "gone.npz"), "there is no such file"),
        (("report", "run", "--out", "run"), "is a folder"),
        (("report", "run", "--bin", "5"), "is no time"),
    ],
)
def test_a_mistake_is_one_clear_message(made, tmp_path, capsys, arguments, message):
    shutil.copytree(made.run, tmp_path / "run")
    np.savez(tmp_path / "wrong.npz", spike_times=[0.1, 0.2], unit_ids=[0, 2], duration=1.0)
    assert run_in(tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err


def test_fit_ends_by_saying_how_to_get_the_report(made):
    assert made.said.splitlines()[-1].endswith("eqsnn report run")


def test_compare_writes_a_page_besides_its_figures(made, tmp_path, capsys):
    target = Path(shutil.copy(made.targets, tmp_path / "a<b>.npz"))
    assert main(["compare", str(target), str(made.test), "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"compare.html", "rasters.png"} <= names
    assert "compare.html" in capsys.readouterr().out
    text = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    tree = parsed(text)
    assert [s.attrib["id"] for s in tree.iter("section")] == [
        "summary",
        "raster",
        "statistics",
        "ensembles",
        "provenance",
    ]
    assert "a<b>" in said(tree) and "<script>alert" not in text


def test_a_fit_keeps_where_it_comes_from_and_its_bounds_open_ones_too(made, tmp_path):
    fit = eqsnn.read_fit(made.run)
    assert fit.bounds["cells.tau_m"] == (5, 40) and fit.bounds["cells->cells.w"] == (-15, 15)
    told = fit.provenance
    assert told.model is not None and told.targets is not None
    for source in (told.model, told.targets):
        assert source.sha256 == hashlib.sha256(Path(source.path).read_bytes()).hexdigest()
    changed = replace(
        fit,
        bounds={**fit.bounds, "cells.tau_m": (5.0, np.inf)},
        provenance=replace(told, units=(0, 2)),
    )
    again = eqsnn.read_fit(changed.save(tmp_path / "again"))
    assert again.bounds == changed.bounds
    assert again.provenance == changed.provenance


def test_units_fitted_alone_are_compared_alone(made):
    fit, targets = eqsnn.read_fit(made.run), eqsnn.load_targets(made.targets)
    alone = replace(fit, provenance=replace(fit.provenance, units=(1, 3)))
    found = run_against(alone, targets, Choices())
    assert found.recording.n_units == found.run.n_units == 2
    assert found.recording.train(1).tolist() == targets.train(3).tolist()
    assert "Units 1, 3 were fitted" in found.notes[0]


def test_of_many_trials_the_first_are_compared_and_it_is_said(made):
    fit, targets = eqsnn.read_fit(made.run), eqsnn.load_targets(made.targets)
    found = run_against(fit, targets.trials([0] * 20), Choices())
    assert found.recording.n_trials == found.run.n_trials == MOST_TRIALS
    assert "20 trials" in found.notes[0]


def test_a_single_neuron_gets_no_figures_of_many(made):
    targets = eqsnn.load_targets(made.targets).select([1])
    sections = spike_sections(targets, targets, eqsnn.compare(targets, targets), ("a", "b"), 0.1)
    assert [s.key for s in sections] == ["raster", "statistics"]
    table, panels = sections[1].parts
    assert isinstance(table, Table) and "correlations" not in [row[0].text for row in table.rows]
    assert isinstance(panels, Panels) and [p.title for p in panels.panels] == [
        "Interspike intervals",
        "Rate over time",
    ]


def test_neurons_that_were_never_recorded_are_left_out_of_the_figures(made):
    fit, targets = eqsnn.read_fit(made.run), eqsnn.load_targets(made.targets)
    placed = targets.select([0, 1, 2]).placed([0, 1, 3], 4)
    against = run_against(fit, replace(placed, inputs=targets.inputs), Choices())
    first = spike_sections(against.recording, against.run, against.found, ("a", "b"), 0.1)[0]
    assert "never recorded (1) are left out" in first.intro
    assert isinstance(first.parts[0], Raster) and first.parts[0].data.n_units == 3


def themes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Return the colours of the page by theme: light, dark, print."""
    style = (files("eqsnn.report") / "templates" / "page.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    read = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block)) for block in blocks]
    colours = [{n: _channels(c) for n, c in found.items()} for found in read]
    return dict(zip(("light", "dark", "print"), colours, strict=True))


def _channels(colour: str) -> tuple[int, ...]:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    return tuple(int(digits[k : k + 2], 16) for k in (0, 2, 4))


def contrast(first: tuple[int, ...], second: tuple[int, ...]) -> float:
    """Return the contrast ratio of WCAG 2.2."""

    def luminance(channels: tuple[int, ...]) -> float:
        linear = [
            c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4
            for c in channels
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_letters_stand_out_from_what_is_behind_them(theme):
    colour = themes()[theme]
    letters = [(name, back) for name in ("ink", "quiet", "accent") for back in ("page", "card")]
    letters += [
        ("ink", "warn-back"),
        ("ink", "good-back"),
        ("warn", "warn-back"),
        ("good", "good-back"),
    ]
    for front, back in letters:
        assert contrast(colour[front], colour[back]) >= 4.5, (front, back)
    for mark in ("first", "second"):  # of figures
        assert contrast(colour[mark], colour["page"]) >= 3, mark
