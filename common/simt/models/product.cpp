// SPDX-License-Identifier: MIT
#include <bit>
#include <cstring>

#include "common/simt/models/fragments.hpp"

namespace attn::simt {

void decode_elements(Element element, const std::uint16_t* from, int count, float* to) {
  if (element == Element::kBfloat16) {
    for (int i = 0; i < count; ++i) to[i] = std::bit_cast<float>(std::uint32_t{from[i]} << 16);
    return;
  }
  for (int i = 0; i < count; ++i) {
    // As to_float32 does it, but without branches, which keep g++ from doing several at a time.
    const std::uint32_t magnitude = from[i] & 0x7FFFu;
    const float subnormal = static_cast<float>(static_cast<int>(magnitude)) * 0x1p-24f;
    const std::uint32_t normal = (magnitude << 13) + ((127u - 15u) << 23);
    const std::uint32_t special = 0xFFu << 23 | magnitude << 13;
    const std::uint32_t bits = magnitude < 0x0400u   ? std::bit_cast<std::uint32_t>(subnormal)
                               : magnitude < 0x7C00u ? normal
                                                     : special;
    to[i] = std::bit_cast<float>(bits | (from[i] & 0x8000u) << 16);
  }
}

void multiply_in_order(Product& product) {
  // g++ does not find this by itself: four columns at a time, the sums of four rows in registers.
  using Four = float __attribute__((vector_size(16)));
  constexpr int kRows = 4;
  const auto load = [](const float* from) {
    Four four;
    std::memcpy(&four, from, sizeof four);
    return four;
  };
  for (int first = 0; first < 16; first += kRows) {
    Four sums[kRows][2];
    std::memcpy(sums, product.c[first], sizeof sums);
    for (int k = 0; k < 16; ++k) {
      const Four left = load(product.b[k]), right = load(product.b[k] + 4);
      for (int row = 0; row < kRows; ++row) {
        const float factor = product.a[first + row][k];
        sums[row][0] += factor * left;
        sums[row][1] += factor * right;
      }
    }
    std::memcpy(product.c[first], sums, sizeof sums);
  }
}

}  // namespace attn::simt
