// SPDX-License-Identifier: MIT
//
// Chapter 04's idea as plain C++: each row streams over all keys once and keeps a maximum, a sum
// and d running outputs. No score is stored, and every row reads all of K and V again.
#include <cmath>

#include "chapters/04_online_softmax/online_softmax.hpp"
#include "chapters/04_online_softmax/running_softmax.hpp"

namespace attn::online_softmax {

void forward_cpu(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
#pragma omp parallel for schedule(dynamic, 16)
  for (std::int64_t row = 0; row < B * H * Nq; ++row) {
    const std::int64_t head = row / Nq;
    const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk);
    const float* q = args.q + row * d;  // (d)
    float* o = args.o + row * d;        // (d)
    for (std::int64_t c = 0; c < d; ++c) o[c] = 0.0f;

    RunningSoftmax softmax;
    for (std::int64_t j = 0; j < visible; ++j) {
      const float* k = args.k + (head * Nk + j) * d;  // (d)
      const float* v = args.v + (head * Nk + j) * d;  // (d)
      float dot = 0.0f;
#pragma omp simd reduction(+ : dot)
      for (std::int64_t c = 0; c < d; ++c) dot += q[c] * k[c];
      const float s = args.scale * dot;
      const float new_max = std::fmax(softmax.row_max, s);
      const float rescale = std::exp(softmax.row_max - reference_point(new_max));
      const float p = std::exp(s - reference_point(new_max));
      softmax = {new_max, softmax.row_sum * rescale + p};
      for (std::int64_t c = 0; c < d; ++c) o[c] = o[c] * rescale + p * v[c];
    }
    if (visible > 0) {
      for (std::int64_t c = 0; c < d; ++c) o[c] /= softmax.row_sum;
    }
    args.lse[row] = visible > 0 ? log_sum_exp(softmax) : -INFINITY;
  }
}

}  // namespace attn::online_softmax
