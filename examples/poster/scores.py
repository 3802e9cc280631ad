"""What the experiments are scored by: errors of parameters, spikes in common, statistics, ensembles, decoded states."""

import numpy as np
from numpy.typing import NDArray
from protocol import (
    BURN_IN_S,
    EACH,
    POPULATIONS,
    TRIAL_S,
    Array,
    Values,
    days,
    in_turn,
    network,
    poisson,
)
from sklearn.linear_model import LogisticRegression

import eqsnn
from eqsnn.analysis.distances import van_rossum_distance
from eqsnn.analysis.nmf import EnsembleMatch, binned, compare_ensembles
from eqsnn.analysis.statistics import (
    block_correlation,
    fano_factor,
    interval_cv,
    psth_correlation,
)

GROUPS = [list(range(EACH * k, EACH * (k + 1))) for k in range(len(POPULATIONS))]
TEST_TRIALS = 8
LONG_S = 600.0  # of independent statistics
ENSEMBLE_S = 300.0
PSTH_TRIALS = 40
TEST_DAYS, MEAN_OF = 5, 20  # runs of the same days whose activations are averaged
BIN_S = 0.1
DISTANCE_S, DISTANCE_TRIALS = 4.0, 64
TAU_S = 0.012


def parameter_errors(values: Values, truth: Values) -> dict[str, list[float]]:
    """Return the errors of each quantity over the populations: relative, of weights absolute, of v_rest those of q.

    q = P/(30 mV - v_rest) is what spikes can tell of v_rest, because the reset is v_rest.
    """
    grouped: dict[str, list[float]] = {}
    for name, true in truth.items():
        local = name.rsplit(".", 1)[1]
        found, right = float(values[name].ravel()[0]), float(true.ravel()[0])
        if local == "v_rest":
            grouped.setdefault("q", []).append(abs((30 - right) / (30 - found) - 1))
        elif local == "w":
            grouped.setdefault("w", []).append(abs(found - right))
        else:
            grouped.setdefault(local, []).append(abs(found / right - 1))
    return grouped


def by_population(values: Array) -> list[float]:
    """Return the mean over the neurons of each population."""
    return [float(np.nanmean(values[group])) for group in GROUPS]


def same_input(kind: str, values: Values, seed: int) -> dict:
    """Score spikes of trials that the fit has not seen, given the target's own input."""
    plain = network(kind)
    whole = BURN_IN_S + TRIAL_S
    test = eqsnn.simulate(plain, whole, trials=TEST_TRIALS, record=["x"], seed=seed)
    own = eqsnn.simulate(plain, whole, trials=TEST_TRIALS, inputs=test, parameters=values)
    test, own = (run.window(BURN_IN_S, whole) for run in (test, own))
    found = eqsnn.compare(test, own, tau=TAU_S)
    return {
        "f1": by_population(found.f1),
        "van_rossum": found.van_rossum_score,
        "rate_error": found.to_dict()["rate_error"],
    }


def statistics(kind: str, values: Values | None, seed: int) -> dict:
    """Return rates, interval CV, Fano factor and block correlations of ten minutes with an input of their own."""
    run = eqsnn.simulate(network(kind), LONG_S, burn_in=BURN_IN_S, seed=seed, parameters=values)
    return {
        "rate": by_population(run.rates()),
        "cv": by_population(interval_cv(run)),
        "fano": by_population(fano_factor(run, bin_s=BIN_S)),
        "correlation": [
            [block_correlation(run, a, b, bin_s=BIN_S) for b in GROUPS] for a in GROUPS
        ],
    }


def debiased_distance(kind: str, values: Values | None, seed: int) -> float:
    """Van Rossum distance without its bias under independent noise, relative to that of silence: 0 perfect, 1 silent.

    All runs share a drive in turn, but no noise; values None is the target itself, another replicate of it. E D^2(x, y)
    - E D^2(x, x')/2 - E D^2(y, y')/2 over pairs of different trials.
    """
    target, own = (
        driven(kind, v, DISTANCE_S, DISTANCE_TRIALS, seed + k)
        for k, v in enumerate((None, values), start=1)
    )
    neurons, next_one = range(target.n_units), np.roll(np.arange(DISTANCE_TRIALS), 1)

    def mean(first: eqsnn.Recording, second: eqsnn.Recording | None) -> float:
        pairs = [
            van_rossum_distance(
                first.train(n, k),
                np.zeros(0) if second is None else second.train(n, int(other)),
                tau=TAU_S,
            )
            for n in neurons
            for k, other in enumerate(next_one)
        ]
        return float(np.mean(pairs))

    apart = mean(target, target) / 2
    return (mean(target, own) - mean(own, own) / 2 - apart) / (mean(target, None) - apart)


def driven(
    kind: str, values: Values | None, seconds: float, trials: int, seed: int
) -> eqsnn.Recording:
    """Return the network under the drive in turn, with input events of its own."""
    burn_in = TRIAL_S  # a whole turn, so that the drive keeps its phase
    x = poisson(in_turn(burn_in + seconds), trials, seed)
    return eqsnn.simulate(
        network(kind), seconds, trials=trials, burn_in=burn_in, inputs={"x": x}, parameters=values
    )


def ensembles(kind: str, values: Values, seed: int, *, in_turns: bool = True) -> EnsembleMatch:
    """Compare the ensembles of five minutes with those of the target; the ceiling is a second run of the target."""
    if in_turns:
        runs = [
            driven(kind, v, ENSEMBLE_S, 1, seed + k) for k, v in enumerate((None, values, None))
        ]
    else:
        runs = [
            eqsnn.simulate(
                network(kind), ENSEMBLE_S, burn_in=BURN_IN_S, seed=seed + k, parameters=v
            )
            for k, v in enumerate((None, values, None))
        ]
    return compare_ensembles(runs[0], runs[1], replicate=runs[2], bin_s=BIN_S, seed=seed)


def psth(kind: str, values: Values, seed: int) -> dict[str, float]:
    """Return the correlation of PSTHs under the drive in turn with the target's, and that of a second run of the target."""
    runs = [
        driven(kind, v, TRIAL_S, PSTH_TRIALS, seed + k) for k, v in enumerate((None, values, None))
    ]
    found, ceiling = (float(np.nanmean(psth_correlation(runs[0], run))) for run in runs[1:])
    return {"psth": found, "psth_ceiling": ceiling, "psth_score": found / ceiling}


def sleep_states(kind: str, values: Values, seed: int) -> dict:
    """Score days of the rate model: activations of ensembles against the target's, and the states decoded from them.

    The target, its replicate and the fitted network share the expected counts, but no noise (`same_input`: the noise, too).
    Activations are those of the target's modules, of one run and as a mean of MEAN_OF runs. Decoded: by the largest
    activation, and by logistic regression on all three, fitted on the replicate; `window` seconds for each decision.
    """
    expected, state = days(TEST_DAYS, seed)
    whose = (None, values, None)
    many = [_days(kind, v, expected, MEAN_OF, seed + k) for k, v in enumerate(whose)]
    runs = [run.trials([0]) for run in many]
    match = compare_ensembles(runs[0], runs[1], replicate=runs[2], bin_s=BIN_S, seed=seed)
    modules = match.first.modules
    single = [_activations(run, modules, BIN_S) for run in runs]
    same = _days(kind, values, expected, MEAN_OF, seed).trials([0])
    mean = [_mean_activations(run, modules) for run in many]
    scores = {
        "same_input": _column_correlation(single[0], _activations(same, modules, BIN_S)),
        "single": _column_correlation(single[0], single[1]),
        "single_ceiling": _column_correlation(single[0], single[2]),
        "mean": _column_correlation(mean[0], mean[1]),
        "mean_ceiling": _column_correlation(mean[0], mean[2]),
        "nmf_score": match.score,
        "decoded": {},
    }
    for window in (0.1, 0.2, 0.5):
        truth = _majority(state, window)
        scores["decoded"][f"{window:g} s"] = {
            title: _decoded(run, runs[2], modules, window, truth)
            for title, run in (("target", runs[0]), ("fitted", runs[1]))
        }
    return scores


def _days(
    kind: str, values: Values | None, expected: Array, trials: int, seed: int
) -> eqsnn.Recording:
    x, seconds = poisson(expected, trials, seed), len(expected) / 1000
    return eqsnn.simulate(network(kind), seconds, trials=trials, inputs={"x": x}, parameters=values)


def _mean_activations(run: eqsnn.Recording, modules: Array) -> Array:
    joined = _activations(run, modules, BIN_S)
    return joined.reshape(run.n_trials, -1, joined.shape[1]).mean(0)


def _activations(run: eqsnn.Recording, modules: Array, bin_s: float) -> Array:
    """Return how strongly each of the modules is active in each bin, by non-negative least squares."""
    counts = binned(run, bin_s=bin_s, unit_variance=True)
    found = np.maximum(counts @ modules.T, 1e-9)
    for _ in range(200):  # multiplicative steps of Lee and Seung (2001), modules held
        found *= (counts @ modules.T) / np.maximum(found @ modules @ modules.T, 1e-12)
    return found


def _column_correlation(a: Array, b: Array) -> list[float]:
    return [float(np.corrcoef(x, y)[0, 1]) for x, y in zip(a.T, b.T, strict=True)]


def _majority(state: NDArray[np.int64], window: float) -> NDArray[np.int64]:
    bins = state.reshape(-1, round(window * 1000))
    return np.array([np.bincount(row, minlength=3).argmax() for row in bins])


def _decoded(
    run: eqsnn.Recording,
    learn: eqsnn.Recording,
    modules: Array,
    window: float,
    truth: NDArray[np.int64],
) -> dict[str, float]:
    """Return the share of windows whose state is found, by the largest activation and by regression."""
    # each module stands for the state in which it is most active
    example, found = (_activations(r, modules, window)[: len(truth)] for r in (learn, run))
    scale = example.mean(0)
    table = np.array(
        [[(example[truth == s] / scale)[:, m].mean() for m in range(3)] for s in range(3)]
    )
    largest = table.argmax(0)[(found / scale).argmax(1)]
    regression = LogisticRegression(max_iter=1000).fit(np.sqrt(example), truth)
    return {
        "largest": float((largest == truth).mean()),
        "regression": float((regression.predict(np.sqrt(found)) == truth).mean()),
    }
