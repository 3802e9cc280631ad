"""Imported: what `from_brian2` returns, a model as text with its values and drives, ready to simulate or to save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eqsnn.api import simulate
from eqsnn.errors import InputError
from eqsnn.exchange.drives import Drive
from eqsnn.files import write_arrays, write_text
from eqsnn.simulation.network import SpikingModel, loads
from eqsnn.simulation.recording import Recording
from eqsnn.simulation.setup import steps_in


@dataclass(frozen=True, slots=True)
class Imported:
    """A model in the language of .eqs files, with what does not fit into text.

    text: the model file. parameters: arrays by `group.parameter` in the units of the file (SI), (neuron,) or
    (pre, post). drives: what is given from outside, by `population.input`; `inputs` samples them. pairs: the
    connections that follow no rule, i and j by the name of their file. renamed: names of Brian2, `group.variable`, that
    the language keeps for itself, and what the file calls them.
    """

    text: str
    parameters: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    drives: Mapping[str, Drive] = field(default_factory=dict)
    pairs: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> SpikingModel:
        """The checked model, with the arrays as known values."""
        if not self.pairs:
            return loads(self.text, "<imported>").with_values(self.parameters)
        with TemporaryDirectory() as folder:  # files of pairs are read while the text is checked
            self._write_pairs(Path(folder))
            return loads(self.text, str(Path(folder) / "imported.eqs")).with_values(self.parameters)

    def _write_pairs(self, folder: Path) -> list[Path]:
        for name, (i, j) in self.pairs.items():
            write_arrays(folder / name, {"i": i, "j": j})
        return [folder / name for name in self.pairs]

    @property
    def dt(self) -> float:
        """The time step in seconds."""
        return self.model.definition.dt * 1e-3

    def inputs(self, duration: float) -> dict[str, NDArray[np.float64]]:
        """Return the drives for `duration` seconds, (time,) or (time, neuron) on the model's steps, in SI units."""
        dt = self.dt
        steps = steps_in(duration, dt * 1e3)
        return {name: drive.sample(steps, dt) for name, drive in self.drives.items()}

    def simulate(
        self,
        duration: float,
        *,
        trials: int = 1,
        seed: int = 0,
        parameters: Mapping[str, ArrayLike] | None = None,
        record: Sequence[str] = (),
        backend: str = "auto",
    ) -> Recording:
        """Simulate for `duration` seconds on the imported drives; see `eqsnn.simulate` for the other arguments."""
        return simulate(
            self.model,
            duration,
            trials=trials,
            seed=seed,
            inputs=self.inputs(duration),
            parameters=parameters,
            record=record,
            backend=backend,
        )

    def save(self, path: str | Path, *, duration: float | None = None) -> list[Path]:
        """Write the model file, its arrays in NAME.npz its drives in NAME_inputs.npz and its pairs beside it; return the paths.

        duration: how many seconds of the drives are written (default: all of them); `eqsnn simulate --input` reads
        them. Files that are not needed are not written. Raises InputError if a file cannot be written.
        """
        path = Path(path)
        if path.suffix != ".eqs":
            raise InputError(f"{path}: a model file ends in .eqs; write {path.with_suffix('.eqs')}")
        written = self._write_pairs(path.parent)
        text = self.text
        if self.parameters:
            values = path.with_suffix(".npz")
            write_arrays(values, dict(self.parameters))
            text = text.replace("\nnetwork:\n", f'\nnetwork:\n    values: "{values.name}"\n', 1)
            written.append(values)
        if self.drives:
            length = duration or max(drive.duration for drive in self.drives.values())
            drives = path.with_name(f"{path.stem}_inputs.npz")
            dt = {"dt": np.array(self.dt)}
            write_arrays(drives, self.inputs(max(length, self.dt)) | dt)
            written.append(drives)
        write_text(path, text)
        return [path, *written]
