// SPDX-License-Identifier: MIT
//
// Steps 4 and 5: chapter 06's backward pass with its outer loop given to the grid. One block per
// K/V tile:
//   1. load K_j, V_j;  dK_j = dV_j = 0, in registers
//   for each tile i of Q and dO that sees a key of the tile:
//     2. load Q_i, dO_i, LSE_i, delta_i
//     3. recompute P and dS                          as in chapter 06
//     4. dV_j += P^T dO_i,  dK_j += dS^T Q_i         in registers
//     5. step 4 only: dQ_i += scale * dS K_j         by atomics: many blocks add to the same dQ_i
//   6. store dK_j, dV_j
#pragma once

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/device/recompute.cuh"
#include "common/device/tiles.cuh"

namespace attn::v2_loop_order {

inline constexpr int kBackwardThreads = 128;

/// Chapter 06's tile sizes: Q, dO (Br, D + 1), K, V (Bc, D + 1), P, dS (Br, Bc + 1) and LSE, delta
/// (Br) share 48 KiB.
struct BackwardTiles {
  int D, Br, Bc;
  ATTN_HOST_DEVICE constexpr int floats() const {
    return 2 * (Br + Bc) * (D + 1) + 2 * Br * (Bc + 1) + 2 * Br;
  }
};

ATTN_HOST_DEVICE constexpr BackwardTiles backward_tiles_for(std::int64_t d) {
  return d <= 32   ? BackwardTiles{.D = 32, .Br = 32, .Bc = 64}
         : d <= 64 ? BackwardTiles{.D = 64, .Br = 32, .Bc = 32}
                   : BackwardTiles{.D = 128, .Br = 16, .Bc = 16};
}

/// The block's shared memory, cut into tiles.
template <int kD>
struct SharedTiles {
  static constexpr BackwardTiles kT = backward_tiles_for(kD);
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  float* sQ = dynamic_shared<float>();      // (Br, D + 1)
  float* sDO = sQ + kT.Br * (kD + 1);       // (Br, D + 1)
  float* sK = sDO + kT.Br * (kD + 1);       // (Bc, D + 1)
  float* sV = sK + kT.Bc * (kD + 1);        // (Bc, D + 1)
  float* sP = sV + kT.Bc * (kD + 1);        // (Br, Bc + 1)
  float* sDS = sP + kT.Br * (kT.Bc + 1);    // (Br, Bc + 1)
  float* sLSE = sDS + kT.Br * (kT.Bc + 1);  // (Br)
  float* sDelta = sLSE + kT.Br;             // (Br)

  /// K_j and V_j, from the head's first key on.
  __device__ __forceinline__ void load_keys(const float* gK, const float* gV, std::int64_t j0,
                                            std::int64_t Nk, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kBackwardThreads, kT.Bc, kD>(sV, kD + 1, gV + j0 * d, Nk - j0, d);
  }
  /// Q_i, dO_i, LSE_i and delta_i, from the head's first query on.
  __device__ __forceinline__ void load_queries(const float* gQ, const float* gDO, const float* gLSE,
                                               const float* gDelta, std::int64_t i0,
                                               std::int64_t Nq, std::int64_t d) const {
    device::load_tile<kBackwardThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
    device::load_tile<kBackwardThreads, kT.Br, kD>(sDO, kD + 1, gDO + i0 * d, Nq - i0, d);
    if (threadIdx.x < kT.Br && i0 + threadIdx.x < Nq) {
      sLSE[threadIdx.x] = gLSE[i0 + threadIdx.x];
      sDelta[threadIdx.x] = gDelta[i0 + threadIdx.x];
    }
  }
};

/// dK and dV, and, if kAddToDQ, dQ, which must be zero before.
/// Grid: B*H times the K/V tiles of a head; block: kBackwardThreads; dynamic shared memory:
/// backward_tiles_for(kD).floats() floats.
template <int kD, bool kAddToDQ>
[[maybe_unused]] static __global__ void key_kernel(const float* gQ, const float* gK,
                                                   const float* gV, const float* gDO,
                                                   const float* gLSE, const float* gDelta,
                                                   float* gDQ, float* gDK, float* gDV,
                                                   std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                                                   std::int64_t diagonal, float scale) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  constexpr int kOwned =
      kT.Bc * kD / kBackwardThreads;  // elements of dK_j, and of dV_j, per thread
  const SharedTiles<kD> tiles;
  const std::int64_t tiles_per_head = (Nk + kT.Bc - 1) / kT.Bc;
  const std::int64_t head = blockIdx.x / tiles_per_head;
  const std::int64_t j0 = blockIdx.x % tiles_per_head * kT.Bc;
  const std::int64_t q_start = head * Nq * d;  // of Q, dO, dQ
  const std::int64_t k_start = head * Nk * d;  // of K, V, dK, dV

  tiles.load_keys(gK + k_start, gV + k_start, j0, Nk, d);
  float grad_k[kOwned] = {};
  float grad_v[kOwned] = {};
  const std::int64_t first = first_query(j0, diagonal, Nq);  // earlier rows see no key of this tile
  for (std::int64_t i0 = first - first % kT.Br; first < Nq && i0 < Nq; i0 += kT.Br) {
    const device::TilePlace at = {i0, j0, Nq, Nk, d, diagonal};
    tiles.load_queries(gQ + q_start, gDO + q_start, gLSE + head * Nq, gDelta + head * Nq, i0, Nq,
                       d);
    __syncthreads();  // wait until the tiles are complete
    device::recompute_tile<kBackwardThreads, kT.Br, kT.Bc, kD>(tiles.sQ, tiles.sDO, tiles.sK,
                                                               tiles.sV, tiles.sLSE, tiles.sDelta,
                                                               tiles.sP, tiles.sDS, at, scale);
    __syncthreads();  // wait until P and dS are there
    const int rows = at.rows(kT.Br);
#pragma unroll
    for (int m = 0; m < kOwned; ++m) {
      const int key = (threadIdx.x + m * kBackwardThreads) / kD;
      const int c = (threadIdx.x + m * kBackwardThreads) % kD;
      if (j0 + key >= Nk) continue;
      for (int r = at.first_row_of(key, kT.Br); r < rows; ++r) {
        grad_v[m] += tiles.sP[r * (kT.Bc + 1) + key] * tiles.sDO[r * (kD + 1) + c];
        grad_k[m] += tiles.sDS[r * (kT.Bc + 1) + key] * tiles.sQ[r * (kD + 1) + c];
      }
    }
    for (int n = threadIdx.x; kAddToDQ && n < kT.Br * kD; n += kBackwardThreads) {
      const int r = n / kD;
      const int c = n % kD;
      const int keys = at.keys_of(r, kT.Bc);
      if (r >= rows || c >= d || keys == 0) continue;
      float sum = 0.0f;
#pragma unroll 8
      for (int j = 0; j < keys; ++j) {
        sum += tiles.sDS[r * (kT.Bc + 1) + j] * tiles.sK[j * (kD + 1) + c];
      }
      atomicAdd(gDQ + q_start + (i0 + r) * d + c, scale * sum);
    }
    __syncthreads();  // wait until everyone is done with the tiles
  }
#pragma unroll
  for (int m = 0; m < kOwned; ++m) {
    const int key = (threadIdx.x + m * kBackwardThreads) / kD;
    const int c = (threadIdx.x + m * kBackwardThreads) % kD;
    if (j0 + key >= Nk || c >= d) continue;
    gDK[k_start + (j0 + key) * d + c] = scale * grad_k[m];
    gDV[k_start + (j0 + key) * d + c] = grad_v[m];
  }
}

/// delta, then dK and dV, and, if kAddToDQ, what they add to dQ.
template <int kD, bool kAddToDQ>
void run_delta_and_keys(const BackwardArgs& args, float* gDelta) {
  constexpr BackwardTiles kT = backward_tiles_for(kD);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(device::delta_kernel, ceil_div(B * H * Nq, kBackwardThreads / 32), kBackwardThreads, 0,
         nullptr, args.grad_o, args.o, gDelta, B * H * Nq, d);
  if (Nk == 0) return;
  launch(key_kernel<kD, kAddToDQ>, grid_size(B * H * ceil_div(Nk, kT.Bc)), kBackwardThreads,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.grad_o, args.lse,
         gDelta, args.grad_q, args.grad_k, args.grad_v, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace attn::v2_loop_order
