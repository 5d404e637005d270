// SPDX-License-Identifier: MIT
#include "common/simt/math.hpp"

#include "common/simt/recorder.hpp"

// The macros that send kernels here would send us here too.
#undef expf
#undef exp2f

namespace attn::simt {
namespace {

void count() {
  if (active_recorder != nullptr) active_recorder->special_function();
}

}  // namespace

float special_exp(float x) {
  count();
  return std::exp(x);
}
float special_exp2(float x) {
  count();
  return std::exp2(x);
}
float special_log2(float x) {
  count();
  return std::log2(x);
}
float special_rsqrt(float x) {
  count();
  return 1.0f / std::sqrt(x);
}
float special_reciprocal(float x) {
  count();
  return 1.0f / x;
}

}  // namespace attn::simt
