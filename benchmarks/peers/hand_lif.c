/* Hand-written speed reference: recurrent LIF network with a fused van Rossum loss, forward and adjoint, lanes innermost,
   checkpoints per segment. A copy of lif_van_rossum_segment.c with these changes for the work item of problem.py:
   - LB, the lanes of a block, is given at compilation (16, fewer where the problem has fewer lanes);
   - the surrogate derivative is 1/(width*(1 + |v - thr|/width)^2); before, it was 1/(1 + 10*|v - thr|)^2;
   - the gradient for v_rest includes the path through the initial value v = v_rest;
   - dtg is the gradient for tau_g; before, it was that for the factor 1 - 1/tau_g;
   - the adjoint of W walks W and dW row by row, since column by column it is bound by cache misses at 1000 neurons;
     with few neurons both fit in the cache, and the column walk, which keeps its sums in registers, stays (ROWS = 0);
   - subnormal numbers are flushed to zero within the call and not for good: with -ffast-math at linking, gcc would do so
     for the thread that loads the library, and change the times and numbers of whatever else runs in it.
   One call is one block of LB lanes; callers run blocks in threads (the call holds no lock). Build:
     cc -DNN=12 -DLB=16 -DROWS=0 -O3 -march=native -mprefer-vector-width=512 -ffast-math -fPIC -c, then cc -shared
   (-ffast-math here only because it is a speed reference.)
   Inputs: I[T][N] drive and zs[T][N] target spikes (bytes), shared by all lanes; W[post][pre][lane]; v_rest, tau_m and
   tau_g [N][lane]; d = exp(-dt/tau_R). B is the number of lanes in these arrays, a multiple of LB; the block starts at
   lane b0. Outputs: loss [lane] and the gradients, in the layout of what they belong to. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#define FLUSH unsigned int mode = _mm_getcsr(); _mm_setcsr(mode | 0x8040)
#define RESTORE _mm_setcsr(mode)
#else
#define FLUSH
#define RESTORE
#endif
#define S 64
#define N NN
typedef float L[LB];
#define FOR for (int l = 0; l < LB; l++)

static inline void step(const L *W, const L *vr, const L *itm, const L *atg, const float *I, const unsigned char *zs,
                        float thr, float d, L *v, L *g, L *f, L *Vp, L *Gp, L *Fp) {
  L is[N];
  for (int i = 0; i < N; i++) {
    float a[LB];
    FOR a[l] = I[i];
    for (int j = 0; j < N; j++) FOR a[l] += W[i * N + j][l] * g[j][l];
    FOR is[i][l] = a[l];
  }
  for (int i = 0; i < N; i++) FOR {
    float vv = v[i][l] + (vr[i][l] - v[i][l] + is[i][l]) * itm[i][l];
    float z = vv >= thr ? 1.f : 0.f;
    if (Vp) {
      Vp[i][l] = vv;
      Gp[i][l] = g[i][l];
    }
    v[i][l] = vv + z * (vr[i][l] - vv);
    g[i][l] = g[i][l] * atg[i][l] + z;
    f[i][l] = f[i][l] * d + z - (float)zs[i];
    if (Fp) Fp[i][l] = f[i][l];
  }
}

/* lg += W^T ls and aW += ls g^T; aW is [post][pre] with ROWS and [pre][post] without. */
static inline void couple(const L *W, L *aW, const L *G, const L *ls, L *lg) {
#if ROWS
  for (int i = 0; i < N; i++) for (int j = 0; j < N; j++) FOR {
    lg[j][l] += W[i * N + j][l] * ls[i][l];
    aW[i * N + j][l] += ls[i][l] * G[j][l];
  }
#else
  for (int j = 0; j < N; j++) {
    float a[LB], gj[LB];
    FOR { a[l] = lg[j][l]; gj[l] = G[j][l]; }
    for (int i = 0; i < N; i++) FOR {
      a[l] += W[i * N + j][l] * ls[i][l];
      aW[j * N + i][l] += ls[i][l] * gj[l];
    }
    FOR lg[j][l] = a[l];
  }
#endif
}

static void *rows(size_t count) { return aligned_alloc(64, (sizeof(L) * count + 63) / 64 * 64); }

void block(int b0, int T, int B, const float *I, const unsigned char *zs, const float *Wg, const float *vrg,
           const float *tmg, const float *tgg, float thr, float width, float d, float *loss, float *dW, float *dvr,
           float *dtm, float *dtg) {
  FLUSH;
  L *W = rows((size_t)N * N), *aW = rows((size_t)N * N);
  L vr[N], itm[N], atg[N], v[N], g[N], f[N], avr[N], atm[N], atg_[N], lv[N], lg[N], lf[N], ls[N];
  float inverse = 1 / width;
  for (int k = 0; k < N * N; k++) FOR { W[k][l] = Wg[(size_t)k * B + b0 + l]; aW[k][l] = 0; }
  for (int i = 0; i < N; i++) FOR {
    vr[i][l] = vrg[i * B + b0 + l];
    itm[i][l] = 1 / tmg[i * B + b0 + l];
    atg[i][l] = 1 - 1 / tgg[i * B + b0 + l];
    v[i][l] = vr[i][l];
    g[i][l] = f[i][l] = avr[i][l] = atm[i][l] = atg_[i][l] = lv[i][l] = lg[i][l] = lf[i][l] = 0;
  }
  int nseg = (T + S - 1) / S;
  L *ck = rows((size_t)N * 3 * (nseg + 1));
  L *Vb = rows((size_t)N * S), *Gb = rows((size_t)N * S), *Fb = rows((size_t)N * S);
  for (int s = 0; s < nseg; s++) {
    L *c = ck + (size_t)s * 3 * N;
    memcpy(c, v, sizeof v); memcpy(c + N, g, sizeof g); memcpy(c + 2 * N, f, sizeof f);
    int e = (s + 1) * S < T ? (s + 1) * S : T;
    if (s < nseg - 1) for (int t = s * S; t < e; t++)
      step(W, vr, itm, atg, I + (size_t)t * N, zs + (size_t)t * N, thr, d, v, g, f, 0, 0, 0);
  }
  L ll;
  FOR ll[l] = 0;
  for (int s = nseg - 1; s >= 0; s--) {
    L v0[N], *c = ck + (size_t)s * 3 * N;
    memcpy(v, c, sizeof v); memcpy(v0, v, sizeof v); memcpy(g, c + N, sizeof g); memcpy(f, c + 2 * N, sizeof f);
    int t0 = s * S, e = (s + 1) * S < T ? (s + 1) * S : T;
    for (int t = t0; t < e; t++)
      step(W, vr, itm, atg, I + (size_t)t * N, zs + (size_t)t * N, thr, d, v, g, f, Vb + (t - t0) * N,
           Gb + (t - t0) * N, Fb + (t - t0) * N);
    for (int t = e - 1; t >= t0; t--) {
      const L *V = Vb + (t - t0) * N, *G = Gb + (t - t0) * N, *F = Fb + (t - t0) * N, *Vm = t > t0 ? V - N : 0;
      for (int i = 0; i < N; i++) FOR {
        float vv = V[i][l], x = vv - thr, z = x >= 0 ? 1.f : 0.f, q = 1 + inverse * fabsf(x);
        float fl = F[i][l];
        ll[l] += fl * fl;
        float nlf = lf[i][l] + 2 * fl;
        float lz = nlf + lg[i][l] + lv[i][l] * (vr[i][l] - vv);
        float lvv = lv[i][l] * (1 - z) + lz * inverse / (q * q);
        float c = lvv * itm[i][l];
        float vprev = v0[i][l];
        if (Vm) { float w = Vm[i][l]; vprev = w >= thr ? vr[i][l] : w; }
        avr[i][l] += lv[i][l] * z + c;
        atm[i][l] -= c * (vv - vprev);
        ls[i][l] = c;
        lv[i][l] = lvv - c;
        lf[i][l] = nlf * d;
        atg_[i][l] += lg[i][l] * G[i][l];
        lg[i][l] *= atg[i][l];
      }
      couple(W, aW, G, ls, lg);
    }
  }
  for (int k = 0; k < N; k++) for (int j = 0; j < N; j++)
    FOR dW[((size_t)k * N + j) * B + b0 + l] = aW[ROWS ? k * N + j : j * N + k][l];
  for (int i = 0; i < N; i++) FOR {
    float slow = 1 / tgg[i * B + b0 + l];
    dvr[i * B + b0 + l] = avr[i][l] + lv[i][l];
    dtm[i * B + b0 + l] = atm[i][l];
    dtg[i * B + b0 + l] = atg_[i][l] * slow * slow;
  }
  FOR loss[b0 + l] = ll[l];
  free(W); free(aW); free(ck); free(Vb); free(Gb); free(Fb);
  RESTORE;
}
