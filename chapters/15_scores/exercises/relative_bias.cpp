// SPDX-License-Identifier: MIT
//
// Exercise: Swin's relative position bias, for the kernels as they are. See "Exercises" in the
// lesson. The kernels know a number per pair; a model learns a number per offset, and there are far
// fewer offsets than pairs. As it stands the table is ignored:
//   cmake --build build --target ch15_exercise && ./build/ch15_exercise
#include "chapters/15_scores/exercises/relative_bias.hpp"

namespace attn::scores {

/// Row (dy + side - 1) * (2 side - 1) + dx + side - 1 of the table has the numbers, one per head,
/// of all pairs in which the query stands dy rows below and dx columns to the right of the key:
/// dy = y of the query - y of the key. All windows have the same bias.
Bias relative_bias(const std::vector<float>& table, const WindowSizes& sizes) {
  // Yours. So far every pair of every window has a number of its own, 0.
  static_cast<void>(table);
  Bias bias{{sizes.windows, sizes.heads, sizes.tokens(), sizes.tokens()}, {}};
  bias.numbers.assign(static_cast<std::size_t>(bias.shape.elements()), 0.0f);
  return bias;
}

/// Each number of the table is in many pairs of the bias, and its gradient is the sum of theirs.
std::vector<float> relative_table_gradient(const Bias& grad_bias, const WindowSizes& sizes) {
  // Yours, too.
  static_cast<void>(grad_bias);
  return std::vector<float>(static_cast<std::size_t>(sizes.offsets() * sizes.heads), 0.0f);
}

}  // namespace attn::scores
