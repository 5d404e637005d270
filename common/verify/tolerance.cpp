// SPDX-License-Identifier: MIT
#include "common/verify/tolerance.hpp"

#include <algorithm>
#include <cmath>

namespace attn::verify {
namespace {

double real(std::int64_t n) { return static_cast<double>(n); }

/// Of 16-bit storage: `factors` was rounded on the way, `result` at the end.
double stored(Element element, double factors, double result) {
  if (element == Element::kFloat32 || !std::isfinite(result)) return 0;
  const double step = element == Element::kFloat16 ? 0x1p-25 : 0;
  return 1.5 * (unit_roundoff(element) * (factors + std::abs(result)) + step);
}

}  // namespace

double exact_o_tolerance(std::int64_t Nk, double max_v) {
  return (8 + real(Nk) / 8) * kEps * max_v;
}

double exact_lse_tolerance(std::int64_t Nk, double lse) {
  const double log_nk = std::log(std::max(real(Nk), 1.0));
  return kEps / 2 * std::abs(lse) + (4 + real(Nk) / 256) * kEps * (1 + log_nk);
}

double o_tolerance(double float32_error, std::int64_t Nk, double L, double max_v) {
  return 2 * float32_error + (16 + real(Nk) / 8 + 2 * L) * kEps * max_v;
}

double lse_tolerance(double float32_error, std::int64_t Nk, double L, double lse) {
  return 2 * float32_error + exact_lse_tolerance(Nk, lse) + 2 * L * kEps;
}

double exact_gradient_tolerance(double G) { return 64 * kEps * G + kUnderflow; }

double gradient_tolerance(double L, double G) { return (64 + 4 * L) * kEps * G + kUnderflow; }

double stored_o_tolerance(Element element, double weighted_v, double o) {
  return stored(element, weighted_v, o);
}

double stored_gradient_tolerance(Element element, double rounded, double gradient) {
  return stored(element, rounded, gradient);
}

}  // namespace attn::verify
