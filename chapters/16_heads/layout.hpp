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
  ATTN_HOST_DEVICE constexpr std::int64_t at(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return b * batch + h * head + i * row;
  }
};

/// Strides that are all zero stand for [B, H, N, width].
ATTN_HOST_DEVICE constexpr Layout layout_of(const Strides& strides, std::int64_t H, std::int64_t N,
                                            std::int64_t width) {
  if (strides == Strides{}) return {H * N * width, N * width, width};
  return {strides.batch, strides.head, strides.row};
}

/// Those of a problem. The gradients lie as their arrays do.
struct Layouts {
  Layout q, k, v, o, lse;
};

inline Layouts layouts_of(const Shape& shape, const Extras& extras) {
  const auto [B, H, Hkv, Nq, Nk, d] = shape;
  const std::int64_t d_v = value_width(shape, extras);
  return {layout_of(extras.q, H, Nq, d), layout_of(extras.k, Hkv, Nk, d),
          layout_of(extras.v, Hkv, Nk, d_v), layout_of(extras.o, H, Nq, d_v),
          layout_of({}, H, Nq, 1)};
}

}  // namespace attn::heads
