// SPDX-License-Identifier: MIT
#include <bit>

#include "common/simt/models/fragments.hpp"

namespace attn::simt {

void decode_elements(Element element, const std::uint16_t* from, int count, float* to) {
  if (element == Element::kBfloat16) {
    for (int i = 0; i < count; ++i) to[i] = std::bit_cast<float>(std::uint32_t{from[i]} << 16);
    return;
  }
  for (int i = 0; i < count; ++i) {
    // Moved to where float32 has them, exponent and mantissa make a number that is too small by a
    // power of two, subnormal or not. Infinity and NaN get float32's largest exponent.
    const std::uint32_t moved = (from[i] & 0x7FFFu) << 13;
    const float scaled = std::bit_cast<float>(moved) * 0x1p112f;
    const std::uint32_t special = moved >= 0x7C00u << 13 ? 0xFFu << 23 : 0u;
    const std::uint32_t sign = (from[i] & 0x8000u) << 16;
    to[i] = std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | special | sign);
  }
}

void multiply_in_order(Product& product) {
  for (int row = 0; row < 16; ++row) {
    float sums[8];
    for (int n = 0; n < 8; ++n) sums[n] = product.c[row][n];
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) sums[n] += product.a[row][k] * product.b[k][n];
    }
    for (int n = 0; n < 8; ++n) product.c[row][n] = sums[n];
  }
}

}  // namespace attn::simt
