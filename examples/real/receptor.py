"""One auditory receptor of a grasshopper: what an adaptive neuron, a plain one, a GLM and a Poisson process say of 3 s they never saw.

Usage: python examples/real/receptor.py [--out docs/real_recordings.md]. The recording (Rokem et al. 2006,
doi:10.1152/jn.00911.2005) ships with nitime; without it the example says so and ends. All models see the same stimulus,
learn from 7 s and are scored on the next 3 s: log-likelihood one step (0.5 ms) ahead, and the spikes of runs on their
own. A neuron's likelihood is that of a threshold with noise, whose width is learned by annealing; for its runs on its own it
is fitted anew, threshold narrow, and runs without noise, as in `make demo`. GLM and Poisson draw.
"""

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from glm import traces
from page import raster_figure, table, write_section
from sklearn.linear_model import LogisticRegression

import eqsnn
from eqsnn.analysis.compare import rate_error
from eqsnn.analysis.prediction import bernoulli_log_likelihood, bits_per_spike, rate_logits
from eqsnn.inference.prediction import log_likelihood
from eqsnn.simulation.recording import from_dense

EXAMPLES = Path(__file__).parents[1]
sys.path.insert(0, str(EXAMPLES))
LAGS, OWN = 30, (0.001, 0.002, 0.005, 0.02, 0.1)  # steps of the stimulus filter; s, of own history
RIDGES, WIDTHS = (0.01, 0.1, 1.0, 10.0), (0.5, 0.25, 0.12, 0.08, 0.055, 0.04)


class Logistic:
    """The GLM: a filter of 15 ms of stimulus, traces of own spikes; ridge chosen on the last fifth of what it learns from."""

    def __init__(self, stimulus: np.ndarray, spikes: np.ndarray, learned: int, dt: float) -> None:
        padded = np.concatenate([np.zeros(LAGS - 1), stimulus])
        self.filtered = np.stack(
            [padded[LAGS - 1 - k : len(padded) - k] for k in range(LAGS)], axis=1
        )
        self.dt = dt
        self.own = traces(spikes, OWN, dt)[..., 0].T
        self.spread = self.own[:learned].std(0)
        border, seen = round(0.8 * learned), spikes[:, 0]
        scores = {}
        for ridge in RIDGES:
            self.fit(border, seen, ridge)
            scores[ridge] = bernoulli_log_likelihood(
                spikes[border:learned], self.logits()[border:learned, None]
            ).sum()
        self.fit(learned, seen, max(scores, key=lambda ridge: scores[ridge]))

    def fit(self, until: int, seen: np.ndarray, ridge: float) -> None:
        """Fit to the steps before `until`."""
        features = np.concatenate([self.filtered, self.own / self.spread], axis=1)[LAGS:until]
        found = LogisticRegression(C=ridge, max_iter=2000).fit(features, seen[LAGS:until])
        self.kernel, self.after = found.coef_[0, :LAGS], found.coef_[0, LAGS:] / self.spread
        self.driven = self.filtered @ self.kernel + found.intercept_[0]

    def logits(self) -> np.ndarray:
        """Return the log-odds of a spike given all recorded spikes before it, (time,)."""
        return self.driven + self.own @ self.after

    def run(self, first: int, rng: np.random.Generator) -> np.ndarray:
        """Return spikes of the model on its own from step `first` on, (time,)."""
        own, decay, found = self.own[first].copy(), np.exp(-self.dt / np.array(OWN)), []
        for drive in self.driven[first:]:
            found.append(rng.random() < 1 / (1 + np.exp(-drive - own @ self.after)))
            own = (own + found[-1]) * decay
        return np.array(found)


def runs(draw: Callable[[], np.ndarray], trials: int, dt: float) -> list[eqsnn.Recording]:
    """Return recordings of independent draws."""
    return [from_dense(draw().reshape(1, -1, 1).astype(np.uint8), dt) for _ in range(trials)]


def scored(test: eqsnn.Recording, found: list[eqsnn.Recording], bits: float) -> dict[str, str]:
    """Return the row of a model: means over its runs."""
    each = [eqsnn.compare(test, run) for run in found]
    distance, gamma = (
        np.mean([s.van_rossum_score for s in each]),
        np.mean([s.gamma[0] for s in each]),
    )
    return {
        "bits per spike": f"{bits:.3f}",
        "van Rossum, 10 ms": f"{distance:.3f}",
        "Gamma, 2 ms": f"{gamma:.3f}",
        "rate error": f"{np.mean([rate_error(*s.rates) for s in each]):.3f}",
    }


def main() -> None:
    """Fit, score, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--trials", type=int, default=20, help="runs of GLM and Poisson")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if find_spec("nitime") is None:
        print(
            "nitime, which brings the recording, is not installed (pip install nitime); nothing to do",
            file=sys.stderr,
        )
        return
    from receptor_data import DURATION, TRAINED, delayed, latency, receptor  # noqa: PLC0415 (needs nitime)

    torch.set_num_threads(1)
    began, whole = time.monotonic(), receptor()
    whole = delayed(whole, latency(whole.window(0.0, TRAINED)))
    train, test, dt = whole.window(0.0, TRAINED), whole.window(TRAINED, DURATION), whole.dt
    border, spikes = round(TRAINED / dt), np.minimum(whole.dense(dt)[0], 1).astype(float)
    held, rng = spikes[border:], np.random.default_rng(0)
    null = bernoulli_log_likelihood(held, rate_logits(spikes[:border]))
    logistic = Logistic(whole.drive("stimulus", len(spikes), dt)[0, :, 0], spikes, border, dt)
    rows, shown = {}, {"recorded": test}
    for name, file in (("adaptive LIF", "adaptive_lif"), ("plain LIF", "plain_lif_receptor")):
        model = eqsnn.load(EXAMPLES.parent / f"models/{file}.eqs")
        noisy = eqsnn.fit(
            model,
            train,
            starts=options.starts,
            uncertainty=False,
            stages=(eqsnn.Forced(widths=WIDTHS, iterations=2 * options.iterations),),
        )
        stage = eqsnn.Forced(widths=(noisy.scores["escape_width"],))  # type: ignore[arg-type]
        found = log_likelihood(model, whole, noisy.parameters, stage=stage, since=TRAINED)
        stages = (
            eqsnn.Forced(iterations=options.iterations),
            eqsnn.Free(iterations=2 * options.iterations // 3),
        )
        fit = eqsnn.fit(model, train, starts=options.starts, uncertainty=False, stages=stages)
        free = eqsnn.simulate(
            fit.model, test.duration, inputs=whole, parameters=fit.parameters, after=train
        )
        rows[name], shown[name] = (
            scored(test, [free], bits_per_spike(found, null, held.sum())),
            free,
        )
        print(
            f"{name}: width {stage.levels[-1]}, {rows[name]}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    found = bernoulli_log_likelihood(held, logistic.logits()[border:, None])
    drawn = runs(lambda: logistic.run(border, rng), options.trials, dt)
    rows["GLM, stimulus and history"] = scored(test, drawn, bits_per_spike(found, null, held.sum()))
    shown["GLM"] = drawn[0]
    share = spikes[:border].mean()
    drawn = runs(lambda: rng.random(len(held)) < share, options.trials, dt)
    rows["Poisson with the right rate"] = scored(test, drawn, 0.0)
    said = f"{int(spikes[:border].sum())} spikes to learn from, {int(held.sum())} held out; {time.monotonic() - began:.0f} s"
    print(table(rows), said, sep="\n")
    if options.out:
        write_section(
            options.out,
            "receptor",
            f"{table(rows)}\n\n{said}.\n\n{raster_figure(options.out, 'receptor', shown)}",
        )


if __name__ == "__main__":
    main()
