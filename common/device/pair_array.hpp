// SPDX-License-Identifier: MIT
//
// Taught in chapters 14 and 15: an array with an element per pair, broadcast to [B, H, Nq, Nk].
#pragma once

#include "common/extras.hpp"

namespace attn::device {

/// A step is 0 where all batches, heads, rows or keys share their elements.
template <class T>
struct PairArray {
  const T* elements;  // null: there is none
  std::int64_t batch, head, row, key;

  ATTN_HOST_DEVICE_INLINE constexpr bool given() const { return elements != nullptr; }
  ATTN_HOST_DEVICE_INLINE constexpr T at(std::int64_t b, std::int64_t h, std::int64_t i,
                                         std::int64_t j) const {
    return elements[b * batch + h * head + i * row + j * key];
  }
};

template <class T>
constexpr PairArray<T> pair_array_of(const T* elements, const PairShape& shape) {
  const std::int64_t row = shape.Nk, head = row * shape.Nq, batch = head * shape.H;
  return {elements, shape.B == 1 ? 0 : batch, shape.H == 1 ? 0 : head, shape.Nq == 1 ? 0 : row,
          shape.Nk == 1 ? 0 : 1};
}

}  // namespace attn::device
