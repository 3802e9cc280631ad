"""check: Syntax -> Model. All mistakes of a file are reported in one run."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from numpy.typing import NDArray

from eqsnn.errors import EqsError, raise_all
from eqsnn.language import syntax as s
from eqsnn.language.blocks import draft
from eqsnn.language.fragments import check_functions, with_included, written_out
from eqsnn.language.model import Model
from eqsnn.language.network import NetworkReader
from eqsnn.language.neurons import check_neuron
from eqsnn.language.parse import parse
from eqsnn.language.synapses import written_by

PRELUDE = Path(__file__).with_name("prelude.eqs")

Arrays = Mapping[str, Mapping[str, NDArray]]


def check(syntax: s.Syntax, files: Arrays | None = None) -> Model:
    """Return the Model of a parsed file. Raises EqsError or EqsErrors with every mistake found.

    files: the arrays of .npz files that are not on disk, by name.
    """
    errors: list[EqsError] = []
    syntax = with_included(syntax)
    functions = check_functions(syntax.functions, errors)
    blocks = _blocks(syntax, errors)
    written = {
        name for block in blocks.values() if block.kind == "synapse" for name in written_by(block)
    }
    drafts = {name: draft(block, written, functions) for name, block in blocks.items()}
    neurons = {name: check_neuron(d) for name, d in drafts.items() if d.block.kind == "neuron"}
    network = NetworkReader(syntax, errors, drafts, neurons, files or {})
    network.read()
    for d in drafts.values():
        errors.extend(d.errors)
    raise_all(errors)
    used = {population.neuron for population in network.populations.values()}
    return Model(
        path=syntax.path,
        text=syntax.text,
        neurons={
            name: neuron for name, neuron in neurons.items() if name in used or name in _own(syntax)
        },
        synapses=network.synapses,
        dt=network.dt,
        populations=network.populations,
        projections=network.projections,
        values_file=network.values_file,
    )


def _own(syntax: s.Syntax) -> set[str]:
    return {block.name for block in syntax.blocks}


@cache
def _prelude() -> tuple[s.Block, ...]:
    return parse(PRELUDE.read_text(encoding="utf-8"), "prelude.eqs").blocks


def _blocks(syntax: s.Syntax, errors: list[EqsError]) -> dict[str, s.Block]:
    blocks: dict[str, s.Block] = {}
    for block in syntax.blocks:
        if block.name in blocks:
            message = (
                f"`{block.name}` is defined twice (first in line {blocks[block.name].span.line})"
            )
            errors.append(EqsError(block.span, message, "rename one of them"))
        blocks.setdefault(block.name, block)
    fragments = {name: block for name, block in blocks.items() if block.kind == "equations"}
    for name, block in blocks.items():
        try:
            blocks[name] = written_out(block, fragments)
        except EqsError as error:
            errors.append(error)
            blocks[name] = replace(
                block, lines=tuple(line for line in block.lines if not isinstance(line, s.Use))
            )
    blocks = {name: block for name, block in blocks.items() if block.kind != "equations"}
    for block in _prelude():
        blocks.setdefault(block.name, block)
    for network in syntax.networks[1:]:
        errors.append(
            EqsError(network.span, "there is a second `network` block", "put everything into one")
        )
    return blocks
