// SPDX-License-Identifier: MIT
#include "common/verify/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace attn::verify {

bool matches(double expected, float got, double tolerance) {
  if (std::isnan(expected))
    return std::isnan(got) || (tolerance == kOrMinusInfinity && got == -kOrMinusInfinity);
  if (std::isinf(expected)) return static_cast<double>(got) == expected;
  return std::abs(static_cast<double>(got) - expected) <= tolerance;  // false for a NaN or Inf
}

std::string element_text(const Expected& array, std::size_t element) {
  const bool of_keys = array.name == "dk" || array.name == "dv";
  const bool of_pairs = array.name == "dbias";
  const bool of_heads = array.sizes.size() == 1;
  const char* const names[] = {of_heads ? "h" : "b", "h", of_keys ? "j" : "i",
                               of_pairs ? "j" : "c"};
  std::string text;
  auto rest = static_cast<std::int64_t>(element);
  for (std::size_t n = std::min(array.sizes.size(), std::size(names)); n-- > 0;) {
    text = fmt::format("{}={}{}{}", names[n], rest % array.sizes[n], text.empty() ? "" : " ", text);
    rest /= array.sizes[n];
  }
  return fmt::format("{}[{}]", array.name, text);
}

std::string number_text(double value) {
  return std::isnan(value) ? "nan" : fmt::format("{:.9g}", value);
}

Comparison compare(const Expected& expected, std::span<const float> got) {
  Comparison result;
  if (got.size() != expected.values.size() || expected.tolerance.size() != expected.values.size()) {
    result.passed = false;
    result.text = fmt::format("{}: {} elements instead of {}\n", expected.name, got.size(),
                              expected.values.size());
    return result;
  }
  constexpr int kShown = 10;
  std::string rows;
  for (std::size_t e = 0; e < got.size(); ++e) {
    const double want = expected.values[e];
    const double tolerance = expected.tolerance[e];
    const double difference = std::abs(static_cast<double>(got[e]) - want);
    if (std::isnan(got[e]) && !expected.or_nan.empty() && expected.or_nan[e]) continue;
    if (matches(want, got[e], tolerance)) {
      if (std::isfinite(want) && tolerance > 0) {
        result.worst = std::max(result.worst, difference / tolerance);
      }
      continue;
    }
    result.passed = false;
    if (++result.wrong > kShown) continue;
    rows += fmt::format("    {}: expected {}, got {}, difference {:.3g}, allowed {:.3g}\n",
                        element_text(expected, e), number_text(want),
                        number_text(static_cast<double>(got[e])), difference, tolerance);
  }
  if (!result.passed) {
    result.text =
        fmt::format("  {}: {} of {} elements are wrong{}\n{}", expected.name, result.wrong,
                    got.size(), result.wrong > kShown ? "; the first ten:" : ":", rows);
  }
  return result;
}

}  // namespace attn::verify
