// SPDX-License-Identifier: MIT
//
// Who holds what of a matrix that is spread over the registers of a warp, as a picture and as text:
// the rules of common/device/mma.cuh. Nothing is recorded.
#pragma once

#include <string>
#include <string_view>

#include "common/simt/draw/diagram.hpp"

namespace attn::simt::draw {

/// Where one element is.
struct Holder {
  int lane;
  int reg;   // a[reg], b[reg], c[reg] or, of ldmatrix, x[reg]
  int half;  // of the register: 0 is the lower one; of c, which fills its register, 0
  bool operator==(const Holder&) const = default;
};

/// Of mma.m16n8k16: A is 16 x 16, B 16 x 8, C 16 x 8.
Holder holder_in_a(int row, int column);
Holder holder_in_b(int row, int column);
Holder holder_in_c(int row, int column);

/// Of ldmatrix.x4 where lane n names the 8 elements from row n % 16, column 8 * (n / 16) on of a
/// tile of 16 x 16: what becomes of the tile's element.
Holder holder_of_loaded(int row, int column, bool transposed);

enum class Fragments {
  kMma,       // the operands of mma.m16n8k16
  kLdmatrix,  // of ldmatrix, with and without .trans
  kPacked     // two tiles of C as one A
};
/// "mma", "ldmatrix" or "p". Throws Error(kBadArgument).
Fragments parse_fragments(std::string_view text);

Diagram draw_fragments(Fragments what, const std::string& command);

}  // namespace attn::simt::draw
