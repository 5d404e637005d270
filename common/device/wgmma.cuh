// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: products of matrices that the four warps of a warpgroup start together and
// do not wait for (compute capability 9.0a). D is 64 x N in the accumulators of 128 threads, A is
// 64 x 16 and B 16 x N; B, and A if it is not in registers, lie in shared memory, which the tensor
// cores read by themselves.
//
//   wgmma_fence(acc);                       what the thread has done to acc comes before
//   wgmma_ss<T>(acc, a, b, false);  ...     products are under way
//   wgmma_commit();                         ... and make up a group
//   work on something else
//   wgmma_wait<0>(acc);                     it is done, and acc may be read
//
// Warp w of the warpgroup has rows 16 w to 16 w + 15 of A and D, in fragments as mma.cuh has them:
// acc[n] is its part of columns 8 n to 8 n + 7, and `a` 16 x 16 elements of A.
//
// All 128 threads must come to each of these together, and nvcc must see that they do: branch on
// warpgroup_index(), not on threadIdx.x.
#pragma once

#include <source_location>
#include <type_traits>

#include "common/device/cuda.cuh"
#include "common/device/mma.cuh"
#include "common/tensor_layout.hpp"
#ifdef __CUDACC__
#include "common/device/wgmma_shapes.cuh"
#define ATTN_WHERE
#define ATTN_ONLY_WHERE
#define ATTN_HERE
#else
#include "common/simt/models/wgmma.hpp"
#define ATTN_WHERE , std::source_location where = std::source_location::current()
#define ATTN_ONLY_WHERE std::source_location where = std::source_location::current()
#define ATTN_HERE , where
#endif

namespace attn::device {

/// The thread's warpgroup in its block, in a register that nvcc knows all lanes have in common.
__device__ __forceinline__ int warpgroup_index() {
  return __shfl_sync(0xFFFFFFFFu, static_cast<int>(threadIdx.x) / 128, 0);
}

/// Where a matrix lies, in the 64 bits that wgmma takes. (PTX ISA, "Matrix Descriptor Format")
/// start: a shared address, a multiple of 16; the tile that it lies in starts at a multiple of
/// 1024, 512 or 256 bytes if swizzled. leading, stride: bytes between blocks of 8 rows of chunks.
/// With a swizzle, K-major (the chunks lie along the sum): stride from one 8 rows to the next,
/// leading is not used. MN-major: stride from 8 rows to the next 8 along the sum, leading from one
/// panel as wide as the swizzle to the next.
__device__ __forceinline__ std::uint64_t matrix_descriptor(unsigned start, unsigned leading,
                                                           unsigned stride, Swizzle swizzle) {
  return std::uint64_t{(start & 0x3FFFF) >> 4} | std::uint64_t{(leading & 0x3FFFF) >> 4} << 16 |
         std::uint64_t{(stride & 0x3FFFF) >> 4} << 32 |
         std::uint64_t{(4 - static_cast<unsigned>(swizzle)) % 4} << 62;  // backwards, here
}

#ifdef __CUDACC__

/// What nvcc moves, it does not move across this point if it uses these registers.
template <class Register, int kCount>
__device__ __forceinline__ void pin(Register (&x)[kCount][4]) {
#pragma unroll
  for (int n = 0; n < kCount; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (std::is_same_v<Register, float>) {
        asm volatile("" : "+f"(x[n][i])::"memory");
      } else {
        asm volatile("" : "+r"(x[n][i])::"memory");
      }
    }
  }
}

#endif

/// What the thread has done to registers comes before the products that use them: goes in front of
/// the first product, and wherever registers were touched since. The arguments say which, so that
/// nvcc puts what it does to them in front, too. (PTX ISA, "wgmma.fence")
__device__ __forceinline__ void wgmma_fence(ATTN_ONLY_WHERE) {
#ifdef __CUDACC__
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
  simt::wgmma_fence(where);
#endif
}
template <class Register, int kCount>
__device__ __forceinline__ void wgmma_fence(Register (&registers)[kCount][4] ATTN_WHERE) {
#ifdef __CUDACC__
  pin(registers);
  wgmma_fence();
#else
  static_cast<void>(registers);
  wgmma_fence(where);
#endif
}
template <class Register, int kCount, class Other, int kOthers>
__device__ __forceinline__ void wgmma_fence(Register (&registers)[kCount][4],
                                            Other (&others)[kOthers][4] ATTN_WHERE) {
#ifdef __CUDACC__
  pin(registers);
#else
  static_cast<void>(registers);
#endif
  wgmma_fence(others ATTN_HERE);
}

/// Closes the group of products that were issued since the last one. (PTX ISA,
/// "wgmma.commit_group")
__device__ __forceinline__ void wgmma_commit(ATTN_ONLY_WHERE) {
#ifdef __CUDACC__
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  simt::wgmma_commit(where);
#endif
}

/// Waits until all groups are done but the kPending latest (0 to 7). Until then nobody may touch
/// what their products use: accumulators, A in registers, matrices in shared memory.
/// (PTX ISA, "wgmma.wait_group")
template <int kPending>
__device__ __forceinline__ void wgmma_wait(ATTN_ONLY_WHERE) {
  static_assert(kPending >= 0 && kPending < 8);
#ifdef __CUDACC__
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#else
  simt::wgmma_wait(kPending, where);
#endif
}
/// The same, in front of what reads these accumulators.
template <int kPending, int kTiles>
__device__ __forceinline__ void wgmma_wait(float (&acc)[kTiles][4] ATTN_WHERE) {
#ifdef __CUDACC__
  wgmma_wait<kPending>();
  pin(acc);
#else
  wgmma_wait<kPending>(where);
  simt::wgmma_results(&acc[0][0], kTiles, where);
#endif
}

#ifndef __CUDACC__

// On a GPU: wgmma_shapes.cuh.
/// acc = A B, or acc += A B if `accumulate`, in float32; N = 8 kTiles, up to 256. T: bfloat16 or
/// float16. a, b: descriptors; kTransA, kTransB: the matrix is MN-major. (PTX ISA,
/// "wgmma.mma_async")
template <class T, bool kTransA = false, bool kTransB = false, int kTiles>
__forceinline__ void wgmma_ss(float (&acc)[kTiles][4], std::uint64_t a, std::uint64_t b,
                              bool accumulate ATTN_WHERE) {
  static_assert(kTiles <= 32);
  simt::wgmma({kElementOf<T>, kTiles, &acc[0][0], nullptr, a, b, kTransA, kTransB, accumulate},
              where);
}
/// The same with A in registers, each warp's 16 rows as a fragment of mma.cuh.
template <class T, bool kTransB = false, int kTiles>
__forceinline__ void wgmma_rs(float (&acc)[kTiles][4], const unsigned (&a)[4], std::uint64_t b,
                              bool accumulate ATTN_WHERE) {
  static_assert(kTiles <= 32);
  simt::wgmma({kElementOf<T>, kTiles, &acc[0][0], a, 0, b, false, kTransB, accumulate}, where);
}

#endif

}  // namespace attn::device

#undef ATTN_WHERE
#undef ATTN_ONLY_WHERE
#undef ATTN_HERE
