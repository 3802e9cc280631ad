"""Independent draws of the model, and squares that the draws' own variance does not enter."""

from collections.abc import Sequence

from torch import Tensor

from eqsnn.errors import InputError


def unbiased_square(draws: Sequence[Tensor], target: Tensor) -> Tensor:
    """(d - target)^2 of a single draw, (d1 - target)(d2 - target) of two: the shape of a draw, in its unit squared.

    Over independent d1 and d2 the product has the expectation (E d - target)^2, so it is smallest where the mean is
    right; E (d - target)^2 is larger by the variance of d, which a model can lower by being wrong. The product may be
    negative. Raises InputError for another number of draws.
    """
    if not 1 <= len(draws) <= 2:
        raise InputError(f"{len(draws)} draws of the model; one or two are expected")
    return (draws[0] - target) * (draws[-1] - target)
