"""choose_density: which density integrates private noise out, measured on a stretch of the data."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eqsnn.inference.data import Data
from eqsnn.inference.lanes import Values
from eqsnn.inference.likelihood import ForcedObjective, separated_for
from eqsnn.inference.stages import Forced
from eqsnn.maths.hidden import Hidden, nodes_of
from eqsnn.maths.moments import MOST_STATES

TOLERANCE = 1.0  # nats per 1000 neuron-steps that a density may be off before a better one is taken
STRETCH = 2.0  # seconds of all windows that are measured on
REFERENCE = 1024  # particles of the reference
MOST_TERMS = (
    60  # sigma points times nodes of the noise above which moments take too long to compile
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The density to use, why in one sentence, and what to warn of ("" if nothing).

    error: how far its log-likelihood was from the reference, in nats per 1000 neuron-steps, of every density that was
    measured; seconds: of one evaluation of each; affordable: whether moments can be had, too.
    """

    density: str
    reason: str
    warning: str = ""
    error: Mapping[str, float] | None = None
    seconds: Mapping[str, float] | None = None
    affordable: bool = False


def choose_density(data: Data, stage: Forced, values: Values, seed: int = 0) -> Choice:
    """Return the density for a model and data at plausible parameters (one restart or several).

    No private noise: escape. One noisy state in each population: the grid, which represents any density of it. Else
    every density that applies is compared with a filter of many particles on a stretch of the data, and the first of
    moments, grid, particles that is within the tolerance is taken; if none is, the nearest, with a warning.
    """
    separated = separated_for(data, stage, values)
    if not separated.hidden:
        return Choice("escape", "the data give all noise of the model, or it has none")
    if all(len(hidden.states) == 1 for hidden in separated.hidden):
        names = ", ".join(str(hidden.states[0]) for hidden in separated.hidden)
        reason = (
            f"private noise reaches one state of a neuron ({names}), whose density fits on a grid"
        )
        return Choice("grid", reason, affordable=all(map(_affordable, separated.hidden)))
    possible = ["moments"] if all(map(_affordable, separated.hidden)) else []
    return _measured([*possible, "grid", "particles"], data, stage, values, seed)


def _affordable(hidden: Hidden) -> bool:
    """Whether the step of moments stays small enough to be compiled in seconds."""
    n = len(hidden.states)
    return n <= MOST_STATES and (2 * n + 1) * len(nodes_of(hidden.sources)) <= MOST_TERMS


def _measured(possible: list[str], data: Data, stage: Forced, values: Values, seed: int) -> Choice:
    short = replace(stage, seconds=min(stage.seconds, STRETCH))
    plain = {name: value.detach() for name, value in values.items()}
    found, seconds = {}, {}
    for density in possible:
        started, found[density], steps = _score(density, data, short, plain, seed)
        seconds[density] = started
    wide = replace(short, particles=max(REFERENCE, 4 * stage.particles))
    references = [_score("particles", data, wide, plain, seed + n)[1] for n in (1, 2)]
    reference = torch.stack(references).mean(0)
    per_thousand = 1000 / steps
    noise = float((references[0] - references[1]).abs().max()) * per_thousand / math.sqrt(2)
    error = {
        density: float((score - reference).abs().max()) * per_thousand
        for density, score in found.items()
    }
    error = {d: e if math.isfinite(e) else math.inf for d, e in error.items()}
    allowed = max(TOLERANCE, 2 * noise)
    fitting = [density for density in possible if error[density] <= allowed]
    chosen = fitting[0] if fitting else min(possible, key=lambda density: error[density])
    told = ", ".join(f"{d} {error[d]:.2g}" for d in possible)
    reason = (
        f"several states of a neuron are noisy; distance from {wide.particles} particles on {short.seconds:g} s, in nats "
        f"per 1000 neuron-steps: {told} (two such filters differ by {noise:.2g}; up to {allowed:.2g} is near enough)"
    )
    return Choice(chosen, reason, _warning(chosen, fitting, noise, error), error, seconds)


def _score(
    density: str, data: Data, stage: Forced, values: Values, seed: int
) -> tuple[float, Tensor, float]:
    """Return the seconds of an evaluation, the log-likelihood of each restart, and its number of neuron-steps."""
    objective = ForcedObjective(data, replace(stage, density=density), seed, values)
    with torch.no_grad():
        started = time.perf_counter()
        score = -objective(values, stage.levels[-1]) * objective.scale
        return time.perf_counter() - started, score, objective.scale


def _warning(chosen: str, fitting: list[str], noise: float, error: Mapping[str, float]) -> str:
    if noise > TOLERANCE:
        return (
            f"how near a density comes is known to {noise:.2g} nats per 1000 neuron-steps only: at these parameters "
            "few particles explain the spikes. Give the noise as an array if it was recorded, or compare the fits of "
            "two densities"
        )
    if not fitting:
        return (
            f"the likelihood by {chosen} is off by {error[chosen]:.2g} nats per 1000 neuron-steps and parameters may "
            "be biased; more particles (`Forced(particles=...)`) bring it closer"
        )
    return ""
