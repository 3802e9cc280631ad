"""Models in Brian2's syntax, written for the census: TEXTS are functions that build them."""

from tests.exchange.corpus import neurons

TEXTS = (*neurons.TEXTS,)
