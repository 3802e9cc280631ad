"""The neuron models that Brian2's own package writes down: every `NeuronGroup(...)` call in it whose arguments are literal."""

import ast
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.exchange.census import Outcome, compare

b = pytest.importorskip("brian2")

ARGUMENTS = ("N", "model", "method", "threshold", "reset", "refractory", "events", "dt")


@dataclass(frozen=True)
class Package:
    """What both simulators ran, what has nothing to compare, and why the rest was refused, by place."""

    outcomes: tuple[Outcome, ...]
    empty: int
    refused: tuple[tuple[str, str], ...]


def census_of_the_package() -> Package:
    """Run every call in both simulators. Many are there to be refused by Brian2, or lack what a script around them has."""
    outcomes, refused, empty = [], [], 0
    for place, arguments in written_calls():
        try:
            found = compare(text_of(place, arguments))
        except Exception as error:  # whatever either simulator says of such a model
            refused.append((place, f"{type(error).__name__}: {str(error).splitlines()[0]}"))
            continue
        if found.states or found.spikes:
            outcomes.append(found)
        else:
            empty += 1
    return Package(tuple(outcomes), empty, tuple(refused))


def written_calls() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield `file:line` and the arguments of each call, each set of arguments once."""
    spec = importlib.util.find_spec("brian2")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    seen = set()
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NeuronGroup"):
                continue
            found = _literal(node)
            if found is not None and repr(found) not in seen:
                seen.add(repr(found))
                yield f"{path.relative_to(folder)}:{node.lineno}", found


def _literal(call: ast.Call) -> dict[str, Any] | None:
    """Return the arguments of a call, None if one of them is no literal or not a neuron's."""
    named = {k.arg: k.value for k in call.keywords if k.arg not in ("name", "order")}
    named |= dict(zip(ARGUMENTS, call.args, strict=False))
    try:
        found = {str(name): _value(node) for name, node in named.items()}
    except (ValueError, TypeError):
        return None
    if not isinstance(found.get("model"), str) or not set(found) <= set(ARGUMENTS):
        return None
    return found


def _value(node: ast.expr) -> Any:
    """Evaluate a literal, or a product of a number and one of Brian2's units."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Dict):
        return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _value(node.left) * _value(node.right)
    if isinstance(node, ast.Name) and isinstance(getattr(b, node.id, None), b.Unit):
        return getattr(b, node.id)
    raise ValueError(f"{ast.dump(node)} is no literal")


def text_of(place: str, arguments: dict[str, Any]) -> Callable:
    """Return a text of the census: the neurons of a call, at most five, from states that are not zero."""

    def text(rng: np.random.Generator) -> dict[str, Any]:
        given = dict(arguments)
        cells = b.NeuronGroup(min(int(given.pop("N")), 5), name="cells", **given)
        for name in cells.equations.diff_eq_names:
            cells.variables[name].set_value(rng.uniform(0.1, 0.9, len(cells)))
        return {"cells": cells, "duration": 0.02}

    text.__name__ = place
    text.__doc__ = " ".join(str(arguments["model"]).split())[:60]
    return text
