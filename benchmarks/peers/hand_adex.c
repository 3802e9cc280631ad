/* AdEx neurons with conductance synapses by hand, forward + adjoint, after ../hand_lif.c: lane innermost, segments of 64
   steps, fused van Rossum loss, one call = one block of LB lanes. Euler, per step:
     e = exp((v - VT)/DT);  v += dt/C (gL (EL - v + DT e) - u + s (Es - v) + I);  u += dt (a (v_old - EL) - u)/tau_w;
     s -= dt s/tau_s;  z = v >= Vcut;  v = Vr, u += b where z;  s[post] += W[post][pre] z[pre];  f = d f + z - target.
   par: gL EL VT DT a b tau_w tau_s, each [N][B]; out: their gradients in the same order. Build: cc -DNN=12 -DLB=16 -O3
   -march=native -mprefer-vector-width=512 -fno-math-errno -fno-trapping-math -shared -fPIC. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#define S 64
#define N NN
typedef float L[LB];
#define FOR for (int l = 0; l < LB; l++)
enum { GL, EL, VT, DT, A, B_, ITW, DS, P };
static const float Es = 0.f, Vr = -58.f, Vcut = -40.f, dt = 0.1f, C = 200.f;

static inline float fexp(float x) {
  x = x > 88.f ? 88.f : (x < -87.f ? -87.f : x);
  float t = x * 1.44269504f + 12582912.f, n = t - 12582912.f;
  int32_t k; memcpy(&k, &t, 4); k -= 0x4B400000;
  float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f; p = p * r + 8.33333333e-3f; p = p * r + 4.16666667e-2f; p = p * r + 1.66666667e-1f; p = p * r + 0.5f;
  p = p * (r * r) + r + 1.f;
  int32_t b = (k + 127) << 23; float y; memcpy(&y, &b, 4);
  return p * y;
}
typedef struct { L v[N], u[N], s[N], f[N]; } State;
typedef struct { State s; L e[N]; } Row;

static inline __attribute__((always_inline)) void step(const L (*p)[N], const L *iDT, const L *W, const float *I, const unsigned char *zs, float d, Row *row, State *next) {
  L z[N];
  for (int i = 0; i < N; i++) {
    FOR {
      float v = row->s.v[i][l], u = row->s.u[i][l], s = row->s.s[i][l];
      float e = fexp((v - p[VT][i][l]) * iDT[i][l]);
      float vv = v + dt / C * (p[GL][i][l] * (p[EL][i][l] - v + p[DT][i][l] * e) - u + s * (Es - v) + I[i]);
      float uu = u + p[ITW][i][l] * (p[A][i][l] * (v - p[EL][i][l]) - u);
      float fired = vv >= Vcut ? 1.f : 0.f;
      row->e[i][l] = e;
      z[i][l] = fired;
      next->v[i][l] = fired > 0.5f ? Vr : vv;
      next->u[i][l] = uu + fired * p[B_][i][l];
      next->s[i][l] = s * p[DS][i][l];
      next->f[i][l] = row->s.f[i][l] * d + fired - (float)zs[i];
    }
  }
  for (int j = 0; j < N; j++) {
    int any = 0;
    FOR any |= z[j][l] != 0.f;
    if (any) for (int i = 0; i < N; i++) FOR next->s[i][l] += W[j * N + i][l] * z[j][l];
  }
}

void block(int b0, int T, int B, const float *I, const unsigned char *zs, const float *Wg, const float *par, float d, float *loss, float *dW, float *out) {
  L *w = aligned_alloc(64, sizeof(L) * N * N), *aw = aligned_alloc(64, sizeof(L) * N * N);
  L (*p)[N] = aligned_alloc(64, sizeof(L) * N * P), (*g)[N] = aligned_alloc(64, sizeof(L) * N * P);
  L iDT[N], ll;
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) FOR { w[j * N + i][l] = Wg[((size_t)i * N + j) * B + b0 + l]; aw[j * N + i][l] = 0; }
  for (int k = 0; k < P; k++) for (int i = 0; i < N; i++) FOR { p[k][i][l] = par[((size_t)k * N + i) * B + b0 + l]; g[k][i][l] = 0; }
  for (int i = 0; i < N; i++) FOR { iDT[i][l] = 1 / p[DT][i][l]; p[ITW][i][l] = dt / p[ITW][i][l]; p[DS][i][l] = 1 - dt / p[DS][i][l]; }
  const int segments = (T + S - 1) / S;
  State *saved = aligned_alloc(64, sizeof(State) * (segments + 1));
  Row *rows = aligned_alloc(64, sizeof(Row) * (S + 1));
  memset(rows, 0, sizeof(Row) * 2);
  for (int i = 0; i < N; i++) FOR rows[0].s.v[i][l] = p[EL][i][l];
  for (int t = 0; t < T; t++) {
    if (t % S == 0) saved[t / S] = rows[t & 1].s;
    step((const L(*)[N])p, iDT, w, I + (size_t)t * N, zs + (size_t)t * N, d, rows + (t & 1), &rows[(t + 1) & 1].s);
  }
  L lv[N], lu[N], ls[N], lf[N];
  memset(lv, 0, sizeof lv); memset(lu, 0, sizeof lu); memset(ls, 0, sizeof ls); memset(lf, 0, sizeof lf);
  FOR ll[l] = 0;
  for (int q = segments - 1; q >= 0; q--) {
    const int from = q * S, to = from + S < T ? from + S : T;
    rows[0].s = saved[q];
    for (int t = from; t < to; t++) step((const L(*)[N])p, iDT, w, I + (size_t)t * N, zs + (size_t)t * N, d, rows + t - from, &rows[t - from + 1].s);
    for (int t = to - 1; t >= from; t--) {
      const Row *r = rows + t - from;
      const State *n = &r[1].s;
      L back[N], z[N], vvs[N];
      for (int i = 0; i < N; i++) FOR {
        float v = r->s.v[i][l], s = r->s.s[i][l];
        float vv = v + dt / C * (p[GL][i][l] * (p[EL][i][l] - v + p[DT][i][l] * r->e[i][l]) - r->s.u[i][l] + s * (Es - v) + I[(size_t)t * N + i]);
        vvs[i][l] = vv; z[i][l] = vv >= Vcut ? 1.f : 0.f;
      }
      for (int j = 0; j < N; j++) {
        L a; int any = 0;
        FOR { a[l] = 0; any |= z[j][l] != 0.f; }
        for (int i = 0; i < N; i++) FOR a[l] += w[j * N + i][l] * ls[i][l];
        if (any) for (int i = 0; i < N; i++) FOR aw[j * N + i][l] += ls[i][l] * z[j][l];
        memcpy(back[j], a, sizeof a);
      }
      for (int i = 0; i < N; i++) FOR {
        float v = r->s.v[i][l], u = r->s.u[i][l], s = r->s.s[i][l], e = r->e[i][l], vv = vvs[i][l], fired = z[i][l];
        float fn = n->f[i][l]; ll[l] += fn * fn;
        float nlf = lf[i][l] + 2 * fn;
        float lz = nlf + lv[i][l] * (Vr - vv) + lu[i][l] * p[B_][i][l] + back[i][l];
        float width = 0.1f * (Vcut - Vr), x = 1 + fabsf(vv - Vcut) * (1 / width);
        float lvv = lv[i][l] * (1 - fired) + lz / (width * x * x), c = lvv * (dt / C), gl = p[GL][i][l];
        float lw = lu[i][l] * p[ITW][i][l], x2 = (v - p[VT][i][l]) * iDT[i][l];
        g[GL][i][l] += c * (p[EL][i][l] - v + p[DT][i][l] * e);
        g[EL][i][l] += c * gl - lw * p[A][i][l];
        g[VT][i][l] -= c * gl * e;
        g[DT][i][l] += c * gl * e * (1 - x2);
        g[A][i][l] += lw * (v - p[EL][i][l]);
        g[B_][i][l] += lu[i][l] * fired;
        g[ITW][i][l] += lu[i][l] * (p[A][i][l] * (v - p[EL][i][l]) - u);
        g[DS][i][l] += ls[i][l] * s;
        lv[i][l] = lvv + c * (gl * (e - 1) - s) + lw * p[A][i][l];
        lu[i][l] = lu[i][l] - lw - c;
        ls[i][l] = ls[i][l] * p[DS][i][l] + c * (Es - v);
        lf[i][l] = nlf * d;
      }
    }
  }
  for (int i = 0; i < N; i++) FOR { /* dt/tau_w and 1 - dt/tau_s back to their time constants; v starts at EL */
    float rw = p[ITW][i][l], rs = 1 - p[DS][i][l];
    g[ITW][i][l] *= -rw * rw / dt; g[DS][i][l] *= rs * rs / dt; g[EL][i][l] += lv[i][l];
  }
  for (int k = 0; k < P; k++) for (int i = 0; i < N; i++) FOR out[((size_t)k * N + i) * B + b0 + l] = g[k][i][l];
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) FOR dW[((size_t)i * N + j) * B + b0 + l] = aw[j * N + i][l];
  FOR loss[b0 + l] = ll[l];
  free(w); free(aw); free(p); free(g); free(saved); free(rows);
}
