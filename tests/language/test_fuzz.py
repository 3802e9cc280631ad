"""Whatever the text: a model, or a ModelError with a place, within a second, and nothing of it is ever run.

The default run tries some hundreds of texts; `-m slow` tries 1e5 random ones and 1e4 mutated models, in pieces that
EQSNN_FUZZ_PIECE=k/n chooses.
"""

import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sympy.parsing.sympy_parser

from eqsnn.compiler import model_from_text
from eqsnn.errors import EqsError, EqsErrors, ModelError
from eqsnn.maths.discretise import discretise

MODELS = {
    path.name: path.read_text() for path in (Path(__file__).parents[2] / "models").glob("*.eqs")
}
SECONDS = 1.0  # of processor time, in the slow run, which has the machine for itself
BUSY_SECONDS = 8.0  # in the everyday run, whose workers share it
HANGS = 20  # seconds after which a run is stopped

WORDS = [
    "neuron",
    "synapse",
    "network",
    "threshold",
    "reset",
    "refractory",
    "method",
    "update",
    "initial",
    "on_pre",
    "on_post",
    "values",
    "with",
    "if",
    "in",
    "delay",
    "probability",
    "dt",
    "every",
    "event",
    "link",
    "use",
    "include",
    "function",
    "equations",
    "v",
    "v_th",
    "w",
    "tau",
    "I",
    "g",
    "x",
    "x_pre",
    "x_post",
    "i",
    "j",
    "N",
    "pi",
    "e",
    "t",
    "xi",
    "xi_a",
    "mV",
    "ms",
    "nS",
    "Hz",
    "pA",
    "1",
    "0",
    "2",
    "0.5",
    "1e3",
    "1e-3",
    "10*ms",
    "1e999999",
    "1e-999999",
    "9999999999999999",
    "64",
    "65",
    "exp",
    "log",
    "sqrt",
    "where",
    "clip",
    "min",
    "int",
    "abs",
    "floor",
    "normal",
    "lognormal",
    "uniform",
    "poisson",
    "rand",
    "randn",
    "euler",
    "exact",
    "rk4",
    "heun",
    "milstein",
    "unless",
    "refractory",
    "constant",
    "over",
    "shared",
    "summed",
    "input",
    "linked",
    "boolean",
    "integer",
    "and",
    "or",
    "not",
    "True",
    "False",
    "lastspike",
    "not_refractory",
    "S",
    "Q",
    "E",
    "O",
    "C",
    "lambda",
    "None",
    "eval",
    "exec",
    "__import__",
    "__class__",
    "os.system",
    "Symbol",
    "sympify",
    "zoo",
    "nan",
    "oo",
    "import",
    "def",
    "class",
    "return",
    "cells",
    "cell",
    "lif",
    "current",
    "inf",
]
MARKS = [
    *"()[]{}:;,=~+-*/%^&|!?<>.'\"\\#@$",
    "**",
    "//",
    "->",
    "+=",
    "-=",
    "*=",
    "/=",
    "==",
    "!=",
    "<=",
    ">=",
]
ODD = [
    "\x00",
    "\ufeff",
    "τ",
    "µ",
    "é",
    "−",
    "\u2028",
    "\x0b",
    "\x0c",
    "\x85",
    "\t",
    "\r",
    "\r\n",
    "😀",
    "\udc80",
    "٣",
]
BREAKS = ["\n", "\n", "\n    ", "\n    ", "\n        ", "\n  ", "\n\n"]
HEADS = [
    "", "neuron cell:\n    ", "neuron cell:\n    dv/dt = ", "neuron cell:\n    x : 1 = 2\n    dv/dt = x*(-v)/(5*ms) : 1\n    ",
    "neuron cell:\n    dv/dt = -v/(5*ms) : 1\n    threshold: v > 1\n    reset: v = ",
    "neuron cell:\n    dv/dt = -v/(5*ms) : 1\n    threshold: v > 1\n    I : 1\n    initial: I = 0\n\nsynapse s:\n    ",
    "neuron cell:\n    dv/dt = -v/(5*ms) : 1\n    threshold: v > 1\n\nsynapse s:\n    on_pre: v_post += 1\n\n"
    "network:\n    cells : cell[2]\n    ",
]  # fmt: skip
TOKEN = re.compile(r"\s+|#[^\n]*|\w+|\*\*|//|->|[-+*/<>=!]=|.", re.DOTALL)


def random_text(rng: random.Random) -> str:
    parts = [rng.choice(HEADS)]
    for _ in range(rng.randint(1, 40)):
        pool = rng.choices((WORDS, MARKS, BREAKS, ODD), (10, 8, 2, 0.3))[0]
        parts.append(rng.choice(pool) + rng.choice(("", " ")))
    return "".join(parts)


def mutated_model(rng: random.Random) -> str:
    """A model file with tokens or lines deleted, doubled, exchanged or replaced."""
    text = MODELS[rng.choice(sorted(MODELS))]
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        by_line = rng.random() < 0.3
        parts = text.splitlines(keepends=True) if by_line else TOKEN.findall(text)
        if len(parts) < 2:
            break
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        match rng.choice(("delete", "double", "exchange", "replace")):
            case "delete":
                del parts[at]
            case "double":
                parts.insert(at, parts[at])
            case "exchange":
                parts[at], parts[other] = parts[other], parts[at]
            case "replace":
                parts[at] = parts[other] if by_line else rng.choice((*WORDS, *MARKS))
        text = "".join(parts)
    return text


@pytest.fixture(scope="module", autouse=True)
def grammar_is_built() -> None:
    """Done once in a process, and no text's fault."""
    compiled(MODELS["lif.eqs"])


@contextmanager
def stopped_after(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compiled(text: str) -> None:
    """Take a text through every stage up to the Program, populations capped at three neurons."""
    model = model_from_text(text, "fuzz.eqs")
    small = {
        name: replace(population, size=min(population.size or 3, 3))
        for name, population in model.populations.items()
    }
    discretise(replace(model, populations=small))


WITHOUT_PLACE = re.compile(
    r"fuzz\.eqs: (the file is empty|\d+ characters is too long|0 neuron blocks)"
)


def fault(text: str, limit: float = BUSY_SECONDS) -> str:
    """Return what is wrong with the answer to a text; nothing if it is a model or a proper refusal."""
    started = time.process_time()
    try:
        with stopped_after(HANGS):
            compiled(text)
    except EqsErrors as errors:
        wrong = "".join(_fault_of(error, text) for error in errors.errors)
    except ModelError as error:
        wrong = _fault_of(error, text)
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    else:
        wrong = ""
    taken = time.process_time() - started
    return wrong or (f"{taken:.1f} s" if taken > limit else "")


def _fault_of(error: ModelError, text: str) -> str:
    if not isinstance(error, EqsError):
        return "" if WITHOUT_PLACE.match(str(error)) else f"no place: {error}"
    span, lines = error.span, text.splitlines() or [""]
    if not 1 <= span.line <= len(lines) + 1 and span.path == "fuzz.eqs":
        return f"line {span.line} of {len(lines)}: {error}"
    if span.column > len(span.text) + 1 or span.column < 1:
        return f"column {span.column}: {error}"
    return "" if error.message and error.hint else f"no hint: {error}"


def faults(texts: Iterator[str], limit: float = BUSY_SECONDS) -> list[tuple[str, str]]:
    found = []
    for text in texts:
        wrong = fault(text, limit)
        if wrong:
            found.append((wrong, text))
    return found[:5]


def piece(n: int) -> range:
    """The seeds of this run: all, or the k-th part of n as EQSNN_FUZZ_PIECE says."""
    k, parts = map(int, os.environ.get("EQSNN_FUZZ_PIECE", "0/1").split("/"))
    return range(k, n, parts)


def test_random_texts_are_refused_with_a_place():
    assert not faults(random_text(random.Random(seed)) for seed in range(400))


def test_mutated_models_compile_or_are_refused_with_a_place():
    assert not faults(mutated_model(random.Random(seed)) for seed in range(60))


@pytest.mark.slow
def test_very_many_random_texts_are_refused_with_a_place():
    assert not faults((random_text(random.Random(seed)) for seed in piece(100_000)), SECONDS)


@pytest.mark.slow
def test_very_many_mutated_models_compile_or_are_refused_with_a_place():
    assert not faults((mutated_model(random.Random(seed)) for seed in piece(10_000)), SECONDS)


def one_equation(rate: str) -> str:
    return f"neuron cell:\n    dv/dt = ({rate})/ms : 1\n    a : 1 = 1\n"


def one_value(value: str) -> str:
    return f"neuron cell:\n    dv/dt = -v/(5*ms) : 1\n    a : 1 = {value}\n"


HUGE = {
    "exponent": "1e999999",
    "large exponent": "1e99999999999999999999",
    "small exponent": "1e-999999",
    "tower": "10**10**10",
    "tower of powers": "2**64**64",
    "powers of powers": "((((2**64)**64)**64)**64)**64",
    "exponential of exponentials": "exp(exp(exp(exp(100))))",
    "large exponential": "exp(10**60)",
    "small exponential": "exp(-exp(exp(100)))",
    "digits": "9" * 4_000,
    "digits behind the point": "0." + "1" * 4_000,
    "nested": "(" * 10_000 + "1" + ")" * 10_000,
    "nested calls": "exp(" * 10_000 + "1" + ")" * 10_000,
    "unary": "-" * 10_000 + "1",
    "few unary": "-" * 4_000 + "1",
    "nots": "int(" + "not " * 1_000 + "True)",
    "powers": "**".join(["1"] * 1_500),
    "sum": "+".join(["1"] * 2_000),
    "products": "*".join(["(1 - a)"] * 500),
    "long": "+".join(["1"] * 500_000),
    "long name": "a" * 4_000,
    "very long name": "a" * 100_000,
}


@pytest.mark.parametrize("write", [one_equation, one_value])
@pytest.mark.parametrize("expression", HUGE.values(), ids=HUGE.keys())
def test_what_is_huge_is_taken_or_refused_cleanly(expression, write):
    assert not fault(write(expression))


@pytest.mark.parametrize(
    "expression",
    [
        "(v + 1)**64", "(v + a)**64*(v - a)**64", "1/(v**64 + a**64)**64", "exp(v)**64", "sqrt(sqrt(sqrt(v**3 + 1)))",
        "where(v > 1, " * 30 + "v" + ", 1)" * 30, "min(" * 30 + "v" + ", a)" * 30, "clip(" * 12 + "v" + ", 0, a)" * 12,
        "abs(" * 12 + "v" + ")" * 12, "tanh(" * 40 + "v" + ")" * 40, "*".join(f"(v - {k})" for k in range(30)),
        "int(" * 10 + "v" + ")" * 10, "v**a**v**a**v", "(v**2)**0.5 - abs(v)", "v % a % v % a",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["", "    method: rk4\n", "    method: exponential_euler\n"])
def test_expressions_that_grow_when_expanded_take_no_longer(expression, method):
    assert not fault(one_equation(expression) + method)


@pytest.mark.parametrize("size", ["99999999999", "9" * 400, "0", "00", "007", "1e3", "-1", "3.0"])
def test_sizes_that_are_none_are_refused(size):
    text = f"{one_equation('-v')}\nnetwork:\n    cells : cell[{size}]\n"
    assert not fault(text)
    with pytest.raises(EqsError):
        model_from_text(text, "fuzz.eqs")


@pytest.mark.parametrize(
    "text",
    [
        "\x00", "\ufeff", "\n", "\r\n\r\n", " \t ", "#", "neuron", "neuron cell:", "neuron cell:\n", "neuron cell:\n    \n",
        "neuron cell:\r\n    dv/dt = -v/(5*ms) : 1\x00\r\n", "neuron cé:\n    dv/dt = -v/(5*ms) : 1\n",
        "neuron cell:\n    dτ/dt = -τ/(5*ms) : 1\n", "neuron cell:\n\tdv/dt = -v/(5*ms) : 1\n", "a" * 300_000, "(" * 300_000,
        "neuron cell:\n" + "    a : 1 = 1\n" * 1_000, "neuron cell:\n" + " " * 6_000 + "a : 1 = 1\n",
        "neuron cell:\n    dv/dt = -v/(5*ms) : 1\u2028    dw/dt = : 1\n", "neuron a:\n    dv/dt = (-v\n\n\nneuron b:\n",
        "network:\n    cells : poisson[3] with rate = 5*Hz\n", "synapse s:\n    w : 1 = 1\n", "network:\n    dt = 1*ms\n",
    ],
)  # fmt: skip
def test_files_that_are_no_models_are_refused_cleanly(text):
    assert not fault(text)


def test_a_model_with_windows_line_ends_and_a_byte_order_mark_reads_as_without():
    text = MODELS["lif.eqs"]
    expected = discretise(model_from_text(text))
    assert discretise(model_from_text(text.replace("\n", "\r\n"))) == expected
    assert discretise(model_from_text("\ufeff" + text)) == expected


ATTACKS = [
    "__import__('os').system('touch {canary}')", '__import__("os").system("touch {canary}")', "__import__", "os.system", "eval",
    "exec(1)", "open('{canary}', 'w')", 'open("{canary}", "w")', "S", "Q", "N(1)", "E1(1)", "O(1)", "I*1j", "lambda", "(lambda: 1)()",
    "Symbol('x')", "sympify(1)", "v.__class__", "().__class__.__bases__", "zoo", "oo", "nan", "Integer(1)", "globals()",
    "Function", "Lambda", "print(1)", "getattr(v, 1)", "f'{{open}}'", "gamma(2)", "beta", "zeta(2)", "Max(1, 2)", "__builtins__",
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_is_ever_run(attack, tmp_path, monkeypatch):
    """Neither as Python nor as the text of a sympy expression: every name is looked up in the model alone."""
    canary = tmp_path / "canary"

    def never(*_: object, **__: object) -> None:
        canary.touch()

    monkeypatch.setattr(sympy.parsing.sympy_parser, "parse_expr", never)
    monkeypatch.setattr("builtins.eval", never)
    written = attack.format(canary=canary)
    for text in (one_equation(written), one_value(written)):
        assert not fault(text)
        with pytest.raises(ModelError):
            model_from_text(text, "fuzz.eqs")
    assert not canary.exists()


@pytest.mark.parametrize(
    "name",
    ["S", "Q", "E", "C", "O", "beta", "gamma", "zeta", "Symbol", "eval", "os", "Function", "oo"],
)
def test_names_of_other_languages_are_plain_names_once_declared(name):
    text = f"neuron cell:\n    d{name}/dt = -{name}/(5*ms) : 1\n"
    program = discretise(model_from_text(text))
    assert f"cells.{name}" in program.outputs
