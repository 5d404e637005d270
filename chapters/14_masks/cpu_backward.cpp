// SPDX-License-Identifier: MIT
//
// Step 4 as plain C++. Its two kernels are one loop with the roles exchanged: rows on one side stay
// and add up what tiles of 64 from the other side give them.
//   dQ:      rows of Q and dO stay;  tiles of K and V:   S, dP = K Q^T, V dO^T;  dQ += dS K
//   dK, dV:  rows of K and V stay;   tiles of Q and dO:  S, dP = Q K^T, dO V^T;  dK += dS^T Q,
//                                                                                dV += P^T dO
#include "chapters/14_masks/cpu.hpp"
#include "chapters/14_masks/masks.hpp"
#include "common/columns.hpp"

namespace attn::masks {
namespace {

constexpr std::int64_t kRows = 512;
constexpr int kTile = cpu::kKeys;

/// One head, and where its arrays begin.
struct BackwardHead : Head {
  std::int64_t d;
  float scale;
  const float *q, *k, *v, *grad_o, *lse, *delta;
  float *grad_q, *grad_k, *grad_v;

  BackwardHead(const BackwardArgs& args, std::int64_t head)
      : Head(args, head), d(args.shape.d), scale(args.scale) {
    const std::int64_t queries = head * Nq, keys = head * Nk;
    q = args.q + queries * d;
    k = args.k + keys * d;
    v = args.v + keys * d;
    grad_o = args.grad_o + queries * d;
    lse = args.lse + queries;
    delta = static_cast<const float*>(args.workspace) + queries;
    grad_q = args.grad_q + queries * d;
    grad_k = args.grad_k + keys * d;
    grad_v = args.grad_v + keys * d;
  }
};

/// 64 rows of two matrices, for products with a row of each.
template <int kD>
struct TilePair {
  cpu::KeyTile<kD> first, second;

  void load(const float* a, const float* b, std::int64_t rows, std::int64_t d) {
    first.load_k(a, rows, d);
    first.load_v(a, rows, d);
    second.load_k(b, rows, d);
    second.load_v(b, rows, d);
  }
};

/// Asks for what each of n0 .. n1 - 1, rows or keys, has of a tile. False if none has anything.
template <class Ask>
bool some_see(Seen (&seen)[kRows], std::int64_t n0, std::int64_t n1, Ask ask) {
  bool some = false;
  for (std::int64_t n = n0; n < n1; ++n) {
    seen[n - n0] = ask(n);
    some = some || !seen[n - n0].none();
  }
  return some;
}

/// dQ of the queries [i0, i1), which starts as zero.
template <int kD>
void add_to_queries(const BackwardHead& h, std::int64_t i0, std::int64_t i1) {
  TilePair<kD> tile;
  Seen seen[kRows];
  const Range some = h.pairs.band.some(i0, i1);
  for (std::int64_t j0 = some.begin / kTile * kTile; j0 < some.end; j0 += kTile) {
    if (!some_see(seen, i0, i1, [&](std::int64_t i) { return h.keys(i, j0); })) continue;
    tile.load(h.k + j0 * h.d, h.v + j0 * h.d, h.Nk - j0, h.d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const Seen& keys = seen[i - i0];
      if (keys.none()) continue;
      float ds[kTile], grad_p[kTile];
      tile.first.scores(h.q + i * h.d, h.d, h.scale, ds);
      tile.second.scores(h.grad_o + i * h.d, h.d, 1.0f, grad_p);
      cpu::exponentials(ds + keys.begin(), keys.end() - keys.begin(), h.lse[i]);
      for (int j = keys.begin(); j < keys.end(); ++j) ds[j] *= grad_p[j] - h.delta[i];
      add_weighted(tile.first, ds, keys, 1.0f, h.grad_q + i * h.d, h.d);
    }
  }
  cpu::multiply(h.grad_q + i0 * h.d, (i1 - i0) * h.d, h.scale);
}

/// dK and dV of the keys [j0, j1), which start as zero.
template <int kD>
void add_to_keys(const BackwardHead& h, std::int64_t j0, std::int64_t j1) {
  TilePair<kD> tile;
  Seen seen[kRows];
  const Range some = h.pairs.band.rows(j0, j1, h.Nq);
  for (std::int64_t i0 = some.begin / kTile * kTile; i0 < some.end; i0 += kTile) {
    if (!some_see(seen, j0, j1, [&](std::int64_t j) { return h.rows(j, i0); })) continue;
    tile.load(h.q + i0 * h.d, h.grad_o + i0 * h.d, h.Nq - i0, h.d);
    for (std::int64_t j = j0; j < j1; ++j) {
      const Seen& rows = seen[j - j0];
      if (rows.none()) continue;
      float p[kTile], ds[kTile];
      tile.first.scores(h.k + j * h.d, h.d, h.scale, p);
      tile.second.scores(h.v + j * h.d, h.d, 1.0f, ds);
      const int end = rows.end();
      for (int r = rows.begin(); r < end; ++r) p[r] -= h.lse[i0 + r];
      cpu::exponentials(p + rows.begin(), end - rows.begin(), 0.0f);
      for (int r = rows.begin(); r < end; ++r) ds[r] = p[r] * (ds[r] - h.delta[i0 + r]);
      add_weighted(tile.first, ds, rows, 1.0f, h.grad_k + j * h.d, h.d);
      add_weighted(tile.second, p, rows, 1.0f, h.grad_v + j * h.d, h.d);
    }
  }
  cpu::multiply(h.grad_k + j0 * h.d, (j1 - j0) * h.d, h.scale);
}

}  // namespace

std::size_t backward_cpu_workspace_bytes(const Shape& shape) {
  return static_cast<std::size_t>(shape.rows()) * sizeof(float);
}

void backward_cpu(const BackwardArgs& args) {
  const Shape& shape = args.shape;
  float* delta = static_cast<float*>(args.workspace);
#pragma omp parallel for
  for (std::int64_t row = 0; row < shape.rows(); ++row) {
    delta[row] = 0.0f;
    for (std::int64_t c = 0; c < shape.d; ++c) {
      delta[row] += args.grad_o[row * shape.d + c] * args.o[row * shape.d + c];
    }
  }
  std::fill_n(args.grad_q, shape.q_elements(), 0.0f);
  std::fill_n(args.grad_k, shape.kv_elements(), 0.0f);
  std::fill_n(args.grad_v, shape.kv_elements(), 0.0f);
  Shape keys = shape;  // stretches of keys
  keys.Nq = shape.Nk;
  with_columns(shape.d, [&]<int kD>() {
    cpu::for_each_stretch(shape, kRows, [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
      add_to_queries<kD>(BackwardHead(args, head), i0, i1);
    });
    cpu::for_each_stretch(keys, kRows, [&](std::int64_t head, std::int64_t j0, std::int64_t j1) {
      add_to_keys<kD>(BackwardHead(args, head), j0, j1);
    });
  });
}

}  // namespace attn::masks
