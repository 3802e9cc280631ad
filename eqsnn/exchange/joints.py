"""Joint: one Synapses object of Brian2 as a `synapse` block and a projection."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqsnn.exchange.brian import method_of
from eqsnn.exchange.cells import (
    Cell,
    array_line,
    regular,
    statement_block,
    targets,
    unit_of,
    value_text,
)
from eqsnn.exchange.connections import Pairs, connection_text, delay_text
from eqsnn.exchange.literals import quantity_text
from eqsnn.exchange.reader import Reader, dimension_of, safe


@dataclass(slots=True, eq=False)
class Joint:
    """A projection while it is being written. pre, post: the populations; first: where a subgroup begins in each."""

    synapses: Any
    name: str
    pre: Cell
    post: Cell
    first: tuple[int, int] = (0, 0)
    reader: Reader = field(init=False)
    lines: list[str] = field(default_factory=list)
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    listed: str = ""  # the file of its pairs, if they follow no rule

    @property
    def pairs(self) -> tuple[Pairs, Pairs]:
        """The existing synapses as neurons of the two populations, subgroups counted from the population's start."""
        found = (
            self.synapses.variables[name].get_value()
            for name in ("_synaptic_pre", "_synaptic_post")
        )
        i, j = (np.asarray(part, dtype=np.int64) for part in found)
        return i, j

    @property
    def own(self) -> set[str]:
        """Brian2 names of the synapse's own variables."""
        found = set(self.synapses.equations)
        if self.synapses.event_driven is not None:
            found |= set(self.synapses.event_driven)
        return found

    def name_of(self, name: str) -> str | None:
        """Return what a name of the synaptic code is called in the block; a bare name is the synapse's, else postsynaptic."""
        if name in self.own:
            return safe(name)
        if name in ("i", "j"):
            first = self.first[name == "j"]
            return f"({name} - {first})" if first else name
        if name in ("N_pre", "N_post"):
            part = self.synapses.source if name == "N_pre" else self.synapses.target
            whole = (self.pre if name == "N_pre" else self.post).size
            return name if len(part) == whole else str(len(part))
        if name in ("t", "dt", "N_incoming", "N_outgoing", "t_in_timesteps") or name.startswith(
            "xi"
        ):
            return name
        if name == "lastupdate":
            return self.reader.refuse(
                "`lastupdate` beside (event-driven) equations",
                "declare a variable of your own and set it to t",
            )
        for ending, cell in (("_pre", self.pre), ("_post", self.post)):
            if name.endswith(ending) and name.removesuffix(ending) in cell.group.variables:
                return outside_name(cell, name.removesuffix(ending)) + ending
        if name in self.post.group.variables and not name.startswith("_"):
            return outside_name(self.post, name) + "_post"
        return None

    def call_of(self, name: str, array: Any, arguments: list[str]) -> str:
        """Read a TimedArray through an input of a neuron that the synapse joins."""
        if arguments == ["t", "i"]:
            return self.pre.add_input(name, array, ["t", "i"]) + "_pre"
        given = ["t", "i"] if arguments == ["t", "j"] else arguments
        return self.post.add_input(name, array, given) + "_post"

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of pre- and postsynaptic neurons, of the whole populations."""
        return self.pre.size, self.post.size

    def block(self) -> list[str]:
        """Return the lines of the `synapse` block."""
        lines = [*self.lines, *self.reader.constants.values()]
        return [f"synapse {self.name}:", *(f"    {line}" for line in lines)]


def outside_name(cell: Cell, name: str) -> str:
    """Return what a variable of a neuron is called in its block."""
    return name if name in ("i", "N", "lastspike", "not_refractory") else safe(name)


def written_outside(synapses: Any) -> Iterator[tuple[str, str]]:
    """Yield what a Synapses object writes in its neurons: the side (pre, post) and the Brian2 name there."""
    own = set(synapses.equations) | set(synapses.event_driven or ())
    for name in synapses.summed_updaters:
        yield (
            ("post", name.removesuffix("_post"))
            if name.endswith("_post")
            else ("pre", name.removesuffix("_pre"))
        )
    for pathway in synapses._pathways:
        for name in targets(pathway.code):
            if name in own:
                continue
            if name.endswith("_pre"):
                yield "pre", name.removesuffix("_pre")
            else:
                yield "post", name.removesuffix("_post")


def read_synapses(joint: Joint, dt: float, namespace: Mapping[str, Any]) -> str:
    """Write the block of a Synapses object; return its line of the network block. Raises InputError."""
    synapses, reader = joint.synapses, joint.reader
    i, j = joint.pairs
    if len(np.unique(i * joint.post.size + j)) != len(i):
        reader.refuse(
            "several synapses between the same two neurons",
            "give them one weight, or two Synapses objects",
        )
    starts = _equations(joint)
    clauses = [
        line for pathway in _in_order(synapses) for line in [_pathway(joint, pathway, dt)] if line
    ]
    _regular(joint, dt)
    method = method_of(synapses, synapses.state_updater, synapses.equations, namespace)
    if method is not None:
        joint.lines.append(f"method: {method}")
    joint.lines += statement_block("initial", starts)
    condition = connection_text(i, j, *joint.sizes)
    line = f"{joint.pre.name} -> {joint.post.name} : {joint.name}"
    if condition is None:
        joint.listed = f"{joint.name}_pairs.npz"
        line += f' pairs "{joint.listed}"'
    elif condition:
        line += f" if {condition}"
    return line + "".join(clauses)


def _equations(joint: Joint) -> list[str]:
    """Write the synapse's equations, sums at last; return what `initial` has to say about them."""
    synapses, reader = joint.synapses, joint.reader
    written, starts = _written_in_synapse(joint), []
    equations = dict(synapses.equations)
    if synapses.event_driven is not None:
        equations |= {name: e for name, e in synapses.event_driven.items() if name not in equations}
    for equation in equations.values():
        starts += _equation(joint, equation, written)
    for name, updater in synapses.summed_updaters.items():
        if not name.endswith("_post"):
            reader.refuse(
                f"the sum `{name}` over the synapses of a presynaptic neuron",
                "swap source and target",
            )
        text = reader.expression(updater.expression.code)
        target = safe(name.removesuffix("_post"))
        joint.lines.append(f"{target}_post = {text} : {_summed_unit(joint, name)} (summed)")
    return starts


def _regular(joint: Joint, dt: float) -> None:
    """Write what run_regularly does to the synapse's own variables."""
    for runner in joint.synapses.contained_objects:
        if type(runner).__name__ == "CodeRunner":
            if runner.when != "start" or not targets(runner.abstract_code) <= joint.own:
                joint.reader.refuse(
                    "run_regularly of Synapses in another slot than `start` or of a neuron's variables",
                    "let it change the synapse's own variables at the start of a step",
                )
            joint.lines += regular(runner, joint.reader, dt)


def _in_order(synapses: Any) -> list[Any]:
    return sorted(synapses._pathways, key=lambda pathway: (pathway.order, pathway.name))


def _summed_unit(joint: Joint, name: str) -> str:
    return unit_of(joint.post.group.equations[name.removesuffix("_post")])


def _written_in_synapse(joint: Joint) -> set[str]:
    codes = [pathway.code for pathway in joint.synapses._pathways]
    codes += [
        r.abstract_code
        for r in joint.synapses.contained_objects
        if type(r).__name__ == "CodeRunner"
    ]
    return {name for code in codes for name in targets(code) if name in joint.own}


def _equation(joint: Joint, equation: Any, written: set[str]) -> list[str]:
    """Write one line of the synapse's equations; return what `initial` has to say about it."""
    reader, name, unit = joint.reader, safe(equation.varname), unit_of(equation)
    kind = str(equation.type)
    if kind == "subexpression":
        flags = " (shared)" if "shared" in equation.flags else ""
        joint.lines.append(f"{name} = {reader.expression(equation.expr.code)} : {unit}{flags}")
        return []
    value = np.atleast_1d(np.asarray(joint.synapses.variables[equation.varname].get_value()))
    if kind == "differential equation":
        flag = " (event-driven)" if "event-driven" in equation.flags else " (clock-driven)"
        joint.lines.append(f"d{name}/dt = {reader.expression(equation.expr.code)} : {unit}{flag}")
    elif equation.varname in written:
        joint.lines.append(f"{name} : {unit}")
    else:
        _parameter(joint, equation, name, unit, value)
        return []
    return _start(joint, equation, name, unit, value)


def _parameter(joint: Joint, equation: Any, name: str, unit: str, value: NDArray) -> None:
    first = value[0] if len(value) else 0.0
    flags = " (shared)" if "shared" in equation.flags else ""
    joint.lines.append(f"{name} : {unit} = {value_text(first, dimension_of(equation.dim))}{flags}")
    if len(value) and not (value == first).all():
        joint.lines[-1] += "    # of the first; the file of values has one for each"
        joint.values[name] = _as_matrix(joint, value)


def _as_matrix(joint: Joint, value: NDArray) -> NDArray[np.float64]:
    """Return values of the existing synapses as (pre, post), 0 where there is none."""
    matrix = np.zeros(joint.sizes)
    matrix[joint.pairs] = value
    return matrix


def _start(joint: Joint, equation: Any, name: str, unit: str, value: NDArray) -> list[str]:
    if not len(value) or (value == value[0]).all():
        number = value[0] if len(value) else 0.0
        return [f"{name} = {value_text(number, dimension_of(equation.dim))}"] if number else []
    start = f"{name}_start"
    joint.reader.constants[start] = array_line(start, unit)
    joint.values[start] = _as_matrix(joint, value.astype(float))
    return [f"{name} = {start} > 0.5" if unit == "boolean" else f"{name} = {start}"]


def _pathway(joint: Joint, pathway: Any, dt: float) -> str:
    """Write a pathway into the block and return its `delay` clause."""
    name, statements = pathway.objname, joint.reader.statements(pathway.code)
    delays = np.atleast_1d(np.asarray(pathway.variables["delay"].get_value(), dtype=float))
    delay = delay_text(delays, *joint.pairs, joint.sizes, dt) if len(delays) else ""
    if delay is None:
        joint.reader.refuse(
            "a delay for each synapse that follows no rule", "round the delays to a few values"
        )
    if name == "pre" and delay and _reads_without_events(joint.synapses):
        # the delay of `pre` would hold for sums and rates too, which Brian2 never delays
        name = "arrival"
    side = "on_pre" if pathway.prepost == "pre" else "on_post"
    event = "" if pathway.event == "spike" else f" at {safe(pathway.event)}"
    named = f" {safe(name)}" if name != pathway.prepost or event else ""
    joint.lines += statement_block(f"{side}{named}{event}", statements)
    return f" delay {'' if name == 'pre' else safe(name) + ' '}{delay}" if delay else ""


def _reads_without_events(synapses: Any) -> bool:
    return bool(synapses.summed_updaters) or synapses.state_updater is not None


def background_line(runner: Any, reader: Reader) -> str:
    """Return the `background` line of a PoissonInput."""
    weight = runner.weight
    text = (
        reader.expression(weight)
        if isinstance(weight, str)
        else quantity_text(float(np.asarray(weight)), dimension_of(weight))
    )
    rate = quantity_text(float(np.asarray(runner.rate)), dimension_of(runner.rate))
    return f"background: {safe(runner.target_var)} += ({text})*poisson({int(runner.N)}*{rate}*dt)"
