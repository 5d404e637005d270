// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: mbarriers, 8 bytes of shared memory that count arrivals of threads and
// bytes of copies. A phase ends when the arrivals that init() asked for have come and all announced
// bytes have landed; the next phase begins by itself. Phases are numbered from 0, and phase n has
// parity n % 2.
//
//   one thread:  full.init(1);  fence_mbarrier_init();      then all:  __syncthreads();
//   producer:    full.arrive_expect(bytes);  tma_load(sTile, map, full, ...);
//   consumer:    full.wait(parity);  use sTile;  empty.arrive();
//
// Waiting for parity 1 of a fresh barrier returns at once: as if a phase -1 had ended.
#pragma once

#include <source_location>

#include "common/device/mma.cuh"
#ifndef __CUDACC__
#include "common/simt/models/mbarrier.hpp"
#define ATTN_ONLY_WHERE std::source_location where = std::source_location::current()
#define ATTN_WHERE , ATTN_ONLY_WHERE
#else
#define ATTN_ONLY_WHERE
#define ATTN_WHERE
#endif

namespace attn::device {

class Mbarrier {
 public:
  /// By one thread of the block. count: arrivals that each phase needs, 1 to 2^20 - 1.
  /// (PTX ISA, "mbarrier.init")
  __device__ __forceinline__ void init(int count ATTN_WHERE) {
#ifdef __CUDACC__
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(this)), "r"(count)
                 : "memory");
#else
    simt::mbarrier_init(this, count, where);
#endif
  }
  /// One arrival. What this thread did before, those see who wait for the phase.
  /// (PTX ISA, "mbarrier.arrive")
  __device__ __forceinline__ void arrive(ATTN_ONLY_WHERE) {
#ifdef __CUDACC__
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(this)) : "memory");
#else
    simt::mbarrier_arrive(this, 0, where);
#endif
  }
  /// One arrival, and the phase now waits for so many more bytes, up to 2^20 - 1.
  /// (PTX ISA, "mbarrier.arrive.expect_tx")
  __device__ __forceinline__ void arrive_expect(unsigned bytes ATTN_WHERE) {
#ifdef __CUDACC__
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(this)),
        "r"(bytes)
        : "memory");
#else
    simt::mbarrier_arrive(this, bytes, where);
#endif
  }
  /// Returns once the phase of this parity has ended; it must be the current one or the one before.
  /// (PTX ISA, "mbarrier.try_wait")
  __device__ __forceinline__ void wait(unsigned parity ATTN_WHERE) {
#ifdef __CUDACC__
    asm volatile(
        "{\n"
        ".reg .pred done;\n"
        "again:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
        "@!done bra again;\n"
        "}" ::"r"(shared_address(this)),
        "r"(parity)
        : "memory");
#else
    simt::mbarrier_wait(this, parity, where);
#endif
  }

 private:
  [[maybe_unused]] std::uint64_t word_;
};
static_assert(sizeof(Mbarrier) == 8 && alignof(Mbarrier) == 8);

/// After init(), by the thread that has called it: TMA sees the barriers, once a __syncthreads has
/// ordered its copies behind this. (PTX ISA, "fence.mbarrier_init")
__device__ __forceinline__ void fence_mbarrier_init() {
#ifdef __CUDACC__
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
  simt::fence_mbarrier_init();
#endif
}

}  // namespace attn::device

#undef ATTN_WHERE
#undef ATTN_ONLY_WHERE
