// SPDX-License-Identifier: MIT
//
// Puzzle 1, map: a thread for each element. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 1
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as a loop: every score s[i], scaled.
void scale_loop(const float* s, float* scaled, int n, float scale) {
  for (int i = 0; i < n; ++i) scaled[i] = scale * s[i];
}

// The same without the loop. There are as many threads as elements.
__global__ void scale_kernel(const float* s, float* scaled, float scale) {
  // Yours: which element is this thread's? Scale that one. Two lines.
}

// How the two are called: n / 64 blocks of 64 threads. Nothing to do here.
void map_loop(const Data& x) { scale_loop(x.a, x.out, x.columns, x.number); }
void map(const Data& x) {
  launch(scale_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.number);
}

}  // namespace attn::puzzles::yours
