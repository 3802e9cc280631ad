"""Parameters of a whole network: `cells.tau_m`, `wake->rem.w`; what each is worth, and which are to be learned."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqsnn.errors import InputError
from eqsnn.language.expressions import suggest
from eqsnn.language.model import Distribution, Model, Role, Value
from eqsnn.language.units import Unit


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a population or projection.

    `given` is a number or distribution in coherent units, or an array in coherent units of shape `shape`. `prior` is
    the distribution to start from if it is learned; `low` and `high` are its bounds in coherent units.
    """

    name: str
    unit: Unit
    shape: tuple[int, ...]  # (1,) shared, (neuron,) or (pre, post)
    given: float | Distribution | NDArray[np.float64]
    learned: bool
    prior: Distribution | None
    low: float
    high: float

    @property
    def centre(self) -> str:
        """The full name of the unknown that the distribution of this one is centred on, or nothing."""
        given = self.prior if self.learned or self.prior is not None else self.given
        if not isinstance(given, Distribution) or not given.centre:
            return ""
        return f"{self.name.rsplit('.', 1)[0]}.{given.centre}"

    def draw(self, rng: np.random.Generator, centre: float | None = None) -> NDArray[np.float64]:
        """Return values of shape `shape` in coherent units; a distribution is drawn from, within its bounds.

        centre: in coherent units, of a distribution that names another unknown; by default what is typical of that.
        """
        if isinstance(self.given, Distribution):
            return draw(_around(self.given, centre), self.low, self.high, self.shape, rng)
        return np.broadcast_to(np.asarray(self.given, float), self.shape).copy()

    def draw_start(
        self, rng: np.random.Generator, centre: float | None = None
    ) -> NDArray[np.float64]:
        """Return a start for learning, drawn from the prior within the bounds, in coherent units; centre: see draw."""
        assert self.prior is not None, f"{self.name} has no prior"
        return draw(_around(self.prior, centre), self.low, self.high, self.shape, rng)


def draw_all(
    parameters: Mapping[str, Parameter], rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """Return values of every parameter in coherent units, each centre drawn before what lies around it."""
    found: dict[str, NDArray[np.float64]] = {}
    for name in centres_first(parameters):
        centre = found.get(parameters[name].centre)
        found[name] = parameters[name].draw(rng, None if centre is None else float(centre[0]))
    return {name: found[name] for name in parameters}


def centres_first(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the names in an order in which every centre precedes what lies around it; else as they are."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        if name in parameters and name not in ordered:
            visit(parameters[name].centre)
            ordered.append(name)

    for name in parameters:
        visit(name)
    return ordered


def _around(distribution: Distribution, centre: float | None) -> Distribution:
    if centre is None or not distribution.centre:
        return distribution
    return replace(distribution, arguments=(centre, *distribution.arguments[1:]))


def draw(
    distribution: Distribution,
    low: float,
    high: float,
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw from a distribution truncated to [low, high], by rejection."""
    values = _draw(distribution, shape, rng)
    for _ in range(1000):
        outside = (values < low) | (values > high)
        if not outside.any():
            return values
        values[outside] = _draw(distribution, (int(outside.sum()),), rng)
    raise InputError(
        f"{distribution.name}{distribution.arguments} hardly ever lies in [{low:g}, {high:g}]; widen the bounds"
    )


def _draw(
    distribution: Distribution, shape: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float64]:
    first, *rest = distribution.arguments
    if distribution.name == "normal":
        return rng.normal(first, rest[0], shape)
    if distribution.name == "lognormal":
        return first * np.exp(rng.normal(0.0, rest[0], shape))
    if distribution.name == "uniform":
        return rng.uniform(first, rest[0], shape)
    if distribution.name == "laplace":
        return rng.laplace(first, rest[0], shape)
    if distribution.name == "halfnormal":
        return np.abs(rng.normal(0.0, first, shape))
    assert distribution.name == "exponential", f"no way to draw from {distribution.name}"
    return rng.exponential(first, shape)


def parameters_of(model: Model) -> dict[str, Parameter]:
    """Return every parameter of a model whose population sizes are known, in the order of the file."""
    found: dict[str, Parameter] = {}
    for name in (*model.populations, *model.projections):
        entry = model.populations.get(name) or model.projections[name]
        block = model.neuron_of(name) if name in model.populations else model.synapse_of(name)
        for variable in block.variables.values():
            if variable.role is not Role.PARAMETER:
                continue
            value = entry.values.get(variable.name, variable.value)
            assert value is not None, f"{name}.{variable.name} has no value"
            shape = (1,) if variable.shared else sizes_of(model, name)
            full = f"{name}.{variable.name}"
            found[full] = _parameter(full, variable.unit, shape, value, variable.value)
    return found


def _parameter(
    name: str, unit: Unit, shape: tuple[int, ...], value: Value, declared: Value | None
) -> Parameter:
    """A known value in the network block keeps the distribution and bounds of the declaration, for `learn`."""
    source = value if value.learned or declared is None else declared
    prior = source.given if isinstance(source.given, Distribution) else None
    return Parameter(name, unit, shape, value.given, value.learned, prior, source.low, source.high)


def sizes_of(model: Model, name: str) -> tuple[int, ...]:
    """Return (neurons,) of a population or (pre, post) of a projection."""
    if name in model.populations:
        size = model.populations[name].size
        assert size is not None, f"the size of {name} is not known yet"
        return (size,)
    projection = model.projections[name]
    return sizes_of(model, projection.pre) + sizes_of(model, projection.post)


def set_values(
    parameters: Mapping[str, Parameter], values: Mapping[str, ArrayLike]
) -> dict[str, Parameter]:
    """Return the parameters with these values, given in the units of the model file, known from now on.

    A name without its group (`tau_m`) means that parameter of every group that has it. Raises InputError.
    """
    changed = dict(parameters)
    for name, value in values.items():
        for full in matching(parameters, name):
            parameter = parameters[full]
            array = _as_array(full, value) * parameter.unit.scale
            try:
                array = np.broadcast_to(array, parameter.shape).copy()
            except ValueError:
                shape = "x".join(map(str, parameter.shape))
                raise InputError(
                    f"`{full}` needs one value or {shape} values, but {array.shape} were given"
                ) from None
            changed[full] = replace(parameter, given=array, learned=False)
    return changed


def _as_array(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":
        raise InputError(f"the value of `{name}` must be numbers, not {array.dtype}")
    if not np.isfinite(array).all():
        raise InputError(f"the value of `{name}` contains NaN or infinity")
    return array.astype(float)


def learn(
    parameters: Mapping[str, Parameter], names: list[str] | tuple[str, ...]
) -> dict[str, Parameter]:
    """Return the parameters with these unknown, drawn from the distribution the model file gives them."""
    changed = dict(parameters)
    for name in names:
        for full in matching(parameters, name):
            prior = parameters[full].prior
            if prior is None:
                raise InputError(
                    f"`{full}` cannot be learned: the model file gives it no distribution; "
                    f"write `{full.rsplit('.', 1)[1]} : {parameters[full].unit.name} ~ normal(...) in [low, high]`"
                )
            changed[full] = replace(parameters[full], given=prior, learned=True)
    return changed


def matching(parameters: Mapping[str, Parameter], name: str) -> list[str]:
    """Return the full names that `name` (full, or without its group) stands for. Raises InputError if there is none."""
    if name in parameters:
        return [name]
    found = [full for full in parameters if full.rsplit(".", 1)[1] == name]
    if not found:
        known = {*parameters, *(full.rsplit(".", 1)[1] for full in parameters)}
        raise InputError(
            f"there is no parameter `{name}`; {suggest(name, known) or 'the parameters are ' + ', '.join(parameters)}"
        )
    return found
