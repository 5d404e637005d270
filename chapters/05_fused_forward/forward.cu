// SPDX-License-Identifier: MIT
//
// FlashAttention-1 as published (Dao et al. 2022, algorithm 1). One block per head:
//   for each tile j of K and V:                      outer loop: K and V are read once
//     1. load K_j, V_j into shared memory
//     for each tile i of Q:                          inner loop: Q and O are read once per j
//       2. load Q_i
//       3. S = scale * Q_i K_j^T                     stays in shared memory
//       4. bring row_max, row_sum and O_i, all in HBM, up to date with the new keys
// After every step O is the exact attention over the keys seen so far.
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"

namespace attn::fused_forward {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;

/// S = scale * sQ sK^T: sS (Br, Bc + 1). All pairs of the tile, also those that the mask hides.
template <int kD>
__device__ __forceinline__ void scores(const float* sQ, const float* sK, float* sS, std::int64_t d,
                                       float scale) {
  constexpr Tiles kT = tiles_for(kD);
  const int columns = static_cast<int>(d);
  for (int n = threadIdx.x; n < kT.Br * kT.Bc; n += kThreads) {
    const int i = n / kT.Bc;  // neighbouring lanes take neighbouring keys
    const int j = n % kT.Bc;
    float dot = 0.0f;
#pragma unroll 8
    for (int c = 0; c < columns; ++c) dot += sQ[i * (kD + 1) + c] * sK[j * (kD + 1) + c];
    sS[i * (kT.Bc + 1) + j] = scale * dot;
  }
}

/// One warp brings one row up to date with `keys` new scores s: row_max, row_sum and O, all in HBM.
/// first: nothing has been seen before, and HBM holds nothing yet.
template <int kD>
__device__ __forceinline__ void update_row(float* s, const float* sV, float* gO, float* gMax,
                                           float* gSum, int keys, std::int64_t d, bool first) {
  constexpr Tiles kT = tiles_for(kD);
  const int lane = threadIdx.x % kWarp;
  float old_max = -INFINITY;
  float old_sum = 0.0f;
  if (lane == 0 && !first) {
    old_max = *gMax;
    old_sum = *gSum;
  }
  old_max = __shfl_sync(device::kAllLanes, old_max, 0);  // one load for the whole warp
  old_sum = __shfl_sync(device::kAllLanes, old_sum, 0);

  float tile_max = -INFINITY;
  for (int j = lane; j < kT.Bc; j += kWarp) {
    if (j < keys) tile_max = fmaxf(tile_max, s[j]);
  }
  const float new_max = fmaxf(old_max, device::warp_max(tile_max));
  const float reference = device::reference_point(new_max);
  float tile_sum = 0.0f;
  for (int j = lane; j < kT.Bc; j += kWarp) {
    if (j >= keys) continue;
    const float p = expf(s[j] - reference);
    s[j] = p;
    tile_sum += p;
  }
  const float old_weight = old_sum * expf(old_max - reference);
  const float new_sum = old_weight + device::warp_sum(tile_sum);
  __syncwarp();  // wait until every lane has written its P

  for (int c = lane; c < d; c += kWarp) {
    float pv = 0.0f;
    for (int j = 0; j < keys; ++j) pv += s[j] * sV[j * kD + c];
    const float loaded = first ? 0.0f : gO[c];
    // O so far is an average with total weight old_sum; without a finite logit it is none.
    const float old_o = old_max == -INFINITY ? 0.0f : loaded;
    gO[c] = keys == 0 ? 0.0f : (old_weight * old_o + pv) / new_sum;
  }
  if (lane == 0) {
    *gMax = new_max;
    *gSum = new_sum;
  }
}

/// Grid: (B*H); block: kThreads; dynamic shared memory: tiles_for(kD).floats() floats.
template <int kD>
__global__ void forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                               float* gLSE, float* gMax, float* gSum, std::int64_t Nq,
                               std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
                               float scale) {
  constexpr Tiles kT = tiles_for(kD);
  float* sQ = dynamic_shared<float>();  // (Br, D + 1)
  float* sK = sQ + kT.Br * (kD + 1);    // (Bc, D + 1): its columns are read by neighbouring lanes
  float* sV = sK + kT.Bc * (kD + 1);    // (Bc, D)
  float* sS = sV + kT.Bc * kD;          // (Br, Bc + 1)
  const std::int64_t head = blockIdx.x;
  const int warp = threadIdx.x / kWarp;
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  gMax += head * Nq;
  gSum += head * Nq;

  // The first round also runs without any key: it writes the zeros of an empty row.
  for (std::int64_t j0 = 0; j0 < Nk || j0 == 0; j0 += kT.Bc) {
    device::load_tile<kThreads, kT.Bc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kT.Bc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    for (std::int64_t i0 = 0; i0 < Nq; i0 += kT.Br) {
      device::load_tile<kThreads, kT.Br, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
      __syncthreads();  // wait until the tiles are complete
      scores<kD>(sQ, sK, sS, d, scale);
      __syncthreads();  // wait until all scores are there
      for (int r = warp; r < kT.Br && i0 + r < Nq; r += kWarps) {
        const std::int64_t i = i0 + r;
        const std::int64_t left = visible_keys(i, diagonal, Nk) - j0;
        const int keys = left < 0 ? 0 : left < kT.Bc ? static_cast<int>(left) : kT.Bc;
        if (keys == 0 && j0 > 0) continue;  // this row sees nothing of this tile
        update_row<kD>(sS + r * (kT.Bc + 1), sV, gO + i * d, gMax + i, gSum + i, keys, d, j0 == 0);
      }
      __syncthreads();  // wait until everyone is done with the tiles
    }
  }
  for (std::int64_t i = threadIdx.x; i < Nq; i += kThreads) {
    gLSE[i] = device::log_sum_exp(gMax[i], gSum[i]);
  }
}

template <int kD>
void run(const ForwardArgs& args) {
  constexpr Tiles kT = tiles_for(kD);
  static_assert(kT.floats() * sizeof(float) <= 48 * 1024);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* gMax = static_cast<float*>(args.workspace);  // (B*H, Nq)
  float* gSum = gMax + B * H * Nq;                    // (B*H, Nq)
  launch(forward_kernel<kD>, static_cast<unsigned>(B * H), kThreads, kT.floats() * sizeof(float),
         nullptr, args.q, args.k, args.v, args.o, args.lse, gMax, gSum, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace

std::size_t workspace_bytes(const Shape& shape) {
  return 2 * static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void forward(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() { run<kD>(args); });
}

}  // namespace attn::fused_forward
