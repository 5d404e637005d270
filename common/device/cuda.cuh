// SPDX-License-Identifier: MIT
//
// What every kernel file includes. nvcc compiles the file for a GPU; g++ compiles the same file for
// the CPU machine (common/simt), which offers CUDA's names. The five helpers below are the only
// ones that are not CUDA's own: grid_size, ceil_div, CUDA_CHECK, launch and dynamic_shared.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <source_location>

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include "common/simt/cuda/cuda.hpp"
#endif

#include "common/device/check.hpp"

namespace attn {

/// A number of blocks, at least 0, as a grid dimension. More than 2^32 - 1 becomes 2^32 - 1, which
/// every launch refuses.
constexpr unsigned grid_size(std::int64_t blocks) {
  return blocks > 0xFFFFFFFFll ? 0xFFFFFFFFu : static_cast<unsigned>(blocks);
}

/// ceil(n / k) as a grid dimension, for n >= 0 and k > 0.
constexpr unsigned ceil_div(std::int64_t n, std::int64_t k) {
  return grid_size(n / k + (n % k != 0 ? 1 : 0));
}

/// A grid size that remembers where the launch stands in the source, for error messages.
struct Grid {
  dim3 size;
  std::source_location where;
  Grid(dim3 grid, std::source_location at = std::source_location::current())
      : size(grid), where(at) {}
  Grid(unsigned blocks, std::source_location at = std::source_location::current())
      : size(blocks), where(at) {}
};

#ifdef __CUDACC__

/// kernel<<<grid, block, shared_bytes, stream>>>(args...), checked: throws
/// Error(kDeviceFailure) with file, line and CUDA's text if the launch is refused. Dynamic shared
/// memory above 48 KiB is opted in here.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), Grid grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t stream, Args... args) {
  if (shared_bytes > 48 * 1024) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shared_bytes)),
               "cudaFuncSetAttribute(MaxDynamicSharedMemorySize)", grid.where);
  }
  kernel<<<grid.size, block, shared_bytes, stream>>>(args...);
  check_cuda(cudaGetLastError(), "launch", grid.where);
}

/// The block's dynamic shared memory as an array of T: what `launch` was given as shared_bytes.
/// 1024-byte aligned; the same bytes for every T.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char attn_dynamic_shared[];
  return reinterpret_cast<T*>(attn_dynamic_shared);
}

#else

/// The same on the CPU machine. Runs the whole grid before it returns.
template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), Grid grid, dim3 block, std::size_t shared_bytes,
            cudaStream_t /*stream*/, Args... args) {
  using Call = simt::BoundKernel<Parameters...>;
  Call call{kernel, std::tuple<Parameters...>(args...)};
  simt::run_grid({.kernel = reinterpret_cast<void*>(kernel),
                  .grid = grid.size,
                  .block = block,
                  .shared_bytes = shared_bytes,
                  .where = grid.where},
                 &Call::run, &call);
}

template <class T>
__forceinline__ T* dynamic_shared() {
  return static_cast<T*>(simt::dynamic_shared_memory());
}

#endif

}  // namespace attn
