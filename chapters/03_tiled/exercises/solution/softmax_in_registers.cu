// SPDX-License-Identifier: MIT
//
// Solution: a row of up to 512 keys is loaded once into the registers of its warp, and everything
// else happens there. Longer rows: the three sweeps of step 4.
//   1. load     lane L takes the scores L, L + 32, L + 64, ...
//   2. maximum  of the lane's own, then of the warp
//   3. weights  exp(score - max) replaces the score in its register; their sum, then the warp's
//   4. store    weight / sum
#include "chapters/03_tiled/step4_warp_softmax.cu"  // warp_max, warp_sum, kWarpsPerBlock

namespace attn::tiled {
namespace {

constexpr int kPerLane = 16;             // scores that a lane holds
constexpr int kFits = kPerLane * kTile;  // keys of a row that fits: 512

/// Softmax of a row of up to kFits visible scores, by one warp; returns LSE, in every lane.
__device__ __forceinline__ float row_in_registers(float* s, std::int64_t visible, unsigned lane) {
  float weight[kPerLane];  // first the scores
  float row_max = -INFINITY;
#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    const std::int64_t j = lane + n * kTile;
    weight[n] = j < visible ? s[j] : -INFINITY;  // exp(-inf) adds 0 to the sum
    row_max = fmaxf(row_max, weight[n]);
  }
  row_max = warp_max(row_max);

  float row_sum = 0.0f;
#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    if (lane + n * kTile < visible) {
      weight[n] = expf(weight[n] - row_max);
      row_sum += weight[n];
    }
  }
  row_sum = warp_sum(row_sum);

#pragma unroll
  for (int n = 0; n < kPerLane; ++n) {
    const std::int64_t j = lane + n * kTile;
    if (j < visible) s[j] = weight[n] / row_sum;
  }
  return row_max + logf(row_sum);
}

/// The three sweeps of step 4 over a row of any length; returns LSE, in every lane.
__device__ __forceinline__ float row_in_memory(float* s, std::int64_t visible, unsigned lane) {
  float row_max = -INFINITY;
  for (std::int64_t j = lane; j < visible; j += kTile) row_max = fmaxf(row_max, s[j]);
  row_max = warp_max(row_max);
  float row_sum = 0.0f;
  for (std::int64_t j = lane; j < visible; j += kTile) row_sum += expf(s[j] - row_max);
  row_sum = warp_sum(row_sum);
  for (std::int64_t j = lane; j < visible; j += kTile) s[j] = expf(s[j] - row_max) / row_sum;
  return row_max + logf(row_sum);
}

/// Grid and block as softmax_kernel of step 4: one warp per row.
__global__ void register_softmax_kernel(float* gS, float* gLSE, std::int64_t rows, std::int64_t Nq,
                                        std::int64_t Nk, std::int64_t diagonal) {
  const unsigned lane = threadIdx.x;
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.y;
  if (row >= rows) return;  // the whole warp
  const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
  if (visible == 0) {
    if (lane == 0) gLSE[row] = -INFINITY;
    return;
  }
  float* s = gS + row * Nk;  // (visible)
  const float lse =
      visible <= kFits ? row_in_registers(s, visible, lane) : row_in_memory(s, visible, lane);
  if (lane == 0) gLSE[row] = lse;
}

}  // namespace

void forward_register_softmax(const ForwardArgs& args) {
  const Shape& shape = args.shape;
  constexpr int kPad = 1;
  forward_in_tiles<kPad>(args, [&](float* gS, std::int64_t diagonal) {
    launch(register_softmax_kernel, ceil_div(shape.rows(), kWarpsPerBlock),
           dim3(kTile, kWarpsPerBlock), 0, nullptr, gS, args.lse, shape.rows(), shape.Nq, shape.Nk,
           diagonal);
  });
}

}  // namespace attn::tiled
