// SPDX-License-Identifier: MIT
//
// Kernels in other people's style: what they use that the chapters' kernels do not. A comment
// `bug: <name>` marks the line that a report, or the counters, must name.
#pragma once

#include <string>

namespace attn::simt_test {

const char* foreign_kernels_file();

/// Launches `<name>_kernel`; foreign_kernels.cpp says what it reads from x and writes to y.
void run_foreign(const std::string& name, unsigned blocks, unsigned threads, const float* x,
                 float* y);

/// Sets, and reads back, the __device__ array `table` and the __constant__ array `factors` through
/// the runtime; both hold 32 floats.
void write_variables(const float* table, const float* factors);
void read_variables(float* table, float* factors);

}  // namespace attn::simt_test
