// SPDX-License-Identifier: MIT
//
// Taught in chapter 16: the rows that meet one head of K and V are the queries of all heads of its
// group. Those of one token stand side by side, so that a mask, which asks for the token only, sees
// rows in rising order.
#pragma once

#include <cstdint>

#include "common/host_device.hpp"
#include "common/mask.hpp"

namespace attn::device {

/// Row R of the N * group rows of a K/V head is head R % group of the group, token R / group.
struct GroupRow {
  std::int64_t token;
  int head;  // of the group
};

ATTN_HOST_DEVICE constexpr GroupRow group_row(std::int64_t row, int group) {
  return {row / group, static_cast<int>(row % group)};
}

/// Rows of a tile: their tokens and heads, in 32 bits where there is a division.
struct RowTile {
  std::int64_t i0;          // token of row 0
  std::int64_t first_head;  // the group's, of the batch
  int head0, group;         // row 0's head in the group, and how many there are
  int rows;                 // of the tile that lie inside; 0 or less if none does

  /// Token i0 + token(r) of query head head(r).
  ATTN_HOST_DEVICE_INLINE constexpr int token(int r) const { return (head0 + r) / group; }
  ATTN_HOST_DEVICE_INLINE constexpr std::int64_t head(int r) const {
    return first_head + (head0 + r) % group;
  }
  /// The tokens of its rows, of which it has at least one.
  ATTN_HOST_DEVICE constexpr Range tokens() const { return {i0, i0 + token(rows - 1) + 1}; }
};

/// The tile of up to Br rows from row R0 on, of Nq tokens times `group` heads.
ATTN_HOST_DEVICE constexpr RowTile row_tile(std::int64_t R0, int Br, std::int64_t Nq,
                                            std::int64_t kv_head, int group) {
  const GroupRow first = group_row(R0, group);
  const std::int64_t left = Nq * group - R0;
  return {first.token, kv_head * group, first.head, group, left < Br ? static_cast<int>(left) : Br};
}

}  // namespace attn::device
