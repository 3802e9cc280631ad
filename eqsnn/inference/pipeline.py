"""pipeline: the stages of a fit, chosen from what the data give and what the model leaves open."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from eqsnn.compiler import acting_on_several
from eqsnn.inference.choice import Choice, choose_density
from eqsnn.inference.data import prepare
from eqsnn.inference.likelihood import DENSITIES
from eqsnn.inference.stages import Forced, Free, GradientFree, Rates, Stage
from eqsnn.language.model import Model
from eqsnn.losses import Loss
from eqsnn.maths.chance import draws_its_spikes
from eqsnn.maths.force import is_regenerative
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter
from eqsnn.simulation.recording import Recording

SPIKES_PER_UNKNOWN = 40.0  # of a neuron, that the first, coarse stages look at
SHORTEST = 12.0  # seconds of it, at least
LONGER = 4.0  # times as much data in the stage between, and in second-order steps by moments
DESCENT_LONGER = 2.0  # times as much in the descent by moments, which costs so little
LONG_ENOUGH = 6.0  # ... up to a sixth of all data, from which few steps on all of them are left
WORTH_MORE = 1.5  # times what a stage sees, from which on another sees more
COARSE_BINS = 32
WINDOWS = 300  # of the data of a stage, for the outer product of their scores
LONGEST_WINDOW = 4.0  # seconds
FINE_UP_TO = 4e6  # neuron-steps; with more of them only the last few steps are on the fine grid
LAST_STEPS = 4  # from the maximum of the coarse grid, which is within a standard error of that of the fine one
ESCAPE = Forced()
# What Adam found at wide thresholds, second-order steps follow down to where every spike that can be explained is. The
# warm-up lets a window forget its initial state: what is left of it makes spikes that no parameters explain.
REFINE = Forced(
    widths=(0.008, 0.004, 0.002, 0.001, 0.0005), iterations=8, optimiser="scoring", window=0.05, warm_up=0.2, name="refine"
)  # fmt: skip
MOST_CURVED = 100  # unknowns of a neuron, up to which windows are enough for their curvature
MARGINAL = Forced(
    widths=(0.001,), optimiser="scoring", iterations=15, window=0.25, warm_up=0.15, keep=2
)
# Moments cost a tenth of a grid and lead near its maximum from afar, though their own is biased. Far from it, steps
# of the size that Adam chooses are better than any that trust a curvature.
DESCENT = Forced(
    widths=MARGINAL.widths, density="moments", iterations=40, learning_rate=0.3, final_rate=0.1, warm_up=0.15,
    keep=10**6, name="descent",
)  # fmt: skip
APPROACH = replace(MARGINAL, density="moments", iterations=14, keep=1, name="approach")
# ... of all data: for the price of a grid's part of them, and closer than that leads, because chance decides less
APPROACH_ALL = replace(APPROACH, iterations=8, name="approach with all data")
UPSTROKE = replace(
    MARGINAL, diffusion=True, density="grid", widths=(0.01, 0.003), window=0.5, warm_up=0.3
)
# the initial state of a model is rarely that of a recording, and bursts that begin in it take a second to end
OUTLASTED = 1.0
BURSTING = replace(MARGINAL, density="grid", bins=96, window=1.0, warm_up=OUTLASTED)
# Whether a burst goes on is decided at an unstable point, beside which the likelihood is a cliff that no gradient tells
# of: so many candidates for each unknown of a block are compared by it. A cliff is where the rarest events put it, so
# little data lead over it: after a first part on little data as a whole, much data count in the time after spikes.
BURSTS_SEARCHED, BURSTS_BINS = 480, 64
BURSTS_COARSE, BURSTS_COARSE_S = 0.4, 4.0  # of the generations, and what they see
BURSTS_SEEN, BURSTS_AFTER = 96.0, 0.04  # seconds, and the seconds after a spike of them
BURSTS_COST = 0.12  # of a second of which the time after spikes counts, in units of one that counts as a whole
BURSTS_MORE = 32.0  # seconds that the first steps after it see
BURSTS_COMMON = 12  # candidates for what acts on several populations, which cost as much as five times as many for the last one
BURSTS_SETTLED = 2.0  # nats between candidates: gradients do the rest
MOST_SEARCHED = 3e8  # neuron-steps: some minutes
FEWEST_GENERATIONS = 5
FEWEST_WINDOWS = 30  # of a stage
GUIDED = Free(tau=0.01, window=3.0, warm_up=OUTLASTED, guided=True)
STEP_NEAR, STEP_FAR = 0.1, 0.7  # of the first generation, in units of the priors' spread
STEP_LAST = 0.05
# Bursts make many local optima, which few candidates end in (docs/inference.md)
CANDIDATES_EACH = 8  # in a generation, for each unknown of a block
FEWEST_CANDIDATES, MOST_CANDIDATES = 32, 128
WIDE_GENERATIONS, LAST_GENERATIONS = 400, 1200
MOST_TOGETHER = 60  # unknowns that one search finds
SHARPER = 0.005  # seconds, of the distance that a second search by blocks lowers


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages, why they were chosen, and what to warn of."""

    stages: tuple[Stage, ...]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def plan(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    *,
    loss: str | Loss | None = None,
    tau: float = 0.010,
    density: str = "auto",
    prior: bool = False,
    seed: int = 0,
    backend: str = "auto",
    started: bool = False,
) -> Plan:
    """Return the stages for a model with a size and a recording.

    Noise of the model that the recording does not give is integrated out, by the density that `choose_density` takes
    or the one that is named. Without such noise the escape likelihood is annealed and the network polished running
    freely; neurons with an upstroke of their own are searched for without gradients, each by itself, guided by the observed spikes.
    loss: of the free-running stage; with noise integrated out there is one only if a loss is named, because the
    likelihood is then that of the model itself. prior: maximise the posterior under the file's distributions. started:
    the fit starts from values that somebody gave, which a coarse likelihood must not lead away from.
    """
    noisy = setup.unknown_noise(model, recording)
    regenerative = any(
        is_regenerative(model.neuron_of(n)) for n in setup.spiking_populations(model)
    )
    free = Free(loss="van_rossum" if loss is None else loss, tau=tau)
    if not noisy and density in ("auto", "escape"):
        if regenerative and density == "auto" and not len(recording.gaps):
            reason = (
                "the neurons spike by an upstroke of their own, which multiplies derivatives a thousandfold: CMA-ES searches "
                "each neuron by itself, guided by the observed spikes, and has no standard errors"
            )
            ending = () if loss is None else (free,)
            return Plan((*_guided(model, parameters, recording, started), *ending), (reason,))
        if regenerative and density == "auto":
            reason = (
                "the neurons spike by an upstroke of their own, to which a width of the threshold is blind: diffusion "
                "noise is added to the potential, integrated out on a grid, and annealed"
            )
            stages = _growing(UPSTROKE, model, parameters, recording)
            return Plan((*_with_prior(stages, prior), free), (reason,))
        drawn = all(draws_its_spikes(model.neuron_of(n)) for n in setup.spiking_populations(model))
        if drawn:
            reason = "every threshold is a draw: the likelihood of the spikes is that of the model itself, without a width"
            return Plan(
                _with_prior((ESCAPE,), prior) + (() if loss is None else (free,)), (reason,)
            )
        reason = "the data give all noise of the model, or it has none: escape likelihood, annealed, then free running"
        return Plan((*_with_prior(_annealed(model, parameters, recording), prior), free), (reason,))
    chosen = Choice(density, "as asked for")
    if density == "auto":
        chosen = _choose(model, parameters, recording, regenerative, seed, backend)
    integrated = BURSTING if regenerative else MARGINAL
    stage = integrated if chosen.density != "escape" else ESCAPE
    stages = _growing(replace(stage, density=chosen.density), model, parameters, recording)
    reason = chosen.reason
    if chosen.density == "grid" and chosen.affordable and not started:
        stages = _approaching(stages, recording)
        reason += "; far from the maximum by moments, which are ten times as fast"
    told = f"private noise ({', '.join(noisy)}) is integrated out, density `{chosen.density}`: {reason}"
    stages = _with_prior(stages, prior)
    search = ()
    if regenerative and chosen.density == "grid":
        search = _burst_search(stages[0], model, parameters, recording, started)
    if search:
        told += "; CMA-ES searches each neuron first, because bursts make cliffs that no gradient tells of"
        stages = tuple(
            replace(s, bins=BURSTING.bins, seconds=min(s.seconds, BURSTS_MORE))
            if math.isfinite(s.seconds)
            else s
            for s in stages[1:] or stages
        )
    warnings = (chosen.warning,) if chosen.warning else ()
    ending = Rates(stages[-1]) if loss is None else free
    return Plan((*search, *stages, ending), (told,), warnings)


def _burst_search(
    stage: Forced,
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    started: bool,
) -> tuple[GradientFree, ...]:
    """Return a search by little data and by what comes after spikes of much, nothing if too few generations are affordable."""
    each = max(2, _unknown_of_a_neuron(model, parameters))
    population = FEWEST_CANDIDATES
    whole = recording.duration * recording.n_trials
    seen, little = min(BURSTS_SEEN, whole), min(BURSTS_COARSE_S, whole)
    fine = little + BURSTS_COST * (seen - little)
    cost = BURSTS_COARSE * little + (1 - BURSTS_COARSE) * fine
    cost = (population + 1) * _neuron_steps(model, cost)
    wanted = BURSTS_SEARCHED * each * (0.5 if started else 1.0)
    generations = int(min(wanted / population, MOST_SEARCHED / cost))
    if generations < FEWEST_GENERATIONS:
        return ()
    coarse = replace(
        stage, bins=BURSTS_BINS, seconds=little, window=BURSTING.window, widths=stage.widths[-1:]
    )
    return (
        GradientFree(
            "cmaes",
            replace(coarse, seconds=seen, after_spike=BURSTS_AFTER, whole=little),
            evaluations=generations * population,
            population=population,
            step=STEP_NEAR if started else STEP_FAR,
            keep=2,
            settled=BURSTS_SETTLED,
            coarse=coarse,
            coarse_generations=int(BURSTS_COARSE * generations),
            common=BURSTS_COMMON,
            name="search",
        ),
    )


def _count_neurons(model: Model) -> int:
    return sum(setup.sizes_of(model, n)[0] for n in setup.spiking_populations(model))


def _neuron_steps(model: Model, seconds: float) -> float:
    return _count_neurons(model) * seconds * 1000 / model.dt


def _count_unknown(model: Model, parameters: Mapping[str, Parameter]) -> int:
    """Return how many numbers are to be found; weights of synapses that do not exist are none."""
    exists = setup.synapses_of(model)
    learned = {name: p.shape for name, p in parameters.items() if p.learned}
    return sum(int(setup.existing(n, s, exists).sum()) for n, s in learned.items())


def _unknown_of_a_neuron(model: Model, parameters: Mapping[str, Parameter]) -> int:
    """Return how many numbers are to be found for a neuron, or a population that shares them all."""
    shared = all(np.prod(p.shape) == 1 for p in parameters.values() if p.learned)
    blocks = len(setup.spiking_populations(model)) if shared else _count_neurons(model)
    return math.ceil(_count_unknown(model, parameters) / blocks)


def _annealed(
    model: Model, parameters: Mapping[str, Parameter], recording: Recording
) -> tuple[Forced, ...]:
    """Return the annealed escape likelihood, and its second-order end where a neuron has few enough unknowns for it."""
    if _unknown_of_a_neuron(model, parameters) > MOST_CURVED:
        return (ESCAPE,)
    return ESCAPE, _cut(REFINE, recording.duration * recording.n_trials)


def _guided(
    model: Model, parameters: Mapping[str, Parameter], recording: Recording, started: bool
) -> tuple[GradientFree, ...]:
    """Return a search by blocks for all restarts, and a last one for the best of them.

    It is sharper; or over everything at once, where few numbers are unknown and some of them act on several neurons,
    because these trade against what each neuron has of its own.
    """
    each = _unknown_of_a_neuron(model, parameters)
    population = min(max(CANDIDATES_EACH * each, FEWEST_CANDIDATES), MOST_CANDIDATES)
    first = GradientFree(
        "cmaes",
        GUIDED,
        evaluations=WIDE_GENERATIONS * population,
        population=population,
        step=STEP_NEAR if started else STEP_FAR,
        keep=1,
        name="near search" if started else "wide search",
    )
    last = replace(
        first, evaluations=LAST_GENERATIONS * population, step=STEP_LAST, name="last search"
    )
    known = setup.given_names(model, recording.inputs)
    across = acting_on_several(model, known=known)
    unknown = {name for name, p in parameters.items() if p.learned}
    if unknown & across and _count_unknown(model, parameters) <= MOST_TOGETHER:
        return first, replace(last, together=True)
    return first, replace(last, objective=replace(GUIDED, tau=SHARPER))


def _with_prior(stages: tuple[Forced, ...], prior: bool) -> tuple[Forced, ...]:
    return tuple(replace(stage, prior=prior) for stage in stages)


def _choose(
    model: Model,
    parameters: Mapping[str, Parameter],
    recording: Recording,
    regenerative: bool,
    seed: int,
    backend: str,
) -> Choice:
    """Return the density that integrates the noise out."""
    if regenerative:
        why = "during an upstroke no density is near Gaussian, and few particles are on it"
        return Choice("grid", why)
    data = prepare(model, recording, torch.float64, backend)
    if data.masked:
        return Choice("grid", "for data with gaps")
    rng = np.random.default_rng(seed)
    values = {
        n: torch.from_numpy(p.draw(rng)).double().unsqueeze(-1) for n, p in parameters.items()
    }
    return choose_density(data, MARGINAL, values, seed)


def _growing(
    stage: Forced, model: Model, parameters: Mapping[str, Parameter], recording: Recording
) -> tuple[Forced, ...]:
    """Return a coarse stage on little data for all restarts, one on more for the best of them, and one on all data."""
    if stage.density == "escape":
        return (stage,)
    neurons = _count_neurons(model)
    unknown = _count_unknown(model, parameters)
    rate = max(
        len(recording.spike_times) / (recording.duration * recording.n_trials * neurons), 0.1
    )
    enough = max(
        SHORTEST, SPIKES_PER_UNKNOWN * unknown / neurons / rate, FEWEST_WINDOWS * stage.window
    )
    whole = recording.duration * recording.n_trials
    first = replace(stage, name="coarse", bins=COARSE_BINS, seconds=enough, widths=stage.widths[:1])
    if whole <= WORTH_MORE * enough:
        return (_cut(replace(stage, keep=1), whole),)
    last = replace(stage, name="all data", keep=1, widths=stage.widths[-1:])
    between = replace(
        last, name="more data", iterations=4, bins=COARSE_BINS, seconds=LONGER * enough
    )
    ending: tuple[Forced, ...] = (last,)
    if _neuron_steps(model, whole) >= FINE_UP_TO and stage.density == "grid":
        fine = replace(last, name="fine grid", iterations=LAST_STEPS)
        ending = replace(last, bins=COARSE_BINS), fine
    if whole <= WORTH_MORE * LONGER * enough:
        return tuple(_cut(s, whole) for s in (first, *ending))
    # of all data each step costs much, and few are left to take
    ending = (replace(ending[0], iterations=12), *ending[1:])
    return tuple(_cut(s, whole) for s in (first, between, *ending))


def _cut(stage: Forced, whole: float) -> Forced:
    """Return the stage with windows as long as can be, because each takes a warm-up, but enough of them."""
    window = min(stage.seconds, whole) / WINDOWS
    return replace(stage, window=min(max(window, stage.window), LONGEST_WINDOW))


def _approaching(stages: tuple[Forced, ...], recording: Recording) -> tuple[Forced, ...]:
    """Return the stages with two by moments in place of the coarse one, which are cheap enough for more data."""
    whole = recording.duration * recording.n_trials
    few = stages[0].seconds
    more = min(LONGER * few, max(DESCENT_LONGER * few, whole / LONG_ENOUGH))
    descent = replace(DESCENT, seconds=DESCENT_LONGER * few)
    approach = [replace(APPROACH, seconds=more)]
    if whole > WORTH_MORE * more:
        approach.append(APPROACH_ALL)
    on_everything = [s for s in stages if math.isinf(s.seconds)]
    return descent, *(_cut(stage, whole) for stage in (*approach, *on_everything))


__all__ = ["DENSITIES", "Plan", "plan"]
