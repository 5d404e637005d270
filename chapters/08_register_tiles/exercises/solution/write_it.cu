// SPDX-License-Identifier: MIT
//
// Solution: the forward pass in register tiles, in one kernel. step3_paired_lanes.cu is the same,
// cut into functions.
#include "chapters/08_register_tiles/exercises/write_it.hpp"
#include "chapters/08_register_tiles/tiles.cuh"
#include "common/columns.hpp"
#include "common/device/online_softmax.cuh"

namespace attn::register_tiles {
namespace {

using Lanes = PairedLanes;

/// Shows a lane's rectangle of S to the checker.
template <int TM, int TN>
__device__ __forceinline__ void show_scores(float* gSeen, const float (&s)[TM][TN], std::int64_t i,
                                            std::int64_t j, std::int64_t Nq, std::int64_t Nk) {
  if (gSeen == nullptr) return;
#pragma unroll
  for (int m = 0; m < TM; ++m) {
#pragma unroll
    for (int n = 0; n < TN; ++n) {
      const std::int64_t row = i + kLaneRows * m;
      const std::int64_t key = j + kLaneColumns * n;
      if (row < Nq && key < Nk) gSeen[row * Nk + key] = s[m][n];
    }
  }
}

/// Grid: B*H times the Q tiles of a head; block: kWarps warps. The tile's sizes are parameters: the
/// checker also takes 4 x 8, one score for each lane, to work a wrong case out by hand.
template <int kBr, int kBc, int kD, int kWarps>
__global__ void __launch_bounds__(kWarps* kWarp, kD == 128 ? 1 : 2)
    write_kernel(const float* gQ, const float* gK, const float* gV, float* gO, float* gLSE,
                 std::int64_t Nq, std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
                 float scale, float* gSeen, float* gMax, float* gSum) {
  constexpr int kThreads = kWarps * kWarp;
  constexpr int kRows = kBr / kWarps;     // rows of a warp
  constexpr int TM = kRows / kLaneRows;   // rows of a lane: row, row + 4, ...
  constexpr int TN = kBc / kLaneColumns;  // keys of a lane: column, column + 8, ...
  constexpr int TC = kD / 32;             // its float4 of a row of O: column, column + 8, ...
  constexpr int kStride = kD + 4;         // floats from one row of Q to the next, and of K
  constexpr int kPStride = kBc + 8;       // of P
  float* sQ = dynamic_shared<float>();    // (kBr, kD + 4)
  float* sK = sQ + kBr * kStride;         // (kBc, kD + 4)
  float* sV = sK + kBc * kStride;         // (kBc, kD)
  float* sP = sV + kBc * kD;              // (kBr, kBc + 8)
  const std::int64_t tiles = (Nq + kBr - 1) / kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * kBr;  // first row of the block's tile
  gQ += head * Nq * d;
  gK += head * Nk * d;
  gV += head * Nk * d;
  gO += head * Nq * d;
  gLSE += head * Nq;
  if (gSeen != nullptr) gSeen += head * Nq * Nk;
  const Lanes lane;
  const int row = static_cast<int>(threadIdx.x) / kWarp * kRows + lane.row;  // the lane's first row
  const float* q = sQ + row * kStride;          // row 4 m from here: the lane's m-th
  const float* k = sK + lane.column * kStride;  // row 8 n from here: its n-th key
  const float* v = sV + 4 * lane.column;        // float 32 h from here: its h-th float4
  float* p = sP + row * kPStride;               // row 4 m from here: its m-th, all keys
  float row_max[TM];                            // m of the lane's rows
  float row_sum[TM] = {};        // l, or the part of it that the lane's own keys make
  float acc_o[TM][4 * TC] = {};  // O, not divided: column 4 lane.column + 32 h + e at 4 h + e
  for (int m = 0; m < TM; ++m) row_max[m] = -INFINITY;

  device::load_tile<kThreads, kBr, kD>(sQ, kStride, gQ + i0 * d, Nq - i0, d);
  const std::int64_t last = (i0 + kBr < Nq ? i0 + kBr : Nq) - 1;
  const std::int64_t end = visible_keys(last, diagonal, Nk);
  for (std::int64_t j0 = 0; j0 < end; j0 += kBc) {
    __syncthreads();  // wait until everyone is done with the last K and V
    device::load_tile<kThreads, kBc, kD>(sK, kStride, gK + j0 * d, Nk - j0, d);
    device::load_tile<kThreads, kBc, kD>(sV, kD, gV + j0 * d, Nk - j0, d);
    __syncthreads();  // wait until the tiles are complete
    float s[TM][TN] = {};

    // Stage 1: the lane's rectangle of S.
    for (int c = 0; c < kD; c += 4) {
      float a[TM][4];
#pragma unroll
      for (int m = 0; m < TM; ++m) load4(a[m], q + kLaneRows * m * kStride + c);
#pragma unroll
      for (int n = 0; n < TN; ++n) {
        float b[4];
        load4(b, k + kLaneColumns * n * kStride + c);
#pragma unroll
        for (int m = 0; m < TM; ++m) {
#pragma unroll
          for (int e = 0; e < 4; ++e) s[m][n] += a[m][e] * b[e];
        }
      }
    }
#pragma unroll
    for (int m = 0; m < TM; ++m) {
#pragma unroll
      for (int n = 0; n < TN; ++n) s[m][n] = __fmul_rn(scale, s[m][n]);
    }

    show_scores(gSeen, s, i0 + row, j0 + lane.column, Nq, Nk);
    if (gSeen != nullptr && gMax == nullptr) continue;  // the checker counts stage 1 alone

    // Stage 2: m and l. (Stage 4: of the keys that each row sees.)
    int keys[TM];
#pragma unroll
    for (int m = 0; m < TM; ++m) {
      const std::int64_t left = visible_keys(i0 + row + kLaneRows * m, diagonal, Nk) - j0;
      keys[m] = left < 0 ? 0 : left < kBc ? static_cast<int>(left) : kBc;
      float tile_max = -INFINITY;
#pragma unroll
      for (int n = 0; n < TN; ++n) {
        if (lane.column + kLaneColumns * n >= keys[m]) s[m][n] = -INFINITY;
        tile_max = fmaxf(tile_max, s[m][n]);
      }
      tile_max = fmaxf(tile_max, __shfl_xor_sync(0xFFFFFFFFu, tile_max, Lanes::kBit0));
      tile_max = fmaxf(tile_max, __shfl_xor_sync(0xFFFFFFFFu, tile_max, Lanes::kBit1));
      tile_max = fmaxf(tile_max, __shfl_xor_sync(0xFFFFFFFFu, tile_max, Lanes::kBit2));
      const float new_max = fmaxf(row_max[m], tile_max);
      const float reference = device::reference_point(new_max);
      const float rescale = expf(row_max[m] - reference);
      row_max[m] = new_max;
      row_sum[m] *= rescale;
#pragma unroll
      for (int n = 0; n < TN; ++n) {
        const float weight = expf(s[m][n] - reference);
        row_sum[m] += weight;
        p[kLaneRows * m * kPStride + lane.column + kLaneColumns * n] = weight;  // stage 3
      }
      // Stage 3: what O holds so far.
#pragma unroll
      for (int c = 0; c < 4 * TC; ++c) acc_o[m][c] *= rescale;
    }
    __syncwarp();  // wait until the warp's rows of P are complete

    // Stage 3: the new keys' part of O.
    for (int j = 0; j < kBc; j += 4) {
      float w[TM][4];
#pragma unroll
      for (int m = 0; m < TM; ++m) load4(w[m], p + kLaneRows * m * kPStride + j);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int h = 0; h < TC; ++h) {
          float x[4];
          load4(x, v + (j + e) * kD + 32 * h);
#pragma unroll
          for (int m = 0; m < TM; ++m) {
            if (j + e >= keys[m]) continue;
#pragma unroll
            for (int c = 0; c < 4; ++c) acc_o[m][4 * h + c] += w[m][e] * x[c];
          }
        }
      }
    }
  }

  // Stage 2: the rows' sums. Stage 3: the division, once. Stage 4: rows without a key; LSE.
#pragma unroll
  for (int m = 0; m < TM; ++m) {
    row_sum[m] += __shfl_xor_sync(0xFFFFFFFFu, row_sum[m], Lanes::kBit0);
    row_sum[m] += __shfl_xor_sync(0xFFFFFFFFu, row_sum[m], Lanes::kBit1);
    row_sum[m] += __shfl_xor_sync(0xFFFFFFFFu, row_sum[m], Lanes::kBit2);
    const std::int64_t i = i0 + row + kLaneRows * m;
    if (i >= Nq) continue;
    const bool empty = visible_keys(i, diagonal, Nk) == 0;
#pragma unroll
    for (int h = 0; h < TC; ++h) {
      float o[4];
      for (int e = 0; e < 4; ++e) o[e] = empty ? 0.0f : acc_o[m][4 * h + e] / row_sum[m];
      store_in_row<false>(gO + i * d, 4 * lane.column + 32 * h, d, o);
    }
    if (lane.column == 0) gLSE[i] = device::log_sum_exp(row_max[m], row_sum[m]);
  }

#pragma unroll
  for (int m = 0; m < TM; ++m) {  // shows m and l to the checker
    const std::int64_t i = i0 + row + kLaneRows * m;
    if (gMax == nullptr || lane.column > 0 || i >= Nq) continue;
    gMax[head * Nq + i] = row_max[m];
    gSum[head * Nq + i] = row_sum[m];
  }
}

template <int kBr, int kBc, int kD, int kWarps>
void run_written(const ForwardArgs& args, float* gSeen, float* gMax, float* gSum) {
  constexpr int kFloats = (kBr + kBc) * (kD + 4) + kBc * kD + kBr * (kBc + 8);
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(write_kernel<kBr, kBc, kD, kWarps>, grid_size(B * H * ceil_div(Nq, kBr)), kWarps * kWarp,
         kFloats * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse, Nq, Nk, d,
         attn::diagonal(args.mask, Nq, Nk), args.scale, gSeen, gMax, gSum);
}

}  // namespace

void write_forward(const ForwardArgs& args, bool small_tiles, float* gSeen, float* gMax,
                   float* gSum) {
  if (small_tiles) return run_written<4, 8, 32, 1>(args, gSeen, gMax, gSum);
  with_columns(args.shape.d, [&]<int kD>() {
    using T = TilesFor<kD>;
    run_written<T::kBr, T::kBc, kD, T::kWarps>(args, gSeen, gMax, gSum);
  });
}

}  // namespace attn::register_tiles
