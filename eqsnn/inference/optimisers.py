"""Optimisers as init/step pairs with a named state, so that a run can be saved and resumed at any step."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor


class AdamState(NamedTuple):
    """First and second moments of each coordinate, and the number of steps taken."""

    mean: dict[str, Tensor]
    square: dict[str, Tensor]
    steps: int


def adam_init(z: Mapping[str, Tensor]) -> AdamState:
    """Return the state before the first step."""
    zeros = {name: torch.zeros_like(value) for name, value in z.items()}
    return AdamState(zeros, dict(zeros), 0)


def adam_step(
    z: Mapping[str, Tensor],
    gradient: Mapping[str, Tensor],
    state: AdamState,
    *,
    learning_rate: float,
    forget: tuple[float, float] = (0.9, 0.99),
) -> tuple[dict[str, Tensor], AdamState]:
    """One step of Adam on every element: its step size adapts to each parameter and restart by itself.

    A restart (last dimension) whose gradient is not finite stays where it is. Source: Kingma & Ba 2015,
    arXiv:1412.6980.
    """
    steps = state.steps + 1
    mean, square, moved = {}, {}, {}
    for name, value in z.items():
        g = torch.nan_to_num(gradient[name], nan=0.0, posinf=0.0, neginf=0.0)
        mean[name] = forget[0] * state.mean[name] + (1 - forget[0]) * g
        square[name] = forget[1] * state.square[name] + (1 - forget[1]) * g.square()
        step = (mean[name] / (1 - forget[0] ** steps)) / (
            (square[name] / (1 - forget[1] ** steps)).sqrt() + 1e-12
        )
        moved[name] = value - learning_rate * step
    return moved, AdamState(mean, square, steps)
