"""pynapple's groups of spike trains, built and read by pynapple itself."""

import importlib
from typing import Any

import numpy as np
import pytest

import eqsnn
from eqsnn.errors import InputError
from tests.formats.recordings import assert_same_observation, assert_same_spikes, plain, recording

nap: Any = importlib.import_module("pynapple")  # its types do not say what a group holds


def group(support=((10.0, 20.0), (25.0, 30.0))):
    rng = np.random.default_rng(2)
    epochs = nap.IntervalSet(start=[a for a, _ in support], end=[b for _, b in support])
    made = {key: nap.Ts(np.sort(rng.uniform(10, 30, 80))) for key in (3, 8)}
    return nap.TsGroup(made, time_support=epochs, metadata={"area": np.array(["CA1", "CA3"])})


def test_the_time_support_is_the_trial_and_what_lies_between_a_gap():
    made = group()
    found = eqsnn.from_pynapple(made)
    assert (found.n_units, found.n_trials, found.duration) == (2, 1, 20.0)
    assert found.gaps.tolist() == [[0, 10, 15, -1]]
    assert found.unit_names == ("3", "8")
    for unit, key in enumerate((3, 8)):
        assert np.allclose(found.train(unit), made[key].times() - 10, rtol=0, atol=1e-12)


def test_the_rates_over_observed_time_are_those_of_pynapple():
    made = group()
    assert np.allclose(eqsnn.from_pynapple(made).rates(), np.asarray(made.rates))


def test_intervals_can_be_trials_and_metadata_name_the_units():
    made = group(((10.0, 30.0),))
    epochs = nap.IntervalSet(start=[11.0, 20.0], end=[14.0, 22.0])
    found = eqsnn.from_pynapple(made, trials=epochs, name="area")
    assert (found.n_trials, found.duration, found.unit_names) == (2, 3.0, ("CA1", "CA3"))
    for k in range(2):
        for unit, key in enumerate((3, 8)):
            own = made[key].restrict(epochs[k]).times() - epochs.start[k]
            assert np.allclose(found.train(unit, k), own, rtol=0, atol=1e-12)
    assert np.allclose(found.observed_seconds()[:, 0], [3, 2])


def test_a_recording_survives_a_group_with_gaps_and_silent_units():
    made = plain(gaps=recording().gaps[:1]).trials([0])
    found = eqsnn.from_pynapple(eqsnn.to_pynapple(made), name="unit_name")
    assert_same_spikes(found, made, atol=1e-9)
    assert_same_observation(found, made)
    assert found.unit_names == made.unit_names


def test_one_trial_of_several_has_to_be_chosen():
    with pytest.raises(InputError, match="2 trials, a TsGroup one timeline"):
        eqsnn.to_pynapple(recording())
    chosen = eqsnn.from_pynapple(eqsnn.to_pynapple(recording(traces={}, inputs={}), trial=0))
    assert_same_spikes(chosen, recording().trials([0]), atol=1e-9)


def test_gaps_of_single_units_are_refused():
    with pytest.raises(InputError, match="one time support"):
        eqsnn.to_pynapple(recording(), trial=1)


@pytest.mark.parametrize("thing", [np.arange(3.0), {}, "spikes"])
def test_what_is_no_group_is_refused(thing):
    with pytest.raises(InputError, match="holds no spike trains"):
        eqsnn.from_pynapple(thing)
