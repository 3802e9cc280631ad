"""FreeObjective: unknown parameters of many restarts to one number each, the network running freely."""

import math
from typing import Any

import torch
from torch import Tensor

from eqsnn.backends.kernel import Kernel
from eqsnn.compiler import (
    compile_program,
    exact_program,
    free_program,
    guided_program,
    partly_forced_program,
)
from eqsnn.errors import InputError
from eqsnn.inference.data import Data, prepare
from eqsnn.inference.lanes import (
    NOTHING,
    Lanes,
    Values,
    cut_windows,
    given_of,
    repeat,
    run_lanes,
    windows,
)
from eqsnn.inference.stages import Free
from eqsnn.losses.composition import Loss
from eqsnn.losses.spike_times import Trains
from eqsnn.losses.terms import PlainVanRossum, Sample, TimedSample, VanRossum
from eqsnn.maths.append_loss import COUNTED, DECAY, TRACE, append_van_rossum
from eqsnn.maths.program import Kind
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup


class FreeObjective:
    """Loss between the spikes of the free-running network and the target's, one value per restart.

    `kernel` as in ForcedObjective. `warnings`: what a user should know about this loss on this model.
    """

    def __init__(self, data: Data, stage: Free, seed: int, kernel: Kernel | None = None) -> None:
        self.data, self.loss = data, stage.composed
        self.populations = setup.spiking_populations(data.model)
        self.timed = stage.gradient == "exact"
        if self.timed and (data.masked or data.units):
            raise InputError(
                'the exact gradient needs all neurons observed and fitted; use gradient="surrogate" for data with gaps '
                "or for some of the units"
            )
        if stage.guided and data.masked:
            raise InputError("a guided stage needs all neurons observed; leave `guided` out")
        # guided neurons follow each other's observed spikes anyway, whichever of them count
        alone = partly_forced_program if data.units else free_program
        make = guided_program if stage.guided else alone
        program = (
            exact_program(data.model, known=data.known)
            if self.timed
            else make(data.model, known=data.known, detach_reset=stage.detach_reset)
        )
        spikes = tuple(f"{name}.spike" for name in self.populations)
        noisy = bool(select(program, spikes).of_kind(Kind.NORMAL, Kind.UNIFORM))
        self.warnings = _warnings_of(self.loss) if noisy else ()
        plain = all(isinstance(term, PlainVanRossum) for term in self.loss.terms)
        # two independent draws of unknown noise make a loss unbiased
        self.copies = 2 if noisy and not plain else 1
        # the product of two lanes' traces is no sum over lanes, so only the plain distance is part of the step
        self.fused = _single_tau(self.loss) is not None and self.copies == 1 and not self.timed
        self.by_blocks = stage.guided and self.fused
        self.outputs = spikes
        if self.timed:
            self.outputs += tuple(f"{name}.offset" for name in self.populations)
        if self.fused:
            program = append_van_rossum(program, self.populations, masked=data.masked)
            self.outputs = tuple(f"{name}.van_rossum" for name in self.populations)
        self.kernel = kernel or compile_program(program, self.outputs, data.backend)
        self.lanes = windows(data, self.kernel.step, stage, seed, self.copies)
        self.repeated = all(
            bool((drive == drive[..., :1]).all())
            for drive in given_of(data, self.kernel.step, stage).values()
            if drive.shape[-1] > 1
        )
        self.lanes.drives[COUNTED] = self.lanes.weights
        self.trials = data.recording.n_trials
        self.counted = self.lanes.weights[..., : self.lanes.width // self.copies]
        whole = torch.cat(list(data.observed().values()), dim=1)
        self.rows = data.chosen.nonzero().reshape(-1)
        if data.masked:
            compared = cut_windows(data.seen(), self.lanes.begins, self.lanes.n_steps, self.trials)
            compared = self.counted * compared
            self.rows = (compared.sum((0, 2)) > 0).logical_and(data.chosen).nonzero().reshape(-1)
            self.counted = compared[:, self.rows]
            if not len(self.rows):
                raise InputError(NOTHING.format("free-running"))
        self.gate = self.counted.repeat(1, 1, self.copies)
        cut = cut_windows(whole[:, self.rows], self.lanes.begins, self.lanes.n_steps, self.trials)
        self.target = cut * self.counted
        if self.timed:
            spikes, offsets = (self.lanes.cut(each, self.trials) for each in data.timed())
            self.times = Trains(
                *(each[:, :, None, :, None] for each in (spikes * self.counted, offsets))
            )

    def __call__(self, values: Values, width: float) -> Tensor:
        """Return the loss of each restart, (restart,). The exact gradient has no width."""
        if self.timed:
            return self.by_times(values)
        if self.fused:
            return self.by_step(values, width)
        # a sum over steps has one weight for all neurons
        few = self.loss.of_rates_only and not self.data.masked
        return self.loss(self.counts(values, width) if few else self.spikes(values, width))

    def by_step(self, values: Values, width: float) -> Tensor:
        """The van Rossum distance as the step itself adds it up: no spike is kept."""
        return self.by_neuron(values, width)[self.rows].mean(0)

    def by_neuron(self, values: Values, width: float) -> Tensor:
        """The same of every neuron, (neuron, restart)."""
        tau, weight = _single_tau(self.loss) or (math.nan, math.nan)
        decay = math.exp(-self.data.model.dt * 1e-3 / tau)
        settings = {"surrogate_width": width, DECAY: decay}
        outcome, _ = _run(self.data, self.kernel, self.lanes, values, settings, total=self.outputs)
        distance = torch.cat([outcome.totals[name] for name in self.outputs])
        last = torch.cat([outcome.states[f"{name}.{TRACE}"] for name in self.populations])
        found = distance + decay**2 / 2 * last**2
        return weight * found.reshape(len(found), -1, self.lanes.width).mean(2)

    def by_times(self, values: Values) -> Tensor:
        """The van Rossum distance between spike times, differentiable in the times."""
        outcome, restarts = _run(
            self.data, self.kernel, self.lanes, values, {}, record=self.outputs
        )
        lanes = (restarts, self.copies, self.lanes.width // self.copies, 1)
        spikes, offsets = (
            torch.cat([outcome.recorded[f"{name}.{x}"] for name in self.populations], dim=1)
            for x in ("spike", "offset")
        )
        spikes = spikes * self.lanes.weights.repeat(1, 1, restarts)
        both = (each.reshape(*each.shape[:2], *lanes).unbind(3) for each in (spikes, offsets))
        draws = tuple(Trains(*draw) for draw in zip(*both, strict=True))
        sample = TimedSample(draws, self.times, self.data.model.dt * 1e-3)
        found = [
            weight * term.timed(sample)
            for weight, term in self.loss.parts
            if isinstance(term, VanRossum | PlainVanRossum)
        ]
        return sum(found[1:], found[0])

    def counts(self, values: Values, width: float) -> Sample:
        """The number of spikes of each lane, as a single step that lasts all of the counted time."""
        outcome, restarts = _run(
            self.data,
            self.kernel,
            self.lanes,
            values,
            {"surrogate_width": width},
            total=self.outputs,
            weights=self.lanes.weights,
        )
        counts = torch.cat([outcome.totals[name] for name in self.outputs])[None, self.rows]
        target, counted = (each.sum(0, keepdim=True) for each in (self.target, self.counted))
        return self.sample(counts, target, counted, restarts)

    def spikes(self, values: Values, width: float) -> Sample:
        """The spikes of all lanes in the steps that count."""
        spikes, restarts = self.run(values, width)
        return self.sample(
            spikes[:, self.rows] * self.gate.repeat(1, 1, restarts),
            self.target,
            self.counted,
            restarts,
        )

    def run(self, values: Values, width: float) -> tuple[Tensor, int]:
        """Return the spikes of all lanes, (time, neuron, lane), and the number of restarts."""
        outcome, restarts = _run(
            self.data,
            self.kernel,
            self.lanes,
            values,
            {"surrogate_width": width},
            record=self.outputs,
        )
        return torch.cat([outcome.recorded[name] for name in self.outputs], dim=1), restarts

    def sample(self, spikes: Tensor, target: Tensor, counted: Tensor, restarts: int) -> Sample:
        """Return lanes (restart, copy, window, trial) as independent draws and target."""
        windows = len(self.lanes.begins)
        lanes = (restarts, self.copies, windows, self.trials)
        draws = spikes.reshape(*spikes.shape[:2], *lanes).unbind(3)
        whole, steps = (
            each.reshape(*each.shape[:2], 1, windows, self.trials) for each in (target, counted)
        )
        return Sample(draws, whole, steps, self.data.model.dt * 1e-3, self.repeated)


def _single_tau(loss: Loss) -> tuple[float, float] | None:
    """Return tau and weight of a loss that is one van Rossum distance with one tau, else None."""
    weight, term = loss.parts[0]
    if len(loss.parts) == 1 and isinstance(term, VanRossum | PlainVanRossum) and len(term.tau) == 1:
        return term.tau[0], weight
    return None


def _warnings_of(loss: Loss) -> tuple[str, ...]:
    """Warn of terms that are biased when the model has noise that the data do not hold."""
    return tuple(
        f"the plain van Rossum distance between trains with independent noise is smallest at too low rates, by about "
        f"1/(4 tau) = {1 / (4 * max(term.tau)):.3g} Hz at tau = {max(term.tau) * 1e3:g} ms (and a silent model beats "
        "the truth below that rate); use van_rossum(...), which is unbiased, or give the noise as an array"
        for term in loss.terms
        if isinstance(term, PlainVanRossum)
    )


def _run(
    data: Data,
    kernel: Kernel,
    lanes: Lanes,
    values: Values,
    settings: dict[str, float],
    **wanted: Any,
):
    restarts = max(value.shape[-1] for value in values.values())
    spread = {name: repeat(value, restarts, lanes.width) for name, value in values.items()}
    return run_lanes(data, kernel, lanes, spread, restarts, settings, **wanted), restarts


__all__ = ["FreeObjective", "prepare"]
