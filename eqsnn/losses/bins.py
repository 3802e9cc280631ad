"""Spikes counted in bins of several steps."""

from torch import Tensor
from torch.nn.functional import pad

from eqsnn.errors import InputError


def steps_of(width: float, dt: float, name: str) -> int:
    """Return how many steps of dt make up a bin, both in seconds. Raises InputError unless it is a whole number."""
    steps = round(width / dt)
    if steps < 1 or abs(steps * dt - width) > 1e-6 * width:
        raise InputError(
            f"{name} = {width:g} s is no multiple of the step of {dt:g} s; a whole number of steps is expected"
        )
    return steps


def binned(values: Tensor, steps: int) -> Tensor:
    """Sum `steps` steps at a time along the first dimension: (bin, ...); the last bin may be of fewer steps."""
    padding = (0, 0) * (values.dim() - 1) + (0, -len(values) % steps)
    return pad(values, padding).unflatten(0, (-1, steps)).sum(1)
