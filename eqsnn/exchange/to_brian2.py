"""to_brian2: a model as a Brian2 script that a person can read, run and change."""

import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from eqsnn.compiler import free_program
from eqsnn.errors import InputError
from eqsnn.exchange.literals import quantity_text
from eqsnn.exchange.script_blocks import Source, neuron_arguments, synapse_arguments
from eqsnn.exchange.script_values import (
    assignment_text,
    connect_text,
    delay_lines,
    input_lines,
    link_lines,
    python_name,
    si_scale,
)
from eqsnn.exchange.spelling import Spelling
from eqsnn.language.model import NeuronModel, Role, SynapseModel
from eqsnn.language.units import TIME
from eqsnn.simulation.network import SpikingModel
from eqsnn.simulation.parameters import draw_all

HEAD = '''"""{title}

Written by eqsnn; needs Brian2 2.9. The random streams of the two simulators differ: what is drawn in the course of a
run agrees in distribution only.
"""

import numpy as np
from brian2 import *

prefs.codegen.target = "numpy"
defaultclock.dt = {dt}
'''
READ_INPUTS = '''INPUTS = np.load("{file}")  # arrays named like the inputs, as `eqsnn simulate --input` reads them


def drive(name, population, n):
    """Return the values of an input, (time, neuron), and its time step."""
    full = f"{{population}}.{{name}}"
    name = full if full in INPUTS else name
    values = INPUTS[name] if INPUTS[name].ndim < 3 else INPUTS[name][0]
    step = INPUTS[f"{{name}}_dt"] if f"{{name}}_dt" in INPUTS else INPUTS["dt"] if "dt" in INPUTS else defaultclock.dt_
    columns = values[:, None] if values.ndim == 1 else values
    return np.broadcast_to(columns, (len(values), n)), float(step) * second
'''


def to_brian2(
    model: SpikingModel, *, seed: int = 0, duration: float = 1.0, inputs_file: str = "inputs.npz"
) -> str:
    """Return a Brian2 script of a model whose populations have sizes; it runs for `duration` seconds.

    Unknown parameters are drawn from their distributions with `seed`, as `eqsnn.simulate` draws them. inputs_file: the
    .npz that the script reads drives from, if the model has any. The script leaves a SpikeMonitor for each population
    in `monitors`. Raises InputError for what Brian2 does not have, naming it.
    """
    if not model.is_sized:
        raise InputError(
            "a population has no size; write it in the model, or give eqsnn export --size N"
        )
    return _Script(model, seed, duration, inputs_file).text()


class _Script:
    """Puts the script together, one population or projection after the other."""

    def __init__(self, model: SpikingModel, seed: int, duration: float, inputs_file: str) -> None:
        self.model, self.duration, self.inputs_file = model.definition, duration, inputs_file
        self.source = Source(model.definition)
        parameters = model.parameters()
        drawn = draw_all(parameters, np.random.default_rng(seed))
        self.values: dict[str, NDArray[np.float64]] = {
            name: value / si_scale(parameters[name].unit) for name, value in drawn.items()
        }
        notes = free_program(model.definition).notes
        found = (re.match(r"(.+): integrated by (\w+) ", note) for note in notes)
        self.methods: Mapping[str, str] = {match[1]: match[2] for match in found if match}

    def text(self) -> str:
        """Return the script."""
        title = f"The model {self.model.path} as a Brian2 script."
        parts = [HEAD.format(title=title, dt=quantity_text(self.model.dt * 1e-3, TIME))]
        if any(
            v.role is Role.INPUT
            for n in self.model.populations
            for v in self._neuron(n).variables.values()
        ):
            parts.append(READ_INPUTS.format(file=self.inputs_file))
        parts += ["\n".join(self._population(name)) + "\n" for name in self.model.populations]
        links = list(link_lines(self.model, self.source.links))
        if links:
            parts.append("\n".join(links) + "\n")
        projections = [p for p in self.model.projections.values() if not p.link]
        parts += ["\n".join(self._projection(n, p.name)) + "\n" for n, p in enumerate(projections)]
        return "\n".join([*parts, "\n".join(self._run(len(projections)))]) + "\n"

    def _neuron(self, population: str) -> NeuronModel:
        return self.model.neuron_of(population)

    def _population(self, name: str) -> Iterator[str]:
        population, neuron = self.model.populations[name], self._neuron(name)
        variable = python_name(name)
        yield f"# {name}: {population.neuron}"
        yield from input_lines(neuron, name, population.size or 1)
        order = list(self.model.populations).index(name) if self.source.links else 0
        arguments, later = neuron_arguments(self.source, neuron, name, self.methods.get(name))
        yield f"{variable} = NeuronGroup("
        yield f"    {population.size},"
        yield from (f"    {line}" for line in arguments)
        yield from [f"    order={order},"] * bool(order)
        yield f'    name="{name}",'
        yield ")"
        yield from (f"{variable}.{call}" for call in later)
        yield from self._assigned(variable, name, neuron, self.source.of_neuron(neuron))

    def _assigned(
        self, variable: str, group: str, block: NeuronModel | SynapseModel, spelling: Spelling
    ) -> Iterator[str]:
        """Yield the values of parameters, then what `initial` says."""
        for local, each in block.variables.items():
            if each.role is Role.PARAMETER:
                value = self.values[f"{group}.{local}"]
                yield assignment_text(
                    variable, spelling.name(local), value, each.unit, shared=each.shared
                )
        yield from self.source.initial(variable, block.name, spelling)

    def _projection(self, number: int, name: str) -> Iterator[str]:
        projection, synapse = self.model.projections[name], self.model.synapse_of(name)
        variable = f"synapses_{number}"
        yield f"# {name}: {projection.synapse}"
        arguments, later = synapse_arguments(
            self.source, self.model, projection, self.methods.get(name)
        )
        yield f"{variable} = Synapses("
        yield f"    {python_name(projection.pre)},"
        yield f"    {python_name(projection.post)},"
        yield from (f"    {line}" for line in arguments)
        yield f'    name="synapses_{number:03d}",'
        yield ")"
        yield f"{variable}.{connect_text(self.model, projection, self.source.conditions)}"
        yield from delay_lines(self.model, projection, variable)
        yield from (f"{variable}.{call}" for call in later)
        spelling = self.source.of_synapse(self.model, projection)
        yield from self._assigned(variable, name, synapse, spelling)

    def _run(self, n_projections: int) -> Iterator[str]:
        spiking = [
            name for name in self.model.populations if self._neuron(name).threshold is not None
        ]
        groups = [python_name(name) for name in self.model.populations]
        groups += [f"synapses_{n}" for n in range(n_projections)]
        monitored = ", ".join(f'"{name}": SpikeMonitor({python_name(name)})' for name in spiking)
        yield f"monitors = {{{monitored}}}"
        yield f"network = Network({', '.join(groups)}, *monitors.values())"
        yield f"network.run({quantity_text(self.duration, TIME)})"
        yield "for name, monitor in monitors.items():"
        yield '    print(f"{name}: {monitor.num_spikes} spikes")'
