// SPDX-License-Identifier: MIT
//
// Step 4 as plain C++. Its two kernels are one loop with the roles exchanged: rows on one side stay
// and add up what tiles of 64 from the other side give them.
//   dQ:      rows of Q and dO stay;  tiles of K and V:   S, dP = K Q^T, V dO^T;  dQ += dS K
//   dK, dV:  rows of K and V stay;   tiles of Q and dO:  S, dP = Q K^T, dO V^T;  dK += dS^T Q,
//                                                                                dV += P^T dO
#include "chapters/13_packed/cpu.hpp"
#include "chapters/13_packed/packed.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::packed {
namespace {

constexpr std::int64_t kRows = 512;
constexpr int kTile = cpu::kKeys;

/// One head, and where its arrays begin.
struct BackwardHead : Head {
  const BackwardArgs& args;
  std::int64_t d;
  const float *q, *k, *v, *grad_o, *lse, *delta;

  BackwardHead(const BackwardArgs& a, std::int64_t number)
      : Head(a, number),
        args(a),
        d(a.shape.d),
        q(a.q + q_row * d),
        k(a.k + k_row * d),
        v(a.v + k_row * d),
        grad_o(a.grad_o + q_row * d),
        lse(a.lse + q_row),
        delta(static_cast<const float*>(a.workspace) + q_row) {}
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

/// dQ of the queries [i0, i1), which starts as zero.
template <int kD>
void add_to_queries(const BackwardHead& h, std::int64_t i0, std::int64_t i1) {
  TilePair<kD> tile;
  const std::vector<RowKeys> seen = h.rows(i0, i1);
  const Range some = hull(seen);
  for (std::int64_t j0 = some.begin / kTile * kTile; j0 < some.end; j0 += kTile) {
    if (!some_meets(seen, {j0, j0 + kTile})) continue;
    tile.load(h.k + j0 * h.d, h.v + j0 * h.d, h.Nk - j0, h.d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const RowKeys& row = seen[static_cast<std::size_t>(i - i0)];
      if (!row.meets({j0, j0 + kTile})) continue;
      float ds[kTile], grad_p[kTile];
      tile.first.scores(h.q + i * h.d, h.d, h.args.scale, ds);
      tile.second.scores(h.grad_o + i * h.d, h.d, 1.0f, grad_p);
      for (const Range& range : {row.first, row.second}) {
        const TileKeys keys = in_tile(range, j0, kTile);
        if (keys.empty()) continue;
        cpu::exponentials(ds + keys.begin, keys.end - keys.begin, h.lse[i]);
        for (int j = keys.begin; j < keys.end; ++j) ds[j] *= grad_p[j] - h.delta[i];
        tile.first.add_weighted(ds, keys.begin, keys.end, 1.0f, h.args.grad_q + (h.q_row + i) * h.d,
                                h.d);
      }
    }
  }
  cpu::multiply(h.args.grad_q + (h.q_row + i0) * h.d, (i1 - i0) * h.d, h.args.scale);
}

/// Calls work(begin, end) for every run of rows that see key j.
template <class Work>
void for_each_run(const std::vector<RowKeys>& seen, std::int64_t j, Work work) {
  const int rows = static_cast<int>(seen.size());
  for (int begin = 0; begin < rows; ++begin) {
    int end = begin;
    while (end < rows && seen[static_cast<std::size_t>(end)].has(j)) ++end;
    if (begin < end) work(begin, end);
    begin = end;
  }
}

/// dK and dV of the keys [j0, j1), which start as zero.
template <int kD>
void add_to_keys(const BackwardHead& h, std::int64_t j0, std::int64_t j1) {
  TilePair<kD> tile;
  const Range some = h.band.rows(j0, j1, h.Nq);
  for (std::int64_t i0 = some.begin / kTile * kTile; i0 < some.end; i0 += kTile) {
    const std::vector<RowKeys> seen = h.rows(i0, std::min(i0 + kTile, h.Nq));
    if (!some_meets(seen, {j0, j1})) continue;
    tile.load(h.q + i0 * h.d, h.grad_o + i0 * h.d, h.Nq - i0, h.d);
    for (std::int64_t j = j0; j < j1; ++j) {
      float p[kTile], ds[kTile];
      bool has_scores = false;
      for_each_run(seen, j, [&](int begin, int end) {
        if (!has_scores) {
          tile.first.scores(h.k + j * h.d, h.d, h.args.scale, p);
          tile.second.scores(h.v + j * h.d, h.d, 1.0f, ds);
          has_scores = true;
        }
        for (int r = begin; r < end; ++r) p[r] -= h.lse[i0 + r];
        cpu::exponentials(p + begin, end - begin, 0.0f);
        for (int r = begin; r < end; ++r) ds[r] = p[r] * (ds[r] - h.delta[i0 + r]);
        const std::int64_t at = (h.k_row + j) * h.d;
        tile.first.add_weighted(ds, begin, end, 1.0f, h.args.grad_k + at, h.d);
        tile.second.add_weighted(p, begin, end, 1.0f, h.args.grad_v + at, h.d);
      });
    }
  }
  cpu::multiply(h.args.grad_k + (h.k_row + j0) * h.d, (j1 - j0) * h.d, h.args.scale);
}

}  // namespace

void backward_cpu(const BackwardArgs& args) {
  const Shape& shape = args.shape;
  const Sizes sizes = sizes_of(shape, args.extras);
  float* delta = static_cast<float*>(args.workspace);
#pragma omp parallel for
  for (std::int64_t row = 0; row < sizes.rows; ++row) {
    delta[row] = 0.0f;
    for (std::int64_t c = 0; c < shape.d; ++c) {
      delta[row] += args.grad_o[row * shape.d + c] * args.o[row * shape.d + c];
    }
  }
  std::fill_n(args.grad_q, sizes.q, 0.0f);
  std::fill_n(args.grad_k, sizes.k, 0.0f);
  std::fill_n(args.grad_v, sizes.v, 0.0f);
  Shape keys = shape;  // stretches of keys
  keys.Nq = shape.Nk;
  with_columns(shape.d, [&]<int kD>() {
    cpu::for_each_stretch(shape, kRows, [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
      const BackwardHead h(args, head);
      if (i0 < h.Nq) add_to_queries<kD>(h, i0, std::min(i1, h.Nq));
    });
    cpu::for_each_stretch(keys, kRows, [&](std::int64_t head, std::int64_t j0, std::int64_t j1) {
      const BackwardHead h(args, head);
      if (j0 < h.Nk) add_to_keys<kD>(h, j0, std::min(j1, h.Nk));
    });
  });
}

}  // namespace attn::packed
