// SPDX-License-Identifier: MIT
//
// Inside the machine: the product of one mma, on whole matrices.
#pragma once

#include <cstdint>

#include "common/element.hpp"
#include "common/simt/machine/options.hpp"

namespace attn::simt {

/// D = A B + C, m16n8k16; C and D in one place.
struct Product {
  float a[16][16];
  float b[16][8];
  float c[16][8];
};

/// The values of `count` elements, 16 bits each.
void decode_elements(Element element, const std::uint16_t* from, int count, float* to);

/// Adds the products to C: as asked for, or in the order of k.
///
/// What tensor cores do is not published. Measurements (Khattak and Mikaitis, arXiv 2512.07004, and
/// those before them) agree with this: the products are exact; the addends of one step, some of the
/// products and the sum so far, are aligned to the largest exponent among them, and lose what lies
/// beyond so many bits of the fraction; they are added exactly, and the sum loses what float32 does
/// not hold. An A100 takes 8 products in a step and keeps 24 bits, an H100 16 and 25.
void multiply(Product& product, Accumulation accumulation);

}  // namespace attn::simt
