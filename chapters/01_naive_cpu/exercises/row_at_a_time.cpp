// SPDX-License-Identifier: MIT
//
// Exercise of chapter 01: the same attention with a workspace of Nk floats, one row of scores,
// instead of Nq * Nk. goal.cpp holds the record that the checker runs.
//
//   cmake --build build --target ch01_exercise && build/ch01_exercise
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/attention.hpp"

namespace attn::row_at_a_time {

/// O and LSE of the contract (common/attention.hpp). Host pointers.
void forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  std::fill(args.o, args.o + B * H * Nq * d, 0.0f);

  for (std::int64_t row = 0; row < B * H * Nq; ++row) {  // row = head * Nq + i
    const std::int64_t visible = visible_keys(row % Nq, diagonal(args.mask, Nq, Nk), Nk);
    if (visible == 0) {
      args.lse[row] = -std::numeric_limits<float>::infinity();
      continue;
    }
    // Your turn. static_cast<float*>(args.workspace) points to Nk floats. For this one row:
    //   1. its scores against the visible keys of its head
    //   2. their softmax, and args.lse[row]
    //   3. its row of O, the weighted sum of the visible values of its head
  }
}

}  // namespace attn::row_at_a_time
