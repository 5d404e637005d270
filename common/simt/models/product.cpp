// SPDX-License-Identifier: MIT
#include "common/simt/models/product.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace attn::simt {
namespace {

struct Step {
  int products;
  int fraction_bits;
};

/// The exponent of a finite number other than 0.
int exponent_of(float x) {
  const int field = static_cast<int>(std::bit_cast<std::uint32_t>(x) >> 23 & 0xFF);
  return field != 0 ? field - 127 : std::ilogb(x);
}

/// Rounded towards 0.
float truncated(double x) {
  if (std::fabs(x) >= 0x1p128) return static_cast<float>(x);  // infinite
  const auto nearest = static_cast<float>(x);
  return std::fabs(double{nearest}) > std::fabs(x) ? std::nextafterf(nearest, 0.0f) : nearest;
}

/// One step of one element: `sum` and step.products of a[k] b[k], the b's a row of B apart.
float add_step(float sum, const float* a, const float (*b)[8], int column, const Step& step) {
  constexpr int kNothing = -10000;  // below every exponent
  int largest = sum == 0.0f ? kNothing : exponent_of(sum);
  bool finite = std::isfinite(sum);
  double plain = sum;
  for (int k = 0; k < step.products; ++k) {
    const float x = a[k], y = b[k][column];
    finite = finite && std::isfinite(x) && std::isfinite(y);
    plain += double{x} * double{y};
    if (x != 0.0f && y != 0.0f) largest = std::max(largest, exponent_of(x) + exponent_of(y));
  }
  if (!finite) return static_cast<float>(plain);  // infinite, or NaN
  if (largest == kNothing) return sum;
  const int shift = step.fraction_bits - largest;
  const auto cut = [shift](double addend) {
    return static_cast<std::int64_t>(std::ldexp(addend, shift));
  };
  std::int64_t total = cut(sum);
  for (int k = 0; k < step.products; ++k) total += cut(double{a[k]} * double{b[k][column]});
  return truncated(std::ldexp(static_cast<double>(total), -shift));
}

void multiply_in_steps(Product& product, const Step& step) {
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      float& sum = product.c[row][column];
      for (int k = 0; k < 16; k += step.products) {
        sum = add_step(sum, &product.a[row][k], &product.b[k], column, step);
      }
    }
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

}  // namespace

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

void multiply(Product& product, Accumulation accumulation) {
  switch (accumulation) {
    case Accumulation::kInOrder:
      return multiply_in_order(product);
    case Accumulation::kA100:
      return multiply_in_steps(product, {.products = 8, .fraction_bits = 24});
    case Accumulation::kH100:
      return multiply_in_steps(product, {.products = 16, .fraction_bits = 25});
  }
}

}  // namespace attn::simt
