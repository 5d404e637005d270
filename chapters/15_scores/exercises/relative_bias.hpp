// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include "common/extras.hpp"

namespace attn::scores {

/// Windows of side x side tokens, token y * side + x of each in row y, column x; `windows` of them
/// are a batch, and every one has `heads` heads.
struct WindowSizes {
  std::int64_t windows, heads, side;

  std::int64_t tokens() const { return side * side; }
  std::int64_t offsets() const { return (2 * side - 1) * (2 * side - 1); }  ///< rows of the table
};

/// A bias for kernels, or its gradient: numbers of this shape, [1 or windows, 1 or heads, 1 or
/// tokens, 1 or tokens].
struct Bias {
  PairShape shape;
  std::vector<float> numbers;
};

/// The bias that a table [offsets, heads] stands for. Written by the reader.
Bias relative_bias(const std::vector<float>& table, const WindowSizes& sizes);

/// The table's gradient, [offsets, heads], from that of the bias. Written by the reader.
std::vector<float> relative_table_gradient(const Bias& grad_bias, const WindowSizes& sizes);

}  // namespace attn::scores
