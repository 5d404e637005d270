// SPDX-License-Identifier: MIT
//
// Solution: FlashAttention-2's forward pass in one kernel. step2_skip.cu is the same, cut into
// functions.
#include "chapters/07_v2_loop_order/exercises/write_it.hpp"
#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"
#include "common/device/tiles.cuh"
#include "common/device/warp_reduce.cuh"
#include "common/exercise/show_tile.cuh"

namespace attn::v2_loop_order {
namespace {

constexpr int kWarp = 32;

/// Grid: B*H times the Q tiles of a head; block: kWarps warps.
template <int kBr, int kBc, int kD, int kWarps>
__global__ void write_kernel(const float* gQ, const float* gK, const float* gV, float* gO,
                             float* gLSE, std::int64_t Nq, std::int64_t Nk, std::int64_t d,
                             std::int64_t diagonal, float scale, float* gSeen, float* gMax,
                             float* gSum) {
  constexpr int kThreads = kWarps * kWarp;
  constexpr int kRows = kBr / kWarps;   // rows of a warp: warp, warp + kWarps, ...
  constexpr int kColumns = kD / kWarp;  // columns of O of a lane: lane, lane + 32, ...
  float* sQ = dynamic_shared<float>();  // (kBr, kD + 1)
  float* sK = sQ + kBr * (kD + 1);      // (kBc, kD + 1)
  float* sV = sK + kBc * (kD + 1);      // (kBc, kD)
  float* sS = sV + kBc * kD;            // (kBr, kBc + 1)
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const std::int64_t tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * kBr;  // first row of the block's tile
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  if (gSeen != nullptr) gSeen += head * Nq * Nk;
  float row_max[kRows];               // m of the warp's rows
  float row_sum[kRows] = {};          // l
  float acc_o[kRows][kColumns] = {};  // O, not divided
  for (int n = 0; n < kRows; ++n) row_max[n] = -INFINITY;

  // Stage 1: Q once, the loop over tiles of keys, S. (Stage 4: as far as the last row sees.)
  device::load_tile<kThreads, kBr, kD>(sQ, kD + 1, gQ + i0 * d, Nq - i0, d);
  const std::int64_t last = (i0 + kBr < Nq ? i0 + kBr : Nq) - 1;
  const std::int64_t end = visible_keys(last, diagonal, Nk);
  for (std::int64_t j0 = 0; j0 < end; j0 += kBc) {
    device::load_tile<kThreads, kBc, kD>(sK, kD + 1, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    __syncthreads();  // wait until the tiles are complete
    for (int n = lane; n < kRows * kBc; n += kWarp) {
      const int r = n / kBc * kWarps + warp;  // neighbouring lanes take neighbouring keys
      const int j = n % kBc;
      float dot = 0.0f;
      for (int c = 0; c < d; ++c) dot += sQ[r * (kD + 1) + c] * sK[j * (kD + 1) + c];
      sS[r * (kBc + 1) + j] = scale * dot;
    }
    __syncwarp();  // wait until the warp's own scores are there
    exercise::show_rows<kWarps, kBr, kBc>(gSeen, sS, i0, j0, Nq, Nk);

    // Stage 2: m and l of the warp's rows. (Stage 4: the keys that each of them sees.)
    int keys[kRows];
    int most = 0;
#pragma unroll
    for (int n = 0; n < kRows; ++n) {
      const int r = n * kWarps + warp;
      const std::int64_t left = i0 + r < Nq ? visible_keys(i0 + r, diagonal, Nk) - j0 : 0;
      keys[n] = left < 0 ? 0 : left < kBc ? static_cast<int>(left) : kBc;
      if (keys[n] == 0) continue;
      most = most < keys[n] ? keys[n] : most;
      float* s = sS + r * (kBc + 1);
      float tile_max = -INFINITY;
      for (int j = lane; j < keys[n]; j += kWarp) tile_max = fmaxf(tile_max, s[j]);
      const float new_max = fmaxf(row_max[n], device::warp_max(tile_max));
      const float reference = device::reference_point(new_max);
      float tile_sum = 0.0f;
      for (int j = lane; j < keys[n]; j += kWarp) {
        const float p = expf(s[j] - reference);
        s[j] = p;
        tile_sum += p;
      }
      const float rescale = expf(row_max[n] - reference);
      row_max[n] = new_max;
      row_sum[n] = row_sum[n] * rescale + device::warp_sum(tile_sum);
      // Stage 3: what O holds so far.
      for (int m = 0; m < kColumns; ++m) acc_o[n][m] *= rescale;
    }
    __syncwarp();  // wait until every lane has written its P

    // Stage 3: the new keys' part of O. Each element of V is fetched once for all rows of the warp.
    for (int j = 0; j < most; ++j) {
      float v[kColumns];
      for (int m = 0; m < kColumns; ++m) v[m] = sV[j * kD + lane + m * kWarp];
#pragma unroll
      for (int n = 0; n < kRows; ++n) {
        if (j >= keys[n]) continue;
        const float p = sS[(n * kWarps + warp) * (kBc + 1) + j];
        for (int m = 0; m < kColumns; ++m) acc_o[n][m] += p * v[m];
      }
    }
    __syncthreads();  // wait until everyone is done with K_j and V_j
  }

  // Stage 3: the division, once. Stage 4: LSE; rows without a key.
#pragma unroll
  for (int n = 0; n < kRows; ++n) {
    const std::int64_t i = i0 + n * kWarps + warp;
    if (i >= Nq) continue;
    const bool empty = visible_keys(i, diagonal, Nk) == 0;
    for (int m = 0; m < kColumns; ++m) {
      const int c = lane + m * kWarp;
      if (c < d) gO[i * d + c] = empty ? 0.0f : acc_o[n][m] / row_sum[n];
    }
    if (lane == 0) gLSE[i] = device::log_sum_exp(row_max[n], row_sum[n]);
  }

#pragma unroll
  for (int n = 0; n < kRows; ++n) {  // shows m and l to the checker
    const std::int64_t i = i0 + n * kWarps + warp;
    if (gMax == nullptr || lane > 0 || i >= Nq) continue;
    gMax[head * Nq + i] = row_max[n];
    gSum[head * Nq + i] = row_sum[n];
  }
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const ForwardArgs& args, float* gSeen, float* gMax, float* gSum) {
  constexpr Tiles kT{.D = kD, .Br = kBr, .Bc = kBc};
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(write_kernel<kBr, kBc, kD, kWarps>, grid_size(B * H * ceil_div(Nq, kBr)), kWarps * kWarp,
         kT.floats() * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale, gSeen, gMax, gSum);
}

}  // namespace

void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen, float* gMax,
                   float* gSum) {
  if (small_tiles) return run_written<2, 2, 32, 2>(args, gSeen, gMax, gSum);
  with_columns(args.shape.d, [&]<int kD>() {
    constexpr Tiles kT = tiles_for(kD);
    run_written<kT.Br, kT.Bc, kD, 4>(args, gSeen, gMax, gSum);
  });
}

}  // namespace attn::v2_loop_order
