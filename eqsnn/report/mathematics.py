"""mathematics: expressions of a model file typeset as MathML, in the order and with the units in which they were written.

Browsers render MathML Core by themselves, so a page needs no script and no font for it. It is printed from the syntax
and not from sympy's expressions, which reorder sums, turn `-50*mV` into -50 and know no `where`. Every name is escaped.
"""

import re
from collections.abc import Callable, Collection
from html import escape

from eqsnn.language import syntax as s
from eqsnn.language.units import UnknownUnit, parse_unit

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "kappa": "κ", "lambda": "λ", "lambda_": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ",
    "Lambda": "Λ", "Xi": "Ξ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω",
}  # fmt: skip
OPERATORS = {
    "-": "−", ">=": "≥", "<=": "≤", "!=": "≠", "==": "=", "<": "&lt;", ">": "&gt;", "+": "+", "%": "mod",
    "/": "/", "and": "and", "or": "or",
}  # fmt: skip
D = '<mi mathvariant="normal">d</mi>'  # of a derivative
SMALL = '<mspace width="0.17em"/>'
FENCES = {"abs": ("|", "|"), "floor": ("⌊", "⌋"), "ceil": ("⌈", "⌉")}
SPELT = {"randn": "𝒩(0, 1)", "rand": "𝒰(0, 1)"}  # draws without arguments
TIGHT = 7  # what binds less is put into parentheses before it is negated
_DIGITS = re.compile(r"([^\W\d_]+)(\d+)")


def typeset(expression: s.Expression, own: Collection[str] = (), within: int = 0) -> str:
    """Return the MathML of an expression, without the `math` element around it.

    own: names that the model declares, which are variables even where a unit is called like them. within: how strongly
    what stands around it binds (syntax.BINDING); what binds less gets parentheses.
    """
    return _Typesetter(own).of(expression, within)


def name(text: str) -> str:
    """Return the MathML of a name: `tau_m` is a tau with a subscript, `x1` an x with one."""
    first, *rest = text.split("_")
    digits = _DIGITS.fullmatch(first)
    if digits is not None:
        first, rest = digits[1], [digits[2], *rest]
    rest = [part for part in rest if part]
    if not first:  # such as `_x`
        return f"<mi>{escape(text)}</mi>"
    if not rest:
        return _letter(first)
    below = '<mo separator="true">,</mo>'.join(_below(part) for part in rest)
    return f"<msub>{_letter(first)}<mrow>{below}</mrow></msub>"


def _letter(text: str) -> str:
    return f"<mi>{escape(GREEK.get(text, text))}</mi>"


def _below(text: str) -> str:
    return f"<mn>{text}</mn>" if text.isdigit() else _letter(text)


def math(content: str, *, block: bool = True) -> str:
    """Return a `math` element, with full-size fractions unless it stands within a line."""
    return f'<math display="{"block" if block else "inline"}">{content}</math>'


def row(*parts: str) -> str:
    """Return parts in a row."""
    return f"<mrow>{''.join(parts)}</mrow>"


def operator(text: str) -> str:
    """Return an operator, escaped."""
    return f"<mo>{escape(text)}</mo>"


def words(text: str) -> str:
    """Return words within mathematics, with a space on either side."""
    return f'<mspace width="0.35em"/><mtext>{escape(text)}</mtext><mspace width="0.35em"/>'


def rate_of(state: str) -> str:
    """Return the MathML of `d<state>/dt`."""
    return f"<mfrac><mrow>{D}{name(state)}</mrow><mrow>{D}<mi>t</mi></mrow></mfrac>"


def summed(content: str) -> str:
    """Return the sum over presynaptic neurons."""
    return row('<munder><mo largeop="true">∑</mo><mtext>pre</mtext></munder>', content)


class _Typesetter:
    """Prints expressions; knows which names are the model's own."""

    def __init__(self, own: Collection[str]) -> None:
        self.own = set(own)

    def of(self, node: s.Expression, within: int = 0, *, small: bool = False) -> str:
        """Return a node's MathML in parentheses if it binds less than `within`; small: in an exponent."""
        if isinstance(node, s.Number):
            return _number(node.text)
        if isinstance(node, s.Name):
            return f"<mi>{escape(node.text)}</mi>" if self._is_unit(node) else name(node.text)
        if isinstance(node, s.Call):
            # cases end where their braces end only if nothing follows
            return _fenced(self._call(node, small), within > 0 and node.function == "where")
        if isinstance(node, s.Unary):
            binding = 3 if node.operator == "not" else TIGHT
            inner = self.of(node.operand, binding, small=small)
            sign = words("not") if node.operator == "not" else _operator(node.operator, "prefix")
            return _fenced(row(sign, inner), binding < within)
        return self._binary(node, within, small)

    def _binary(self, node: s.Binary, within: int, small: bool) -> str:
        binding = s.BINDING.get(node.operator, s.BINDING["compare"])
        if node.operator == "**":
            # a base that has a superscript or a bar of its own would be misread without parentheses
            own = isinstance(node.left, s.Name | s.Number)
            own |= isinstance(node.left, s.Call) and node.left.function != "exp"
            base = _fenced(self.of(node.left, small=small), not own)
            return f"<msup>{row(base)}{row(self.of(node.right, small=True))}</msup>"
        if node.operator == "/" and not small:
            return f"<mfrac>{row(self.of(node.left))}{row(self.of(node.right))}</mfrac>"
        if node.operator == "//":
            inner = f"<mfrac>{row(self.of(node.left))}{row(self.of(node.right))}</mfrac>"
            return row(operator("⌊"), inner, operator("⌋"))
        left = self.of(node.left, binding, small=small)
        right = self.of(node.right, binding + 1, small=small)
        if node.operator == "*":
            middle = self._times(node)
        elif node.operator in ("and", "or", "%"):
            middle = words(OPERATORS[node.operator])
        else:
            middle = _operator(node.operator)
        return _fenced(row(left, middle, right), binding < within)

    def _times(self, node: s.Binary) -> str:
        """Return what stands between two factors: a gap before a unit or name, a dot where it is needed."""
        right = node.right
        while isinstance(right, s.Binary) and right.operator in ("*", "/", "**"):
            right = right.left
        return "<mo>·</mo>" if isinstance(right, s.Number) else SMALL

    def _is_unit(self, node: s.Name) -> bool:
        if node.text in self.own or node.text in ("e", "t", "i", "j", "N"):
            return False
        try:
            parse_unit(node.text)
        except UnknownUnit:
            return False
        return True

    def _call(self, node: s.Call, small: bool) -> str:
        special = SPECIAL.get(node.function)
        if special is not None and len(node.arguments) == special[0]:
            return special[1](self, node.arguments, small)
        if node.function in SPELT and not node.arguments:
            return f"<mtext>{SPELT[node.function]}</mtext>"
        if node.function in FENCES and len(node.arguments) == 1:
            left, right = FENCES[node.function]
            return row(operator(left), self.of(node.arguments[0], small=small), operator(right))
        inner = '<mo separator="true">,</mo>'.join(self.of(a, small=small) for a in node.arguments)
        head = f'<mi mathvariant="normal">{escape(node.function)}</mi><mo>&#x2061;</mo>'
        return row(head, operator("("), inner, operator(")"))

    def _exponential(self, arguments: tuple[s.Expression, ...], small: bool) -> str:
        if small:  # a tower would be too small to read
            return row(
                '<mi mathvariant="normal">exp</mi>',
                "<mo>(</mo>",
                self.of(arguments[0]),
                "<mo>)</mo>",
            )
        inner = self.of(arguments[0], small=True)
        return f'<msup><mi mathvariant="normal">e</mi>{row(inner)}</msup>'

    def _root(self, arguments: tuple[s.Expression, ...], small: bool) -> str:
        return f"<msqrt>{row(self.of(arguments[0], small=small))}</msqrt>"

    def _cases(self, arguments: tuple[s.Expression, ...], small: bool) -> str:
        condition, chosen, other = arguments
        lines = [(chosen, words("if") + self.of(condition)), (other, words("otherwise"))]
        rows = "".join(
            f"<mtr><mtd>{row(self.of(value))}</mtd><mtd>{row(when)}</mtd></mtr>"
            for value, when in lines
        )
        return row('<mo stretchy="true">{</mo>', f'<mtable columnalign="left">{rows}</mtable>')


SPECIAL: dict[str, tuple[int, Callable[..., str]]] = {
    "exp": (1, _Typesetter._exponential),
    "sqrt": (1, _Typesetter._root),
    "where": (3, _Typesetter._cases),
}


def _operator(text: str, form: str = "infix") -> str:
    return f'<mo form="{form}">{OPERATORS[text]}</mo>'


def _fenced(content: str, needed: bool) -> str:
    return row(operator("("), content, operator(")")) if needed else content


def _number(text: str) -> str:
    mantissa, _, exponent = text.lower().partition("e")
    if not exponent:
        return f"<mn>{text}</mn>"
    sign = "<mo>−</mo>" if exponent.startswith("-") else ""
    digits = f"<mn>{int(exponent.lstrip('+-'))}</mn>"
    power = f"<msup><mn>10</mn>{row(sign, digits)}</msup>"
    return power if mantissa == "1" else row(f"<mn>{mantissa}</mn><mo>·</mo>", power)
