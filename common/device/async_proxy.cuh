// SPDX-License-Identifier: MIT
//
// Taught in chapter 11: the fence between what threads store to shared memory and what TMA or wgmma
// read there. Those two reach shared memory on a way of their own, the async proxy.
//
//   each thread:  store to sTile;  fence_async_proxy();
//   __syncthreads();
//   then wgmma, or a store of TMA, reads sTile
#pragma once

#include "common/device/cuda.cuh"
#ifndef __CUDACC__
#include "common/simt/models/mbarrier.hpp"
#endif

namespace attn::device {

/// What this thread has stored to shared memory, TMA and wgmma will see, once a barrier has ordered
/// them behind it. Each thread that has stored calls it. What they bring themselves needs no fence:
/// who has waited for them sees it. (PTX ISA, "fence.proxy.async")
__device__ __forceinline__ void fence_async_proxy() {
#ifdef __CUDACC__
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
  simt::fence_async_proxy();
#endif
}

}  // namespace attn::device
