// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace attn::peers {

/// Softmax of every row of S in place, one block per row; hidden keys become 0.
///   s   [heads, Nq, Nk] in, P out; device memory
///   lse [heads, Nq] out
void softmax(float* s, float* lse, std::int64_t heads, std::int64_t Nq, std::int64_t Nk,
             std::int64_t diagonal);

}  // namespace attn::peers
