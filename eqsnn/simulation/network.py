"""SpikingModel: a checked model together with the values its parameters have been given; what `eqsnn.load` returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from eqsnn.compiler import STAGES, model_from_text, read_model
from eqsnn.errors import InputError
from eqsnn.files import read_arrays
from eqsnn.language.model import Model
from eqsnn.simulation import setup
from eqsnn.simulation.module import StepModule
from eqsnn.simulation.parameters import Parameter, learn, parameters_of, set_values


@dataclass(frozen=True, slots=True)
class SpikingModel:
    """A model file, checked, with parameter values on top of it.

    `values`: known values by `group.parameter` or `parameter`, in the units of the file. `learned`: parameters made
    unknown although the file gives them a value.
    """

    definition: Model
    values: Mapping[str, ArrayLike] = field(default_factory=dict)
    learned: tuple[str, ...] = ()

    def sized(self, n_units: int) -> "SpikingModel":
        """Return the model with the open population size made to fit `n_units` spiking neurons in all."""
        return replace(self, definition=setup.with_size(self.definition, n_units))

    def with_values(self, values: Mapping[str, ArrayLike]) -> "SpikingModel":
        """Return the model with further known values."""
        return replace(self, values={**self.values, **values})

    def learning(self, names: Sequence[str]) -> "SpikingModel":
        """Return the model with these parameters unknown."""
        return replace(self, learned=(*self.learned, *names))

    @property
    def is_sized(self) -> bool:
        """Whether every population has a size."""
        return all(
            population.size is not None for population in self.definition.populations.values()
        )

    def parameters(self) -> dict[str, Parameter]:
        """Return every parameter; the sizes of all populations must be known."""
        found = parameters_of(self.definition)
        found = set_values(found, self.file_values())
        found = learn(found, self.learned)
        return set_values(found, self.values)

    def file_values(self) -> dict[str, NDArray]:
        """Return the arrays of the model's own file of values."""
        if self.definition.values_file is None:
            return {}
        return read_arrays(Path(self.definition.path).parent / self.definition.values_file)

    def near(
        self, values: Mapping[str, ArrayLike], share: float, starts: int, seed: int
    ) -> dict[str, NDArray]:
        """Return starts around given values, (start, ...): each element times 1 + share*U(-1, 1).

        Weights of projections move by share times the standard deviation of all their values instead, so that zero
        weights move too; bounds are kept.
        """
        rng = np.random.default_rng(seed)
        found = {}
        for name, parameter in self.parameters().items():
            if not parameter.learned or name not in values:
                continue
            value = np.broadcast_to(np.asarray(values[name], float), parameter.shape)
            scatter = rng.uniform(-1, 1, (starts, *parameter.shape))
            of_weights = "->" in name
            scale = share * (_spread_of_weights(values) if of_weights else np.abs(value))
            low, high = parameter.low / parameter.unit.scale, parameter.high / parameter.unit.scale
            found[name] = np.clip(value + scale * scatter, low, high)
        return found

    def step_module(
        self, *, seed: int = 0, dtype: torch.dtype = torch.float32, surrogate_width: float = 0.1
    ) -> StepModule:
        """Return one time step as a torch.nn.Module: (state, inputs) -> (state, spikes), unknown parameters learnable."""
        return StepModule(
            self.definition,
            self.parameters(),
            seed=seed,
            dtype=dtype,
            surrogate_width=surrogate_width,
        )

    def show(self, stage: str) -> str:
        """Return a stage of compilation as text: syntax, model, program, adjoint or torch."""
        if stage not in STAGES:
            raise InputError(f"there is no stage `{stage}`; the stages are {', '.join(STAGES)}")
        return STAGES[stage](self.definition)


def _spread_of_weights(values: Mapping[str, ArrayLike]) -> float:
    weights = np.concatenate([np.ravel(value) for name, value in values.items() if "->" in name])
    return float(np.std(weights)) or float(np.abs(weights).max()) or 1.0


def load(path: str | Path) -> SpikingModel:
    """Return the model of an .eqs file. Raises ModelError with the place of every mistake."""
    return SpikingModel(read_model(path))


def loads(text: str, name: str = "<model>") -> SpikingModel:
    """Return the model of a text in the language of .eqs files."""
    return SpikingModel(model_from_text(text, name))
