// SPDX-License-Identifier: MIT
//
// Whether two arrays share a byte. Ranges of addresses are not enough: dQ, dK and dV may be three
// views into one buffer [B, N, 3, H, d], each in the gaps of the others.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace attn {

/// Rows of bytes, some distance apart along up to three axes.
struct View {
  /// Steps of `stride` bytes (0 or more), `count` places (1 or more).
  struct Axis {
    std::int64_t stride = 0;
    std::int64_t count = 1;
  };

  const void* pointer = nullptr;
  std::size_t row_bytes = 0;  ///< 0: the view holds nothing
  std::array<Axis, 3> axes = {};
};

/// Whether some byte belongs to both. Exact for two views whose rows lie apart at equal strides,
/// whatever their counts and rows, and for all others whose places are few or far apart; where an
/// answer would need more than some thousand trials, it is yes if their ranges of addresses meet.
bool share_bytes(const View& a, const View& b);

}  // namespace attn
