"""emit_density: C that carries the density of a neuron's noisy states on a grid through observed spikes, and back.

One call serves one neuron of one lane over a whole window: forwards, and if asked, backwards right after, so that
nothing but the densities of one window is ever kept. The potential lies on a grid; every other noisy state is carried
as its mean and variance at each node (moment closure, Ly & Tranchina 2007, doi:10.1162/neco.2007.19.8.2032), and pushed
from a standard deviation on either side of its mean.

The grid is laid anew in every step around what the density has become: nodes at m + w sinh(y), y evenly spaced, m the
mean and w the mean absolute deviation, so that they are dense where most of the mass is and still reach the few
trajectories that are on their way to a spike. A mass is shared between the two nodes around it (Hockney & Eastwood 1988,
section 5-2), and what a node has gathered stays where it is on average: few counts of a shot noise leave atoms, and those stay
atoms. What was gathered is narrower than what was shared out; the next step pushes the nodes away from their mean until
the variance is what it was. So neither faint noise nor many steps narrow or blur what the likelihood sees.

The gradient is that of these sums, except for a neuron with an upstroke: there it is the slope of the likelihood of what
follows between neighbouring nodes (docs/likelihood.md, "Grid").
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sympy import Abs, Expr, Symbol

from eqsnn.backends.c_layout import RUNTIME
from eqsnn.backends.c_spelling import spell_c
from eqsnn.language.functions import symbol
from eqsnn.maths.hidden import Hidden, nodes_of
from eqsnn.maths.levels import Level, Placed, place
from eqsnn.maths.program import CONSTANT

TEMPLATE = Path(__file__).with_name("density.c")
CUT = 0.25  # width of the threshold relative to the image of a bin
ROUNDING, ROUNDING_SINGLE = 1e-12, 1e-5  # share of a mean square below which a variance is rounding
# of the nodes is enough for a neuron with an upstroke, so many ms after its last spike
CALM, CALM_AFTER, FEWEST_CALM = 0.5, 20.0, 8
SKIPPED = 1e-7  # probability that is not worth pushing
ENOUGH_NODES = 64  # from which on derivatives along the paths of a neuron without an upstroke are those of the density
LOST = 1e-9  # probability of no spike below which a regenerative neuron is taken to have fired
FAINT = 0.1  # share of the variance of a state below which that at one node says little of how the density widens
FLOOR = 1e-20  # probability left to the impossible
# spread of a point, relative to the distance from reset to threshold; well above rounding
POINT, POINT_SINGLE = 1e-6, 1e-5
SIDES = (("left", 0), ("right", 1))  # the nodes that a mass is shared between
RUN: Level = frozenset()
STEP: Level = frozenset("t")
NODE: Level = frozenset("tq")
BIN: Level = frozenset("tk")
BOTH: Level = frozenset("tkq")


class DensitySource(NamedTuple):
    """The text, and the order of what a call is given: values constant over a run, then feeds."""

    text: str
    held: tuple[str, ...]
    feeds: tuple[str, ...]


def emit_density(hidden: Hidden, n_bins: int, *, settled: int, double: bool) -> DensitySource:
    """Return the C source for a population with `n_bins` nodes of its grid, in double or single precision.

    settled: steps after a spike from which on `calm_nodes` will do.
    """
    return _Emitter(hidden, n_bins, settled, double).source()


def calm_nodes(hidden: Hidden, n_bins: int) -> int:
    """Return how many nodes a neuron needs that has not spiked for a while.

    A reset leaves a point, which whole counts make a few atoms and an upstroke drives apart; at rest the density is smooth.
    """
    return max(min(FEWEST_CALM, n_bins), round(CALM * n_bins)) if hidden.regenerative else n_bins


def paths_part(hidden: Hidden, n_bins: int) -> bool:
    """Return whether derivatives by places are slopes between nodes, because those along paths may explode."""
    return hidden.regenerative or n_bins < ENOUGH_NODES


class _Emitter:
    def __init__(self, hidden: Hidden, n_bins: int, settled: int, double: bool) -> None:
        self.hidden, self.n_bins, self.double = hidden, n_bins, double
        self.settled = settled
        self.observed = symbol(f"{hidden.population}.observed")
        self.held = tuple(g.symbol for g in hidden.step.inputs if g.kind in CONSTANT)
        self.nodes = nodes_of(hidden.sources)
        self.composed = hidden.composed()
        self.outputs: dict[str, Expr] = {}
        self.placed = self._place()
        self.level = {p.target: p.level for p in self.placed} | self._input_levels()
        self.names: dict[Symbol, str] = {s: f"x{n}" for n, s in enumerate(self.level)}

    def _input_levels(self) -> dict[Symbol, Level]:
        levels: dict[Symbol, Level] = dict.fromkeys(self.held, RUN)
        levels |= dict.fromkeys((*self.hidden.feeds, self.observed), STEP)
        levels |= {source.symbol: NODE for source in self.hidden.sources}
        levels |= dict.fromkeys((*self.hidden.states, *self.hidden.deviations), BIN)
        return levels

    def _place(self) -> list[Placed]:
        """Forward statements by loop; nodes and weights of the noise come first."""
        wanted: dict[str, Expr] = {}
        for n, (values, weight) in enumerate(self.nodes):
            wanted[f"weight {n}"] = weight
            wanted |= {f"{s} {n}": value for s, value in values.items()}
        potential = self.hidden.states[0]
        wanted |= self.composed
        wanted["steep"] = Abs(self.composed["margin"].diff(potential))
        targets = {name: symbol(f"(result {name})") for name in wanted}
        placed = place(((targets[n], e) for n, e in wanted.items()), self._input_levels())
        self.outputs = dict(targets)
        return placed

    def at(self, level: Level) -> list[Placed]:
        return [p for p in self.placed if p.level == level]

    def spell(self, expression: Expr) -> str:
        return spell_c(expression, self.named(), double=self.double)

    def named(self) -> dict[Symbol, str]:
        return {s: self.value(s) for s in self.names}

    def value(self, s: Symbol) -> str:
        place = {NODE: "[q]", BIN: "[k]"}.get(self.level[s], "")
        return self.names[s] + place

    def bar(self, s: Symbol, summed: bool = False) -> str:
        """The derivative by a value; `summed`: inside a loop over bins, which sums derivatives by what it does not change."""
        if summed and self.level[s] not in (BIN, BOTH):
            return f"r_{self.names[s]}"
        return f"b_{self.value(s)}"

    def forward(self, level: Level) -> list[str]:
        kind = "" if level in (NODE, BIN) else "const real "
        return [
            f"{kind}{self.value(p.target)} = {self.spell(p.expression)};" for p in self.at(level)
        ]

    def summed(self, level: Level) -> list[Symbol]:
        """What a loop over bins sums derivatives by: values of other loops that its statements read."""
        read = {s for p in self.at(level) for s in p.expression.free_symbols} - {self.observed}
        if level == BOTH:
            seeded = ("margin", *(f"next.{state}" for state in self.hidden.states))
            read |= {self.outputs[name] for name in seeded}  # type: ignore[misc]
        return sorted((s for s in read if self.level[s] not in (BIN, BOTH)), key=str)  # type: ignore[index, arg-type]

    def loop(self, level: Level) -> dict[str, str]:
        """The parts around a loop over bins: accumulators, the clause that sums them, and where their sums go."""
        found = self.summed(level)
        summed = [*(["r_weight"] if level == BOTH else []), *(f"r_{self.names[s]}" for s in found)]
        clause = f" reduction(+: {', '.join(summed)})" if summed else ""
        of_node = [s for s in found if self.level[s] == NODE]
        parts = {"PRAGMA": f'_Pragma("omp simd{clause}")'}
        for name, own in (("", [s for s in found if s not in of_node]), ("_OF_NODE", of_node)):
            parts[f"OPEN{name}"] = _lines(f"real r_{self.names[s]} = 0;" for s in own)
            parts[f"CLOSE{name}"] = _lines(f"{self.bar(s)} += r_{self.names[s]};" for s in own)
        return parts

    def backward(self, level: Level) -> list[str]:
        lines, inside = [], level in (BIN, BOTH)
        for p in reversed(self.at(level)):
            if p.target == self.outputs["steep"]:
                continue
            for s in sorted(p.expression.free_symbols, key=str):
                if s == self.observed:
                    continue
                partial = p.expression.diff(s).xreplace({p.expression: p.target})
                if partial != 0:
                    lines.append(
                        f"{self.bar(s, inside)} += {self.bar(p.target)} * ({self.spell(partial)});"
                    )  # type: ignore[arg-type]
        return lines

    def bars(self, level: Level) -> list[str]:
        """Zeroed derivatives of everything that changes in these loops; those summed over a run in double precision."""
        kind = "double" if level == RUN else "real"
        return [f"{kind} b_{self.names[s]} = 0;" for s, own in self.level.items() if own == level]

    def source(self) -> DensitySource:
        out = {name: self.value(s) for name, s in self.outputs.items() if not _numbered(name)}  # type: ignore[arg-type]
        others = self.hidden.states[1:]
        carried = (*others, *self.hidden.deviations)
        text = TEMPLATE.read_text(encoding="utf-8")
        active = "active" in out
        parts = {
            "CUT": repr(CUT),
            "SKIPPED": repr(SKIPPED),
            "FAINT": repr(FAINT),
            "FLOOR": repr(FLOOR),
            "POINT": repr(POINT if self.double else POINT_SINGLE),
            "ROUNDING": repr(ROUNDING if self.double else ROUNDING_SINGLE),
            "PARTING": str(int(paths_part(self.hidden, self.n_bins))),
            "LOST": repr(LOST if self.hidden.regenerative else 0.0),
            "BINS": str(self.n_bins),
            "CALM": str(calm_nodes(self.hidden, self.n_bins)),
            "SETTLED": str(self.settled),
            "NODES": str(len(self.nodes)),
            "OTHERS": str(len(others)),
            "HELD": str(len(self.held)),
            "FEEDS": str(len(self.hidden.feeds)),
            "FORGETS": str(int(self.hidden.forgets())),
            "NO_FEEDS": _lines(
                f"out[1 + HELD + {n}][t*pairs + pair] = 0;" for n in range(len(self.hidden.feeds))
            ),
            "LOAD_HELD": _lines(
                f"const real {self.names[s]} = in[{n}][pair];" for n, s in enumerate(self.held)
            ),
            "RUN": _lines(self.forward(RUN)),
            "ARRAYS": _lines(
                f"real {self.names[s]}[{'NODES' if own == NODE else 'BINS'}];"
                for s, own in self.level.items()
                if own in (NODE, BIN)
            ),
            "LOAD_STEP": _lines(
                [
                    *(
                        f"const real {self.names[s]} = in[HELD + {n}][t*pairs + pair];"
                        for n, s in enumerate(self.hidden.feeds)
                    ),
                    f"const real {self.names[self.observed]} = rescued ? R(1.0) : spiked;",
                    *self.forward(STEP),
                ]
            ),
            "SET_NODES": _lines(self._set_nodes()),
            "NODE": _lines(self.forward(NODE)),
            "LOAD_BIN": _lines(
                [
                    f"{self.value(self.hidden.states[0])} = nodes_at[k];",
                    *(f"{self.value(s)} = u[{n}*BINS + k];" for n, s in enumerate(carried)),
                    *self.forward(BIN),
                ]
            ),
            "BOTH": _lines(self.forward(BOTH)),
            "POTENTIAL": out[f"next.{self.hidden.states[0]}"],
            "MARGIN": out["margin"],
            "SCALE": out["scale"],
            "STEEP": out["steep"],
            "ACTIVE": f"({out['active']})" if active else "1",
            "KEEP_OTHERS": _lines(
                f"moved[({n}*NODES + q)*BINS + k] = {out[f'next.{s}']};"
                for n, s in enumerate(others)
            ),
            "LEFT_RIGHT": _lines(
                line
                for n, _ in enumerate(others)
                for line in (
                    f"real *moved_{n} = moved + ({n}*NODES + q)*BINS + k, other_{n} = moved_{n}[0] - origin[{n}];",
                    f"const real *by_{n} = bb + {n}*BINS + j, *twice_{n} = by_{n} + OTHERS*BINS;",
                    *(
                        f"const real {side}_{n} = by_{n}[{at}] + other_{n}*twice_{n}[{at}]; {side} += other_{n}*{side}_{n};"
                        for side, at in SIDES
                    ),
                    f"moved_{n}[0] = l*(left_{n} + other_{n}*twice_{n}[0]) + r*(right_{n} + other_{n}*twice_{n}[1]);",
                    f"moved_{n}[0] *= masses[q*BINS + k];",
                )
            ),
            "OTHER_BARS": _lines(
                f"const real b_other_{n} = moved[({n}*NODES + q)*BINS + k];"
                for n, _ in enumerate(others)
            ),
            "BIN_ARRAYS": _lines(
                f"real b_{self.names[s]}[BINS] = {{0}};"
                for s, own in self.level.items()
                if own == BIN
            ),
            **{f"{name}_BOTH": part for name, part in self.loop(BOTH).items()},
            **{f"{name}_BIN": part for name, part in self.loop(BIN).items()},
            "BARS_RUN": _lines(self.bars(RUN)),
            "BARS_STEP": _lines(self.bars(STEP)),
            "BAR_ARRAYS": _lines(
                f"real b_{self.names[s]}[NODES] = {{0}};"
                for s, own in self.level.items()
                if own == NODE
            ),
            "BARS_BOTH": _lines(self.bars(BOTH)),
            "SEED": _lines(self._seed()),
            "BACK_BOTH": _lines(self.backward(BOTH)),
            "BACK_BIN": _lines(self.backward(BIN)),
            "KEEP_BIN": _lines(
                [
                    f"b_nodes[k] = {self.bar(self.hidden.states[0])};",
                    *(f"bu[{n}*BINS + k] = {self.bar(s)};" for n, s in enumerate(carried)),
                ]
            ),
            "BACK_NODE": _lines(self.backward(NODE)),
            "UNSET_NODES": _lines(self._unset_nodes()),
            "BACK_STEP": _lines(
                [
                    *self.backward(STEP),
                    *(
                        f"out[1 + HELD + {n}][t*pairs + pair] = b_{self.names[s]};"
                        for n, s in enumerate(self.hidden.feeds)
                    ),
                ]
            ),
            "BACK_RUN": _lines(
                [
                    *self.backward(RUN),
                    *(f"out[1 + {n}][pair] = b_{self.names[s]};" for n, s in enumerate(self.held)),
                ]
            ),
        }
        for name, part in parts.items():
            text = text.replace(f"@{name}@", part)
        assert "@" not in text.replace(RUNTIME, ""), text
        return DensitySource(
            f"#define LB 1\n#define DOUBLE {int(self.double)}\n{RUNTIME}\n{text}",
            tuple(str(s) for s in self.held),
            tuple(str(s) for s in self.hidden.feeds),
        )

    def _set_nodes(self) -> list[str]:
        lines = []
        for n, (values, _) in enumerate(self.nodes):
            lines.append(f"weight[{n}] = {self._single(f'weight {n}')};")
            lines += [f"{self.names[s]}[{n}] = {self._single(f'{s} {n}')};" for s in values]
        return lines

    def _unset_nodes(self) -> list[str]:
        lines = []
        for n, (values, _) in enumerate(self.nodes):
            lines.append(f"b_{self._single(f'weight {n}')} += b_weight[{n}];")
            lines += [f"b_{self._single(f'{s} {n}')} += b_{self.names[s]}[{n}];" for s in values]
        return lines

    def _single(self, name: str) -> str:
        return self.names[self.outputs[name]]  # type: ignore[index]

    def _seed(self) -> list[str]:
        """Start the reverse pass from the derivatives by the results of one bin and node."""
        states = self.hidden.states
        lines = [f"{self.bar(self.outputs[f'next.{states[0]}'], True)} += b_potential;"]  # type: ignore[arg-type]
        lines.append(f"{self.bar(self.outputs['margin'], True)} += b_margin;")  # type: ignore[arg-type]
        for n, s in enumerate(states[1:]):
            lines.append(f"{self.bar(self.outputs[f'next.{s}'], True)} += b_other_{n};")  # type: ignore[arg-type]
        return lines


def _numbered(name: str) -> bool:
    return name.rsplit(" ", 1)[-1].isdigit() and not name.startswith("next.")


def _lines(lines: Iterable[str]) -> str:
    return "\n      ".join(lines)
