"""Typeset equations mean what the file says: they are read back from the MathML and evaluated."""

import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from eqsnn.compiler import model_from_text, read_model
from eqsnn.language import syntax as s
from eqsnn.language.parse import parse
from eqsnn.report import mathematics as m
from eqsnn.report.equations import blocks_of

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.eqs"))
VALUES = {"a": 1.7, "b": 0.3, "c": 2.9, "x": -0.6}
SYMBOLS = {
    "−": "-",
    "·": "*",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "=": "==",
    "⌊": "floor(",
    "⌋": ")",
    "\u2061": "",
}
EXPRESSIONS = [
    "a - (b - c)", "a - b - c", "a/(b*c)", "a/b*c", "a/b/c", "-(a + b)*c", "-a**2", "(-a)**2", "a**b**x", "(a**b)**x",
    "2*a", "a*2", "a*(b + c)", "(a + b)*(a - c)", "exp(-(a + b)/c)", "exp(exp(-a/b))", "sqrt(a*b)", "abs(x) + a",
    "a//b", "(a + b)//c", "a*-b", "a - -b", "1e-3*a", "2.5e2*b", "(a - b)/(c - x)", "a >= b", "a + b != c",
    "exp(a)**2", "a/(b/c)", "(a*b)**(c - 1)", "floor(a/b)", "(a/b)**2", "(a - b)**2*c", "abs(x)**2", "exp(-(a/b)**2/c)", "2*exp(a)*b",
]  # fmt: skip


def expression(text: str) -> s.Expression:
    file = f"neuron n:\n    y = {text} : 1\n    a : 1 = 1\nnetwork:\n    cells : n[1]\n"
    line = parse(file, "test").blocks[0].lines[0]
    assert isinstance(line, s.Definition)
    return line.expression


def spelt(node: ET.Element) -> str:
    """Return MathML as a Python expression, taking nothing for granted that a reader does not see."""
    parts = [spelt(child) for child in node]
    text = (node.text or "").strip()
    match node.tag:
        case "mi":
            return {"e": "math.e", "exp": "math.exp"}.get(text, text)
        case "mn":
            return text
        case "mo":
            return f" {SYMBOLS.get(text, text)} "
        case "mspace":
            return "*"
        case "mfrac":
            return f"(({parts[0]})/({parts[1]}))"
        case "msup":
            base = parts[0]
            # an exponent belongs to the letter, number or parenthesis before it
            return (
                f"({base})**({parts[1]})"
                if base.strip().startswith("(")
                else f"{base}**({parts[1]})"
            )
        case "msqrt":
            return f"math.sqrt({''.join(parts)})"
        case "mrow" | "math":
            return "".join(parts)
    raise AssertionError(f"no reading of {node.tag}")


def read_back(text: str) -> float:
    tree = ET.fromstring(m.math(m.typeset(expression(text), VALUES)))
    said = spelt(tree).replace("floor(", "math.floor(")
    while " | " in said:  # bars come in pairs
        said = said.replace(" | ", "abs(", 1).replace(" | ", ")", 1)
    return eval(said, {"math": math, **VALUES, "abs": abs})


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_typeset_expression_has_the_value_of_the_one_in_the_file(text):
    known = {"exp": math.exp, "sqrt": math.sqrt, "floor": math.floor, "abs": abs}
    written = eval(text, {**known, **VALUES})
    assert read_back(text) == pytest.approx(written, rel=1e-12)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_model_of_the_library_is_typeset_as_well_formed_mathematics(path):
    model = read_model(path)
    blocks = blocks_of(model)
    used = {p.neuron for p in model.populations.values()}
    used |= {p.synapse for p in model.projections.values() if not p.link}
    # poisson and spike_train come with the language and stand in no file
    assert {block.name for block in blocks} == used - {"poisson", "spike_train"}
    for line in (line for block in blocks for line in block.lines):
        assert ET.fromstring(line.math).tag == "math"


def test_names_become_letters_with_subscripts():
    tree = ET.fromstring(m.name("tau_m"))
    assert (tree.tag, [part.text for part in tree.iter("mi")]) == ("msub", ["τ", "m"])
    assert [part.text for part in ET.fromstring(m.name("I_syn_post")).iter("mi")] == [
        "I",
        "syn",
        "post",
    ]
    assert [part.text for part in ET.fromstring(m.name("x12")).iter() if part.text] == ["x", "12"]
    assert ET.fromstring(m.name("phase")).text == "phase"


def test_sums_keep_their_order_and_quantities_their_units():
    text = "".join(
        ET.fromstring(m.math(m.typeset(expression("b - a >= -50*mV"), VALUES))).itertext()
    )
    assert text == "b−a≥−50mV"


def test_a_variable_called_like_a_unit_is_a_variable():
    assert "msub" in m.typeset(expression("m_s"), {"m_s"})
    assert m.typeset(expression("mV"), set()) == "<mi>mV</mi>"


def test_conditionals_are_typeset_as_cases():
    tree = ET.fromstring(
        m.math(m.typeset(expression("where(a > 0 and not (b < c), a, b)"), VALUES))
    )
    assert len(tree.findall(".//mtr")) == 2
    assert "otherwise" in "".join(tree.itertext())


def test_cases_and_sums_over_synapses_end_where_they_end():
    assert "(" not in m.typeset(expression("where(a > 0, a, b)"), VALUES)
    assert m.typeset(expression("where(a > 0, a, b) + c"), VALUES).startswith(
        "<mrow><mrow><mo>(</mo>"
    )
    text = (
        "neuron n:\n    dv/dt = (I - v)/(5*ms) : 1\n    I : 1\n    threshold: v > 1\nsynapse s:\n    w : 1 = 1\n"
        "    I_post = w*v_pre + 1 : 1 (summed)\nnetwork:\n    cells : n[2]\n    cells -> cells : s\n"
    )
    line = blocks_of(model_from_text(text, "test"))[1].lines[0]
    assert "".join(ET.fromstring(line.math).itertext()) == "Ipost=∑pre(wvpre+1)"


def test_statements_say_what_becomes_of_a_variable():
    text = (
        "neuron n:\n    dv/dt = -v/tau : 1\n    threshold: v > 1\n    reset:\n        v -= 1\n        v *= a - b\n"
        "    tau : ms = 5*ms\n    a : 1 = 1\n    b : 1 = 2\nnetwork:\n    cells : n[2]\n"
    )
    (block,) = blocks_of(model_from_text(text, "test"))
    said = ["".join(ET.fromstring(line.math).itertext()) for line in block.lines]
    assert "v←v−1" in said and "v←v(a−b)" in said
    assert block.used == ("cells (2)",)


def test_a_projection_shows_which_synapses_it_has():
    text = (
        "neuron n:\n    dv/dt = -v/(5*ms) : 1\n    threshold: v > 1\nsynapse s:\n    w : 1 = 1\n    on_pre: v_post += w\n"
        "network:\n    cells : n[2]\n    cells -> cells : s with w = 2 if i != j probability 0.5\n"
    )
    assert blocks_of(model_from_text(text, "test"))[1].used == (
        "cells → cells if i != j probability 0.5",
    )
