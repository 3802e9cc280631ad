"""Hand-over to simulation-based inference: prior, simulator and proposal as plain torch, for `sbi` or anything like it.

Nothing here imports `sbi` (the extra `eqsnn[sbi]` installs it): its classes accept any prior with `sample` and
`log_prob`, and its simulators are functions of a tensor. Vectors of unknowns theta are in the units of the model file,
in the order of `names`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, constraints

from eqsnn.errors import InputError
from eqsnn.inference.coordinates import Coordinate, coordinate_of
from eqsnn.inference.uncertainty import NINETY, Uncertainty
from eqsnn.simulation import setup
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.parameters import Parameter
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.run import empty_inputs, simulate_model

MOST_TRIES = 1000  # draws of a truncated distribution
COUNT_BIN = 0.1  # seconds, of correlations


@dataclass(frozen=True, slots=True)
class Layout:
    """The unknowns of a model as one vector: parameters, their shapes, and which entries exist."""

    parameters: tuple[Parameter, ...]
    places: tuple[NDArray[np.int64], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every entry: `cells.tau_m[3]`."""
        found = []
        for p, places in zip(self.parameters, self.places, strict=True):
            for place in places:
                where = ", ".join(str(int(i)) for i in np.unravel_index(place, p.shape))
                found.append(p.name if math.prod(p.shape) == 1 else f"{p.name}[{where}]")
        return tuple(found)

    @property
    def size(self) -> int:
        """Length of the vector."""
        return sum(map(len, self.places))

    def vector(self, values: Mapping[str, NDArray]) -> NDArray[np.float64]:
        """Return named values as one vector."""
        parts = [
            np.ravel(values[p.name])[k] for p, k in zip(self.parameters, self.places, strict=True)
        ]
        return np.concatenate(parts)

    def values(self, vector: NDArray) -> dict[str, NDArray[np.float64]]:
        """Return a vector as named values; 0 for synapses that do not exist."""
        found, first = {}, 0
        for p, places in zip(self.parameters, self.places, strict=True):
            full = np.zeros(math.prod(p.shape))
            full[places] = vector[first : first + len(places)]
            found[p.name], first = full.reshape(p.shape), first + len(places)
        return found

    def columns(self, of: Mapping[str, float]) -> Tensor:
        """Return one number of each parameter, repeated for its entries."""
        each = [
            np.full(len(k), of[p.name]) for p, k in zip(self.parameters, self.places, strict=True)
        ]
        return torch.from_numpy(np.concatenate(each)).float()


def layout_of(model: SpikingModel) -> Layout:
    """Return the unknowns of a sized model. Raises InputError if there are none."""
    if not model.is_sized:
        raise InputError("the size of a population is open; give it with `model.sized(neurons)`")
    unknown = [p for p in model.parameters().values() if p.learned]
    if not unknown:
        raise InputError("nothing is unknown; write `~ distribution`, or use model.learning([...])")
    synapses = setup.synapses_of(model.definition)
    places = (np.flatnonzero(setup.existing(p.name, p.shape, synapses).numpy()) for p in unknown)
    return Layout(tuple(unknown), tuple(places))


class Prior(Distribution):
    """The distributions of the model file, truncated to their bounds, over all unknowns at once, (sample, unknown)."""

    arg_constraints: dict = {}  # noqa: RUF012 (the attribute torch asks for)

    def __init__(self, model: SpikingModel) -> None:
        self.layout = layout_of(model)
        self.low, self.high = (
            self.layout.columns({p.name: end(p) / p.unit.scale for p in self.layout.parameters})
            for end in (_lower, lambda p: p.high)
        )
        super().__init__(event_shape=torch.Size([self.layout.size]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Between the bounds."""
        return constraints.independent(constraints.interval(self.low, self.high), 1)

    @property
    def mean(self) -> Tensor:
        """Mean, by 4000 draws of a generator of its own: the distributions are truncated."""
        return self._drawn(4000, torch.Generator().manual_seed(0)).mean(0)

    @property
    def variance(self) -> Tensor:
        """Variance, by 4000 draws."""
        return self._drawn(4000, torch.Generator().manual_seed(0)).var(0)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Return draws, (*sample_shape, unknown)."""
        shape = torch.Size(sample_shape)
        return self._drawn(math.prod(shape), None).reshape(*shape, self.layout.size)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the normalised log-density, -inf outside the bounds, (...)."""
        parts, first = [], 0
        for p, places in zip(self.layout.parameters, self.layout.places, strict=True):
            assert p.prior is not None
            x = value[..., first : first + len(places)] * p.unit.scale
            first += len(places)
            base = _torch(p)
            low, high = _lower(p), p.high
            inside = (x >= low) & (x <= high)
            safe = torch.where(inside, x, torch.full_like(x, _inside(p)))
            ends = [_cdf(base, end) for end in (low, high)]
            density = base.log_prob(safe.double()) - math.log(ends[1] - ends[0])
            density = density + math.log(p.unit.scale)
            parts.append(torch.where(inside, density, -torch.inf).sum(-1))
        return torch.stack(parts).sum(0).to(value.dtype)

    def _drawn(self, n: int, generator: torch.Generator | None) -> Tensor:
        """By the inverse of the truncated distribution function of each unknown."""
        parts = []
        for p, places in zip(self.layout.parameters, self.layout.places, strict=True):
            assert p.prior is not None
            base = _torch(p)
            low, high = (_cdf(base, end) for end in (_lower(p), p.high))
            u = low + (high - low) * torch.rand(
                n, len(places), generator=generator, dtype=torch.float64
            )
            drawn = base.icdf(u.clamp(1e-12, 1 - 1e-12)).clamp(_lower(p), p.high)
            parts.append(drawn / p.unit.scale)
        return torch.cat(parts, dim=1).float().clamp(self.low, self.high)


def _lower(p: Parameter) -> float:
    assert p.prior is not None
    return p.low if p.prior.name in ("uniform", "normal") else max(p.low, 0.0)


def _inside(p: Parameter) -> float:
    coordinate = coordinate_of(p)
    return float(coordinate.to_value(torch.zeros(())))


def _torch(p: Parameter) -> Distribution:
    prior = p.prior
    assert prior is not None
    first, last = prior.arguments[0], prior.arguments[-1]
    # flat between the bounds, which may be wider than the interval of the starts
    if prior.name == "uniform":
        first, last = p.low, p.high
    d = torch.distributions
    with_64 = [torch.tensor(float(v), dtype=torch.float64) for v in (first, last)]
    if prior.name == "normal":
        return d.Normal(*with_64, validate_args=False)
    if prior.name == "lognormal":
        return d.LogNormal(with_64[0].log(), with_64[1], validate_args=False)
    if prior.name == "uniform":
        return d.Uniform(*with_64, validate_args=False)
    return d.Exponential(1 / with_64[0], validate_args=False)


def _cdf(base: Distribution, end: float) -> float:
    if math.isinf(end):
        return 0.0 if end < 0 else 1.0
    if end <= 0 and isinstance(base, torch.distributions.LogNormal):
        return 0.0
    return float(base.cdf(torch.tensor(end, dtype=torch.float64)))


@dataclass(frozen=True, slots=True)
class Simulator:
    """theta, (unknown,) or (batch, unknown), to summary statistics, (batch, statistic); each call has noise of its own.

    Statistics: see `statistics_of`. targets: the recording to explain, whose inputs, duration and trials are used.
    """

    model: SpikingModel
    targets: Recording
    layout: Layout
    generator: np.random.Generator

    def __call__(self, theta: Tensor) -> Tensor:
        """Return the statistics of one simulation for each row of theta."""
        rows = theta.reshape(-1, self.layout.size).double().numpy()
        found = torch.stack([self._one(row) for row in rows])
        return found if theta.dim() > 1 else found[0]

    def _one(self, row: NDArray) -> Tensor:
        values = self.layout.values(row)
        definition, known = self.model.definition, self.model.parameters()
        given = {
            n: replace(known[n], given=v * known[n].unit.scale, learned=False)
            for n, v in values.items()
        }
        recording = simulate_model(
            definition,
            self.targets.duration,
            parameters={**known, **given},
            inputs=self.targets if self.targets.inputs else empty_inputs(definition, self.targets.n_trials),
            trials=self.targets.n_trials,
            seed=int(self.generator.integers(1 << 31)),
        )  # fmt: skip
        return statistics_of(recording)


def simulator(model: SpikingModel, targets: Recording, seed: int = 0) -> Simulator:
    """Return the simulator of a model for one recording."""
    sized = model.sized(targets.n_units)
    return Simulator(sized, targets, layout_of(sized), np.random.default_rng(seed))


def statistics_of(recording: Recording) -> Tensor:
    """Return summary statistics of a recording: for each neuron, then for each pair of neurons.

    Per neuron: square root of the rate (Hz), whose spread under Poisson spiking does not depend on the rate; and the
    coefficient of variation of intervals, 1 where there are too few. Per pair: correlation of counts in bins of
    0.1 s (or a tenth of the duration), 0 where a neuron is silent.
    """
    rate = np.sqrt(recording.rates())
    cv = np.array([_variation(recording, unit) for unit in range(recording.n_units)])
    bins = min(COUNT_BIN, recording.duration / 10)
    counts = recording.counts(bins)  # (trial, bin, neuron)
    flat = counts.reshape(-1, recording.n_units).astype(float)
    flat = flat - flat.mean(0)
    size = np.sqrt((flat**2).sum(0))
    scale = np.outer(size, size)
    correlation = np.divide(flat.T @ flat, scale, out=np.zeros_like(scale), where=scale > 0)
    pairs = correlation[np.triu_indices(recording.n_units, 1)]
    return torch.from_numpy(np.concatenate([rate, cv, pairs])).float()


def _variation(recording: Recording, unit: int) -> float:
    intervals = [np.diff(recording.train(unit, trial)) for trial in range(recording.n_trials)]
    whole = np.concatenate(intervals)
    return float(whole.std() / whole.mean()) if len(whole) > 2 else 1.0


class Proposal(Distribution):
    """A Gaussian around a fit in unit-scaled coordinates, seen in the units of the file: draws keep within the bounds."""

    arg_constraints: dict = {}  # noqa: RUF012 (the attribute torch asks for)

    def __init__(
        self,
        model: SpikingModel,
        parameters: Mapping[str, NDArray[np.float64]],
        uncertainty: Uncertainty,
        widen: float = 1.0,
    ) -> None:
        if not uncertainty.std:
            raise InputError(f"this fit has no standard errors: {uncertainty.note}")
        self.layout = layout_of(model)
        self.coordinates: list[tuple[Coordinate, float]] = [
            (coordinate_of(p), p.unit.scale)
            for p, places in zip(self.layout.parameters, self.layout.places, strict=True)
            for _ in places
        ]
        centre = torch.from_numpy(self.layout.vector(parameters)).double()
        middle = self._to_real(centre)
        if uncertainty.covariance is not None:
            spread = torch.from_numpy(uncertainty.covariance)
        else:
            ends = (self.layout.vector(each) for each in (uncertainty.low, uncertainty.high))
            low, high = (self._to_real(torch.from_numpy(end)) for end in ends)
            spread = torch.diag(((high - low) / (2 * NINETY)) ** 2)
        self.gaussian = torch.distributions.MultivariateNormal(middle, spread * widen**2)
        super().__init__(event_shape=torch.Size([self.layout.size]), validate_args=False)

    def _to_real(self, value: Tensor) -> Tensor:
        each = [c.to_real(value[..., k] * s) for k, (c, s) in enumerate(self.coordinates)]
        return torch.stack(each, dim=-1)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        """Return draws, (*sample_shape, unknown)."""
        z = self.gaussian.sample(torch.Size(sample_shape))
        each = [c.to_value(z[..., k]) / s for k, (c, s) in enumerate(self.coordinates)]
        return torch.stack(each, dim=-1).float()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density in the units of the file, with the Jacobian of the coordinates, (...)."""
        z = self._to_real(value.double()).requires_grad_()
        each = [c.to_value(z[..., k]) / s for k, (c, s) in enumerate(self.coordinates)]
        (slope,) = torch.autograd.grad(torch.stack(each, dim=-1).sum(), z)
        found = self.gaussian.log_prob(z.detach()) - slope.abs().log().sum(-1)
        return found.to(value.dtype)
