// SPDX-License-Identifier: MIT
#pragma once

#include <optional>
#include <vector>

#include "bench/benchmarks/shapes.hpp"

namespace attn::bench {

/// Registers every step and pass of implementations() that runs where this program measures: plain
/// C++ on the CPU, kernels on a GPU. Each is checked before it is timed (sample.hpp) and left out
/// with its reason if it is wrong, does not fit into memory, or comes after `time_limit` seconds
/// from now. With no problems given, the default ones, and on the CPU the peer
/// problems.
void add_benchmarks(const std::vector<Problem>& problems, std::optional<double> time_limit);

/// Whether a result was wrong so far.
bool found_errors();

}  // namespace attn::bench
