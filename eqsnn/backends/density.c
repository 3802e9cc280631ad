/* The density of the noisy states of one neuron of one lane through observed spikes, and back. c_density.py writes the
   step of the model in the places between at signs. */
#define BINS @BINS@
#define CALM @CALM@ /* nodes from so many steps after a spike on */
#define SETTLED @SETTLED@
#define NODES @NODES@
#define OTHERS @OTHERS@
#define HELD @HELD@
#define FEEDS @FEEDS@
#define FORGETS @FORGETS@ /* whether a spike leaves nothing of the noisy states before it */
/* densities, their places from the mean, means and then standard deviations of the other states, what these are measured
   from, whether the step was a rescue, the probability of what was observed, and the frame of the grid */
#define ROW ((2 + 2*OTHERS)*BINS + OTHERS + 2 + FRAME)
#define FRAME 8
#define WIDE (64/(int)sizeof(real)) /* nodes in a vector, at most */
/* c_density.py says what these are */
#define SKIPPED R(@SKIPPED@)
#define FLOOR_ R(@FLOOR@)
#define CUT R(@CUT@)
/* numbers whose square is a number, and by which can be divided */
#if DOUBLE
#define HUGE_ 1e150
#define LEAST 1e-280
#define COPYSIGN copysign
#else
#define HUGE_ 1e18f
#define LEAST 1e-36f
#define COPYSIGN copysignf
#endif
#define POINT R(@POINT@)
/* A neuron that drives itself runs away where it has surely crossed and no spike was seen: less probable than this, it
   is reset as if it had been. */
#define LOST R(@LOST@)
/* Neighbouring paths of such a neuron part by orders of magnitude at every spike, those over few nodes may where spikes are
   rare, and derivatives along them, each exact, say nothing of the density. So its derivative by a place is the slope of
   the likelihood between the two atoms around it, as far as those stand a grid's spacing apart; the frame and what follows
   from it count as constants. */
#define PARTING @PARTING@
#define FAINT R(@FAINT@)
#define ROUNDING R(@ROUNDING@)

/* bytes of working memory for one neuron of one lane: a row for each step, what one step pushes, and of what it pushes
   the probability of what was observed and the place on the grid, of all steps if the way back wants them */
long arena_bytes(long n_steps, long want) {
  return ((n_steps + 1)*ROW + (4 + OTHERS + 2*(want ? n_steps : 1))*NODES*BINS)*sizeof(real) + 64;
}

/* Masses are gathered at nodes mean + spread*sinh(first + k*step), and stay where they are on average: off from the mean.
   What is gathered is narrower than what was spread, and is pushed apart: it stands for a density at mean + push*off.
   variance: of what was spread; variance_of_nodes: of what was gathered. Only `first` and `step` count as constants in
   derivatives. */
typedef struct { real mean, spread, first, step, push, variance, variance_of_nodes, nodes; } Frame;

/* probability of what was observed, at this margin above threshold */
INLINE real seen_(real margin, real width, real sign) {
  real z = sign*margin/width;
  z = z > 40 ? 40 : (z < -70 ? -70 : z);
  real s = 1/(1 + exp_(-z));
  return s > FLOOR_ ? s : FLOOR_;
}
INLINE real inside_(real place, real last) { return place > 0 ? (place < last ? place : last) : 0; }
/* For numbers of this size only: without log_'s cases a loop around it stays a vector loop. */
INLINE real asinh_(real x) {
  real size = ABS(x);
  size = size < HUGE_ ? size : HUGE_;
  return COPYSIGN(log_normal_(size + SQRT(size*size + 1), R(0.0)), x);
}

/* lay so many nodes over places from low to high */
static void span_(Frame *f, real mean, real spread, real low, real high, int nodes) {
  f->mean = mean, f->spread = spread, f->nodes = nodes;
  real first = asinh_((low - mean)/spread), last = asinh_((high - mean)/spread);
  f->step = (last - first)/(nodes - 3); /* half a node more at both ends, so that no mass lies at the border */
  f->step = f->step > R(1e-3) ? f->step : R(1e-3);
  f->first = first - R(0.5)*f->step;
}

/* Where the density is, and how far apart nodes are there. */
static void place_(const Frame *f, const real *off, real *nodes_at, real *spacing) {
  SIMD
  for (int k = 0; k < BINS; k++) {
    nodes_at[k] = f->mean + f->push*off[k];
    spacing[k] = f->push*f->step*SQRT(off[k]*off[k] + f->spread*f->spread);
  }
}

/* Nodes from k0 to k1 hold all densities above a level. Both are whole vectors: the rest of one would cost as much. */
static void worth_(const real *p, real level, int *k0, int *k1) {
  int first = 0, last = BINS;
  while (first < BINS && p[first] < level) first++;
  while (last > first && p[last - 1] < level) last--;
  *k0 = first & ~(WIDE - 1);
  *k1 = (last + WIDE - 1) & ~(WIDE - 1);
  *k1 = *k1 < BINS ? *k1 : BINS;
}

/* Measure how much narrower the density p at these places is than `variance`, what was spread. */
static void push_(Frame *f, const real *p, const real *off, real variance, real point) {
  real second = 0;
  _Pragma("omp simd reduction(+: second)")
  for (int k = 0; k < BINS; k++) second += p[k]*off[k]*off[k];
  f->variance = variance;
  f->variance_of_nodes = second;
  f->push = variance > second && second > point*point ? SQRT(variance/second) : R(1.0);
}

/* Share the mass of a bin between the two nodes around its place of the grid, and its place from the mean, the other states
   and their squares times it. */
INLINE void deposit_(int from, const real *flat, const real *masses, const real *places, real mean, const real *moved,
                     const real *origin, real *a) {
  const int j = (int)flat[from];
  const real mass = masses[from], right = mass*(flat[from] - j), left = mass - right, off = places[from] - mean;
  (void)moved, (void)origin;
  a[j] += left;
  a[j + 1] += right;
  a[BINS + j] += left*off;
  a[BINS + j + 1] += right*off;
  for (int o = 0; o < OTHERS; o++) {
    const real other = moved[o*NODES*BINS + from] - origin[o];
    real *sum = a + (2 + o)*BINS + j, *squares = sum + OTHERS*BINS;
    sum[0] += left*other;
    sum[1] += right*other;
    squares[0] += left*other*other;
    squares[1] += right*other*other;
  }
}

/* in: held values (pair), feeds (time, pair), observed (time, neuron, observed_lanes), counted (time, counted_neurons,
   counted_lanes), scale (pair), initial potential, initial others (pair), seen (as observed; null: always). out:
   log-likelihood (pair), its derivatives by held values and by feeds. */
void density(double **in, double **out, long pair, long n_steps, long n_neurons, long n_lanes, long observed_lanes,
             long counted_lanes, long counted_neurons, double width_given, long want, void *team, void *memory) {
#define OBSERVED(t) (((t)*n_neurons + neuron)*observed_lanes + lane % observed_lanes)
#define COUNTED(t) (((t)*counted_neurons + neuron % counted_neurons)*counted_lanes + lane % counted_lanes)
  const long pairs = n_neurons*n_lanes, neuron = pair / n_lanes, lane = pair % n_lanes;
  const double *observed = in[HELD + FEEDS], *counted = in[HELD + FEEDS + 1], *seen = in[HELD + FEEDS + 4 + OTHERS];
  real *arena = memory;
  const real escape_width = width_given, point = POINT*in[HELD + FEEDS + 2][pair];
  real *masses = arena + (n_steps + 1)*ROW, *places = masses + NODES*BINS, *b_places = places + NODES*BINS,
    *b_masses = b_places + NODES*BINS, *moved = b_masses + NODES*BINS, *kept = moved + OTHERS*NODES*BINS;
  int from[NODES], to[NODES];
  real weight[NODES], nodes_at[BINS], spacing[BINS], slope_at[BINS];
  double total = 0;
  (void)moved;
  /* A reset that leaves nothing of what was before: what counts from a spike on does not depend on what preceded it. */
  long begin = 0;
  for (long t = 0; FORGETS && t < n_steps && counted[COUNTED(t)] == 0; t++)
    if (observed[OBSERVED(t)] > 0.5 && (!seen || seen[OBSERVED(t)] > 0.5)) begin = t;
  long end = n_steps; /* what follows the last step that counts is not even read */
  while (end > begin && counted[COUNTED(end - 1)] == 0) end--;
      @LOAD_HELD@
      @RUN@
  {
    real *p = arena + begin*ROW, *u = p + 2*BINS;
    memset(p, 0, ROW*sizeof(real));
    Frame *f = (Frame *)(p + ROW - FRAME);
    const real start = in[HELD + FEEDS + 3][pair];
    span_(f, start, point, start, start, BINS);
    p[0] = 1;
    push_(f, p, p + BINS, 0, point);
    for (int o = 0; o < OTHERS; o++) u[o*BINS] = in[HELD + FEEDS + 4 + o][pair];
  }
      @ARRAYS@
  long since = 0;
  for (long t = begin; t < end; t++) {
    const real *p = arena + t*ROW, *u = p + 2*BINS;
    const Frame *f = (const Frame *)(p + ROW - FRAME);
    real *a = arena + (t + 1)*ROW, *off = a + BINS, *b = a + 2*BINS;
    Frame *after = (Frame *)(a + ROW - FRAME);
    const long here = OBSERVED(t);
    const real spiked = observed[here], known = seen ? seen[here] : R(1.0);
    const real sign = spiked > R(0.5) ? 1 : -1;
    int k0, k1, rescued = 0;
  again:
    worth_(p, SKIPPED, &k0, &k1);
    memset(a, 0, ROW*sizeof(real));
    real second[(2 + 2*OTHERS)*BINS] = {0}, *origin = b + 2*OTHERS*BINS;
      @LOAD_STEP@
      @SET_NODES@
    for (int q = 0; q < NODES; q++) {
      @NODE@
    }
    for (int q = 0; q < NODES; q++) worth_(p, SKIPPED/(weight[q] > R(1e-12) ? weight[q] : R(1e-12)), from + q, to + q);
    place_(f, p + BINS, nodes_at, spacing);
    SIMD
    for (int k = k0; k < k1; k++) {
      @LOAD_BIN@
    }
    real *fired = kept + (want ? 2*t : 0)*NODES*BINS, *flat = fired + NODES*BINS;
    const real centre = f->mean;
    real z = 0, mean = 0;
    for (int q = 0; q < NODES; q++) {
      real whole = 0, sum = 0;
      _Pragma("omp simd reduction(+: whole, sum)")
      for (int k = from[q]; k < to[q]; k++) {
      @BOTH@
        real arriving = p[k]*weight[q];
        arriving = arriving < SKIPPED || p[k] < SKIPPED ? 0 : arriving;
        real width = escape_width*@SCALE@ + CUT*spacing[k]*@STEEP@ + R(1e-12);
        real s = seen_(@MARGIN@, width, sign);
        fired[q*BINS + k] = s;
        real mass = arriving*(known*@ACTIVE@ > R(0.5) ? s : R(1.0));
        /* what has crossed and is not known to have spiked is at threshold at most */
        real place = @POTENTIAL@ - (@ACTIVE@ > R(0.5) && sign < 0 && !rescued && @MARGIN@ > 0 ? @MARGIN@ : 0);
        place = mass > 0 ? place : centre;
        masses[q*BINS + k] = mass;
        places[q*BINS + k] = place;
        whole += mass;
        sum += mass*place;
      @KEEP_OTHERS@
      }
      z += whole;
      mean += sum;
    }
    z = z > LEAST ? z : LEAST;
    if (z < LOST && sign < 0 && !rescued) {
      rescued = 1;
      goto again;
    }
    mean /= z;
    if (OTHERS) { /* where most of the mass is: a variance is measured from near its mean, or rounding is all of it */
      int heaviest = 0, likeliest = 0;
      for (int k = 1; k < BINS; k++) heaviest = p[k] > p[heaviest] ? k : heaviest;
      for (int q = 1; q < NODES; q++) likeliest = weight[q] > weight[likeliest] ? q : likeliest;
      for (int o = 0; o < OTHERS; o++) origin[o] = moved[(o*NODES + likeliest)*BINS + heaviest];
    }
    real spread = 0, variance = 0, low = mean, high = mean;
    for (int q = 0; q < NODES; q++) {
      real size = 0, square = 0, least = low, most = high;
      _Pragma("omp simd reduction(+: size, square) reduction(min: least) reduction(max: most)")
      for (int k = from[q]; k < to[q]; k++) {
        real mass = masses[q*BINS + k], place = places[q*BINS + k], off = place - mean;
        int worth = mass > SKIPPED*z;
        size += worth ? mass*(off < 0 ? -off : off) : 0;
        square += worth ? mass*off*off : 0;
        least = worth && place < least ? place : least;
        most = worth && place > most ? place : most;
      }
      spread += size;
      variance += square;
      low = least;
      high = most;
    }
    spread /= z;
    variance /= z;
    since = spiked > R(0.5) || known < R(0.5) ? 0 : since + 1;
    span_(after, mean, spread > point ? spread : point, low, high, since < SETTLED ? BINS : CALM);
    const real last = after->nodes - 2, after_mean = after->mean, after_first = after->first, per_spread = 1/after->spread, per_step = 1/after->step;
    for (int q = 0; q < NODES; q++) {
      SIMD
      for (int k = from[q]; k < to[q]; k++)
        flat[q*BINS + k] = inside_((asinh_((places[q*BINS + k] - after_mean)*per_spread) - after_first)*per_step, last);
      /* a mass may fall where the one before it fell, whose sum is not yet stored: two chains wait less than one */
      const int half = (to[q] - from[q])/2;
      for (int k = from[q]; k < from[q] + half; k++) {
        deposit_(q*BINS + k, flat, masses, places, mean, moved, origin, a);
        deposit_(q*BINS + k + half, flat, masses, places, mean, moved, origin, second);
      }
      for (int k = from[q] + 2*half; k < to[q]; k++) deposit_(q*BINS + k, flat, masses, places, mean, moved, origin, a);
    }
    SIMD
    for (int k = 0; k < (2 + 2*OTHERS)*BINS; k++) a[k] += second[k];
    SIMD
    for (int k = 0; k < BINS; k++) off[k] = a[k] > LEAST ? off[k]/a[k] : 0;
    a[ROW - FRAME - 1] = z;
    a[ROW - FRAME - 2] = rescued;
    for (int o = 0; o < OTHERS; o++) {
      SIMD
      for (int k = 0; k < BINS; k++) {
        const real mean_of = a[k] > LEAST ? b[o*BINS + k]/a[k] : 0, square = a[k] > LEAST ? b[(OTHERS + o)*BINS + k]/a[k] : 0;
        const real left = square - mean_of*mean_of;
        b[o*BINS + k] = origin[o] + mean_of;
        b[(OTHERS + o)*BINS + k] = left > ROUNDING*square ? SQRT(left) : 0;
      }
    }
    const real per_z = 1/z;
    SIMD
    for (int k = 0; k < BINS; k++) a[k] *= per_z;
    push_(after, a, off, variance, point);
    total += counted[COUNTED(t)]*log(z);
  }
  out[0][pair] = total;
  if (!want) return;

  real bp[BINS], b_off[BINS], bu[2*OTHERS*BINS + 1], ba[BINS], by_off[BINS], bb[2*OTHERS*BINS + 1], b_weight[NODES], b_nodes[BINS], b_spacing[BINS];
  real b_mean = 0, b_spread = 0, b_variance = 0; /* of the frame that the step at hand lays */
  memset(bp, 0, sizeof bp);
  memset(b_off, 0, sizeof b_off);
  memset(bu, 0, sizeof bu);
      @BARS_RUN@
  for (long t = 0; t < n_steps; t++) {
    if (t >= begin && t < end) continue;
      @NO_FEEDS@
  }
  for (long t = end - 1; t >= begin; t--) {
    const real *p = arena + t*ROW, *off_before = p + BINS, *u = p + 2*BINS;
    const Frame *f = (const Frame *)(p + ROW - FRAME);
    const real *a = arena + (t + 1)*ROW, *off_after = a + BINS, *after = a + 2*BINS, *origin = after + 2*OTHERS*BINS;
    (void)origin;
    const Frame *g = (const Frame *)(a + ROW - FRAME);
    const long here = OBSERVED(t);
    const real spiked = observed[here], known = seen ? seen[here] : R(1.0);
    const real sign = spiked > R(0.5) ? 1 : -1, z = a[ROW - FRAME - 1];
    const real *fired = kept + 2*t*NODES*BINS, *flat = fired + NODES*BINS;
    const real last = g->nodes - 2, after_mean = g->mean, after_first = g->first, per_spread = 1/g->spread, per_step = 1/g->step;
    const int rescued = a[ROW - FRAME - 2] > 0;
    int k0, k1;
    worth_(p, SKIPPED, &k0, &k1);
      @LOAD_STEP@
      @SET_NODES@
    for (int q = 0; q < NODES; q++) {
      @NODE@
    }
    for (int q = 0; q < NODES; q++) worth_(p, SKIPPED/(weight[q] > R(1e-12) ? weight[q] : R(1e-12)), from + q, to + q);
    place_(f, p + BINS, nodes_at, spacing);
    SIMD
    for (int k = k0; k < k1; k++) {
      @LOAD_BIN@
    }
    real inner = 0;
    _Pragma("omp simd reduction(+: inner)")
    for (int k = 0; k < BINS; k++) inner += bp[k]*a[k];
    const real c = counted[COUNTED(t)];
    real faint[OTHERS + 1] = {0};
    for (int o = 0; PARTING && o < OTHERS; o++) {
      const real *means = after + o*BINS, *deviations = means + OTHERS*BINS;
      real sum = 0, squares = 0;
      _Pragma("omp simd reduction(+: sum, squares)")
      for (int k = 0; k < BINS; k++) {
        const real mean_of = means[k] - origin[o];
        sum += a[k]*mean_of;
        squares += a[k]*(mean_of*mean_of + deviations[k]*deviations[k]);
      }
      faint[o] = FAINT*(squares > sum*sum ? squares - sum*sum : 0);
    }
    for (int k = 0; k < BINS; k++) {
      by_off[k] = a[k]*z > LEAST ? b_off[k]/(a[k]*z) : 0;
      ba[k] = (bp[k] - inner + c)/z - (PARTING ? R(0.0) : by_off[k]*off_after[k]);
      for (int o = 0; o < OTHERS; o++) {
        const real whole = a[k]*z, mean_of = after[o*BINS + k] - origin[o], deviation = after[(OTHERS + o)*BINS + k];
        const real by_deviation = bu[(OTHERS + o)*BINS + k]*(PARTING ? deviation/(deviation*deviation + faint[o]) : 1/deviation);
        const real of_square = whole > LEAST && deviation > 0 ? by_deviation/(2*whole) : 0;
        const real of_sum = whole > LEAST ? bu[o*BINS + k]/whole - 2*mean_of*of_square : 0;
        ba[k] -= of_sum*mean_of + of_square*(mean_of*mean_of + deviation*deviation);
        bb[o*BINS + k] = of_sum;
        bb[(OTHERS + o)*BINS + k] = of_square;
      }
    }
    memset(b_weight, 0, sizeof b_weight);
    memset(b_nodes, 0, sizeof b_nodes);
    memset(b_spacing, 0, sizeof b_spacing);
    memset(bu, 0, sizeof bu);
    memset(bp, 0, sizeof bp);
      @BARS_STEP@
      @BAR_ARRAYS@
      @BIN_ARRAYS@
    for (int q = 0; q < NODES; q++) {
      real of_mean = 0, of_spread = 0;
      SIMD
      for (int k = from[q]; k < to[q]; k++) {
      @BOTH@
        real worth = p[k]*weight[q] < SKIPPED || p[k] < SKIPPED ? R(0.0) : R(1.0);
        real mass = worth*p[k]*weight[q]*(known*@ACTIVE@ > R(0.5) ? fired[q*BINS + k] : R(1.0));
        real off = (@POTENTIAL@ - (@ACTIVE@ > R(0.5) && sign < 0 && !rescued && @MARGIN@ > 0 ? @MARGIN@ : 0) - after_mean)*per_spread;
        real place = flat[q*BINS + k];
        off = mass > 0 ? off : 0;
        masses[q*BINS + k] = mass;
        places[q*BINS + k] = off;
        slope_at[k] = place > 0 && place < last ? mass*per_step*per_spread/SQRT(off*off + 1) : R(0.0);
        b_masses[q*BINS + k] = worth;
      @KEEP_OTHERS@
      }
      /* what reads a place that depends on data is no vector loop, so it does little */
      for (int k = from[q]; k < to[q]; k++) {
        const int j = (int)flat[q*BINS + k];
        const real r = flat[q*BINS + k] - j, l = 1 - r, away = places[q*BINS + k]*g->spread;
        const real along = masses[q*BINS + k]*(l*by_off[j] + r*by_off[j + 1]);
        real left = ba[j], right = ba[j + 1], b_place;
        if (!PARTING) left += away*by_off[j], right += away*by_off[j + 1];
      @LEFT_RIGHT@
        if (PARTING) {
          const real gap = a[j] > SKIPPED && a[j + 1] > SKIPPED ? g->push*(off_after[j + 1] - off_after[j]) : 0;
          const real square = g->step*g->step*(away*away + g->spread*g->spread);
          b_place = (masses[q*BINS + k]*(right - left)*gap + along*square)/(gap*gap + square);
        } else {
          const real b_share = slope_at[k]*(right - left);
          b_place = b_share + along;
          of_mean -= b_place;
          of_spread -= b_share*places[q*BINS + k];
        }
        b_places[q*BINS + k] = b_place;
        b_masses[q*BINS + k] *= l*left + r*right;
      }
      b_mean += of_mean;
      b_spread += of_spread;
    }
    real lean = 0, drift = 0;
    for (int q = 0; q < NODES; q++) {
      _Pragma("omp simd reduction(+: lean, drift)")
      for (int k = from[q]; k < to[q]; k++) {
        real mass = masses[q*BINS + k] > SKIPPED*z ? masses[q*BINS + k] : 0;
        lean += mass*sign_(places[q*BINS + k]);
        drift += mass*places[q*BINS + k];
      }
    }
    b_spread = g->spread > point ? b_spread : 0;
    b_mean -= (b_spread*lean + 2*b_variance*drift*g->spread)/z;
    {
      @OPEN_BOTH@
      for (int q = 0; q < NODES; q++) {
        real r_weight = 0;
      @OPEN_OF_NODE_BOTH@
      @PRAGMA_BOTH@
        for (int k = from[q]; k < to[q]; k++) {
      @BOTH@
          real worth = p[k]*weight[q] < SKIPPED || p[k] < SKIPPED ? R(0.0) : R(1.0);
          real width = escape_width*@SCALE@ + CUT*spacing[k]*@STEEP@ + R(1e-12), act = known*@ACTIVE@ > R(0.5) ? R(1.0) : R(0.0);
          real s = fired[q*BINS + k], slope = act*(s > FLOOR_ ? sign*s*(1 - s)/width : R(0.0));
          s = act > R(0.5) ? s : R(1.0);
          int above = @ACTIVE@ > R(0.5) && sign < 0 && !rescued && @MARGIN@ > 0;
          real mass = masses[q*BINS + k], off = places[q*BINS + k]*g->spread, far = mass > SKIPPED*z ? R(1.0) : R(0.0);
          real b_potential = b_places[q*BINS + k]
            + mass/z*(b_mean + far*(b_spread*sign_(off) + 2*b_variance*off));
          real b_mass = b_masses[q*BINS + k] + worth/z*(b_mean*off
            + far*(b_spread*(off < 0 ? -off : off) + b_variance*off*off) - b_spread*g->spread - b_variance*g->variance);
          real b_margin = p[k]*weight[q]*b_mass*slope - (above ? b_potential : 0);
          b_spacing[k] -= p[k]*weight[q]*b_mass*slope*@MARGIN@/width*CUT*@STEEP@;
          bp[k] += weight[q]*s*b_mass;
          r_weight += p[k]*s*b_mass;
      @OTHER_BARS@
      @BARS_BOTH@
      @SEED@
      @BACK_BOTH@
        }
        b_weight[q] += r_weight;
      @CLOSE_OF_NODE_BOTH@
      }
      @CLOSE_BOTH@
    }
    {
      @OPEN_BIN@
      @PRAGMA_BIN@
      for (int k = k0; k < k1; k++) {
      @BACK_BIN@
      @KEEP_BIN@
      }
      @CLOSE_BIN@
    }
    b_mean = b_spread = b_variance = 0;
    if (PARTING) memcpy(b_off, b_nodes, sizeof b_off);
    else {
      /* from the places to what was gathered there and to the frame that the step before laid */
      const real push = f->push, spread = f->spread;
      real b_push = 0;
      _Pragma("omp simd reduction(+: b_push, b_mean, b_spread)")
      for (int k = k0; k < k1; k++) {
        const real off = off_before[k], by_square = b_spacing[k]*spacing[k]/(off*off + spread*spread);
        b_push += b_nodes[k]*off + b_spacing[k]*spacing[k]/push;
        b_mean += b_nodes[k];
        b_spread += by_square*spread;
        b_nodes[k] = push*b_nodes[k] + by_square*off;
      }
      const real bent = push > 1 ? b_push*push/2 : 0, b_second = -bent/(bent > 0 || bent < 0 ? f->variance_of_nodes : 1);
      b_variance = bent > 0 || bent < 0 ? bent/f->variance : 0;
      SIMD
      for (int k = 0; k < BINS; k++) {
        const real off = off_before[k];
        bp[k] += b_second*off*off;
        b_off[k] = b_nodes[k] + 2*b_second*p[k]*off;
      }
    }
    for (int q = NODES - 1; q >= 0; q--) {
      @BACK_NODE@
    }
      @UNSET_NODES@
      @BACK_STEP@
  }
      @BACK_RUN@
}
