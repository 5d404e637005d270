// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace attn {

/// [B, x, y, width] as [B, y, x, width]: exchanges heads and rows. `sizes` are those of `values`.
template <class Real>
std::vector<Real> swap_axes(const std::vector<Real>& values,
                            const std::vector<std::int64_t>& sizes) {
  std::vector<Real> result(values.size());
  const std::int64_t outer = sizes[1], inner = sizes[2], width = sizes[3];
  for (std::int64_t b = 0; b < sizes[0] && !values.empty(); ++b) {
    for (std::int64_t x = 0; x < outer; ++x) {
      for (std::int64_t y = 0; y < inner; ++y) {
        std::copy_n(values.begin() + ((b * outer + x) * inner + y) * width, width,
                    result.begin() + ((b * inner + y) * outer + x) * width);
      }
    }
  }
  return result;
}

}  // namespace attn
