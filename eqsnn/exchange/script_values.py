"""Values, connections, delays, links and inputs of a model as lines of a Brian2 script."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError
from eqsnn.exchange.connections import connection_text
from eqsnn.exchange.literals import number_text, quantity_text, unit_text
from eqsnn.language import syntax as s
from eqsnn.language.model import Model, NeuronModel, Projection, Role
from eqsnn.language.units import DIMENSIONLESS, TIME, Unit, scale_of, unit_table
from eqsnn.maths.connect import delay_steps, existing_pairs

WIDTH = 90  # of lines of numbers
# names that the script itself uses, or that come with `from brian2 import *` and that it needs
TAKEN = frozenset(
    (
        *(
            "np",
            "prefs",
            "defaultclock",
            "network",
            "monitors",
            "monitor",
            "name",
            "drive",
            "INPUTS",
        ),
        *("second", "run", "e", "pi", "linked_var"),
    )
)


def python_name(population: str) -> str:
    """Return the Python variable of a population."""
    return (
        f"{population}_group" if population in TAKEN or population in unit_table() else population
    )


def assignment_text(
    variable: str, name: str, value: NDArray[np.float64], unit: Unit, *, shared: bool
) -> str:
    """Return the line that gives a parameter its values, in SI units: one for all, (neuron,) or (pre, post)."""
    flat = value.ravel()
    if unit.name == "boolean":
        texts = [str(bool(v)) for v in flat]
    elif (flat == flat[0]).all() or shared:
        return f"{variable}.{name} = {quantity_text(float(flat[0]), unit.dimension)}"
    else:
        texts = [number_text(v) for v in flat]
    if unit.name == "boolean" and (flat == flat[0]).all():
        return f"{variable}.{name} = {texts[0]}"
    plain = unit.name == "boolean" or unit.dimension == DIMENSIONLESS
    factor = "" if plain else f" * ({unit_text(unit.dimension)})"
    array = _array(texts)
    if value.ndim == 2:
        array += f".reshape({value.shape[0]}, {value.shape[1]})[{variable}.i[:], {variable}.j[:]]"
    return f"{variable}.{name} = {array}{factor}"


def _array(texts: Iterable[str]) -> str:
    joined = ", ".join(texts)
    if len(joined) < WIDTH:
        return f"np.array([{joined}])"
    lines = textwrap.wrap(joined, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "np.array([\n" + "\n".join(f"    {line}" for line in lines) + "\n])"


def input_lines(neuron: NeuronModel, population: str, size: int) -> Iterator[str]:
    """Yield the TimedArray of each input of a population."""
    for name, variable in neuron.variables.items():
        if variable.role is Role.INPUT:
            wave = wave_name(population, name)
            unit = variable.unit.name
            factor = (
                ""
                if variable.unit.dimension == DIMENSIONLESS
                else f" * {script_unit(variable.unit)}"
            )
            yield f'values, step = drive("{name}", "{population}", {size})  # in {unit}'
            yield f"{wave} = TimedArray(values{factor}, dt=step)"


def si_scale(unit: Unit) -> float:
    """Return how many coherent units one SI unit of the same dimension is; 1 for conditions."""
    return 1.0 if unit.name == "boolean" else float(scale_of(unit.dimension, Fraction(1)))


def script_unit(unit: Unit) -> str:
    """Return a unit of the file as a quantity of Brian2: `(0.001*volt)`."""
    factor = unit.scale / si_scale(unit)
    name = unit_text(unit.dimension)
    return f"({name})" if factor == 1 else f"({number_text(factor)}*{name})"


def wave_name(population: str, name: str) -> str:
    """Return the name of the TimedArray of an input."""
    return f"{name}_of_{population}"


def connect_text(model: Model, projection: Projection, conditions: Mapping[str, str]) -> str:
    """Return the call of `connect`: by the file's own condition, else by the pairs that exist."""
    if projection.name in conditions:
        condition = conditions[projection.name]
        return f'connect(condition="{condition}")' if condition else "connect()"
    exists = existing_pairs(model, projection.name)
    i, j = np.nonzero(exists)
    text = connection_text(i, j, *exists.shape)
    if text is not None:
        return f'connect(condition="{text}")' if text else "connect()"
    first, second = (_array(map(str, part)) for part in (i, j))
    return f"connect(i={first}, j={second})"


def delay_lines(model: Model, projection: Projection, variable: str) -> Iterator[str]:
    """Yield the lines that set the delays of every pathway, in whole steps."""
    synapse = model.synapse_of(projection.name)
    names = {pathway.name for pathway in synapse.pathways}
    reads = {
        str(symbol)
        for e in (*synapse.summed.values(), *synapse.equations.values())
        for symbol in e.free_symbols
    }
    delays = {"pre": projection.delay, **projection.delays}
    for name, delay in delays.items():
        steps = np.asarray(delay_steps(model, projection, delay))
        if not steps.any():
            continue
        if name == "pre" and any(read.endswith("_pre") for read in reads):
            raise InputError(
                f"{projection.name}: Brian2 delays events only, not the presynaptic values of sums and equations; give "
                "the delay to a pathway with a name"
            )
        if name not in names:
            continue
        if steps.ndim == 0:
            # one delay for all is stored for each synapse all the same
            yield f"{variable}.{name}.delay = {quantity_text(float(steps * model.dt * 1e-3), TIME)}"
            continue
        matrix = f"{_array(map(str, steps.ravel()))}.reshape({steps.shape[0]}, {steps.shape[1]})"
        yield f"{variable}.{name}.delay = {matrix}[{variable}.i[:], {variable}.j[:]] * defaultclock.dt"


def link_lines(model: Model, links: Iterable[s.Link]) -> Iterator[str]:
    """Yield the lines that join linked variables to their sources."""
    for link in links:
        ending = f":{link.variable}"
        made = (p.name for p in model.projections.values() if p.link and p.post == link.population)
        exists = existing_pairs(model, next(name for name in made if name.endswith(ending)))
        index = exists.argmax(0)
        same = exists.shape[0] == exists.shape[1] and np.array_equal(index, np.arange(len(index)))
        chosen = "" if same else f", index={_array(map(str, index))}"
        target, source = python_name(link.population), python_name(link.source)
        yield f"{target}.{link.variable} = linked_var({source}.{link.read}{chosen})"
