// SPDX-License-Identifier: MIT
//
// How much global memory each step of each chapter moves, worked out by hand from the algorithm for
// any shape, mask and ranges of keys. Independent of the kernels and of what the lessons say;
// io_formulas_test.cpp holds the tracer's count against it.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/attention.hpp"
#include "common/run/problem.hpp"

namespace attn::testing {

/// 32-bit elements (float) of global memory, summed over a step's launches.
struct Io {
  std::int64_t loads = 0;  // what the threads ask for
  std::int64_t stores = 0;
  std::int64_t reads = 0;  // distinct elements, counted once per launch
  std::int64_t writes = 0;
  std::int64_t atomics = 0;  // apart from loads and stores; each reads and writes its element
  bool operator==(const Io&) const = default;
};

/// Of a problem only its sizes, its mask and its extras count.
using IoFormula = Io (*)(const Problem&);

/// The formula of a step's pass; null if there is none yet.
IoFormula find_io_formula(std::string_view chapter, std::string_view step, Pass pass);

}  // namespace attn::testing
