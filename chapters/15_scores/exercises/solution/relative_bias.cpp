// SPDX-License-Identifier: MIT
//
// A solution of chapter 15's exercise. One function says which number of the table a pair has, and
// both directions go through the pairs by it: the bias copies, the gradient adds up. All windows
// share the bias, and so its shape has one of them; the kernel's gradient is then summed over them.
#include "chapters/15_scores/exercises/relative_bias.hpp"

namespace attn::scores {
namespace {

/// Calls visit(element of a bias [1, heads, tokens, tokens], element of the table) for all pairs.
template <class Visit>
void for_each_pair(const WindowSizes& sizes, Visit visit) {
  const std::int64_t tokens = sizes.tokens(), side = sizes.side;
  for (std::int64_t h = 0; h < sizes.heads; ++h) {
    for (std::int64_t i = 0; i < tokens; ++i) {
      for (std::int64_t j = 0; j < tokens; ++j) {
        const std::int64_t dy = i / side - j / side, dx = i % side - j % side;
        const std::int64_t offset = (dy + side - 1) * (2 * side - 1) + dx + side - 1;
        visit(static_cast<std::size_t>((h * tokens + i) * tokens + j),
              static_cast<std::size_t>(offset * sizes.heads + h));
      }
    }
  }
}

}  // namespace

Bias relative_bias(const std::vector<float>& table, const WindowSizes& sizes) {
  Bias bias{{1, sizes.heads, sizes.tokens(), sizes.tokens()}, {}};
  bias.numbers.resize(static_cast<std::size_t>(bias.shape.elements()));
  for_each_pair(sizes, [&](std::size_t pair, std::size_t at) { bias.numbers[pair] = table[at]; });
  return bias;
}

std::vector<float> relative_table_gradient(const Bias& grad_bias, const WindowSizes& sizes) {
  std::vector<float> grad(static_cast<std::size_t>(sizes.offsets() * sizes.heads), 0.0f);
  for_each_pair(sizes,
                [&](std::size_t pair, std::size_t at) { grad[at] += grad_bias.numbers[pair]; });
  return grad;
}

}  // namespace attn::scores
