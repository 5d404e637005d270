// SPDX-License-Identifier: MIT
//
// Where the rows of an array lie: [B, H, N, d], [B, N, H, d], a part of a larger array, or packed
// sequences. One sum of three products answers for all of them.
#pragma once

#include "common/attention.hpp"

namespace attn::heads {

/// Elements from one batch, head or row to the next. The elements of a row lie side by side.
struct Layout {
  std::int64_t batch, head, row;

  /// The first element of row i of head (b, h).
  ATTN_HOST_DEVICE_INLINE constexpr std::int64_t at(std::int64_t b, std::int64_t h,
                                                    std::int64_t i) const {
    return b * batch + h * head + i * row;
  }
};

/// Those of a problem. The gradients lie as their arrays do. Packed sequences are one batch, of
/// which row i is that of all of them.
struct Layouts {
  Layout q, k, v, o, lse;
};

inline Layouts layouts_of(const Shape& shape, const Extras& extras) {
  const auto [B, H, Hkv, Nq, Nk, d] = shape;
  const std::int64_t d_v = value_width(shape, extras);
  // All strides zero: one row behind the other, one head behind the other.
  const auto layout = [](const Strides& strides, const Integers& offsets, std::int64_t heads,
                         std::int64_t N, std::int64_t width) -> Layout {
    if (!offsets.host.empty()) return {0, offsets.host.back() * width, width};
    if (strides == Strides{}) return {heads * N * width, N * width, width};
    return {strides.batch, strides.head, strides.row};
  };
  return {layout(extras.q, extras.q_offsets, H, Nq, d),
          layout(extras.k, extras.k_offsets, Hkv, Nk, d),
          layout(extras.v, extras.k_offsets, Hkv, Nk, d_v),
          layout(extras.o, extras.q_offsets, H, Nq, d_v), layout({}, extras.q_offsets, H, Nq, 1)};
}

}  // namespace attn::heads
