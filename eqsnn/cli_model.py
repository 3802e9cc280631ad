"""What commands on a model have in common: values given in words, the backend, and what is suspicious about the model."""

import sys
from collections.abc import Sequence

from eqsnn.compiler import BACKENDS
from eqsnn.errors import InputError
from eqsnn.language.model import Model
from eqsnn.maths.suspicions import suspicions
from eqsnn.quantities import in_unit_of
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.parameters import matching, parameters_of
from eqsnn.simulation.setup import with_size


def add_backend(command) -> None:
    """Add `--backend`."""
    command.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="native: compiled C; pytorch: the slow reference; auto: native where there is a C compiler",
    )


def assignments(model: SpikingModel, texts: Sequence[str]) -> dict[str, float]:
    """Return parameters by their full names, in the units of the file, from NAME=VALUE. Raises InputError."""
    sized = (
        model
        if model.is_sized
        else model.sized(1 + sum(p.size or 0 for p in model.definition.populations.values()))
    )
    known = parameters_of(sized.definition)
    values: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"`{text}`: write NAME=VALUE, as in tau_m=12ms")
        for full in matching(known, name.strip()):
            values[full] = in_unit_of(value, known[full])
    return values


def warn_of(model: SpikingModel) -> None:
    """Print what is suspicious about a model on standard error."""
    for suspicion in suspicions(with_some_size(model)):
        print(suspicion, file=sys.stderr)


def with_some_size(model: SpikingModel) -> Model:
    """Return the definition of a model, one neuron standing for as many as the targets have."""
    definition = model.definition
    if model.is_sized:
        return definition
    known = sum(p.size or 0 for p in definition.populations.values())
    return with_size(definition, known + 1)
