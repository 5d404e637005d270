// SPDX-License-Identifier: MIT
#include "common/device/cuda.cuh"
#include "tests/puzzles/wrong.hpp"

namespace attn::puzzles::wrong {

__global__ void nothing_kernel() {}

__global__ void endless_kernel(float* out) {
  volatile int turns = 0;
  while (turns >= 0) turns = 1;
  out[0] = 1.0f;
}

__global__ void accessing_kernel(const float* s, float* out) {
  while (true) out[threadIdx.x] = s[threadIdx.x];
}

__global__ void far_kernel(const float* s, float* out) {
  out[(threadIdx.x + 1) * 100'000'000ll] = s[threadIdx.x];
}

void nothing_at_all(const Data&) { launch(nothing_kernel, 1, 64, 0, nullptr); }
void endless(const Data& x) { launch(endless_kernel, 1, 64, 0, nullptr, x.out); }
void endless_with_accesses(const Data& x) {
  launch(accessing_kernel, 1, 64, 0, nullptr, x.a, x.out);
}
void far_away(const Data& x) { launch(far_kernel, 1, 64, 0, nullptr, x.a, x.out); }
void no_block(const Data&) { launch(nothing_kernel, 0, 64, 0, nullptr); }

}  // namespace attn::puzzles::wrong
