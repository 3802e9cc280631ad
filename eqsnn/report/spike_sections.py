"""Sections on spikes: raster, statistics and ensembles of a target and what is compared with it."""

import math

import numpy as np
from numpy.typing import NDArray

from eqsnn.analysis.compare import Comparison, rate_error
from eqsnn.analysis.nmf import EnsembleMatch
from eqsnn.analysis.statistics import correlations, pooled_intervals, psth
from eqsnn.report.numbers import NOTHING, number, percent
from eqsnn.report.parts import (
    Fact,
    Panel,
    Panels,
    Paragraph,
    Part,
    Raster,
    Section,
    Table,
    plain,
)
from eqsnn.report.raster import raster_data, still
from eqsnn.report.spike_plots import (
    plot_by_neuron,
    plot_correlations,
    plot_intervals,
    plot_matches,
    plot_module,
    plot_over_time,
    plot_pairs,
)
from eqsnn.report.svg import inline
from eqsnn.simulation.recording import Recording

Array = NDArray[np.float64]
Labels = tuple[str, str]
FEW = 16  # neurons up to which values are drawn neuron by neuron
MILLISECOND = 1e3
SHOWN_BINS = 100  # of the rate over time


def spike_sections(a: Recording, b: Recording, found: Comparison, labels: Labels, bin_s: float) -> list[Section]:  # fmt: skip
    """Return raster, statistics and ensembles of the target a and of b, as far as there are neurons to show."""
    kept = np.intersect1d(a.recorded(), b.recorded())
    if not len(kept):
        return []
    missing = a.n_units - len(kept)
    if missing:
        a, b = a.select(kept.tolist()), b.select(kept.tolist())
    sections = [_raster(a, b, labels, missing), _statistics(a, b, found, labels, bin_s)]
    return sections if a.n_units == 1 else [*sections, _ensembles(found.nmf, labels, bin_s)]


def _raster(a: Recording, b: Recording, labels: Labels, missing: int) -> Section:
    named = [f"{label}: {number(_mean(r.rates()))} Hz" for label, r in zip(labels, (a, b), strict=True)]  # fmt: skip
    intro = "Every stroke is a spike, every row a neuron, neuron 0 at the bottom."
    if len(a.gaps):
        intro += " Where the target was not observed nothing is drawn for it."
    if missing:
        intro += (
            f" Neurons that were never recorded ({missing}) are left out, the others numbered anew."
        )
    picture = Raster(raster_data([a, b], named), still([a, b], named))
    return Section("raster", "Rasters", (picture,), intro)


def _statistics(a: Recording, b: Recording, found: Comparison, labels: Labels, bin_s: float) -> Section:  # fmt: skip
    draw = plot_by_neuron if a.n_units <= FEW else plot_pairs
    counted = f"counts in {bin_s * MILLISECOND:g} ms"
    matrices = [correlations(r, bin_s=bin_s) for r in (a, b)]
    pairs = (
        ("rates", "Firing rates", found.rates, "rate (Hz)", ""),
        ("cv", "Irregularity", found.cv, "CV of intervals", "1: as irregular as Poisson"),
        ("fano", "Variability", found.fano, "Fano factor", counted),
    )
    # of a single neuron the table says as much as these could
    panels = [
        Panel(
            title,
            inline(draw(x, y, labels, axis), key, f"{title} of {labels[0]} and {labels[1]}"),
            note,
        )
        for key, title, (x, y), axis, note in pairs
        if a.n_units > 1
    ]
    intervals = plot_intervals(pooled_intervals(a), pooled_intervals(b), labels)
    picture = inline(intervals, "isi", "densities of the interspike intervals")
    panels.insert(1, Panel("Interspike intervals", picture, "all neurons"))
    panels.insert(2, _over_time(a, b, labels))
    parts: list[Part] = [score_table(found, labels), Panels(tuple(panels))]
    if a.n_units > 1:
        matches = inline(plot_matches(found.gamma, found.f1), "matches", "coincidences by neuron")
        panels.append(Panel("Spike by spike", matches, "1 perfect, 0 chance (Γ)"))
        parts[-1] = Panels(tuple(panels))
        limit = _limit(matrices)
        shown = [
            Panel(label, inline(plot_correlations(matrix, limit), f"corr{k}", f"correlations, {label}"))
            for k, (label, matrix) in enumerate(zip(labels, matrices, strict=True))
        ]  # fmt: skip
        upper = np.triu_indices(a.n_units, 1)
        of_pairs = plot_pairs(matrices[0][upper], matrices[1][upper], labels, "correlation")
        shown.append(Panel("Pair by pair", inline(of_pairs, "corrpairs", "correlations of pairs of neurons")))  # fmt: skip
        parts.append(Panels(tuple(shown), f"Correlations of {counted}"))
    return Section("statistics", "Spike statistics", tuple(parts))


def _over_time(a: Recording, b: Recording, labels: Labels) -> Panel:
    """Return the rate over time, in bins of which a figure can show every one."""
    bin_s = max(a.dt, 0.02, a.duration / SHOWN_BINS)
    bin_s = min(bin_s, a.duration)
    first, second = (_mean_over_neurons(psth(r, bin_s=bin_s, smoothing_s=0.0)) for r in (a, b))
    drawn = plot_over_time(first, second, bin_s, labels)
    picture = inline(drawn, "time", "rate over time, mean over neurons")
    width = f"{bin_s:.3g} s" if bin_s >= 1 else f"{bin_s * MILLISECOND:.3g} ms"
    return Panel("Rate over time", picture, f"all neurons, bins of {width}")


def _mean_over_neurons(rates: Array) -> Array:
    known = np.isfinite(rates)
    return np.where(known, rates, 0.0).sum(1) / np.maximum(1, known.sum(1))


def _limit(matrices: list[Array]) -> float:
    off = [m[~np.eye(len(m), dtype=bool)] for m in matrices]
    found = np.abs(np.concatenate(off))
    return max(0.05, float(np.nanmax(found))) if np.isfinite(found).any() else 1.0


def score_table(found: Comparison, labels: Labels, title: str = "Scores") -> Table:
    """Return every score of a comparison, with how to read it."""
    off = f"{percent(rate_error(*found.rates))} off"
    rows = [
        ("firing rate", _pair(found.rates[0], "Hz"), _pair(found.rates[1], "Hz"), off, "mean over neurons; error relative to each"),
        ("CV of intervals", _pair(found.cv[0]), _pair(found.cv[1]), "", "1: as irregular as Poisson"),
        ("Fano factor", _pair(found.fano[0]), _pair(found.fano[1]), "", "variance of counts over their mean"),
        ("correlations", "", "", number(found.correlation_error), "mean absolute error over pairs"),
        (f"van Rossum, {found.tau * MILLISECOND:g} ms", "", "", number(found.van_rossum_score), "0 perfect, 1 no better than silence"),
        ("coincidences Γ, 2 ms", "", "", number(_mean(found.gamma)), "1 perfect, 0 chance"),
        ("F1, 1 ms", "", "", number(_mean(found.f1)), "1 perfect"),
        ("PSTH correlation", "", "", number(_mean(found.psth_correlation)), "1 perfect"),
    ]  # fmt: skip
    return Table(
        title,
        ("statistic", *labels, "difference or score", "how to read it"),
        # what this recording cannot say, such as correlations of a single neuron, is left out
        tuple(plain(*row) for row in rows if row[3] != NOTHING),
        numeric=(1, 2, 3),
        note="Spike by spike a model with noise of its own cannot do better than a second recording would.",
    )


def _pair(values: Array, unit: str = "") -> str:
    return f"{number(_mean(values))} {unit}".strip()


def _mean(values: Array) -> float:
    array = np.asarray(values, float)
    return float(np.nanmean(array)) if np.isfinite(array).any() else math.nan


def _ensembles(match: EnsembleMatch | None, labels: Labels, bin_s: float) -> Section:
    title, key = "Ensembles (NMF)", "ensembles"
    if match is None:
        said = "There are too few neurons or spikes for ensembles."
        return Section(key, title, (Paragraph(said),))
    panels = tuple(
        Panel(
            f"Module {k + 1}",
            inline(plot_module(match, k, labels), f"nmf{k}", f"weights and activation of module {k + 1}"),
            f"cosine {number(_cosine(match, k))}",
        )
        for k in range(len(match.order))
    )  # fmt: skip
    return Section(
        key,
        title,
        (_ensemble_scores(match), Panels(panels)),
        f"Counts in {bin_s * MILLISECOND:g} ms, each neuron divided by its standard deviation, are factorised into modules "
        "(weights of neurons) and their activations over time; modules are matched one to one.",
    )


def _cosine(match: EnsembleMatch, k: int) -> float:
    return float(match.first.modules[k] @ match.second.modules[match.order[k]])


def _ensemble_scores(match: EnsembleMatch) -> Table:
    stability = f"{number(match.first.stability)}, {number(match.second.stability)}"
    rows = (
        plain("score", number(match.score), "(cosine − floor)/(ceiling − floor): 1 as good as a replicate, 0 chance"),
        plain("cosine", number(match.cosine), "mean over matched modules"),
        plain("ceiling", number(match.ceiling), f"from {match.ceiling_from}"),
        plain("floor", number(match.floor), "neurons shuffled"),
        plain("stability", stability, "of the two factorisations over random starts; below 0.9 modules depend on the start"),
        plain("explained", f"{percent(match.first.explained)}, {percent(match.second.explained)}", "of the sum of squares"),
    )  # fmt: skip
    return Table("How alike the modules are", ("", "value", "how to read it"), rows, numeric=(1,))


def comparison_facts(found: Comparison) -> list[Fact]:
    """Return the numbers of a comparison to see first."""
    found_nmf = math.nan if found.nmf is None else found.nmf.score
    facts = [
        Fact("Rate error", percent(rate_error(*found.rates)), "mean, relative"),
        Fact("Van Rossum", number(found.van_rossum_score), "0 perfect, 1 silent"),
        Fact("Correlation error", number(found.correlation_error), "mean absolute, of counts"),
        Fact("NMF score", number(found_nmf), "1 as a replicate, 0 chance"),
    ]
    return [fact for fact in facts if fact.value != NOTHING]
