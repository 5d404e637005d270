// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

/// kTurned: the sum goes down a column of the tile instead of along a row.
template <int kPitch, bool kTurned, bool kScaled>
__global__ void scores_kernel(const float* q, const float* K, float* s, float scale) {
  __shared__ float tile[32 * kPitch];
  const int lane = threadIdx.x;
  const int first = blockIdx.x * 32;
  for (int row = 0; row < 32; ++row) tile[row * kPitch + lane] = K[(first + row) * 32 + lane];
  __syncthreads();
  float dot = 0.0f;
  for (int c = 0; c < 32; ++c) {
    dot += q[c] * tile[kTurned ? c * kPitch + lane : lane * kPitch + c];
  }
  s[first + lane] = kScaled ? scale * dot : dot;
}

void scores_with_conflicts(const Data& x) {
  launch(scores_kernel<32, false, true>, ceil_div(x.columns, 32), 32, 0, nullptr, x.a, x.b, x.out,
         x.number);
}
void scores_unscaled(const Data& x) {
  launch(scores_kernel<33, false, false>, ceil_div(x.columns, 32), 32, 0, nullptr, x.a, x.b, x.out,
         x.number);
}
void scores_tile_turned(const Data& x) {
  launch(scores_kernel<32, true, true>, ceil_div(x.columns, 32), 32, 0, nullptr, x.a, x.b, x.out,
         x.number);
}

}  // namespace attn::puzzles::wrong
