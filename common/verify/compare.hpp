// SPDX-License-Identifier: MIT
//
// Comparison of computed arrays with expected ones, written so that nothing passes by accident.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace attn::verify {

/// An array as it should be, with how far each element may lie from it.
struct Expected {
  std::string name;                 // "o", "lse", "dq", ...
  std::vector<std::int64_t> sizes;  // [B, H, Nq, d] or, for lse, [B, H, Nq]
  std::vector<double> values;
  std::vector<double> tolerance;  // as long as values; 0 asks for equality
  std::vector<bool> or_nan = {};  // which elements may be NaN instead; empty: none
};

/// The outcome of one comparison.
struct Comparison {
  bool passed = true;
  double worst = 0;        // largest |difference| / tolerance among the elements that pass
  std::int64_t wrong = 0;  // number of wrong elements
  std::string text;        // how many are wrong, and the first ten of them; empty if none
};

/// As the tolerance of an expected NaN: -inf is right too. For the LSE of a row whose logits are
/// all -inf: log(0) is -inf, and max + log(sum of exp(s - max)) is NaN; both are the formula.
inline constexpr double kOrMinusInfinity = std::numeric_limits<double>::infinity();

/// True only if `got` is known to be right: |got - expected| <= tolerance for finite numbers; a NaN
/// where a NaN is expected; the same infinity where one is expected. Whatever else a NaN or an
/// infinity is compared with, it is wrong.
bool matches(double expected, float got, double tolerance);

/// Compares all elements; an array of another length is wrong as a whole.
Comparison compare(const Expected& expected, std::span<const float> got);

/// "dk[b=0 h=2 j=17 c=3]" for a flat index into the array; i counts queries, j keys, c columns.
std::string element_text(const Expected& array, std::size_t element);

/// Nine digits, all that a float32 has; "nan" without a sign.
std::string number_text(double value);

}  // namespace attn::verify
