"""estimates: learned parameters of a fit with everything that is known about each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eqsnn.inference.result import Fit
from eqsnn.report.numbers import unit

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One learned parameter with what is known about it; arrays of its shape, in its unit, None where unknown."""

    name: str
    unit: str
    value: Array
    std: Array | None
    low: Array | None
    high: Array | None
    truth: Array | None
    start: Array | None
    bounds: tuple[float, float]

    @property
    def label(self) -> str:
        """The name of the parameter with its unit, for an axis."""
        shown = unit(self.unit)
        return self.name.rsplit(".", 1)[-1] + (f" ({shown})" if shown else "")

    @property
    def exists(self) -> NDArray[np.bool_]:
        """Which elements there are: synapses that do not exist have no standard error."""
        return np.isfinite(self.std) if self.std is not None else np.ones(self.value.shape, bool)


def estimates_of(fit: Fit) -> list[Estimate]:
    """Return every learned parameter of a fit."""
    units = {name: p.unit.name for name, p in fit.model.parameters().items()}
    doubt, shape = fit.uncertainty, {n: fit.parameters[n].shape for n in fit.learned}
    return [
        Estimate(
            name=name,
            unit=units[name],
            value=fit.parameters[name],
            std=doubt.std.get(name),
            low=doubt.low.get(name),
            high=doubt.high.get(name),
            truth=_shaped(fit.truth.get(name), shape[name]),
            start=_shaped(fit.start.get(name), shape[name]),
            bounds=fit.bounds.get(name, (-np.inf, np.inf)),
        )
        for name in fit.learned
    ]


def _shaped(values: Array | None, shape: tuple[int, ...]) -> Array | None:
    return None if values is None else np.broadcast_to(np.asarray(values, float), shape)
