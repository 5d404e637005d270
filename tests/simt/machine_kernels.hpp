// SPDX-License-Identifier: MIT
//
// What the machine offers to those who add an instruction to it, tried with made-up ones.
#pragma once

#include <source_location>

namespace attn::simt_test {

// The instructions, as a kernel calls them (machine_test.cpp).

/// Each lane brings a row of a 32 x 32 matrix and gets a column.
void transpose_rows(float (&row)[32], std::source_location where = std::source_location::current());
/// Starts a copy of `count` floats, which is done some time before wait_for_copies() returns.
void start_copy(float* to, const float* from, int count);
/// Waits for all copies that this thread's block has started.
void wait_for_copies(std::source_location where = std::source_location::current());
/// Waits for what never happens.
void wait_in_vain(std::source_location where = std::source_location::current());

// The kernels (machine_kernels.cpp).

const char* machine_kernels_file();
/// out[(warp * 32 + i) * 32 + j] = in[(warp * 32 + j) * 32 + i].
void run_transpose(unsigned warps, const float* in, float* out);
/// Half a warp transposes, the other half is at a barrier.
void run_half_transpose(const float* in, float* out);
/// Thread 0 copies `in` to `scratch`, 32 elements each, in pieces of 8. early: what scratch[8 * i]
/// held when the copies had been started; late: what it held after waiting, if `waits`.
void run_copies(bool waits, const float* in, float* scratch, float* early, float* late);
void run_wait_in_vain();

}  // namespace attn::simt_test
