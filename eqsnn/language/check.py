"""check: Syntax -> Model. All mistakes of a file are reported in one run."""

import math
from functools import cache
from pathlib import Path

from sympy.logic.boolalg import Boolean

from eqsnn.errors import Consequence, EqsError, ModelError, raise_all
from eqsnn.language import syntax as s
from eqsnn.language.blocks import Draft, draft
from eqsnn.language.expressions import Names, condition_of, number_of, suggest
from eqsnn.language.model import (
    Model,
    NeuronModel,
    Population,
    Projection,
    Role,
    SynapseModel,
    Value,
    Variable,
)
from eqsnn.language.neurons import check_neuron
from eqsnn.language.parse import parse
from eqsnn.language.synapses import check_synapse, written_by
from eqsnn.language.units import DIMENSIONLESS, TIME
from eqsnn.language.values import check_value, resolve_centre

PRELUDE = Path(__file__).with_name("prelude.eqs")
DEFAULT_DT = 0.1  # ms, as in Brian2


def check(syntax: s.Syntax) -> Model:
    """Return the Model of a parsed file. Raises EqsError or EqsErrors with every mistake found."""
    errors: list[EqsError] = []
    blocks = _blocks(syntax, errors)
    written = {
        name for block in blocks.values() if block.kind == "synapse" for name in written_by(block)
    }
    drafts = {name: draft(block, written) for name, block in blocks.items()}
    neurons = {name: check_neuron(d) for name, d in drafts.items() if d.block.kind == "neuron"}
    network = _Network(syntax, errors, drafts, neurons)
    network.read()
    for d in drafts.values():
        errors.extend(d.errors)
    raise_all(errors)
    used = {population.neuron for population in network.populations.values()}
    return Model(
        path=syntax.path,
        text=syntax.text,
        neurons={
            name: neuron for name, neuron in neurons.items() if name in used or name in _own(syntax)
        },
        synapses=network.synapses,
        dt=network.dt,
        populations=network.populations,
        projections=network.projections,
        values_file=network.values_file,
    )


def _own(syntax: s.Syntax) -> set[str]:
    return {block.name for block in syntax.blocks}


@cache
def _prelude() -> tuple[s.Block, ...]:
    return parse(PRELUDE.read_text(encoding="utf-8"), "prelude.eqs").blocks


def _blocks(syntax: s.Syntax, errors: list[EqsError]) -> dict[str, s.Block]:
    blocks: dict[str, s.Block] = {}
    for block in syntax.blocks:
        if block.name in blocks:
            message = (
                f"`{block.name}` is defined twice (first in line {blocks[block.name].span.line})"
            )
            errors.append(EqsError(block.span, message, "rename one of them"))
        blocks.setdefault(block.name, block)
    for block in _prelude():
        blocks.setdefault(block.name, block)
    for network in syntax.networks[1:]:
        errors.append(
            EqsError(network.span, "there is a second `network` block", "put everything into one")
        )
    return blocks


class _Network:
    """Reads the network block: which neurons there are, and how they are connected."""

    def __init__(
        self,
        syntax: s.Syntax,
        errors: list[EqsError],
        drafts: dict[str, Draft],
        neurons: dict[str, NeuronModel],
    ) -> None:
        self.syntax, self.errors, self.drafts, self.neurons = syntax, errors, drafts, neurons
        self.dt = DEFAULT_DT
        self.dt_line = 0  # where it is set
        self.populations: dict[str, Population] = {}
        self.projections: dict[str, Projection] = {}
        self.synapses: dict[str, SynapseModel] = {}
        self.values_file: str | None = None
        self.faulty: set[str] = set()  # populations whose own line is at fault

    def read(self) -> None:
        """Read every line; populations first, so that no order is imposed."""
        lines = self.syntax.networks[0].lines if self.syntax.networks else ()
        if not self.syntax.networks:
            self._default()
        for kind, action in (
            (s.TimeStep, self._timestep),
            (s.PopulationLine, self._population),
            (s.ProjectionLine, self._projection),
            (s.ValuesLine, self._values_line),
        ):
            for line in lines:
                if isinstance(line, kind):
                    try:
                        action(line)  # type: ignore[arg-type]
                    except EqsError as error:
                        self.errors.append(error)
                        if isinstance(line, s.PopulationLine):
                            self.faulty.add(line.name)
        if self.syntax.networks and not self.populations and not self.errors:
            span = self.syntax.networks[0].span
            self.errors.append(
                EqsError(
                    span, "the network has no population", "add a line such as `cells : lif[10]`"
                )
            )

    def _default(self) -> None:
        own = [block for block in self.syntax.blocks if block.kind == "neuron"]
        if len(own) != 1:
            message = f"{len(own)} neuron blocks and no network block"
            if not self.syntax.blocks:
                raise ModelError(
                    f"{self.syntax.path}: {message}; write at least one `neuron NAME:`"
                )
            block = (*own[1:], *self.syntax.blocks)[0]
            name = own[0].name if own else "NEURON"
            hint = f"add `network:` with lines such as `cells : {name}[10]`"
            self.errors.append(EqsError(block.span, message, hint))
            return
        self.populations["cells"] = Population("cells", own[0].name, None, span=own[0].span)
        self._require_values("cells", own[0])

    def _timestep(self, line: s.TimeStep) -> None:
        if line.name != "dt":
            raise EqsError(
                line.span,
                f"`{line.name}` cannot be set in the network block",
                "only `dt = ...` can; values of parameters follow `with`",
            )
        if self.dt_line:
            message = f"`dt` is set twice (first in line {self.dt_line})"
            raise EqsError(line.span, message, "keep one")
        self.dt_line = line.span.line
        self.dt = number_of(line.expression, TIME, "dt")
        if self.dt <= 0:
            raise EqsError(
                line.expression.span, "dt must be positive", "write a time such as `0.1*ms`"
            )

    def _values_line(self, line: s.ValuesLine) -> None:
        if self.values_file is not None:
            raise EqsError(
                line.span, "a second file of values", "put all arrays into one .npz file"
            )
        if "/" in line.file or "\\" in line.file or not line.file.endswith(".npz"):
            raise EqsError(
                line.span,
                f'"{line.file}" is not the name of an .npz file beside the model',
                "write the name without a folder",
            )
        self.values_file = line.file

    def _population(self, line: s.PopulationLine) -> None:
        if line.name in self.populations:
            raise EqsError(
                line.span, f"population `{line.name}` is declared twice", "rename one of them"
            )
        neuron = self.neurons.get(line.neuron)
        if neuron is None:
            what = "is a synapse" if line.neuron in self.drafts else "is not defined"
            raise EqsError(
                line.span,
                f"neuron model `{line.neuron}` {what}",
                suggest(
                    line.neuron,
                    set(self.neurons),
                    f"write `neuron {line.neuron}:`; there are {', '.join(self.neurons)}",
                ),
            )
        values: dict[str, Value] = {}
        try:
            values = self._values(line.overrides, neuron.variables, f"neuron `{neuron.name}`")
        except EqsError as error:  # the population exists all the same
            self.errors.append(error)
        self.populations[line.name] = Population(
            line.name, line.neuron, line.size, values, line.span
        )
        self._require_values(line.name, line)

    def _values(
        self, overrides: tuple[s.Override, ...], variables: dict | object, owner: str
    ) -> dict[str, Value]:
        values: dict[str, Value] = {}
        assert isinstance(variables, dict)
        for override in overrides:
            variable: Variable | None = variables.get(override.name)
            if variable is None:
                known = [n for n, v in variables.items() if v.role is Role.PARAMETER]
                hint = suggest(
                    override.name, known, f"its parameters are {', '.join(known) or 'none'}"
                )
                raise EqsError(override.span, f"{owner} has no parameter `{override.name}`", hint)
            if variable.role is not Role.PARAMETER:
                raise EqsError(
                    override.span,
                    f"`{override.name}` of {owner} is a {variable.role.value}, not a parameter",
                    "only parameters take values here",
                )
            if override.name in values:
                raise EqsError(override.span, f"`{override.name}` is given twice", "keep one")
            values[override.name] = check_value(override.value, variable)
        return {
            name: resolve_centre(name, value, variables, values) for name, value in values.items()
        }

    def _require_values(self, population: str, line: s.PopulationLine | s.Block) -> None:
        entry = self.populations[population]
        for variable in self.neurons[entry.neuron].variables.values():
            if (
                variable.role is Role.PARAMETER
                and variable.value is None
                and variable.name not in entry.values
            ):
                message = f"`{variable.name}` of population `{population}` has no value"
                hint = (
                    f"write `{variable.name} : {variable.unit.name} = ...`, `with {variable.name} = ...`, "
                    "`~ ...` if unknown, or mark it `(input)`"
                )
                self.errors.append(EqsError(line.span, message, hint))

    def _projection(self, line: s.ProjectionLine) -> None:
        for end in (line.pre, line.post):
            if end in self.faulty and end not in self.populations:
                raise Consequence(line.span, f"population `{end}` is declared by a faulty line")
            if end not in self.populations:
                hint = suggest(end, set(self.populations), "declare it with `name : neuron[size]`")
                raise EqsError(line.span, f"there is no population `{end}`", hint)
        found = self.drafts.get(line.synapse)
        if found is None or found.block.kind != "synapse":
            known = {name for name, d in self.drafts.items() if d.block.kind == "synapse"}
            what = "is not defined" if found is None else "is a neuron"
            raise EqsError(
                line.span,
                f"synapse model `{line.synapse}` {what}",
                suggest(
                    line.synapse,
                    known,
                    f"write `synapse {line.synapse}:`"
                    + (f"; there are {', '.join(sorted(known))}" if known else ""),
                ),
            )
        pre, post = (self.neurons[self.populations[end].neuron] for end in (line.pre, line.post))
        # checked for every pair of neuron models: `_pre` and `_post` mean something else each time
        ends = (self.drafts[self.populations[end].neuron] for end in (line.pre, line.post))
        faulty = {
            f"{name}{end}"
            for d, end in zip(ends, ("_pre", "_post"), strict=True)
            for name in d.faulty
        }
        synapse = check_synapse(found, pre, post, faulty)
        self.synapses[line.synapse] = synapse
        values = self._values(line.overrides, dict(synapse.variables), f"synapse `{line.synapse}`")
        for variable in synapse.variables.values():
            if (
                variable.role is Role.PARAMETER
                and variable.value is None
                and variable.name not in values
            ):
                hint = f"write `with {variable.name} = ...`, or give it a value in the synapse"
                self.errors.append(
                    EqsError(line.span, f"`{variable.name}` of this projection has no value", hint)
                )
        name = self._name(line)
        self.projections[name] = Projection(
            name=name,
            pre=line.pre,
            post=line.post,
            synapse=line.synapse,
            values=values,
            condition=self._condition(line),
            probability=self._probability(line),
            delay=self._delay(line),
            span=line.span,
        )

    def _name(self, line: s.ProjectionLine) -> str:
        short = f"{line.pre}->{line.post}"
        same = [
            other
            for other in self.syntax.networks[0].lines
            if isinstance(other, s.ProjectionLine)
            and (other.pre, other.post) == (line.pre, line.post)
        ]
        name = short if len(same) == 1 else f"{short}:{line.synapse}"
        if name in self.projections:
            raise EqsError(
                line.span,
                f"`{line.pre} -> {line.post} : {line.synapse}` is declared twice",
                "keep one, or use another synapse model",
            )
        return name

    def _condition(self, line: s.ProjectionLine) -> Boolean | None:
        if line.condition is None:
            return None
        names = Names(dict.fromkeys(("i", "j", "N_pre", "N_post"), DIMENSIONLESS))
        return condition_of(line.condition, names, "what follows `if`")

    def _probability(self, line: s.ProjectionLine) -> float:
        if line.probability is None:
            return 1.0
        value = number_of(line.probability, DIMENSIONLESS, "a probability")
        if not 0 <= value <= 1:
            raise EqsError(
                line.probability.span,
                f"{value:g} is not a probability",
                "write a number from 0 to 1",
            )
        return value

    def _delay(self, line: s.ProjectionLine) -> float:
        if line.delay is None:
            return 0.0
        value = number_of(line.delay, TIME, "a delay")
        if value < 0 or not math.isfinite(value):
            raise EqsError(
                line.delay.span, "a delay cannot be negative", "write a time such as `2*ms`"
            )
        return value
