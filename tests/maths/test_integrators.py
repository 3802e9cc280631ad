"""Integrators: the order they claim, and exactness where they claim it, against scipy."""

from math import log2

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from eqsnn.backends.pytorch import compile_once
from eqsnn.language.functions import symbol
from eqsnn.maths.integrators import INTEGRATORS, NotApplicable, System, choose
from eqsnn.maths.program import NETWORK, Assign, Input, Kind, Program

torch = pytest.importorskip("torch")

X, Y, Z = (symbol(name) for name in "xyz")


def advance(system, method, start, dt, steps):
    step = INTEGRATORS[method].advance(system)
    inputs = tuple(
        Input(s, NETWORK, Kind.SETTING) for s in (*system.rates, symbol("dt"), symbol("t"))
    )
    targets = {x: symbol(f"{x}.next") for x in system.rates}
    statements = tuple(Assign(targets[x], NETWORK, value) for x, value in step.items())
    run = compile_once(
        Program({}, inputs, statements, {}, {str(x): targets[x] for x in system.rates})
    )
    state = {str(x): torch.tensor(value, dtype=torch.float64) for x, value in start.items()}
    for n in range(steps):
        state = run(state | {"dt": dt, "t": n * dt}, {}, torch.float64)
        state = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in state.items()}
    return np.array([float(value) for value in state.values()])


SMOOTH = System({X: Y - X / 2 + sympy.sin(symbol("t")), Y: -X + Y * (1 - X**2) / 10 - Y / 5})


def error(method, steps):
    def rates(t, state):
        x, y = state
        return [y - x / 2 + np.sin(t), -x + y * (1 - x**2) / 10 - y / 5]

    truth = solve_ivp(rates, (0, 2), [1.0, 0.5], rtol=1e-12, atol=1e-12).y[:, -1]
    return np.abs(advance(SMOOTH, method, {X: 1.0, Y: 0.5}, 2 / steps, steps) - truth).max()


@pytest.mark.parametrize(
    "method",
    [
        name
        for name, i in INTEGRATORS.items()
        if i.order is not None and name != "exponential_euler"
    ],
)
def test_halving_the_step_divides_the_error_by_two_to_the_order(method):
    ratio = error(method, 80) / error(method, 160)
    assert log2(ratio) == pytest.approx(INTEGRATORS[method].order, abs=0.15)


def test_exponential_euler_has_order_one_on_a_conditionally_linear_system():
    system = System({X: (1 - X) * Y - X, Y: -Y * X})

    def rates(t, state):
        x, y = state
        return [(1 - x) * y - x, -y * x]

    truth = solve_ivp(rates, (0, 2), [0.2, 1.5], rtol=1e-12, atol=1e-12).y[:, -1]
    errors = [
        np.abs(advance(system, "exponential_euler", {X: 0.2, Y: 1.5}, 2 / n, n) - truth).max()
        for n in (80, 160)
    ]
    assert log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "matrix",
    [
        [[-0.1, 0.0], [0.3, -0.2]],
        [[-0.1, 0.0], [0.3, -0.1]],  # coinciding time constants
        [[-0.1, 0.0], [0.3, 0.0]],  # a pure integral
        [[0.0, 1.0], [-1.0, 0.0]],  # an oscillator
        [[-0.1, 0.2, 0.0], [0.0, -0.1, 0.5], [0.0, 0.0, -0.1]],
    ],
    ids=["chain", "equal time constants", "integral", "oscillator", "triple eigenvalue"],
)
def test_exact_agrees_with_the_matrix_exponential_where_others_divide_by_zero(matrix):
    a = np.array(matrix)
    n = len(a)
    b = np.arange(1.0, n + 1)
    states = (X, Y, Z)[:n]
    rates = {
        states[row]: sum(
            (sympy.Rational(str(a[row, k])) * states[k] for k in range(n)),
            sympy.Rational(str(b[row])),
        )
        for row in range(n)
    }
    start = np.array([1.0, -2.0, 0.5])[:n]
    found = advance(System(rates), "exact", dict(zip(states, start, strict=True)), 0.7, 3)
    augmented = np.zeros((n + 1, n + 1))
    augmented[:n, :n], augmented[:n, n] = a, b
    expected = (expm(augmented * 2.1) @ np.append(start, 1.0))[:n]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_exact_refuses_a_nonlinear_equation_and_names_it():
    with pytest.raises(NotApplicable, match="linear"):
        INTEGRATORS["exact"].advance(System({X: -(X**2)}))


@pytest.mark.parametrize(
    ("rates", "white", "expected"),
    [
        ({X: -X / 10}, (), "exact"),
        ({X: -X * Y, Y: -Y * X}, (), "exponential_euler"),
        ({X: X**2}, (), "euler"),
        ({X: -X + symbol("xi")}, (symbol("xi"),), "euler"),
        ({X: -X + X * symbol("xi")}, (symbol("xi"),), "heun"),
    ],
)
def test_the_automatic_choice_is_the_most_accurate_method_that_applies(rates, white, expected):
    assert choose(System(rates, white))[0] == expected
