// SPDX-License-Identifier: MIT
//
// The CPU machine's wgmma: what common/device/wgmma.cuh names. When a product that has been issued
// is done is up to Options::completion; a thread gets its part of the result when it waits, and
// until then finds NaN in its accumulators.
#pragma once

#include <cstdint>
#include <source_location>

#include "common/element.hpp"

namespace attn::simt {

/// What a thread brings to D = A B + D, m64nNk16. Its registers are arrays of the kernel, and stay
/// in use until the thread has waited.
struct Wgmma {
  Element element;
  int tiles;                    // N / 8
  float* accumulator;           // 4 for each tile of 64 x 8
  const unsigned* a_registers;  // 4; null: A lies in shared memory
  std::uint64_t a, b;           // matrix descriptors; a: 0 if A is in registers
  bool a_mn_major, b_mn_major;
  bool accumulate;  // otherwise D = A B
};

void wgmma(const Wgmma& product, std::source_location where);
void wgmma_fence(std::source_location where);
/// Closes the running thread's current group of products.
void wgmma_commit(std::source_location where);
/// Waits until at most `pending` of the running thread's latest groups are under way.
void wgmma_wait(int pending, std::source_location where);
/// These accumulators are read from here on: the thread must have waited for them.
void wgmma_results(const float* accumulator, int tiles, std::source_location where);

}  // namespace attn::simt
