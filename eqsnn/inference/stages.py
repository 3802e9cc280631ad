"""Stages: what a fit does, as values that can be printed and replaced."""

import math
from dataclasses import dataclass, field

from eqsnn.errors import InputError
from eqsnn.losses import Loss, parse_loss
from eqsnn.losses.terms import PlainVanRossum, VanRossum, name_of

GRADIENTS = ("surrogate", "exact")
PRECISIONS = ("single", "double")


@dataclass(frozen=True, slots=True)
class Forced:
    """Teacher forcing: the observed spikes drive resets and synapses; maximise their escape-noise likelihood.

    The threshold's width, relative to the distance from reset to threshold, is lowered level by level: wide enough at
    first that every start feels the data, narrow at last. After each level the worse half of the restarts is dropped,
    down to `keep`. Trials are cut into windows of `window` seconds that run side by side, each after `warm_up` seconds
    of its own, because given the observed spikes a neuron forgets its past.

    density: what becomes of noise that the data do not give. `escape`: one draw of it, as if it were known. `moments`:
    integrated out with a Gaussian density of the noisy states; `grid`: with any density of the potential on `bins`
    nodes; `particles`: with any joint density of the noisy states, sampled by `particles` of each neuron
    (docs/likelihood.md says which is for what). diffusion: the levels are those of diffusion noise added to the
    potential (relative to the same distance) instead of a width of the threshold, which stays at `threshold_width`;
    for neurons that spike by an upstroke. precision: `single` or `double`, in which a grid is computed. seconds: of the
    training data to use, windows spread evenly over it. after_spike: seconds after a spike of a neuron, in which alone its
    steps count, but in `whole` seconds of the data, where all do. That is a partial likelihood (Cox 1975,
    doi:10.1093/biomet/62.2.269): of whether bursts go on, for a tenth of the time. It needs a grid. optimiser: `adam`, or
    `scoring` (Fisher scoring: second-order steps from the scores of the windows). prior: add the log-density of the
    file's distributions. Raises InputError for a precision that there is not, and for after_spike without a grid.
    """

    widths: tuple[float, ...] = (0.25, 0.08, 0.025, 0.008)
    iterations: int = 100  # at each width
    learning_rate: float = 0.1
    final_rate: float = 0.2  # learning rate at the end of a level, relative to its start
    window: float = 0.25
    warm_up: float = 0.1
    keep: int = 2
    density: str = "escape"
    diffusion: bool = False
    threshold_width: float = 0.004
    bins: int = 64
    precision: str = "single"
    particles: int = 64
    seconds: float = math.inf
    after_spike: float = math.inf
    whole: float = 0.0
    optimiser: str = "adam"
    prior: bool = False
    name: str = "forced"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(
                f"there is no precision `{self.precision}`; a grid has {' or '.join(PRECISIONS)}"
            )
        if self.after_spike < math.inf and self.density != "grid":
            raise InputError(
                f"only a grid can count the steps after spikes alone (after_spike), not the density `{self.density}`"
            )

    @property
    def levels(self) -> tuple[float, ...]:
        """The widths, one level of iterations each."""
        return self.widths


@dataclass(frozen=True, slots=True)
class Free:
    """The network runs on its own spikes; minimise a distance between its spikes and the target's.

    gradient: `surrogate` passes through spikes by the surrogate derivative, `width` relative to the distance from reset
    to threshold; `detach_reset` leaves the resets out of it. `exact` lets spikes happen at fractions of a step and
    differentiates their times, without width (docs/gradients.md); the loss is then a van Rossum distance. Trials longer
    than `window` seconds are cut into windows that run side by side, each after `warm_up` seconds of its own. `loss`:
    one line of text (docs/losses.md) or its value; `tau`, in seconds, is for the terms of a text that name none. guided:
    the observed spikes drive synapses, and reset neurons besides their own spikes, so that an error ends with the interval
    it happened in, and neurons do not act on each other. Raises InputError for a text that is no loss, and for a gradient
    that there is not or that does not see the loss.
    """

    loss: str | Loss = "van_rossum"
    tau: float = 0.010
    iterations: int = 30
    learning_rate: float = 0.005
    final_rate: float = 0.1
    width: float = 0.1
    detach_reset: bool = True
    window: float = 1.0
    warm_up: float = 0.25
    seconds: float = math.inf
    keep: int = 1
    name: str = "free"
    gradient: str = "surrogate"
    guided: bool = False

    def __post_init__(self) -> None:
        if self.gradient not in GRADIENTS:
            raise InputError(
                f"there is no gradient `{self.gradient}`; a free-running stage has {' or '.join(GRADIENTS)}, and the "
                "third mode, escape, is the stage Forced"
            )
        if self.guided and self.gradient == "exact":
            raise InputError(
                "observed spikes cannot guide a stage whose gradient is exact; use the surrogate gradient"
            )
        blind = [t for t in self.composed.terms if not isinstance(t, VanRossum | PlainVanRossum)]
        if self.gradient == "exact" and blind:
            raise InputError(
                f"the exact gradient is that of spike times, which {name_of(blind[0])} does not see; use van_rossum "
                "or the surrogate gradient"
            )

    @property
    def composed(self) -> Loss:
        """The loss as a value."""
        return parse_loss(self.loss, tau=self.tau) if isinstance(self.loss, str) else self.loss

    @property
    def levels(self) -> tuple[float, ...]:
        """One level at one width."""
        return (self.width,)


@dataclass(frozen=True, slots=True)
class GradientFree:
    """The baseline: a stage's objective, at its last width, minimised without gradients.

    `optimiser` is a name in `gradient_free.OPTIMISERS`. Each restart tries `evaluations` candidates, `population` of
    them at a time, side by side with those of the other restarts. If the objective is forced or guided by the observed spikes, a
    search of its own goes on for every neuron (or population that shares parameters), all of them in the same candidates.
    together: search all numbers at once even so. What acts on several populations, such as the decay of a trace that
    weights multiply, is then found along with what it trades against; a few dozen numbers can be searched like this.
    settled: nats of a forced objective: the search of a neuron has ended once half of its candidates are no further from the
    best of them than this, and the time is left to the others. 0: none ends before the last generation. coarse: a cheaper
    objective, which guides so many first generations (coarse_generations), in which candidates are far apart. common:
    candidates of a generation that searches what acts on several populations, for which all of them are computed, up to
    `population`; 0: as many as of the others.
    """

    optimiser: str = "cmaes"
    objective: Forced | Free = field(default_factory=Free)
    evaluations: int = 2000
    population: int = 16
    step: float = 0.5  # spread of the first generation of CMA-ES, in units of the priors' spread
    keep: int = 10**6
    together: bool = False
    settled: float = 0.0
    coarse: Forced | None = None
    coarse_generations: int = 0
    common: int = 0
    name: str = "gradient-free"

    @property
    def levels(self) -> tuple[float, ...]:
        """One level: a search that compares candidates needs no annealing to feel the data."""
        return (self.objective.levels[-1],)

    @property
    def iterations(self) -> int:
        """Generations."""
        return max(1, -(-self.evaluations // self.population))


@dataclass(frozen=True, slots=True)
class Rates:
    """The network runs on its own spikes; its rates are brought to those observed, wherever they differ by more than chance.

    Each step moves a neuron's (or a population's) own parameters along what `likelihood` leaves most open; it ends once
    all rates agree within a standard deviation. Trials are cut into pieces of `window` seconds, each after `warm_up`
    seconds of its own. For noise that the data do not give: it is drawn twice.
    """

    likelihood: Forced
    iterations: int = 8
    window: float = 4.0
    warm_up: float = 1.0
    keep: int = 1
    name: str = "rates"

    @property
    def levels(self) -> tuple[float, ...]:
        """One level, the last of the likelihood."""
        return (self.likelihood.levels[-1],)


Stage = Forced | Free | GradientFree | Rates


def surrogate_only(
    loss: str | Loss = "van_rossum", tau: float = 0.010, iterations: int = 200
) -> tuple[Stage, ...]:
    """The baseline: surrogate gradients of the free-running network alone."""
    return (
        Free(
            loss=loss,
            tau=tau,
            iterations=iterations,
            learning_rate=0.05,
            detach_reset=False,
            keep=10**6,
        ),
    )
