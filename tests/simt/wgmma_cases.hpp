// SPDX-License-Identifier: MIT
//
// Right kernels with wgmma and setmaxnreg, held against what they must give, on the CPU machine and
// on a GPU.
#pragma once

#include <cstdint>
#include <vector>

#include "common/element.hpp"
#include "tests/simt/wgmma_kernels.hpp"

namespace attn::simt_test {

/// A matrix by rows. B is stored as its transposed, so that a column's elements are neighbours.
struct Matrix {
  unsigned columns;
  std::vector<float> values;
  float& at(unsigned row, unsigned column) { return values[row * columns + column]; }
  float at(unsigned row, unsigned column) const { return values[row * columns + column]; }
  std::vector<std::uint16_t> bits(Element element) const;
};
/// From -4 to 4: every sum that the tests make of them is exact.
Matrix integers(unsigned rows, unsigned columns, unsigned seed);

/// A layout of 16-byte chunks: `width` of them side by side, MN-major or not.
struct Layout {
  unsigned width;
  bool mn_major;
};

/// One wgmma, on operands in these layouts. step: of 16 k within a larger tile.
struct WgmmaCase {
  OneWgmma shape;
  Layout a, b;
  unsigned step = 0;
};
/// D of A (64, 16), B by columns (N, 16) and C (64, N).
Matrix multiply(const WgmmaCase& one, const Matrix& a, const Matrix& b, const Matrix& c);

/// bfloat16, N = 128, both operands K-major in shared memory.
inline constexpr OneWgmma kSquare{.element = Element::kBfloat16,
                                  .n = 128,
                                  .a_in_registers = false,
                                  .a_mn_major = false,
                                  .b_mn_major = false,
                                  .accumulate = true};

/// Q, two tiles of K, and V, of 64 x 64 each, of which no sum is rounded.
struct Operands {
  Matrix q, k, v;
  Operands();
  std::vector<float> scores() const;  // Q K^T, of both tiles of K
  std::vector<float> result() const;  // (Q K^T) V, of the first
};

/// Each fails the running test where something else comes out.
void check_layouts();
void check_steps();
void check_shapes();  // kinds of operands, N, elements
void check_one_tile();
void check_two_products();
void check_tma_tiles();
void check_setmaxnreg();

}  // namespace attn::simt_test
