"""What notebooks show: fragments of valid HTML, small, self-contained, and without matplotlib."""

import subprocess
import sys
from dataclasses import replace

import html5lib
import numpy as np
import pytest

import eqsnn
from tests.report.conftest import EVIL, MODEL, Made


def fragment(shown: str):
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parseFragment(shown)


def shown_by(thing: object) -> str:
    """Return what IPython would ask for."""
    return vars(type(thing))["_repr_html_"](thing)


def said(shown: str) -> str:
    tree = fragment(shown)
    for style in tree.iter("style"):
        style.text = ""
    return " ".join(" ".join(tree.itertext()).split())


@pytest.fixture
def things(made: Made) -> dict[str, object]:
    return {
        "model": eqsnn.loads(MODEL, EVIL),
        "recording": eqsnn.load_targets(made.targets),
        "fit": eqsnn.read_fit(made.run),
    }


@pytest.mark.parametrize("name", ["model", "recording", "fit"])
def test_a_fragment_is_valid_small_and_keeps_to_itself(things, name):
    shown = shown_by(things[name])
    tree = fragment(shown)
    assert len(shown) < 60_000
    assert not list(tree.iter("script")) and "<b>bold" not in shown
    (style,) = tree.iter("style")
    rules = [rule.split("{")[0] for rule in style.text.split("}") if "{" in rule]
    assert all(
        part.strip().startswith(".eqsnn-shown") for rule in rules for part in rule.split(",")
    )
    assert not [e for e in tree.iter() if "id" in e.attrib]


def test_a_model_shows_its_equations_and_parameters(things):
    text = said(shown_by(things["model"]))
    assert EVIL in text
    assert "~ lognormal(15, 0.3) in [5, 40]" in text
    assert "one for each synapse" in text


def test_a_model_shows_values_that_it_was_given(things):
    model = (
        things["model"].with_values({"cells.tau_g": 7.5, "w": np.ones((4, 4))}).learning(["v_rest"])
    )
    text = said(shown_by(model))
    assert "= 7.5" in text and "= 5 " not in text
    assert "~ as in the file" in text


def test_a_model_without_a_size_shows_itself(things):
    assert "as many as the targets" in said(shown_by(eqsnn.loads(MODEL.replace("lif[4]", "lif"))))


def test_a_recording_shows_its_facts_and_its_spikes(things):
    recording = things["recording"]
    text = said(shown_by(recording))
    assert f"spikes {len(recording.spike_times)} " in text
    assert EVIL in text and "drive" in text


def test_a_recording_without_spikes_or_neurons_shows_itself(things):
    recording = things["recording"]
    none = np.zeros(0)
    silent = replace(recording, spike_times=none, unit_ids=none, trial_ids=none)
    assert "neurons 4" in said(shown_by(silent))
    empty = eqsnn.Recording(none, none.astype(int), none.astype(int), 1.0, 1e-3, 0)
    assert "neurons 0" in said(shown_by(empty))


def test_a_fit_shows_warnings_estimates_and_scores(things):
    text = said(shown_by(things["fit"]))
    assert "not converged" in text and "cells.tau_m" in text and "van Rossum" in text


def test_importing_eqsnn_does_not_import_matplotlib():
    code = "import sys, eqsnn; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["model", "recording", "fit"])
def test_ipython_picks_the_fragment_up(things, name):
    formatters = pytest.importorskip("IPython.core.formatters", reason="IPython is not installed")
    data, _ = formatters.DisplayFormatter().format(things[name])
    assert data["text/html"] == shown_by(things[name])
