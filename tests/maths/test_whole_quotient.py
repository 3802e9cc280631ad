"""`//` and `%` are those of the value, however sympy would write a sum divided by a number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eqsnn
from eqsnn.simulation import setup

NETWORK = """
neuron lif:
    dv/dt = (mu - v)/(10*ms) : 1
    mu : 1
    threshold: v > 1
    reset: v = 0
synapse one:
    on_pre: v_post += w
    w : 1
network:
    dt = 1*ms
    cells : lif[30] with mu = 0
    cells -> cells : one with w = 0 if ({polynomial}) % {divisor} == 0
"""


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.integers(2, 49))
@settings(max_examples=25, deadline=None)
def test_pairs_chosen_by_a_remainder_are_those_of_integers(factors, divisor):
    a, b, c, d = factors
    polynomial = f"{a}*i*i + {b}*i*j + {c}*j*j + {d}*j + 7"
    model = eqsnn.loads(NETWORK.format(polynomial=polynomial, divisor=divisor))
    i, j = np.indices((30, 30))
    expected = (a * i * i + b * i * j + c * j * j + d * j + 7) % divisor == 0
    found = setup.synapses_of(model.definition)["cells->cells"]
    np.testing.assert_array_equal(np.asarray(found).reshape(30, 30) > 0, expected)


@pytest.mark.parametrize("backend", ["native", "pytorch"])
def test_a_state_holds_whole_parts_and_remainders_of_a_sum(backend):
    text = """
neuron counter:
    dn/dt = 0/ms : 1
    whole = (3*n + k*n + 22) // 11 : 1
    rest = (3*n + k*n + 22) % 11 : 1
    k : 1
    threshold: True
    reset: n += 1
network:
    dt = 1*ms
    cells : counter[1] with k = 8
"""
    run = eqsnn.simulate(eqsnn.loads(text), 0.2, record=["whole", "rest"], backend=backend)
    np.testing.assert_array_equal(run.traces["cells.whole"].ravel(), np.arange(200) + 2)
    np.testing.assert_array_equal(run.traces["cells.rest"].ravel(), 0)
