// SPDX-License-Identifier: MIT
//
// FlashAttention-1 as plain C++: tiles of K and V outside, tiles of Q inside; row_max, row_sum and O
// live in memory between the visits, S is one row of a tile on the stack. One liberty: O stays
// undivided until the end.
#include <algorithm>
#include <cmath>
#include <limits>

#include "chapters/05_fused_forward/fused_forward.hpp"

namespace attn::fused_forward {
namespace {

constexpr std::int64_t kKeys = 64;
constexpr std::int64_t kQueries = 64;

/// Brings rows [i0, i1) of one head up to date with `keys` keys; kt is K's tile transposed.
void visit(const ForwardArgs& args, const float (*kt)[kKeys], std::int64_t head, std::int64_t i0,
           std::int64_t i1, std::int64_t j0) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* maxima = static_cast<float*>(args.workspace);  // (B*H*Nq)
  float* sums = maxima + B * H * Nq;                    // (B*H*Nq)
  for (std::int64_t row = head * Nq + i0; row < head * Nq + i1; ++row) {
    const std::int64_t visible = visible_keys(row % Nq, diagonal, Nk) - j0;
    const std::int64_t keys = std::clamp<std::int64_t>(visible, 0, kKeys);
    float s[kKeys] = {};
    for (std::int64_t c = 0; c < d; ++c) {
      const float q = args.q[row * d + c];
      for (std::int64_t j = 0; j < kKeys; ++j) s[j] += q * kt[c][j];
    }
    float new_max = maxima[row];
    for (std::int64_t j = 0; j < keys; ++j) new_max = std::fmax(new_max, s[j] *= args.scale);
    const float reference = new_max == -std::numeric_limits<float>::infinity() ? 0.0f : new_max;
    const float rescale = std::exp(maxima[row] - reference);
    float row_sum = sums[row] * rescale;
    for (std::int64_t j = 0; j < keys; ++j) row_sum += s[j] = std::exp(s[j] - reference);
    float* o = args.o + row * d;  // (d), not yet divided by the sum
    for (std::int64_t c = 0; c < d; ++c) o[c] *= rescale;
    for (std::int64_t j = 0; j < keys; ++j) {
      const float* v = args.v + (head * Nk + j0 + j) * d;  // (d)
      for (std::int64_t c = 0; c < d; ++c) o[c] += s[j] * v[c];
    }
    maxima[row] = new_max;
    sums[row] = row_sum;
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  float* maxima = static_cast<float*>(args.workspace);
  float* sums = maxima + B * H * Nq;
  std::fill(maxima, sums, -std::numeric_limits<float>::infinity());
  std::fill(sums, sums + B * H * Nq, 0.0f);
  std::fill(args.o, args.o + B * H * Nq * d, 0.0f);
  for (std::int64_t head = 0; head < B * H; ++head) {
    for (std::int64_t j0 = 0; j0 < Nk; j0 += kKeys) {
      float kt[128][kKeys] = {};  // this tile of K, transposed; zero beyond the last key
      for (std::int64_t j = 0; j < std::min(kKeys, Nk - j0); ++j) {
        for (std::int64_t c = 0; c < d; ++c) kt[c][j] = args.k[(head * Nk + j0 + j) * d + c];
      }
#pragma omp parallel for
      for (std::int64_t i0 = 0; i0 < Nq; i0 += kQueries) {
        visit(args, kt, head, i0, std::min(i0 + kQueries, Nq), j0);
      }
    }
  }
  for (std::int64_t row = 0; row < B * H * Nq; ++row) {
    const bool empty = visible_keys(row % Nq, attn::diagonal(args.mask, Nq, Nk), Nk) == 0;
    for (std::int64_t c = 0; c < d && !empty; ++c) args.o[row * d + c] /= sums[row];
    args.lse[row] = sums[row] == 0.0f ? maxima[row] : maxima[row] + std::log(sums[row]);
  }
}

}  // namespace attn::fused_forward
