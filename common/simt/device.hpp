// SPDX-License-Identifier: MIT
//
// The GPU that the CPU machine stands in for: its limits.
#pragma once

#include <cstddef>
#include <string_view>

namespace attn::simt {

struct DeviceDescription {
  std::string_view name;
  unsigned max_threads_per_block;
  std::size_t shared_bytes_per_block;  // with opt-in, static and dynamic together
  int multiprocessors;
  std::size_t l2_bytes;
  int major, minor;  // compute capability
};

/// The description in force: an H200 unless changed.
const DeviceDescription& current_device();

}  // namespace attn::simt
