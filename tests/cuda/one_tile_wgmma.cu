// SPDX-License-Identifier: MIT
//
// Both products of attention on one tile of 64 x 64, by common/device/wgmma.cuh. wgmma_code_test.py
// counts what ptxas makes of it.
#include "common/device/fragment_rows.cuh"
#include "common/device/wgmma.cuh"

namespace attn {

/// q, k, v: descriptors of tiles in shared memory, in rows of 128 bytes, swizzled; o[32][128].
__global__ void __launch_bounds__(128)
    one_tile_kernel(std::uint64_t q, std::uint64_t k, std::uint64_t v, float* o) {
  float acc_s[8][4], acc_o[8][4];
  device::wgmma_fence(acc_s);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    device::wgmma_ss<bfloat16>(acc_s, q + 2 * step, k + 2 * step, step > 0);
  }
  device::wgmma_commit();
  device::wgmma_wait<0>(acc_s);
  unsigned p[4][4];
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    device::pack_fragment<bfloat16>(p[step], acc_s[2 * step], acc_s[2 * step + 1]);
  }
  device::wgmma_fence(acc_o, p);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    device::wgmma_rs<bfloat16, true>(acc_o, p[step], v + 128 * step, step > 0);
  }
  device::wgmma_commit();
  device::wgmma_wait<0>(acc_o);
#pragma unroll
  for (int i = 0; i < 32; ++i) o[128 * i + threadIdx.x] = acc_o[i / 4][i % 4];
}

}  // namespace attn
