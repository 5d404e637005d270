// SPDX-License-Identifier: MIT
//
// Step 1 as plain C++: walks over the whole of a matrix that lies in memory between them, P first
// and then dS. The products go in tiles of 64, and what has been brought into the cache serves 128
// rows (common/cpu_tiles.hpp).
#include "chapters/06_recompute_backward/recompute_backward.hpp"
#include "common/columns.hpp"
#include "common/cpu_gradients.hpp"

namespace attn::recompute_backward {
namespace {

constexpr std::int64_t kRows = 128;
constexpr int kTile = cpu::kKeys;

/// One head.
struct Head {
  const BackwardArgs& args;
  std::int64_t Nq, Nk, d, diagonal;
  const float *q, *grad_o, *lse;  // (Nq, d), (Nq, d), (Nq)
  const float *k, *v;             // (Nk, d)
  float *matrix, *delta;          // (Nq, Nk), (Nq)
  float *grad_q, *grad_k, *grad_v;

  Head(const BackwardArgs& a, std::int64_t n)
      : args(a),
        Nq(a.shape.Nq),
        Nk(a.shape.Nk),
        d(a.shape.d),
        diagonal(attn::diagonal(a.mask, Nq, Nk)),
        q(a.q + n * Nq * d),
        grad_o(a.grad_o + n * Nq * d),
        lse(a.lse + n * Nq),
        k(a.k + n * Nk * d),
        v(a.v + n * Nk * d),
        matrix(static_cast<float*>(a.workspace) + n * Nq * Nk),
        delta(static_cast<float*>(a.workspace) + a.shape.rows() * Nk + n * Nq),
        grad_q(a.grad_q + n * Nq * d),
        grad_k(a.grad_k + n * Nk * d),
        grad_v(a.grad_v + n * Nk * d) {}

  /// Of the keys j0 .. j0 + 63, those that row i sees.
  std::int64_t keys(std::int64_t i, std::int64_t j0) const {
    return std::clamp<std::int64_t>(visible_keys(i, diagonal, Nk) - j0, 0, kTile);
  }
};

/// P = exp(scale * Q K^T - LSE), rows [i0, i1).
template <int kD>
void probabilities(const Head& h, std::int64_t i0, std::int64_t i1) {
  cpu::KeyTile<kD> tile;
  for (std::int64_t j0 = 0; j0 < h.Nk; j0 += kTile) {
    tile.load_k(h.k + j0 * h.d, h.Nk - j0, h.d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const std::int64_t keys = h.keys(i, j0);
      float p[kTile];
      tile.scores(h.q + i * h.d, h.d, h.args.scale, p);
      cpu::exponentials(p, keys, h.lse[i]);
      std::copy_n(p, keys, h.matrix + i * h.Nk + j0);
    }
  }
}

/// dS = P * (dO V^T - delta), rows [i0, i1), in the place of P.
template <int kD>
void score_gradients(const Head& h, std::int64_t i0, std::int64_t i1) {
  cpu::KeyTile<kD> tile;
  for (std::int64_t j0 = 0; j0 < h.Nk; j0 += kTile) {
    tile.load_k(h.v + j0 * h.d, h.Nk - j0, h.d);
    for (std::int64_t i = i0; i < i1; ++i) {
      float grad_p[kTile];
      tile.scores(h.grad_o + i * h.d, h.d, 1.0f, grad_p);
      float* ds = h.matrix + i * h.Nk + j0;
      for (std::int64_t j = 0; j < h.keys(i, j0); ++j) ds[j] *= grad_p[j] - h.delta[i];
    }
  }
}

/// dQ = scale * dS K, rows [i0, i1).
template <int kD>
void query_gradients(const Head& h, std::int64_t i0, std::int64_t i1) {
  std::fill(h.grad_q + i0 * h.d, h.grad_q + i1 * h.d, 0.0f);
  cpu::KeyTile<kD> tile;
  for (std::int64_t j0 = 0; j0 < h.Nk; j0 += kTile) {
    tile.load_v(h.k + j0 * h.d, h.Nk - j0, h.d);
    for (std::int64_t i = i0; i < i1; ++i) {
      tile.add_weighted(h.matrix + i * h.Nk + j0, 0, h.keys(i, j0), 1.0f, h.grad_q + i * h.d, h.d);
    }
  }
  cpu::multiply(h.grad_q + i0 * h.d, (i1 - i0) * h.d, h.args.scale);
}

/// The transposed matrix times rows of A (Nq, d), for the keys [j0, j1): dV of P and dO, and of dS
/// and Q what dK is but for the scale.
template <int kD>
void key_products(const Head& h, const float* a, float* result, std::int64_t j0, std::int64_t j1) {
  std::fill(result + j0 * h.d, result + j1 * h.d, 0.0f);
  cpu::KeyTile<kD> tile;
  float columns[kRows][kTile];  // (keys, rows), of the matrix
  for (std::int64_t i0 = 0; i0 < h.Nq; i0 += kTile) {
    const std::int64_t rows = std::min<std::int64_t>(h.Nq - i0, kTile);
    tile.load_v(a + i0 * h.d, rows, h.d);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t end = std::min(j1, visible_keys(i0 + r, h.diagonal, h.Nk));
      for (std::int64_t j = j0; j < end; ++j) columns[j - j0][r] = h.matrix[(i0 + r) * h.Nk + j];
    }
    for (std::int64_t j = j0; j < j1; ++j) {
      const std::int64_t begin =
          std::clamp<std::int64_t>(first_query(j, h.diagonal, h.Nq) - i0, 0, rows);
      tile.add_weighted(columns[j - j0], begin, rows, 1.0f, result + j * h.d, h.d);
    }
  }
}

}  // namespace

void backward_textbook_cpu(const BackwardArgs& args) {
  const Shape& shape = args.shape;
  Shape keys = shape;  // stretches of keys
  keys.Nq = shape.Nk;
  cpu::row_deltas(args, static_cast<float*>(args.workspace) + shape.rows() * shape.Nk);
  with_columns(shape.d, [&]<int kD>() {
    cpu::for_each_stretch(shape, kRows, [&](std::int64_t n, std::int64_t i0, std::int64_t i1) {
      probabilities<kD>(Head(args, n), i0, i1);
    });
    cpu::for_each_stretch(keys, kRows, [&](std::int64_t n, std::int64_t j0, std::int64_t j1) {
      const Head h(args, n);
      key_products<kD>(h, h.grad_o, h.grad_v, j0, j1);
    });
    cpu::for_each_stretch(shape, kRows, [&](std::int64_t n, std::int64_t i0, std::int64_t i1) {
      score_gradients<kD>(Head(args, n), i0, i1);
    });
    cpu::for_each_stretch(shape, kRows, [&](std::int64_t n, std::int64_t i0, std::int64_t i1) {
      query_gradients<kD>(Head(args, n), i0, i1);
    });
    cpu::for_each_stretch(keys, kRows, [&](std::int64_t n, std::int64_t j0, std::int64_t j1) {
      const Head h(args, n);
      key_products<kD>(h, h.q, h.grad_k, j0, j1);
      cpu::multiply(h.grad_k + j0 * h.d, (j1 - j0) * h.d, args.scale);
    });
  });
}

}  // namespace attn::recompute_backward
