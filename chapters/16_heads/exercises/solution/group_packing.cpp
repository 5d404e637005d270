// SPDX-License-Identifier: MIT
//
// One possible answer to the exercise of chapter 16: the heads of one token stand side by side, so
// that tokens, and what they see, rise from row to row. A tile of Br rows then has the tokens of
// about Br / group neighbours instead of those from the end of one head and the beginning of the
// next.
#include "chapters/16_heads/exercises/group_packing.hpp"

namespace attn::heads {

PackedRow packed_row(std::int64_t row, std::int64_t /*tokens*/, std::int64_t group) {
  return {row / group, row % group};
}

std::int64_t place_of(const PackedRow& query, std::int64_t /*tokens*/, std::int64_t group) {
  return query.token * group + query.head;
}

}  // namespace attn::heads
