// SPDX-License-Identifier: MIT
//
// The GPU that the CPU machine stands in for: what a launch may ask for, and how fast it could be
// served at best.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace attn::simt {

/// Sizes in bytes; rates are upper limits that the device never exceeds, so that a time derived
/// from them is a lower bound. device.cpp names the source of every number.
struct DeviceDescription {
  std::string_view name;     // as --device takes it
  std::string_view product;  // in words
  int major, minor;          // compute capability

  // What a launch may ask for.
  unsigned max_threads_per_block;
  std::size_t shared_bytes_per_block;  // with opt-in, static and dynamic together

  // How many blocks fit on a multiprocessor at a time.
  int multiprocessors;
  std::size_t shared_bytes_per_multiprocessor;
  std::size_t shared_bytes_reserved_per_block;  // by CUDA itself
  int registers_per_multiprocessor;
  int threads_per_multiprocessor;
  int blocks_per_multiprocessor;

  // Memory.
  std::size_t memory_bytes;
  double memory_bytes_per_second;  // HBM or GDDR
  std::size_t l2_bytes;

  // What one multiprocessor does in one clock, and the most clocks a second it runs at.
  double clocks_per_second;
  int l2_bytes_per_clock;    // between L2 and one multiprocessor, in one direction
  int l1_bytes_per_clock;    // sectors of global accesses
  int wavefronts_per_clock;  // of shared memory
  int special_functions_per_clock;
  int shuffles_per_clock;        // results: a warp's instruction has 32
  int votes_per_clock;           // likewise
  int flops_per_clock;           // float32; a multiply-add is two
  int tensor_flops_per_clock;    // 16-bit inputs, float32 sums, dense
  int l2_total_bytes_per_clock;  // between L2 and all multiprocessors; 0: no limit of its own
};

/// All known devices.
std::span<const DeviceDescription> devices();

/// The device of this name, in upper or lower case. Throws Error(kBadArgument), with a list.
const DeviceDescription& find_device(std::string_view name);

/// The device in force: an H200 unless changed. Launches keep its limits.
const DeviceDescription& current_device();
/// Process-wide; call it while no kernel runs.
void set_current_device(const DeviceDescription& device);

/// The most shared memory that any known device gives a block.
inline constexpr std::size_t kLargestSharedBytesPerBlock = 227 * 1024;

}  // namespace attn::simt
