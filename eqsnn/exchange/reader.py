"""Reader: expressions and statements of one Brian2 group, written in the language of .eqs files.

Names are looked up as Brian2 does: variables of the group, then functions, units and constants, then the group's own
namespace, then that of the run. What is a constant there becomes a known parameter of the block.
"""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np

from eqsnn.errors import InputError
from eqsnn.exchange.literals import number_text, quantity_text, unit_text
from eqsnn.language.builtins import BUILTINS, CONSTANTS, DISTRIBUTIONS, DRAWS, RESERVED
from eqsnn.language.units import Dimension, unit_table

# words that begin a line or a clause
KEYWORDS = frozenset(
    (
        *(
            "neuron",
            "synapse",
            "network",
            "function",
            "include",
            "equations",
            "use",
            "threshold",
            "reset",
            "refractory",
        ),
        *(
            "method",
            "update",
            "initial",
            "on_pre",
            "on_post",
            "values",
            "every",
            "event",
            "on",
            "background",
            "link",
        ),
        *(
            "with",
            "if",
            "probability",
            "delay",
            "in",
            "for",
            "range",
            "pairs",
            "to",
            "from",
            "step",
            "at",
        ),
        *("and", "or", "not", "True", "False"),
    )
)
SI_ORDER = (
    1,
    0,
    2,
    3,
    4,
    5,
    6,
)  # Brian2 counts metre, kilogram, second, ...; eqsnn kilogram, metre, second, ...
OPERATORS = {
    ast.Add: "+=", ast.Sub: "-=", ast.Mult: "*=", ast.Div: "/=", ast.FloorDiv: "//=", ast.Mod: "%=", ast.Pow: "**=",
}  # fmt: skip


def dimension_of(value: Any) -> Dimension:
    """Return the dimension of a Brian2 variable, quantity or Dimension."""
    powers = value.dim if hasattr(value, "dim") else value
    return tuple(Fraction(float(powers._dims[k])).limit_denominator(1000) for k in SI_ORDER)


def safe(name: str, *, in_synapse: bool = False) -> str:
    """Return the name that stands for a Brian2 name: itself, or with `_b` added where the language keeps it for itself."""
    taken = {
        *BUILTINS,
        *DRAWS,
        *DISTRIBUTIONS,
        *CONSTANTS,
        *RESERVED,
        *KEYWORDS,
        "lastspike",
        "not_refractory",
    }
    if name in taken or name in unit_table() or name.startswith("xi_"):
        return f"{name}_b"
    if name.endswith(("_pre", "_post")) and not in_synapse:
        return f"{name}_b"
    return name


@dataclass(slots=True)
class Reader:
    """Reads the code of one Brian2 group.

    where: the group in words, for messages. lookup: what a name outside the group stands for, KeyError if nothing.
    units, functions: Brian2's own. own: what a variable of the group is called, None if it is none. call: the
    text of a call of a TimedArray, given its name, itself and its arguments. constants: the constants found so far, by
    name, as lines of the block.
    """

    where: str
    lookup: Callable[[str], Any]
    units: Mapping[str, Any]
    functions: Mapping[str, Any]
    own: Callable[[str], str | None]
    call: Callable[[str, Any, list[str]], str]
    constants: dict[str, str] = field(default_factory=dict)

    def expression(self, text: str) -> str:
        """Return an expression of Brian2 in the language. Raises InputError for what it has no word for."""
        tree = _parsed(" ".join(text.split()), self.where, "eval")
        return written(_Rewrite(self, frozenset()).visit(tree).body)

    def statements(self, code: str) -> list[str]:
        """Return a list of statements; a name that nothing declares is a temporary of the list."""
        lines, temporaries = [], set()
        for node in _parsed(_dedented(code), self.where, "exec").body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                target, operator, value = node.targets[0], "=", node.value
            elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
                target, operator, value = node.target, OPERATORS[type(node.op)], node.value
            else:
                self.refuse(f"the statement `{ast.unparse(node)}`", "write assignments only")
            if not isinstance(target, ast.Name):
                self.refuse(f"an assignment to `{ast.unparse(target)}`", "assign to a name")
            text = written(_Rewrite(self, frozenset(temporaries)).visit(value))
            name = self.own(target.id)
            if name is None:
                temporaries.add(target.id)
                name = safe(target.id)
            lines.append(f"{name} {operator} {text}")
        return lines

    def refuse(self, construct: str, advice: str) -> NoReturn:
        """Raise the InputError of a construct that cannot be carried over."""
        raise InputError(f"{self.where}: {construct} cannot be imported; {advice}")

    def external(self, name: str) -> Any:
        """Return the constant or function that a name outside the group stands for."""
        try:
            return self.lookup(name)
        except (KeyError, TypeError) as unresolved:
            if "not a scalar" in str(unresolved):
                return self.refuse(
                    f"the array `{name}` of the namespace",
                    "make it a parameter of the group, one value for each neuron or synapse",
                )
            return self.refuse(
                f"`{name}`, which is neither a variable nor a number in the namespace,",
                f"give it as in `namespace={{'{name}': 10*ms}}`",
            )


def written(tree: ast.expr) -> str:
    """Return an expression as text, products and powers without spaces, as the rest of the file."""
    return re.sub(r" (\*\*|//|[*/%]) ", r"\1", ast.unparse(tree))


def _parsed(text: str, where: str, mode: str) -> Any:
    try:
        return ast.parse(text, mode=mode)
    except SyntaxError:
        raise InputError(f"{where}: `{text}` is no code of Brian2") from None


def _dedented(code: str) -> str:
    return "\n".join(line.strip() for line in code.strip().splitlines())


class _Rewrite(ast.NodeTransformer):
    """Replaces names and calls in the tree of an expression."""

    def __init__(self, reader: Reader, temporaries: frozenset[str]) -> None:
        self.reader, self.temporaries = reader, temporaries

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return _tree(self.name(node.id))

    def name(self, name: str) -> str:
        reader = self.reader
        if name in self.temporaries:
            return safe(name)
        own = reader.own(name)
        if own is not None:
            return own
        if name in CONSTANTS or name in ("True", "False", "inf"):
            return name
        value = reader.external(name)
        if not hasattr(value, "get_value"):
            return reader.refuse(f"the function `{name}` without a call", "call it")
        number, dimension = constant(reader, name, value)
        if name in unit_table() and _is_unit(name, number, dimension):
            return name
        if isinstance(number, bool | np.bool_):
            return str(bool(number))
        written = quantity_text(number, dimension)
        if name in reader.units and float(reader.units[name]) == float(number):
            return f"({written})"
        local = safe(name)
        reader.constants[local] = f"{local} : {unit_text(dimension)} = {written} (shared)"
        return local

    def visit_Call(self, node: ast.Call) -> ast.expr:
        reader = self.reader
        if not isinstance(node.func, ast.Name) or node.keywords:
            reader.refuse(f"the call `{ast.unparse(node)}`", "call a function by its name")
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        function = reader.external(name)
        if hasattr(function, "values") and hasattr(function, "dt"):  # a TimedArray
            return _tree(reader.call(name, function, [ast.unparse(a) for a in node.args]))
        known = name in BUILTINS or name in DRAWS or name == "timestep"
        if not known or reader.functions.get(name) is not function:
            reader.refuse(
                f"the Python function `{name}`",
                "write it out as an expression, or as `function ... = ...` in the .eqs file",
            )
        arguments = [self.visit(argument) for argument in node.args]
        return ast.Call(ast.Name(name), arguments, [])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Name):
            # the exponent of a value with a unit has to be a number
            name = node.right.id
            if self.reader.own(name) is None and name not in (*self.temporaries, *CONSTANTS):
                number, _ = constant(self.reader, name, self.reader.external(name))
                return ast.BinOp(self.visit(node.left), node.op, _tree(number_text(number)))
        return self.generic_visit(node)  # type: ignore[return-value]


def _tree(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def constant(reader: Reader, name: str, value: Any) -> tuple[float, Dimension]:
    """Return the number, in SI units, and the dimension of a constant of a namespace."""
    number = np.asarray(value.get_value())
    if number.size != 1:
        reader.refuse(
            f"the array `{name}` of the namespace",
            "make it a parameter of the group, one value for each neuron or synapse",
        )
    return number.reshape(()).item(), dimension_of(value.dim)


def _is_unit(name: str, number: float, dimension: Dimension) -> bool:
    known, factor = unit_table()[name]
    return known == dimension and float(factor) == float(number)
