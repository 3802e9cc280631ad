"""What the data say of which neurons: who acts without being observed, and which values nothing can be learned about."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from eqsnn.compiler import acting_on_several
from eqsnn.errors import InputError
from eqsnn.inference.data import Data
from eqsnn.language.model import Model
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter
from eqsnn.simulation.recording import Recording


def checked_units(units: Sequence[int], recording: Recording) -> tuple[int, ...]:
    """Return the units to fit, sorted. Raises InputError for one that is not there, not recorded, or never fires."""
    chosen = tuple(sorted({int(unit) for unit in units}))
    wrong = [unit for unit in chosen if not 0 <= unit < recording.n_units]
    if wrong:
        raise InputError(
            f"there is no unit {wrong[0]} to fit; whole numbers from 0 to {recording.n_units - 1} are expected"
        )
    unseen = sorted(set(chosen) - set(recording.recorded().tolist()))
    if unseen:
        raise InputError(f"unit {unseen[0]} was never recorded, so it cannot be fitted by itself")
    if chosen and not np.isin(recording.unit_ids, chosen).any():
        raise InputError(
            f"the units {', '.join(map(str, chosen))} have no spikes, so nothing can be learned from them"
        )
    return chosen


def acting_unseen(data: Data, warm_up: float) -> Tensor:
    """Return which neurons act by spikes of their own while others count, bool (neuron,)."""
    n = data.recording.n_units
    if not data.masked:
        return torch.zeros(n, dtype=torch.bool)
    somebody = data.counted(warm_up).amax(1, keepdim=True)
    return ((1 - data.seen()) * somebody).amax((0, 2)) > 0


def without_influence(
    data: Data, parameters: Mapping[str, Parameter], warm_up: float
) -> dict[str, Tensor]:
    """Return which values act on no neuron that counts, bool of each parameter's shape.

    Given the spikes a weight acts on its postsynaptic neuron, a parameter of a neuron on that neuron, and on those it
    reaches by synapses if it shapes what it sends. Neurons that act unseen pass everything on.
    """
    model = data.model
    active = data.chosen | acting_unseen(data, warm_up)
    across = acting_on_several(model, known=data.known)
    by_population = _by_population(model, active)
    found = {}
    for name, parameter in parameters.items():
        group = name.rsplit(".", 1)[0]
        reached = _reached(data, group, by_population, across=name in across)
        # one value for all acts as soon as it acts on any
        whole = parameter.shape if np.prod(parameter.shape) > 1 else ()
        free = reached.expand(parameter.shape) if whole else reached.any().expand(parameter.shape)
        found[name] = ~free
    return found


def _by_population(model: Model, active: Tensor) -> dict[str, Tensor]:
    found, start = {}, 0
    for name in setup.spiking_populations(model):
        (size,) = setup.sizes_of(model, name)
        found[name] = active[start : start + size]
        start += size
    return found


def _reached(data: Data, group: str, active: Mapping[str, Tensor], *, across: bool) -> Tensor:
    """Return which elements of a population or projection act on an active neuron."""
    model = data.model
    shape = setup.sizes_of(model, group)
    if group in model.projections:
        post = active.get(model.projections[group].post)
        return torch.ones(shape, dtype=torch.bool) if across or post is None else post.expand(shape)
    if group not in active:
        return torch.ones(shape, dtype=torch.bool)
    found = active[group].clone()
    for projection in model.projections.values() if across else ():
        if projection.pre == group and projection.post in active:
            exists = data.synapses[projection.name][..., 0]
            found |= (exists & active[projection.post]).any(1)
    return found


def note_of(held: Mapping[str, Tensor], units: Sequence[int]) -> str:
    """Return one sentence about what a fit of some units leaves alone, or nothing."""
    parts = [f"{name} ({int(h.sum())} of {h.numel()})" for name, h in held.items() if bool(h.any())]
    if not parts:
        return ""
    return (
        f"only units {', '.join(map(str, units))} were fitted; values that act on none of them were not learned and "
        f"stay at their start: {', '.join(parts)}"
    )
