"""The public face: `simulate` and `fit` on models as `eqsnn.load` returns them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from eqsnn.analysis.compare import compare, rate_error
from eqsnn.errors import InputError
from eqsnn.inference.assess import assess
from eqsnn.inference.data import Data, prepare
from eqsnn.inference.fit import Found, search
from eqsnn.inference.lanes import OWN_NOISE
from eqsnn.inference.likelihood import DENSITIES, ForcedObjective
from eqsnn.inference.objectives import FreeObjective
from eqsnn.inference.pipeline import Plan
from eqsnn.inference.pipeline import plan as stages_for
from eqsnn.inference.problem import last_forced, with_traces
from eqsnn.inference.result import Fit, make_fit
from eqsnn.inference.settings import Report, Settings, Status
from eqsnn.inference.stages import Forced, Free, Stage
from eqsnn.inference.uncertainty import unknown_uncertainty
from eqsnn.losses import Loss
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.recording import Recording, from_dense
from eqsnn.simulation.run import empty_inputs, simulate_model, with_dt
from eqsnn.simulation.setup import spiking_populations, unknown_noise

Inputs = Mapping[str, ArrayLike] | Recording


def simulate(
    model: SpikingModel,
    duration: float,
    *,
    trials: int = 1,
    dt: float | None = None,
    seed: int = 0,
    inputs: Inputs | None = None,
    parameters: Mapping[str, ArrayLike] | None = None,
    record: Sequence[str] = (),
    burn_in: float = 0.0,
    dtype: torch.dtype = torch.float64,
    method: str | None = None,
    backend: str = "auto",
    after: Recording | None = None,
) -> Recording:
    """Simulate a model for `duration` seconds in each of `trials` independent trials.

    dt in seconds replaces the model's; inputs: known drives by name, (time,), (time, neuron) or (trial, time, neuron)
    in the units of the file, covering burn-in and duration; parameters: values by `group.parameter` or `parameter`.
    A population without a size takes it from the inputs or parameters, else 1. Unknown parameters are drawn from their
    distributions. backend: `native` (C), `pytorch` (the reference) or `auto`. after: recorded spikes that the network
    follows before it runs freely from the state that they leave it in, instead of a burn-in; inputs then cover both. Same seed,
    same recording. Raises InputError.
    """
    if not (duration > 0 and np.isfinite(duration)):
        raise InputError(f"the duration is {duration:g} s; a positive number is expected")
    if trials < 1 or burn_in < 0:
        raise InputError(
            f"{trials} trials after a burn-in of {burn_in:g} s; at least 1 trial and no negative time are expected"
        )
    sized = _sized(model.with_values(parameters or {}), inputs, parameters)
    definition = with_dt(sized.definition, dt)
    given = (
        with_traces(inputs)
        if isinstance(inputs, Recording)
        else empty_inputs(definition, trials, inputs)
    )
    return simulate_model(
        definition,
        duration,
        parameters=sized.parameters(),
        inputs=given,
        trials=trials,
        seed=seed,
        record=record,
        burn_in=burn_in,
        dtype=dtype,
        method=method,
        backend=backend,
        after=after,
    )


def _sized(
    model: SpikingModel, inputs: Inputs | None, parameters: Mapping[str, ArrayLike] | None
) -> SpikingModel:
    if model.is_sized:
        return model
    arrays = inputs.inputs if isinstance(inputs, Recording) else inputs or {}
    widths = [np.shape(values)[-1] for values in arrays.values() if np.ndim(values) >= 2]
    widths += [
        np.shape(values)[-1] for values in (parameters or {}).values() if np.ndim(values) >= 1
    ]
    widths += [values.shape[-1] for values in model.file_values().values()]
    known = sum(population.size or 0 for population in model.definition.populations.values())
    return model.sized(max([known + 1, *widths]))


def fit(
    model: SpikingModel,
    targets: Recording,
    *,
    starts: int = 16,
    seed: int = 0,
    loss: str | Loss | None = None,
    tau: float = 0.010,
    stages: tuple[Stage, ...] | None = None,
    density: str = "auto",
    prior: bool = False,
    start: Mapping[str, ArrayLike] | None = None,
    validation: float = 0.2,
    max_time: float = float("inf"),
    checkpoint: str | Path | None = None,
    checkpoint_every: float = 20.0,
    resume: bool = False,
    report: Report | None = None,
    dtype: torch.dtype = torch.float64,
    backend: str = "auto",
    command: str = "",
    units: Sequence[int] = (),
    recorded: Sequence[int] = (),
    notes: Sequence[str] = (),
    uncertainty: bool = True,
    last_step: bool = True,
) -> Fit:
    """Fit every unknown (`~`) parameter of `model` to recorded spike trains.

    starts: number of restarts; loss: of the free-running stage, one line of text (docs/losses.md) or its value; tau in
    seconds, of its terms that name none and of the scores; stages: what to do instead of the stages of `plan`; density,
    prior: see `plan`; notes: of whoever made the stages; start: values to start from instead of draws (units of the file; one for all
    starts or with a leading dimension per start); validation: share of trials, or of a single trial's time, held out;
    max_time in seconds; checkpoint: a file to save progress in every `checkpoint_every` seconds and,
    with `resume`, to go on from; backend as in `simulate`. units: explain the spikes of these only, all others still
    drive synapses (docs/missing.md); recorded: the places of the targets' units among the neurons of a larger network,
    the rest of which was never recorded. uncertainty: whether to look for standard errors
    afterwards. last_step: after second-order steps up the model's own likelihood the held-out part has done its work, and
    one step follows on all data (docs/inference.md); the scores are those of before it. Same seed, same result. Ctrl-C
    keeps what was reached. Raises InputError for data that cannot be used.
    """
    if starts < 1:
        raise InputError(f"{starts} starts; at least 1 is expected")
    if len(recorded):
        targets = targets.placed(recorded, _neurons_of(model))
    sized = model.sized(targets.n_units)
    targets = with_traces(targets)
    planned = Plan((), ())
    if stages is None:
        planned = plan(
            sized, targets, loss=loss, tau=tau, density=density, prior=prior, seed=seed, backend=backend,
            started=start is not None,
        )  # fmt: skip
    chosen = planned.stages if stages is None else stages
    settings = Settings(
        chosen,
        starts,
        seed,
        validation,
        max_time,
        dtype,
        checkpoint_every,
        backend,
        tuple(sorted({int(unit) for unit in units})),
        last_step,
    )
    found = search(
        sized.definition,
        sized.parameters(),
        targets,
        settings,
        start=start,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
        report=report,
    )
    fitted = make_fit(sized, found, {}, seed, command)
    scores = _scores(sized, fitted, found, settings, tau)
    share = 1 - validation if found.whole is None else 1.0
    found = found.on_everything()
    extra = _warnings(sized, found, targets, chosen)
    told = (*found.warnings, *planned.warnings, *extra, *_running_freely(scores, found))
    found = replace(found, warnings=told)
    doubt = unknown_uncertainty("interrupted" if uncertainty else "not asked for")
    if uncertainty and found.status is not Status.INTERRUPTED:
        doubt = assess(
            sized, found.values, found.known, targets, chosen,
            share=share, seed=seed, backend=backend, units=settings.units,
        )  # fmt: skip
    done = make_fit(sized, found, scores, seed, command, targets, doubt, (*planned.reasons, *notes))
    used = replace(done.provenance, recorded=tuple(recorded), units=settings.units)
    return replace(done, provenance=used)


def plan(
    model: SpikingModel,
    targets: Recording,
    *,
    loss: str | Loss | None = None,
    tau: float = 0.010,
    density: str = "auto",
    prior: bool = False,
    seed: int = 0,
    backend: str = "auto",
    recorded: Sequence[int] = (),
    started: bool = False,
) -> Plan:
    """Return the stages that `fit` would go through, as values to print, change and hand to `fit(stages=...)`.

    density: how noise that the data do not give is integrated out (`auto`, `escape`, `moments`, `grid`, `particles`;
    docs/likelihood.md); prior: maximise the posterior under the file's distributions instead of the likelihood; started:
    plan for a fit that is given where to start. See `fit` for the others. Raises InputError for a density that does not exist.
    """
    if density not in ("auto", *DENSITIES):
        raise InputError(
            f"there is no density `{density}`; the densities are auto, {', '.join(DENSITIES)}"
        )
    if len(recorded):
        targets = targets.placed(recorded, _neurons_of(model))
    sized = model.sized(targets.n_units)
    return stages_for(
        sized.definition, sized.parameters(), with_traces(targets),
        loss=loss, tau=tau, density=density, prior=prior, seed=seed, backend=backend, started=started,
    )  # fmt: skip


def _neurons_of(model: SpikingModel) -> int:
    definition = model.definition
    sizes = [definition.populations[name].size for name in spiking_populations(definition)]
    if None in sizes:
        raise InputError(
            "the network's size is not known, so recorded units have no place in it; write the size of each population, "
            "as in `cells : lif[12]`"
        )
    return sum(size or 0 for size in sizes)


def _scores(
    model: SpikingModel, fitted: Fit, found: Found, settings: Settings, tau: float
) -> dict[str, float]:
    """Score the best restart on the held-out part: running freely, and one step ahead."""
    held = found.validation
    scores: dict[str, float] = {}
    forced = last_forced(settings.stages) or Forced()
    values = {
        name: torch.from_numpy(p.draw(np.random.default_rng(0))).unsqueeze(-1)
        for name, p in model.with_values(fitted.parameters).parameters().items()
    }
    data = prepare(model.definition, held, torch.float64, settings.backend, units=settings.units)
    with torch.no_grad():
        objective = ForcedObjective(data, forced, fitted.seed, values)
        by_width = {width: -float(objective(values, width)[0]) for width in forced.widths}
        scores["escape_width"] = max(by_width, key=lambda width: by_width[width])
        scores["forced_log_likelihood_per_step"] = max(by_width.values())
    if len(held.spike_times) == 0:
        return scores
    if settings.units:
        own = _driven(data, values, fitted.seed)
        held, own = held.select(settings.units), own.select(settings.units)
    else:
        own = simulate(
            model,
            held.duration,
            trials=held.n_trials,
            seed=fitted.seed + OWN_NOISE,
            inputs=held,
            parameters=fitted.parameters,
            backend=settings.backend,
        )
    scored = compare(held, own, tau=tau)
    scores["rate"] = float(own.rates().mean())
    scores["van_rossum_score"] = scored.van_rossum_score
    scores["gamma"] = (
        float(np.nanmean(scored.gamma)) if np.isfinite(scored.gamma).any() else float("nan")
    )
    scores["f1"] = float(np.nanmean(scored.f1)) if np.isfinite(scored.f1).any() else float("nan")
    scores["rate_error"] = rate_error(*scored.rates)
    return scores


def _driven(data: Data, values: Mapping[str, torch.Tensor], seed: int) -> Recording:
    """Return one run of the chosen neurons on their own spikes, driven by the observed spikes of the others."""
    whole = Free(loss="rate", window=data.recording.duration, warm_up=0.0)
    objective = FreeObjective(data, whole, seed)
    with torch.no_grad():
        spikes, _ = objective.run(values, whole.width)
    trials = data.recording.n_trials
    grid = spikes[..., :trials].permute(2, 0, 1).round().numpy()
    return from_dense(grid, data.model.dt * 1e-3)


SCARCE = 10  # spikes per unknown below which a fit is warned of
# from which on rates count as exploding
LOUD = 100.0  # Hz
LOUDER = 5.0  # times the rate of the targets


def _running_freely(scores: Mapping[str, float], found: Found) -> list[str]:
    """Warn of a fitted network that does not run by itself."""
    own, seen = scores.get("rate", np.nan), found.validation.rates().mean()
    if own == 0 and seen > 0:
        return [
            "running freely, the fitted network is silent: its model has no drive or noise that could start it, or the "
            "likelihood gave it too little; add one, or a free-running stage (--loss van_rossum)"
        ]
    if own > max(LOUD, LOUDER * seen):
        return [
            f"running freely, the fitted network fires at {own:.0f} Hz, recorded {seen:.1f} Hz: spikes feed back on "
            "themselves; narrow the bounds of excitatory weights, or add a free-running stage (--loss van_rossum)"
        ]
    return []


def _warnings(
    model: SpikingModel, found: Found, targets: Recording, stages: tuple[Stage, ...]
) -> list[str]:
    warnings = []
    unknown = sum(value[..., 0].size for value in found.values.values())
    spikes = len(targets.spike_times)
    if spikes < SCARCE * unknown:
        warnings.append(
            f"{spikes} spikes for {unknown} unknowns are few: expect wide intervals; share parameters between neurons "
            "with `(shared)`, fix some, or use priors (--prior)"
        )
    noise = unknown_noise(model.definition, targets)
    if noise and any(isinstance(s, Forced) and s.density == "escape" for s in stages):
        warnings.append(
            f"the private noise {', '.join(noise)} is not in the data: one draw of it is treated as if it were known, "
            "which biases the estimates; give it as an array if you have it"
        )
    for name, parameter in model.parameters().items():
        if not parameter.learned or not np.isfinite([parameter.low, parameter.high]).all():
            continue
        best, low, high = found.values[name][..., 0], parameter.low, parameter.high
        if low > 0:
            best, low, high = np.log(best), np.log(low), np.log(high)
        margin = 0.01 * (high - low)
        learned = ~found.held.get(name, np.zeros(best.shape, dtype=bool))
        at_bound = int((((best < low + margin) | (best > high - margin)) & learned).sum())
        if at_bound:
            warnings.append(
                f"`{name}`: {at_bound} of {best.size} values lie at a bound; widen `in [...]` if that is plausible"
            )
    unseen = sorted(set(range(targets.n_units)) - set(targets.recorded().tolist()))
    if unseen:
        warnings.append(
            f"units {', '.join(map(str, unseen))} were never recorded: their parameters are known only by what they do "
            "to others, if at all"
        )
    silent = int((targets.rates() == 0).sum())
    if silent:
        warnings.append(
            f"{silent} of {targets.n_units} units never fire; their parameters are known only to keep them silent"
        )
    return warnings


__all__ = ["Fit", "Forced", "Free", "SpikingModel", "fit", "plan", "simulate"]
