// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: barriers for some warps of a block. A warp that hands something on arrives
// and runs ahead; a warp that needs it waits.
//
//   producer:  named_sync(kEmpty, 64);  fill sTile;  named_arrive(kFull, 64);
//   consumer:  named_sync(kFull, 64);   use sTile;   named_arrive(kEmpty, 64);
#pragma once

#include <source_location>

#include "common/device/cuda.cuh"

namespace attn::device {

// id: 1 to 15. (0 is __syncthreads.)
// threads: of all warps that come to the barrier in one phase, those that only arrive included; a
// multiple of 32, and the same in all calls of a phase. When so many have come, the barrier opens
// and begins again.
// All lanes of a warp must make the call together. What they did before it, the warps that wait
// see after it. An id that nvcc knows takes one of the block's 16 barriers; one that it does not
// know takes all of them.
#ifdef __CUDACC__

/// Arrives and waits until the barrier opens.
__device__ __forceinline__ void named_sync(int id, int threads) {
  asm volatile("barrier.sync.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Arrives and goes on at once.
__device__ __forceinline__ void named_arrive(int id, int threads) {
  asm volatile("barrier.arrive.aligned %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

#else

__forceinline__ void named_sync(int id, int threads,
                                std::source_location where = std::source_location::current()) {
  simt::named_barrier(id, threads, true, where);
}
__forceinline__ void named_arrive(int id, int threads,
                                  std::source_location where = std::source_location::current()) {
  simt::named_barrier(id, threads, false, where);
}

#endif

}  // namespace attn::device
