"""symmetries: which unknowns can change together without changing a single spike.

A continuous symmetry moves every state and unknown x by c*(a_x x + b_x): a scale about a fixed point, or a shift. It
leaves the spikes alone if it carries every equation, statement, sum and condition into itself. Whether it does is a
linear question in the numbers a_x and b_x: each rule, differentiated along the motion, gives one linear equation at
every point, and exact rational arithmetic at some points gives them all. Functions such as exp(u) count as values
independent of u, so a symmetry that only they allow is missed, but none is invented.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from random import Random

import sympy
from sympy import Expr, Integer, Rational, Symbol
from sympy.core.relational import Relational

from eqsnn.language.functions import Flat, RealFunction, Where, symbol
from eqsnn.language.model import Distribution, Model, NeuronModel, Role, Statement, SynapseModel

Moves = dict[Symbol, tuple[Fraction, Fraction]]  # name -> (a, b): it moves along a*x + b
Row = dict[tuple[Symbol, str], Fraction]


@dataclass(frozen=True, slots=True)
class Symmetry:
    """`moves` maps full names to (a, b) in the units of the file: y is scaled by c**a about -b/a, or shifted by b*c."""

    moves: Mapping[str, tuple[Fraction, Fraction]]
    unknowns: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(f"{name} {_in_words(*self.moves[name])}" for name in self.moves)

    @property
    def invariant(self) -> str:
        """What of two unknowns is determined, or nothing to say."""
        if len(self.unknowns) != 2:
            return ""
        first, second = self.unknowns
        if self.moves[first][0] == 0 and self.moves[first] == self.moves[second]:
            return f"only {first} - {second}"
        if not self.moves[first][0] or not self.moves[second][0]:
            return ""
        power = self.moves[first][0] / self.moves[second][0]
        a, b = (_about(name, *self.moves[name]) for name in self.unknowns)
        joined = f"{a}/{b}" if power > 0 else f"{a}*{b}"
        return f"only {joined}{'' if abs(power) == 1 else f'**{abs(power)}'}"


def _about(name: str, a: Fraction, b: Fraction) -> str:
    point = -b / a
    return name if not point else f"({name} {'-' if point > 0 else '+'} {float(abs(point)):g})"


def _in_words(a: Fraction, b: Fraction) -> str:
    if a == 0:
        return f"+ {float(b):g}*c"
    about = "" if not b else f" about {float(-b / a):g}"
    return f"* c**{a}{about}" if a != 1 else f"* c{about}"


def symmetries(model: Model) -> tuple[Symmetry, ...]:
    """Return independent symmetries that move an unknown."""
    rules = _Rules(model)
    moving = [*rules.moving]
    columns = [(x, kind) for x in moving for kind in ("a", "b")]
    rows = [row for rule in rules.read() for row in _equations(rule, columns)]
    found = []
    for vector in _null_space([*rows, *rules.fixed], _ordered(columns, rules.unknown)):
        moves = {
            str(x): _in_file_units(vector, x, rules.scale[x])
            for x in moving
            if vector.get((x, "a")) or vector.get((x, "b"))
        }
        unknowns = tuple(str(x) for x in rules.unknown if str(x) in moves)
        if unknowns:
            a, b = moves[unknowns[0]]
            moves = {name: (p / (a or b), q / (a or b)) for name, (p, q) in moves.items()}
            found.append(Symmetry(moves, unknowns))
    return tuple(found)


def _in_file_units(vector: Row, x: Symbol, scale: float) -> tuple[Fraction, Fraction]:
    return vector.get((x, "a"), Fraction(0)), vector.get((x, "b"), Fraction(0)) / Fraction(
        scale
    ).limit_denominator(10**15)


@dataclass(frozen=True, slots=True)
class _Rule:
    """`along(value)` must be a_target*value + b_target; of a condition some multiple of it, of a rate without b."""

    value: Expr
    target: Symbol | None  # None: the value may not change
    has_shift: bool = True
    is_margin: bool = False


class _Rules:
    """Everything that decides about spikes, over full names such as `cells.v`."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.moving: list[Symbol] = []
        self.unknown: list[Symbol] = []
        self.scale: dict[Symbol, float] = {}
        self.numbers: dict[Symbol, Expr] = {}
        self.fixed: list[Row] = []
        for group in (*model.populations, *model.projections):
            self._declare(group)

    def _block(self, group: str) -> NeuronModel | SynapseModel:
        model = self.model
        return model.neuron_of(group) if group in model.populations else model.synapse_of(group)

    def _declare(self, group: str) -> None:
        block = self._block(group)
        entry = self.model.populations.get(group) or self.model.projections[group]
        begun = {a.target for a in block.initial}
        for variable in block.variables.values():
            full = symbol(f"{group}.{variable.name}")
            value = entry.values.get(variable.name, variable.value)
            self.scale[full] = variable.unit.scale
            if variable.role in (Role.STATE, Role.VARIABLE):
                self.moving.append(full)
                if variable.name not in begun:  # it starts at 0
                    self.fixed.append({(full, "b"): Fraction(1)})
            elif variable.role is Role.PARAMETER and value is not None:
                if value.learned:
                    self.moving.append(full)
                    self.unknown.append(full)
                elif not isinstance(value.given, Distribution):
                    self.numbers[full] = Rational(str(value.given))

        self._declare_held(group, block)

    def _declare_held(self, group: str, block: NeuronModel | SynapseModel) -> None:
        """What holds a state of the step's start moves like that state, but is no longer equal to it within the step."""
        states = {
            symbol(v.name)
            for v in block.variables.values()
            if v.role in (Role.STATE, Role.VARIABLE)
        }
        noise = {source.symbol for source in block.noise}
        for name, definition in block.subexpressions.items():
            read = definition.free_symbols
            if block.variables[name].constant_over_dt and read & states and not read & noise:
                self.moving.append(symbol(f"{group}.{name}"))

    def _full(self, group: str) -> dict[Symbol, Expr]:
        """Return what the names of a group stand for, subexpressions written out."""
        names: dict[Symbol, Expr] = {}
        if group in self.model.projections:
            projection = self.model.projections[group]
            for population, ending in ((projection.pre, "_pre"), (projection.post, "_post")):
                names |= {symbol(f"{s}{ending}"): e for s, e in self._full(population).items()}
        block = self._block(group)
        for variable in block.variables.values():
            if variable.role is not Role.SUBEXPRESSION:
                full = symbol(f"{group}.{variable.name}")
                names[symbol(variable.name)] = self.numbers.get(full, full)
        for name, definition in block.subexpressions.items():
            names[symbol(name)] = definition.xreplace(names)
            held = symbol(f"{group}.{name}")
            if held in self.moving:
                names[symbol(name)] = held
        return names

    def read(self) -> Iterator[_Rule]:
        """Return every rule of the network."""
        for group in (*self.model.populations, *self.model.projections):
            block, names = self._block(group), self._full(group)
            for x, rate in block.equations.items():
                yield _Rule(rate.xreplace(names), symbol(f"{group}.{x}"), has_shift=False)
            for x, definition in block.subexpressions.items():
                if (held := symbol(f"{group}.{x}")) in self.moving:
                    yield _Rule(definition.xreplace(names), held)
            if isinstance(block, NeuronModel):
                yield from self._of_neuron(group, block, names)
            else:
                yield from self._of_synapse(group, block, names)

    def _of_neuron(self, group: str, neuron: NeuronModel, names: Mapping) -> Iterator[_Rule]:
        conditions = [neuron.threshold, *(event.condition for event in neuron.events.values())]
        for condition in conditions:
            if condition is not None:
                yield from _of_conditions(condition.xreplace(names))
        refractory = neuron.refractory
        if refractory is not None:
            written = refractory.xreplace(names)
            if isinstance(refractory, Expr):
                yield _Rule(written, None)
            else:
                yield from _of_conditions(written)
        yield from self._statements(group, names, neuron.statements)

    def _of_synapse(self, group: str, synapse: SynapseModel, names: Mapping) -> Iterator[_Rule]:
        projection = self.model.projections[group]
        for x, term in synapse.summed.items():
            target = symbol(f"{projection.post}.{x}")
            self.fixed.append({(target, "b"): Fraction(1)})  # sums over any number of synapses
            yield _Rule(term.xreplace(names), target)
        yield from self._statements(group, names, synapse.statements)

    def _statements(
        self, group: str, names: Mapping, statements: Iterable[Statement]
    ) -> Iterator[_Rule]:
        for statement in statements:
            target = names.get(symbol(statement.target))
            if isinstance(target, Symbol):
                yield _Rule(statement.expression.xreplace(names), target)


def _of_conditions(condition: Expr) -> Iterator[_Rule]:
    for relation in sorted(condition.atoms(Relational), key=str):
        yield _Rule(relation.lhs - relation.rhs, None, is_margin=True)


def _equations(rule: _Rule, columns: list[tuple[Symbol, str]]) -> Iterator[Row]:
    """Return linear equations in the moves that hold exactly if the rule is carried into itself."""
    yield from _inside(rule.value, columns)
    terms = _along(rule.value, columns)
    target = rule.target
    if rule.is_margin:
        yield from _proportional(rule.value, terms)
        return
    if target is not None:
        terms[target, "a"] = terms.get((target, "a"), Integer(0)) - rule.value
        if rule.has_shift:
            terms[target, "b"] = terms.get((target, "b"), Integer(0)) - 1
    yield from _at_points(terms)


def _along(value: Expr, columns: list[tuple[Symbol, str]]) -> dict[tuple[Symbol, str], Expr]:
    """Return the derivative of a value along each elementary motion: a scale (x) or a shift (1)."""
    present = value.free_symbols
    return {
        (x, kind): value.diff(x) * (x if kind == "a" else 1) for x, kind in columns if x in present
    }


def _proportional(value: Expr, terms: Mapping[tuple[Symbol, str], Expr]) -> Iterator[Row]:
    """A margin may be scaled as a whole: the factor is one more unknown of these equations."""
    factor = (sympy.Dummy("factor", real=True), "a")
    yield from _at_points({**terms, factor: -value})


def _inside(value: Expr, columns: list[tuple[Symbol, str]]) -> Iterator[Row]:
    """What a rounding, a draw or a condition looks at must stay as it is (a condition: up to a factor)."""
    for part in sorted(value.atoms(RealFunction), key=str):
        if isinstance(part, Flat):
            for argument in part.args:
                yield from _at_points(_along(argument, columns))  # type: ignore[arg-type]
        elif isinstance(part, Where):
            for rule in _of_conditions(part.args[0]):  # type: ignore[arg-type]
                yield from _proportional(rule.value, _along(rule.value, columns))


def _at_points(terms: Mapping[tuple[Symbol, str], Expr]) -> Iterator[Row]:
    """Evaluate the equation sum of terms = 0 at random rational points, exactly."""
    rng = Random(0)
    held: dict[Expr, Symbol] = {}
    opaque = {c: _opened(e, held) for c, e in terms.items() if e != 0}
    names = sorted({s for e in opaque.values() for s in e.free_symbols}, key=str)
    for _ in range(3 * len(opaque) + 2 if opaque else 0):
        point = {s: Rational(rng.randint(1, 9973), rng.randint(1, 97)) for s in names}
        try:
            values = {c: e.xreplace(point) for c, e in opaque.items()}
        except TypeError:  # a condition on a division by zero: the other points decide
            continue
        if all(v.is_Rational for v in values.values()):
            yield {c: Fraction(int(v.p), int(v.q)) for c, v in values.items()}  # type: ignore[attr-defined]
        else:  # what cannot be evaluated exactly ties everything it mentions
            yield from ({c: Fraction(1)} for c in opaque)
            return


def _opened(expression: Expr, held: dict[Expr, Symbol]) -> Expr:
    """Replace functions and roots by symbols of their own, conditionals apart."""

    def is_opaque(e: Expr) -> bool:
        root = isinstance(e, sympy.Pow) and not e.exp.is_Integer
        return (isinstance(e, sympy.Function) and not isinstance(e, Where)) or root or e in (sympy.pi, sympy.E)  # fmt: skip

    return expression.replace(
        is_opaque, lambda e: held.setdefault(e, sympy.Dummy(f"held{len(held)}", real=True))
    )


def _ordered(columns: list[tuple[Symbol, str]], unknown: list[Symbol]) -> list[tuple[Symbol, str]]:
    """States first: they are eliminated, so that each symmetry is told by one free unknown."""
    return sorted(columns, key=lambda c: (c[0] in unknown, c[1] == "b"))


def _null_space(rows: Iterable[Row], columns: list[tuple[Symbol, str]]) -> list[Row]:
    """Return a basis of the solutions, by exact elimination; columns not listed are eliminated with the rest."""
    pivots: dict[tuple[Symbol, str], Row] = {}
    for row in rows:
        row = {c: v for c, v in row.items() if v}
        for c, pivot in pivots.items():
            if row.get(c):
                row = _minus(row, row[c], pivot)
        if not row:
            continue
        extra = [c for c in row if c not in columns]
        head = extra[0] if extra else min(row, key=columns.index)
        row = {c: v / row[head] for c, v in row.items()}
        pivots = {c: _minus(p, p[head], row) if p.get(head) else p for c, p in pivots.items()} | {
            head: row
        }
    free = [c for c in columns if c not in pivots]
    return [
        {f: Fraction(1)} | {c: -p[f] for c, p in pivots.items() if p.get(f) and c in columns}
        for f in free
    ]


def _minus(row: Row, factor: Fraction, other: Row) -> Row:
    keys = row.keys() | other.keys()
    found = {c: row.get(c, Fraction(0)) - factor * other.get(c, Fraction(0)) for c in keys}
    return {c: v for c, v in found.items() if v}
