/* What generated kernels call. Each kernel defines LB (lanes side by side) and DOUBLE (0 or 1) before this text.

   Elementary functions are written without branches from arithmetic alone, so that every compiler turns loops over
   them into vector loops; their errors are a few units in the last place (tests/backends/test_native.py).
   Order of elements: [element][lane], synapses [pre][post][lane] or, for sparse projections, [synapse][lane] sorted by
   presynaptic neuron. */
#include <math.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if DOUBLE
typedef double real;
typedef int64_t bits;
typedef uint64_t ubits;
#define SQRT sqrt
#define SIN sin
#define COS cos
#define TAN tan
#define SINH sinh
#define COSH cosh
#define ASIN asin
#define ACOS acos
#define ATAN atan
#define ERF erf
#define ABS fabs
#define FLOOR floor
#define POW pow
#define MANTISSA 52
#define EXPONENT_BIAS 1023
#define ROUNDER 6755399441055744.0 /* 1.5 * 2^52: adding it rounds to an integer in the low bits */
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#define EXP_MAX 709.782712893384
#define EXP_MIN -745.2
#define TINY 2.2250738585072014e-308
#else
typedef float real;
typedef int32_t bits;
typedef uint32_t ubits;
#define SQRT sqrtf
#define SIN sinf
#define COS cosf
#define TAN tanf
#define SINH sinhf
#define COSH coshf
#define ASIN asinf
#define ACOS acosf
#define ATAN atanf
#define ERF erff
#define ABS fabsf
#define FLOOR floorf
#define POW powf
#define MANTISSA 23
#define EXPONENT_BIAS 127
#define ROUNDER 12582912.0f
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define EXP_MAX 88.7228390f
#define EXP_MIN -104.0f
#define TINY 1.17549435e-38f
#endif
#define whole_quotient_(x, y) FLOOR((x)/(y))

#define INLINE static inline __attribute__((always_inline, unused))
#define ROUTINE static __attribute__((unused))
#define SIMD _Pragma("omp simd")
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define R(x) ((real)(x))
typedef uint32_t u32;
typedef uint64_t u64;

INLINE real from_bits(bits b) { real x; memcpy(&x, &b, sizeof x); return x; }
INLINE bits to_bits(real x) { bits b; memcpy(&b, &x, sizeof b); return b; }

INLINE real power_of_two_(bits n) { return from_bits((bits)(((ubits)n + EXPONENT_BIAS) << MANTISSA)); }

/* e^x: x = n ln 2 + r, Taylor series of e^r, |r| < 0.347 (its last term is below the rounding error) */
INLINE real exp_(real x) {
  real bounded = x > R(EXP_MAX) ? R(EXP_MAX) : (x < R(EXP_MIN) ? R(EXP_MIN) : x);
  real shifted = bounded * R(1.44269504088896340736) + ROUNDER;
  real n = shifted - ROUNDER;
  bits k = to_bits(shifted) - to_bits(ROUNDER);
  real r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
#if DOUBLE
  real p = 1.6059043836821613e-10;
  p = p * r + 2.08767569878681e-09;
  p = p * r + 2.505210838544172e-08;
  p = p * r + 2.755731922398589e-07;
  p = p * r + 2.7557319223985893e-06;
  p = p * r + 2.48015873015873e-05;
  p = p * r + 1.984126984126984e-04;
  p = p * r + 1.388888888888889e-03;
  p = p * r + 8.333333333333333e-03;
#else
  real p = R(1.984126984126984e-04);
  p = p * r + R(1.388888888888889e-03);
  p = p * r + R(8.333333333333333e-03);
#endif
  p = p * r + R(4.1666666666666664e-02);
  p = p * r + R(1.6666666666666666e-01);
  p = p * r + R(0.5);
  p = p * (r * r) + r + R(1.0);
  /* two factors, because 2^n itself may overflow or be subnormal */
  bits half = k >> 1;
  real y = p * power_of_two_(half);
  y = y * power_of_two_(k - half);
  return x > R(EXP_MAX) ? R(INFINITY) : (x < R(EXP_MIN) ? R(0.0) : (x == x ? y : x));
}

/* 2 atanh(s) = 2 s + s z p(z), z = s^2, |s| < 0.1716 */
INLINE real atanh_series_(real z) {
#if DOUBLE
  real p = 0.08695652173913043; /* 2/23 */
  p = p * z + 0.09523809523809523;
  p = p * z + 0.10526315789473684;
  p = p * z + 0.11764705882352941;
  p = p * z + 0.13333333333333333;
  p = p * z + 0.15384615384615385;
  p = p * z + 0.18181818181818182;
#else
  real p = R(0.18181818181818182);
#endif
  p = p * z + R(0.2222222222222222);
  p = p * z + R(0.2857142857142857);
  p = p * z + R(0.4);
  return p * z + R(0.6666666666666666);
}

/* ln(x 2^-shift) of a normal number x > 0: x = 2^e m, m in [sqrt(1/2), sqrt(2)], ln m = 2 atanh((m - 1)/(m + 1)) */
INLINE real log_normal_(real x, real shift) {
  bits b = to_bits(x);
  /* shifts and conversions that narrow vector units have, too: no sign to shift, no 64-bit integer to convert */
  const bits offset = (bits)1 << (8 * sizeof(bits) - 1 - MANTISSA);
  bits raised = (bits)(((ubits)b - (ubits)to_bits(R(0.70710678118654752440)) + ((ubits)offset << MANTISSA)) >> MANTISSA);
  bits e = raised - offset;
  real m = from_bits((bits)((ubits)b - ((ubits)e << MANTISSA)));
  real exponent = (from_bits(raised + to_bits(ROUNDER)) - ROUNDER) - R(offset) - shift;
  real s = (m - R(1.0)) / (m + R(1.0)), z = s * s;
  return exponent * LN2_HIGH + (R(2.0) * s + (s * z * atanh_series_(z) + exponent * LN2_LOW));
}

/* ln x of any number */
INLINE real log_(real x) {
  real small = x < R(TINY) ? R(1.0) : R(0.0);
  real scaled = small > R(0.5) ? x * R((bits)1 << MANTISSA) : x;
  real y = log_normal_(scaled, small * R(MANTISSA));
  y = x == R(INFINITY) ? x : y;
  return x > R(0.0) ? y : (x == R(0.0) ? -R(INFINITY) : R(NAN));
}

/* Kahan's corrections for 1 + x and e^x - 1 near 0 (Higham 2002, section 1.14.1) */
INLINE real log1p_(real x) {
  real u = R(1.0) + x;
  real y = log_(u) * (x / (u - R(1.0)));
  return u == R(1.0) ? x : (x == R(INFINITY) ? x : (u == R(0.0) ? -R(INFINITY) : y));
}
INLINE real expm1_(real x) {
  real u = exp_(x), w = u - R(1.0);
  real y = w * (x / log_(u));
  return u == R(1.0) ? x : (w == R(-1.0) ? w : (u == R(INFINITY) ? u : y));
}
INLINE real sigmoid_(real x) { return R(1.0) / (R(1.0) + exp_(-x)); }
/* min(x, 0) - ln(1 + t), t = e^-|x| in (0, 1]: ln(1 + t) = 2 atanh(t/(t + 2)), or ln 2 + 2 atanh((t - 1)/(t + 3)) */
INLINE real logsigmoid_(real x) {
  real t = exp_(-ABS(x));
  real above = t > R(0.41421356237309503) ? R(1.0) : R(0.0);
  real s = (t - above) / (t + R(2.0) + above);
  real z = s * s;
  return (x < R(0.0) ? x : R(0.0)) - (above * R(0.69314718055994530942) + (R(2.0) * s + s * z * atanh_series_(z)));
}
/* e^(x^2) erfc(x), x >= 0: t e^P(t), t = 2/(2 + x), P a Chebyshev series in 2t - 1 (Press et al. 2007, section 6.2.2) */
INLINE real erfcx_(real x) {
  static const real c[27] = {-6.51326859890854704e-01, 6.41969792356490210e-01, 1.94764732041858360e-02, -9.56151478680863226e-03, -9.46595344482036916e-04, 3.66839497852761447e-04, 4.25233248069077689e-05, -2.02785781125342418e-05, -1.62429000464702561e-06, 1.30365583558052324e-06, 1.56264417220661419e-08, -8.52380959149265415e-08, 6.52905443909885149e-09, 5.05934349555146930e-09, -9.91364156493033066e-10, -2.27365122293183597e-10, 9.64679110201552702e-11, 2.39403808303911459e-12, -6.88602752649755322e-12, 8.94487927309072531e-13, 3.13092139934295813e-13, -1.12708223613672523e-13, 3.81090525518923205e-16, 7.10609761360923712e-15, -1.52302820145710434e-15, -9.45749457129123340e-17, 1.21023718922427899e-16};
  real t = R(2.0) / (R(2.0) + x), u = R(4.0) * t - R(2.0), a = R(0.0), b = R(0.0);
  UNROLL for (int n = 26; n > 0; n--) { real next = u * a - b + c[n]; b = a; a = next; }
  return t * exp_(R(0.5) * u * a - b + c[0]);
}
#define SQRT_HALF R(0.70710678118654752440)
/* log of the standard normal distribution function */
INLINE real log_normal_cdf_(real x) {
  real z = ABS(x) * SQRT_HALF, scaled = erfcx_(z);
  real near = log1p_(R(-0.5) * scaled * exp_(-z * z)), far = log_(R(0.5) * scaled) - z * z;
  return x < R(0.0) ? far : near;
}
/* standard normal density over distribution function */
INLINE real normal_hazard_(real x) {
  real z = ABS(x) * SQRT_HALF, scaled = erfcx_(z);
  return R(0.79788456080286535588) / (x < R(0.0) ? scaled : R(2.0) * exp_(z * z) - scaled);
}
INLINE real tanh_(real x) {
  real t = expm1_(R(-2.0) * ABS(x)), y = -t / (R(2.0) + t);
  return x < R(0.0) ? -y : y;
}
INLINE real sign_(real x) { return x > R(0.0) ? R(1.0) : (x < R(0.0) ? R(-1.0) : x); }
INLINE real power_(real x, int n) {
  real y = R(1.0);
  for (; n; n >>= 1, x *= x) if (n & 1) y *= x;
  return y;
}

/* phi_k(x) = (phi_{k-1}(x) - 1/(k-1)!)/x; as a series near 0 (Hochbruck & Ostermann 2010) */
INLINE real phi_(int k, real x) {
  real first = ABS(x) < R(1e-8) ? R(1.0) + x / R(2.0) : expm1_(x) / x;
  if (k == 1) return first;
  real near = ABS(x) < R(0.5) ? x : R(0.0), far = ABS(x) < R(0.5) ? R(1.0) : x;
  real factorial = R(1.0), y = ABS(x) < R(0.5) ? R(1.0) : first;
  for (int n = 1; n < k; n++) { y = (y - R(1.0) / factorial) / far; factorial *= R(n + 1); }
  /* factorial is k! here */
  real inverse = R(1.0) / factorial;
  for (int n = 1; n < 16; n++) inverse /= R(n + k);
  real series = R(0.0);
  for (int n = 15; n >= 0; n--) { series = series * near + inverse; inverse *= R(n + k); }
  return ABS(x) < R(0.5) ? series : y;
}

/* entry of the exponential of an n x n matrix: Taylor series, scaling and squaring */
ROUTINE real matrix_exponential_(int row, int column, int n, const real *entries) {
  enum { MOST = 16 };
  double a[MOST * MOST], power[MOST * MOST], sum[MOST * MOST], next[MOST * MOST], norm = 0;
  for (int i = 0; i < n; i++) {
    double total = 0;
    for (int j = 0; j < n; j++) total += fabs((double)entries[i * n + j]);
    if (!(total <= norm)) norm = total;
  }
  if (!(norm < 1e300)) return R(NAN);
  int squarings = norm > 0.5 ? (int)ceil(log2(norm)) + 1 : 0;
  for (int k = 0; k < n * n; k++) {
    a[k] = ldexp((double)entries[k], -squarings);
    power[k] = sum[k] = k % (n + 1) == 0;
  }
  for (int term = 1; term <= 18; term++) {
    for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) {
      double total = 0;
      for (int k = 0; k < n; k++) total += power[i * n + k] * a[k * n + j];
      next[i * n + j] = total / term;
    }
    for (int k = 0; k < n * n; k++) { power[k] = next[k]; sum[k] += next[k]; }
  }
  for (int s = 0; s < squarings; s++) {
    for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) {
      double total = 0;
      for (int k = 0; k < n; k++) total += sum[i * n + k] * sum[k * n + j];
      next[i * n + j] = total;
    }
    memcpy(sum, next, sizeof(double) * n * n);
  }
  return (real)sum[row * n + column];
}

/* Philox2x32-10 (Salmon et al. 2011, doi:10.1145/2063384.2063405): random bits from a key and a counter */
typedef struct { u32 a, b; } Words;
INLINE Words philox_(u32 key, u32 a, u32 b) {
  UNROLL for (int round = 0; round < 10; round++) {
    u64 product = (u64)a * 0xD256D193u;
    a = (u32)(product >> 32) ^ key ^ b;
    b = (u32)product;
    key += 0x9E3779B9u;
  }
  Words words = {a, b};
  return words;
}
INLINE real uniform_(u32 key, u32 step, u32 element) {
  Words w = philox_(key, step, element);
#if DOUBLE
  return (double)(int32_t)(w.a >> 5) * 0x1p-27 + (double)(int32_t)(w.b >> 6) * 0x1p-53;
#else
  return (float)(w.a >> 8) * 0x1p-24f;
#endif
}
/* Box & Muller 1958: sqrt(-2 ln u) cos(2 pi w); cos(2 pi w) = sin(2 pi (1/4 - |w|)) for |w| <= 1/2 */
INLINE real normal_(u32 key, u32 step, u32 element) {
  Words w = philox_(key, step, element);
#if DOUBLE
  real word = from_bits((bits)w.a + to_bits(0x1p52)) - 0x1p52; /* its value, without a conversion few vector units have */
#else
  real word = (real)w.a;
#endif
  real u = (word + R(0.5)) * R(0x1p-32);
  real turn = R(0.25) - ABS((real)(int32_t)w.b * R(0x1p-32));
  real a = turn * R(6.283185307179586), z = a * a, p;
#if DOUBLE
  p = 3.868170170630684e-23;
  p = p * z - 1.9572941063391263e-20;
  p = p * z + 8.22063524662433e-18;
  p = p * z - 2.8114572543455206e-15;
  p = p * z + 7.647163731819816e-13;
  p = p * z - 1.6059043836821613e-10;
  p = p * z + 2.505210838544172e-08;
#else
  p = R(2.505210838544172e-08);
#endif
  p = p * z - R(2.7557319223985893e-06);
  p = p * z + R(1.984126984126984e-04);
  p = p * z - R(8.333333333333333e-03);
  p = p * z + R(1.6666666666666666e-01);
  real sine = a - a * (z * p);
  return SQRT(R(-2.0) * log_(u)) * sine;
}

/* smallest count whose Poisson distribution function exceeds u; above a mean of 500 a rounded normal quantile */
ROUTINE double normal_quantile_(double p);
INLINE real poisson_quantile_(real u, real rate) {
  real mean = rate > R(0.0) ? rate : R(0.0);
  if (mean > R(500.0)) {
    double clamped = u < 1e-16 ? 1e-16 : (u > 1 - 1e-16 ? 1 - 1e-16 : u);
    double x = nearbyint((double)mean + sqrt((double)mean) * normal_quantile_(clamped));
    return (real)(x > 0 ? x : 0);
  }
  real probability = exp_(-mean), cumulative = probability, count = R(0.0);
  int most = (int)(mean + 12 * SQRT(mean) + 20);
  for (int k = 1; k <= most && cumulative <= u; k++) {
    count += R(1.0);
    probability = probability * mean / R(k);
    cumulative = cumulative + probability;
  }
  return count;
}

/* inverse of the normal distribution function: bisection-free Newton steps on erfc from a rational start */
ROUTINE double normal_quantile_(double p) {
  double q = p < 0.5 ? p : 1 - p, t = sqrt(-2 * log(q));
  double x = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
  for (int n = 0; n < 4; n++) { /* Abramowitz & Stegun 26.2.23, then Newton */
    double tail = 0.5 * erfc(x * 0.70710678118654752440);
    x += (tail - q) / (0.39894228040143267794 * exp(-0.5 * x * x));
  }
  return p < 0.5 ? -x : x;
}

/* In single precision, values below 1e-38 become 0 while a kernel runs: they mean nothing and cost a hundred times more. */
#if !DOUBLE && defined(__SSE2__)
#include <xmmintrin.h>
INLINE u32 quick_mode_(void) { u32 mode = _mm_getcsr(); _mm_setcsr(mode | 0x8040); return mode; }
INLINE void restore_mode_(u32 mode) { _mm_setcsr(mode); }
#else
INLINE u32 quick_mode_(void) { return 0; }
INLINE void restore_mode_(u32 mode) { (void)mode; }
#endif

/* ---- moving blocks of lanes ---------------------------------------------------------------------------------- */

/* rows of `lanes` values -> rows of LB; missing lanes repeat the last, so that they never make a NaN of their own */
ROUTINE void take_(real *restrict to, const real *restrict from, long rows, long row_stride, int has_lanes, long first, int count) {
  for (long e = 0; e < rows; e++)
    for (int l = 0; l < LB; l++)
      to[e * LB + l] = from[e * row_stride + (has_lanes ? first + (l < count ? l : count - 1) : 0)];
}
ROUTINE void put_(real *restrict to, const real *restrict from, long rows, long lanes, long first, int count) {
  for (long e = 0; e < rows; e++)
    for (int l = 0; l < count; l++) to[e * lanes + first + l] = from[e * LB + l];
}
/* a shared value: the sum over its elements */
ROUTINE void put_sum_(real *restrict to, const real *restrict from, long rows, long first, int count) {
  for (int l = 0; l < count; l++) to[first + l] = 0;
  for (long e = 0; e < rows; e++)
    for (int l = 0; l < count; l++) to[first + l] += from[e * LB + l];
}
/* a total over neurons */
ROUTINE void put_total_(real *restrict to, const real *restrict from, long rows) {
  for (int l = 0; l < LB; l++) to[l] = 0;
  for (long e = 0; e < rows; e++)
    for (int l = 0; l < LB; l++) to[l] += from[e * LB + l];
}

/* ---- couplings ----------------------------------------------------------------------------------------------- */

#if LB == 1
typedef real lanes __attribute__((aligned(sizeof(real))));
#else
typedef real lanes __attribute__((vector_size(LB * sizeof(real)), aligned(LB * sizeof(real) < 64 ? LB * sizeof(real) : 64)));
#endif
typedef real wide __attribute__((vector_size(64), aligned(sizeof(real))));
#define WIDE ((int)(64 / sizeof(real)))

INLINE int silent_(const real *source) {
  int any = 0;
  for (int l = 0; l < LB; l++) any |= source[l] != R(0.0);
  return !any;
}

INLINE int all_silent_(const real *source, int pre) {
  int any = 0;
  for (long m = 0; m < (long)pre * LB; m++) any |= source[m] != R(0.0);
  return !any;
}

/* Synaptic sums come in the kinds WEIGHT = real (the same for all lanes) and lanes (one for each). */
#define COUPLE_DENSE(name, WEIGHT)                                                                                    \
  ROUTINE void name(real *restrict target_, const real *restrict weight_, const real *restrict source_, int pre, int post, long stride) { \
    lanes *restrict target = (lanes *)target_;                                                                        \
    const lanes *restrict source = (const lanes *)source_;                                                            \
    const WEIGHT *restrict weight = (const WEIGHT *)weight_;                                                          \
    if ((long)pre * post <= 1024) {                                                                                   \
      if (all_silent_(source_, pre)) { memset(target, 0, sizeof(lanes) * post); return; }                             \
      int j = 0;                                                                                                      \
      for (; j + 4 <= post; j += 4) {                                                                                 \
        const WEIGHT *row = weight + j;                                                                               \
        lanes a = row[0] * source[0], b = row[1] * source[0], c = row[2] * source[0], d = row[3] * source[0];         \
        for (int i = 1; i < pre; i++) {                                                                               \
          row += stride;                                                                                              \
          lanes s = source[i];                                                                                        \
          a += row[0] * s; b += row[1] * s; c += row[2] * s; d += row[3] * s;                                         \
        }                                                                                                             \
        target[j] = a; target[j + 1] = b; target[j + 2] = c; target[j + 3] = d;                                       \
      }                                                                                                               \
      for (; j < post; j++) {                                                                                         \
        lanes a = weight[j] * source[0];                                                                              \
        for (int i = 1; i < pre; i++) a += weight[i * stride + j] * source[i];                                        \
        target[j] = a;                                                                                                \
      }                                                                                                               \
      return;                                                                                                         \
    }                                                                                                                 \
    memset(target, 0, sizeof(lanes) * post);                                                                          \
    const WEIGHT *row[8];                                                                                             \
    lanes s[8];                                                                                                       \
    int n = 0;                                                                                                        \
    for (int i = 0; i < pre; i++) { /* silent presynaptic neurons cost nothing */                                     \
      if (!silent_(source_ + (long)i * LB)) { row[n] = weight + i * stride; s[n++] = source[i]; }                 \
      if (n == 8) {                                                                                                   \
        SIMD for (int j = 0; j < post; j++)                                                                           \
          target[j] += ((row[0][j] * s[0] + row[1][j] * s[1]) + (row[2][j] * s[2] + row[3][j] * s[3]))                \
                     + ((row[4][j] * s[4] + row[5][j] * s[5]) + (row[6][j] * s[6] + row[7][j] * s[7]));               \
        n = 0;                                                                                                        \
      }                                                                                                               \
    }                                                                                                                 \
    for (int k = 0; k < n; k++) SIMD for (int j = 0; j < post; j++) target[j] += row[k][j] * s[k];                    \
  }
#define COUPLE_DENSE_BACK(name, WEIGHT)                                                                               \
  ROUTINE void name(real *restrict target_, const real *restrict weight_, const real *restrict source_, int pre, int post) { \
    lanes *restrict target = (lanes *)target_;                                                                        \
    const lanes *restrict source = (const lanes *)source_;                                                            \
    const WEIGHT *restrict weight = (const WEIGHT *)weight_;                                                          \
    int i = 0;                                                                                                        \
    for (; i + 4 <= pre; i += 4) {                                                                                    \
      const WEIGHT *row = weight + (long)i * post, *next = row + post, *third = next + post, *last = third + post;    \
      lanes a = row[0] * source[0], b = next[0] * source[0], c = third[0] * source[0], d = last[0] * source[0];       \
      for (int j = 1; j < post; j++) {                                                                                \
        lanes s = source[j];                                                                                          \
        a += row[j] * s; b += next[j] * s; c += third[j] * s; d += last[j] * s;                                       \
      }                                                                                                               \
      target[i] = a; target[i + 1] = b; target[i + 2] = c; target[i + 3] = d;                                         \
    }                                                                                                                 \
    for (; i < pre; i++) {                                                                                            \
      const WEIGHT *row = weight + (long)i * post;                                                                    \
      lanes a = row[0] * source[0];                                                                                   \
      for (int j = 1; j < post; j++) a += row[j] * source[j];                                                         \
      target[i] = a;                                                                                                  \
    }                                                                                                                 \
  }
COUPLE_DENSE(couple_dense_each, lanes)
COUPLE_DENSE(couple_dense_same, real)
#if LB > 1
COUPLE_DENSE_BACK(couple_dense_back_each, lanes)
COUPLE_DENSE_BACK(couple_dense_back_same, real)
#else
/* one lane: the vector runs along the postsynaptic neurons */
ROUTINE void couple_dense_back_each(real *restrict target, const real *restrict weight, const real *restrict source, int pre, int post) {
  for (int i = 0; i < pre; i++) {
    const real *row = weight + (long)i * post;
    wide a = {0}, b = {0}, c = {0}, d = {0};
    int j = 0;
    for (; j + 4 * WIDE <= post; j += 4 * WIDE) {
      const wide *w = (const wide *)(row + j), *s = (const wide *)(source + j);
      a += w[0] * s[0]; b += w[1] * s[1]; c += w[2] * s[2]; d += w[3] * s[3];
    }
    for (; j + WIDE <= post; j += WIDE) a += *(const wide *)(row + j) * *(const wide *)(source + j);
    a = (a + b) + (c + d);
    real total = 0;
    for (int n = 0; n < WIDE; n++) total += a[n];
    for (; j < post; j++) total += row[j] * source[j];
    target[i] = total;
  }
}
#define couple_dense_back_same couple_dense_back_each
#endif

/* every synapse counts 1 */
ROUTINE void sum_dense(real *restrict target_, const real *restrict source_, int pre, int post) {
  lanes *restrict target = (lanes *)target_;
  const lanes *restrict source = (const lanes *)source_;
  lanes total = source[0];
  for (int i = 1; i < pre; i++) total += source[i];
  for (int j = 0; j < post; j++) target[j] = total;
}
ROUTINE void sum_dense_back(real *restrict target, const real *restrict source, int pre, int post) {
  sum_dense(target, source, post, pre);
}

#if LB == 1
#define LANES
#else
#define LANES SIMD
#endif
/* Sparse projections: synapses of presynaptic neuron i are start[i] .. start[i+1], their postsynaptic neurons in post_of. */
#define SPARSE const int32_t *restrict start, const int32_t *restrict post_of
#define COUPLE_SPARSE(name, VALUE)                                                                                    \
  ROUTINE void name(real *restrict target, const real *restrict weight, const real *restrict source, int pre, int post, SPARSE) { \
    memset(target, 0, sizeof(real) * LB * (long)post);                                                                \
    for (int i = 0; i < pre; i++) {                                                                                   \
      const real *from = source + (long)i * LB;                                                                       \
      if (silent_(from)) continue;                                                                                    \
      for (int k = start[i]; k < start[i + 1]; k++) {                                                                 \
        real *to = target + (long)post_of[k] * LB;                                                                    \
        LANES for (int l = 0; l < LB; l++) to[l] += VALUE * from[l];                                                   \
      }                                                                                                               \
    }                                                                                                                 \
  }
#define COUPLE_SPARSE_BACK(name, VALUE)                                                                               \
  ROUTINE void name(real *restrict target, const real *restrict weight, const real *restrict source, int pre, int post, SPARSE) { \
    for (int i = 0; i < pre; i++) {                                                                                   \
      real total[LB] = {0};                                                                                           \
      for (int k = start[i]; k < start[i + 1]; k++) {                                                                 \
        const real *from = source + (long)post_of[k] * LB;                                                            \
        LANES for (int l = 0; l < LB; l++) total[l] += VALUE * from[l];                                                \
      }                                                                                                               \
      memcpy(target + (long)i * LB, total, sizeof total);                                                             \
    }                                                                                                                 \
  }
COUPLE_SPARSE(couple_sparse_each, weight[(long)k * LB + l])
COUPLE_SPARSE(couple_sparse_same, weight[k])
#if LB > 1
COUPLE_SPARSE_BACK(couple_sparse_back_each, weight[(long)k * LB + l])
COUPLE_SPARSE_BACK(couple_sparse_back_same, weight[k])
#else
/* one lane: four sums at once, because each addition has to wait for the one before */
ROUTINE void couple_sparse_back_each(real *restrict target, const real *restrict weight, const real *restrict source, int pre, int post, SPARSE) {
  for (int i = 0; i < pre; i++) {
    real a = 0, b = 0, c = 0, d = 0;
    int k = start[i], end = start[i + 1];
    for (; k + 4 <= end; k += 4) {
      a += weight[k] * source[post_of[k]];
      b += weight[k + 1] * source[post_of[k + 1]];
      c += weight[k + 2] * source[post_of[k + 2]];
      d += weight[k + 3] * source[post_of[k + 3]];
    }
    for (; k < end; k++) a += weight[k] * source[post_of[k]];
    target[i] = (a + b) + (c + d);
  }
}
#define couple_sparse_back_same couple_sparse_back_each
#endif
COUPLE_SPARSE(sum_sparse_, R(1.0))
COUPLE_SPARSE_BACK(sum_sparse_back_, R(1.0))

/* sums of a synaptic value over its post- or presynaptic side */
ROUTINE void reduce_dense(real *restrict target, const real *restrict source, int pre, int post) {
  memset(target, 0, sizeof(real) * LB * (long)post);
  for (int i = 0; i < pre; i++)
    SIMD for (long m = 0; m < (long)post * LB; m++) target[m] += source[(long)i * post * LB + m];
}
ROUTINE void reduce_dense_back(real *restrict target, const real *restrict source, int pre, int post) {
  for (int i = 0; i < pre; i++) {
    real total[LB] = {0};
    for (int j = 0; j < post; j++)
      LANES for (int l = 0; l < LB; l++) total[l] += source[((long)i * post + j) * LB + l];
    memcpy(target + (long)i * LB, total, sizeof total);
  }
}
ROUTINE void reduce_sparse(real *restrict target, const real *restrict source, int pre, int post, SPARSE) {
  memset(target, 0, sizeof(real) * LB * (long)post);
  for (int i = 0; i < pre; i++)
    for (int k = start[i]; k < start[i + 1]; k++)
      LANES for (int l = 0; l < LB; l++) target[(long)post_of[k] * LB + l] += source[(long)k * LB + l];
}
ROUTINE void reduce_sparse_back(real *restrict target, const real *restrict source, int pre, int post, SPARSE) {
  for (int i = 0; i < pre; i++) {
    real total[LB] = {0};
    for (int k = start[i]; k < start[i + 1]; k++)
      LANES for (int l = 0; l < LB; l++) total[l] += source[(long)k * LB + l];
    memcpy(target + (long)i * LB, total, sizeof total);
  }
}

/* ---- weight gradients: sums over the steps of a segment of before[pre] after[post] ------------------------------ */

#define AT(p, t, stride) ((const real *)((const char *)(p) + (t) * (stride)))
#define SERIES const void *restrict before, long before_stride, const void *restrict after, long after_stride, long steps
#define CHUNK 16

ROUTINE void outer_dense_each(real *restrict sum_, SERIES, int pre, int post) {
#if LB == 1
  /* tiles of 4 x 4 vectors stay in registers over 64 steps, and their columns in the first cache */
  enum { TILE = 4, MOST = 64 };
  for (; steps > MOST; steps -= MOST) {
    outer_dense_each(sum_, before, before_stride, after, after_stride, MOST, pre, post);
    before = AT(before, MOST, before_stride); after = AT(after, MOST, after_stride);
  }
  long active = 0;
  for (long n = 0; n < steps; n++)
    for (int i = 0; i < pre; i++) active += AT(before, n, before_stride)[i] != R(0.0);
  if (active * 8 < steps * pre) { /* spikes: few rows change at a step */
    for (int i = 0; i < pre; i++)
      for (long n = 0; n < steps; n++) {
        const real a = AT(before, n, before_stride)[i], *x = AT(after, n, after_stride);
        real *restrict sum = sum_ + (long)i * post;
        if (a != R(0.0)) SIMD for (int c = 0; c < post; c++) sum[c] += a * x[c];
      }
    return;
  }
  int j = 0;
  for (; j + TILE * WIDE <= post; j += TILE * WIDE) {
    int i = 0;
    for (; i + TILE <= pre; i += TILE) {
      wide sum[TILE][TILE] = {{{0}}};
      for (long n = 0; n < steps; n++) {
        const real *a = AT(before, n, before_stride) + i;
        const wide *x = (const wide *)(AT(after, n, after_stride) + j);
        UNROLL for (int r = 0; r < TILE; r++)
          UNROLL for (int c = 0; c < TILE; c++) sum[r][c] += a[r] * x[c];
      }
      UNROLL for (int r = 0; r < TILE; r++)
        UNROLL for (int c = 0; c < TILE; c++) *((wide *)(sum_ + (long)(i + r) * post + j) + c) += sum[r][c];
    }
    for (; i < pre; i++)
      for (long n = 0; n < steps; n++) {
        const real a = AT(before, n, before_stride)[i], *x = AT(after, n, after_stride) + j;
        SIMD for (int c = 0; c < TILE * WIDE; c++) sum_[(long)i * post + j + c] += a * x[c];
      }
  }
  for (int i = 0; i < pre; i++)
    for (long n = 0; n < steps; n++) {
      const real a = AT(before, n, before_stride)[i], *x = AT(after, n, after_stride);
      if (a != R(0.0)) for (int c = j; c < post; c++) sum_[(long)i * post + c] += a * x[c];
    }
#else
  enum { MOST = 64 };
  const long most = (long)pre * post <= 1024 ? MOST : CHUNK;
  for (long t = 0; t < steps; t += most) {
    const long end = t + most < steps ? t + most : steps;
    for (int i = 0; i < pre; i++) {
      lanes s[MOST];
      const lanes *x[MOST];
      int active = 0; /* steps in which any lane of this neuron counts: few, if it is spikes that do */
      for (long n = t; n < end; n++) {
        const real *b = AT(before, n, before_stride) + (long)i * LB;
        if (silent_(b)) continue;
        s[active] = *(const lanes *)b;
        x[active++] = (const lanes *)AT(after, n, after_stride);
      }
      if (!active) continue;
      lanes *restrict sum = (lanes *)(sum_ + (long)i * post * LB);
      int j = 0;
      for (; j + 4 <= post; j += 4) {
        lanes a = sum[j], b = sum[j + 1], c = sum[j + 2], d = sum[j + 3];
        for (int n = 0; n < active; n++) {
          const lanes *y = x[n] + j;
          a += s[n] * y[0]; b += s[n] * y[1]; c += s[n] * y[2]; d += s[n] * y[3];
        }
        sum[j] = a; sum[j + 1] = b; sum[j + 2] = c; sum[j + 3] = d;
      }
      for (; j < post; j++) {
        lanes a = sum[j];
        for (int n = 0; n < active; n++) a += s[n] * x[n][j];
        sum[j] = a;
      }
    }
  }
#endif
}
/* one weight for all lanes: summed over the `count` lanes that exist, too */
ROUTINE void outer_dense_same(real *restrict sum, SERIES, int count, int pre, int post) {
#if LB == 1
  (void)count;
  outer_dense_each(sum, before, before_stride, after, after_stride, steps, pre, post);
#else
  for (int i = 0; i < pre; i++) {
    for (int j = 0; j < post; j++) {
      lanes a = {0};
      for (long n = 0; n < steps; n++)
        a += ((const lanes *)AT(before, n, before_stride))[i] * ((const lanes *)AT(after, n, after_stride))[j];
      real total = 0;
      for (int l = 0; l < count; l++) total += a[l];
      sum[(long)i * post + j] += total;
    }
  }
#endif
}
ROUTINE void outer_sparse_each(real *restrict sum, SERIES, int pre, int post, SPARSE) {
#if LB == 1
  enum { MOST = 16 }; /* rows of so many steps stay in the first caches */
  for (; steps > MOST; steps -= MOST) {
    outer_sparse_each(sum, before, before_stride, after, after_stride, MOST, pre, post, start, post_of);
    before = AT(before, MOST, before_stride); after = AT(after, MOST, after_stride);
  }
  for (int i = 0; i < pre; i++)
    for (long n = 0; n < steps; n++) {
      const real b = AT(before, n, before_stride)[i], *a = AT(after, n, after_stride);
      if (b != R(0.0)) SIMD for (int k = start[i]; k < start[i + 1]; k++) sum[k] += b * a[post_of[k]];
    }
#else
  for (long n = 0; n < steps; n++)
    for (int i = 0; i < pre; i++) {
      const real *b = AT(before, n, before_stride) + (long)i * LB;
      if (silent_(b)) continue;
      for (int k = start[i]; k < start[i + 1]; k++) {
        const real *a = AT(after, n, after_stride) + (long)post_of[k] * LB;
        LANES for (int l = 0; l < LB; l++) sum[(long)k * LB + l] += b[l] * a[l];
      }
    }
#endif
}
ROUTINE void outer_sparse_same(real *restrict sum, SERIES, int count, int pre, int post, SPARSE) {
#if LB == 1
  (void)count;
  outer_sparse_each(sum, before, before_stride, after, after_stride, steps, pre, post, start, post_of);
#else
  for (long n = 0; n < steps; n++)
    for (int i = 0; i < pre; i++) {
      const real *b = AT(before, n, before_stride) + (long)i * LB;
      if (silent_(b)) continue;
      for (int k = start[i]; k < start[i + 1]; k++) {
        const real *a = AT(after, n, after_stride) + (long)post_of[k] * LB;
        real total = 0;
        for (int l = 0; l < count; l++) total += b[l] * a[l];
        sum[k] += total;
      }
    }
#endif
}

/* ---- one network on several cores ------------------------------------------------------------------------------ */

/* The heavy couplings of a single block are shared by a team of threads that Python lends: `assist` waits for work. */
typedef struct {
  real *target;
  const real *weight, *source;
  int pre, post, count;
  const void *before, *after;
  long before_stride, after_stride, steps;
} Job;
typedef void (*Work)(const Job *job, int part, int parts);
typedef struct {
  long orders, done, parts, over;
  Work work;
  const Job *job;
} Team;

ROUTINE void share_(Team *team, Work work, const Job *job) {
  if (!team || team->parts < 2) { work(job, 0, 1); return; }
  team->work = work; team->job = job;
  __atomic_store_n(&team->done, 0, __ATOMIC_RELAXED);
  __atomic_add_fetch(&team->orders, 1, __ATOMIC_RELEASE);
  work(job, 0, (int)team->parts);
  while (__atomic_load_n(&team->done, __ATOMIC_ACQUIRE) < team->parts - 1) {}
}
#define FIRST(n) ((int)((long)(n) * part / parts))
#define LAST(n) ((int)((long)(n) * (part + 1) / parts))
/* a part of the postsynaptic neurons forwards, of the presynaptic neurons backwards */
#define TEAM_WORK(way, WIDTH)                                                                                          \
  ROUTINE void share_couple_dense_##way(const Job *job, int part, int parts) {                                         \
    int j = FIRST(job->post), n = LAST(job->post) - j;                                                                 \
    if (n) couple_dense_##way(job->target + (long)j * LB, job->weight + (long)j * WIDTH, job->source, job->pre, n, job->post); \
  }                                                                                                                    \
  ROUTINE void share_couple_dense_back_##way(const Job *job, int part, int parts) {                                    \
    int i = FIRST(job->pre), n = LAST(job->pre) - i;                                                                   \
    if (n) couple_dense_back_##way(job->target + (long)i * LB, job->weight + (long)i * job->post * WIDTH, job->source, n, job->post); \
  }
TEAM_WORK(each, LB)
TEAM_WORK(same, 1)
ROUTINE void share_outer_dense_each(const Job *job, int part, int parts) {
  int i = FIRST(job->pre), n = LAST(job->pre) - i;
  if (n) outer_dense_each(job->target + (long)i * job->post * LB, (const real *)job->before + (long)i * LB, job->before_stride,
                          job->after, job->after_stride, job->steps, n, job->post);
}
ROUTINE void share_outer_dense_same(const Job *job, int part, int parts) {
  int i = FIRST(job->pre), n = LAST(job->pre) - i;
  if (n) outer_dense_same(job->target + (long)i * job->post, (const real *)job->before + (long)i * LB, job->before_stride,
                          job->after, job->after_stride, job->steps, job->count, n, job->post);
}
void assist(Team *team, int part) {
  for (long seen = 0, orders;; seen = orders) {
    long idle = 0;
    while ((orders = __atomic_load_n(&team->orders, __ATOMIC_ACQUIRE)) == seen)
      if (++idle > 2000 && __atomic_load_n(&team->over, __ATOMIC_ACQUIRE)) return;
      else if (idle > 20000) sched_yield();
    team->work(team->job, part, (int)team->parts);
    __atomic_add_fetch(&team->done, 1, __ATOMIC_RELEASE);
  }
}
void dismiss(Team *team) { __atomic_store_n(&team->over, 1, __ATOMIC_RELEASE); }
