"""Data: a recording as tensors for a kernel, with what was observed of each neuron, and what counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from eqsnn.inference.stages import Forced, Free
from eqsnn.language.model import Model
from eqsnn.losses.spike_times import Trains
from eqsnn.simulation import setup
from eqsnn.simulation.offsets import spike_offsets
from eqsnn.simulation.recording import Recording


@dataclass(frozen=True, slots=True)
class Data:
    """A recording as tensors for a kernel: drives and observed spikes, (time, neuron or 1, trial or 1).

    masked: whether programs have to know which steps were observed; units: the neurons whose spikes count, () for all.
    """

    model: Model
    recording: Recording
    known: tuple[str, ...]
    synapses: Mapping[str, Tensor]
    dtype: torch.dtype
    start: setup.Start
    backend: str = "auto"
    masked: bool = False
    units: tuple[int, ...] = ()

    @property
    def n_steps(self) -> int:
        """Steps of the model in a trial."""
        return setup.steps_in(self.recording.duration, self.model.dt)

    @property
    def chosen(self) -> Tensor:
        """Which neurons count, bool (neuron,)."""
        n = self.recording.n_units
        return (
            torch.isin(torch.arange(n), torch.tensor(self.units))
            if self.units
            else torch.ones(n, dtype=torch.bool)
        )

    def observed(self, *, expected: bool = False) -> dict[str, Tensor]:
        """Return the observed spikes of each spiking population; 0 in gaps.

        expected: in gaps the mean number of spikes that the neuron has in an observed step, 0 if there is none.
        """
        dense = self._tensor(self.recording.dense(self.model.dt * 1e-3))
        if self.masked:
            seen = self.seen()
            usual = (dense * seen).sum((0, 2)) / seen.sum((0, 2)).clamp(min=1) if expected else 0.0
            fill = torch.as_tensor(usual, dtype=self.dtype).reshape(1, -1, 1)
            dense = torch.where(seen > 0, dense, fill)
        return self.by_population(dense)

    def seen(self) -> Tensor:
        """Return 1 for the steps of each neuron of the network that were observed, else 0: (time, neuron, trial)."""
        return self._tensor(self.recording.seen(self.model.dt * 1e-3))

    def counted(self, warm_up: float) -> Tensor:
        """Return 1 for the steps of each neuron whose likelihood counts, else 0: (time, neuron, trial).

        After a gap nobody knows the state of a neuron: its steps count again after its first observed spike, or once
        `warm_up` seconds have passed.
        """
        step = self.model.dt * 1e-3
        seen = np.moveaxis(self.recording.seen(step), 0, 2)
        spikes = np.moveaxis(self.recording.dense(step), 0, 2).astype(bool) & seen
        never = -(10**9)
        steps = np.arange(len(seen)).reshape(-1, 1, 1)
        gap = np.maximum.accumulate(np.where(seen, never, steps), axis=0)
        spike = np.maximum.accumulate(np.where(spikes, steps, never), axis=0)
        spike = np.concatenate([np.full_like(spike[:1], never), spike[:-1]])
        ready = (steps - gap > round(warm_up / step)) | (spike > gap)
        counts = torch.from_numpy(seen & ready).to(self.dtype)
        return counts * self.chosen.to(self.dtype).reshape(1, -1, 1)

    def gates(self, stage: Forced | Free) -> dict[str, Tensor]:
        """Return what a masked program of a stage needs to know of each population: which steps are observed, and count."""
        if isinstance(stage, Forced):
            found = (
                {"seen": self.seen(), "counted": self.counted(stage.warm_up)} if self.masked else {}
            )
        else:
            seen = self.seen()
            # the chosen run on their own spikes, the others follow theirs wherever these are known
            found = {
                "compared": seen,
                "seen": seen * (~self.chosen).to(self.dtype).reshape(1, -1, 1),
            }
        return {
            f"{name}.{what}": part
            for what, whole in found.items()
            for name, part in self.by_population(whole).items()
        }

    def by_population(self, whole: Tensor) -> dict[str, Tensor]:
        """Split (time, neuron, trial) of the whole network into its spiking populations."""
        found, start = {}, 0
        for name in setup.spiking_populations(self.model):
            (size,) = setup.sizes_of(self.model, name)
            found[name] = whole[:, start : start + size]
            start += size
        return found

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).permute(1, 2, 0).to(self.dtype)

    def timed(self) -> Trains:
        """Return the observed spikes of all neurons with their fractions of a step, (time, neuron, trial)."""
        found = spike_offsets(self.recording, self.model.dt * 1e-3, self.n_steps)
        return Trains(*(torch.from_numpy(x).permute(1, 2, 0).to(self.dtype) for x in found))


def prepare(
    model: Model,
    recording: Recording,
    dtype: torch.dtype,
    backend: str = "auto",
    *,
    masked: bool | None = None,
    units: tuple[int, ...] = (),
) -> Data:
    """Return a recording ready for objectives; masked: see Data, by default whether the recording has gaps."""
    known = tuple(setup.given_names(model, recording.inputs))
    gaps = bool(len(recording.gaps)) if masked is None else masked
    start = setup.start_of(model)
    return Data(
        model, recording, known, setup.synapses_of(model), dtype, start, backend, gaps, units
    )
