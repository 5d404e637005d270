// SPDX-License-Identifier: MIT
#include "bench/benchmarks/timer.hpp"

#include <algorithm>
#include <cmath>

namespace attn::bench {

int flushes_before(double queueing, double flush) {
  constexpr double kMargin = 2;  // the next call may take the host longer
  constexpr double kMost = 64;   // where the host waits for the GPU, no number is enough
  return static_cast<int>(std::clamp(std::ceil(kMargin * queueing / flush), 1.0, kMost));
}

bool is_too_long(double call, double left) {
  constexpr double kFewestCalls = 8;
  return kFewestCalls * call > left;
}

}  // namespace attn::bench
