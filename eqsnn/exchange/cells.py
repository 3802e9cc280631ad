"""Cell: one group of Brian2 neurons as a `neuron` block and a population."""

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.exchange.brian import method_of
from eqsnn.exchange.drives import Drive, SpikeTrains, Waveform
from eqsnn.exchange.literals import quantity_text, unit_text
from eqsnn.exchange.reader import Reader, dimension_of, safe
from eqsnn.language.units import TIME

STAGED = (
    "rk2",
    "rk4",
    "heun",
    "milstein",
)  # methods of Brian2 that evaluate a TimedArray between two steps too


@dataclass(slots=True, eq=False)
class Cell:
    """A population while it is being written.

    written: Brian2 names that events, synapses or regular operations change; every other parameter is constant.
    links: lines of the network block. values, drives: by the name of the file's variable.
    """

    group: Any
    name: str
    reader: Reader
    written: set[str]
    lines: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    drives: dict[str, Drive] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.group.variables["N"].get_value())

    def add_input(self, name: str, array: Any, arguments: list[str]) -> str:
        """Make a TimedArray an input of the population and return its name; `arguments` as in the call."""
        if arguments not in (["t"], ["t", "i"]):
            self.reader.refuse(
                f"`{name}({', '.join(arguments)})`",
                f"use `{name}(t)` or `{name}(t, i)`, or shift the values of the array",
            )
        values = np.asarray(array.values, dtype=float)
        if values.ndim == 2 and values.shape[1] != self.size:
            if values.shape[1] < self.size:
                self.reader.refuse(
                    f"`{name}(t, i)`, which has {values.shape[1]} columns for {self.size} neurons,",
                    "give it a column each",
                )
            values = values[:, : self.size]
        local = safe(name)
        self.inputs[local] = f"{local} : {unit_text(dimension_of(array))} (input)"
        self.drives[local] = Waveform(values, float(array.dt))
        return local

    def block(self) -> list[str]:
        """Return the lines of the `neuron` block."""
        lines = [*self.lines, *self.inputs.values(), *self.reader.constants.values()]
        return [f"neuron {self.name}_model:", *(f"    {line}" for line in lines)]

    def start_of(self, name: str, unit: str, value: Any, dimension: Any) -> str | None:
        """Return the text of an initial value, None for 0; one for each neuron becomes a parameter `NAME_start`."""
        array = np.atleast_1d(np.asarray(value))
        if (array == array[0]).all():
            text = value_text(array[0], dimension)
            return None if float(array[0]) == 0 else text
        start = f"{name}_start"
        self.reader.constants[start] = array_line(start, unit)
        self.values[start] = array.astype(float)
        return f"{start} > 0.5" if unit == "boolean" else start


def array_line(name: str, unit: str) -> str:
    """Return the line of a parameter whose values, one for each neuron or synapse, are in the file of values."""
    scale = f"{unit} = 0*{unit}" if unit not in ("1", "integer", "boolean") else "1 = 0"
    return f"{name} : {scale}    # the file of values has one for each"


def value_text(value: Any, dimension: Any) -> str:
    """Return one value of a state or parameter as text."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    return quantity_text(float(value), dimension)


def unit_of(equation: Any) -> str:
    """Return what follows the colon for a variable of Brian2's equations."""
    kind = str(equation.var_type)
    return kind if kind in ("integer", "boolean") else unit_text(dimension_of(equation.dim))


def targets(code: str) -> set[str]:
    """Return the names that a list of Brian2 statements assigns to."""
    tree = ast.parse("\n".join(line.strip() for line in code.strip().splitlines()))
    assigned = (node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AugAssign))
    return {
        target.id
        for node in assigned
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }


def read_neurons(
    cell: Cell, dt: float, namespace: Mapping[str, Any], population_of: Callable[[Any], str]
) -> None:
    """Write a NeuronGroup. population_of: the population that a group of Brian2 has become. Raises InputError."""
    group, reader = cell.group, cell.reader
    starts: list[str] = []
    method = method_of(group, group.state_updater, group.equations, namespace)
    refractory = refractory_of(group, reader)
    for equation in group.user_equations.values():
        starts += _equation(cell, equation, refractory is not None, method, population_of)
    cell.lines += _events(group, reader)
    if refractory is not None:
        cell.lines.append(f"refractory: {refractory}")
    for runner in group.contained_objects:
        if type(runner).__name__ == "CodeRunner":
            cell.lines += regular(runner, reader, dt)
    if method is not None:
        cell.lines.append(f"method: {method}")
    cell.lines += statement_block("initial", starts)


def _equation(
    cell: Cell,
    equation: Any,
    is_refractory: bool,
    method: str | None,
    population_of: Callable[[Any], str],
) -> list[str]:
    """Write one line of the equations; return what `initial` has to say about it."""
    reader, group = cell.reader, cell.group
    name, unit = safe(equation.varname), unit_of(equation)
    kind, dimension = str(equation.type), dimension_of(equation.dim)
    shared = ["shared"] if "shared" in equation.flags else []
    if kind == "subexpression":
        held = "constant over dt" in equation.flags
        call = _call_of_timed_array(reader, equation.expr.code) if held else None
        if call is not None:
            local = cell.add_input(*call)
            moved = cell.inputs.pop(local).split(" : ", 1)[1]
            cell.lines.append(f"{name} : {moved}")
            cell.drives[name] = cell.drives.pop(local)
            return []
        before = dict(cell.inputs)
        text = reader.expression(equation.expr.code)
        if not held:
            _refuse_staged(cell, before, method)
        flags = [flag for flag in ("shared", "constant over dt") if flag in equation.flags]
        cell.lines.append(f"{name} = {text} : {unit}{_in_parentheses(flags)}")
        return []
    if kind == "differential equation":
        before = dict(cell.inputs)
        text = reader.expression(equation.expr.code)
        _refuse_staged(cell, before, method)
        frozen = (
            ["unless refractory"] if "unless refractory" in equation.flags and is_refractory else []
        )
        cell.lines.append(f"d{name}/dt = {text} : {unit}{_in_parentheses(frozen)}")
    elif "linked" in equation.flags:
        cell.lines.append(f"{name} : {unit} (linked)")
        cell.links.append(link_text(cell, equation.varname, population_of))
        return []
    elif equation.varname in cell.written:
        cell.lines.append(f"{name} : {unit}{_in_parentheses(shared)}")
    else:
        _parameter(cell, equation, name, unit)
        return []
    value = group.variables[equation.varname].get_value()
    start = cell.start_of(name, unit, value, dimension)
    return [] if start is None else [f"{name} = {start}"]


def _parameter(cell: Cell, equation: Any, name: str, unit: str) -> None:
    value = np.atleast_1d(np.asarray(cell.group.variables[equation.varname].get_value()))
    same = bool((value == value[0]).all())
    flags = _in_parentheses(["shared"] if "shared" in equation.flags else [])
    cell.lines.append(
        f"{name} : {unit} = {value_text(value[0], dimension_of(equation.dim))}{flags}"
    )
    if not same:
        cell.lines[-1] += "    # of the first; the file of values has one for each"
        cell.values[name] = value.astype(float)


def _refuse_staged(cell: Cell, before: Mapping[str, str], method: str | None) -> None:
    new = [name for name in cell.inputs if name not in before]
    if new and method in STAGED:
        cell.reader.refuse(
            f"`{new[0]}(t)` under the method `{method}`, which reads it between two steps,",
            "give it a line of its own: `I = array(t) : ... (constant over dt)`",
        )


def _call_of_timed_array(reader: Reader, code: str) -> tuple[str, Any, list[str]] | None:
    """Return the name, the array and the arguments if an expression is nothing but a call of a TimedArray."""
    tree = ast.parse(code.strip(), mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return None
    function = reader.external(tree.func.id)
    if not (hasattr(function, "values") and hasattr(function, "dt")):
        return None
    return tree.func.id, function, [ast.unparse(argument) for argument in tree.args]


def _in_parentheses(flags: list[str]) -> str:
    return f" ({', '.join(flags)})" if flags else ""


def statement_block(head: str, statements: list[str]) -> list[str]:
    """Return `head:` with its statements below; nothing without statements."""
    return [f"{head}:", *(f"    {line}" for line in statements)] if statements else []


def refractory_of(group: Any, reader: Reader) -> str | None:
    """Return the refractory period or condition of a group as text."""
    given = group._refractory
    if given is False:
        return None
    if isinstance(given, str):
        return reader.expression(given)
    return quantity_text(float(np.asarray(given)), dimension_of(given))


def _events(group: Any, reader: Reader) -> Iterator[str]:
    for event, condition in group.events.items():
        checked, acts = group.thresholder[event], group.resetter.get(event)
        spike = event == "spike"
        usual = ("thresholds", "resets") if spike else ("after_thresholds", "after_resets")
        for runner, when in ((checked, usual[0]), (acts, usual[1])):
            if runner is not None and runner.when != when:
                reader.refuse(
                    f"the event `{event}` in the slot `{runner.when}`", f"leave it in `{when}`"
                )
        yield f"{'threshold' if spike else 'event ' + safe(event)}: {reader.expression(condition)}"
        code = group.event_codes.get(event, "")
        if code.strip():
            yield from statement_block(
                "reset" if spike else f"on {safe(event)}", reader.statements(code)
            )


def regular(runner: Any, reader: Reader, dt: float) -> list[str]:
    """Return the block of an operation that `run_regularly` has added."""
    clock = getattr(runner.clock, "dt_", None)
    if clock is None:
        reader.refuse("an operation at listed times (`run_at`)", "use run_regularly")
    period, step = float(np.asarray(clock)), dt
    statements = reader.statements(runner.abstract_code)
    each_step = abs(period / step - 1) < 1e-4
    if runner.when == "start":
        head = "every step" if each_step else f"every {quantity_text(period, TIME)}"
        return statement_block(head, statements)
    if runner.when in ("after_groups", "before_thresholds") and each_step:
        return statement_block("update", statements)
    return reader.refuse(f"run_regularly in the slot `{runner.when}`", "leave it in `start`")


def link_text(cell: Cell, name: str, population_of: Callable[[Any], str]) -> str:
    """Return the `link` line of a linked variable."""
    group = cell.group
    if name not in group.variables:
        cell.reader.refuse(
            f"the linked variable `{name}` without a target",
            f"set it with `group.{name} = linked_var(...)`",
        )
    source = group.variables[name]
    index = group.variables.indices[name]
    origin = f"{population_of(source.owner)}.{safe(source.name)}"
    line = f"link {cell.name}.{safe(name)} = {origin}"
    if index in ("_idx", "0"):
        return line
    chosen = np.asarray(group.variables[index].get_value()).astype(int)
    return line if source.scalar else f"{line}[{index_text(cell, name, chosen)}]"


def index_text(cell: Cell, name: str, chosen: NDArray[np.int64]) -> str:
    """Return an expression over i for the indices that a linked variable reads."""
    i = np.arange(len(chosen))
    if (chosen == chosen[0]).all():
        return str(int(chosen[0]))
    for k in range(1, len(i) + 1):
        for text, value in ((f"i // {k}", i // k), (f"i % {k}", i % k)):
            if np.array_equal(chosen, value):
                return "i" if k == 1 else text
    step, first = int(chosen[1] - chosen[0]), int(chosen[0])
    if np.array_equal(chosen, first + step * i):
        return f"{first} + {step}*i" if step >= 0 else f"{first} - {-step}*i"
    return " + ".join(f"{int(value)}*int(i == {k})" for k, value in enumerate(chosen) if value)


def read_poisson(cell: Cell) -> None:
    """Write a PoissonGroup: spikes with probability rates*dt in each step."""
    rates = cell.group.variables["rates"]
    if hasattr(rates, "expr"):
        cell.lines.append(f"rates = {cell.reader.expression(rates.expr)} : Hz (constant over dt)")
    else:
        values = np.atleast_1d(np.asarray(rates.get_value()))
        cell.lines.append(
            f"rates : Hz = {quantity_text(float(values[0]), dimension_of(rates.dim))}"
        )
        if not (values == values[0]).all():
            cell.values["rates"] = values.astype(float)
    cell.lines.append("threshold: rand() < rates*dt")


def read_trains(cell: Cell) -> None:
    """Take the spikes of a SpikeGeneratorGroup as a drive of the built-in `spike_train`."""
    group = cell.group
    if np.asarray(group._neuron_index).dtype == object:
        raise InputError(
            f"{group.name}: its spikes cannot be read; give arrays of indices and times"
        )
    period = float(np.asarray(group.variables["period"].get_value()).reshape(()))
    cell.drives["spikes"] = SpikeTrains(
        np.asarray(group._neuron_index, dtype=np.int64),
        np.asarray(group._spike_time, dtype=float),
        cell.size,
        period if period < 1e9 else 0.0,
    )
