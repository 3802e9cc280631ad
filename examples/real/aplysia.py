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
from glm import fit_glm
from network import fit_network, silenced
from page import raster_figure, rhythm_figure, table, write_section
from rhythm import WINDOW, free_row

import eqsnn
from eqsnn.analysis.prediction import bernoulli_log_likelihood, bits_per_spike, rate_logits
from eqsnn.inference.prediction import log_likelihood
from eqsnn.simulation.recording import from_dense

DT, HELD_OUT, SKIP = 0.010, 0.2, 2.0  # s, share, s at the start that no model is asked about
TAUS = ((0.2, 1.0), (0.05, 0.2, 1.0, 4.0))  # s, of couplings and of own history
RIDGES = (0.003, 0.006, 0.012)


def load(path: Path, seconds: float, neurons: int) -> eqsnn.Recording:
    """Return the recording on a grid of 10 ms, which holds nearly every spike of these slow neurons; the rest counts once."""
    whole = eqsnn.load_targets(path)
    duration = int(min(whole.duration, seconds) / DT) * DT
    chosen = list(range(min(neurons, whole.n_units)))
    return (
        replace(whole, dt=DT, inputs={}, input_dt={}, traces={})
        .window(0.0, duration)
        .select(chosen)
    )


def choose_ridge(spikes: np.ndarray) -> tuple[float, dict[float, float]]:
    """Return the ridge that predicts the last fifth of the training part best, and the bits per spike of each."""
    border, skip = round(len(spikes) * (1 - HELD_OUT)), round(SKIP / DT)
    rest, scores = spikes[border:], {}
    null = bernoulli_log_likelihood(rest, rate_logits(spikes[:border]))
    for ridge in RIDGES:
        found = bernoulli_log_likelihood(
            rest, fit_glm(spikes[:border], TAUS, DT, ridge, skip).logits(spikes)[border:]
        )
        scores[ridge] = bits_per_spike(found, null, rest.sum())
        if scores[ridge] < max(scores.values()):
            break
    return max(scores, key=lambda ridge: scores[ridge]), scores


def main() -> None:
    """Fit, score, run freely, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recording", type=Path, default=Path("../shared/data/b1_aplysia_pedal_Jan1912da02.npz")
    )
    parser.add_argument("--iterations", type=int, default=25)
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
    print(
        f"{whole.n_units} neurons, ridge {ridge:g} of {tried}, GLM fitted after {time.monotonic() - began:.0f} s",
        flush=True,
    )
    rng, n, steps = np.random.default_rng(0), options.trials, round(whole.duration / DT)
    poisson = from_dense(
        (rng.random((n, steps, whole.n_units)) < known.mean(0)).astype(np.uint8), DT
    )
    driven = from_dense(glm.run(known, steps, n, 0).astype(np.uint8), DT)
    rows = {
        "recorded": ("", free_row(whole, [whole])),
        "Poisson": ("0", free_row(whole, [poisson.trials([k]) for k in range(n)])),
    }
    score = bits_per_spike(
        bernoulli_log_likelihood(held, glm.logits(spikes)[border:]), null, held.sum()
    )
    rows["GLM"] = (f"{score:.3f}", free_row(whole, [driven.trials([k]) for k in range(n)]))
    shown = {"recorded": whole, "GLM": driven.trials([0])}
    for name, plain in (("plain LIF network", True), ("network with adaptation", False)):
        fit, stage = fit_network(train, glm, options.iterations, SKIP, plain=plain)
        found = log_likelihood(
            fit.model, silenced(whole), fit.parameters, stage=stage, since=border * DT
        )
        score = bits_per_spike(found, null, held.sum())
        free = eqsnn.simulate(
            fit.model, whole.duration, trials=n, parameters=fit.parameters, after=train
        )
        rows[name] = (f"{score:.3f}", free_row(whole, [free.trials([k]) for k in range(n)]))
        shown[name] = free.trials([0])
        print(
            f"{name}: {score:.3f} bits per spike after {time.monotonic() - began:.0f} s", flush=True
        )
    text = table(
        {name: {"held out, bits per spike": score, **free} for name, (score, free) in rows.items()}
    )
    said = f"{whole.n_units} neurons, {int(known.sum())} spikes to learn from, {int(held.sum())} held out; "
    said += f"ridge {ridge:g}; {time.monotonic() - began:.0f} s"
    print(text, said, sep="\n")
    if options.out:
        raster, rhythm = (
            raster_figure(options.out, options.recording.stem, shown),
            rhythm_figure(options.out, options.recording.stem, shown, WINDOW),
        )
        write_section(
            options.out, options.recording.stem, f"{text}\n\n{said}.\n\n{raster}\n{rhythm}"
        )


if __name__ == "__main__":
    main()
