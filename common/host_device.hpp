// SPDX-License-Identifier: MIT
//
// Marks the few functions that host code and kernels share. The second mark is for those that some
// lanes of a warp call and others pass by: inlined at every level of optimisation, so that the
// tracer sees the lanes meet again in the same place at each.
#pragma once

#ifdef __CUDACC__
#define ATTN_HOST_DEVICE __host__ __device__
#define ATTN_HOST_DEVICE_INLINE __host__ __device__ __forceinline__
#else
#define ATTN_HOST_DEVICE
#define ATTN_HOST_DEVICE_INLINE [[gnu::always_inline]] inline
#endif
