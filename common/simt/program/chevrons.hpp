// SPDX-License-Identifier: MIT
//
// What kernel<<<grid, block>>>(args) becomes on the CPU machine (translate.cmake writes it so).
#pragma once

#include <cstddef>
#include <source_location>
#include <tuple>

#include "common/simt/cuda.hpp"

namespace attn::simt {

/// Runs the grid. What stops it is printed, and from then on an error that cudaGetLastError() and
/// cudaDeviceSynchronize() tell, as on a GPU.
void run_program_grid(const LaunchConfig& config, void (*body)(void*), void* data);

template <class... Parameters>
class Chevrons {
 public:
  Chevrons(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes = 0,
           cudaStream_t /*stream*/ = nullptr,
           std::source_location where = std::source_location::current())
      : kernel_(kernel),
        config_{.kernel = reinterpret_cast<void*>(kernel),
                .grid = grid,
                .block = block,
                .shared_bytes = shared_bytes,
                .where = where} {}

  void operator()(Parameters... args) const {
    using Call = BoundKernel<Parameters...>;
    Call call{kernel_, std::tuple<Parameters...>(args...)};
    run_program_grid(config_, &Call::run, &call);
  }

 private:
  void (*kernel_)(Parameters...);
  LaunchConfig config_;
};

}  // namespace attn::simt
