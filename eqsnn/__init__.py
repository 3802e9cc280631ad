"""eqsnn: spiking networks from text, fitted to spike trains.

`load` a model file, `simulate` it, `fit` its unknown parameters to a Recording, `compare` two recordings.
"""

from eqsnn.analysis.compare import Comparison, compare
from eqsnn.analysis.nmf import compare_ensembles, factorise
from eqsnn.api import fit, plan, simulate
from eqsnn.errors import EqsError, InputError, ModelError
from eqsnn.exchange.from_brian2 import from_brian2
from eqsnn.exchange.imported import Imported
from eqsnn.exchange.to_brian2 import to_brian2
from eqsnn.inference.result import Fit, read_fit
from eqsnn.inference.stages import Forced, Free, GradientFree
from eqsnn.report.notebook import show_in_notebooks
from eqsnn.simulation.module import StepModule
from eqsnn.simulation.network import SpikingModel as Model
from eqsnn.simulation.network import load, loads
from eqsnn.simulation.recording import Recording, load_targets

__all__ = [
    "Comparison",
    "EqsError",
    "Fit",
    "Forced",
    "Free",
    "GradientFree",
    "Imported",
    "InputError",
    "Model",
    "ModelError",
    "Recording",
    "StepModule",
    "compare",
    "compare_ensembles",
    "factorise",
    "fit",
    "from_brian2",
    "load",
    "load_targets",
    "loads",
    "plan",
    "read_fit",
    "simulate",
    "to_brian2",
]

show_in_notebooks()
