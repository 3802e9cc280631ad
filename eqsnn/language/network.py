"""The network block: which neurons there are, and how they are connected."""

from collections.abc import Mapping
from pathlib import Path

from numpy.typing import NDArray

from eqsnn.errors import Consequence, EqsError, ModelError
from eqsnn.language import syntax as s
from eqsnn.language.blocks import Draft
from eqsnn.language.connections import Clauses, link_condition
from eqsnn.language.expressions import number_of, suggest
from eqsnn.language.functions import symbol
from eqsnn.language.model import (
    NeuronModel,
    Population,
    Projection,
    Role,
    SynapseModel,
    Value,
    Variable,
)
from eqsnn.language.synapses import check_synapse
from eqsnn.language.units import TIME
from eqsnn.language.values import check_value, resolve_centre

DEFAULT_DT = 0.1  # ms, as in Brian2


class NetworkReader:
    """Reads the network block: which neurons there are, and how they are connected."""

    def __init__(
        self,
        syntax: s.Syntax,
        errors: list[EqsError],
        drafts: dict[str, Draft],
        neurons: dict[str, NeuronModel],
        files: Mapping[str, Mapping[str, NDArray]],
    ) -> None:
        self.syntax, self.errors, self.drafts, self.neurons = syntax, errors, drafts, neurons
        self.files = files
        self.dt = DEFAULT_DT
        self.dt_line = 0  # where it is set
        self.faulty_links: set[str] = set()  # variables of `link` lines that are at fault
        self.faulty: set[str] = set()  # populations whose own line is at fault
        self.populations: dict[str, Population] = {}
        self.projections: dict[str, Projection] = {}
        self.synapses: dict[str, SynapseModel] = {}
        self.values_file: str | None = None

    def read(self) -> None:
        """Read every line; populations first, so that no order is imposed."""
        lines = self.syntax.networks[0].lines if self.syntax.networks else ()
        if not self.syntax.networks:
            self._default()
        for kind, action in (
            (s.TimeStep, self._timestep),
            (s.PopulationLine, self._population),
            (s.ProjectionLine, self._projection),
            (s.Link, self._link),
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
                        elif isinstance(line, s.Link):
                            self.faulty_links.add(line.variable)
        self._require_links()
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
                if not self.errors:
                    raise ModelError(
                        f"{self.syntax.path}: {message}; write at least one `neuron NAME:`"
                    )
                return
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
        clauses = Clauses(line, synapse, Path(self.syntax.path).parent, self.files)
        self.projections[name] = Projection(
            name=name,
            pre=line.pre,
            post=line.post,
            synapse=line.synapse,
            values=values,
            condition=clauses.condition(),
            probability=clauses.probability(),
            delay=clauses.delay(),
            delays=clauses.delays(),
            targets=clauses.targets(),
            pairs=clauses.pairs(),
            span=line.span,
        )

    def _link(self, line: s.Link) -> None:
        ends = []
        for end, name in ((line.population, line.variable), (line.source, line.read)):
            if end in self.faulty and end not in self.populations:
                raise Consequence(line.span, f"population `{end}` is declared by a faulty line")
            if end not in self.populations:
                hint = suggest(end, set(self.populations), "declare it with `name : neuron[size]`")
                raise EqsError(line.span, f"there is no population `{end}`", hint)
            neuron = self.neurons[self.populations[end].neuron]
            if name not in neuron.variables:
                hint = suggest(name, set(neuron.variables), "declare it there")
                raise EqsError(line.span, f"neuron `{neuron.name}` has no `{name}`", hint)
            ends.append((end, neuron.variables[name]))
        (post, target), (pre, source) = ends
        if not target.linked:
            raise EqsError(
                line.span,
                f"`{target.name}` of `{post}` is not marked (linked)",
                f"declare it as `{target.name} : {target.unit.name} (linked)`",
            )
        if target.unit.dimension != source.unit.dimension:
            message = f"`{post}.{target.name}` is in {target.unit.name}, but `{pre}.{source.name}` is in {source.unit.name}"
            raise EqsError(line.span, message, "give both the same unit")
        name = f"{pre}->{post}:{target.name}"
        if any(
            p.link and p.post == post and p.name.endswith(f":{target.name}")
            for p in self.projections.values()
        ):
            raise EqsError(line.span, f"`{post}.{target.name}` is linked twice", "keep one")
        synapse = f"link to {target.name} from {source.name}"
        self.synapses[synapse] = SynapseModel(
            synapse, {}, {}, {}, {target.name: symbol(f"{source.name}_pre")}, span=line.span
        )
        self.projections[name] = Projection(
            name, pre, post, synapse, condition=link_condition(line), link=True, span=line.span
        )

    def _require_links(self) -> None:
        for population in self.populations.values():
            for variable in self.neurons[population.neuron].variables.values():
                filled = any(
                    p.link and p.post == population.name and p.name.endswith(f":{variable.name}")
                    for p in self.projections.values()
                )
                filled |= variable.name in self.faulty_links
                if variable.linked and not filled and population.span is not None:
                    message = (
                        f"`{variable.name}` of population `{population.name}` is linked to nothing"
                    )
                    hint = f"add a line such as `link {population.name}.{variable.name} = other.x`"
                    self.errors.append(EqsError(population.span, message, hint))

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
