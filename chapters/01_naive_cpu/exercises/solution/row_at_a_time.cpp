// SPDX-License-Identifier: MIT
//
// A solution of chapter 01's exercise, bronze and silver: the three steps for one query at a time,
// with a workspace of Nk floats, and one division per output instead of one per score.
//
//   cmake --build build --target ch01_solution && build/ch01_solution
#include <algorithm>
#include <cmath>
#include <limits>

#include "common/attention.hpp"

namespace attn::row_at_a_time {

/// O and LSE of the contract (common/attention.hpp). Host pointers.
void forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* s = static_cast<float*>(args.workspace);  // (Nk), the scores of one row
  std::fill(args.o, args.o + B * H * Nq * d, 0.0f);

  for (std::int64_t row = 0; row < B * H * Nq; ++row) {  // row = head * Nq + i
    const std::int64_t visible = visible_keys(row % Nq, diagonal(args.mask, Nq, Nk), Nk);
    if (visible == 0) {
      args.lse[row] = -std::numeric_limits<float>::infinity();
      continue;
    }
    const std::int64_t head = row / Nq;
    const float* q = args.q + row * d;        // (d)
    const float* k = args.k + head * Nk * d;  // (Nk, d)
    const float* v = args.v + head * Nk * d;  // (Nk, d)
    float* o = args.o + row * d;              // (d)

    float row_max = -std::numeric_limits<float>::infinity();
    for (std::int64_t j = 0; j < visible; ++j) {
      float dot = 0.0f;
      for (std::int64_t c = 0; c < d; ++c) dot += q[c] * k[j * d + c];
      s[j] = args.scale * dot;
      row_max = std::max(row_max, s[j]);
    }
    float row_sum = 0.0f;
    for (std::int64_t j = 0; j < visible; ++j) {
      const float weight = std::exp(s[j] - row_max);
      row_sum += weight;
      for (std::int64_t c = 0; c < d; ++c) o[c] += weight * v[j * d + c];
    }
    for (std::int64_t c = 0; c < d; ++c) o[c] /= row_sum;
    args.lse[row] = row_max + std::log(row_sum);
  }
}

}  // namespace attn::row_at_a_time
