// SPDX-License-Identifier: MIT
//
// What the backward passes of the plain C++ twins share, from chapter 06 on, which teaches it: 64
// keys stay with their dK and dV, queries come by, and each is given its part of dQ.
#pragma once

#include "common/cpu_tiles.hpp"

namespace attn::cpu {

/// gDelta_i = dO_i . O_i for all rows of all heads: (B*H*Nq).
inline void row_deltas(const BackwardArgs& args, float* gDelta) {
  const std::int64_t d = args.shape.d;
#pragma omp parallel for
  for (std::int64_t row = 0; row < args.shape.rows(); ++row) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < d; ++c) sum += args.grad_o[row * d + c] * args.o[row * d + c];
    gDelta[row] = sum;
  }
}

/// Rows of one head, one behind the other; grad_q is added to, not yet times the scale.
struct QueryRows {
  const float *q, *grad_o;   // (rows, d)
  const float *lse, *delta;  // (rows)
  float* grad_q;             // (rows, d)
  std::int64_t rows;         // at most kKeys
};

/// A tile of 64 keys in a backward pass.
template <int kD>
class GradientTile {
 public:
  /// Takes `keys` rows of K and V of d floats; those beyond the 64th are ignored.
  void load(const float* k, const float* v, std::int64_t keys, std::int64_t d) {
    k_.load_k(k, keys, d);
    k_.load_v(k, keys, d);
    v_.load_k(v, keys, d);
    std::fill_n(&grad_k_[0][0], kKeys * kD, 0.0f);
    std::fill_n(&grad_v_[0][0], kKeys * kD, 0.0f);
    keys_ = std::min<std::int64_t>(keys, kKeys);
  }

  /// Adds up what rows and keys give each other. Row r sees the first `seen(r)` keys of the tile,
  /// which may be below 0 or beyond the last; a later row sees no fewer.
  template <std::invocable<std::int64_t> Seen>
  void add(const QueryRows& at, float scale, std::int64_t d, Seen seen) {
    for (std::int64_t r = 0; r < at.rows; ++r) {
      const std::int64_t keys = std::clamp<std::int64_t>(seen(r), 0, keys_);
      seen_[r] = keys;
      if (keys == 0) continue;
      float p[kKeys], ds[kKeys];
      k_.scores(at.q + r * d, d, scale, p);
      v_.scores(at.grad_o + r * d, d, 1.0f, ds);  // dP
      exponentials(p, keys, at.lse[r]);
      for (std::int64_t j = 0; j < keys; ++j) {
        ds[j] = p[j] * (ds[j] - at.delta[r]);
        p_[j][r] = p[j];
        ds_[j][r] = ds[j];
      }
      k_.add_weighted(ds, 0, keys, 1.0f, at.grad_q + r * d, d);
    }
    // A key is seen by the last rows, from `begin` on: what lies before is not touched.
    queries_.load_v(at.q, at.rows, d);
    grad_o_.load_v(at.grad_o, at.rows, d);
    std::int64_t begin = 0;
    for (std::int64_t j = 0; j < keys_; ++j) {
      while (begin < at.rows && seen_[begin] <= j) ++begin;
      queries_.add_weighted(ds_[j], begin, at.rows, 1.0f, grad_k_[j], kD);
      grad_o_.add_weighted(p_[j], begin, at.rows, 1.0f, grad_v_[j], kD);
    }
  }

  /// Writes dK and dV of the tile's keys.
  void store(float* grad_k, float* grad_v, float scale, std::int64_t d) const {
    for (std::int64_t j = 0; j < keys_; ++j) {
      std::copy_n(grad_v_[j], d, grad_v + j * d);
      for (std::int64_t c = 0; c < d; ++c) grad_k[j * d + c] = scale * grad_k_[j][c];
    }
  }

 private:
  KeyTile<kD> k_, v_;             // (kKeys, kD): K both ways, V transposed
  KeyTile<kD> queries_, grad_o_;  // (rows, kD)
  float p_[kKeys][kKeys];         // (keys, rows)
  float ds_[kKeys][kKeys];        // (keys, rows)
  float grad_k_[kKeys][kD];       // (kKeys, kD)
  float grad_v_[kKeys][kD];       // (kKeys, kD)
  std::int64_t seen_[kKeys];      // (rows): keys that the row sees
  std::int64_t keys_ = 0;
};

}  // namespace attn::cpu
