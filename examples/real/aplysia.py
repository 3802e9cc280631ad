"""A whole ganglion, one spike ahead and running freely: networks fitted to recordings of the pedal ganglion of Aplysia.

Usage: python examples/real/aplysia.py --recording FILE.npz [--out docs/real_recordings.md]. Each recording (Bruno, Frost & Humphries
2015, doi:10.1016/j.neuron.2015.03.005; 102 and 125 neurons, 90 s of fictive locomotion) is not part of the project; without the
file the example says so and ends. The ridge of the couplings is chosen on the last fifth of the training part, by the GLM; all
models then learn from the first four fifths with it, and are scored on the last. The networks start from the GLM's weights.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from glm import Glm, fit_glm
from page import raster_figure, rhythm_figure, table, write_section

import eqsnn
from eqsnn.analysis.prediction import bernoulli_log_likelihood, bits_per_spike, rate_logits
from eqsnn.analysis.spectrum import population_spectrum
from eqsnn.inference.prediction import log_likelihood
from eqsnn.simulation.recording import from_dense

DT, HELD_OUT, SKIP = 0.010, 0.2, 2.0  # s, share, s at the start that no model is asked about
TAUS = ((0.2, 1.0), (0.05, 0.2, 1.0, 4.0))  # s, of couplings and of own history
RIDGES = (0.001, 0.003, 0.01, 0.03)
NOISE, THRESHOLD = 2.0, 10.0  # mV, as in aplysia.eqs
BAND, WINDOW, BIN = (0.03, 0.5), 45.0, 0.5  # Hz in which the rhythm is looked for, s, s of ensembles
MODEL = Path(__file__).parent / "aplysia.eqs"


def load(path: Path, seconds: float, neurons: int) -> eqsnn.Recording:
    """Return the recording on a grid of 10 ms, which holds nearly every spike of these slow neurons; the rest counts once."""
    whole = eqsnn.load_targets(path)
    duration = int(min(whole.duration, seconds) / DT) * DT
    chosen = list(range(min(neurons, whole.n_units)))
    return replace(whole, dt=DT, inputs={}, input_dt={}, traces={}).window(0.0, duration).select(chosen)


def silenced(recording: eqsnn.Recording) -> eqsnn.Recording:
    """Return the recording with no jitter of the threshold: the likelihood's logistic width stands for it."""
    none = np.zeros(round(recording.duration / DT))
    return replace(recording, inputs={"jitter": none}, input_dt={"jitter": DT})


def choose_ridge(spikes: np.ndarray) -> tuple[float, dict[float, float]]:
    """Return the ridge that predicts the last fifth of the training part best, and the bits per spike of each."""
    border, skip = round(len(spikes) * (1 - HELD_OUT)), round(SKIP / DT)
    rest, scores = spikes[border:], {}
    null = bernoulli_log_likelihood(rest, rate_logits(spikes[:border]))
    for ridge in RIDGES:
        found = bernoulli_log_likelihood(rest, fit_glm(spikes[:border], TAUS, DT, ridge, skip).logits(spikes)[border:])
        scores[ridge] = bits_per_spike(found, null, rest.sum())
        if scores[ridge] < max(scores.values()):
            break
    return max(scores, key=lambda ridge: scores[ridge]), scores


def start_of(glm: Glm, *, plain: bool) -> dict[str, np.ndarray]:
    """Return the GLM in the units of the network: 1 of its log-odds is `NOISE` of potential."""
    scales = np.sqrt(glm.ridge) / glm.spread * NOISE
    n, history = len(glm.bias), -NOISE * glm.own
    start = {"cells.E": THRESHOLD + NOISE * glm.bias}
    if plain:  # the reset has to do what the currents did
        start["cells.E"] = start["cells.E"] - (history * glm.own_mean).sum(0)
    for name, tau in zip(("m", "f", "s"), (0.1 if plain else 0.012, *TAUS[0]), strict=True):
        start[f"cells.tau_{name}"] = np.full(n, tau * 1e3)
    for k, name in enumerate("abcd"):
        if not plain:
            start |= {f"cells.q_{name}": history[k], f"cells.tau_{name}": np.full(n, TAUS[1][k] * 1e3)}
    for k, name in enumerate(("fast", "slow")):
        start[f"cells->cells:{name}.w"] = NOISE * glm.couple[k] / scales[k]
    return start


def fit_network(train: eqsnn.Recording, glm: Glm, iterations: int, *, plain: bool) -> tuple[eqsnn.Fit, eqsnn.Forced]:
    """Fit the network, or with `plain` one without afterhyperpolarising currents, with the ridge as prior."""
    scales = np.sqrt(glm.ridge) / glm.spread * NOISE
    known = {"cells.r": train.rates(), "cells->cells:fast.scale": scales[0], "cells->cells:slow.scale": scales[1]}
    for name in "abcd" if plain else "":
        known |= {f"cells.q_{name}": 0.0, f"cells.tau_{name}": 100.0}
    stage = eqsnn.Forced(
        widths=(NOISE / THRESHOLD,), iterations=iterations, learning_rate=0.03, final_rate=0.1,
        window=train.duration, warm_up=SKIP, keep=1, prior=True,
    )  # fmt: skip
    model = eqsnn.load(MODEL).sized(train.n_units).with_values(known)
    start = start_of(glm, plain=plain)
    return eqsnn.fit(model, silenced(train), starts=1, stages=(stage,), validation=0.0, start=start), stage


def free_row(target: eqsnn.Recording, runs: list[eqsnn.Recording]) -> dict[str, str]:
    """Return how free runs compare with the recording: rate, spectral peak of each, ensembles."""
    peaks = [population_spectrum(run, window=min(WINDOW, run.duration / 2)).peak(*BAND) for run in runs]
    power = [population_spectrum(run, window=min(WINDOW, run.duration / 2)).share(*BAND) for run in runs]
    found = [eqsnn.compare_ensembles(target, run, bin_s=BIN, shuffles=50) for run in runs if len(run.spike_times)]
    rates = [run.rates().mean() for run in runs]
    row = {"rate, Hz": f"{np.mean(rates):.2f}", "spectral peak, Hz": f"{np.median(peaks):.3f} ({min(peaks):.3f} to {max(peaks):.3f})"}
    row |= {"power at 0.03 to 0.5 Hz": f"{np.mean(power):.2f}"}
    cosines = np.mean([[m.cosine, m.ceiling, m.floor] for m in found], 0) if found else np.full(3, np.nan)
    return row | {"module cosine": f"{cosines[0]:.3f}", "ceiling, floor": f"{cosines[1]:.3f}, {cosines[2]:.3f}"}


def main() -> None:
    """Fit, score, run freely, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recording", type=Path, default=Path("../shared/data/b1_aplysia_pedal_Jan1912da02.npz"))
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--trials", type=int, default=5, help="free runs of each model")
    parser.add_argument("--seconds", type=float, default=np.inf)
    parser.add_argument("--neurons", type=int, default=10**6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not options.recording.exists():
        print(f"{options.recording}: not here; nothing to do", file=sys.stderr)
        return
    torch.set_num_threads(1)
    began, whole = time.monotonic(), load(options.recording, options.seconds, options.neurons)
    border = round(whole.duration * (1 - HELD_OUT) / DT)
    train = whole.window(0.0, border * DT)
    spikes = np.minimum(whole.counts(DT)[0], 1).astype(float)
    held, known = spikes[border:], spikes[:border]
    ridge, tried = choose_ridge(known)
    glm = fit_glm(known, TAUS, DT, ridge, round(SKIP / DT))
    null = bernoulli_log_likelihood(held, rate_logits(known))
    print(f"{whole.n_units} neurons, ridge {ridge:g} of {tried}, GLM fitted after {time.monotonic() - began:.0f} s", flush=True)
    rng, n, steps = np.random.default_rng(0), options.trials, round(whole.duration / DT)
    poisson = from_dense((rng.random((n, steps, whole.n_units)) < known.mean(0)).astype(np.uint8), DT)
    driven = from_dense(glm.run(known, steps, n, 0).astype(np.uint8), DT)
    rows = {"recorded": ("", free_row(whole, [whole])), "Poisson": ("0", free_row(whole, [poisson.trials([k]) for k in range(n)]))}
    score = bits_per_spike(bernoulli_log_likelihood(held, glm.logits(spikes)[border:]), null, held.sum())
    rows["GLM"] = (f"{score:.3f}", free_row(whole, [driven.trials([k]) for k in range(n)]))
    shown = {"recorded": whole, "GLM": driven.trials([0])}
    for name, plain in (("plain LIF network", True), ("network with adaptation", False)):
        fit, stage = fit_network(train, glm, options.iterations, plain=plain)
        found = log_likelihood(fit.model, silenced(whole), fit.parameters, stage=stage, since=border * DT)
        score = bits_per_spike(found, null, held.sum())
        free = eqsnn.simulate(fit.model, whole.duration, trials=n, parameters=fit.parameters, after=train)
        rows[name] = (f"{score:.3f}", free_row(whole, [free.trials([k]) for k in range(n)]))
        shown[name] = free.trials([0])
        print(f"{name}: {score:.3f} bits per spike after {time.monotonic() - began:.0f} s", flush=True)
    text = table({name: {"held out, bits per spike": score, **free} for name, (score, free) in rows.items()})
    said = f"{whole.n_units} neurons, {int(known.sum())} spikes to learn from, {int(held.sum())} held out; ridge {ridge:g}; {time.monotonic() - began:.0f} s"
    print(text, said, sep="\n")
    if options.out:
        raster, rhythm = raster_figure(options.out, options.recording.stem, shown), rhythm_figure(options.out, options.recording.stem, shown, WINDOW)
        write_section(options.out, options.recording.stem, f"{text}\n\n{said}.\n\n{raster}\n{rhythm}")


if __name__ == "__main__":
    main()
