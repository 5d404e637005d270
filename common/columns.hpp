// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace attn {

/// Calls `run.operator()<kD>()` with d rounded up to 32, 64 or 128, or to 256 for a chapter that
/// asks for it: kMost is the largest d. Tiles have kD columns, those from d on are zero, and so
/// loops and arrays have constant bounds.
template <int kMost = 128, class Run>
void with_columns(std::int64_t d, Run run) {
  static_assert(kMost == 128 || kMost == 256);
  if (d <= 32) return run.template operator()<32>();
  if (d <= 64) return run.template operator()<64>();
  if constexpr (kMost > 128) {
    if (d > 128) return run.template operator()<256>();
  }
  run.template operator()<128>();
}

}  // namespace attn
