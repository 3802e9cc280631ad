"""prediction: how well a model with given values foretells recorded spikes, one step ahead of them."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eqsnn.errors import InputError
from eqsnn.inference.data import prepare
from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.problem import with_traces
from eqsnn.inference.stages import Forced
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.recording import Recording


def log_likelihood(
    model: SpikingModel,
    recording: Recording,
    parameters: Mapping[str, ArrayLike] | None = None,
    *,
    stage: Forced,
    since: float = 0.0,
    seed: int = 0,
    backend: str = "auto",
) -> NDArray[np.float64]:
    """Return the log-probability of each neuron's spikes and silences from `since` seconds on, in nats: (neuron,).

    Every step is predicted from all spikes before it, those before `since` included, so that a model fitted to what
    lies before is scored on what it has not seen. parameters: in the units of the file; stage: the likelihood, at its
    last level (docs/likelihood.md). Raises InputError if nothing lies after `since`.
    """
    targets = with_traces(recording)
    sized = model.sized(targets.n_units).with_values(parameters or {})
    rng = np.random.default_rng(seed)
    values = {
        name: torch.from_numpy(p.draw(rng)).unsqueeze(-1) for name, p in sized.parameters().items()
    }
    data = prepare(sized.definition, targets, torch.float64, backend)
    first = round(since * 1e3 / sized.definition.dt)
    if not 0 <= first < data.n_steps:
        raise InputError(
            f"the score starts at {since:g} s, but the recording lasts {recording.duration:g} s; a time within it is expected"
        )
    whole = replace(stage, window=recording.duration, warm_up=0.0, seconds=float("inf"))
    objective = ForcedObjective(data, whole, seed, values)
    objective.lanes.weights[:first] = 0.0
    with torch.no_grad():
        return objective.by_window(values, 1, whole.levels[-1]).sum((1, 2)).numpy()
