// SPDX-License-Identifier: MIT
#pragma once

#include <source_location>

#include "common/attention.hpp"

#if defined(ATTN_USE_CUDA) || defined(__CUDACC__)
#include <cuda_runtime_api.h>
#else
#include "common/simt/cuda/runtime.hpp"
#endif

namespace attn {

/// Throws Error(kDeviceFailure) with file, line, call and CUDA's own text unless `status` is
/// cudaSuccess.
void check_cuda(cudaError_t status, const char* call,
                std::source_location where = std::source_location::current());

}  // namespace attn

/// Every CUDA runtime call goes through this: CUDA_CHECK(cudaMemset(p, 0, bytes));
#define CUDA_CHECK(call) ::attn::check_cuda((call), #call)
