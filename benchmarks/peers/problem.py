"""The work item that every peer carries out: its constants, its numbers, and a plain simulation of it.

A recurrent network of N leaky integrate-and-fire neurons in L lanes (independent copies with parameters of their own),
T steps of 1 ms in float32, and the van Rossum distance of each lane to one target. A peer gives, per evaluation, the
loss of each lane and the gradient of their sum with respect to W, v_rest, tau_m and tau_g; the gradient includes the
path through the initial value v = v_rest.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOAT = np.float32
Floats = NDArray[np.float32]
Result = tuple[Floats, dict[str, Floats]]
Work = Callable[[], Result]

THRESHOLD = -50.0  # mV
WIDTH = 0.1 * 20.0  # mV, of the surrogate derivative 1/(WIDTH*(1 + |v - THRESHOLD|/WIDTH)^2)
DT = 1.0  # ms
TAU_R = 10.0  # ms, of the van Rossum distance
KEEP_F = math.exp(-DT / TAU_R)
PARAMETERS = ("W", "v_rest", "tau_m", "tau_g")


@dataclass(frozen=True)
class Problem:
    """One work item; what belongs to a lane has the lanes innermost.

    Attributes:
        n: number of neurons.
        lanes: number of independent copies.
        steps: number of time steps.
        W: weights in mV, [post, pre, lane].
        v_rest: resting and reset potential in mV, [n, lane].
        tau_m: membrane time constant in ms, [n, lane].
        tau_g: decay of the synaptic trace in ms, [n, lane].
        drive: known input in mV, shared by the lanes, [steps, n].
        target: spikes to be matched, 0 or 1, shared by the lanes, [steps, n].
    """

    n: int
    lanes: int
    steps: int
    W: Floats
    v_rest: Floats
    tau_m: Floats
    tau_g: Floats
    drive: Floats
    target: Floats

    def parameters(self) -> dict[str, Floats]:
        """Return what the gradient is asked for, by name."""
        return {name: getattr(self, name) for name in PARAMETERS}


def make(n: int, lanes: int, steps: int, seed: int = 0) -> Problem:
    """Draw a network that fires at 5 to 30 Hz; the target is one more draw of it under the same drive.

    The drive alone brings the neurons to a few mV below threshold, its noise makes them fire, and the weights, of mean
    0 and scaled by 1/sqrt(n), keep the recurrent input alike at every n.
    """
    generator = np.random.default_rng(seed)
    drive = (10.0 + 18.0 * generator.standard_normal((steps, n))).astype(FLOAT)
    teacher = _draw(generator, n, 1)
    target = simulate(**teacher, drive=drive)[:, :, 0]
    return Problem(n, lanes, steps, **_draw(generator, n, lanes), drive=drive, target=target)


def simulate(W: Floats, v_rest: Floats, tau_m: Floats, tau_g: Floats, drive: Floats) -> Floats:
    """Return the spikes [steps, n, lane], step by step in numpy: slow, and the plainest statement of the network."""
    by_lane = np.ascontiguousarray(W.transpose(2, 0, 1))
    v, g = v_rest, np.zeros_like(v_rest)
    spikes = np.empty((len(drive), *v.shape), FLOAT)
    for t, now in enumerate(drive):
        current = now[:, None] + (by_lane @ g.T[:, :, None])[:, :, 0].T
        v = v + (v_rest - v + current) / tau_m
        z = (v >= THRESHOLD).astype(FLOAT)
        v = v + z * (v_rest - v)
        g = g - g / tau_g + z
        spikes[t] = z
    return spikes


def losses_of(spikes: Floats, target: Floats) -> Floats:
    """Return the van Rossum loss of each lane for spikes [steps, n, lane] and a target [steps, n]."""
    f = np.zeros(spikes.shape[1:], FLOAT)
    total = np.zeros(spikes.shape[2], FLOAT)
    for z, wanted in zip(spikes, target, strict=True):
        f = f * FLOAT(KEEP_F) + z - wanted[:, None]
        total += np.square(f).sum(0)
    return total


def rates(problem: Problem) -> tuple[float, float, float]:
    """Return the lowest, mean and highest rate in Hz over the lanes."""
    per_lane = simulate(**problem.parameters(), drive=problem.drive).mean((0, 1)) * 1000.0 / DT
    return float(per_lane.min()), float(per_lane.mean()), float(per_lane.max())


def _draw(generator: np.random.Generator, n: int, lanes: int) -> dict[str, Floats]:
    """Draw the parameters of some lanes."""
    shape = (n, lanes)
    drawn = {
        "W": 5.0 / math.sqrt(n) * generator.standard_normal((n, n, lanes)),
        "v_rest": -65.0 + generator.standard_normal(shape),
        "tau_m": generator.uniform(10.0, 20.0, shape),
        "tau_g": 5.0 + 0.5 * generator.uniform(-1.0, 1.0, shape),
    }
    return {name: value.astype(FLOAT) for name, value in drawn.items()}
