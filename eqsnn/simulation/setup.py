"""From a model to what a kernel runs on: sizes, synapses, settings, initial states, drives, noise."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eqsnn.backends.kernel import Noise
from eqsnn.backends.pytorch import compile_once
from eqsnn.errors import InputError
from eqsnn.language.model import Model, Role
from eqsnn.maths.connect import connection_settings, existing_pairs
from eqsnn.maths.discretise import LONG_AGO, LONG_AGO_MS
from eqsnn.maths.initial import initial_state
from eqsnn.maths.program import NETWORK, Kind, Program
from eqsnn.simulation.parameters import sizes_of
from eqsnn.simulation.recording import Recording


def spiking_populations(model: Model) -> list[str]:
    """Return the populations with a threshold, in the order of the file: their neurons are the recorded units."""
    return [name for name in model.populations if model.neuron_of(name).threshold is not None]


def with_size(model: Model, n_units: int) -> Model:
    """Return the model with the one population of unknown size made to fit `n_units` spiking neurons in all."""
    spiking = spiking_populations(model) or list(model.populations)
    open_ended = [name for name in model.populations if model.populations[name].size is None]
    if len(open_ended) > 1:
        raise InputError(
            f"populations {', '.join(open_ended)} have no size; write it for all but one, as in `{open_ended[0]} : ...[10]`"
        )
    known = sum(model.populations[name].size or 0 for name in spiking)
    if not open_ended:
        if known != n_units:
            raise InputError(
                f"the model has {known} spiking neurons, but {n_units} units are given"
            )
        return model
    size = n_units - known
    if size < 1:
        raise InputError(f"the model needs more than {known} units, but {n_units} are given")
    name = open_ended[0]
    return replace(
        model, populations={**model.populations, name: replace(model.populations[name], size=size)}
    )


def synapses_of(model: Model) -> dict[str, Tensor]:
    """Return the existing pairs of each projection, bool (pre, post, 1).

    A probability is drawn from the projection's name, so that a model file means the same network every time.
    """
    return {
        name: torch.from_numpy(existing_pairs(model, name)).unsqueeze(-1)
        for name in model.projections
    }


def existing(name: str, shape: tuple[int, ...], synapses: Mapping[str, Tensor]) -> Tensor:
    """Return which values of a parameter there are, bool (shape): with one for each synapse, those of synapses that exist."""
    pairs = synapses.get(name.rsplit(".", 1)[0])
    if pairs is None or len(shape) != 2 or math.prod(shape) == 1:
        return torch.ones(shape, dtype=torch.bool)
    return pairs[..., 0]


def _indices(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float64).unsqueeze(-1)


def settings_of(model: Model) -> dict[str, Tensor | float]:
    """Return dt (ms) and the indices and sizes that equations may mention."""
    settings: dict[str, Tensor | float] = {"dt": model.dt}
    for name in model.populations:
        (size,) = sizes_of(model, name)
        settings |= {f"{name}.i": _indices(size), f"{name}.N": float(size)}
    for name, values in connection_settings(model).items():
        settings[name] = torch.from_numpy(values).unsqueeze(-1)
    return settings


Start = Callable[[Mapping[str, Any], Mapping[str, Any], torch.dtype], dict[str, Any]]


def start_of(model: Model) -> Start:
    """Return the compiled initial values of a model: (parameters, synapses, dtype) -> states by name."""
    return compile_once(initial_state(model))


def initial_states(
    model: Model,
    program: Program,
    values: Mapping[str, Tensor | float],
    synapses: Mapping[str, Tensor],
    lanes: int,
    start: Start | None = None,
) -> dict[str, Tensor]:
    """Return every state of `program` before the first step, (neuron, lane); differentiable in the parameters.

    `start` is `start_of(model)`, for whoever asks often.
    """
    dtype = next(
        (v.dtype for v in values.values() if isinstance(v, Tensor) and v.is_floating_point()),
        torch.float64,
    )
    found = (start or start_of(model))(values, synapses, dtype)
    states = {}
    for given in program.of_kind(Kind.STATE):
        name = given.name
        shape = (*sizes_of(model, given.space), lanes)
        if name in found:
            value = torch.as_tensor(found[name], dtype=dtype)
        elif name.endswith(".lastspike"):
            value = torch.tensor(LONG_AGO_MS, dtype=dtype)
        elif name.endswith("steps_since_spike"):
            value = torch.tensor(LONG_AGO, dtype=dtype)
        elif name.rsplit(".", 1)[-1].startswith(
            "("
        ):  # traces and covariances of losses and filters
            value = torch.tensor(0.0, dtype=dtype)
        else:
            value = torch.tensor(1.0, dtype=dtype)  # was_active
        states[name] = value.expand(shape).clone()
    return states


def population_sizes(model: Model) -> dict[str, int]:
    """Return the number of neurons of each population."""
    return {name: sizes_of(model, name)[0] for name in model.populations}


def noise_of(seed: int, trials: int, first: int = 0) -> Noise:
    """Return the private noise of each trial from step `first` on; trials of one seed differ from each other."""
    return Noise(seed, torch.arange(trials), torch.full((trials,), first, dtype=torch.int64))


def times(first: int, n_steps: int, dt: float, dtype: torch.dtype) -> Tensor:
    """Return t = n dt (ms) of each step, (time, 1, 1): a product, never an accumulated sum."""
    return (
        (torch.arange(first, first + n_steps, dtype=torch.float64) * dt).to(dtype).reshape(-1, 1, 1)
    )


def given_names(model: Model, available: Iterable[str]) -> list[str]:
    """Return the random subexpressions `population.x` that data of this name make known."""
    names = set(available)
    return [
        f"{population}.{variable.name}"
        for population in model.populations
        for variable in model.neuron_of(population).variables.values()
        if variable.role is Role.SUBEXPRESSION
        and variable.constant_over_dt
        and names & {variable.name, f"{population}.{variable.name}"}
    ]


def unknown_noise(model: Model, recording: Recording) -> list[str]:
    """Return the random subexpressions whose values the recording does not give, and `xi` where there is white noise."""
    known = set(given_names(model, recording.inputs))
    found = []
    for population in model.populations:
        neuron = model.neuron_of(population)
        if any(noise.white for noise in neuron.noise):
            found.append(f"{population}.xi")
        if any(not noise.white for noise in neuron.noise):
            drawn = [name for name, v in neuron.variables.items() if v.constant_over_dt]
            found += [f"{population}.{n}" for n in drawn if f"{population}.{n}" not in known]
    return found


def drives_of(
    model: Model, program: Program, source: Recording, n_steps: int, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the DRIVE inputs of a Program from the arrays of a recording, (time, neuron or 1, trial or 1).

    An array is found by `population.name` or by `name`; one that covers several populations is split in the order of
    the file. Raises InputError for a missing or misshapen drive.
    """
    drives = {}
    wanted = [given for given in program.of_kind(Kind.DRIVE) if given.space != NETWORK]
    for given in wanted:
        local = given.name.removeprefix(f"{given.space}.")
        full = given.name
        name = full if full in source.inputs else local
        if name not in source.inputs:
            known = ", ".join(sorted(source.inputs)) or "none"
            raise InputError(
                f"the model needs the input `{local}` of `{given.space}`, but the data has {known}; add an array `{local}`"
            )
        values = source.drive(name, n_steps, model.dt * 1e-3)
        names = {g.name for g in wanted}
        sharing = [
            population for population in model.populations if f"{population}.{local}" in names
        ]
        part = _part(model, given.space, sharing if name == local else [given.space], values, name)
        unit = model.neuron_of(given.space).variables[local].unit
        drives[full] = torch.from_numpy(
            np.ascontiguousarray(part.transpose(1, 2, 0)) * unit.scale
        ).to(dtype)
    return drives


def _part(
    model: Model, population: str, sharing: list[str], values: np.ndarray, name: str
) -> np.ndarray:
    """Return the columns of a population from an array for one neuron, one population or all that share the name."""
    sizes = [sizes_of(model, other)[0] for other in sharing]
    width, own = values.shape[2], sizes_of(model, population)[0]
    if width == 1 or (width == own and len(sharing) == 1):
        return values
    if width != sum(sizes):
        raise InputError(
            f"the drive `{name}` is for {width} neurons, but {' + '.join(sharing)} have {sum(sizes)}; give 1 or {sum(sizes)} columns"
        )
    start = sum(sizes[: sharing.index(population)])
    return values[:, :, start : start + own]


def steps_in(duration: float, dt_ms: float) -> int:
    """Return the number of steps of a run, as Brian2 counts them: rounded within 1e-4 of a step, else up."""
    steps = duration * 1e3 / dt_ms
    return round(steps) if abs(steps - round(steps)) < 1e-4 else math.ceil(steps)
