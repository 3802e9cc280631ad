"""fitted_text: the model file with fitted values written in; its neuron and synapse blocks stay as they are."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eqsnn.language import syntax as s
from eqsnn.language.parse import parse
from eqsnn.language.syntax import write_network_line
from eqsnn.simulation.network import SpikingModel

VALUES_FILE = "fitted.npz"


def fitted_text(
    model: SpikingModel, parameters: Mapping[str, NDArray[np.float64]], learned: tuple[str, ...]
) -> str:
    """Return the text of `fitted.eqs`: single values after `with`, arrays in `fitted.npz` beside it."""
    definition = model.definition
    syntax = parse(definition.text, definition.path)
    before, after = _around_network(definition.text, syntax)
    lines = ["network:", f"    dt = {definition.dt!r}*ms"]
    if any(value.size > 1 for value in parameters.values()):
        lines.append(f'    values: "{VALUES_FILE}"')
    units = {name: p.unit.name for name, p in model.parameters().items()}
    for population in definition.populations.values():
        line = f"    {population.name} : {population.neuron}[{population.size}]"
        lines.append(line + _with(population.name, parameters, units))
    by_name = {
        (line.pre, line.post, line.synapse): line
        for network in syntax.networks
        for line in network.lines
        if isinstance(line, s.ProjectionLine)
    }
    for projection in definition.projections.values():
        if projection.link:
            continue
        source = by_name[projection.pre, projection.post, projection.synapse]
        given = _with(projection.name, parameters, units)
        lines.append(f"    {write_network_line(replace(source, overrides=()))}{given}")
    links = (line for n in syntax.networks for line in n.lines if isinstance(line, s.Link))
    lines += [f"    {write_network_line(line)}" for line in links]
    title = f"# Fitted by eqsnn; learned: {', '.join(learned)}."
    return "\n".join([title, *before, *lines, *after]).rstrip() + "\n"


def _with(
    group: str, parameters: Mapping[str, NDArray[np.float64]], units: Mapping[str, str]
) -> str:
    given = []
    for name, value in parameters.items():
        owner, local = name.rsplit(".", 1)
        if owner == group and value.size == 1:
            unit = "" if units[name] == "1" else f"*{units[name]}"
            given.append(f"{local} = {float(value.reshape(()))!r}{unit}")
    return f" with {', '.join(given)}" if given else ""


def _around_network(text: str, syntax: s.Syntax) -> tuple[list[str], list[str]]:
    """Return the lines before and after the network block."""
    lines = text.splitlines()
    if not syntax.networks:
        return [*lines, ""], []
    first = syntax.networks[0].span.line - 1
    last = first + 1
    while last < len(lines) and (not lines[last].strip() or lines[last][0] in " #"):
        last += 1
    return lines[:first], ["", *lines[last:]]
