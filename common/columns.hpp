// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace attn {

/// Calls `run.operator()<kD>()` with d, at most 128, rounded up to 32, 64 or 128. Tiles have kD
/// columns, those from d on are zero, and so loops and arrays have constant bounds.
template <class Run>
void with_columns(std::int64_t d, Run run) {
  if (d <= 32) return run.template operator()<32>();
  if (d <= 64) return run.template operator()<64>();
  run.template operator()<128>();
}

}  // namespace attn
