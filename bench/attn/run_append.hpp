// SPDX-License-Identifier: MIT
#pragma once

#include "bench/attn/run_problem.hpp"
#include "common/attention.hpp"

namespace attn::cli {

/// Appends the new keys and values of `in` to its cache, in the memory that the chapter computes
/// in: the arrays or pools of `in` and its counts are then those behind it. Throws what
/// attn::append() throws, and kDeviceFailure where something else was written.
void append_keys(const Chapter& chapter, RunInputs<float>& in);

}  // namespace attn::cli
