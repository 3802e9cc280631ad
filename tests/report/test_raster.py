"""The raster of a page holds the spikes of the recording."""

import base64
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from eqsnn.report.raster import MOST_SPIKES, NO_UNIT, TICK_S, raster_data, still
from eqsnn.simulation.recording import Recording

SVG = "{http://www.w3.org/2000/svg}"


def recording(times, units, duration, trials=None, n_units=5) -> Recording:
    ids = np.zeros(len(times), int) if trials is None else trials
    n_trials = int(np.max(ids, initial=0)) + 1
    return Recording(
        np.asarray(times, float),
        np.asarray(units),
        np.asarray(ids),
        duration,
        1e-3,
        n_units,
        n_trials,
    )


def unpacked(text: str) -> tuple[np.ndarray, np.ndarray]:
    """Read as the page's script does: gaps in ticks, then units, of which one stands for a pause."""
    both = np.frombuffer(base64.b64decode(text), "<u2").astype(np.int64)
    gaps, units = both[: len(both) // 2], both[len(both) // 2 :]
    return (np.cumsum(gaps) * TICK_S)[units != NO_UNIT], units[units != NO_UNIT]


@pytest.mark.parametrize("duration", [1.0, 100.0, 2000.0])
def test_packed_spikes_are_those_of_the_recording_also_after_long_pauses(duration):
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(0, duration, 40))
    units = rng.integers(0, 5, 40)
    ((packed,),) = raster_data([recording(times, units, duration)], ["a"]).trains
    found, of = unpacked(packed)
    assert found == pytest.approx(times, abs=TICK_S)
    assert of.tolist() == units.tolist()


def test_a_recording_without_spikes_is_an_empty_raster():
    ((packed,),) = raster_data([recording([], [], 3.0)], ["a"]).trains
    assert unpacked(packed)[0].size == 0


def test_trials_are_kept_apart_and_a_few_are_enough():
    times, units, trials = np.tile([0.1, 0.2], 9), np.tile([0, 1], 9), np.repeat(np.arange(9), 2)
    data = raster_data([recording(times, units, 1.0, trials)], ["a"])
    assert len(data.trains) == 4
    assert "the first 4 of 9 trials" in data.note
    assert all(unpacked(trial[0])[1].tolist() == [0, 1] for trial in data.trains)


def test_too_many_spikes_are_cut_after_whole_seconds_for_both_and_it_is_said():
    rng = np.random.default_rng(0)
    n = 3 * MOST_SPIKES
    many = recording(np.sort(rng.uniform(0, 60, n)), rng.integers(0, 5, n), 60.0)
    few = recording([0.5, 40.0], [0, 1], 60.0)
    data = raster_data([many, few], ["many", "few"])
    assert data.seconds == np.floor(data.seconds) and 18 <= data.seconds <= 20
    assert f"the first {data.seconds:g} of 60 s" in data.note
    found, _ = unpacked(data.trains[0][0])
    inside = many.spike_times <= data.seconds
    assert len(found) == inside.sum() <= MOST_SPIKES
    assert unpacked(data.trains[0][1])[0] == pytest.approx([0.5])


def test_the_still_raster_has_a_stroke_for_each_spike_at_its_time():
    pair = [recording([0.1, 1.0, 3.9], [0, 4, 2], 4.0), recording([2.0], [1], 4.0)]
    tree = ET.fromstring(still(pair, ["a <b>", "c"], width=442))
    first, second = (tree.find(f"{SVG}path[@class='spikes{k}']") for k in (0, 1))
    assert first is not None and second is not None
    strokes = [part.split("v")[0].split() for part in first.attrib["d"].split("M")[1:]]
    # 400 pixels for 4 s, to the right of the numbers of neurons
    assert [float(x) for x, _ in strokes] == pytest.approx([34 + 10, 34 + 100, 34 + 390])
    heights = [float(y) for _, y in strokes]
    assert heights[0] > heights[2] > heights[1], "neuron 0 lies at the bottom"
    assert second.attrib["d"].count("M") == 1
    assert "a <b>" in [text.text for text in tree.iter(f"{SVG}text")]
