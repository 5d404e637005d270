// SPDX-License-Identifier: MIT
//
// Puzzle 2, guard: more threads than elements. Check yourself:
//   cmake --build build --target puzzles && build/puzzles 2
#include "chapters/00_playground/puzzles/data.hpp"
#include "common/device/cuda.cuh"

namespace attn::puzzles::yours {

// What is wanted, as a loop: the weight of every score, before softmax divides by their sum.
void weights_loop(const float* s, float* w, int n, float largest) {
  for (int i = 0; i < n; ++i) w[i] = expf(s[i] - largest);
}

// The last block may have threads for which there is no element: n need not be a multiple of 64.
__global__ void weights_kernel(const float* s, float* w, int n, float largest) {
  // Yours: as in puzzle 1, and a thread without an element does nothing. Three lines.
}

// How the two are called: blocks of 64 threads, the last one begun for as little as one element.
void guard_loop(const Data& x) { weights_loop(x.a, x.out, x.columns, x.number); }
void guard(const Data& x) {
  launch(weights_kernel, ceil_div(x.columns, 64), 64, 0, nullptr, x.a, x.out, x.columns, x.number);
}

}  // namespace attn::puzzles::yours
