// SPDX-License-Identifier: MIT
//
// Reads an accumulator of wgmma before it has waited for it. ptxas puts a wait of its own in front;
// the build must refuse that (common/cmake/refuse_remarks.sh).
#include <cstdint>

__global__ void __launch_bounds__(128)
    serialised_kernel(float* out, std::uint64_t a, std::uint64_t b) {
  float d[4] = {};
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "l"(a), "l"(b));
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  out[threadIdx.x] = d[0] + d[1] + d[2] + d[3];
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}
