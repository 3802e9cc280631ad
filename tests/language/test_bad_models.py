"""One model file per mistake, each with the whole message a user sees."""

from pathlib import Path

import pytest

from eqsnn.compiler import model_from_text, read_model
from eqsnn.errors import ModelError
from eqsnn.maths.discretise import discretise

BAD = Path(__file__).parents[1] / "bad"
FILES = sorted(BAD.glob("*.eqs"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_bad_model_is_refused_with_its_expected_message(path):
    with pytest.raises(ModelError) as error:
        discretise(model_from_text(path.read_text(), path.name))
    assert str(error.value) == path.with_suffix(".expected").read_text().rstrip("\n")


def test_every_located_message_points_with_a_caret_and_gives_a_hint():
    assert len(FILES) >= 120
    for path in FILES:
        message = path.with_suffix(".expected").read_text()
        if path.stem != "empty":
            assert "^" in message
            assert f"{path.name}:" in message
            assert "hint: " in message, path.name


def test_several_mistakes_of_one_file_are_reported_together():
    text = """
neuron cell:
    dv/dt = (v_rst - v)/tau : mV
    tau : ms = 10*mV
    v_rest : mV = -60*mV
    threshold: v > -50
"""
    with pytest.raises(ModelError) as error:
        model_from_text(text, "three.eqs")
    message = str(error.value)
    assert "3 errors" in message
    assert "three.eqs:3:14: unknown name `v_rst`" in message
    assert "did you mean `v_rest`?" in message


def test_a_file_that_is_no_text_is_refused_by_its_path(tmp_path):
    path = tmp_path / "binary.eqs"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match=r"binary\.eqs: byte 0 is not UTF-8"):
        read_model(path)
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path / "missing.eqs")
