// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: copies of whole tiles by the copy engine (TMA). One thread names a box of a
// tensor by its coordinates, the innermost dimension first; the engine computes the addresses,
// swizzles, and puts zeros where the box reaches beyond the tensor's edges. Coordinates may be
// negative. Shared addresses are multiples of 128 bytes, or of 1,024 where the box is swizzled and
// its rows count from the tile's first.
//
//   load:    full.arrive_expect(bytes of the box);  tma_load(sTile, map, full, x, y);
//   store:   each thread: fill sTile;  fence_async_proxy();  then __syncthreads();
//            one thread:  tma_store(map, sTile, x, y);  tma_commit();  tma_wait_read<0>();
#pragma once

#include <source_location>

#include "common/device/mbarrier.cuh"
#include "common/device/tensor_map.hpp"
#ifndef __CUDACC__
#include "common/simt/models/tensor_copy.hpp"
#define ATTN_ONLY_WHERE std::source_location where = std::source_location::current()
#define ATTN_WHERE , ATTN_ONLY_WHERE
#else
#define ATTN_ONLY_WHERE
#define ATTN_WHERE
#endif

namespace attn::device {

/// Starts to copy the box at (x, y) to shared memory. Its bytes count at `barrier`, all of them,
/// also those beyond the edges. `map`: a kernel's argument, declared const __grid_constant__.
/// (PTX ISA, "cp.async.bulk.tensor")
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& barrier, int x,
                                         int y ATTN_WHERE) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y)
      : "memory");
#else
  simt::tensor_load(shared_address(to, where), map, &barrier, {2, {x, y}}, where);
#endif
}
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& barrier, int x,
                                         int y, int z ATTN_WHERE) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z)
      : "memory");
#else
  simt::tensor_load(shared_address(to, where), map, &barrier, {3, {x, y, z}}, where);
#endif
}
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, Mbarrier& barrier, int x,
                                         int y, int z, int w ATTN_WHERE) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
#else
  simt::tensor_load(shared_address(to, where), map, &barrier, {4, {x, y, z, w}}, where);
#endif
}

/// Starts to copy shared memory to the box at (x, y); what lies beyond the edges is dropped. The
/// copy belongs to this thread's open group.
__device__ __forceinline__ void tma_store(const TensorMap& map, const void* from, int x,
                                          int y ATTN_WHERE) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
          &map),
      "r"(shared_address(from)), "r"(x), "r"(y)
      : "memory");
#else
  simt::tensor_store(map, {2, {x, y}}, shared_address(from, where), where);
#endif
}
__device__ __forceinline__ void tma_store(const TensorMap& map, const void* from, int x, int y,
                                          int z ATTN_WHERE) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(
          &map),
      "r"(shared_address(from)), "r"(x), "r"(y), "r"(z)
      : "memory");
#else
  simt::tensor_store(map, {3, {x, y, z}}, shared_address(from, where), where);
#endif
}
__device__ __forceinline__ void tma_store(const TensorMap& map, const void* from, int x, int y,
                                          int z, int w ATTN_WHERE) {
#ifdef __CUDACC__
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], "
      "[%1];" ::"l"(&map),
      "r"(shared_address(from)), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
#else
  simt::tensor_store(map, {4, {x, y, z, w}}, shared_address(from, where), where);
#endif
}

/// Closes the group of stores that this thread has started since its last group.
/// (PTX ISA, "cp.async.bulk.commit_group")
__device__ __forceinline__ void tma_commit() {
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
  simt::tensor_commit();
#endif
}
/// Waits until all of this thread's groups but the kPending latest have read shared memory: it may
/// be written again, and the block may end. (PTX ISA, "cp.async.bulk.wait_group.read")
template <int kPending>
__device__ __forceinline__ void tma_wait_read(ATTN_ONLY_WHERE) {
  static_assert(kPending >= 0);
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
#else
  simt::tensor_wait(kPending, where);
#endif
}
/// The same until they are done: this thread sees what they have written.
template <int kPending>
__device__ __forceinline__ void tma_wait(ATTN_ONLY_WHERE) {
  static_assert(kPending >= 0);
#ifdef __CUDACC__
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(kPending) : "memory");
#else
  simt::tensor_wait(kPending, where);
#endif
}

}  // namespace attn::device

#undef ATTN_WHERE
#undef ATTN_ONLY_WHERE
