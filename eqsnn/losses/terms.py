"""The terms a loss is made of, as values: what each compares, and at which times (seconds)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from eqsnn.errors import InputError
from eqsnn.losses.correlogram import autocorrelogram_loss, crosscorrelogram_loss
from eqsnn.losses.energy import energy_distance
from eqsnn.losses.psth import psth_loss
from eqsnn.losses.rate import debiased_firing_rate
from eqsnn.losses.spike_times import Trains, timed_van_rossum
from eqsnn.losses.van_rossum import debiased_van_rossum, van_rossum

SHORTEST = 1e-9  # of a step: stands in for counted time where there is none, and no spike either


@dataclass(frozen=True, slots=True)
class Sample:
    """What a loss compares: spikes of the model and of the target, 0 in steps that do not count.

    draws: one run of the model, or two with independent noise, (time, neuron, restart, window, trial) each; target:
    the same with one restart; counted: (time, 1 or neuron, 1, window, 1 or trial), 1 in steps that count, else 0; dt in seconds;
    repeated: whether all trials had the same input, so that any two of them may be compared.
    """

    draws: tuple[Tensor, ...]
    target: Tensor
    counted: Tensor
    dt: float
    repeated: bool = True


@dataclass(frozen=True, slots=True)
class TimedSample:
    """As `Sample`, with the fraction of its step at which each spike happens; for distances between spike times."""

    draws: tuple[Trains, ...]
    target: Trains
    dt: float


@dataclass(frozen=True, slots=True)
class VanRossum:
    """van Rossum distance; unbiased where the model has noise of its own. Without unit: half the spikes that differ."""

    tau: tuple[float, ...] = (0.010,)

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over neurons, windows and trials: (restart,)."""
        if len(sample.draws) == 1:
            return PlainVanRossum(self.tau)(sample)
        first, second = sample.draws
        found = debiased_van_rossum(first, second, sample.target, tau=self.tau, dt=sample.dt)
        return found.mean((0, -2, -1))

    def timed(self, sample: TimedSample) -> Tensor:
        """The same between spike times: (restart,)."""
        draws = sample.draws
        found = timed_van_rossum(draws[0], draws[-1], sample.target, tau=self.tau, dt=sample.dt)
        return found.mean((0, -2, -1))


@dataclass(frozen=True, slots=True)
class PlainVanRossum:
    """van Rossum distance as published; between independent noises it is smallest at too low rates."""

    tau: tuple[float, ...] = (0.010,)

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over draws, neurons, windows and trials: (restart,)."""
        each = [van_rossum(d, sample.target, tau=self.tau, dt=sample.dt) for d in sample.draws]
        return sum(each[1:], each[0]).mean((0, -2, -1)) / len(each)

    def timed(self, sample: TimedSample) -> Tensor:
        """The same between spike times: (restart,)."""
        target, tau, dt = sample.target, self.tau, sample.dt
        each = [timed_van_rossum(d, d, target, tau=tau, dt=dt) for d in sample.draws]
        return sum(each[1:], each[0]).mean((0, -2, -1)) / len(each)


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy distance of the distributions of trains, neurons jointly; without unit."""

    tau: tuple[float, ...] = (0.010,)

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over windows, and over trials unless they are repetitions: (restart,)."""
        draws, target = sample.draws, sample.target
        if not sample.repeated:  # only runs with the same input follow the same distribution
            draws, target = [draw.unsqueeze(-1) for draw in draws], target.unsqueeze(-1)
        return energy_distance(draws, target, tau=self.tau, dt=sample.dt).flatten(1).mean(1)


@dataclass(frozen=True, slots=True)
class Rate:
    """Squared difference of firing rates, Hz^2."""

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over neurons and trials: (restart,). Rates are those over all windows of a trial."""
        # a window of few steps knows little of a rate, so the windows of a trial are one time
        *draws, target, counted = (
            each.movedim(-2, 1).flatten(0, 1)
            for each in (*sample.draws, sample.target, sample.counted)
        )
        dt = sample.dt * counted.mean(0).clamp(min=SHORTEST)
        return debiased_firing_rate(draws, target, dt=dt).mean((0, -1))


@dataclass(frozen=True, slots=True)
class Psth:
    """Squared difference of smoothed rates averaged over trials, Hz^2; `sigma` 0: as wide as a bin."""

    bin: float = 0.020
    sigma: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", self.sigma or self.bin)
        _check(self)

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over neurons and windows, weighted by counted time: (restart,)."""
        found = psth_loss(
            sample.draws,
            sample.target,
            sample.counted,
            width=self.bin,
            sigma=self.sigma,
            dt=sample.dt,
        )
        shares = sample.counted.mean(-1).sum(0)
        return ((found * shares).sum(-1) / shares.sum(-1).clamp(min=SHORTEST)).mean(0)


@dataclass(frozen=True, slots=True)
class Autocorrelogram:
    """Squared difference of the autocorrelograms relative to the target's rates, Hz^2."""

    lag: float = 0.050
    bin: float = 0.005

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over lags and neurons, windows and trials pooled: (restart,)."""
        return _pooled(autocorrelogram_loss, sample, self.lag, self.bin)


@dataclass(frozen=True, slots=True)
class Crosscorrelogram:
    """Squared difference of the cross-correlograms relative to the target's rates, Hz^2."""

    lag: float = 0.050
    bin: float = 0.005

    def __post_init__(self) -> None:
        _check(self)

    def __call__(self, sample: Sample) -> Tensor:
        """Mean over lags and ordered pairs of neurons, windows and trials pooled: (restart,)."""
        return _pooled(crosscorrelogram_loss, sample, self.lag, self.bin)


Term = VanRossum | PlainVanRossum | Energy | Rate | Psth | Autocorrelogram | Crosscorrelogram

# the names a text may use
TERMS: dict[str, type[Term]] = {
    "van_rossum": VanRossum,
    "plain_van_rossum": PlainVanRossum,
    "energy": Energy,
    "rate": Rate,
    "psth": Psth,
    "autocorrelogram": Autocorrelogram,
    "crosscorrelogram": Crosscorrelogram,
}


def name_of(term: Term) -> str:
    """Return the name a text uses for a term."""
    return next(name for name, kind in TERMS.items() if isinstance(term, kind))


def times_of(term: Term) -> dict[str, tuple[float, ...]]:
    """Return the arguments of a term, in seconds."""
    found = {field.name: getattr(term, field.name) for field in fields(term)}
    return {n: t if isinstance(t, tuple) else (t,) for n, t in found.items()}


def _pooled(loss: Callable[..., Tensor], sample: Sample, lag: float, width: float) -> Tensor:
    trials = sample.target.shape[-1]
    counted = sample.counted.expand(*sample.counted.shape[:-1], trials).flatten(-2)
    draws: Sequence[Tensor] = [draw.flatten(-2) for draw in sample.draws]
    return loss(draws, sample.target.flatten(-2), counted, lag=lag, width=width, dt=sample.dt)


def _check(term: Term) -> None:
    """Raise InputError for times that no simulation has; a single tau becomes a tuple."""
    for name, times in times_of(term).items():
        if name == "tau":
            object.__setattr__(term, name, times)
        for time in times:
            if not (time > 0 and math.isfinite(time)):
                raise InputError(f"{name} = {time:g} s; a time above 0 is expected")
        if not times:
            raise InputError(f"{name} without a time; at least one is expected")
    if isinstance(term, Autocorrelogram | Crosscorrelogram) and term.lag < term.bin * (1 - 1e-9):
        raise InputError(
            f"lag = {term.lag:g} s is shorter than a bin of {term.bin:g} s; at least one bin is expected"
        )
