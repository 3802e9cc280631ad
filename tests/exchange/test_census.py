"""Every text of the corpus means in eqsnn what it means in Brian2, spike for spike."""

import pytest

pytest.importorskip("brian2")

from tests.exchange.census import compare
from tests.exchange.corpus import TEXTS
from tests.exchange.package import census_of_the_package

FEWEST = 20  # spikes of a spiking text

# texts that cannot match yet, and why; to be emptied
NOT_YET: dict[str, str] = {}


@pytest.mark.parametrize("text", [pytest.param(text, id=text.__name__) for text in TEXTS])
def test_a_text_in_brian2_syntax_runs_alike_in_both(text):
    if text.__name__ in NOT_YET:
        pytest.skip(NOT_YET[text.__name__])
    found = compare(text)
    print(found)
    assert found.matches, str(found)
    assert found.spikes == 0 or found.spikes >= FEWEST


def test_the_corpus_is_large_and_its_names_are_its_own():
    names = [text.__name__ for text in TEXTS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)
    assert all(text.__doc__ for text in TEXTS)


def test_nothing_waits_for_a_construct_that_is_not_in_the_corpus():
    assert set(NOT_YET) <= {text.__name__ for text in TEXTS}


@pytest.mark.slow
def test_the_neuron_models_in_brian2s_own_package_run_alike_in_both():
    found = census_of_the_package()
    differing = [o.name for o in found.outcomes if not o.matches and not o.is_random]
    assert not differing
    assert sum(o.matches for o in found.outcomes) >= 60
