// SPDX-License-Identifier: MIT
//
// Tiles for the plain C++ twins, from chapter 03 on: 64 keys at a time, columns padded with zeros
// to a constant kD, so that the innermost loops have constant bounds and a compiler can keep their
// accumulators in vector registers.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>

#include "common/attention.hpp"

#if defined(__x86_64__) && defined(__GLIBC__) && defined(_OPENMP)
// glibc has expf for whole vectors (libmvec), but names it only under -ffast-math.
extern "C" {
#pragma omp declare simd notinbranch
float expf(float x) noexcept;
}
#endif

namespace attn::cpu {

inline constexpr int kKeys = 64;

/// 64 keys: K transposed (kD, kKeys) and V (kKeys, kD); zero beyond the last key and beyond d.
template <int kD>
struct KeyTile {
  // Whole vector registers. Not 64: g++ before 14 misplaces such locals under AddressSanitizer.
  alignas(32) float kt[kD][kKeys];
  alignas(32) float v[kKeys][kD];

  /// `keys` rows of K of d floats, row j at row(j); those beyond the 64th are ignored.
  template <std::invocable<std::int64_t> Row>
  void load_k(Row row, std::int64_t keys, std::int64_t d) {
    std::fill_n(&kt[0][0], kD * kKeys, 0.0f);
    for (std::int64_t j = 0; j < std::min<std::int64_t>(keys, kKeys); ++j) {
      const float* of_key = row(j);
      for (std::int64_t c = 0; c < d; ++c) kt[c][j] = of_key[c];
    }
  }
  /// The same for V.
  template <std::invocable<std::int64_t> Row>
  void load_v(Row row, std::int64_t keys, std::int64_t d) {
    std::fill_n(&v[0][0], kKeys * kD, 0.0f);
    for (std::int64_t j = 0; j < std::min<std::int64_t>(keys, kKeys); ++j) {
      std::copy_n(row(j), d, v[j]);
    }
  }
  /// The same for rows one behind the other.
  void load_k(const float* rows, std::int64_t keys, std::int64_t d) {
    load_k([&](std::int64_t j) { return rows + j * d; }, keys, d);
  }
  void load_v(const float* rows, std::int64_t keys, std::int64_t d) {
    load_v([&](std::int64_t j) { return rows + j * d; }, keys, d);
  }

  /// s[j] = scale * q . k_j for all 64 keys.
  // Apart from its callers, as below: an array indexed by constants only stays in registers.
  [[gnu::noinline]] void scores(const float* q, std::int64_t d, float scale,
                                float (&s)[kKeys]) const {
    float dot[kKeys] = {};
    for (std::int64_t c = 0; c < d; ++c) {
      for (int j = 0; j < kKeys; ++j) dot[j] += q[c] * kt[c][j];
    }
    for (int j = 0; j < kKeys; ++j) s[j] = scale * dot[j];
  }

  /// o = rescale * o + sum over the keys begin .. end - 1 of p[j] * v_j; o has d floats.
  void add_weighted(const float* p, std::int64_t begin, std::int64_t end, float rescale, float* o,
                    std::int64_t d) const {
    float sum[kD];
    weighted_sum(p, begin, end, sum);
    for (std::int64_t c = 0; c < d; ++c) o[c] = rescale * o[c] + sum[c];
  }

 private:
  [[gnu::noinline]] void weighted_sum(const float* p, std::int64_t begin, std::int64_t end,
                                      float (&result)[kD]) const {
    float sum[kD] = {};
    for (std::int64_t j = begin; j < end; ++j) {
      for (int c = 0; c < kD; ++c) sum[c] += p[j] * v[j][c];
    }
    std::copy(sum, sum + kD, result);
  }
};

/// The largest of n numbers; -inf for none.
inline float maximum(const float* s, std::int64_t n) {
  float result = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : result)
  for (std::int64_t j = 0; j < n; ++j) result = s[j] > result ? s[j] : result;
  return result;
}

/// Replaces n numbers by exp(s - reference) and returns their sum.
inline float exponentials(float* s, std::int64_t n, float reference) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t j = 0; j < n; ++j) {
    s[j] = expf(s[j] - reference);
    sum += s[j];
  }
  return sum;
}

/// Multiplies n numbers by `scale`: dQ and dK, once they are summed. Scaled one by one, numbers
/// whose sum is small may be too large for a float.
inline void multiply(float* x, std::int64_t n, float scale) {
  for (std::int64_t c = 0; c < n; ++c) x[c] *= scale;
}

/// Calls work(head, i0, i1) for every stretch of up to `rows` queries of every head, on all cores.
template <class Work>
void for_each_stretch(const Shape& shape, std::int64_t rows, Work work) {
  const std::int64_t parts = (shape.Nq + rows - 1) / rows;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t n = 0; n < shape.heads() * parts; ++n) {
    const std::int64_t i0 = n % parts * rows;
    work(n / parts, i0, std::min(i0 + rows, shape.Nq));
  }
}

}  // namespace attn::cpu
