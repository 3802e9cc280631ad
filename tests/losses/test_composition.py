"""A loss from text to value and back, and what a user reads when the text is wrong."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eqsnn.errors import InputError
from eqsnn.losses import TERMS, Loss, parse_loss
from eqsnn.losses.terms import (
    Autocorrelogram,
    Crosscorrelogram,
    Energy,
    PlainVanRossum,
    Psth,
    Rate,
    Sample,
    VanRossum,
)

TIMES = st.floats(1e-9, 1e6)
BINS = st.tuples(st.floats(1e-6, 1.0), st.floats(1, 1e3)).map(lambda p: (p[0] * p[1], p[0]))
TAUS = st.lists(TIMES, min_size=1, max_size=4).map(tuple)
TERM = st.one_of(
    *(st.builds(TERMS[name], tau=TAUS) for name in ("van_rossum", "plain_van_rossum", "energy")),
    st.just(Rate()),
    st.builds(Psth, bin=TIMES, sigma=TIMES),
    *(
        BINS.map(lambda p, kind=kind: kind(lag=p[0], bin=p[1]))
        for kind in (Autocorrelogram, Crosscorrelogram)
    ),
)
LOSS = st.lists(st.tuples(st.floats(1e-300, 1e300), TERM), min_size=1, max_size=5).map(
    lambda parts: Loss(tuple(parts))
)


@given(LOSS)
def test_a_loss_is_what_its_text_says(loss):
    text = str(loss)
    assert parse_loss(text) == loss
    assert str(parse_loss(text)) == text


@given(st.text(max_size=60) | st.text("van_rossum energy(tau=1.5ms,)+*0e-s", max_size=60))
def test_any_text_is_a_loss_or_an_error_that_explains(text):
    try:
        parse_loss(text)
    except InputError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("van_rossum", VanRossum((0.01,))),
        ("van_rossum()", VanRossum((0.01,))),
        (" van_rossum ( tau = 10 ms ) ", VanRossum((0.01,))),
        ("van_rossum(tau=0.002s,12ms,100000us)", VanRossum((0.002, 0.012, 0.1))),
        ("plain_van_rossum(tau=1e1ms)", PlainVanRossum((0.01,))),
        ("energy(tau=20ms)", Energy((0.02,))),
        ("rate", Rate()),
        ("psth(bin=20ms)", Psth(0.02, 0.02)),
        ("psth(sigma=30ms, bin=.005s)", Psth(0.005, 0.03)),
        ("autocorrelogram(lag=50ms, bin=5ms)", Autocorrelogram(0.05, 0.005)),
    ],
)
def test_each_way_to_write_a_term(text, expected):
    assert parse_loss(text) == Loss.of(expected)


def test_terms_add_up_with_their_weights():
    found = parse_loss("van_rossum(tau=2ms,12ms,100ms) + 0.1*rate+.5 * psth(bin=20ms)")
    value = Loss.of(VanRossum((0.002, 0.012, 0.1))) + 0.1 * Loss.of(Rate()) + 0.5 * Loss.of(Psth())
    assert found == value
    assert (
        str(found) == "van_rossum(tau=2ms,12ms,100ms) + 0.1*rate + 0.5*psth(bin=20ms, sigma=20ms)"
    )


def test_a_default_tau_is_for_terms_that_name_none():
    found = parse_loss("van_rossum + energy(tau=5ms) + rate", tau=0.03)
    assert found == Loss.of(VanRossum((0.03,)), Energy((0.005,)), Rate())


@pytest.mark.parametrize(
    ("text", "column", "found", "expected"),
    [
        ("", 1, "the end", "one of van_rossum"),
        ("van_rosum", 1, "`van_rosum`", "one of van_rossum, plain_van_rossum"),
        ("van_rossum +", 13, "the end", "one of"),
        ("van_rossum rate", 12, "`rate`", "`+` and a further term, or the end"),
        ("rate - rate", 6, "`-`", "`+` and a further term"),
        ("2 rate", 3, "`rate`", "`*` between a weight and its term"),
        ("0*rate", 1, "`0`", "a weight above 0"),
        ("-1*rate", 1, "`-`", "one of"),
        ("van_rossum(10ms)", 12, "`10`", "`tau=`"),
        ("van_rossum(tau)", 15, "`)`", "`=` after `tau`"),
        ("van_rossum(tau=)", 16, "`)`", "a time"),
        ("van_rossum(tau=10)", 18, "`)`", "a unit of time after 10: s, ms, us"),
        ("van_rossum(tau=10mV)", 18, "`mV`", "a unit of time"),
        ("van_rossum(tau=0ms)", 16, "`0`", "a time above 0"),
        ("van_rossum(tau=1ms,)", 20, "`)`", "a time"),
        ("van_rossum(tau=1ms", 19, "the end", "`,` or `)`"),
        ("van_rossum(tau=1ms, tau=2ms)", 21, "`tau`", "`)`"),
        ("van_rossum(bin=1ms)", 12, "`bin`", "`tau=`"),
        ("rate(tau=1ms)", 6, "`tau`", "`)`: rate takes no arguments"),
        ("psth(bin=1ms,2ms)", 14, "`2`", "`sigma=`"),
        ("rate + autocorrelogram(lag=1ms, bin=5ms)", 8, "lag = 0.001 s", "at least one bin"),
        ("__import__('os')", 1, "`__import__`", "one of"),
    ],
)
def test_a_wrong_text_shows_the_place_what_was_found_and_what_was_expected(
    text, column, found, expected
):
    with pytest.raises(InputError) as caught:
        parse_loss(text)
    message, line, caret = str(caught.value).splitlines()
    assert message.startswith(f"loss, column {column}: found {found}")
    assert f"expected {expected}" in message
    assert line == f"  {text}"
    assert caret.index("^") == column + 1


@pytest.mark.parametrize("text", ["rate\n+ rate", "rate" + " + rate" * 1000])
def test_a_loss_is_one_line_of_reasonable_length(text):
    with pytest.raises(InputError, match="one line"):
        parse_loss(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VanRossum(()),
        lambda: VanRossum((0.01, -1.0)),
        lambda: Psth(float("nan")),
        lambda: Autocorrelogram(lag=0.001, bin=0.002),
        lambda: Loss(()),
        lambda: -1.0 * Loss.of(Rate()),
    ],
)
def test_values_that_make_no_loss_are_refused(make):
    with pytest.raises(InputError, match="expected"):
        make()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("van_rossum(tau=0.1ms)", "shorter than one step"),
        ("psth(bin=1.5ms)", "no multiple of the step"),
        ("autocorrelogram(lag=10ms, bin=0.1ms)", "no multiple of the step"),
    ],
)
def test_times_that_the_step_cannot_resolve_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        parse_loss(text).check(1e-3)
    parse_loss(text).check(1e-4)


def test_lags_longer_than_a_run_and_pairs_of_one_neuron_are_refused():
    with pytest.raises(InputError, match=r"does not fit into runs of 0\.04 s"):
        parse_loss("rate + autocorrelogram").check(1e-3, seconds=0.04)
    with pytest.raises(InputError, match="1 neuron; at least 2"):
        parse_loss("crosscorrelogram").check(1e-3, neurons=1)


def test_a_sum_is_the_weighted_sum_of_its_terms():
    generator = torch.Generator().manual_seed(0)
    first, second, target = (
        (torch.rand(300, 2, restarts, 2, 3, generator=generator) < 0.05).double()
        for restarts in (4, 4, 1)
    )
    sample = Sample((first, second), target, torch.ones(300, 1, 1, 2, 3).double(), 1e-3)
    loss = parse_loss("van_rossum + 0.5*rate + 2*energy")
    expected = sum(weight * term(sample) for weight, term in loss.parts)
    assert torch.allclose(loss(sample), torch.as_tensor(expected))
    assert loss(sample).shape == (4,)
