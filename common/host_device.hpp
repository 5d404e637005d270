// SPDX-License-Identifier: MIT
//
// Marks the few functions that host code and kernels share.
#pragma once

#ifdef __CUDACC__
#define ATTN_HOST_DEVICE __host__ __device__
#else
#define ATTN_HOST_DEVICE
#endif
