"""The language: what is written is what is meant, and nothing a user types can break the reader."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqsnn.compiler import model_from_text
from eqsnn.errors import ModelError
from eqsnn.language.functions import symbol
from eqsnn.language.model import Distribution, Role
from eqsnn.language.parse import parse
from eqsnn.language.syntax import format_syntax
from eqsnn.language.units import parse_unit

MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.eqs"))

SKETCH = """
# Leaky integrate-and-fire network with exponentially decaying conductances.

neuron lif:
    dv/dt = (v_rest - v + I) / tau_m : mV (unless refractory)
    dg/dt = -g / tau_g               : 1
    I = I_syn + I_ext                : mV
    I_syn                            : mV              # filled by the synapses
    I_ext                            : mV (input)      # given with the data, by this name

    threshold: v >= v_th
    reset:
        v = v_rest
        g += 1
    refractory: 2*ms

    v_th   : mV = -50*mV
    v_rest : mV ~ normal(-65*mV, 5*mV) in [-80*mV, -55*mV]
    tau_m  : ms ~ lognormal(12*ms, 0.5) in [2*ms, 60*ms]
    tau_g  : ms ~ lognormal(5*ms, 0.5) in [1*ms, 30*ms] (shared)

synapse exponential:
    I_syn_post = w * g_pre : mV (summed)
    w : mV ~ normal(0*mV, 2*mV) in [-20*mV, 20*mV]

network:
    dt = 1*ms
    cells : lif                                   # as many as the targets have; lif[12] fixes it
    cells -> cells : exponential if i != j
"""


@pytest.mark.parametrize(
    "text",
    [SKETCH, *(path.read_text() for path in MODELS)],
    ids=["sketch", *(p.stem for p in MODELS)],
)
def test_a_written_model_parses_to_the_same_syntax_again(text):
    syntax = parse(text)
    assert parse(format_syntax(syntax)) == syntax


def test_the_sketch_means_what_it_says():
    model = model_from_text(SKETCH)
    lif = model.neurons["lif"]
    assert {name: v.role for name, v in lif.variables.items()} == {
        "v": Role.STATE,
        "g": Role.STATE,
        "I": Role.SUBEXPRESSION,
        "I_syn": Role.VARIABLE,
        "I_ext": Role.INPUT,
        "v_th": Role.PARAMETER,
        "v_rest": Role.PARAMETER,
        "tau_m": Role.PARAMETER,
        "tau_g": Role.PARAMETER,
    }
    value = lif.variables["v_rest"].value
    assert value is not None
    assert value.learned
    assert (value.given, value.low, value.high) == (
        Distribution("normal", (-65.0, 5.0)),
        -80.0,
        -55.0,
    )
    assert lif.variables["tau_g"].shared
    v, v_rest, tau_m = (symbol(name) for name in ("v", "v_rest", "tau_m"))
    assert lif.equations["v"] == (v_rest - v + symbol("I")) / tau_m
    assert lif.refractory == 2
    assert model.populations["cells"].size is None
    assert model.projections["cells->cells"].condition is not None


@pytest.mark.parametrize(
    ("text", "scale"),
    [
        ("mV", 1),
        ("volt", 1000),
        ("ms", 1),
        ("second", 1000),
        ("Hz", 1e-3),
        ("nA", 1000),
        ("pA", 1),
        ("nS*mV", 1),
        ("pF*mV/ms", 1),
        ("Mohm", 1e-3),
        ("uF/cm**2", 0.01),
        ("mM", 1),
        ("amp/metre**2", 1),
        ("1", 1),
    ],
)
def test_units_convert_to_the_coherent_system_exactly(text, scale):
    assert parse_unit(text).scale == scale


def test_names_that_resemble_units_of_other_fields_stay_free_for_variables():
    text = (
        "neuron n:\n"
        + "".join(f"    d{name}/dt = -{name}/(10*ms) : 1\n" for name in "ghsuadkbcpqw")
        + "    threshold: g > 1\n"
    )
    assert len(model_from_text(text).neurons["n"].equations) == 12


TOKENS = [
    *(
        "neuron",
        "synapse",
        "network",
        "lif",
        "v",
        "g",
        "w",
        "mV",
        "ms",
        "1",
        "2.5",
        "dv/dt",
        "=",
        "~",
        ":",
        "->",
        "+",
        "-",
    ),
    *(
        "*",
        "/",
        "**",
        "(",
        ")",
        "[",
        "]",
        ",",
        "in",
        "if",
        "with",
        "and",
        "not",
        "normal(",
        "exp(",
        "xi",
        "threshold",
        "reset",
    ),
    *(
        "\n",
        "\n    ",
        "\n        ",
        "#",
        '"',
        "{",
        "1e999",
        "delay",
        "probability",
        "i",
        "==",
        "<",
        ";",
        "é",
        "\t",
        "input",
    ),
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=40))
def test_any_sequence_of_tokens_is_a_model_or_a_model_error(tokens):
    with contextlib.suppress(ModelError):
        model_from_text(" ".join(tokens))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_mutation_of_a_valid_model_is_a_model_or_a_model_error(data):
    text = data.draw(st.sampled_from([SKETCH, MODELS[0].read_text(), MODELS[-1].read_text()]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = text[:place] + data.draw(st.sampled_from([*TOKENS, ""])) + text[place + length :]
    with contextlib.suppress(ModelError):
        model_from_text(text)


@pytest.mark.parametrize(
    "nested",
    [
        "(" * 5000 + "v" + ")" * 5000,
        "-" * 5000 + "v",
        "+".join(["v"] * 20000),
        "exp(" * 60 + "v" + ")" * 60,
    ],
)
def test_deep_or_long_expressions_are_refused_cleanly_or_handled(nested):
    text = f"neuron n:\n    dx/dt = {nested} : 1\n    v : 1 = 0\n"
    with contextlib.suppress(ModelError):
        model_from_text(text)
