// SPDX-License-Identifier: MIT
//
// Solution: FlashAttention-1's backward pass in one kernel. step2_recompute.cu is the same, cut
// into functions.
#include "chapters/06_recompute_backward/exercises/write_it.hpp"
#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "common/columns.hpp"
#include "common/device/recompute.cuh"
#include "common/device/tiles.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::recompute_backward {
namespace {

constexpr int kWarp = 32;

/// dQ_i += scale * dS K_j, in HBM. first: nothing has been added before, and HBM holds nothing yet.
/// All threads call it, between barriers. gDQ: of the head.
template <int kBr, int kBc, int kD, int kThreads>
__device__ __forceinline__ void add_query_gradients(const float* sDS, const float* sK, float* gDQ,
                                                    const device::TilePlace& at, float scale,
                                                    bool first) {
  const int rows = at.rows(kBr);
  for (int n = threadIdx.x; n < kBr * kD; n += kThreads) {
    const int r = n / kD;
    const int c = n % kD;
    if (r >= rows || c >= at.d) continue;
    const int keys = at.keys_of(r, kBc);
    if (keys == 0 && !first) continue;  // this row sees nothing of the tile
    float sum = 0.0f;
    for (int j = 0; j < keys; ++j) sum += sDS[r * (kBc + 1) + j] * sK[j * (kD + 1) + c];
    float* dq = gDQ + (at.i0 + r) * at.d + c;
    *dq = first ? scale * sum : *dq + scale * sum;
  }
}

/// Grid: (B*H); block: kWarps warps.
template <int kBr, int kBc, int kD, int kWarps>
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV, const float* gDO,
                             const float* gLSE, const float* gDelta, float* gDQ, float* gDK,
                             float* gDV, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                             std::int64_t diagonal, float scale, float* gSeenP, float* gSeenDS) {
  constexpr int kThreads = kWarps * kWarp;
  constexpr int kOwned = kBc * kD / kThreads;  // elements of dK_j, and of dV_j, of each thread
  float* sQ = dynamic_shared<float>();         // (kBr, kD + 1)
  float* sDO = sQ + kBr * (kD + 1);            // (kBr, kD + 1)
  float* sK = sDO + kBr * (kD + 1);            // (kBc, kD + 1)
  float* sV = sK + kBc * (kD + 1);             // (kBc, kD + 1)
  float* sP = sV + kBc * (kD + 1);             // (kBr, kBc + 1)
  float* sDS = sP + kBr * (kBc + 1);           // (kBr, kBc + 1)
  float* sLSE = sDS + kBr * (kBc + 1);         // (kBr)
  float* sDelta = sLSE + kBr;                  // (kBr)
  const std::int64_t head = blockIdx.x;
  gQ += head * Nq * d;
  gDO += head * Nq * d;
  gDQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gDK += head * Nk * d;
  gDV += head * Nk * d;
  if (gSeenP != nullptr) gSeenP += head * Nq * Nk;
  if (gSeenDS != nullptr) gSeenDS += head * Nq * Nk;

  // Stage 5: the first round also runs without any key: it writes the zeros of dQ.
  for (std::int64_t j0 = 0; j0 < Nk || j0 == 0; j0 += kBc) {
    device::load_tile<kThreads, kBc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD + 1, gV + j0 * d, Nk - j0, d);
    float grad_k[kOwned] = {};
    float grad_v[kOwned] = {};
    for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
      const device::TilePlace at = {i0, j0, Nq, Nk, d, diagonal};
      device::load_tile<kThreads, kBr, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
      device::load_tile<kThreads, kBr, kD>(sDO, kD + 1, gDO + i0 * d, Nq - i0, d);
      if (threadIdx.x < kBr && i0 + threadIdx.x < Nq) {
        sLSE[threadIdx.x] = gLSE[head * Nq + i0 + threadIdx.x];
        sDelta[threadIdx.x] = gDelta[head * Nq + i0 + threadIdx.x];
      }
      __syncthreads();  // wait until the tiles are complete

      // Stages 1 and 3: P and dS. (Stage 5: of the pairs inside the matrix that the mask shows.)
      const int rows = at.rows(kBr);
      for (int n = threadIdx.x; n < kBr * kBc; n += kThreads) {
        const int r = n / kBc;  // neighbouring lanes take neighbouring keys
        const int key = n % kBc;
        if (r >= rows || key >= at.keys_of(r, kBc)) continue;
        float score = 0.0f;
        float grad_p = 0.0f;
        for (int c = 0; c < d; ++c) {
          score += sQ[r * (kD + 1) + c] * sK[key * (kD + 1) + c];
          grad_p += sDO[r * (kD + 1) + c] * sV[key * (kD + 1) + c];
        }
        const float p = expf(__fmul_rn(scale, score) - sLSE[r]);
        sP[r * (kBc + 1) + key] = p;
        sDS[r * (kBc + 1) + key] = p * (grad_p - sDelta[r]);
      }
      __syncthreads();  // wait until P and dS are there
      exercise::show_tile<kThreads, kBr, kBc>(gSeenP, sP, i0, j0, Nq, Nk);
      exercise::show_tile<kThreads, kBr, kBc>(gSeenDS, sDS, i0, j0, Nq, Nk);

      // Stages 2 and 4: what the tile adds to dV_j and dK_j.
#pragma unroll
      for (int m = 0; m < kOwned; ++m) {
        const int key = (threadIdx.x + m * kThreads) / kD;
        const int c = (threadIdx.x + m * kThreads) % kD;
        if (j0 + key >= Nk) continue;
        for (int r = at.first_row_of(key, kBr); r < rows; ++r) {
          grad_v[m] += sP[r * (kBc + 1) + key] * sDO[r * (kD + 1) + c];
          grad_k[m] += sDS[r * (kBc + 1) + key] * sQ[r * (kD + 1) + c];
        }
      }

      // Stage 5: dQ.
      add_query_gradients<kBr, kBc, kD, kThreads>(sDS, sK, gDQ, at, scale, j0 == 0);
      __syncthreads();  // wait until everyone is done with the tiles
    }
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int key = (threadIdx.x + m * kThreads) / kD;
      const int c = (threadIdx.x + m * kThreads) % kD;
      if (j0 + key >= Nk || c >= d) continue;
      gDV[(j0 + key) * d + c] = grad_v[m];
      gDK[(j0 + key) * d + c] = scale * grad_k[m];
    }
  }
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const BackwardArgs& args, const float* gDelta, float* gSeenP, float* gSeenDS) {
  constexpr Tiles kT{.D = kD, .Br = kBr, .Bc = kBc};
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(write_kernel<kBr, kBc, kD, kWarps>, static_cast<unsigned>(B * H), kWarps * kWarp,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.grad_o, args.lse,
         gDelta, args.grad_q, args.grad_k, args.grad_v, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale, gSeenP, gSeenDS);
}

}  // namespace

void write_gradients(const BackwardArgs& args, const float* gDelta, bool small_tiles, float* gSeenP,
                     float* gSeenDS) {
  if (small_tiles) return run_written<2, 2, 32, 2>(args, gDelta, gSeenP, gSeenDS);
  with_columns(args.shape.d, [&]<int kD>() {
    constexpr Tiles kT = tiles_for(kD);
    run_written<kT.Br, kT.Bc, kD, 4>(args, gDelta, gSeenP, gSeenDS);
  });
}

void write_backward(const BackwardArgs& args) {
  float* gDelta = static_cast<float*>(args.workspace);  // (B*H, Nq)
  delta(args, gDelta);
  write_gradients(args, gDelta, false, nullptr, nullptr);
}

}  // namespace attn::recompute_backward
