// SPDX-License-Identifier: MIT
#include "common/element.hpp"

#include <bit>
#include <cmath>
#include <cstring>

namespace attn {
namespace {

/// `bits` without its lowest `count` bits, rounded to nearest, ties to even. The carry of a
/// mantissa that is all ones goes into the exponent, where it belongs.
constexpr std::uint32_t drop_bits(std::uint32_t bits, int count) {
  const std::uint32_t half = std::uint32_t{1} << (count - 1);
  const std::uint32_t odd = bits >> count & 1;
  return (bits + half - 1 + odd) >> count;
}

template <class T, T (*kStore)(float)>
void encode_as(std::span<const float> values, void* to) {
  auto* out = static_cast<unsigned char*>(to);  // of any alignment
  for (const float value : values) {
    const T element = kStore(value);
    std::memcpy(out, &element, sizeof element);
    out += sizeof element;
  }
}

template <class T>
void decode_as(const void* from, std::span<float> values) {
  const auto* in = static_cast<const unsigned char*>(from);
  for (float& value : values) {
    T element;
    std::memcpy(&element, in, sizeof element);
    in += sizeof element;
    value = to_float32(element);
  }
}

}  // namespace

std::string_view to_string(Element element) {
  return element == Element::kFloat32    ? "float32"
         : element == Element::kBfloat16 ? "bfloat16"
                                         : "float16";
}

bfloat16 to_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (std::isnan(x)) return {static_cast<std::uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<std::uint16_t>(drop_bits(bits, 16))};
}

float16 to_float16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 16 & 0x8000;
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  std::uint32_t result = 0x7C00;  // infinity
  if (std::isnan(x)) {
    result = 0x7E00;
  } else if (magnitude < std::bit_cast<std::uint32_t>(0x1p-14f)) {
    // Subnormal: a whole number of steps of 2^-24, which adding 2^-1 rounds x to.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    result = std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(0.5f);
  } else if (magnitude < std::bit_cast<std::uint32_t>(0x1p16f)) {
    constexpr std::uint32_t kRebias = (127 - 15) << 23;
    result = drop_bits(magnitude - kRebias, 13);
  }
  return {static_cast<std::uint16_t>(sign | result)};
}

float to_float32(bfloat16 x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

float to_float32(float16 x) {
  const std::uint32_t exponent = x.bits >> 10 & 0x1F;
  const std::uint32_t mantissa = x.bits & 0x3FF;
  const std::uint32_t sign = std::uint32_t{x.bits & 0x8000u} << 16;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  const std::uint32_t wide = exponent == 0x1F ? 0xFF : exponent + 127 - 15;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

float rounded_to(Element element, float x) {
  switch (element) {
    case Element::kBfloat16:
      return to_float32(to_bfloat16(x));
    case Element::kFloat16:
      return to_float32(to_float16(x));
    case Element::kFloat32:
      break;
  }
  return x;
}

void encode(Element element, std::span<const float> values, void* to) {
  switch (element) {
    case Element::kFloat32:
      if (!values.empty()) std::memcpy(to, values.data(), values.size_bytes());
      return;
    case Element::kBfloat16:
      return encode_as<bfloat16, to_bfloat16>(values, to);
    case Element::kFloat16:
      return encode_as<float16, to_float16>(values, to);
  }
}

void decode(Element element, const void* from, std::span<float> values) {
  switch (element) {
    case Element::kFloat32:
      if (!values.empty()) std::memcpy(values.data(), from, values.size_bytes());
      return;
    case Element::kBfloat16:
      return decode_as<bfloat16>(from, values);
    case Element::kFloat16:
      return decode_as<float16>(from, values);
  }
}

}  // namespace attn
