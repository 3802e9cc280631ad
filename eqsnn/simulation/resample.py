"""Known drives on other time steps, and how a duration is cut into steps."""

import math

import numpy as np
from numpy.typing import NDArray

from eqsnn.errors import InputError

Array = NDArray[np.float64]


def whole_steps(duration: float, dt: float) -> int:
    """Return how many steps of `dt` cover `duration`: rounded within 1e-4 of a step, else up."""
    steps = duration / dt
    return round(steps) if abs(steps - round(steps)) < 1e-4 else math.ceil(steps)


def time_axis(values: Array) -> int:
    """Return where time is in (time,), (time, neuron) or (trial, time, neuron)."""
    return 1 if values.ndim == 3 else 0


def resample(values: Array, own: float, dt: float, n_steps: int) -> Array:
    """Return a drive sampled every `own` seconds on `n_steps` steps of `dt`, time staying on its axis.

    A coarser drive is held until its next sample. A finer one is averaged over each step, taken as constant between
    its samples, which keeps its integral; up to half a missing sample at the end is made up by the last one.
    Raises IndexError if the samples do not last for `n_steps`.
    """
    axis = time_axis(values)
    samples = np.moveaxis(values, axis, 0)
    ratio, n_samples = dt / own, len(samples)
    whole = round(ratio)
    if n_steps * ratio > n_samples + 0.5:
        raise IndexError(
            f"{n_samples} samples of {own:g} s do not last for {n_steps} steps of {dt:g} s"
        )
    if abs(ratio - whole) * n_steps < 1e-6 and whole >= 1 and whole * n_steps <= n_samples:
        means = samples[: whole * n_steps].reshape(n_steps, whole, *samples.shape[1:]).mean(1)
    elif ratio < 1:
        index = np.floor(np.arange(n_steps) * ratio + 1e-6).astype(int)
        means = samples[np.minimum(index, n_samples - 1)]
    else:
        means = _averages(samples, np.minimum(np.arange(n_steps + 1) * ratio, n_samples))
    return np.moveaxis(means, 0, axis)


def _averages(samples: Array, edges: Array) -> Array:
    """Average a piecewise constant function between edges counted in samples."""
    shape = (-1, *[1] * (samples.ndim - 1))
    integral = np.concatenate([np.zeros_like(samples[:1]), np.cumsum(samples, axis=0)])
    before = np.floor(edges).astype(int)
    part = (edges - before).reshape(shape)
    at_edges = integral[before] + part * samples[np.minimum(before, len(samples) - 1)]
    return np.diff(at_edges, axis=0) / np.diff(edges).reshape(shape)


def cut(values: Array, own: float, dt: float, start: float, stop: float) -> tuple[Array, float]:
    """Return the samples between `start` and `stop` seconds, and their step.

    If `start` lies between two samples of a drive, it is put on steps of `dt` first. Raises InputError if `start` lies
    between two steps of `dt` too.
    """
    if not _on_grid(start, own):
        if not _on_grid(start, dt):
            raise InputError(
                f"the window starts at {start:g} s, between two steps of {dt:g} s; start it at a step"
            )
        values, own = resample(values, own, dt, whole_steps(stop, dt)), dt
    kept = slice(round(start / own), whole_steps(stop, own))
    return (values[:, kept] if values.ndim == 3 else values[kept]), own


def _on_grid(time: float, step: float) -> bool:
    return abs(time / step - round(time / step)) < 1e-3
