// SPDX-License-Identifier: MIT
//
// What the elements of Q, K, V, O and their gradients may be. Softmax, LSE and sums are float32
// whatever they are. The 16-bit types are storage and no more: one type for g++ and for nvcc, which
// a kernel's arguments may mention (CUDA's own __half and __nv_bfloat16 cannot: to g++ they would
// be other types). Kernels read them through common/device/element.cuh.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace attn {

enum class Element {
  kFloat32,
  kBfloat16,  ///< 8 bits of exponent, 7 of mantissa: float32 without its lower half
  kFloat16,   ///< IEEE 754 binary16: 5 bits of exponent, 10 of mantissa; the largest is 65,504
};
inline constexpr Element kAllElements[] = {Element::kFloat32, Element::kBfloat16,
                                           Element::kFloat16};

struct bfloat16 {
  std::uint16_t bits;
};
struct float16 {
  std::uint16_t bits;
};

template <class T>
inline constexpr Element kElementOf = Element::kFloat32;
template <>
inline constexpr Element kElementOf<bfloat16> = Element::kBfloat16;
template <>
inline constexpr Element kElementOf<float16> = Element::kFloat16;

/// "float32", "bfloat16", "float16".
std::string_view to_string(Element element);

constexpr std::size_t bytes_of(Element element) { return element == Element::kFloat32 ? 4 : 2; }

/// The largest relative error of rounding a number in the element's normal range: 2^-24, 2^-8,
/// 2^-11.
constexpr double unit_roundoff(Element element) {
  return element == Element::kFloat32 ? 0x1p-24 : element == Element::kBfloat16 ? 0x1p-8 : 0x1p-11;
}

/// Rounds to the nearest element, ties to even, as hardware does: what is too large becomes
/// infinity, what is too small a subnormal number or zero. A NaN stays one.
bfloat16 to_bfloat16(float x);
float16 to_float16(float x);
/// Exact.
float to_float32(bfloat16 x);
float to_float32(float16 x);

/// The value that `x` has once it is stored as `element`.
float rounded_to(Element element, float x);

/// Stores `values` as elements at `to`, which holds values.size() of them.
void encode(Element element, std::span<const float> values, void* to);
/// Reads values.size() elements at `from`.
void decode(Element element, const void* from, std::span<float> values);

}  // namespace attn
