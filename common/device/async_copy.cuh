// SPDX-License-Identifier: MIT
//
// Taught in chapter 10: copies from global to shared memory that a thread starts and does not wait
// for. They pass neither its registers nor L1.
//
//   cp_async_16(to, from, valid);  ...  cp_async_commit();     a group of copies is under way
//   work on something else
//   cp_async_wait<0>();  __syncthreads();                      it has arrived, for all threads
#pragma once

#include <source_location>

#include "common/device/cuda.cuh"
#include "common/device/mma.cuh"
#ifndef __CUDACC__
#include "common/simt/models/async_copy.hpp"
#endif

namespace attn::device {

#ifdef __CUDACC__

/// Starts to copy 16 bytes from global memory to the shared address `to`, both 16-byte aligned.
/// Where `valid` is false, zeros arrive and nothing is read. Until the copy is waited for, nobody
/// may touch the bytes. (PTX ISA, "cp.async")
__device__ __forceinline__ void cp_async_16(unsigned to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(__cvta_generic_to_global(from)), "r"(valid ? 16 : 0)
               : "memory");
}
/// Closes the group of copies that this thread has started since its last group; it may be empty.
/// (PTX ISA, "cp.async.commit_group")
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until all of this thread's groups have arrived but the kPending latest. The thread then
/// sees their bytes; others do after a barrier. (PTX ISA, "cp.async.wait_group")
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  static_assert(kPending >= 0);
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

#else

__forceinline__ void cp_async_16(unsigned to, const void* from, bool valid,
                                 std::source_location where = std::source_location::current()) {
  simt::cp_async(to, from, 16, valid ? 16 : 0, where);
}
__forceinline__ void cp_async_commit() { simt::cp_async_commit(); }
template <int kPending>
__forceinline__ void cp_async_wait(std::source_location where = std::source_location::current()) {
  static_assert(kPending >= 0);
  simt::cp_async_wait(kPending, where);
}

#endif

}  // namespace attn::device
