// SPDX-License-Identifier: MIT
//
// Exercise: the heads of a group as rows of one head, for a kernel that knows no groups. See
// "Exercises" in the lesson. The check makes Q anew in your order, lets step 4 compute it with as
// many query heads as K and V have, and puts O back. As it stands every result is right, but under
// a causal mask tiles of rows ask for keys that most of their rows do not see:
//   cmake --build build --target ch16_exercise && ./build/ch16_exercise
#include "chapters/16_heads/exercises/group_packing.hpp"

namespace attn::heads {

// Yours. So far one head of the group stands behind the other, each with all its tokens.
PackedRow packed_row(std::int64_t row, std::int64_t tokens, std::int64_t /*group*/) {
  return {row % tokens, row / tokens};
}

std::int64_t place_of(const PackedRow& query, std::int64_t tokens, std::int64_t /*group*/) {
  return query.head * tokens + query.token;
}

}  // namespace attn::heads
