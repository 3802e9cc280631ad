"""A 102-neuron LIF network fitted to a recording of the Aplysia pedal ganglion by teacher forcing.

Usage: python examples/aplysia.py RECORDING.npz [--iterations 40]. The recording (Bruno, Frost & Humphries 2015,
doi:10.1016/j.neuron.2015.03.005) is not part of the project; without the file the example says so and ends. Scores
on the last fifth: log-likelihood of the spikes one step ahead, per spike, against neurons that fire at random with
their own rates, and the network running freely. The network has no input and starts from rest.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import eqsnn

MODEL = """
neuron cell:
    dv/dt = (drift - v + I_syn)/tau_m : mV
    dg/dt = -g/tau_g : 1
    I_syn : mV
    threshold: v >= v_th
    reset:
        v = 0*mV
        g += 1
    method: exact
    v_th  : mV = 15*mV
    drift : mV ~ normal(0*mV, 6*mV) in [-60*mV, 30*mV]
    tau_m : ms ~ lognormal(100*ms, 0.7) in [20*ms, 1000*ms]
    tau_g : ms ~ lognormal(200*ms, 0.7) in [30*ms, 2000*ms]

synapse exponential:
    I_syn_post = w*g_pre : mV (summed)
    w : mV ~ normal(0*mV, 0.5*mV) in [-10*mV, 10*mV]

network:
    dt = 10*ms
    cells : cell
    cells -> cells : exponential if i != j
"""
HELD_OUT = 0.2


def poisson_log_likelihood(train: eqsnn.Recording, test: eqsnn.Recording, dt: float) -> float:
    """Return the log-likelihood per neuron and step of independent neurons with the rates of the training part."""
    p = np.clip(train.dense(dt)[0].mean(0), 0.5 / train.dense(dt).shape[1], 1 - 1e-9)
    spikes = test.dense(dt)[0]
    return float((spikes * np.log(p) + (1 - spikes) * np.log1p(-p)).mean())


def main() -> None:
    """Fit and score."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--iterations", type=int, default=40)
    arguments = parser.parse_args()
    if not arguments.recording.exists():
        print(f"{arguments.recording}: not here; nothing to do", file=sys.stderr)
        return
    torch.set_num_threads(1)
    dt = 0.010
    whole = eqsnn.load_targets(arguments.recording)
    # a grid of 10 ms holds nearly every spike of these slow neurons; the rest counts once
    target = replace(
        whole, dt=dt, duration=int(whole.duration / dt) * dt, inputs={}, input_dt={}, traces={}
    )
    border = round(target.duration * (1 - HELD_OUT) / dt) * dt
    train, test = target.window(0.0, border), target.window(border, target.duration)
    stage = eqsnn.Forced(
        widths=(0.3, 0.2),
        iterations=arguments.iterations,
        learning_rate=0.1,
        window=4.0,
        warm_up=1.0,
        keep=1,
    )
    fit = eqsnn.fit(eqsnn.loads(MODEL), target, starts=1, stages=(stage,), validation=HELD_OUT)
    null = poisson_log_likelihood(train, test, dt)
    steps = test.n_units * test.dense(dt).shape[1]
    per_spike = steps / test.dense(dt).sum()
    fitted = float(fit.scores["forced_log_likelihood_per_step"])  # type: ignore[arg-type]
    print(
        f"{train.n_units} neurons, {len(train.spike_times)} spikes to learn from, {len(test.spike_times)} held out"
    )
    print(
        f"log-likelihood per held-out spike: Poisson {null * per_spike:.3f}, network {fitted * per_spike:.3f}"
    )
    print(
        f"gain {(fitted - null) * per_spike / np.log(2):.3f} bit per spike, {fit.seconds:.0f} s, {fit.status.value}"
    )
    free = eqsnn.simulate(fit.model, test.duration, parameters=fit.parameters)
    print(
        f"running freely without input: {free.rates().mean():.2f} Hz, recorded {test.rates().mean():.2f} Hz"
    )


if __name__ == "__main__":
    main()
