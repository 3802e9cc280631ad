"""from_brian2: a Brian2 model, as equations or as a whole network, to the language of .eqs files."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from eqsnn.errors import InputError
from eqsnn.exchange.brian import load_brian2, standard_names
from eqsnn.exchange.cells import Cell, read_neurons, read_poisson, read_trains, targets
from eqsnn.exchange.imported import Imported
from eqsnn.exchange.joints import Joint, background_line, read_synapses, written_outside
from eqsnn.exchange.literals import quantity_text
from eqsnn.exchange.reader import Reader, safe
from eqsnn.language.units import TIME

MONITORS = ("StateMonitor", "SpikeMonitor", "EventMonitor", "PopulationRateMonitor", "SpikeSource")
REFUSED = {
    "NetworkOperation": ("a network_operation runs Python", "write it as run_regularly, or as `every ...:` in the .eqs file"),
    "SpatialNeuron": ("a neuron with compartments", "import point neurons only"),
    "SpatialSubgroup": ("a part of a neuron with compartments", "import point neurons only"),
}  # fmt: skip


def from_brian2(
    model: Any,
    *,
    N: int = 1,
    threshold: str | None = None,
    reset: str | None = None,
    refractory: Any = False,
    events: Mapping[str, str] | None = None,
    method: Any = None,
    namespace: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] | None = None,
    dt: Any = None,
    name: str = "cells",
) -> Imported:
    """Return a Brian2 model in the language of .eqs files: text, arrays and drives (docs/exchange.md).

    model: equations as text or `Equations`, which become one population `name` of N neurons with the arguments of
    NeuronGroup and the values `initial` of states and parameters; or a `Network`, one object of Brian2 or a collection
    of objects, taken with their present values. namespace: what names outside the equations stand for, by default the
    variables of the caller, as in Brian2; dt: of equations given as text, else the network's own.
    Raises InputError for what cannot be carried over, naming the object, and where Brian2 is not installed.
    """
    brian = load_brian2()
    if namespace is None:
        frame = sys._getframe(1)
        namespace = {**frame.f_globals, **frame.f_locals}
    if isinstance(model, str | brian.Equations):
        options: dict[str, Any] = {} if method is None else {"method": method}
        group = brian.NeuronGroup(
            N, model, threshold=threshold, reset=reset, refractory=refractory, name=name, dt=dt,
            events=None if events is None else dict(events), **options,
        )  # fmt: skip
        for variable, value in (initial or {}).items():
            setattr(group, variable, value)
        group._network = "imported"  # else Brian2 warns of a group that never ran
        objects: list[Any] = [group]
    else:
        if any(given is not None for given in (threshold, reset, events, method, initial, dt)):
            raise InputError(
                "threshold, reset, events, method, initial and dt belong to equations given as text"
            )
        objects = _objects_of(brian, model)
    return _Importer(brian, objects, namespace).run()


def _objects_of(brian: Any, model: Any) -> list[Any]:
    if isinstance(model, brian.Network):
        if model.t_ > 0:
            raise InputError(
                f"the network has already run for {model.t}; spikes on their way cannot be imported: call from_brian2 "
                "before run(), or restore() the start"
            )
        return list(model.objects)
    if isinstance(model, brian.MagicNetwork if hasattr(brian, "MagicNetwork") else ()):
        return list(brian.collect(level=2))
    if isinstance(model, Iterable) and not hasattr(model, "variables"):
        return list(model)
    return [model]


class _Importer:
    """Sorts the objects of a network, writes each, and puts the file together."""

    def __init__(self, brian: Any, objects: list[Any], namespace: Mapping[str, Any]) -> None:
        self.brian, self.namespace = brian, namespace
        self.units, self.functions = standard_names()
        self.cells: dict[str, Cell] = {}
        self.synapses: list[Any] = []
        self.backgrounds: list[Any] = []
        for thing in objects:
            self._sort(thing)
        if not self.cells:
            raise InputError(
                "there is no group of neurons to import; give a Network with NeuronGroups"
            )
        # in the order in which Brian2 advances them, which linked variables can tell
        self.cells = dict(
            sorted(
                self.cells.items(),
                key=lambda item: (item[1].group.order, f"{item[0]}_stateupdater"),
            )
        )
        self.dt = self._time_step()

    def _sort(self, thing: Any) -> None:
        kind = type(thing).__name__
        if kind in REFUSED:
            what, advice = REFUSED[kind]
            raise InputError(f"{thing.name}: {what} and cannot be imported; {advice}")
        if kind in ("NeuronGroup", "PoissonGroup", "SpikeGeneratorGroup"):
            self.cells[thing.name] = Cell(thing, safe(thing.name), self._reader(thing), set())
        elif kind == "Synapses":
            self.synapses.append(thing)
        elif kind == "PoissonInput":
            self.backgrounds.append(thing)
        elif kind not in MONITORS and not _is_part(thing):
            raise InputError(
                f"{getattr(thing, 'name', thing)}: a {kind} cannot be imported; remove it from the network"
            )
        if not getattr(thing, "active", True):
            raise InputError(
                f"{thing.name}: an inactive object cannot be imported; leave it out or activate it"
            )

    def _reader(self, group: Any) -> Reader:
        def lookup(name: str) -> Any:
            return group._resolve_external(name, self.namespace, user_identifier=False)

        def own(name: str) -> str | None:
            return None if name not in group.variables else _kept(name)

        def call(name: str, array: Any, arguments: list[str]) -> str:
            return self.cells[group.name].add_input(name, array, arguments)

        return Reader(group.name, lookup, self.units, self.functions, own, call)

    def _time_step(self) -> float:
        steps = {float(np.asarray(cell.group.clock.dt_)) for cell in self.cells.values()}
        steps |= {float(np.asarray(s.clock.dt_)) for s in self.synapses}
        if max(steps) > min(steps) * (1 + 1e-4):
            raise InputError(
                f"the objects have time steps of {', '.join(f'{step:g} s' for step in sorted(steps))}; "
                "give all of them one `dt`"
            )
        return min(steps)

    def _population_of(self, group: Any) -> str:
        return self._cell_of(group).name

    def _cell_of(self, group: Any) -> Cell:
        whole = group.source if type(group).__name__ == "Subgroup" else group
        if whole.name not in self.cells:
            kind = type(whole).__name__
            if kind == "Synapses":
                raise InputError(
                    f"{whole.name}: Synapses that other Synapses act on cannot be imported; move the variable into a neuron"
                )
            raise InputError(
                f"{whole.name}: this group is not part of the network; add it to the objects"
            )
        return self.cells[whole.name]

    def run(self) -> Imported:
        """Return the file, its arrays and drives."""
        joints = [self._joint(each) for each in self.synapses]
        for cell in self.cells.values():
            cell.written.update(_written_inside(cell.group))
        for runner in self.backgrounds:
            self._cell_of(runner._group).written.add(runner.target_var)
        for cell in self.cells.values():
            self._read(cell)
        for runner in sorted(self.backgrounds, key=lambda each: each.name):
            self._background(runner)
        joints.sort(key=lambda joint: joint.name)
        projections = [read_synapses(joint, self.dt, self.namespace) for joint in joints]
        parts: list[Cell | Joint] = [*self.cells.values(), *joints]
        return Imported(
            self._text(joints, projections),
            {
                f"{_group_name(part, joints)}.{name}": value
                for part in parts
                for name, value in part.values.items()
            },
            {
                f"{cell.name}.{name}": drive
                for cell in self.cells.values()
                for name, drive in cell.drives.items()
            },
            {joint.listed: joint.pairs for joint in joints if joint.listed},
            _renamed(parts, joints),
        )

    def _joint(self, synapses: Any) -> Joint:
        pre, post = self._cell_of(synapses.source), self._cell_of(synapses.target)
        first = (
            int(getattr(synapses.source, "start", 0)),
            int(getattr(synapses.target, "start", 0)),
        )
        joint = Joint(synapses, safe(synapses.name), pre, post, first)

        def lookup(name: str) -> Any:
            return synapses._resolve_external(name, self.namespace, user_identifier=False)

        joint.reader = Reader(
            synapses.name, lookup, self.units, self.functions, joint.name_of, joint.call_of
        )
        for side, name in written_outside(synapses):
            (pre if side == "pre" else post).written.add(name)
        return joint

    def _read(self, cell: Cell) -> None:
        kind = type(cell.group).__name__
        if kind == "PoissonGroup":
            read_poisson(cell)
        elif kind == "SpikeGeneratorGroup":
            read_trains(cell)
        else:
            read_neurons(cell, self.dt, self.namespace, self._population_of)

    def _background(self, runner: Any) -> None:
        cell = self._cell_of(runner._group)
        if type(runner._group).__name__ == "Subgroup":
            raise InputError(
                f"{runner.name}: a PoissonInput into a part of a group cannot be imported; split the group"
            )
        if runner.when != "synapses":
            raise InputError(
                f"{runner.name}: the slot `{runner.when}` cannot be imported; leave it in `synapses`"
            )
        cell.lines.append(background_line(runner, cell.reader))

    def _text(self, joints: list[Joint], projections: list[str]) -> str:
        lines = [f"# Imported by eqsnn from Brian2 {self.brian.__version__}.", ""]
        for cell in self.cells.values():
            if type(cell.group).__name__ != "SpikeGeneratorGroup":
                lines += [*cell.block(), ""]
        for joint in joints:
            lines += [*joint.block(), ""]
        lines += ["network:", f"    dt = {quantity_text(self.dt, TIME)}"]
        for cell in self.cells.values():
            trains = type(cell.group).__name__ == "SpikeGeneratorGroup"
            lines.append(
                f"    {cell.name} : {'spike_train' if trains else cell.name + '_model'}[{cell.size}]"
            )
        lines += [f"    {line}" for cell in self.cells.values() for line in cell.links]
        return "\n".join([*lines, *(f"    {line}" for line in projections)]) + "\n"


def _kept(name: str) -> str:
    """Return the name of a variable of a neuron; those that both languages know keep theirs."""
    both = ("t", "dt", "i", "N", "t_in_timesteps", "lastspike", "not_refractory")
    return name if name in both or name.startswith("xi") else safe(name)


def _renamed(parts: list[Cell | Joint], joints: list[Joint]) -> dict[str, str]:
    found = {}
    for part in parts:
        thing = part.group if isinstance(part, Cell) else part.synapses
        own = part.own if isinstance(part, Joint) else set(getattr(thing, "user_equations", ()))
        group = _group_name(part, joints)
        for name in sorted(own):
            if safe(name) != name or safe(thing.name) != thing.name:
                found[f"{thing.name}.{name}"] = f"{group}.{safe(name)}"
    return found


def _is_part(thing: Any) -> bool:
    """Whether an object belongs to a group that is imported as a whole."""
    names = [each.__name__ for each in type(thing).__mro__]
    return "CodeRunner" in names and "Synapses" not in names


def _written_inside(group: Any) -> Iterator[str]:
    for runner in group.contained_objects:
        if type(runner).__name__ == "CodeRunner":
            yield from targets(runner.abstract_code)
    for code in getattr(group, "event_codes", {}).values():
        yield from targets(code)


def _group_name(part: Cell | Joint, joints: list[Joint]) -> str:
    if isinstance(part, Cell):
        return part.name
    short = f"{part.pre.name}->{part.post.name}"
    same = [other for other in joints if (other.pre, other.post) == (part.pre, part.post)]
    return short if len(same) == 1 else f"{short}:{part.name}"
