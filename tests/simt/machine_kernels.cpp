// SPDX-License-Identifier: MIT
#include "tests/simt/machine_kernels.hpp"

#include "common/device/cuda.cuh"

namespace attn::simt_test {
namespace {

__global__ void transpose_kernel(const float* in, float* out) {
  float row[32];
  for (unsigned i = 0; i < 32; ++i) row[i] = in[32 * threadIdx.x + i];
  transpose_rows(row);
  for (unsigned i = 0; i < 32; ++i) out[32 * threadIdx.x + i] = row[i];
}

__global__ void half_transpose_kernel(const float* in, float* out) {
  float row[32];
  for (unsigned i = 0; i < 32; ++i) row[i] = in[32 * threadIdx.x + i];
  if (threadIdx.x < 16) {
    transpose_rows(row);  // bug: half_transpose
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = row[0];
}

__global__ void copies_kernel(bool waits, const float* in, float* scratch, float* early,
                              float* late) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < 32; i += 8) start_copy(scratch + i, in + i, 8);
    for (int i = 0; i < 4; ++i) early[i] = scratch[8 * i];
    if (!waits) return;
    wait_for_copies();
    for (int i = 0; i < 4; ++i) late[i] = scratch[8 * i];
  }
}

__global__ void wait_in_vain_kernel() {
  if (threadIdx.x == 3) {
    wait_in_vain();  // bug: wait_in_vain
  }
}

}  // namespace

const char* machine_kernels_file() { return __FILE__; }

void run_transpose(unsigned warps, const float* in, float* out) {
  launch(transpose_kernel, 1, 32 * warps, 0, nullptr, in, out);
}
void run_half_transpose(const float* in, float* out) {
  launch(half_transpose_kernel, 1, 32, 0, nullptr, in, out);
}
void run_copies(bool waits, const float* in, float* scratch, float* early, float* late) {
  launch(copies_kernel, 1, 64, 0, nullptr, waits, in, scratch, early, late);
}
void run_wait_in_vain() { launch(wait_in_vain_kernel, 1, 32, 0, nullptr); }

}  // namespace attn::simt_test
