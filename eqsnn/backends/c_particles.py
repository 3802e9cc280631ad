"""emit_particles: C that carries a sample of a neuron's noisy states through observed spikes, and back.

One call serves one neuron of one lane over a whole window, as in c_density.py. All loops over particles but the
resampling are vector loops. What the filter does, and which gradient it has, is said in backends/particles.py.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sympy import Expr, Rational, Symbol
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from eqsnn.backends.c_density import DensitySource
from eqsnn.backends.c_layout import RUNTIME
from eqsnn.backends.c_spelling import spell_c
from eqsnn.language.functions import symbol
from eqsnn.maths.escape import ESCAPE_WIDTH
from eqsnn.maths.levels import Level, Placed, place
from eqsnn.maths.particles import SPREAD, ParticleStep
from eqsnn.maths.program import CONSTANT, Assign

RUN: Level = frozenset()
STEP: Level = frozenset("t")
PARTICLE: Level = frozenset("tk")
DEAD = 1e-6  # share of a particle, relative to an equal share, below which it is replaced
ENOUGH = 0.9  # effective share of particles below which all are drawn anew
LAWS = {"uniform": "{}", "normal": "quantile_({})"}


def emit_particles(step: ParticleStep, n_particles: int) -> DensitySource:
    """Return the C source for a population with `n_particles` particles of each neuron."""
    return _Emitter(step, n_particles).source()


class _Emitter:
    def __init__(self, step: ParticleStep, n_particles: int) -> None:
        self.step, self.hidden, self.n = step, step.hidden, n_particles
        constant = [g.symbol for g in self.hidden.step.inputs if g.kind in CONSTANT]
        read = {g.symbol for g in step.program.inputs}
        self.held = tuple(s for s in constant if s in read)
        self.feeds = tuple(s for s in self.hidden.feeds if s in read)
        self.observed = symbol(f"{self.hidden.population}.observed")
        self.fixed = {symbol(ESCAPE_WIDTH): "escape_width", symbol(SPREAD): "spread"}
        levels: dict[Symbol, Level] = dict.fromkeys((*self.held, symbol(ESCAPE_WIDTH)), RUN)
        levels |= dict.fromkeys((*self.feeds, self.observed, symbol(SPREAD)), STEP)
        levels |= dict.fromkeys((*self.hidden.states, *(d.symbol for d in step.draws)), PARTICLE)
        statements = [s for s in step.program.statements if isinstance(s, Assign)]
        placed = place(((s.target, s.expression) for s in statements), levels)
        self.level = levels | {p.target: p.level for p in placed}
        self.names = {s: f"x{n}" for n, s in enumerate(self.level)} | self.fixed
        self.masks: dict[Boolean, Symbol] = {}
        self.placed = [self.masked(p) if p.level == PARTICLE else p for p in placed]
        drawn = {d.symbol for d in step.draws}
        self.smooth = {s for s in self.level if s not in {*drawn, *self.fixed, self.observed}}

    def masked(self, placed: Placed) -> Placed:
        """Read a condition that is the same for all particles from an array.

        gcc makes no vector loop of a choice by a truth value that does not change in the loop.
        """
        asked = sorted(placed.expression.atoms(Relational), key=str)
        swaps: dict[Boolean, Boolean] = {}
        for condition in asked:
            if any(self.level[s] == PARTICLE for s in condition.free_symbols):  # type: ignore[index]
                continue
            if condition not in self.masks:
                mask = symbol(f"(mask {len(self.masks)})")
                self.names[mask] = f"mask{len(self.masks)}[k]"
                self.masks[condition] = mask
            swaps[condition] = self.masks[condition] > Rational(1, 2)
        return replace(placed, expression=placed.expression.xreplace(swaps))  # type: ignore[arg-type]

    def spell(self, expression: Expr | Boolean) -> str:
        return spell_c(expression, self.names, double=True)

    def forward(self, level: Level) -> list[str]:
        return [
            f"const double {self.names[p.target]} = {self.spell(p.expression)};"
            for p in self.placed
            if p.level == level
        ]

    def bars(self, level: Level) -> list[str]:
        return [
            f"double b_{self.names[s]} = 0;"
            for s, own in self.level.items()
            if own == level and s in self.smooth
        ]

    def backward(self, level: Level) -> list[str]:
        lines = []
        for p in reversed([p for p in self.placed if p.level == level]):
            for s in sorted(p.expression.free_symbols & self.smooth, key=str):
                partial = p.expression.diff(s).xreplace({p.expression: p.target})
                if partial != 0:
                    bar = self.bar(s, level)  # type: ignore[arg-type]
                    lines.append(f"{bar} += b_{self.names[p.target]} * ({self.spell(partial)});")
        return lines

    def bar(self, s: Symbol, level: Level) -> str:
        """The derivative by a value; a loop over particles sums derivatives by what it does not change."""
        summed = level == PARTICLE and self.level[s] != PARTICLE
        return f"{'r' if summed else 'b'}_{self.names[s]}"

    def summed(self) -> list[str]:
        read = {s for p in self.placed if p.level == PARTICLE for s in p.expression.free_symbols}
        read = {s for s in read & self.smooth if self.level[s] != PARTICLE}  # type: ignore[index]
        return sorted(self.names[s] for s in read)  # type: ignore[index]

    def source(self) -> DensitySource:
        states, names, out = self.hidden.states, self.names, self.step.results()
        summed, held, feeds = self.summed(), self.held, self.feeds
        drawn = range(len(self.step.draws))
        clause = f" reduction(+: {', '.join(f'r_{n}' for n in summed)})" if summed else ""
        parts = {
            "PARTICLES": [str(self.n)],
            "STATES": [str(len(states))],
            "HELD": [str(len(held))],
            "FEEDS": [str(len(feeds))],
            "DRAWS": [str(len(drawn))],
            "DEAD": [repr(DEAD)],
            "ENOUGH": [repr(ENOUGH)],
            "SPREAD": ["1" if self.step.spread else "0"],
            "LOAD_HELD": [f"const double {names[s]} = in[{n}][pair];" for n, s in enumerate(held)],
            "RUN": self.forward(RUN),
            "LOAD_STEP": [
                *(
                    f"const double {names[s]} = in[HELD + {n}][t*pairs + pair];"
                    for n, s in enumerate(feeds)
                ),
                f"const double {names[self.observed]} = spiked;",
                *(f"const double shift{n} = uniform_(key{n}, step, lone);" for n in drawn),
                *self.forward(STEP),
                *(
                    f"for (int k = 0; k < N; k++) {names[mask]} = {self.spell(condition)} ? 1.0 : 0.0;"
                    for condition, mask in self.masks.items()
                ),
            ],
            "MASKS": [f"double mask{n}[N];" for n in range(len(self.masks))],
            "LOAD_PARTICLE": [
                *(f"const double {names[s]} = x[{n}*N + k];" for n, s in enumerate(states)),
                *(
                    f"const double {names[d.symbol]} = {LAWS[d.law].format(f'turned_(TURNS[{n}][k], shift{n})')};"
                    for n, d in enumerate(self.step.draws)
                ),
                *self.forward(PARTICLE),
            ],
            "KEEP": [
                f"moved[{n}*N + k] = {names[out[f'next.{s}']]};" for n, s in enumerate(states)
            ],
            "LOG_WEIGHT": [names[out["log_weight"]]],
            "RESAMPLING_KEY": [f"key{len(self.step.draws)}"],
            "KEYS": [
                f"const u32 key{n} = (u32)keys[{n}];" for n in range(len(self.step.draws) + 1)
            ],
            "TURNS": [
                f"{{{', '.join(map(repr, row))}}}," for row in turns(len(drawn), self.n).tolist()
            ],
            "BARS_RUN": self.bars(RUN),
            "BARS_STEP": self.bars(STEP),
            "BARS_PARTICLE": self.bars(PARTICLE),
            "OPEN": [f"double r_{n} = 0;" for n in summed],
            "PRAGMA": [f'_Pragma("omp simd{clause}")'],
            "SEED": [
                f"b_{names[out['log_weight']]} += own;",
                *(f"b_{names[out[f'next.{s}']]} += bx[{n}*N + k];" for n, s in enumerate(states)),
            ],
            "BACK_PARTICLE": self.backward(PARTICLE),
            "KEEP_BARS": [f"bx[{n}*N + k] = b_{names[s]};" for n, s in enumerate(states)],
            "CLOSE": [f"b_{n} += r_{n};" for n in summed],
            "BACK_STEP": [
                *self.backward(STEP),
                *(
                    f"out[1 + HELD + {n}][t*pairs + pair] = b_{names[s]};"
                    for n, s in enumerate(feeds)
                ),
            ],
            "BACK_RUN": [
                *self.backward(RUN),
                *(f"out[1 + {n}][pair] = b_{names[s]};" for n, s in enumerate(held)),
            ],
        }
        text = TEMPLATE
        for name, part in parts.items():
            text = text.replace(f"@{name}@", _lines(part))
        assert "@" not in text, text
        whole = f"#define LB 1\n#define DOUBLE 1\n{RUNTIME}\n{text}"
        return DensitySource(whole, tuple(map(str, held)), tuple(map(str, feeds)))


def turns(n_draws: int, n_particles: int) -> NDArray[np.float64]:
    """Return points in the unit cube that, together with their number over n, fill it evenly, (draw, particle).

    Multiples of square roots modulo 1 (Kronecker's sequence; Niederreiter 1992, section 3.1), the golden ratio first.
    """
    primes = [p for p in range(2, 200) if all(p % q for q in range(2, p)) and p != 5]
    steps = np.array([(math.sqrt(5) - 1) / 2, *(math.sqrt(p) % 1 for p in primes)])
    return np.asarray(np.outer(steps[:n_draws], np.arange(n_particles)) % 1, np.float64)


def _lines(lines: Iterable[str]) -> str:
    return "\n      ".join(lines)


TEMPLATE = """
#define N @PARTICLES@
#define STATES @STATES@
#define HELD @HELD@
#define FEEDS @FEEDS@
#define ROW ((STATES + 2)*N + 1) /* states, log shares, whom each was copied from, and the log-probability of a step */

/* bytes of working memory for one neuron of one lane */
long arena_bytes(long n_steps, long want) { return (void)want, (n_steps + 1)*ROW*sizeof(double) + 64; }

/* quantile of the standard normal distribution (Wichura 1988, algorithm AS 241), without branches */
INLINE double quantile_(double p) {
  double q = p - 0.5, r = 0.180625 - q*q;
  double middle = q*(((((((2.5090809287301226727e3*r + 3.3430575583588128105e4)*r + 6.7265770927008700853e4)*r
    + 4.5921953931549871457e4)*r + 1.3731693765509461125e4)*r + 1.9715909503065514427e3)*r
    + 1.3314166789178437745e2)*r + 3.3871328727963666080)
    /(((((((5.2264952788528545610e3*r + 2.8729085735721942674e4)*r + 3.9307895800092710610e4)*r
    + 2.1213794301586595867e4)*r + 5.3941960214247511077e3)*r + 6.8718700749205790830e2)*r
    + 4.2313330701600911252e1)*r + 1.0);
  double least = q < 0 ? p : 1 - p, s = sqrt(-log_(least > 1e-300 ? least : 1e-300));
  double a = s - 1.6, b = s - 5.0;
  double near = (((((((7.74545014278341407640e-4*a + 2.27238449892691845833e-2)*a + 2.41780725177450611770e-1)*a
    + 1.27045825245236838258)*a + 3.64784832476320460504)*a + 5.76949722146069140550)*a
    + 4.63033784615654529590)*a + 1.42343711074968357734)
    /(((((((1.05075007164441684324e-9*a + 5.47593808499534494600e-4)*a + 1.51986665636164571966e-2)*a
    + 1.48103976427480074590e-1)*a + 6.89767334985100004550e-1)*a + 1.67638483018380384940)*a
    + 2.05319162663775882187)*a + 1.0);
  double far = (((((((2.01033439929228813265e-7*b + 2.71155556874348757815e-5)*b + 1.24266094738807843860e-3)*b
    + 2.65321895265761230930e-2)*b + 2.96560571828504891230e-1)*b + 1.78482653991729133580)*b
    + 5.46378491116411436990)*b + 6.65790464350110377720)
    /(((((((2.04426310338993978564e-15*b + 1.42151175831644588870e-7)*b + 1.84631831751005468180e-5)*b
    + 7.86869131145613259100e-4)*b + 1.48753612908506148525e-2)*b + 1.36929880922735805310e-1)*b
    + 5.99832206555887937690e-1)*b + 1.0);
  double tail = s <= 5.0 ? near : far;
  tail = q < 0 ? -tail : tail;
  return fabs(q) <= 0.425 ? middle : tail;
}
/* the y with Phi(y) = u Phi(b); far below zero Phi(b) is taken as phi(b)/|b| */
INLINE double normal_below_(double u, double b) {
  double z = fabs(b)*SQRT_HALF, tail = 0.5*erfcx_(z)*exp_(-z*z), p = u*(b < 0 ? tail : 1 - tail);
  p = p > 1e-300 ? p : 1e-300;
  p = p < 1 - 1e-16 ? p : 1 - 1e-16;
  double near = quantile_(p), far = -sqrt(b*b - 2*log_(u));
  return b < -30.0 ? far : near;
}

/* low-discrepancy points, a row for each draw of a particle; they are shifted by a random number in every step */
static const double TURNS[@DRAWS@][N] = {
      @TURNS@
};
INLINE double turned_(double turn, double shift) {
  double u = turn + shift;
  return u >= 1 ? u - 1 : u;
}

/* order of the particles by potential: merge sort, equals stay in order */
ROUTINE void order_(const double *value, int *place) {
  int other[N], *from = place, *to = other;
  for (int k = 0; k < N; k++) place[k] = k;
  for (int width = 1; width < N; width *= 2) {
    for (int first = 0; first < N; first += 2*width) {
      int middle = first + width < N ? first + width : N, last = first + 2*width < N ? first + 2*width : N;
      for (int a = first, b = middle, k = first; k < last; k++)
        to[k] = b >= last || (a < middle && value[from[a]] <= value[from[b]]) ? from[a++] : from[b++];
    }
    int *swap = from; from = to; to = swap;
  }
  if (from != place) memcpy(place, from, sizeof other);
}

/* standard deviation of the potential over particles with these log shares */
ROUTINE double spread_(const double *x, const double *share) {
  double total = 0, mean = 0, square = 0;
  for (int k = 0; k < N; k++) {
    double w = exp_(share[k]);
    total += w;
    mean += w*x[k];
  }
  mean /= total;
  for (int k = 0; k < N; k++) square += exp_(share[k])*(x[k] - mean)*(x[k] - mean);
  return sqrt(square/total);
}

/* in: held values (pair), feeds (time, pair), observed (time, neuron, observed_lanes), counted (time, counted_lanes),
   initial states (pair), stream and first step of the noise (noise_lanes), keys of the draws, all three as integers.
   out: log-likelihood (pair), its derivatives by held values and by feeds. */
void particles(double **in, double **out, long pair, long n_steps, long n_neurons, long n_lanes, long observed_lanes,
               long counted_lanes, long noise_lanes, double escape_width, long want, void *team, double *arena) {
  const long pairs = n_neurons*n_lanes, neuron = pair / n_lanes, lane = pair % n_lanes;
  const double *observed = in[HELD + FEEDS], *counted = in[HELD + FEEDS + 1];
  const int64_t *stream = (const int64_t *)in[HELD + FEEDS + 2 + STATES];
  const int64_t *begin = (const int64_t *)in[HELD + FEEDS + 3 + STATES];
  const int64_t *keys = (const int64_t *)in[HELD + FEEDS + 4 + STATES];
  const u32 lone = (u32)(stream[lane % noise_lanes]*n_neurons + neuron);
  const u32 start = (u32)begin[lane % noise_lanes];
  double total = 0;
  double moved[STATES*N], w[N], shares[N];
      @MASKS@
      @KEYS@
      @LOAD_HELD@
      @RUN@
  for (int s = 0; s < STATES; s++)
    for (int k = 0; k < N; k++) arena[s*N + k] = in[HELD + FEEDS + 2 + s][pair];
  for (int k = 0; k < N; k++) arena[STATES*N + k] = -log(N);
  for (long t = 0; t < n_steps; t++) {
    double *x = arena + t*ROW, *share = x + STATES*N, *from = share + N, *y = x + ROW, *after = y + STATES*N;
    const double spiked = observed[(t*n_neurons + neuron)*observed_lanes + lane % observed_lanes];
    const u32 step = start + (u32)t;
    const double spread = @SPREAD@ ? spread_(x, share) : 0;
      @LOAD_STEP@
    SIMD
    for (int k = 0; k < N; k++) {
      @LOAD_PARTICLE@
      @KEEP@
      w[k] = share[k] + @LOG_WEIGHT@;
    }
    double most = w[0], sum = 0, square = 0, least = 1;
    for (int k = 1; k < N; k++) most = w[k] > most ? w[k] : most;
    memcpy(shares, w, sizeof w);
    _Pragma("omp simd reduction(+: sum)")
    for (int k = 0; k < N; k++) { w[k] = exp_(w[k] - most); sum += w[k]; }
    const double norm = most + log(sum), part = 1/sum;
    for (int k = 0; k < N; k++) {
      w[k] *= part;
      square += w[k]*w[k];
      least = w[k] < least ? w[k] : least;
    }
    total += counted[t*counted_lanes + lane % counted_lanes]*norm;
    x[ROW - 1] = norm;
    int place[N];
    order_(moved, place);
    if (square*N*@ENOUGH@ > 1 || least*N < @DEAD@) {
      const double u = uniform_(@RESAMPLING_KEY@, step, lone);
      double passed = w[place[0]];
      for (int k = 0, j = 0; k < N; k++) {
        while (passed < (k + u)/N && j < N - 1) passed += w[place[++j]];
        from[k] = place[j];
        after[k] = -log(N);
      }
    } else {
      for (int k = 0; k < N; k++) {
        from[k] = place[k];
        after[k] = shares[place[k]] - norm;
      }
    }
    for (int s = 0; s < STATES; s++)
      for (int k = 0; k < N; k++) y[s*N + k] = moved[s*N + (int)from[k]];
  }
  out[0][pair] = total;
  if (!want) return;

  double bx[STATES*N], bw[N], copied[(STATES + 1)*N];
  memset(bx, 0, sizeof bx);
  memset(bw, 0, sizeof bw);
      @BARS_RUN@
  for (long t = n_steps - 1; t >= 0; t--) {
    const double *x = arena + t*ROW, *share = x + STATES*N, *from = share + N;
    const double spiked = observed[(t*n_neurons + neuron)*observed_lanes + lane % observed_lanes];
    const u32 step = start + (u32)t;
    const double spread = @SPREAD@ ? spread_(x, share) : 0, norm = x[ROW - 1];
      @LOAD_STEP@
    memset(copied, 0, sizeof copied);
    for (int k = 0; k < N; k++) {
      const int a = (int)from[k];
      for (int s = 0; s < STATES; s++) copied[s*N + a] += bx[s*N + k];
      copied[STATES*N + a] += bw[k];
    }
    memcpy(bx, copied, sizeof bx);
    memcpy(bw, copied + STATES*N, sizeof bw);
    double inner = 0;
    for (int k = 0; k < N; k++) inner += bw[k];
    const double gain = counted[t*counted_lanes + lane % counted_lanes] - inner;
      @BARS_STEP@
    {
      @OPEN@
      @PRAGMA@
      for (int k = 0; k < N; k++) {
      @LOAD_PARTICLE@
        const double own = bw[k] + exp_(share[k] + @LOG_WEIGHT@ - norm)*gain;
      @BARS_PARTICLE@
      @SEED@
      @BACK_PARTICLE@
      @KEEP_BARS@
        bw[k] = own;
      }
      @CLOSE@
    }
      @BACK_STEP@
  }
      @BACK_RUN@
}
"""
