// SPDX-License-Identifier: MIT
//
// Inside the machine: the product of one mma, on whole matrices.
#pragma once

#include <cstdint>

#include "common/element.hpp"

namespace attn::simt {

/// D = A B + C, m16n8k16; C and D in one place.
struct Product {
  float a[16][16];
  float b[16][8];
  float c[16][8];
};

/// Adds the products up in float32, in the order of k.
void multiply_in_order(Product& product);

/// The values of `count` elements, 16 bits each.
void decode_elements(Element element, const std::uint16_t* from, int count, float* to);

}  // namespace attn::simt
