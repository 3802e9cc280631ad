"""eqsnn: spiking networks from text, fitted to spike trains.

`load` a model file, `simulate` it, `load_targets` and `inspect` a Recording, `fit` the unknown parameters to it,
`compare` two recordings.
"""

from eqsnn.analysis.compare import Comparison, compare
from eqsnn.analysis.inspection import Inspection, inspect
from eqsnn.analysis.nmf import compare_ensembles, factorise
from eqsnn.api import fit, plan, simulate
from eqsnn.errors import EqsError, InputError, ModelError
from eqsnn.exchange.from_brian2 import from_brian2
from eqsnn.exchange.imported import Imported
from eqsnn.exchange.to_brian2 import to_brian2
from eqsnn.formats.from_neo import from_neo
from eqsnn.formats.load import load_targets, save_recording
from eqsnn.formats.pynapple_groups import from_pynapple, to_pynapple
from eqsnn.formats.to_neo import to_neo
from eqsnn.inference.result import Fit, read_fit
from eqsnn.inference.stages import Forced, Free, GradientFree, Rates
from eqsnn.report.notebook import show_in_notebooks
from eqsnn.simulation.module import StepModule
from eqsnn.simulation.network import SpikingModel as Model
from eqsnn.simulation.network import load, loads
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.split import split

__all__ = [
    "Comparison",
    "EqsError",
    "Fit",
    "Forced",
    "Free",
    "GradientFree",
    "Imported",
    "InputError",
    "Inspection",
    "Model",
    "ModelError",
    "Rates",
    "Recording",
    "StepModule",
    "compare",
    "compare_ensembles",
    "factorise",
    "fit",
    "from_brian2",
    "from_neo",
    "from_pynapple",
    "inspect",
    "load",
    "load_targets",
    "loads",
    "plan",
    "read_fit",
    "save_recording",
    "simulate",
    "split",
    "to_brian2",
    "to_neo",
    "to_pynapple",
]

show_in_notebooks()
