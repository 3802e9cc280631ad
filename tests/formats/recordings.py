"""Recordings that the tests of formats write and read back, and what it means that they are the same."""

import numpy as np
from numpy.testing import assert_allclose

from eqsnn.simulation.recording import Recording


def recording(**changes) -> Recording:
    """Two trials of 2 s of four units, the last one silent, with a gap of all and one of a unit, and drives."""
    rng = np.random.default_rng(3)
    trials, units, steps = np.nonzero(rng.random((2, 3, 2000)) < 0.02)
    times = steps * 1e-3
    hidden = ((times >= 0.5) & (times < 0.7)) | ((trials == 1) & (units == 2) & (times >= 1.5))
    values = {
        "spike_times": times[~hidden],
        "unit_ids": units[~hidden],
        "trial_ids": trials[~hidden],
        "duration": 2.0,
        "dt": 1e-3,
        "n_units": 4,
        "n_trials": 2,
        "inputs": {"I_ext": rng.normal(size=(2, 400, 4)), "light": rng.normal(size=2000)},
        "input_dt": {"I_ext": 5e-3},
        "traces": {"cells.v": rng.normal(size=(2, 2000, 4))},
        "unit_names": ("a", "b", "c", "silent"),
        "description": "made up",
        "gaps": np.array([[-1, 0.5, 0.7, -1], [1, 1.5, 2.0, 2]]),
    }
    return Recording(**{**values, **changes})  # type: ignore[arg-type]


def plain(**changes) -> Recording:
    """The same as one trial without drives, traces and gaps."""
    nothing = {"inputs": {}, "input_dt": {}, "traces": {}, "gaps": np.zeros((0, 4))}
    return recording(**nothing).trials([0]) if not changes else recording(**{**nothing, **changes})


def assert_same_spikes(a: Recording, b: Recording, atol: float = 0.0) -> None:
    """Spikes, sizes and length are equal."""
    assert (a.n_units, a.n_trials) == (b.n_units, b.n_trials)
    assert_allclose(a.duration, b.duration, rtol=0, atol=atol)
    for one, other in zip(a.trains(), b.trains(), strict=True):
        for x, y in zip(one, other, strict=True):
            assert len(x) == len(y)
            assert_allclose(x, y, rtol=0, atol=atol)


def assert_same_observation(a: Recording, b: Recording) -> None:
    """The same steps of the same units were observed."""
    assert_allclose(a.observed_seconds(), b.observed_seconds(), rtol=0, atol=1e-9)
    assert np.array_equal(a.seen(1e-3), b.seen(1e-3))


def assert_same_drives(a: Recording, b: Recording) -> None:
    """Drives mean the same on every step of every trial, traces are equal."""
    assert a.inputs.keys() == b.inputs.keys()
    for name in a.inputs:
        one, other = (
            np.broadcast_to(d, (a.n_trials, *d.shape[1:]))
            for d in (r.drive(name, 1000, 1e-3) for r in (a, b))
        )
        assert_allclose(one, other, rtol=1e-12)
    assert a.traces.keys() == b.traces.keys()
    for name in a.traces:
        assert_allclose(a.traces[name], b.traces[name], rtol=0)
