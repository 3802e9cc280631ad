"""Models in Brian2's syntax, written for the census: TEXTS are functions that build them."""

from tests.exchange.corpus import inputs, neurons, synapses

TEXTS = (*neurons.TEXTS, *inputs.TEXTS, *synapses.TEXTS)
