"""Neuron and synapse blocks as the arguments of NeuronGroup and Synapses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from eqsnn.errors import InputError
from eqsnn.exchange.literals import unit_text
from eqsnn.exchange.script_values import wave_name
from eqsnn.exchange.spelling import Spelling
from eqsnn.language import syntax as s
from eqsnn.language.check import PRELUDE
from eqsnn.language.expressions import Names, resolve
from eqsnn.language.fragments import check_functions, with_included, written_out
from eqsnn.language.model import Model, NeuronModel, Projection, Role, SynapseModel, Variable
from eqsnn.language.parse import parse
from eqsnn.language.units import DIMENSIONLESS, TIME, Dimension, divide, parse_unit

METHODS = {"midpoint": "rk2"}  # Brian2's names where they differ
IN_SYNAPSE = ("i", "j", "N_pre", "N_post", "N_incoming", "N_outgoing")


@dataclass(slots=True)
class Source:
    """The syntax of a model, fragments written out: what a script is made of.

    blocks: by name; functions: the file's own; links: its `link` lines; conditions: by projection, where the text of `if`
    says alone which synapses exist (empty: all).
    """

    model: Model
    blocks: dict[str, s.Block] = field(init=False)
    functions: dict[str, s.Function] = field(init=False)
    links: tuple[s.Link, ...] = field(init=False)
    conditions: dict[str, str] = field(init=False)
    known: Names = field(init=False)

    def __post_init__(self) -> None:
        syntax = with_included(parse(self.model.text, self.model.path))
        own = {block.name: block for block in syntax.blocks}
        fragments = {name: block for name, block in own.items() if block.kind == "equations"}
        prelude = {
            block.name: block
            for block in parse(PRELUDE.read_text(encoding="utf-8"), "prelude.eqs").blocks
        }
        self.blocks = {
            name: written_out(block, fragments) for name, block in {**prelude, **own}.items()
        }
        self.functions = {function.name: function for function in syntax.functions}
        self.known = Names({}, functions=check_functions(syntax.functions, []))
        lines = [line for network in syntax.networks for line in network.lines]
        self.links = tuple(line for line in lines if isinstance(line, s.Link))
        projections = [line for line in lines if isinstance(line, s.ProjectionLine)]
        self.conditions = dict(self._conditions(projections))

    def _conditions(self, lines: list[s.ProjectionLine]) -> Iterator[tuple[str, str]]:
        for line in lines:
            if line.probability is not None or line.targets is not None or line.pairs is not None:
                continue
            found = (p for p in self.model.projections.values() if not p.link)
            name = next(
                p.name
                for p in found
                if (p.pre, p.post, p.synapse) == (line.pre, line.post, line.synapse)
            )
            spelling = self._spelling(name, dict.fromkeys(IN_SYNAPSE, DIMENSIONLESS), {})
            yield name, "" if line.condition is None else spelling.text(line.condition)

    def _spelling(
        self, where: str, variables: dict[str, Dimension], renamed: Mapping[str, str]
    ) -> Spelling:
        names = Names(variables, draws=True, white=True, functions=self.known.functions)
        return Spelling(where, names, self.functions, renamed)

    def of_neuron(self, neuron: NeuronModel) -> Spelling:
        """Return how the expressions of a neuron are spelt."""
        return self._spelling(neuron.name, {**_dimensions(neuron.variables), **_always()}, {})

    def of_synapse(self, model: Model, projection: Projection) -> Spelling:
        """Return how the expressions of a synapse are spelt, between the two populations that it joins."""
        synapse = model.synapse_of(projection.name)
        variables = {
            **_dimensions(synapse.variables),
            **dict.fromkeys(IN_SYNAPSE, DIMENSIONLESS),
            **_always(),
        }
        for ending, end in (("_pre", projection.pre), ("_post", projection.post)):
            neuron = {**_dimensions(model.neuron_of(end).variables), **_always()}
            variables |= {f"{name}{ending}": dimension for name, dimension in neuron.items()}
        return self._spelling(synapse.name, variables, {})

    def initial(self, variable: str, block: str, spelling: Spelling) -> Iterator[str]:
        """Yield the lines that set the states before the first step."""
        for line in self.blocks[block].lines:
            if isinstance(line, s.Statements) and line.keyword == "initial":
                for each in line.statements:
                    if each.target not in spelling.names.variables:
                        raise InputError(
                            f"{block}: `initial` with a temporary `{each.target}`; declare it as a variable"
                        )
                    text = spelling.text(each.expression, spelling.names.variables[each.target])
                    name = spelling.name(each.target)
                    if each.operator != "=":
                        text = f"{name} {each.operator[:-1]} ({text})"
                    yield f'{variable}.{name} = "{text}"'


def _dimensions(variables: Mapping[str, Variable]) -> dict[str, Dimension]:
    return {
        name: variable.unit.dimension for name, variable in variables.items() if not variable.summed
    }


def _always() -> dict[str, Dimension]:
    counts = dict.fromkeys(("i", "N", "t_in_timesteps"), DIMENSIONLESS)
    return {**counts, "lastspike": TIME, "not_refractory": parse_unit("boolean").dimension}


def neuron_arguments(
    source: Source, neuron: NeuronModel, population: str, method: str | None
) -> tuple[list[str], list[str]]:
    """Return the arguments of NeuronGroup, and the calls that follow its construction."""
    spelling, block = source.of_neuron(neuron), source.blocks[neuron.name]
    equations, arguments, later, events = [], [], [], {}
    for line in block.lines:
        if isinstance(line, s.Ode | s.Definition | s.Declaration):
            equations.append(_equation(line, neuron.variables, spelling, population))
        elif isinstance(line, s.Setting) and line.keyword in ("threshold", "refractory"):
            arguments.append(f'{line.keyword}="{spelling.text(line.expression)}",')
        elif isinstance(line, s.Event):
            events[line.name] = spelling.text(line.condition)
        elif isinstance(line, s.Statements):
            code = statements_text(line, neuron.variables, spelling)
            if line.keyword == "reset":
                arguments.append(f"reset={_quoted(code)},")
            else:
                later += _call(line, code, spelling)
    if events:
        arguments.append(f"events={_table(events)},")
    if method is not None:
        arguments.append(f'method="{METHODS.get(method, method)}",')
    return [f"{_quoted(equations)},", *arguments], later


def _call(line: s.Statements, code: list[str], spelling: Spelling) -> list[str]:
    if line.keyword == "on":
        return [f'run_on_event("{line.event}", {_quoted(code)})']
    if line.keyword == "every":
        step = "" if line.period is None else f", dt={spelling.text(line.period)}"
        return [f"run_regularly({_quoted(code)}{step})"]
    slot = {"update": "before_thresholds", "background": "synapses"}.get(line.keyword)
    return [] if slot is None else [f'run_regularly({_quoted(code)}, when="{slot}")']


def _equation(
    line: s.Ode | s.Definition | s.Declaration,
    variables: Mapping[str, Variable],
    spelling: Spelling,
    population: str,
) -> str:
    if isinstance(line, s.Ode):
        dimension = variables[line.state].unit.dimension
        rate = spelling.text(line.rate, divide(dimension, TIME))
        return (
            f"d{spelling.name(line.state)}/dt = {rate} : {unit_text(dimension)}{_flags(line.flags)}"
        )
    name = spelling.name(line.name)
    if isinstance(line, s.Definition):
        summed = line.name not in variables
        unit = (
            _unit(line, variables) if not summed else unit_text(spelling.names.variables[line.name])
        )
        expected = (
            spelling.names.variables[line.name] if summed else variables[line.name].unit.dimension
        )
        return f"{name} = {spelling.text(line.expression, expected)} : {unit}{_flags(line.flags)}"
    variable = variables[line.name]
    unit = _unit(line, variables)
    if variable.role is Role.INPUT:
        return f"{name} = {wave_name(population, line.name)}(t, i) : {unit} (constant over dt)"
    if variable.linked:
        return f"{name} : {unit} (linked)"
    if variable.role is Role.PARAMETER:
        return f"{name} : {unit} ({'shared, ' if variable.shared else ''}constant)"
    return f"{name} : {unit}{' (shared)' if variable.shared else ''}"


def _unit(line: s.Definition | s.Declaration, variables: Mapping[str, Variable]) -> str:
    if line.unit.text in ("boolean", "integer"):
        return line.unit.text
    return unit_text(variables[line.name].unit.dimension)


def _flags(flags: tuple[s.Flag, ...]) -> str:
    kept = [flag.text for flag in flags if flag.text != "per population"]
    return f" ({', '.join(kept)})" if kept else ""


def statements_text(
    line: s.Statements, variables: Mapping[str, Variable], spelling: Spelling
) -> list[str]:
    """Return a list of statements; names that nothing declares are temporaries and keep what they are assigned."""
    lines = []
    known = spelling.names.variables
    for each in line.statements:
        factor = each.operator not in ("=", "+=", "-=")
        expected = None if factor else known.get(each.target, known.get(f"{each.target}_post"))
        lines.append(
            f"{spelling.name(each.target)} {each.operator} {spelling.text(each.expression, expected)}"
        )
        if each.target not in known and f"{each.target}_post" not in known:
            found = resolve(each.expression, spelling.names).dimension
            known[each.target] = DIMENSIONLESS if found is None else found
    return lines


def _quoted(lines: list[str]) -> str:
    if len(lines) == 1:
        return f'"{lines[0]}"'
    body = "\n        ".join(lines)
    return f'"""\n        {body}\n    """' if lines else '""'


def _table(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": "{text}"' for name, text in texts.items()) + "}"


def synapse_arguments(
    source: Source, model: Model, projection: Projection, method: str | None
) -> tuple[list[str], list[str]]:
    """Return the arguments of Synapses that follow its two groups, and the calls after its construction."""
    synapse: SynapseModel = model.synapse_of(projection.name)
    spelling, block = source.of_synapse(model, projection), source.blocks[synapse.name]
    equations: list[str] = []
    codes: dict[str, dict[str, str]] = {"on_pre": {}, "on_post": {}}
    events, later = {}, []
    for line in block.lines:
        if isinstance(line, s.Ode | s.Definition | s.Declaration):
            equations.append(_equation(line, synapse.variables, spelling, projection.name))
        elif isinstance(line, s.Statements) and line.keyword in codes:
            name = line.name or line.keyword.removeprefix("on_")
            codes[line.keyword][name] = _quoted(statements_text(line, synapse.variables, spelling))
            if line.event:
                events[name] = line.event
        elif isinstance(line, s.Statements) and line.keyword == "every":
            later += _call(line, statements_text(line, synapse.variables, spelling), spelling)
    arguments = [f"{_quoted(equations)},", *_pathway_arguments(codes)]
    if events:
        arguments.append(f"on_event={_table(events)},")
    if method is not None:
        arguments.append(f'method="{METHODS.get(method, method)}",')
    return arguments, later


def _pathway_arguments(codes: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield on_pre and on_post: the code of the usual pathway alone, else a dictionary."""
    for keyword, pathways in codes.items():
        usual = keyword.removeprefix("on_")
        if list(pathways) == [usual]:
            yield f"{keyword}={pathways[usual]},"
        elif pathways:
            written = ", ".join(f'"{name}": {code}' for name, code in pathways.items())
            yield f"{keyword}={{{written}}},"
