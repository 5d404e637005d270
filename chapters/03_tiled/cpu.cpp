// SPDX-License-Identifier: MIT
//
// Chapter 03's idea as plain C++: still three phases with S between them, but the products walk in
// tiles of keys, so that what has been brought into the first-level cache is used for a whole tile
// of queries. The innermost loops run along the tile, where a compiler can use vector instructions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "chapters/03_tiled/tiled.hpp"

namespace attn::tiled {
namespace {

constexpr std::int64_t kKeys = 64;  // (kKeys, 128) floats of K are 32 KiB: one first-level cache

/// S, P and O of rows [i0, i1) of one head.
void rows(const ForwardArgs& args, std::int64_t head, std::int64_t i0, std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const float* k = args.k + head * Nk * d;                          // (Nk, d)
  const float* v = args.v + head * Nk * d;                          // (Nk, d)
  float* s = static_cast<float*>(args.workspace) + head * Nq * Nk;  // (Nq, Nk)
  float* o = args.o + head * Nq * d;                                // (Nq, d)
  std::fill(o + i0 * d, o + i1 * d, 0.0f);

  for (std::int64_t j0 = 0; j0 < Nk; j0 += kKeys) {
    const std::int64_t keys = std::min(kKeys, Nk - j0);
    float kt[128][kKeys] = {};  // this tile of K, transposed
    for (std::int64_t j = 0; j < keys; ++j) {
      for (std::int64_t c = 0; c < d; ++c) kt[c][j] = k[(j0 + j) * d + c];
    }
    for (std::int64_t i = i0; i < i1; ++i) {
      float dot[kKeys] = {};
      for (std::int64_t c = 0; c < d; ++c) {
        const float q = args.q[(head * Nq + i) * d + c];
        for (std::int64_t j = 0; j < kKeys; ++j) dot[j] += q * kt[c][j];
      }
      for (std::int64_t j = 0; j < keys; ++j) s[i * Nk + j0 + j] = args.scale * dot[j];
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal, Nk);
    float* p = s + i * Nk;  // (visible)
    float row_max = -std::numeric_limits<float>::infinity();
    for (std::int64_t j = 0; j < visible; ++j) row_max = std::max(row_max, p[j]);
    float row_sum = 0.0f;
    for (std::int64_t j = 0; j < visible; ++j) row_sum += p[j] = std::exp(p[j] - row_max);
    for (std::int64_t j = 0; j < visible; ++j) p[j] /= row_sum;
    args.lse[head * Nq + i] = visible > 0 ? row_max + std::log(row_sum) : row_max;
  }
  for (std::int64_t j0 = 0; j0 < Nk; j0 += kKeys) {
    for (std::int64_t i = i0; i < i1; ++i) {
      const std::int64_t end = std::min(j0 + kKeys, visible_keys(i, diagonal, Nk));
      for (std::int64_t j = j0; j < end; ++j) {
        for (std::int64_t c = 0; c < d; ++c) o[i * d + c] += s[i * Nk + j] * v[j * d + c];
      }
    }
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  constexpr std::int64_t kQueries = 64;
  const std::int64_t tiles = (args.shape.Nq + kQueries - 1) / kQueries;
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t n = 0; n < args.shape.heads() * tiles; ++n) {
    const std::int64_t i0 = n % tiles * kQueries;
    rows(args, n / tiles, i0, std::min(i0 + kQueries, args.shape.Nq));
  }
}

}  // namespace attn::tiled
