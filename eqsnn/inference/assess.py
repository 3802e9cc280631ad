"""assess: the uncertainty of a finished fit, from the likelihood of its last teacher-forced stage on all data."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from eqsnn.inference.problem import Problem, last_forced, problem_of
from eqsnn.inference.stages import Stage
from eqsnn.inference.uncertainty import Uncertainty, estimate, unknown_uncertainty
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.recording import Recording

# a network of a hundred neurons has ten thousand weights: their covariance would fill gigabytes
MOST_UNKNOWNS = 3000


def assess(
    model: SpikingModel,
    restarts: Mapping[str, NDArray[np.float64]],
    known: Mapping[str, NDArray[np.float64]],
    targets: Recording,
    stages: tuple[Stage, ...],
    *,
    share: float = 1.0,
    seed: int = 0,
    backend: str = "auto",
    units: tuple[int, ...] = (),
) -> Uncertainty:
    """Return standard errors, intervals and open directions of the best restart, in coherent units.

    restarts: values in coherent units, restart last, best first; share: of the data that they were estimated from.
    A fit without teacher forcing has no likelihood to take them from, and says so. Ctrl-C leaves them out.
    """
    stage = last_forced(stages)
    if stage is None:
        return unknown_uncertainty(
            "no stage has a likelihood; add a Forced stage, or use `eqsnn bootstrap`"
        )
    best = {name: value[..., 0] for name, value in restarts.items()}
    try:
        problem = problem_of(
            model.definition, model.parameters(), targets, stage, {**known, **best}, seed=seed, backend=backend, units=units
        )  # fmt: skip
        if problem.packing.size > MOST_UNKNOWNS:
            return unknown_uncertainty(
                f"a matrix of all pairs of {problem.packing.size} unknowns would take longer than the fit (up to "
                f"{MOST_UNKNOWNS} are tried); use `eqsnn bootstrap`, or predict held-out spikes"
            )
        if not problem.exact and problem.is_costly(problem.packing.size):
            return unknown_uncertainty(
                "the likelihood is not the model's own (a widened threshold or added noise), and its second derivatives "
                "would take longer than the fit; use `eqsnn bootstrap`"
            )
        found = estimate(problem, problem.at(best), share)
        return replace(found, nats=_nats(problem, restarts))
    except KeyboardInterrupt:
        return unknown_uncertainty("interrupted")


def _nats(problem: Problem, restarts: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return how far below the best the log-likelihood, or log-posterior, of each restart is."""
    count = next(iter(restarts.values())).shape[-1]
    each = [
        float(problem.posterior(problem.at({n: v[..., k] for n, v in restarts.items()})).sum())
        for k in range(count)
    ]
    return max(each) - np.array(each)
