// SPDX-License-Identifier: MIT
//
// Lets the checker of a "write it" exercise see what lies in shared memory.
#pragma once

#include "common/device/cuda.cuh"

namespace attn::exercise {

/// Copies the tile sS (kBr, kBc + 1), whose first row is i0 and whose first column is j0, to its
/// place in gSeen (rows, columns). All threads of the block call it, behind the barrier that makes
/// the tile complete. Outside of the checker's stages gSeen is null, and nothing happens.
template <int kThreads, int kBr, int kBc>
__device__ __forceinline__ void show_tile(float* gSeen, const float* sS, std::int64_t i0,
                                          std::int64_t j0, std::int64_t rows,
                                          std::int64_t columns) {
  if (gSeen == nullptr) return;
  // From the last element to the first: a thread that read what it has written itself would not
  // notice a missing barrier.
  for (int n = kBr * kBc - 1 - threadIdx.x; n >= 0; n -= kThreads) {
    const std::int64_t i = i0 + n / kBc;
    const std::int64_t j = j0 + n % kBc;
    if (i < rows && j < columns) gSeen[i * columns + j] = sS[n / kBc * (kBc + 1) + n % kBc];
  }
  __syncthreads();  // wait until all of it is copied
}

/// The same where each of kWarps warps owns the rows warp, warp + kWarps, ... of the tile: the
/// lanes of a warp call it behind the __syncwarp that makes the warp's own rows complete.
template <int kWarps, int kBr, int kBc>
__device__ __forceinline__ void show_rows(float* gSeen, const float* sS, std::int64_t i0,
                                          std::int64_t j0, std::int64_t rows,
                                          std::int64_t columns) {
  if (gSeen == nullptr) return;
  for (int r = threadIdx.x / 32; r < kBr; r += kWarps) {
    for (int c = threadIdx.x % 32; c < kBc; c += 32) {
      if (i0 + r < rows && j0 + c < columns) {
        gSeen[(i0 + r) * columns + j0 + c] = sS[r * (kBc + 1) + c];
      }
    }
  }
  __syncwarp();  // wait until all of it is copied
}

}  // namespace attn::exercise
