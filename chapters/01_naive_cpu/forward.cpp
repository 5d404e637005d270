// SPDX-License-Identifier: MIT
//
// Attention as the formula reads, one head at a time:
//   1. S = scale * Q K^T        every query against every key it sees
//   2. P = softmax(S)           row by row, in place of S
//   3. O = P V                  a weighted sum of the rows of V
#include <algorithm>
#include <cmath>
#include <limits>

#include "chapters/01_naive_cpu/naive_cpu.hpp"

namespace attn::naive_cpu {
namespace {

/// S[i][j] = scale * (row i of Q) . (row j of K), for the keys that row i sees.
void scores(const float* q, const float* k, float* s, const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  for (std::int64_t i = 0; i < Nq; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
    for (std::int64_t j = 0; j < visible; ++j) {
      float dot = 0.0f;
      for (std::int64_t c = 0; c < d; ++c) dot += q[i * d + c] * k[j * d + c];
      s[i * Nk + j] = args.scale * dot;
    }
  }
}

/// Each row of S becomes the row of P: exp(s - max) / sum. Subtracting the maximum changes nothing
/// in exact arithmetic and keeps exp from overflowing. LSE = max + log(sum).
void softmax(float* s, float* lse, const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  for (std::int64_t i = 0; i < Nq; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
    float* row = s + i * Nk;  // (visible)
    if (visible == 0) {
      lse[i] = -std::numeric_limits<float>::infinity();
      continue;
    }
    float row_max = row[0];
    for (std::int64_t j = 1; j < visible; ++j) row_max = std::max(row_max, row[j]);
    float row_sum = 0.0f;
    for (std::int64_t j = 0; j < visible; ++j) {
      row[j] = std::exp(row[j] - row_max);
      row_sum += row[j];
    }
    for (std::int64_t j = 0; j < visible; ++j) row[j] /= row_sum;
    lse[i] = row_max + std::log(row_sum);
  }
}

/// O[i] = sum over the visible keys j of P[i][j] * V[j]. A row that sees no key stays zero.
void outputs(const float* p, const float* v, float* o, const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  std::fill(o, o + Nq * d, 0.0f);
  for (std::int64_t i = 0; i < Nq; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal(args.mask, Nq, Nk), Nk);
    for (std::int64_t j = 0; j < visible; ++j) {
      for (std::int64_t c = 0; c < d; ++c) o[i * d + c] += p[i * Nk + j] * v[j * d + c];
    }
  }
}

}  // namespace

std::size_t forward_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.Nq * shape.Nk) * sizeof(float);
}

void forward(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* s = static_cast<float*>(args.workspace);  // (Nq, Nk), one head; becomes P
  for (std::int64_t head = 0; head < B * H; ++head) {
    scores(args.q + head * Nq * d, args.k + head * Nk * d, s, args);
    softmax(s, args.lse + head * Nq, args);
    outputs(s, args.v + head * Nk * d, args.o + head * Nq * d, args);
  }
}

}  // namespace attn::naive_cpu
