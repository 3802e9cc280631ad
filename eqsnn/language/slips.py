"""SLIPS: mistakes that people make often, by example: a pattern, what is wrong with it, what to write instead.

Asked only once the parser has refused a line, and only about the place that it refused, so that a pattern need not
tell what is right from what is wrong. The first that fits is told. A named group `at` takes the caret.
"""

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from eqsnn.language.builtins import DISTRIBUTIONS
from eqsnn.language.units import unit_table

# where a line may stand
TOP, BLOCK, STATEMENTS, NETWORK = "top", "block", "statements", "network"
EVERYWHERE = (TOP, BLOCK, STATEMENTS, NETWORK)
NAME = r"[A-Za-z_]\w*"
VALUE = r"-?[\d.]+(?:\*\w+)?"


class Slip(NamedTuple):
    """One mistake; message and hint may quote the pattern's named groups as `{group}`."""

    pattern: re.Pattern[str]
    message: str
    hint: str
    places: tuple[str, ...] = EVERYWHERE


class Told(NamedTuple):
    """What a slip says about a line; the column counts from 1."""

    column: int
    width: int
    message: str
    hint: str


def _slip(pattern: str, message: str, hint: str, *places: str) -> Slip:
    return Slip(re.compile(pattern), message, hint, places or EVERYWHERE)


HABITS = (
    _slip(r"^\s*(?:def\s|class\s|import\s|from\s|return\b|print\b).*", "Python has no place in a model file",
          "write equations; values that need a program go into a file of `values`, or are passed to `eqsnn.simulate`"),
    _slip(r"\blambda\b.*", "there are no functions in expressions (`lambda`)",
          "give the expression a name on a line of its own: `x = e : unit`"),
    _slip(r"^\s*(?P<at>for|while|if|elif|else|try|with)\b.*", "there are no `{at}` statements",
          "write the choice into the value: `v = where(condition, a, v)`", STATEMENTS, BLOCK),
    _slip(r"^.*?(?P<at>\w+\s*=\s*NeuronGroup|\w+\s*=\s*Synapses)\b.*", "Brian2's objects in Python have no place in a model file",
          "write `neuron NAME:` or `synapse NAME:` with the equations below, and `network:` with the sizes", TOP),
    _slip(r"^.*?(?P<at>'''|\"\"\").*", "equations need no quotes",
          "write them as lines of a block: `neuron NAME:`, and indented below it `dv/dt = ... : mV`"),
    _slip(r"""(?P<at>['"][^'"]*['"]).*""", "an expression in quotes", "write it without quotes", BLOCK, STATEMENTS, NETWORK),
    _slip(r"^\s*(?:\w+\s*=\s*)?(?P<at>\w+\s*=.*)$", "`{at}` stands outside every block",
          "the time step belongs into `network:`, equations and parameters into `neuron NAME:`", TOP),
    _slip(r"(?P<at>\?).*", "there is no `? :`", "write `where(condition, a, b)`"),
    _slip(r"(?P<a>[^=:]*?)\s*(?P<at>\bif\b)(?P<c>.*?)\belse\b.*", "there is no `a if condition else b`",
          "write `where(condition, a, b)`", BLOCK, STATEMENTS),
    _slip(r"(?P<at>//).*|(?P<at2>/\*).*|(?P<at3>^\s*(?:%|--|;)).*", "a comment of another language",
          "comments start with `#`", TOP),
    _slip(r"(?P<at>//|/\*).*", "`{at}` makes no sense here", "comments start with `#`; `//` is division rounded down"),
    _slip(r"\^", "`^` is no operator", "write `**` for a power"),
    _slip(r"&+", "`&` is no operator", "write `and`"),
    _slip(r"\|+", "`|` is no operator", "write `or`"),
    _slip(r"!(?!=)", "`!` is no operator", "write `not`, or `!=` for unequal"),
    _slip(r"[{{}}]", "braces make no blocks", "blocks are made by a colon and indentation"),
    _slip(r"(?P<at>=>|=<|<>)", "`{at}` is no comparison", "the comparisons are <, <=, >, >=, == and !=", BLOCK, STATEMENTS),
    _slip(r"(?P<name>" + NAME + r")(?P<at>\+\+|--)", "`{at}` is no operator", "write `{name} += 1` or `{name} -= 1`", STATEMENTS),
    _slip(r"(?P<at>\b(?:np|numpy|math|torch|sympy|b2|brian2|random)\s*\.)\s*(?P<name>\w*).*", "`{at}`: functions belong to no module",
          "write the name alone: `{name}`"),
    _slip(r"(?P<at>" + NAME + r"\s*\.\s*\w+)", "`{at}` is not a name",
          "names consist of letters, digits and `_`; a synapse reaches its neurons by `x_pre` and `x_post`"),
)  # fmt: skip

CHARACTERS = (
    _slip("[\u2212\u2013\u2014]", "this dash is not a minus", "type `-` (the hyphen on the keyboard)"),
    _slip("[\u00d7\u00b7\u22c5]", "`{0}` is no operator", "write `*` for a product"),
    _slip("[\u00b2\u00b3]", "a raised digit is no power", "write `**2`"),
    _slip("[\u00b5\u03bc](?P<unit>\\w*)", "`{0}` is not an ASCII letter", "write micro as `u`: `u{unit}`"),
    _slip("[\u2264\u2265\u2260]", "`{0}` is no comparison", "write `<=`, `>=` or `!=`"),
    _slip("[\u2018\u2019\u201c\u201d\u00b4`]", "quotes have no meaning here", "write the name or expression without them"),
    _slip("[\u00a0\u2000-\u200b\u202f\u3000\ufeff]", "an invisible character that is not a space", "delete it and type a space"),
    _slip("\x00", "a null byte", "the file is not plain text; save it as UTF-8"),
    _slip(r"[^\x00-\x7f]+", "`{0}` is not an ASCII letter", "names consist of a-z, A-Z, digits and `_`: write `tau` for a Greek letter"),
)  # fmt: skip

EQUATIONS = (
    _slip(r"^\s*event\s*(?P<at>:).*", "this event has no name", "write `event NAME: condition`", BLOCK),
    _slip(r"(?P<at>\\).*", "`\\` does not continue a line", "a line goes on inside parentheses, and after a comma"),
    _slip(r"^\s*(?P<name>\w+)(?P<at>'+)", "`{name}{at}` is not how a derivative is written", "write `d{name}/dt = ... : unit`", BLOCK),
    _slip(r"^\s*(?P<at>d\s+(?P<name>\w+)\s*/\s*dt)\b.*", "a space in `d{name}/dt`", "write `d{name}/dt`", BLOCK),
    _slip(r"^\s*(?P<at>d\s*\(\s*(?P<name>\w+)\s*\)\s*/\s*dt)\b.*", "parentheses in `d{name}/dt`", "write `d{name}/dt`", BLOCK),
    _slip(r"^\s*(?P<at>d\s*/\s*dt\s*\(?\s*(?P<name>\w+)\)?).*", "the derivative is written `d{name}/dt`", "write `d{name}/dt = ...`",
          BLOCK),
    _slip(r"^\s*(?P<at>d\^?\d(?P<name>\w*)\s*/\s*dt\^?\d).*", "a second derivative",
          "give the first one a name of its own: `d{name}/dt = u : ...` and `du/dt = ... : ...`", BLOCK),
    _slip(r"^\s*(?P<at>d(?P<name>\w+)\s*/\s*d(?!t\b)\w+).*", "only derivatives by time exist", "write `d{name}/dt`", BLOCK),
    _slip(r"^\s*d\w+\s*/\s*dt\s*(?P<at>[-+*/]=).*", "`{at}` in an equation", "write `=`; add the terms on its right side", BLOCK),
    _slip(r"^\s*(?P<d>d\w+\s*/\s*dt)\s*(?P<at>:).*", "the unit comes before the equation", "write `{d} = ... : unit`", BLOCK),
    _slip(r"^\s*(?P<name>\w+)\s*(?P<at>[-+*/]=).*", "`{at}` outside a list of statements",
          "what happens at a spike stands below `reset:`, what happens in every step below `update:`", BLOCK),
    _slip(r"^\s*(?P<name>threshold|reset|refractory|method|update|initial|on_pre|on_post)\s*(?P<at>=).*",
          "no colon behind `{name}`", "write `{name}: ...`", BLOCK),
    _slip(r"^\s*(?P<name>threshold|reset|refractory|method|update|initial|on_pre|on_post)\b\s*(?P<at>[\w-].*)?$",
          "no colon behind `{name}`", "write `{name}: ...`", BLOCK),
    _slip(r"^\s*(?P<name>\w+)\s*(?P<at>[\[(]\s*(?P<unit>[^\])]*?)\s*[\])])\s*[:=]?.*", "a unit without a colon",
          "write `{name} : {unit}`", BLOCK),
    _slip(r"^\s*(?P<name>\w+)\s*=\s*(?P<value>" + VALUE + r")\s*(?P<at>$)", "`{name}` has a value, but no unit",
          "declare it as `{name} : unit = {value}`, as in `tau : ms = 10*ms`; write `: 1` if it has none", BLOCK),
    _slip(r"^\s*[^:]+=[^:]*(?P<at>$)", "the line ends without a unit",
          "an equation ends with its unit: write `... : mV`, or `: 1` if it has none", BLOCK),
    _slip(r"^\s*(?P<name>\w+)\s*:\s*(?P<unit>[^=:~<]*?)\s*(?P<at>:=|<-|==)\s*(?P<value>.*)", "`{at}` gives no value",
          "write `{name} : {unit} = {value}`", BLOCK),
    _slip(r"^\s*(?P<name>\w+)\s*:\s*(?P<at>=)\s*(?P<value>.*)", "`{name}` has no unit",
          "write `{name} : mV = {value}`, or `: 1` for none", BLOCK),
    _slip(r"^\s*(?P<at>\d\w*)", "`{at}` begins with a digit", "begin the name with a letter", BLOCK, NETWORK),
    _slip(r"^\s*(?P<at>[A-Za-z_]\w*(?:-\w+)+)\s*[:=].*", "`{at}` is not a name", "names consist of letters, digits and `_`",
          BLOCK, NETWORK),
    _slip(r":\s*\w[^:()~=]*?\s+(?P<at>unless refractory|constant over dt|summed|input|shared|per population|constant)\s*$",
          "a flag without parentheses", "write `({at})`", BLOCK),
    _slip(r"(?P<at>\[\s*(?P<flag>unless refractory|constant over dt|summed|input|shared|per population)\s*\])",
          "a flag in square brackets", "write `({flag})`", BLOCK),
    _slip(r"(?P<at>\((?P<flag>unless refractory|constant over dt|summed|shared)\))\s*:.*", "a flag before the unit",
          "write `... : unit ({flag})`", BLOCK),
    _slip(r"^\s*threshold\b[^:]*:[^:]*(?P<at>:).*", "a unit behind a threshold", "end the line after the condition", BLOCK),
    _slip(r"^\s*method\s*:\s*(?P<at>\w+(?:[ -]\w+)+)", "`{at}` is not one name",
          "join the words by `_`, as in `exponential_euler`", BLOCK),
)  # fmt: skip

VALUES = (
    _slip(r"~\s*(?P<at>[-\d][^ ]*.*)", "`~` without a distribution",
          "write `= value` for what is known, or `~ normal(mean, sd) in [low, high]` for what is to be learned"),
    _slip(r"~\s*(?P<at>" + NAME + r")\s*(?:in\b.*)?$", "a distribution without its numbers",
          "as in `~ normal(mean, sd) in [low, high]`; the distributions are " + ", ".join(DISTRIBUTIONS)),
    _slip(r"(?:^\s*\w+\s*:[^~=]*|\bwith\s+\w+\s*|,\s*\w+\s*)=[^~=]*?(?P<at>\bin\s*\[.*)", "a known value has no bounds",
          "remove them; or write `~` instead of `=` if the value is to be learned", BLOCK, NETWORK),
    _slip(r"\bin\s*(?P<at>\(.*\))", "bounds in round parentheses", "write `in [low, high]`"),
    _slip(r"\bin\s*\[[^,\]]*(?P<at>;)", "`;` between bounds", "write `in [low, high]`"),
    _slip(r"\bin\s*(?P<at>\[[^,]*\])", "one bound only", "write `in [low, high]`"),
    _slip(r"~.*?\)\s*(?P<at>[<>].*)", "bounds as a comparison", "write `in [low, high]`"),
    _slip(r"\b(?P<function>" + NAME + r")\([^()]*?\b(?P<at>\w+\s*=(?!=)).*", "arguments have no names",
          "write the values alone, in their order: `{function}(a, b)`"),
    _slip(r"(?P<a>\d+)(?P<at>,)(?P<b>\d+)", "a decimal comma", "write `{a}.{b}`"),
    _slip(r"(?P<at>\d*\.\d+\.[\d.]*|0[xob]\w+|\d+_\d\w*)", "`{at}` is not a number",
          "write digits, with one `.` at most, as in `1000` or `2.5e-3`"),
    _slip(r"=\s*(?P<at>\[[^\]]*,[^\]]*\])", "a list is no value",
          "write one value or a distribution; a value for each neuron comes from `values: \"file.npz\"` in the network block"),
    _slip(r"(?P<at>" + NAME + r"\s*\[[^\]]*\])", "`{at}`: there are no indices",
          "a line holds for each neuron or synapse; `i` and `j` are their numbers, as in `where(i < 3, a, b)`", BLOCK, STATEMENTS),
    _slip(r"(?P<at>\[[^\]]*\])", "square brackets in an expression", "write round parentheses", BLOCK, STATEMENTS),
    _slip(r"(?P<name>" + NAME + r")\s+(?P<at>\()", "a space before the parenthesis of `{name}`",
          "write `{name}(...)` for a function, `{name}*(...)` for a product", BLOCK, STATEMENTS),
    _slip(r"(?P<a>\d)(?P<at>\()|(?P<at2>\)\s*\()", "an operator is missing before `(`", "write `*` for a product", BLOCK, STATEMENTS),
    _slip(r"(?P<number>\b\d+\.?\d*(?:[eE][-+]?\d+)?)\s*(?P<at>" + NAME + ")", "an operator is missing between `{number}` and `{at}`",
          "write `{number}*{at}`"),
    _slip(r"(?P<at>\(\s*\))", "empty parentheses", "write a value between them"),
    _slip(r"(?P<a>\*\*|//|[-+*/%])\s*(?P<at>//|[*/%])", "a value is missing between `{a}` and `{at}`",
          "write one operator between two values"),
    _slip(r"[=(,~]\s*(?P<at>\*\*|//|[*/%])", "a value is missing before `{at}`", "write it, or remove the operator"),
    _slip(r"(?P<a>[-+*/%])\s*(?P<at>:).*", "a value is missing after `{a}`", "write it, or remove the operator"),
    _slip(r"(?P<at>;)\s*$", "`;` ends no line here", "remove it"),
)  # fmt: skip

STATEMENT = (
    _slip(r"^\s*\w+\s*[-+*/]?=[^:=]*(?P<at>:.*)$", "a unit behind a statement", "end the line before `:`", STATEMENTS),
    _slip(r"^\s*\w+:\s*\w+\s*[-+*/]?=[^:=]*(?P<at>:.*)$", "a unit behind a statement", "end the line before `:`", BLOCK),
    _slip(r"^\s*\w+:\s*\w+\s*[-+*/]?=[^=]*?(?P<at>,).*", "a comma between statements",
          "write `a = ...; b = ...`, or one statement a line below `reset:`", STATEMENTS, BLOCK),
    _slip(r"^\s*(?P<name>\w+)\s*(?P<at>==).*", "`==` compares", "assign with `=`: `{name} = ...`", STATEMENTS),
    _slip(r"^\s*(?P<at>d\w+\s*/\s*dt\b).*", "a differential equation in a list of statements",
          "put it into the block itself, indented less", STATEMENTS),
    _slip(r"^\s*(?P<at>\w+)\s*$", "`{at}` alone does nothing", "assign something: `{at} = ...`", STATEMENTS),
)  # fmt: skip

CONNECTIONS = (
    _slip(r"\bpairs\s+(?P<at>[^\"\s]+)", "the file name needs quotes", "write `pairs \"{at}\"`", NETWORK),
    _slip(r"\bfor\s+(?P<name>\w+)\s+in\s*(?P<at>\[[^\]]*\])", "a list of numbers", "write `for {name} in range(start, stop)`", NETWORK),
    _slip(r"^\s*\w+\s*(?P<at>(?!->\s*\w)[-=<>]+)\s*" + NAME + r"\s*:\s*\w+.*", "`{at}` connects nothing",
          "write `pre -> post : synapse`", NETWORK),
    _slip(r"^\s*(?P<a>\w+)\s*->\s*(?P<b>\w+)\s*(?P<rest>(?:with|if|probability|delay)\b.*)?$", "no synapse model for `{a} -> {b}`",
          "write `{a} -> {b} : SYNAPSE`, the name of a `synapse` block", NETWORK),
    _slip(r"\b(?P<name>delay|probability|if)\s*(?P<at>=|:).*", "`{at}` behind `{name}`",
          "write `{name} ...` without `=` or `:`", NETWORK),
    _slip(r"->.*?\b(?P<at>p|prob|weight|w|n)\s*=\s*(?P<value>\S+).*", "unknown clause `{at}`",
          "write `probability {value}` for a share of the pairs, `with {at} = {value}` for a parameter", NETWORK),
    _slip(r"^\s*\w+\s*:\s*(?P<model>\w+)\s*(?P<at>\(\s*(?P<n>\d+)\s*\))", "a size in round parentheses", "write `{model}[{n}]`", NETWORK),
    _slip(r"^\s*(?P<name>\w+)\s*:\s*(?P<at>(?P<n>\d+)\s*\*?\s*(?P<model>\w+))", "a size before its model",
          "write `{name} : {model}[{n}]`", NETWORK),
    _slip(r"^\s*\w+\s*:\s*\w+\s*\[\s*(?P<at>[^\]]*?)\s*\]", "`{at}` is not a number of neurons",
          "write a whole number from 1 on, as in `[10]`; without brackets there are as many as the targets have", NETWORK),
    _slip(r"^\s*(?P<name>\w+)\s*(?P<at>\[(?P<n>\w+)\])\s*:\s*(?P<model>\w+).*", "a size before its model",
          "write `{name} : {model}[{n}]`", NETWORK),
    _slip(r"^\s*(?P<name>\w+)\s*(?P<at>=)\s*(?P<model>[A-Za-z_]\w*\s*\[.*)", "`=` declares no population", "write `{name} : {model}`",
          NETWORK),
    _slip(r"^\s*values\s*:\s*(?P<at>[^\"\s]+)", "the file name needs quotes", "write `values: \"{at}\"`", NETWORK),
    _slip(r"^\s*dt\s*(?P<at>:).*", "the time step is not declared, only set", "write `dt = 0.1*ms`", NETWORK),
    _slip(r"\bwith\s*(?P<at>:)", "`with` has no colon", "write `with name = value, ...`", NETWORK),
    _slip(r"(?P<at>\((?P<inner>\s*\w+\s*[=~].*)\))", "parameter values without `with`", "write `with {inner}`", NETWORK),
    _slip(r"^\s*(?P<at>d\w+\s*/\s*dt\b).*", "an equation in the network block", "put it into `neuron NAME:`", NETWORK),
    _slip(r"\.\s*connect\b.*|\bconnect\s*\(.*", "Brian2's `connect` is a line of the network block",
          "write `pre -> post : synapse if i != j`"),
)  # fmt: skip

TOPS = (
    _slip(r"^include\s+(?P<at>[^\"\s]+)", "the file name needs quotes", "write `include \"{at}\"`", TOP),
    _slip(r"^function\s+(?P<name>\w+)\((?:[^)]*,)?\s*(?P<at>[A-Za-z_]\w*)\s*(?=[,)]).*", "argument `{at}` has no unit",
          "write `function {name}({at} : unit, ...) = ... : unit`, or `: 1` for none", TOP),
    _slip(r"^function\s+(?P<name>\w+)\([^)]*\)\s*(?P<at>:).*", "no `=` behind the arguments of `{name}`",
          "write `function {name}(...) = ... : unit`", TOP),
    _slip(r"^function\s[^=]*=[^:]*(?P<at>$)", "the function ends without a unit", "write `... : mV`, or `: 1` if it has none", TOP),
    _slip(r"^(?P<at>(?i:neurons?|neuron_?groups?|population|cells?))\s+(?P<name>\w+).*", "`{at}` begins no block",
          "write `neuron {name}:`", TOP),
    _slip(r"^(?P<at>(?i:synapses?))\s+(?P<name>\w+).*", "`{at}` begins no block", "write `synapse {name}:`", TOP),
    _slip(r"^(?P<at>(?i:networks?))\s*:?.*$", "`{at}` begins no block", "write `network:`", TOP),
)  # fmt: skip
BLOCK_HEADS = (
    _slip(r"^(?P<kind>neuron|synapse)\s*(?P<at>:)", "this {kind} has no name", "write `{kind} NAME:`", TOP),
    _slip(r"^(?P<kind>neuron|synapse)\s+(?P<name>\w+)\s*(?P<at>$)", "the line ends without a colon", "write `{kind} {name}:`", TOP),
    _slip(r"^network\s*(?P<at>$)", "the line ends without a colon", "write `network:`", TOP),
    _slip(r"^network\s+(?P<at>\w+)", "a name for the network", "write `network:`", TOP),
    _slip(r"^(?P<kind>neuron|synapse)\s+(?P<name>\w+)\s*(?P<at>\([^)]*\)?)", "arguments of a {kind}",
          "write `{kind} {name}:`; parameters are declared by lines of the block", TOP),
)  # fmt: skip

SLIPS = (
    *BLOCK_HEADS, *TOPS, *EQUATIONS, *CONNECTIONS, *STATEMENT, *HABITS, *VALUES, *CHARACTERS,
)  # fmt: skip

STATEMENT_BLOCK = re.compile(
    r"^\s*(?:reset|update|initial|background|on_pre|on_post|on\s|every\s)[^:]*:"
)
KEYWORDS = {
    "neuron": ("threshold", "reset", "refractory", "method", "update", "initial", "background"),
    "synapse": ("method", "initial", "on_pre", "on_post"),
    "equations": (),
}
HABITUAL = {"on_spike": "reset", "on_reset": "reset", "spike": "threshold", "refrac": "refractory"}


def place_of(lines: Sequence[str], line: int) -> tuple[str, str]:
    """Return where a line (from 1) stands, and the first word of its block: `neuron`, `synapse`, `network` or nothing."""
    code = code_of(lines, line)
    if not code[:1].isspace():
        return TOP, ""
    indent = len(code) - len(code.lstrip())
    place = BLOCK
    for above in range(line - 1, 0, -1):
        text = code_of(lines, above)
        if not text.strip():
            continue
        if not text[0].isspace():
            word = text.split(":")[0].split()[0]
            return (NETWORK if word == "network" else place), word
        outer = len(text) - len(text.lstrip())
        if outer < indent and place == BLOCK and STATEMENT_BLOCK.match(text):
            place = STATEMENTS
        indent = min(indent, outer)
    return place, ""


def code_of(lines: Sequence[str], line: int) -> str:
    """Return a line (from 1) without its comment."""
    return lines[line - 1].split("#", 1)[0].rstrip() if line <= len(lines) else ""


def slip_at(lines: Sequence[str], line: int, column: int) -> Told | None:
    """Return the well-known mistake at a place that the parser refused, if it is one."""
    code, (place, block) = code_of(lines, line), place_of(lines, line)
    if place == BLOCK:
        told = misspelt_keyword(code, block) or misplaced_keyword(code, block)
        if told is not None:
            return told
    for slip in SLIPS:
        if place not in slip.places:
            continue
        for match in slip.pattern.finditer(code):
            if match.start() <= column - 1 <= match.end():
                return _told(slip, match)
    return None


def _told(slip: Slip, match: re.Match[str]) -> Told:
    groups = {name: (text or "").strip() for name, text in match.groupdict().items()}
    marked = next((g for g in ("at", "at2", "at3") if match.groupdict().get(g) is not None), None)
    start, end = match.span(marked) if marked else match.span()
    leading = len(match.string[start:end]) - len(match.string[start:end].lstrip())
    found = match.string[start:end].strip()
    message, hint = (text.format(found, **groups) for text in (slip.message, slip.hint))
    return Told(start + leading + 1, max(1, len(found)), message, hint)


def misplaced_keyword(code: str, block: str) -> Told | None:
    """Return what a keyword of neurons in a synapse is told, or the other way round."""
    match = re.match(r"\s*(?P<word>[A-Za-z_]\w*)\s*:", code)
    if match is None or match.group("word") in KEYWORDS.get(block, (match.group("word"),)):
        return None
    word = match.group("word")
    home = next((kind for kind, words in KEYWORDS.items() if word in words), None)
    if home is None:
        return None
    message = f"`{word}` belongs to a `{home}` block, but stands in `{block}`"
    return Told(match.start("word") + 1, len(word), message, f"put it into a `{home}` block")


def misspelt_keyword(code: str, block: str) -> Told | None:
    """Return what a line that begins with nearly a keyword and a colon is told."""
    match = re.match(r"\s*(?P<word>[A-Za-z_]\w*)\s*:", code)
    if match is None:
        return None
    word, known = match.group("word"), KEYWORDS.get(block, ())
    unit = re.match(NAME + "|1", code[match.end() :].strip())
    if unit is not None and (unit.group() == "1" or unit.group() in unit_table()):
        return None  # a declaration of that name
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.7)
    meant = HABITUAL.get(word.lower()) or (near[0] if near else "")
    if not meant or meant not in known or word == meant:
        return None
    hint = f"did you mean `{meant}:`?"
    return Told(match.start("word") + 1, len(word), f"unknown keyword `{word}`", hint)
