"""The functions of the language as sympy nodes whose derivatives are defined everywhere and leak no NaN.

sympy's own nodes serve wherever their derivative is harmless (`exp`, `tanh`, ...); the classes here are those
whose value or derivative has to be chosen: conditionals, limits such as (e^x - 1)/x, roundings, random quantiles.
A condition is a sympy Boolean; every other argument is a real expression.
"""

import sympy
from sympy import Expr, Integer, Symbol
from sympy.logic.boolalg import Boolean


def symbol(name: str) -> Symbol:
    """Return the one symbol that stands for `name` in every stage: real, so that sympy never goes complex."""
    return Symbol(name, real=True)


class RealFunction(sympy.Function):
    """A function with real values; spares sympy its assumption search."""

    is_extended_real = True
    is_commutative = True


class Where(RealFunction):
    """`Where(condition, a, b)`: a where the condition holds, else b. Only the chosen branch is differentiated."""

    nargs = 3

    @classmethod
    def eval(cls, condition: Boolean, chosen: Expr, other: Expr) -> Expr | None:
        """Fold constant conditions and equal branches."""
        if condition is sympy.true:
            return chosen
        if condition is sympy.false or chosen == other:
            return other
        return None

    def _eval_derivative(self, s: Symbol) -> Expr:
        condition, chosen, other = self.args
        return Where(condition, chosen.diff(s), other.diff(s))


class Mix(RealFunction):
    """`Mix(s, a, b)`: a where the spike s is 1, else b; differentiated as s*a + (1 - s)*b, so a gradient can cross a reset."""

    nargs = 3

    @classmethod
    def eval(cls, spike: Expr, chosen: Expr, other: Expr) -> Expr | None:
        """Fold equal branches and a constant spike."""
        if chosen == other or spike == 0:
            return other
        return chosen if spike == 1 else None

    def _eval_derivative(self, s: Symbol) -> Expr:
        spike, chosen, other = self.args
        return Mix(spike, chosen.diff(s), other.diff(s)) + (chosen - other) * spike.diff(s)


class Flat(RealFunction):
    """A piecewise constant function: its derivative is zero wherever it exists, and taken as zero at the jumps."""

    def _eval_derivative(self, s: Symbol) -> Expr:
        return Integer(0)


class Floor(Flat):
    """Largest integer not above the argument."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        """Fold numbers."""
        return sympy.floor(x) if x.is_number else None


class WholeQuotient(Flat):
    """`WholeQuotient(x, y)`: the largest integer not above x/y.

    sympy would multiply a sum by 1/y term by term, and rounding would then end below the integer that x is a multiple of.
    """

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr | None:
        """Fold numbers."""
        return sympy.floor(x / y) if x.is_number and y.is_number else None


class Sign(Flat):
    """-1, 0 or 1."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        """Fold numbers."""
        return sympy.sign(x) if x.is_number else None


class PoissonQuantile(Flat):
    """`PoissonQuantile(u, rate)`: the Poisson count whose distribution function first reaches u, u uniform on [0, 1)."""

    nargs = 2


class Detach(Flat):
    """The argument's value, held constant in differentiation (stop-gradient)."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        """A number is constant already."""
        return x if x.is_number else None


class Sigmoid(RealFunction):
    """Logistic function 1/(1 + e^-x)."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        """Fold numbers."""
        return 1 / (1 + sympy.exp(-x)) if x.is_number else None

    def fdiff(self, argindex: int = 1) -> Expr:
        """Sigma' = sigma (1 - sigma)."""
        return self * (1 - self)


class LogSigmoid(RealFunction):
    """log(1/(1 + e^-x)), finite for every finite x."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        """(log sigma)'(x) = sigma(-x)."""
        return Sigmoid(-self.args[0])


class LogNormalCdf(RealFunction):
    """Log of the standard normal distribution function, finite for every finite x."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        """(log Phi)' = phi/Phi."""
        return NormalHazard(self.args[0])


class NormalHazard(RealFunction):
    """Standard normal density over distribution function, phi(x)/Phi(x): about -x far below zero."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        """With h = phi/Phi: h' = -h (x + h)."""
        return -self * (self.args[0] + self)


class NormalBelow(RealFunction):
    """`NormalBelow(u, b)`: the standard normal number below b that a uniform u picks, the y with Phi(y) = u Phi(b)."""

    nargs = 2
    FAR = -30  # below this bound Phi(b) is taken as its leading term, phi(b)/|b|

    def fdiff(self, argindex: int = 1) -> Expr:
        """By u: Phi(b)/phi(y). By b: u phi(b)/phi(y), or the derivative of the leading term."""
        u, b = self.args
        if argindex == 1:
            return sympy.sqrt(2 * sympy.pi) * sympy.exp(LogNormalCdf(b) + self**2 / 2)
        return Where(b < self.FAR, b / self, u * sympy.exp((self**2 - b**2) / 2))


class Phi(RealFunction):
    """`Phi(k, x)`: the k-th phi function, phi_0 = e^x, phi_k = (phi_{k-1} - 1/(k-1)!)/x with its limit 1/k! at 0.

    phi_1 is `exprel`. Closed under differentiation: phi_k' = phi_k - k phi_{k+1} (Hochbruck & Ostermann 2010,
    doi:10.1017/S0962492910000048).
    """

    nargs = 2

    @classmethod
    def eval(cls, k: Integer, x: Expr) -> Expr | None:
        """Fold order 0 and the limit at 0."""
        if k == 0:
            return sympy.exp(x)
        return 1 / sympy.factorial(k) if x == 0 else None

    def _eval_derivative(self, s: Symbol) -> Expr:
        k, x = self.args
        return (Phi(k, x) - k * Phi(k + 1, x)) * x.diff(s)


class MatrixExponential(RealFunction):
    """`MatrixExponential(i, j, n, *entries)`: entry (i, j) of the exponential of the n x n matrix given row by row."""

    @classmethod
    def of(cls, matrix: sympy.Matrix, row: int, column: int) -> Expr:
        """Entry (row, column) of exp(matrix)."""
        return cls(Integer(row), Integer(column), Integer(matrix.rows), *matrix)

    def matrix(self) -> sympy.Matrix:
        """Return the matrix whose exponential is meant."""
        n = int(self.args[2])
        return sympy.Matrix(n, n, self.args[3:])

    def _eval_derivative(self, s: Symbol) -> Expr:
        """Upper right block of exp([[A, A'], [0, A]]) (Van Loan 1978, doi:10.1109/TAC.1978.1101743)."""
        row, column, n = (int(argument) for argument in self.args[:3])
        matrix = self.matrix()
        slope = matrix.diff(s)
        if slope.is_zero_matrix:
            return Integer(0)
        block = sympy.Matrix(sympy.BlockMatrix([[matrix, slope], [sympy.zeros(n, n), matrix]]))
        return MatrixExponential.of(block, row, column + n)


class Spike(RealFunction):
    """`Spike(margin, width, strict)`: 1 where margin >= 0 (> 0 if strict is 1), else 0.

    Its derivative is a surrogate: `SpikeSlope(margin/width)/width`; the shape of the slope is chosen when the
    Program is differentiated (maths/surrogates.py). The width is never differentiated.
    """

    nargs = 3

    def _eval_derivative(self, s: Symbol) -> Expr:
        margin, width, _ = self.args
        return SpikeSlope(margin / width) / width * margin.diff(s)


class SpikeSlope(RealFunction):
    """The surrogate derivative of a unit step, as a function of margin/width."""

    nargs = 1


def minimum(a: Expr, b: Expr) -> Expr:
    """The smaller of two values; at a tie the gradient goes to b."""
    return Where(a < b, a, b)


def maximum(a: Expr, b: Expr) -> Expr:
    """The larger of two values; at a tie the gradient goes to b."""
    return Where(a > b, a, b)


def clip(x: Expr, low: Expr, high: Expr) -> Expr:
    """X limited to [low, high]; outside, the gradient goes to the limit."""
    return Where(x < low, low, Where(x > high, high, x))


def absolute(x: Expr) -> Expr:
    """|x|, with derivative -1 below 0 and +1 from 0 on."""
    return -x if x.is_nonpositive else x if x.is_nonnegative else Where(x >= 0, x, -x)


def truncate(x: Expr) -> Expr:
    """Round towards zero, as `int` does."""
    return Where(x >= 0, Floor(x), -Floor(-x))
