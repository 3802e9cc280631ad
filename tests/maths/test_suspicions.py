"""One small model for each warning; models of literature give none."""

from pathlib import Path

import pytest

from eqsnn.compiler import model_from_text, read_model
from eqsnn.maths.suspicions import suspicions

SOUND = """neuron cell:
    dv/dt = (a - v + I)/tau : mV
    I : mV
    threshold: v >= v_th
    reset: v = 0*mV
    a : mV = 20*mV
    v_th : mV = 10*mV
    tau : ms = 10*ms

synapse current:
    on_pre: v_post += w
    w : mV ~ normal(0*mV, 1*mV) in [-5*mV, 5*mV]

network:
    dt = 0.1*ms
    cells : cell[3]
    cells -> cells : current if i != j
"""
ALONE = SOUND[: SOUND.index("synapse")] + "network:\n    cells : cell[3]\n"
ALONE = ALONE.replace(" + I", "").replace("    I : mV\n", "")
TRACE = "    threshold: v >= v_th\n    dg/dt = -g/tau : 1\n"


def messages(text: str) -> list[str]:
    return [suspicion.message for suspicion in suspicions(model_from_text(text, "model.eqs"))]


def sound(old: str, new: str, text: str = ALONE) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize("path", sorted(Path("models").glob("*.eqs")), ids=lambda path: path.stem)
def test_models_of_literature_are_not_suspicious(path):
    assert suspicions(read_model(path)) == ()


def test_a_sound_model_is_not_suspicious():
    assert messages(ALONE) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (sound("    tau : ms", "    b : mV = 3*mV\n    tau : ms"), "parameter `b` is never used"),
        (sound("    tau : ms", "    b : mV (input)\n    tau : ms"), "input `b` is never used"),
        (sound("    threshold: v >= v_th\n", TRACE), "nothing reads the state `g`"),
        (
            sound("20*mV", "5*mV"),
            "`cells` never fires: `v` goes to 5 mV and stays below the threshold",
        ),
        (sound("v >= v_th", "v_th > 20*mV"), "the threshold of `cells` is never reached"),
        (sound("v >= v_th", "v_th > 5*mV"), "the threshold of `cells` is always reached"),
        (
            sound("reset: v = 0*mV", "reset: v = v_th"),
            "after the reset of `cells` its threshold still holds, so it fires in every step from its first spike on",
        ),
        (
            sound("reset: v = 0*mV", "reset: v = 0*mV\n    method: euler").replace("10*ms", "0.04*ms"),
            "`cells.v` decays with 0.04 ms, less than the step of 0.1 ms",
        ),
        (
            sound("    threshold: v >= v_th\n", TRACE).replace("-g/tau", "-g/tau_g").replace(
                "    tau : ms", "    tau_g : ms ~ lognormal(5*ms, 0.5)\n    tau : ms"
            ),
            "no spike depends on `cells.tau_g`, so it cannot be learned from spikes",
        ),
    ],
)  # fmt: skip
def test_what_is_suspicious_is_told(text, message):
    assert message in messages(text)


@pytest.mark.parametrize(
    "text",
    [
        # what is unknown, given with the data or driven by others may well reach the threshold
        sound("a : mV = 20*mV", "a : mV ~ normal(5*mV, 1*mV) in [0*mV, 9*mV]"),
        sound("a : mV = 20*mV", "a : mV (input)"),
        sound("20*mV", "5*mV", SOUND).replace("    I : mV\n", "").replace(" + I", ""),
        # exact integration has no error, whatever the step
        sound("10*ms", "0.05*ms"),
        # a refractory period lets the state decay before the threshold is asked again
        sound("reset: v = 0*mV", "reset: v = 30*mV\n    refractory: 5*ms"),
        sound("v >= v_th", "rand() < 0.1 and v > v_th"),
    ],
)
def test_what_cannot_be_decided_is_not_told(text):
    assert messages(text) == []


def test_a_warning_has_its_place_a_caret_and_a_hint():
    (suspicion,) = suspicions(model_from_text(sound("20*mV", "5*mV"), "model.eqs"))
    assert str(suspicion) == (
        "model.eqs:3:16: warning: `cells` never fires: `v` goes to 5 mV and stays below the threshold\n"
        "   3 |     threshold: v >= v_th\n"
        "     |                ^^^^^^^^^\n"
        "hint: give it a drive, or lower the threshold"
    )
