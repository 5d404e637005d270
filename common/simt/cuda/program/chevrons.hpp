// SPDX-License-Identifier: MIT
//
// What kernel<<<grid, block>>>(args) becomes on the CPU machine (translate.cmake writes it so).
#pragma once

#include <cstddef>
#include <source_location>
#include <tuple>

#include "common/simt/cuda/cuda.hpp"

namespace attn::simt {

/// Runs the grid. What stops it is printed, and is from then on the error that cudaGetLastError()
/// tells, and cudaDeviceSynchronize() if the grid had begun, as on a GPU.
void run_program_grid(const LaunchConfig& config, void (*body)(void*), void* data);

/// A kernel function with its launch configuration, to be called.
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

/// The same for a kernel template whose arguments follow from the call: `kernel` is a lambda that
/// makes it.
template <class Kernel>
class DeducedChevrons {
 public:
  DeducedChevrons(const char* name, Kernel kernel, dim3 grid, dim3 block,
                  std::size_t shared_bytes = 0, cudaStream_t /*stream*/ = nullptr,
                  std::source_location where = std::source_location::current())
      : kernel_(kernel),
        config_{.name = name,
                .grid = grid,
                .block = block,
                .shared_bytes = shared_bytes,
                .where = where} {}

  template <class... Args>
  void operator()(Args... args) const {
    const auto call = [ this, args... ]() __attribute__((no_sanitize("thread"))) {
      kernel_(args...);
    };
    run_program_grid(
        config_, [](void* data) __attribute__((no_sanitize("thread"))) {
          (*static_cast<decltype(call)*>(data))();
        },
        const_cast<void*>(static_cast<const void*>(&call)));
  }

 private:
  Kernel kernel_;
  LaunchConfig config_;
};

}  // namespace attn::simt
