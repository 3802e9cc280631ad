"""Problem: the likelihood of a teacher-forced stage at one of its levels, as a function of coordinates.

Second-order steps of a fit, and after it standard errors, profiles and the bootstrap, need the same things: the
log-likelihood of each block, the scores of its windows, and its curvature.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.inference.coordinates import Coordinate, coordinate_of
from eqsnn.inference.data import prepare
from eqsnn.inference.likelihood import ForcedObjective
from eqsnn.inference.paths import Paths, paths_of
from eqsnn.inference.scoring import (
    MOST_WITH_PATHS,
    Packing,
    Part,
    Scores,
    by_block,
    prior_slopes,
    scores_of,
    without_outliers,
)
from eqsnn.inference.stages import Forced, GradientFree, Rates, Stage
from eqsnn.inference.unknowns import Unknowns
from eqsnn.language.model import Model
from eqsnn.simulation.parameters import Parameter
from eqsnn.simulation.recording import Recording

COSTLY = 3e6  # neuron-steps of a density, forwards and back: half a minute or so
MOST_LANES = 512  # windows times points of one call; more are run one after the other


@dataclass(frozen=True, slots=True)
class Problem:
    """The likelihood of a forced stage at one of its levels, in unit-scaled coordinates.

    others: the known parameters, for whoever simulates.
    """

    unknowns: Unknowns
    objective: ForcedObjective
    width: float
    packing: Packing
    others: Mapping[str, Parameter] = field(default_factory=dict)
    paths: Paths | None = None

    @classmethod
    def at_level(
        cls,
        unknowns: Unknowns,
        objective: ForcedObjective,
        width: float,
        z: Mapping[str, Tensor],
        others: Mapping[str, Parameter] | None = None,
    ) -> "Problem":
        """Return the problem of an objective at a level; z: any coordinates, for their shapes."""
        packing = unknowns.packing(z, objective.kernel.acting_on_others)
        paths = paths_of(objective, packing)
        if paths is not None:
            packing = replace(packing, most_groups=MOST_WITH_PATHS)
        return cls(unknowns, objective, width, packing, others or {}, paths)

    @property
    def exact(self) -> bool:
        """Whether it is the likelihood of the model itself: private noise integrated out for every population.

        Not one of a widened threshold or of added noise.
        """
        stage, data = self.stage, self.objective.data
        if stage.density == "escape" or stage.diffusion:
            return False
        return all(_is_noisy(data.model, data.known, n) for n in self.objective.populations)

    @property
    def spares(self) -> bool:
        """Whether scores of few neurons cost little (`scores`)."""
        return bool(self.objective.kernel.grids)

    @property
    def unknown(self) -> Mapping[str, Parameter]:
        """The unknown parameters."""
        return self.unknowns.parameters

    @property
    def coordinates(self) -> Mapping[str, Coordinate]:
        """The map of each unknown to the real line."""
        return self.unknowns.coordinates

    @property
    def stage(self) -> Forced:
        """The stage whose likelihood this is."""
        return self.objective.stage

    @property
    def windows(self) -> int:
        """Number of windows of the data."""
        return self.objective.lanes.width

    def is_costly(self, differences: int) -> bool:
        """Whether so many differences of the gradient take longer than a user waits after a fit."""
        if self.stage.density not in ("grid", "particles"):
            return False
        lanes = self.objective.lanes
        return 2 * differences * len(self.packing.blocks) * lanes.n_steps * lanes.width > COSTLY

    def at(self, parameters: Mapping[str, NDArray[np.float64]]) -> dict[str, Tensor]:
        """Return the coordinates of values in coherent units, one lane."""
        return {
            name: coordinate.to_real(torch.as_tensor(parameters[name], dtype=torch.float64)[..., None])
            for name, coordinate in self.coordinates.items()
        }  # fmt: skip

    def values(self, z: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return all parameters in coherent units; 0 for synapses that do not exist."""
        return self.unknowns.everything(z)

    def scores(self, z: Mapping[str, Tensor], needed: Tensor | None = None) -> Scores:
        """Return log-likelihoods and window scores of every point, (point, ...).

        needed: bool (neuron,), whose they have to be. Those of others may be 0, which saves what they cost. Outliers of
        regenerative neurons, whose likelihood has cliffs, are cut (`without_outliers`).
        """
        found = self.raw_scores(z, needed)
        return without_outliers(found, self.packing) if self.objective.kernel.has_cliffs else found

    def raw_scores(self, z: Mapping[str, Tensor], needed: Tensor | None = None) -> Scores:
        """Return the scores with all outliers, whose sum over windows is the slope of the log-likelihood; as `scores`."""

        def parts(
            lanes: Mapping[str, Tensor], perturbed: Mapping[str, Tensor], points: int
        ) -> tuple[Tensor, list[Part]]:
            values, split = self.values(lanes), None
            if self.paths is not None:
                values |= self.paths.of_values(
                    perturbed, self.slopes_of_values(lanes, self.paths.parameters)
                )
                split = self.paths.split
            return self.objective.parts(values, points, self.width, split, needed)

        prior = self.unknowns.log_prior if self.stage.prior else None
        return scores_of(parts, prior, z, self.packing, self.windows, self.paths)

    def slopes_of_values(self, z: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
        """Return the derivative of these parameters by their own coordinates, of their shape."""
        found = {}
        for name in names:
            here = z[name].detach().requires_grad_()
            (found[name],) = torch.autograd.grad(self.coordinates[name].to_value(here).sum(), here)
        return found

    def prior_slopes(self, z: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return first derivatives of the log-prior that counts and minus its second ones, (point, coordinate)."""
        return prior_slopes(self.unknowns.log_prior, z, self.packing)

    def slopes(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the gradient of the log-likelihood, without the prior, at every point: (point, coordinate)."""
        points = next(iter(z.values())).shape[-1]
        size = max(1, MOST_LANES // self.windows)
        some = [
            {n: v[..., first : first + size] for n, v in z.items()}
            for first in range(0, points, size)
        ]
        return torch.cat([self.raw_scores(part).by_window.sum(2) for part in some])

    def likelihood(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the log-likelihood of every block, (point, block + 1), the last 0."""
        points = next(iter(z.values())).shape[-1]
        lanes = {n: v.detach().repeat_interleave(self.windows, -1) for n, v in z.items()}
        with torch.no_grad():
            found = self.objective.by_window(self.values(lanes), points, self.width).sum(2)
            return by_block(found, self.packing, self.packing.blocks)

    def posterior(self, z: Mapping[str, Tensor]) -> Tensor:
        """Return the log-likelihood of every block, with its log-prior if that counts: (point, block + 1)."""
        with torch.no_grad():
            return self.with_prior(self.likelihood(z), z)

    def with_prior(self, likelihood: Tensor, z: Mapping[str, Tensor]) -> Tensor:
        """Add to the log-likelihood of every block its log-prior, if that counts."""
        if not self.stage.prior:
            return likelihood
        return likelihood + self.unknowns.log_prior_by_block(z, self.packing)


def with_traces(recording: Recording) -> Recording:
    """Return the recording with its traces among its drives, so that recorded noise can be given back to a model."""
    return replace(recording, inputs={**recording.traces, **recording.inputs}, traces={})


def last_forced(stages: tuple[Stage, ...]) -> Forced | None:
    """Return the last teacher-forced stage of a fit, None if there is none."""
    aims = [
        s.objective if isinstance(s, GradientFree) else s.likelihood if isinstance(s, Rates) else s
        for s in stages
    ]
    return next((aim for aim in reversed(aims) if isinstance(aim, Forced)), None)


def problem_of(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    stage: Forced,
    best: Mapping[str, ArrayLike],
    *,
    seed: int = 0,
    backend: str = "auto",
    width: float | None = None,
    like: Problem | None = None,
    units: tuple[int, ...] = (),
) -> Problem:
    """Return the likelihood of a stage on a recording.

    best: the fitted values in coherent units; width: the level, by default that which gives them the largest
    likelihood if the threshold's width is chosen by the data (`escape`), else the narrowest. like: the same likelihood of
    other data, to save its compilation. units: the neurons whose likelihood counts, all if empty.
    Raises InputError if nothing is unknown.
    """
    unknown = {name: p for name, p in parameters.items() if p.learned}
    if not unknown:
        raise InputError("no parameter is unknown, so there is nothing to be uncertain about")
    data = prepare(model, recording, torch.float64, backend, units=units)
    values = {n: torch.as_tensor(np.asarray(v, float))[..., None] for n, v in best.items()}
    known = {n: v for n, v in values.items() if n not in unknown}
    made = None if like is None else like.objective.kernel
    objective = ForcedObjective(data, stage, seed, values, made)
    if width is None:
        width = stage.levels[-1]
        if stage.density == "escape" and len(stage.levels) > 1:
            with torch.no_grad():
                width = min(stage.levels, key=lambda level: float(objective(values, level)[0]))
    coordinates = {name: coordinate_of(p) for name, p in unknown.items()}
    z = {name: c.to_real(values[name]) for name, c in coordinates.items()}
    unknowns = Unknowns(model, unknown, coordinates, known, data.synapses)
    others = {name: p for name, p in parameters.items() if not p.learned}
    return Problem.at_level(unknowns, objective, width, z, others)


def _is_noisy(model: Model, known: tuple[str, ...], population: str) -> bool:
    neuron = model.neuron_of(population)
    drawn = {f"{population}.{n}" for n, v in neuron.variables.items() if v.constant_over_dt}
    return bool(neuron.noise) and not (drawn and drawn <= set(known))
