"""step_module: the compiled step as a torch.nn.Module, for a training loop of one's own."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from eqsnn.backends.kernel import Run
from eqsnn.backends.pytorch import compile_torch
from eqsnn.compiler import free_program
from eqsnn.language.model import Model
from eqsnn.maths.simplify import select
from eqsnn.simulation import setup
from eqsnn.simulation.parameters import Parameter, draw_all

State = dict[str, Tensor]


class StepModule(nn.Module):
    """One time step: (state, inputs) -> (state, spikes); unknown parameters of the model are learnable.

    States and inputs are dictionaries of (batch, neuron) tensors by `population.name`, synaptic states (batch, pre,
    post); spikes are (batch, neuron) of all spiking populations in the order of the file. Random draws are taken from
    torch's own generator. Parameters are in the coherent units of the language (mV, ms, pA, nS, pF).
    """

    def __init__(
        self,
        definition: Model,
        parameters: Mapping[str, Parameter],
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        surrogate_width: float = 0.1,
    ) -> None:
        super().__init__()
        self.definition = definition
        outputs = [f"{name}.spike" for name in setup.spiking_populations(self.definition)]
        self.kernel = compile_torch(
            select(free_program(self.definition), outputs), by_autograd=True
        )
        self.outputs = tuple(outputs)
        self.names: dict[str, str] = {}
        rng = np.random.default_rng(seed)
        drawn = draw_all(parameters, rng)
        for full, parameter in parameters.items():
            value = torch.from_numpy(drawn[full]).to(dtype).unsqueeze(-1)
            name = full.replace("->", "_to_").replace(".", "__").replace(":", "_")
            self.names[full] = name
            if parameter.learned:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.synapses = setup.synapses_of(self.definition)
        self.settings = setup.settings_of(self.definition) | {"surrogate_width": surrogate_width}
        self.dtype = dtype

    def _values(self) -> dict[str, Tensor | float]:
        return {full: getattr(self, name) for full, name in self.names.items()} | self.settings

    def initial_state(self, batch: int = 1) -> State:
        """Return the state before the first step; `t` counts the steps taken."""
        states = setup.initial_states(
            self.definition, self.kernel.step, self._values(), self.synapses, batch
        )
        state = {name: _batch_first(value) for name, value in states.items()}
        for delay in self.kernel.step.delays:
            sent = states.get(str(delay.sent), torch.zeros(1, 1, dtype=self.dtype))
            for k in range(delay.steps):
                state[f"{delay.arrival}@{k}"] = _batch_first(sent)
        return state | {"t": torch.zeros((), dtype=torch.float64)}

    def forward(
        self, state: Mapping[str, Tensor], inputs: Mapping[str, Tensor] | None = None
    ) -> tuple[State, Tensor]:
        """Advance by one step of dt. `inputs` by `population.name`, in coherent units."""
        batch = max(
            value.shape[0] for name, value in state.items() if name != "t" and "@" not in name
        )
        drives = {name: _lane_last(value).unsqueeze(0) for name, value in (inputs or {}).items()}
        seed = int(torch.randint(2**62, ()))  # torch.manual_seed makes a training loop repeatable
        drives["t"] = (state["t"] * self.definition.dt).to(self.dtype).reshape(1, 1, 1)
        pending = {
            str(d.arrival): tuple(_lane_last(state[f"{d.arrival}@{k}"]) for k in range(d.steps))
            for d in self.kernel.step.delays
        }
        places = [str(state_symbol) for state_symbol in self.kernel.step.next_states]
        run = Run(
            n_steps=1,
            states={name: _lane_last(state[name]) for name in places},
            parameters=self._values(),
            drives=drives,
            synapses=self.synapses,
            pending=pending,
            record=self.outputs,
            noise=setup.noise_of(seed, batch),
            sizes=setup.population_sizes(self.definition),
        )
        outcome = self.kernel.unroll(run)
        after = {name: _batch_first(value) for name, value in outcome.states.items()}
        for name, values in outcome.pending.items():
            after |= {f"{name}@{k}": _batch_first(value) for k, value in enumerate(values)}
        spikes = torch.cat([outcome.recorded[name][0] for name in self.outputs]).T
        return after | {"t": state["t"] + 1}, spikes


def _batch_first(value: Tensor) -> Tensor:
    return value.movedim(-1, 0)


def _lane_last(value: Tensor) -> Tensor:
    return value.movedim(0, -1)
