"""The network of aplysia.eqs: how a GLM reads in its units, and its fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from glm import Glm

import eqsnn

NOISE, THRESHOLD, CAP = 2.0, 10.0, 20.0  # mV; the first two as in aplysia.eqs
QUICK = 0.006  # s, the membrane at the start: as quick as a GLM
MODEL = Path(__file__).parent / "aplysia.eqs"


def silenced(recording: eqsnn.Recording) -> eqsnn.Recording:
    """Return the recording with no jitter of the threshold: the likelihood's logistic width stands for it."""
    none = np.zeros(round(recording.duration / recording.dt))
    return replace(recording, inputs={"jitter": none}, input_dt={"jitter": recording.dt})


def start_of(glm: Glm, *, plain: bool) -> dict[str, np.ndarray]:
    """Return the GLM in the units of the network: 1 of its log-odds is `NOISE` of potential."""
    scales = np.sqrt(glm.ridge) / glm.spread * NOISE
    n, history = len(glm.bias), -NOISE * glm.own
    start = {"cells.E": THRESHOLD + NOISE * glm.bias, "cells.cap": np.full(n, CAP)}
    if plain:  # the reset has to do what the currents did
        start["cells.E"] = start["cells.E"] - (history * glm.own_mean).sum(0)
    for name, tau in zip(("m", "f", "s"), (0.1 if plain else QUICK, *glm.taus[0]), strict=True):
        start[f"cells.tau_{name}"] = np.full(n, tau * 1e3)
    for k, name in enumerate("abcd"):
        if not plain:
            start |= {
                f"cells.q_{name}": history[k],
                f"cells.tau_{name}": np.full(n, glm.taus[1][k] * 1e3),
            }
    for k, name in enumerate(("fast", "slow")):
        start[f"cells->cells:{name}.w"] = NOISE * glm.couple[k] / scales[k]
    return start


def fit_network(
    train: eqsnn.Recording, glm: Glm, iterations: int, skip: float, *, plain: bool
) -> tuple[eqsnn.Fit, eqsnn.Forced]:
    """Fit the network, or with `plain` one without afterhyperpolarising currents, with the ridge as prior; skip: first seconds."""
    scales = np.sqrt(glm.ridge) / glm.spread * NOISE
    known = {
        "cells.r": train.rates(),
        "cells->cells:fast.scale": scales[0],
        "cells->cells:slow.scale": scales[1],
    }
    for name in "abcd" if plain else "":
        known |= {f"cells.q_{name}": 0.0, f"cells.tau_{name}": 100.0}
    stage = eqsnn.Forced(
        widths=(NOISE / THRESHOLD,), iterations=iterations, learning_rate=0.02, final_rate=0.1,
        window=train.duration, warm_up=skip, keep=1, prior=True,
    )  # fmt: skip
    model = eqsnn.load(MODEL).sized(train.n_units).with_values(known)
    start = start_of(glm, plain=plain)
    return eqsnn.fit(
        model,
        silenced(train),
        starts=1,
        stages=(stage,),
        validation=0.0,
        uncertainty=False,
        start=start,
    ), stage
