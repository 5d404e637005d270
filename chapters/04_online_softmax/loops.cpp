// SPDX-License-Identifier: MIT
#include "chapters/04_online_softmax/loops.hpp"

#include <algorithm>
#include <cmath>

namespace attn::online_softmax {

float three_passes(const float* s, const float* v, std::int64_t n) {
  float row_max = s[0];
  for (std::int64_t j = 1; j < n; ++j) row_max = std::max(row_max, s[j]);
  float row_sum = 0.0f;
  for (std::int64_t j = 0; j < n; ++j) row_sum += std::exp(s[j] - row_max);
  float result = 0.0f;
  for (std::int64_t j = 0; j < n; ++j) result += std::exp(s[j] - row_max) / row_sum * v[j];
  return result;
}

float two_passes(const float* s, const float* v, std::int64_t n) {
  float row_max = s[0];
  float row_sum = 1.0f;  // exp(s[0] - s[0])
  for (std::int64_t j = 1; j < n; ++j) {
    const float new_max = std::max(row_max, s[j]);
    row_sum = row_sum * std::exp(row_max - new_max) + std::exp(s[j] - new_max);
    row_max = new_max;
  }
  float result = 0.0f;
  for (std::int64_t j = 0; j < n; ++j) result += std::exp(s[j] - row_max) / row_sum * v[j];
  return result;
}

float one_pass(const float* s, const float* v, std::int64_t n) {
  float row_max = s[0];
  float row_sum = 1.0f;
  float weighted = v[0];  // sum of exp(s[j] - row_max) * v[j]
  for (std::int64_t j = 1; j < n; ++j) {
    const float new_max = std::max(row_max, s[j]);
    const float rescale = std::exp(row_max - new_max);
    const float weight = std::exp(s[j] - new_max);
    row_sum = row_sum * rescale + weight;
    weighted = weighted * rescale + weight * v[j];
    row_max = new_max;
  }
  return weighted / row_sum;
}

}  // namespace attn::online_softmax
