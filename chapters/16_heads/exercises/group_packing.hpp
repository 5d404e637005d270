// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace attn::heads {

/// The query of one token in one head of the group.
struct PackedRow {
  std::int64_t token, head;
};

/// Which query stands in row `row` of the tokens * group rows of a K/V head. Written by the reader.
PackedRow packed_row(std::int64_t row, std::int64_t tokens, std::int64_t group);

/// The row in which it stands. Written by the reader.
std::int64_t place_of(const PackedRow& query, std::int64_t tokens, std::int64_t group);

}  // namespace attn::heads
