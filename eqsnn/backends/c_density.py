"""emit_density: C that carries the density of a neuron's noisy states on a grid through observed spikes, and back.

One call serves one neuron of one lane over a whole window: forwards, and if asked, backwards right after, so that
nothing but the densities of one window is ever kept. The potential lies on a grid; every other noisy state is carried
as its mean at each node (moment closure, Ly & Tranchina 2007, doi:10.1162/neco.2007.19.8.2032). A mass between nodes
is spread over three of them by a quadratic spline (Hockney & Eastwood 1988, section 5-3): its mean is kept and its
variance grows by a quarter of the squared spacing wherever it lies, so that the likelihood is smooth in parameters.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sympy import Abs, Expr, Symbol

from eqsnn.backends.c_layout import RUNTIME
from eqsnn.backends.c_spelling import spell_c
from eqsnn.language.functions import symbol
from eqsnn.maths.hidden import Hidden, nodes_of
from eqsnn.maths.levels import Level, Placed, place
from eqsnn.maths.program import CONSTANT

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


def emit_density(hidden: Hidden, n_bins: int) -> DensitySource:
    """Return the C source for a population with `n_bins` nodes of its grid."""
    return _Emitter(hidden, n_bins).source()


class _Emitter:
    def __init__(self, hidden: Hidden, n_bins: int) -> None:
        self.hidden, self.n_bins = hidden, n_bins
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
        levels |= dict.fromkeys(self.hidden.states, BIN)
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
        return spell_c(expression, self.named(), double=True)

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
        kind = "" if level in (NODE, BIN) else "const double "
        return [
            f"{kind}{self.value(p.target)} = {self.spell(p.expression)};" for p in self.at(level)
        ]

    def summed(self, level: Level) -> list[Symbol]:
        """What a loop over bins sums derivatives by: values of other loops that its statements read."""
        read = {s for p in self.at(level) for s in p.expression.free_symbols} - {self.observed}
        if level == BOTH:
            read |= {s for s in self.outputs.values() if isinstance(s, Symbol)}
        return sorted((s for s in read if self.level[s] not in (BIN, BOTH)), key=str)  # type: ignore[index, arg-type]

    def loop(self, level: Level) -> dict[str, str]:
        """The parts around a loop over bins: accumulators, the clause that sums them, and where their sums go."""
        found = [self.names[s] for s in self.summed(level)]
        summed = [*(["r_weight"] if level == BOTH else []), *(f"r_{n}" for n in found)]
        clause = f" reduction(+: {', '.join(summed)})" if summed else ""
        return {
            "OPEN": _lines(f"double r_{n} = 0;" for n in found),
            "PRAGMA": f'_Pragma("omp simd{clause}")',
            "CLOSE": _lines(f"{self.bar(s)} += r_{self.names[s]};" for s in self.summed(level)),
        }

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
        """Zeroed derivatives of everything that changes in these loops."""
        return [f"double b_{self.names[s]} = 0;" for s, own in self.level.items() if own == level]

    def source(self) -> DensitySource:
        out = {name: self.value(s) for name, s in self.outputs.items() if not _numbered(name)}  # type: ignore[arg-type]
        others = self.hidden.states[1:]
        text = TEMPLATE
        active = "active" in out
        parts = {
            "BINS": str(self.n_bins),
            "NODES": str(len(self.nodes)),
            "OTHERS": str(len(others)),
            "HELD": str(len(self.held)),
            "FEEDS": str(len(self.hidden.feeds)),
            "LOAD_HELD": _lines(
                f"const double {self.names[s]} = in[{n}][pair];" for n, s in enumerate(self.held)
            ),
            "RUN": _lines(self.forward(RUN)),
            "ARRAYS": _lines(
                f"double {self.names[s]}[{'NODES' if own == NODE else 'BINS'}];"
                for s, own in self.level.items()
                if own in (NODE, BIN)
            ),
            "LOAD_STEP": _lines(
                [
                    *(
                        f"const double {self.names[s]} = in[HELD + {n}][t*pairs + pair];"
                        for n, s in enumerate(self.hidden.feeds)
                    ),
                    f"const double {self.names[self.observed]} = spiked;",
                    *self.forward(STEP),
                ]
            ),
            "SET_NODES": _lines(self._set_nodes()),
            "NODE": _lines(self.forward(NODE)),
            "LOAD_BIN": _lines(
                [
                    f"{self.value(self.hidden.states[0])} = low + h*k;",
                    *(f"{self.value(s)} = u[{n}*BINS + k];" for n, s in enumerate(others)),
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
                f"moved[{n}*BINS + k] = {out[f'next.{s}']};" for n, s in enumerate(others)
            ),
            "LEFT_RIGHT": _lines(
                line
                for n, s in enumerate(others)
                for line in (
                    f"left += bb[{n}*BINS + j - 1]*({out[f'next.{s}']});",
                    f"middle += bb[{n}*BINS + j]*({out[f'next.{s}']});",
                    f"right += bb[{n}*BINS + j + 1]*({out[f'next.{s}']});",
                    f"const double b_other_{n} = mass*(l*bb[{n}*BINS + j - 1] + m*bb[{n}*BINS + j] + r*bb[{n}*BINS + j + 1]);",
                )
            ),
            "BIN_ARRAYS": _lines(
                f"double b_{self.names[s]}[BINS] = {{0}};"
                for s, own in self.level.items()
                if own == BIN
            ),
            **{f"{name}_BOTH": part for name, part in self.loop(BOTH).items()},
            **{f"{name}_BIN": part for name, part in self.loop(BIN).items()},
            "BARS_RUN": _lines(self.bars(RUN)),
            "BARS_STEP": _lines(self.bars(STEP)),
            "BAR_ARRAYS": _lines(
                f"double b_{self.names[s]}[NODES] = {{0}};"
                for s, own in self.level.items()
                if own == NODE
            ),
            "BARS_BOTH": _lines(self.bars(BOTH)),
            "SEED": _lines(self._seed()),
            "BACK_BOTH": _lines(self.backward(BOTH)),
            "BACK_BIN": _lines(self.backward(BIN)),
            "KEEP_BIN": _lines(f"bu[{n}*BINS + k] = {self.bar(s)};" for n, s in enumerate(others)),
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
            f"#define LB 1\n#define DOUBLE 1\n{RUNTIME}\n{text}",
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


TEMPLATE = """
#define BINS @BINS@
#define NODES @NODES@
#define OTHERS @OTHERS@
#define HELD @HELD@
#define FEEDS @FEEDS@
#define ROW ((1 + OTHERS)*BINS + 1) /* densities, other states, and the probability of what was observed */
#define SKIPPED 1e-10 /* probability that is not worth pushing */
#define FLOOR_ 1e-30  /* probability left to the impossible */
#define CUT 0.25      /* width of the threshold relative to the image of a bin */

/* bytes of working memory for one neuron of one lane */
long arena_bytes(long n_steps) { return (n_steps + 1)*ROW*sizeof(double) + 64; }

/* probability of what was observed, at this margin above threshold */
INLINE double seen_(double margin, double width, double sign) {
  double z = sign*margin/width;
  z = z > 40 ? 40 : (z < -70 ? -70 : z);
  double s = 1/(1 + exp_(-z));
  return s > FLOOR_ ? s : FLOOR_;
}
INLINE double inside_(double place) { return place > 1 ? (place < BINS - 2 ? place : BINS - 2) : 1; }

/* in: held values (pair), feeds (time, pair), observed (time, neuron, observed_lanes), counted (time, counted_neurons,
   counted_lanes), low, high, initial potential, initial others (pair), seen (as observed; null: always). out:
   log-likelihood (pair), its derivatives by held values and by feeds. */
void density(double **in, double **out, long pair, long n_steps, long n_neurons, long n_lanes, long observed_lanes,
             long counted_lanes, long counted_neurons, double escape_width, long want, void *team, double *arena) {
  const long pairs = n_neurons*n_lanes, neuron = pair / n_lanes, lane = pair % n_lanes;
  const double *observed = in[HELD + FEEDS], *counted = in[HELD + FEEDS + 1], *seen = in[HELD + FEEDS + 5 + OTHERS];
  const double low = in[HELD + FEEDS + 2][pair], high = in[HELD + FEEDS + 3][pair], h = (high - low)/(BINS - 1);
  double weight[NODES];
  double total = 0;
      @LOAD_HELD@
      @RUN@
  {
    double *p = arena, *u = arena + BINS;
    memset(arena, 0, ROW*sizeof(double));
    double place = inside_((in[HELD + FEEDS + 4][pair] - low)/h);
    int j = (int)(place + 0.5);
    double d = place - j;
    p[j - 1] = 0.5*(0.5 - d)*(0.5 - d);
    p[j] = 0.75 - d*d;
    p[j + 1] = 0.5*(0.5 + d)*(0.5 + d);
    for (int o = 0; o < OTHERS; o++)
      u[o*BINS + j - 1] = u[o*BINS + j] = u[o*BINS + j + 1] = in[HELD + FEEDS + 5 + o][pair];
  }
      @ARRAYS@
  for (long t = 0; t < n_steps; t++) {
    const double *p = arena + t*ROW, *u = p + BINS;
    double *a = arena + (t + 1)*ROW, *b = a + BINS;
    const long here = (t*n_neurons + neuron)*observed_lanes + lane % observed_lanes;
    const double spiked = observed[here], known = seen ? seen[here] : 1.0;
    const double sign = spiked > 0.5 ? 1 : -1;
    int k0 = 0, k1 = BINS;
    while (k0 < BINS && p[k0] < SKIPPED) k0++;
    while (k1 > k0 && p[k1 - 1] < SKIPPED) k1--;
    memset(a, 0, ROW*sizeof(double));
      @LOAD_STEP@
      @SET_NODES@
    for (int q = 0; q < NODES; q++) {
      @NODE@
    }
    SIMD
    for (int k = k0; k < k1; k++) {
      @LOAD_BIN@
    }
    double masses[BINS], shares[BINS], moved[OTHERS*BINS + 1];
    int nodes[BINS];
    for (int q = 0; q < NODES; q++) {
      SIMD
      for (int k = k0; k < k1; k++) {
      @BOTH@
        double arriving = p[k]*weight[q];
        arriving = arriving < SKIPPED || p[k] < SKIPPED ? 0 : arriving;
        double width = escape_width*@SCALE@ + CUT*h*@STEEP@ + 1e-12;
        masses[k] = arriving*(known*@ACTIVE@ > 0.5 ? seen_(@MARGIN@, width, sign) : 1.0);
        double place = inside_((@POTENTIAL@ - low)/h);
        nodes[k] = (int)(place + 0.5);
        shares[k] = place - nodes[k];
      @KEEP_OTHERS@
      }
      for (int k = k0; k < k1; k++) {
        int j = nodes[k];
        double d = shares[k], l = 0.5*(0.5 - d)*(0.5 - d), r = 0.5*(0.5 + d)*(0.5 + d);
        double left = masses[k]*l, right = masses[k]*r, middle = masses[k] - left - right;
        a[j - 1] += left;
        a[j] += middle;
        a[j + 1] += right;
        for (int o = 0; o < OTHERS; o++) {
          b[o*BINS + j - 1] += left*moved[o*BINS + k];
          b[o*BINS + j] += middle*moved[o*BINS + k];
          b[o*BINS + j + 1] += right*moved[o*BINS + k];
        }
      }
    }
    double z = 0;
    for (int k = 0; k < BINS; k++) z += a[k];
    z = z > 1e-290 ? z : 1e-290;
    a[ROW - 1] = z;
    for (int o = 0; o < OTHERS; o++)
      for (int k = 0; k < BINS; k++) b[o*BINS + k] = a[k] > 1e-280 ? b[o*BINS + k]/a[k] : 0;
    for (int k = 0; k < BINS; k++) a[k] /= z;
    total += counted[(t*counted_neurons + neuron % counted_neurons)*counted_lanes + lane % counted_lanes]*log(z);
  }
  out[0][pair] = total;
  if (!want) return;

  double bp[BINS], bu[OTHERS*BINS + 1], ba[BINS], bb[OTHERS*BINS + 1], b_weight[NODES];
  memset(bp, 0, sizeof bp);
  memset(bu, 0, sizeof bu);
      @BARS_RUN@
  for (long t = n_steps - 1; t >= 0; t--) {
    const double *p = arena + t*ROW, *u = p + BINS;
    const double *a = arena + (t + 1)*ROW, *after = a + BINS;
    const long here = (t*n_neurons + neuron)*observed_lanes + lane % observed_lanes;
    const double spiked = observed[here], known = seen ? seen[here] : 1.0;
    const double sign = spiked > 0.5 ? 1 : -1, z = a[ROW - 1];
    int k0 = 0, k1 = BINS;
    while (k0 < BINS && p[k0] < SKIPPED) k0++;
    while (k1 > k0 && p[k1 - 1] < SKIPPED) k1--;
      @LOAD_STEP@
      @SET_NODES@
    for (int q = 0; q < NODES; q++) {
      @NODE@
    }
    SIMD
    for (int k = k0; k < k1; k++) {
      @LOAD_BIN@
    }
    double inner = 0;
    for (int k = 0; k < BINS; k++) inner += bp[k]*a[k];
    const double c = counted[(t*counted_neurons + neuron % counted_neurons)*counted_lanes + lane % counted_lanes];
    for (int k = 0; k < BINS; k++) {
      ba[k] = (bp[k] - inner + c)/z;
      for (int o = 0; o < OTHERS; o++) {
        double whole = a[k]*z;
        bb[o*BINS + k] = whole > 1e-280 ? bu[o*BINS + k]/whole : 0;
        ba[k] -= bb[o*BINS + k]*after[o*BINS + k];
      }
    }
    memset(b_weight, 0, sizeof b_weight);
    memset(bu, 0, sizeof bu);
    memset(bp, 0, sizeof bp);
      @BARS_STEP@
      @BAR_ARRAYS@
      @BIN_ARRAYS@
    for (int q = 0; q < NODES; q++) {
      double r_weight = 0;
      @OPEN_BOTH@
      @PRAGMA_BOTH@
      for (int k = k0; k < k1; k++) {
      @BOTH@
        double worth = p[k]*weight[q] < SKIPPED || p[k] < SKIPPED ? 0.0 : 1.0;
        double width = escape_width*@SCALE@ + CUT*h*@STEEP@ + 1e-12, act = known*@ACTIVE@ > 0.5 ? 1.0 : 0.0;
        double s = seen_(@MARGIN@, width, sign), slope = act*(s > FLOOR_ ? sign*s*(1 - s)/width : 0.0);
        s = act > 0.5 ? s : 1.0;
        double mass = worth*p[k]*weight[q]*s;
        double raw = (@POTENTIAL@ - low)/h, place = inside_(raw);
        int j = (int)(place + 0.5);
        double d = place - j, l = 0.5*(0.5 - d)*(0.5 - d), r = 0.5*(0.5 + d)*(0.5 + d), m = 1 - l - r;
        double left = ba[j - 1], middle = ba[j], right = ba[j + 1];
      @LEFT_RIGHT@
        double b_mass = worth*(l*left + m*middle + r*right);
        double b_potential = raw == place ? mass*((0.5 + d)*right - 2*d*middle - (0.5 - d)*left)/h : 0.0;
        double b_margin = p[k]*weight[q]*b_mass*slope;
        bp[k] += weight[q]*s*b_mass;
        r_weight += p[k]*s*b_mass;
      @BARS_BOTH@
      @SEED@
      @BACK_BOTH@
      }
      b_weight[q] += r_weight;
      @CLOSE_BOTH@
    }
    {
      @OPEN_BIN@
      @PRAGMA_BIN@
      for (int k = k0; k < k1; k++) {
      @BACK_BIN@
      @KEEP_BIN@
      }
      const int q = 0;
      @CLOSE_BIN@
    }
    for (int q = NODES - 1; q >= 0; q--) {
      @BACK_NODE@
    }
      @UNSET_NODES@
      @BACK_STEP@
  }
      @BACK_RUN@
}
"""
