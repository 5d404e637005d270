// SPDX-License-Identifier: MIT
//
// Puzzle 7, a bank conflict: right, and 32 times as slow as it could be. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 7
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as loops: the scores of one query q with every key. A key is a row of K; all have
// 32 numbers.
void scores_loop(const float* q, const float* K, float* s, int keys, float scale) {
  for (int key = 0; key < keys; ++key) {
    float dot = 0.0f;
    for (int c = 0; c < 32; ++c) dot += q[c] * K[key * 32 + c];
    s[key] = scale * dot;
  }
}

constexpr int kPitch = 32;  // floats from one row of the tile to the next

// A block is one warp and takes 32 keys, a key for each lane. K comes into the tile row by row, so
// that neighbouring lanes load neighbouring numbers, as in puzzle 4.
__global__ void scores_kernel(const float* q, const float* K, float* s, float scale) {
  __shared__ float tile[32 * kPitch];
  const int lane = threadIdx.x;
  const int first = blockIdx.x * 32;  // the block's first key
  for (int row = 0; row < 32; ++row) tile[row * kPitch + lane] = K[(first + row) * 32 + lane];
  __syncthreads();
  // Yours: the lane's key is row `lane` of the tile. Its dot product with q, times scale, into s.
  // Three lines. When it is right, look at the picture and at kPitch.
}

// How the two are called: 32 keys for each block; their number is a multiple of that.
void bank_conflict_loop(const Data& x) { scores_loop(x.a, x.b, x.out, x.columns, x.number); }
void bank_conflict(const Data& x) {
  launch(scores_kernel, ceil_div(x.columns, 32), 32, 0, nullptr, x.a, x.b, x.out, x.number);
}

}  // namespace attn::puzzles::yours
