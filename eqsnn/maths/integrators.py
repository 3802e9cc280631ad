"""Integrators: from time derivatives to the values one step later, written once in sympy for every model.

An integrator maps a `System` and the step dt to the next value of every state, all from old values. Between two
steps everything but the states (inputs, synaptic variables, draws) is held constant. White noise enters as
`dW = sqrt(dt) * draw`. Methods and their formulas are Brian2's, except where a limit made theirs unsafe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import sympy
from sympy import Expr, Matrix, Symbol, sqrt

from eqsnn.language.functions import MatrixExponential, Phi, symbol
from eqsnn.language.size import size_of
from eqsnn.maths.affine import expanded, expanded_if_small, is_affine

LARGEST_STEP = 300_000  # operations that a method of several stages may write out
TIME = symbol("t")
DT = symbol("dt")


class NotApplicable(Exception):
    """The method cannot integrate this system; the message says which equation and why."""


@dataclass(frozen=True, slots=True)
class System:
    """Differential equations `dx/dt = rates[x]`; `white` lists the symbols of white noise in the rates."""

    rates: Mapping[Symbol, Expr]
    white: tuple[Symbol, ...] = field(default=())

    def drift(self) -> dict[Symbol, Expr]:
        """Return the rates without their noise."""
        quiet = dict.fromkeys(self.white, sympy.Integer(0))
        return {x: rate.xreplace(quiet) for x, rate in self.rates.items()}

    def diffusion(self, x: Symbol) -> dict[Symbol, Expr]:
        """Return the coefficient of each white noise in the rate of `x`."""
        for xi in self.white:
            if not is_affine(self.rates[x], (xi,)):
                raise NotApplicable(f"white noise enters d{x}/dt otherwise than by a factor ({xi})")
        coefficients = {xi: expanded_if_small(self.rates[x].diff(xi)) for xi in self.white}
        return {xi: coefficient for xi, coefficient in coefficients.items() if coefficient != 0}

    def kick(self, x: Symbol) -> Expr:
        """Return the sum of diffusion times dW for `x`."""
        return sum((g * sqrt(DT) * xi for xi, g in self.diffusion(x).items()), sympy.Integer(0))

    @property
    def noise_is_multiplicative(self) -> bool:
        """Whether a diffusion coefficient depends on a state."""
        return any(g.has(*self.rates) for x in self.rates for g in self.diffusion(x).values())


Step = dict[Symbol, Expr]


def euler(system: System) -> Step:
    """X + dt f(x, t) + g dW (Euler-Maruyama). Order 1; noise must be additive, or its Ito meaning is intended."""
    drift = system.drift()
    return {x: x + DT * drift[x] + system.kick(x) for x in system.rates}


def exponential_euler(system: System) -> Step:
    """Each equation x' = a x + b advanced exactly with a and b held: x + (a x + b) dt phi_1(a dt).

    Order 1; exact where a and b are constant; a = 0 needs no special case. Raises NotApplicable if an equation is not
    linear in its own variable or is noisy. Source: Rotter & Diesmann 1999, doi:10.1007/s004220050570.
    """
    _refuse_noise(system, "exponential_euler")
    step = {}
    for x, rate in system.rates.items():
        if not is_affine(rate, (x,)):
            raise NotApplicable(f"exponential_euler needs d{x}/dt to be linear in {x}")
        step[x] = x + rate * DT * Phi(1, slope_of(rate, x) * DT)
    return step


def slope_of(rate: Expr, x: Symbol) -> Expr:
    """Return the derivative of a rate that is linear in `x`, free of `x`."""
    slope = rate.diff(x)
    return expanded(slope) if slope.has(x) else slope


def exact(system: System) -> Step:
    """x(t + dt) = exp(A dt) x + integral of exp(A s) ds b for the linear system x' = A x + b.

    Exact for A and b constant over the step. States that do not act on each other are solved apart; a single state or
    a chain of two uses phi functions, so coinciding time constants, a = 0 and oscillations are all regular; larger
    blocks use the matrix exponential (Van Loan 1978, doi:10.1109/TAC.1978.1101743). Raises NotApplicable.
    """
    _refuse_noise(system, "exact")
    if any(rate.has(TIME) for rate in system.rates.values()):
        raise NotApplicable("exact cannot integrate an explicit dependence on t")
    step: Step = {}
    for block in _independent_blocks(system.rates):
        rates = [system.rates[x] for x in block]
        if not all(is_affine(rate, block) for rate in rates):
            raise NotApplicable(
                f"exact needs linear equations; {', '.join(map(str, block))} are not"
            )
        matrix = Matrix([[slope_of(rate, x) for x in block] for rate in rates])
        at_rest = dict.fromkeys(block, sympy.Integer(0))
        constant = [rate.xreplace(at_rest) for rate in rates]
        if len(block) == 1:
            step[block[0]] = block[0] + rates[0] * DT * Phi(1, matrix[0, 0] * DT)
        else:
            step |= dict(zip(block, _propagate(block, matrix, constant), strict=True))
    return step


def midpoint(system: System) -> Step:
    """X + dt f(x + dt/2 f, t + dt/2). Order 2. Source: Runge 1895."""
    _refuse_noise(system, "midpoint")
    _refuse_growth(system, 2, "midpoint")
    half = _stage(system, {x: DT / 2 * rate for x, rate in system.rates.items()}, DT / 2)
    return {x: x + DT * half[x] for x in system.rates}


def rk4(system: System) -> Step:
    """The classical Runge-Kutta method. Order 4. Source: Kutta 1901."""
    _refuse_noise(system, "rk4")
    _refuse_growth(system, 4, "rk4")
    first = dict(system.rates)
    second = _stage(system, {x: DT / 2 * first[x] for x in first}, DT / 2)
    third = _stage(system, {x: DT / 2 * second[x] for x in first}, DT / 2)
    fourth = _stage(system, {x: DT * third[x] for x in first}, DT)
    return {x: x + DT / 6 * (first[x] + 2 * second[x] + 2 * third[x] + fourth[x]) for x in first}


def heun(system: System) -> Step:
    """X + dt f + (g(x) + g(x + g dW)) dW / 2: multiplicative noise in the Stratonovich sense, as Brian2's `heun`.

    Order 1 in the drift. Source: Kloeden & Platen 1992, section 11.1, doi:10.1007/978-3-662-12616-5.
    """
    drift = system.drift()
    support = {x: x + system.kick(x) for x in system.rates}
    step = {}
    for x in system.rates:
        kicks = [
            (g + g.xreplace(support).xreplace({TIME: TIME + DT})) / 2 * sqrt(DT) * xi
            for xi, g in system.diffusion(x).items()
        ]
        step[x] = x + DT * drift[x] + sum(kicks, sympy.Integer(0))
    return step


def milstein(system: System) -> Step:
    """X + dt f + g dW + (g(x + dt f + sqrt(dt) g) - g(x)) dW^2 / (2 sqrt(dt)), without a derivative of g.

    Strong order 1, Stratonovich sense, as Brian2's `milstein`. Raises NotApplicable unless each equation has one noise
    of its own. Source: Kloeden & Platen 1992, section 11.1, doi:10.1007/978-3-662-12616-5.
    """
    drift = system.drift()
    taken: set[Symbol] = set()
    for x in system.rates:
        own = system.diffusion(x)
        others = set(system.rates) - {x}
        if (
            len(own) > 1
            or taken & own.keys()
            or any(g.has(*others) for g in own.values() if others)
        ):
            raise NotApplicable(
                f"milstein needs a noise of its own for {x} that no other state scales"
            )
        taken |= own.keys()
    step = {}
    for x in system.rates:
        step[x] = x + DT * drift[x] + system.kick(x)
        for xi, g in system.diffusion(x).items():
            beyond = {
                y: y + DT * drift[y] + sqrt(DT) * sum(system.diffusion(y).values())
                for y in system.rates
            }
            step[x] += (g.xreplace(beyond) - g) * (sqrt(DT) * xi) ** 2 / (2 * sqrt(DT))
    return step


class Integrator(NamedTuple):
    """A method and the order of its error in dt; None: no error on the systems it accepts."""

    advance: Callable[[System], Step]
    order: int | None


INTEGRATORS = {
    "euler": Integrator(euler, order=1),
    "exponential_euler": Integrator(exponential_euler, order=1),
    "exact": Integrator(exact, order=None),
    "midpoint": Integrator(midpoint, order=2),
    "rk4": Integrator(rk4, order=4),
    "heun": Integrator(heun, order=1),
    "milstein": Integrator(milstein, order=1),
}
ALIASES = {"linear": "exact", "rk2": "midpoint"}


def choose(system: System) -> tuple[str, str]:
    """Return the method for equations that name none, and the reason for people to read."""
    if system.white:
        if system.noise_is_multiplicative:
            return "heun", "its noise is multiplied by a state"
        return "euler", "it has additive noise"
    for name, reason in (
        ("exact", "it is linear"),
        ("exponential_euler", "each equation is linear in its own state"),
    ):
        try:
            INTEGRATORS[name].advance(system)
        except NotApplicable:
            continue
        return name, reason
    return "euler", "it is not linear"


def _refuse_noise(system: System, method: str) -> None:
    if system.white:
        raise NotApplicable(
            f"{method} cannot integrate white noise ({', '.join(map(str, system.white))})"
        )


def _refuse_growth(system: System, stages: int, method: str) -> None:
    """Each stage writes the equations into themselves, in place of each state that they mention."""
    mentions = max(
        size_of(rate, {x: 2 for x in system.rates}) - size_of(rate, {})
        for rate in system.rates.values()
    )
    size = sum(size_of(rate, {}) for rate in system.rates.values())
    if size * max(1, mentions) ** (stages - 1) > LARGEST_STEP:
        raise NotApplicable(f"{method} would have to evaluate the equations too often in one step")


def _stage(system: System, shift: Step, later: Expr) -> Step:
    moved = {x: x + shift[x] for x in system.rates} | {TIME: TIME + later}
    return {x: rate.xreplace(moved) for x, rate in system.rates.items()}


def _independent_blocks(rates: Mapping[Symbol, Expr]) -> list[tuple[Symbol, ...]]:
    """Group states that act on each other, in either direction, in the order of the file."""
    blocks: list[list[Symbol]] = []
    for x in rates:
        linked = [
            block for block in blocks if any(rates[x].has(y) or rates[y].has(x) for y in block)
        ]
        merged = [y for block in linked for y in block] + [x]
        blocks = [block for block in blocks if block not in linked] + [merged]
    return [tuple(x for x in rates if x in block) for block in blocks]


def _propagate(block: tuple[Symbol, ...], matrix: Matrix, constant: list[Expr]) -> list[Expr]:
    if len(block) == 2 and (matrix[0, 1] == 0 or matrix[1, 0] == 0):
        return _chain_of_two(block, matrix, constant)
    n = len(block)
    augmented = sympy.zeros(2 * n, 2 * n)
    augmented[:n, :n] = matrix * DT
    augmented[:n, n:] = sympy.eye(n) * DT
    return [
        sum(
            (
                MatrixExponential.of(augmented, row, column) * block[column]
                + MatrixExponential.of(augmented, row, n + column) * constant[column]
                for column in range(n)
            ),
            sympy.Integer(0),
        )
        for row in range(n)
    ]


def _chain_of_two(block: tuple[Symbol, ...], matrix: Matrix, constant: list[Expr]) -> list[Expr]:
    """Solve x' = a x + b, y' = c y + d x + e, in deviations from the start: only divided differences of exp appear.

    With r = a x + b and s = c y + d x + e at the start, x gains r dt phi_1(a dt) and
    y gains s dt phi_1(c dt) + d r dt^2 psi, psi = (phi_1(a dt) - phi_1(c dt)) / ((a - c) dt).
    """
    first = 0 if matrix[0, 1] == 0 else 1
    second = 1 - first
    a, c, d = matrix[first, first], matrix[second, second], matrix[second, first]
    x, y = block[first], block[second]
    x_rate = a * x + constant[first]
    y_rate = c * y + d * x + constant[second]
    solved = {
        first: x + x_rate * DT * Phi(1, a * DT),
        second: y
        + y_rate * DT * Phi(1, c * DT)
        + d * x_rate * DT**2 * _divided_difference_of_phi(a * DT, c * DT),
    }
    return [solved[0], solved[1]]


def _divided_difference_of_phi(p: Expr, q: Expr) -> Expr:
    """(phi_1(p) - phi_1(q))/(p - q), regular at p = q: the divided difference of exp at the nodes p, q and 0.

    It is a corner of the exponential of a bidiagonal matrix (Opitz 1964; McCurdy, Ng & Parlett 1984).
    """
    return MatrixExponential.of(Matrix([[p, 1, 0], [0, q, 1], [0, 0, 0]]), 0, 2)
