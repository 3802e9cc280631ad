"""simulate: a model, for some time and trials, to a Recording."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from eqsnn.backends.kernel import Run
from eqsnn.compiler import compile_program, free_program, partly_forced_program
from eqsnn.errors import InputError
from eqsnn.language.expressions import suggest
from eqsnn.language.model import Model
from eqsnn.maths.program import Kind, Program
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter, draw_all, parameters_of, set_values
from eqsnn.simulation.recording import Recording

CHUNK = 2_000_000  # values held at once for each noise source and recorded variable
SURROGATE_WIDTH = 0.1  # irrelevant without a gradient


def simulate_model(
    model: Model,
    duration: float,
    *,
    parameters: Mapping[str, Parameter] | None = None,
    inputs: Recording | None = None,
    trials: int = 1,
    seed: int = 0,
    record: Sequence[str] = (),
    burn_in: float = 0.0,
    dtype: torch.dtype = torch.float64,
    method: str | None = None,
    backend: str = "auto",
    after: Recording | None = None,
) -> Recording:
    """Simulate `trials` independent trials of `duration` seconds after discarding `burn_in` seconds.

    Unknown parameters are drawn once from their distributions, the same for all trials. Noise is private to each
    neuron, step and trial, and repeatable from `seed`. `inputs` carries known drives that cover burn-in and duration;
    an array named like a random subexpression replaces its draws. `record`: `population.variable` or `variable`.
    `after`: a recording, of one trial or of as many, whose spikes the network follows before it runs freely; it takes
    the place of a burn-in, and `inputs` cover it, too.
    """
    parameters = parameters_of(model) if parameters is None else parameters
    inputs = inputs or empty_inputs(model, trials)
    known = setup.given_names(model, inputs.inputs)
    if after is None:
        program = free_program(model, known=known, method=method)
    else:
        burn_in = _checked_past(model, after, trials, burn_in, method)
        program = partly_forced_program(model, known=known)
    spikes = [f"{name}.spike" for name in setup.spiking_populations(model)]
    recorded = _recorded(program, record)
    kernel = compile_program(program, [*spikes, *recorded], backend)
    rng = np.random.default_rng(seed)
    drawn = draw_all(parameters, rng)
    values: dict[str, Tensor | float] = {
        name: torch.from_numpy(v).to(dtype).unsqueeze(-1) for name, v in drawn.items()
    }
    values |= setup.settings_of(model) | {"surrogate_width": SURROGATE_WIDTH}
    synapses = setup.synapses_of(model)
    skipped, n_steps = setup.steps_in(burn_in, model.dt), setup.steps_in(duration, model.dt)
    drives = setup.drives_of(model, kernel.step, inputs, skipped + n_steps, dtype)
    if after is not None:
        drives |= _followed(model, after, n_steps)
    states = setup.initial_states(model, kernel.step, values, synapses, trials)
    widest = max(1, sum(setup.sizes_of(model, name)[0] for name in model.populations)) * trials
    chunk = max(1, CHUNK // widest)
    pending: Mapping[str, tuple[Tensor, ...]] = {}
    kept: dict[str, list[NDArray]] = {name: [] for name in (*spikes, *recorded)}
    with torch.no_grad():
        for first in range(0, skipped + n_steps, chunk):
            now = min(chunk, skipped + n_steps - first)
            given = {name: value[first : first + now] for name, value in drives.items()}
            given["t"] = setup.times(first, now, model.dt, dtype)
            run = Run(
                now,
                states,
                values,
                given,
                synapses,
                pending,
                record=(*spikes, *recorded),
                noise=setup.noise_of(seed, trials, first),
                sizes=setup.population_sizes(model),
            )
            outcome = kernel.unroll(run)
            states, pending = outcome.states, outcome.pending
            for name, value in outcome.recorded.items():
                kept[name].append(value[max(0, skipped - first) :].numpy())
    recorded = [name for name in recorded if name not in inputs.inputs]
    recording = _recording(model, kept, spikes, recorded, trials, duration, seed)
    return replace(
        recording,
        inputs=_carried(kernel.step, inputs, skipped, skipped + n_steps, model.dt * 1e-3),
        parameters={name: v / parameters[name].unit.scale for name, v in drawn.items()},
    )


def _checked_past(
    model: Model, after: Recording, trials: int, burn_in: float, method: str | None
) -> float:
    """Return the duration of the recording that a simulation goes on from; refuse one that it cannot follow."""
    neurons = sum(setup.sizes_of(model, name)[0] for name in setup.spiking_populations(model))
    if after.n_units != neurons or after.n_trials not in (1, trials):
        raise InputError(
            f"the recording to go on from has {after.n_units} units and {after.n_trials} trials; {neurons} units and 1 or "
            f"{trials} trials are expected"
        )
    if burn_in or method is not None or len(after.gaps):
        raise InputError(
            "a simulation that goes on from a recording takes no burn-in and no other method, and the recording has no gaps; "
            "cut it to a window without"
        )
    return after.duration


def _followed(model: Model, after: Recording, n_steps: int) -> dict[str, Tensor]:
    """Return the spikes to follow, and 1 for as long as they last, of each population: (time, neuron, trial)."""
    dense = torch.from_numpy(after.dense(model.dt * 1e-3)).permute(1, 2, 0).to(torch.float64)
    rest = torch.zeros(n_steps, *dense.shape[1:], dtype=dense.dtype)
    observed = torch.cat([dense, rest])
    seen = torch.cat([torch.ones_like(dense), rest])
    found, first = {}, 0
    for name in setup.spiking_populations(model):
        (size,) = setup.sizes_of(model, name)
        found[f"{name}.observed"] = observed[:, first : first + size]
        found[f"{name}.seen"] = seen[:, first : first + size]
        first += size
    return found


def _carried(
    step: Program, inputs: Recording, first: int, last: int, dt: float
) -> dict[str, NDArray]:
    """Return the drives that were used, on the steps of the recording, so that it can be fitted as it is."""
    used = {given.name for given in step.of_kind(Kind.DRIVE)}
    names = {
        name for name in inputs.inputs if name in used or any(u.endswith(f".{name}") for u in used)
    }
    carried = {}
    for name in sorted(names):
        values = inputs.drive(name, last, dt)[:, first:]
        carried[name] = values if len(values) > 1 else values[0]
    return carried


def empty_inputs(
    model: Model, trials: int, inputs: Mapping[str, ArrayLike] | None = None
) -> Recording:
    """Return a recording without spikes that carries known drives on the model's own step."""
    arrays = {name: _drive_array(name, values) for name, values in (inputs or {}).items()}
    none = np.zeros(0)
    ids = np.zeros(0, dtype=np.int64)
    return Recording(none, ids, ids, 0.0, model.dt * 1e-3, 0, trials, inputs=arrays)


def _drive_array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim not in (1, 2, 3):
        raise InputError(
            f"the input `{name}` has shape {array.shape}; (time,), (time, neuron) or (trial, time, neuron) is expected"
        )
    if not np.isfinite(array).all():
        raise InputError(f"the input `{name}` contains NaN or infinity")
    return array


def _recorded(program: Program, record: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in record:
        full = [
            output
            for output in program.outputs
            if output == name or output.split(".", 1)[1] == name
        ]
        if not full:
            known = {*program.outputs, *(output.split(".", 1)[1] for output in program.outputs)}
            raise InputError(f"there is no variable `{name}` to record; {suggest(name, known)}")
        found += full
    return [name for name in dict.fromkeys(found) if not name.endswith(".spike")]


def _recording(
    model: Model,
    kept: Mapping[str, list[NDArray]],
    spikes: list[str],
    recorded: list[str],
    trials: int,
    duration: float,
    seed: int,
) -> Recording:
    dt = model.dt * 1e-3
    n_steps = setup.steps_in(duration, model.dt)

    def joined(name: str, dtype: type) -> NDArray:
        value = np.concatenate(kept[name]).astype(dtype)
        size = setup.sizes_of(model, name.split(".", 1)[0])
        return np.broadcast_to(value, (n_steps, *size, trials)).transpose(2, 0, 1)

    trains = [joined(name, np.uint8) for name in spikes]
    dense = np.concatenate(trains, axis=2) if trains else np.zeros((trials, n_steps, 0), np.uint8)
    trial, step, unit = np.nonzero(dense)
    order = np.lexsort((step, unit, trial))
    names = tuple(
        f"{name.split('.', 1)[0]}[{k}]"
        for name in spikes
        for k in range(setup.sizes_of(model, name.split(".", 1)[0])[0])
    )
    return Recording(
        spike_times=(step * dt)[order].astype(np.float64),
        unit_ids=unit[order].astype(np.int64),
        trial_ids=trial[order].astype(np.int64),
        duration=n_steps * dt,
        dt=dt,
        n_units=dense.shape[2],
        n_trials=trials,
        traces={
            name: np.ascontiguousarray(joined(name, float)) / _scale(model, name)
            for name in recorded
        },
        unit_names=names,
        description=f"simulated from {model.path}, seed {seed}",
    )


def _scale(model: Model, name: str) -> float:
    """Return how many coherent units one unit of a recorded variable is; 1 for what the file does not declare."""
    population, local = name.split(".", 1)
    variable = model.neuron_of(population).variables.get(local)
    return 1.0 if variable is None else variable.unit.scale


def with_values(model: Model, values: Mapping[str, ArrayLike]) -> dict[str, Parameter]:
    """Return the model's parameters with these values in the units of the file."""
    return set_values(parameters_of(model), values)


def with_dt(model: Model, dt: float | None) -> Model:
    """Return the model on another time step (seconds)."""
    if dt is None:
        return model
    if not dt > 0:
        raise InputError(f"dt is {dt:g} s; a positive number is expected")
    return replace(model, dt=dt * 1e3)
