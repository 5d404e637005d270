// SPDX-License-Identifier: MIT
//
// The machine as a kernel file sees it: run a grid, and who am I.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <tuple>
#include <utility>

#include "common/simt/cuda/vector_types.hpp"

namespace attn::simt {

struct LaunchConfig {
  void* kernel = nullptr;      // address of the kernel function, for its name
  const char* name = nullptr;  // or the name itself
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // dynamic shared memory
  std::source_location where;
};

/// Runs body(data) once per CUDA thread of the grid and returns when all are done. Throws
/// attn::Error(kDeviceFailure) if the configuration is beyond the device's limits or a detector
/// stopped the kernel, and whatever a thread of the kernel threw.
void run_grid(const LaunchConfig& config, void (*body)(void*), void* data);

/// Blocks of the running launch, or of the last one, that have been started, and how many there
/// are. For displays; may be called from another thread.
struct LaunchProgress {
  std::uint64_t started;
  std::uint64_t blocks;
};
LaunchProgress launch_progress();

/// A kernel with its arguments. Not instrumented: reading the launch's own arguments is no memory
/// access of the kernel.
template <class... Parameters>
struct BoundKernel {
  void (*kernel)(Parameters...);
  std::tuple<Parameters...> args;

  /// One CUDA thread.
  __attribute__((no_sanitize("thread"))) static void run(void* self) {
    static_cast<const BoundKernel*>(self)->call(std::index_sequence_for<Parameters...>());
  }
  template <std::size_t... I>
  __attribute__((no_sanitize("thread"))) void call(std::index_sequence<I...>) const {
    kernel(std::get<I>(args)...);
  }
};

// Constant for a thread while it runs, so the compiler may keep the answer.
__attribute__((const)) uint3 thread_index();
__attribute__((const)) uint3 block_index();
__attribute__((const)) dim3 block_size();
__attribute__((const)) dim3 grid_size();
/// The block's dynamic shared memory, 1024-byte aligned.
__attribute__((const)) void* dynamic_shared_memory();

}  // namespace attn::simt
