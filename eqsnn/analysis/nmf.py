"""Neuronal ensembles by non-negative matrix factorisation, and how well two recordings share them."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from eqsnn.errors import InputError
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Factorisation:
    """counts (time bin, neuron) ~ activations (time bin, k) @ modules (k, neuron), modules of unit L2 norm.

    `explained`: share of the counts' sum of squares. `stability`: mean matched cosine between the modules of the best
    start and of the other starts; below about 0.9 the modules depend on the start.
    """

    modules: Array
    activations: Array
    explained: float
    stability: float
    bin_s: float


@dataclass(frozen=True, slots=True)
class EnsembleMatch:
    """Similarity of two sets of modules.

    cosine: mean over Hungarian-matched modules; geodesic: 1 - (2/pi) arccos of it, averaged. ceiling: cosine of a
    replicate of the target with the target; floor: cosine after shuffling the neurons. score = (cosine - floor)/
    (ceiling - floor): 1 as good as a replicate, 0 chance, nan if the target has no ensembles (ceiling <= floor).
    """

    cosine: float
    geodesic: float
    ceiling: float
    floor: float
    score: float
    ceiling_from: str
    order: tuple[int, ...]  # which module of the second recording matches each of the first
    first: Factorisation
    second: Factorisation


def binned(recording: Recording, *, bin_s: float, unit_variance: bool) -> Array:
    """Return spike counts, trials joined, (bin, neuron), each neuron divided by its standard deviation if asked."""
    counts = recording.counts(bin_s).reshape(-1, recording.n_units).astype(float)
    if not unit_variance:
        return counts
    spread = counts.std(0)
    return counts / np.where(spread > 0, spread, 1.0)


def factorise(
    counts: Array, *, modules: int = 3, bin_s: float = 0.1, starts: int = 10, seed: int = 0
) -> Factorisation:
    """Factorise (bin, neuron) counts with the Frobenius norm; the best of `starts` random starts.

    Raises InputError if there are fewer neurons or bins than modules, or no spikes.
    """
    if min(counts.shape) < modules or not counts.any():
        raise InputError(
            f"{modules} modules cannot be found in {counts.shape[0]} bins of {counts.shape[1]} neurons with {counts.sum():g} spikes"
        )
    runs = []
    for start in range(starts):
        solver = NMF(
            n_components=modules,  # pyright: ignore[reportArgumentType] (stubs know "auto" only)
            init="random",
            random_state=seed + start,
            max_iter=1000,
            tol=1e-5,
        )
        with warnings.catch_warnings():
            # an unconverged start can only lose against the others
            warnings.simplefilter("ignore", ConvergenceWarning)
            activations = solver.fit_transform(counts)
        runs.append((float(solver.reconstruction_err_), activations, solver.components_))
    runs.sort(key=lambda run: run[0])
    error, activations, found = runs[0]
    norms = np.linalg.norm(found, axis=1)
    norms = np.where(norms > 0, norms, 1.0)
    best = found / norms[:, None]
    others = [match(best, _unit(other))[0] for _, _, other in runs[1:]]
    return Factorisation(
        modules=best,
        activations=activations * norms,
        explained=1 - error**2 / float((counts**2).sum()),
        stability=float(np.mean(others)) if others else 1.0,
        bin_s=bin_s,
    )


def _unit(modules: Array) -> Array:
    norms = np.linalg.norm(modules, axis=1, keepdims=True)
    return modules / np.where(norms > 0, norms, 1.0)


def match(a: Array, b: Array) -> tuple[float, tuple[int, ...]]:
    """Return the mean cosine of the best one-to-one matching of unit-norm modules, and the match of each of `a`."""
    cosines = a @ b.T
    rows, columns = linear_sum_assignment(-cosines)
    return float(cosines[rows, columns].mean()), tuple(int(c) for c in columns)


def choose_rank(counts: Array, *, largest: int = 8, seed: int = 0) -> tuple[int, Array]:
    """Return the number of modules with the least held-out error, and the error of each from 1 on.

    Bi-cross-validation (Owen & Perry 2009, doi:10.1214/08-AOAS227): a quarter of the neurons in a quarter of the bins
    is predicted from the other three blocks; mean of 4 folds, one standard error rule for the smaller rank.
    """
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(counts.shape[0]) % 4, rng.permutation(counts.shape[1]) % 4
    largest = min(largest, counts.shape[1] // 2)
    errors = np.array(
        [
            [_held_out(counts, rows == f, columns == f, k, seed) for f in range(4)]
            for k in range(1, largest + 1)
        ]
    )
    mean, spread = errors.mean(1), errors.std(1) / 2
    best = int(mean.argmin())
    return int(np.flatnonzero(mean <= mean[best] + spread[best])[0]) + 1, mean


def _held_out(counts: Array, rows: NDArray, columns: NDArray, modules: int, seed: int) -> float:
    train = counts[~rows][:, ~columns]
    found = factorise(train, modules=modules, starts=3, seed=seed)
    across = np.linalg.lstsq(found.activations, counts[~rows][:, columns], rcond=None)[0]
    along = np.linalg.lstsq(found.modules.T, counts[rows][:, ~columns].T, rcond=None)[0].T
    held = counts[rows][:, columns]
    return float(
        ((held - np.clip(along @ across, 0, None)) ** 2).mean() / max((held**2).mean(), 1e-12)
    )


def compare_ensembles(
    a: Recording,
    b: Recording,
    *,
    replicate: Recording | None = None,
    modules: int = 3,
    bin_s: float = 0.1,
    unit_variance: bool = True,
    shuffles: int = 200,
    seed: int = 0,
) -> EnsembleMatch:
    """Match the ensembles of `b` to those of the target `a`.

    `replicate` is another recording of the target that gives the ceiling; without one, the ceiling is the match
    between the two interleaved halves of `a` (an underestimate for short recordings, and said so).
    """
    counts = binned(a, bin_s=bin_s, unit_variance=unit_variance)
    first = factorise(counts, modules=modules, bin_s=bin_s, seed=seed)
    second = factorise(
        binned(b, bin_s=bin_s, unit_variance=unit_variance), modules=modules, bin_s=bin_s, seed=seed
    )
    cosine, order = match(first.modules, second.modules)
    if replicate is not None:
        again = factorise(
            binned(replicate, bin_s=bin_s, unit_variance=unit_variance), modules=modules, seed=seed
        )
        ceiling, source = match(first.modules, again.modules)[0], "replicate"
    else:
        chunk = max(1, round(1.0 / bin_s))
        odd = (np.arange(len(counts)) // chunk) % 2 == 1
        halves = [
            factorise(counts[part], modules=modules, seed=seed).modules for part in (~odd, odd)
        ]
        ceiling, source = match(*halves)[0], "halves of the target"
    rng = np.random.default_rng(seed)
    shuffled = [
        match(first.modules, second.modules[:, rng.permutation(counts.shape[1])])[0]
        for _ in range(shuffles)
    ]
    floor = float(np.mean(shuffled))
    angles = np.arccos(np.clip((first.modules * second.modules[list(order)]).sum(1), -1, 1))
    return EnsembleMatch(
        cosine=cosine,
        geodesic=float((1 - 2 / np.pi * angles).mean()),
        ceiling=ceiling,
        floor=floor,
        score=(cosine - floor) / (ceiling - floor) if ceiling > floor else float("nan"),
        ceiling_from=source,
        order=order,
        first=first,
        second=second,
    )
