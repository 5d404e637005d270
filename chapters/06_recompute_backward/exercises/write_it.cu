// SPDX-License-Identifier: MIT
//
// Write it: what a tile adds to dV and dK. The loops, the loads and dQ are given; the checker goes
// through five stages, stops at the first that fails, and says what is wrong:
//   cmake --build build --target ch06_write && build/ch06_write
//   build/ch06_write 2        stage 2 alone
//   build/ch06_write --hint   a hint for the stage you are at (2 --hint: for stage 2)
//   build/ch06_write --full   all cases in the last stage, not a part of them
// Keep step2_recompute.cu closed until stage 4 is right.
//
// A tile's place `at` knows its edges:
//   at.rows(kBr)                rows inside the matrix
//   at.keys_of(r, kBc)          row r sees the keys 0 .. keys_of - 1 of the tile
//   at.first_row_of(key, kBr)   the first row of the tile that sees this key
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
[[maybe_unused]] __device__ __forceinline__ void add_query_gradients(const float* sDS,
                                                                     const float* sK, float* gDQ,
                                                                     const device::TilePlace& at,
                                                                     float scale, bool first) {
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
                             std::int64_t diagonal, [[maybe_unused]] float scale, float* gSeenP,
                             float* gSeenDS) {
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

  // The first round also runs without any key: it writes the zeros of dQ.
  for (std::int64_t j0 = 0; j0 < Nk || j0 == 0; j0 += kBc) {
    device::load_tile<kThreads, kBc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD + 1, gV + j0 * d, Nk - j0, d);
    [[maybe_unused]] float grad_k[kOwned] = {};
    [[maybe_unused]] float grad_v[kOwned] = {};
    for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
      [[maybe_unused]] const device::TilePlace at = {i0, j0, Nq, Nk, d, diagonal};
      device::load_tile<kThreads, kBr, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
      device::load_tile<kThreads, kBr, kD>(sDO, kD + 1, gDO + i0 * d, Nq - i0, d);
      if (threadIdx.x < kBr && i0 + threadIdx.x < Nq) {
        sLSE[threadIdx.x] = gLSE[head * Nq + i0 + threadIdx.x];
        sDelta[threadIdx.x] = gDelta[head * Nq + i0 + threadIdx.x];
      }
      __syncthreads();  // wait until the tiles are complete

      // Stage 1: sP[r][key] = exp(scale * (row r of sQ) . (row key of sK) - sLSE[r]), its stride is
      // kBc + 1. Behind a barrier: show_tile<kThreads, kBr, kBc>(gSeenP, sP, i0, j0, Nq, Nk), which
      // is in namespace exercise.

      // Stage 2: grad_v. For m = 0 .. kOwned - 1, thread t owns element e = t + m * kThreads of
      // dV_j: key e / kD of the tile, column c = e % kD. It adds the sum over r of
      // P[r][key] * dO[r][c].

      // Stage 3: sDS[r][key] = P * (dP - sDelta[r]) with dP = (row r of sDO) . (row key of sV). It
      // may stand beside P, in one loop. Behind a barrier: show_tile(gSeenDS, sDS, ...).

      // Stage 4: grad_k, for the same elements: sum over r of dS[r][key] * Q[r][c].

      // Stage 5: add_query_gradients<kBr, kBc, kD, kThreads>(sDS, sK, gDQ, at, scale, j0 == 0); and
      // tiles at the edges and under a mask.

      __syncthreads();  // wait until everyone is done with the tiles
    }
    // Stage 2: store grad_v in gDV[(j0 + key) * d + c]; stage 4: scale * grad_k in gDK. A loop over
    // m stands behind "#pragma unroll", so that the arrays lie in registers.
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
