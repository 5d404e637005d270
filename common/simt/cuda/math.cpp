// SPDX-License-Identifier: MIT
//
// Does not include math.hpp, which gives expf and its like the names that are defined here.
#include <cmath>

#include "common/simt/watch/recorder.hpp"

namespace {

void count(unsigned instructions) {
  if (attn::simt::active_recorder != nullptr) {
    attn::simt::active_recorder->special_functions(instructions);
  }
}

}  // namespace

extern "C" {

float attn_special_expf(float x) noexcept {
  count(1);
  return std::exp(x);
}
float attn_special_exp2f(float x) noexcept {
  count(1);
  return std::exp2(x);
}
float attn_special_exp10f(float x) noexcept {
  count(1);
  return static_cast<float>(std::pow(10.0, static_cast<double>(x)));
}
float attn_special_expm1f(float x) noexcept {
  count(1);
  return std::expm1(x);
}
float attn_special_tanhf(float x) noexcept {
  count(2);
  return std::tanh(x);
}
float attn_special_coshf(float x) noexcept {
  count(2);
  return std::cosh(x);
}
float attn_special_powf(float x, float y) noexcept {
  count(1);
  return std::pow(x, y);
}

}  // extern "C"

namespace attn::simt {

float special_log2(float x) {
  count(1);
  return std::log2(x);
}
float special_sin(float x) {
  count(1);
  return std::sin(x);
}
float special_cos(float x) {
  count(1);
  return std::cos(x);
}
float special_tanh(float x) {
  count(1);
  return std::tanh(x);
}
float special_rsqrt(float x) {
  count(1);
  return 1.0f / std::sqrt(x);
}
float special_reciprocal(float x) {
  count(1);
  return 1.0f / x;
}

}  // namespace attn::simt
