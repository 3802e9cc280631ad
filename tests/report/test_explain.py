"""The report of `eqsnn check --explain` on models whose answers are known."""

import json

import pytest

from eqsnn.cli import main
from eqsnn.compiler import model_from_text
from eqsnn.maths.symmetries import symmetries
from eqsnn.report.explain import explain, format_explanation

DRIVEN = """neuron cell:
    dv/dt = (v_rest - v + I)/tau : mV
    I = R*J : mV
    J : 1 (input)
    threshold: v >= v_th
    reset: v = v_rest
    initial: v = v_rest
    v_th : mV = -50*mV
    v_rest : mV ~ normal(-65*mV, 5*mV) in [-80*mV, -55*mV]
    R : mV ~ halfnormal(10*mV) in [0*mV, 50*mV]
    tau : second = 0.01*second

network:
    dt = 0.5*ms
    cells : cell[4]
"""
COUPLED = """neuron cell:
    dv/dt = (J - v)/tau : 1
    dg/dt = -g/tau : 1
    I : 1
    J = I + 2 : 1
    threshold: v >= 1
    reset:
        v = 0
        g += a
    tau : ms = 10*ms
    a : 1 ~ lognormal(1, 0.5)

synapse current:
    I_post = w*g_pre : 1 (summed)
    w : 1 ~ normal(0, 1)

network:
    cells : cell[3]
    cells -> cells : current
"""


def determined(text: str) -> list[tuple[tuple[str, ...], str]]:
    return [(s.unknowns, s.invariant) for s in symmetries(model_from_text(text))]


def test_a_drive_of_unknown_size_and_an_unknown_rest_leave_their_ratio():
    assert determined(DRIVEN) == [(("cells.v_rest", "cells.R"), "only (cells.v_rest + 50)/cells.R")]


def test_the_jump_of_a_trace_and_the_weight_of_its_synapse_leave_their_product():
    (found,) = symmetries(model_from_text(COUPLED))
    assert found.unknowns == ("cells.a", "cells->cells.w")
    assert found.invariant == "only cells.a*cells->cells.w"
    assert str(found) == "cells.g * c; cells.a * c; cells->cells.w * c**-1"


def test_a_shift_of_every_potential_changes_no_spike():
    text = DRIVEN.replace(
        "v_th : mV = -50*mV", "v_th : mV ~ normal(-50*mV, 1*mV) in [-55*mV, -45*mV]"
    )
    text = text.replace("R : mV ~ halfnormal(10*mV) in [0*mV, 50*mV]", "R : mV = 5*mV")
    (found,) = symmetries(model_from_text(text))
    assert str(found) == "cells.v + 1*c; cells.v_th + 1*c; cells.v_rest + 1*c"
    assert found.invariant == "only cells.v_th - cells.v_rest"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("R : mV ~ halfnormal(10*mV) in [0*mV, 50*mV]", "R : mV = 5*mV"),  # the drive is known
        ("J : 1 (input)", "J = exp(v/mV) : 1"),  # a nonlinear equation has a scale of its own
        ("threshold: v >= v_th", "threshold: v >= v_th and v < 0*mV"),
        ("initial: v = v_rest", "initial: v = -65*mV"),
        ("reset: v = v_rest", "reset: v = -70*mV"),
    ],
)
def test_what_fixes_the_scale_leaves_no_symmetry(old, new):
    assert old in DRIVEN
    assert determined(DRIVEN.replace(old, new)) == []


def test_a_mean_count_of_draws_is_not_free():
    text = DRIVEN.replace("J : 1 (input)", "J = poisson(rate*dt) : 1 (constant over dt)").replace(
        "R : mV ~ halfnormal(10*mV) in [0*mV, 50*mV]",
        "R : mV = 5*mV\n    rate : Hz ~ lognormal(100*Hz, 1)",
    )
    assert determined(text) == []


def test_a_value_of_the_start_of_the_step_is_not_the_present_one():
    # were `old` the new v, g would have no source, and its scale would be free
    text = COUPLED.replace(
        "    dg/dt = -g/tau : 1\n", "    g : 1\n    old = v : 1 (constant over dt)\n"
    )
    text = text.replace(
        "    tau : ms", "    update: g = g + dt*((v - old)*a - g)/tau\n    tau : ms"
    )
    (found,) = symmetries(model_from_text(text.replace("        g += a\n", "        g = 0\n")))
    assert found.invariant == "only cells.a*cells->cells.w"
    assert (
        determined(
            text.replace("(v - old)*a", "(v - old)")
            .replace("        g += a\n", "")
            .replace("    a : 1 ~ lognormal(1, 0.5)\n", "")
        )
        == []
    )


def test_the_report_writes_equations_out_and_gives_units_and_bounds_of_the_file():
    text = format_explanation(explain(model_from_text(DRIVEN, "model.eqs")))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for expected in (
        "dv/dt = (J*R - v + v_rest)/tau : mV",
        "threshold: v >= v_th",
        "reset: v = v_rest : mV",
        "integrated by exact because it is linear",
        "tau parameter second one for each neuron = 0.01",
        "R unknown mV one for each neuron ~ halfnormal(10) in [0, 50]",
        "cells.v_rest and cells.R: only (cells.v_rest + 50)/cells.R matters",
    ):
        assert expected in lines


def test_the_cost_counts_states_parameters_and_what_is_stored():
    cost = explain(model_from_text(COUPLED)).cost
    assert cost.states == 6  # v and g of three neurons
    assert cost.parameters == 3 + 3 + 9
    assert cost.learned == 3 + 9
    forward, backward = cost.operations["cells->cells"]
    assert forward == 2  # a product and a sum
    assert backward >= forward
    assert cost.stored_bytes == 4 * (6 + 3)  # the states, and what each neuron's synapses sum to


def test_the_command_prints_the_report_as_text_and_as_json(tmp_path, capsys):
    path = tmp_path / "model.eqs"
    path.write_text(DRIVEN)
    assert main(["check", "--explain", str(path)]) == 0
    assert "what spikes cannot tell:" in capsys.readouterr().out
    assert main(["check", "--explain", "--json", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["symmetries"][0]["determined"] == "only (cells.v_rest + 50)/cells.R"
    assert found["groups"][0]["lines"][0]["unit"] == "mV"


def test_a_suspicious_model_passes_the_check_with_a_warning_and_simulates_quietly_if_asked(
    tmp_path, capsys
):
    path, out = tmp_path / "model.eqs", str(tmp_path / "out.npz")
    path.write_text(
        "neuron cell:\n    dv/dt = (a - v)/(10*ms) : 1\n    threshold: v > 1\n    a : 1 = 0.5\n\n"
        "network:\n    cells : cell[1]\n"
    )
    assert main(["check", str(path)]) == 0
    assert "model.eqs:3:16: warning: `cells` never fires" in capsys.readouterr().out
    assert main(["simulate", str(path), "--duration", "10ms", "--out", out]) == 0
    assert "warning: `cells` never fires" in capsys.readouterr().err
    assert main(["simulate", str(path), "--duration", "10ms", "--out", out, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
