// SPDX-License-Identifier: MIT
//
// Step 4: one warp per row of softmax. The 32 lanes walk along the row side by side, so that their
// reads are neighbours; what each lane has found, the warp puts together with shuffles.
#include "chapters/03_tiled/tiles.cuh"

namespace attn::tiled {
namespace {

constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kWarpsPerBlock = 4;

/// The maximum over the 32 lanes, in every lane: after exchanging with the lane 16 away, then 8, 4,
/// 2 and 1 away, each has seen all 32 values.
__device__ __forceinline__ float warp_max(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

/// The sum over the 32 lanes, in every lane, by the same exchanges.
__device__ __forceinline__ float warp_sum(float value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

/// Turns row `row` of S into P and writes LSE. One warp per row of all heads.
/// Grid: ceil(rows / kWarpsPerBlock); block: (kTile, kWarpsPerBlock).
__global__ void softmax_kernel(float* gS, float* gLSE, std::int64_t rows, std::int64_t Nq,
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
  float row_max = -INFINITY;
  for (std::int64_t j = lane; j < visible; j += kTile) row_max = fmaxf(row_max, s[j]);
  row_max = warp_max(row_max);
  float row_sum = 0.0f;
  for (std::int64_t j = lane; j < visible; j += kTile) row_sum += expf(s[j] - row_max);
  row_sum = warp_sum(row_sum);
  for (std::int64_t j = lane; j < visible; j += kTile) s[j] = expf(s[j] - row_max) / row_sum;
  if (lane == 0) gLSE[row] = row_max + logf(row_sum);
}

}  // namespace

void forward_warp_softmax(const ForwardArgs& args) {
  const Shape& shape = args.shape;
  constexpr int kPad = 1;
  forward_in_tiles<kPad>(args, [&](float* gS, std::int64_t diagonal) {
    launch(softmax_kernel, ceil_div(shape.rows(), kWarpsPerBlock), dim3(kTile, kWarpsPerBlock), 0,
           nullptr, gS, args.lse, shape.rows(), shape.Nq, shape.Nk, diagonal);
  });
}

}  // namespace attn::tiled
