// SPDX-License-Identifier: MIT
//
// Steps 2 to 5: chapter 07's forward pass with S and O in registers. One block per tile of Q:
//   1. load Q_i;  O = 0, row_max = -inf, row_sum = 0, in registers
//   for each tile j of K and V that a row sees a key of:
//     2. load K_j, V_j
//     3. S = Q_i K_j^T, in registers
//     4. P = exp(S - row_max), in registers, then to the warp's own rows of shared memory:
//        the lanes hold P by keys, and the product with V wants whole rows
//     5. O = rescaled O + P V_j, in registers
//   6. store O / row_sum and LSE
// Tiles that every row sees whole come first, in a loop that knows of no mask.
#pragma once

#include "chapters/08_register_tiles/tiles.cuh"
#include "common/device/exp2.cuh"
#include "common/device/online_softmax.cuh"

namespace attn::register_tiles {

inline constexpr float kLog2E = 1.44269504f;

/// What a lane knows of its rows.
template <class T>
struct Rows {
  float maximum[T::TM];
  float sum[T::TM] = {};  // of the lane's own keys: the 8 lanes of a row add them up at the end
  float acc_o[T::TM][4 * T::TC] = {};
};

/// Turns a tile of dot products s into P, stores it to the lane's rows of shared memory, p, and
/// brings the rows up to the new maxima. keys[m]: how many keys row m sees of the tile (kMasked).
template <class T, class Lanes, bool kMasked, bool kApproximate>
__device__ __forceinline__ void softmax_tile(float (&s)[T::TM][T::TN], float scale, int column,
                                             const int (&keys)[T::TM], float* p, Rows<T>& rows) {
#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    float tile_max = -INFINITY;
#pragma unroll
    for (int n = 0; n < T::TN; ++n) {
      // Rounded: one multiply-add with the subtraction below would lose large logits (chapter 07).
      s[m][n] = __fmul_rn(scale, s[m][n]);
      if (kMasked && column + kLaneColumns * n >= keys[m]) s[m][n] = -INFINITY;
      tile_max = fmaxf(tile_max, s[m][n]);
    }
    const float new_max = fmaxf(rows.maximum[m], row_maximum<Lanes>(tile_max));
    const float reference = device::reference_point(new_max);
    const float rescale = device::exp2<kApproximate>(kLog2E * (rows.maximum[m] - reference));
    rows.maximum[m] = new_max;
    rows.sum[m] *= rescale;
#pragma unroll
    for (int n = 0; n < T::TN; ++n) {
      const float weight = device::exp2<kApproximate>(kLog2E * (s[m][n] - reference));
      rows.sum[m] += weight;
      p[kLaneRows * m * T::kPStride + kLaneColumns * n] = weight;
    }
#pragma unroll
    for (int c = 0; c < 4 * T::TC; ++c) rows.acc_o[m][c] *= rescale;
  }
}

/// Grid: B*H times the Q tiles of a head; block: T::kThreads; dynamic shared memory: T::kFloats
/// floats. kWide: d % 4 = 0, and Q, K, V and O are 16-byte aligned.
template <class T, class Lanes, bool kWide, bool kApproximate>
static __global__ void __launch_bounds__(T::kThreads, T::kBlocks)
    forward_kernel(const float* gQ, const float* gK, const float* gV, float* gO, float* gLSE,
                   std::int64_t Nq, std::int64_t Nk, std::int64_t d, std::int64_t diagonal,
                   float scale) {
  float* sQ = dynamic_shared<float>();    // (Br, D + 4)
  float* sK = sQ + T::kBr * T::kQStride;  // (Bc, D + 4)
  float* sV = sK + T::kBc * T::kQStride;  // (Bc, D)
  float* sP = sV + T::kBc * T::kD;        // (Br, Bc + 8)
  const std::int64_t tiles = (Nq + T::kBr - 1) / T::kBr;
  const std::int64_t head = blockIdx.x / tiles;
  const std::int64_t i0 = blockIdx.x % tiles * T::kBr;
  gK += head * Nk * d;
  gV += head * Nk * d;

  const Lanes lane;
  const int row = static_cast<int>(threadIdx.x) / kWarp * T::kRows + lane.row;  // the lane's first
  const float* q = sQ + row * T::kQStride;
  const float* k = sK + lane.column * T::kQStride;
  const float* v = sV + 4 * lane.column;
  float* p = sP + row * T::kPStride;
  Rows<T> rows;
#pragma unroll
  for (int m = 0; m < T::TM; ++m) rows.maximum[m] = -INFINITY;

  load_rows<kWide, T::kThreads, T::kBr, T::kD>(sQ, T::kQStride, gQ + (head * Nq + i0) * d, Nq - i0,
                                               d);
  const auto visit_tile = [&]<bool kMasked>(std::int64_t j0) {
    __syncthreads();  // wait until everyone is done with the last K and V
    load_rows<kWide, T::kThreads, T::kBc, T::kD>(sK, T::kQStride, gK + j0 * d, Nk - j0, d);
    load_rows<kWide, T::kThreads, T::kBc, T::kD>(sV, T::kD, gV + j0 * d, Nk - j0, d);
    int keys[T::TM] = {};
#pragma unroll
    for (int m = 0; kMasked && m < T::TM; ++m) {
      const std::int64_t left = visible_keys(i0 + row + kLaneRows * m, diagonal, Nk) - j0;
      keys[m] = left < 0 ? 0 : left < T::kBc ? static_cast<int>(left) : T::kBc;
    }
    __syncthreads();  // wait until the tiles are complete
    float s[T::TM][T::TN] = {};
    add_dots<T::kD, T::kQStride, 2>(s, q, k);
    softmax_tile<T, Lanes, kMasked, kApproximate>(s, scale, lane.column, keys, p + lane.column,
                                                  rows);
    __syncwarp();  // wait until the warp's rows of P are complete
    add_weighted<kMasked, T::kBc, T::kPStride, T::kD>(rows.acc_o, p, v, keys);
  };
  const std::int64_t last = (i0 + T::kBr < Nq ? i0 + T::kBr : Nq) - 1;
  const std::int64_t least = visible_keys(i0, diagonal, Nk);   // what every row of the tile sees
  const std::int64_t most = visible_keys(last, diagonal, Nk);  // what some row of it sees
  std::int64_t j0 = 0;
  for (; j0 + T::kBc <= least; j0 += T::kBc) visit_tile.template operator()<false>(j0);
  for (; j0 < most; j0 += T::kBc) visit_tile.template operator()<true>(j0);

#pragma unroll
  for (int m = 0; m < T::TM; ++m) {
    const float row_sum = row_total<Lanes>(rows.sum[m]);
    const std::int64_t i = i0 + row + kLaneRows * m;
    if (i >= Nq) continue;
    const bool empty = visible_keys(i, diagonal, Nk) == 0;
    const float factor = 1.0f / row_sum;
    float* gRow = gO + (head * Nq + i) * d;
#pragma unroll
    for (int h = 0; h < T::TC; ++h) {
      float o[4];
      for (int e = 0; e < 4; ++e) o[e] = empty ? 0.0f : factor * rows.acc_o[m][4 * h + e];
      store_in_row<kWide>(gRow, 4 * lane.column + 32 * h, d, o);
    }
    if (lane.column == 0) gLSE[head * Nq + i] = device::log_sum_exp(rows.maximum[m], row_sum);
  }
}

/// One launch. T: the tiles, for this d.
template <class T, class Lanes, bool kWide, bool kApproximate>
void launch_forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  launch(forward_kernel<T, Lanes, kWide, kApproximate>, grid_size(B * H * ceil_div(Nq, T::kBr)),
         T::kThreads, T::kFloats * sizeof(float), nullptr, args.q, args.k, args.v, args.o, args.lse,
         Nq, Nk, d, attn::diagonal(args.mask, Nq, Nk), args.scale);
}

}  // namespace attn::register_tiles
