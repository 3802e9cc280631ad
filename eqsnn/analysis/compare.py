"""compare: everything that two recordings of the same neurons can be scored by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eqsnn.analysis.distances import f1_score, gamma_factor, van_rossum_distance
from eqsnn.analysis.nmf import EnsembleMatch, compare_ensembles
from eqsnn.analysis.statistics import correlations, fano_factor, interval_cv, psth_correlation
from eqsnn.errors import InputError
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How recording b differs from the target a; arrays are per neuron.

    van_rossum: D^2 per trial; van_rossum_score: D^2/D^2 of silence (0 perfect, 1 no better than no spikes).
    nmf is None if there are too few neurons or spikes for ensembles.
    """

    tau: float
    rates: tuple[Array, Array]
    van_rossum: Array
    van_rossum_score: float
    gamma: Array
    f1: Array
    cv: tuple[Array, Array]
    fano: tuple[Array, Array]
    correlation_error: float
    psth_correlation: Array
    nmf: EnsembleMatch | None

    def to_dict(self) -> dict:
        """Return the scores as plain numbers and lists, ready for JSON (nan becomes None)."""
        found: dict = {
            "tau": self.tau,
            "rates": [_plain(r) for r in self.rates],
            "rate_error": _number(rate_error(*self.rates)),
            "van_rossum": _plain(self.van_rossum),
            "van_rossum_score": _number(self.van_rossum_score),
            "gamma": _plain(self.gamma),
            "f1": _plain(self.f1),
            "cv": [_plain(c) for c in self.cv],
            "fano": [_plain(f) for f in self.fano],
            "correlation_error": _number(self.correlation_error),
            "psth_correlation": _plain(self.psth_correlation),
            "nmf": None,
        }
        if self.nmf is not None:
            names = ("cosine", "geodesic", "ceiling", "floor", "score")
            scores = {name: _number(getattr(self.nmf, name)) for name in names}
            found["nmf"] = {**scores, "ceiling_from": self.nmf.ceiling_from}
        return found

    def summary(self) -> str:
        """Return a table for people."""
        rows = [
            ("firing rate, Hz (a, b)", f"{self.rates[0].mean():.2f}  {self.rates[1].mean():.2f}"),
            ("mean relative rate error", f"{rate_error(*self.rates):.3f}"),
            (f"van Rossum D2 / silent, tau {self.tau * 1e3:g} ms", f"{self.van_rossum_score:.3f}"),
            ("coincidence factor Gamma, 2 ms", f"{_mean(self.gamma):.3f}"),
            ("F1, 1 ms", f"{_mean(self.f1):.3f}"),
            ("interval CV (a, b)", f"{_mean(self.cv[0]):.3f}  {_mean(self.cv[1]):.3f}"),
            ("Fano factor (a, b)", f"{_mean(self.fano[0]):.3f}  {_mean(self.fano[1]):.3f}"),
            ("correlation matrix, mean abs error", f"{self.correlation_error:.3f}"),
            ("PSTH correlation", f"{_mean(self.psth_correlation):.3f}"),
        ]
        if self.nmf is not None:
            cosines = f"{self.nmf.cosine:.3f}  (ceiling {self.nmf.ceiling:.3f} from {self.nmf.ceiling_from}, floor {self.nmf.floor:.3f})"
            rows += [("NMF module cosine", cosines), ("NMF score", f"{self.nmf.score:.3f}")]
        return "\n".join(f"{name:<38}{value}" for name, value in rows)


def compare(
    a: Recording,
    b: Recording,
    *,
    tau: float = 0.010,
    bin_s: float = 0.1,
    modules: int = 3,
    replicate: Recording | None = None,
    seed: int = 0,
) -> Comparison:
    """Score recording b against the target a; tau and bin_s in seconds.

    Trials are matched by their number. Where either has a gap, neither counts; neurons that were never observed are
    left out, so arrays are over the others. Raises InputError if the recordings differ in neurons, trials or duration.
    """
    for what in ("n_units", "n_trials"):
        if getattr(a, what) != getattr(b, what):
            raise InputError(
                f"the recordings have {getattr(a, what)} and {getattr(b, what)} {what.removeprefix('n_')}; they must be equal"
            )
    if abs(a.duration - b.duration) > 1e-6 + 1e-3 * a.dt:
        raise InputError(
            f"the recordings last {a.duration:g} and {b.duration:g} s; cut them to one window first"
        )
    if len(a.gaps) or len(b.gaps):
        a, b = _jointly_observed(a, b)
        replicate = replicate if replicate is None else replicate.hiding(a.gaps)
    none = np.zeros(0)
    seconds = a.observed_seconds()
    # a trial in which a neuron was not observed at all has nothing to compare
    seen = [[k for k in range(a.n_trials) if seconds[k, u] > 0] for u in range(a.n_units)]
    pairs = [[(a.train(u, k), b.train(u, k)) for k in seen[u]] for u in range(a.n_units)]
    distance = np.array(
        [np.mean([van_rossum_distance(x, y, tau=tau) for x, y in trials]) for trials in pairs]
    )
    silent = np.array(
        [np.mean([van_rossum_distance(x, none, tau=tau) for x, _ in trials]) for trials in pairs]
    )
    matrices = [correlations(r, bin_s=bin_s) for r in (a, b)]
    off = ~np.eye(a.n_units, dtype=bool)
    difference = np.abs(matrices[0] - matrices[1])[off]
    return Comparison(
        tau=tau,
        rates=(a.rates(), b.rates()),
        van_rossum=distance.astype(np.float64),
        van_rossum_score=float(distance.sum() / silent.sum()) if silent.sum() > 0 else float("nan"),
        gamma=np.array(
            [
                _mean(
                    [
                        gamma_factor(y, x, duration=float(seconds[k, u]))
                        for k, (x, y) in zip(seen[u], trials, strict=True)
                    ]
                )
                for u, trials in enumerate(pairs)
            ]
        ),
        f1=np.array([_mean([f1_score(x, y) for x, y in trials]) for trials in pairs]),
        cv=(interval_cv(a), interval_cv(b)),
        fano=(fano_factor(a, bin_s=bin_s), fano_factor(b, bin_s=bin_s)),
        correlation_error=_mean(difference),
        psth_correlation=psth_correlation(a, b),
        nmf=_ensembles(a, b, replicate, modules, bin_s, seed),
    )


def _jointly_observed(a: Recording, b: Recording) -> tuple[Recording, Recording]:
    """Return both without what either did not observe, and without neurons that are then never observed."""
    first, second = a.hiding(b.gaps), b.hiding(a.gaps)
    kept = first.recorded()
    if not len(kept):
        raise InputError(
            "no neuron was ever observed in both recordings, so nothing can be compared"
        )
    return first.select(kept.tolist()), second.select(kept.tolist())


def rate_error(target: Array, model: Array) -> float:
    """Mean over the neurons that fire of |r - r*|/r*."""
    fires = target > 0
    return (
        float((np.abs(model - target)[fires] / target[fires]).mean())
        if fires.any()
        else float("nan")
    )


def _ensembles(
    a: Recording, b: Recording, replicate: Recording | None, modules: int, bin_s: float, seed: int
) -> EnsembleMatch | None:
    if a.n_units <= modules:
        return None
    try:
        return compare_ensembles(a, b, replicate=replicate, modules=modules, bin_s=bin_s, seed=seed)
    except InputError:
        return None


def _mean(values: Array | list[float]) -> float:
    array = np.asarray(values, float)
    return float(np.nanmean(array)) if array.size and not np.isnan(array).all() else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _plain(values: Array) -> list:
    return [_number(v) for v in np.asarray(values, float)]
