// SPDX-License-Identifier: MIT
//
// Step 5 as plain C++. Its two kernels are one loop with the roles exchanged: rows on one side stay
// and add up what tiles of 64 from the other side give them.
//   dQ:      rows of Q and dO stay;  tiles of K and V:   S, dP = K Q^T, V dO^T;  dQ += dS K
//   dK, dV:  rows of K and V stay;   tiles of Q and dO:  S, dP = Q K^T, dO V^T;  dK += dS^T Q,
//                                                                                dV += P^T dO
#include "chapters/12_windows/sinks.hpp"
#include "chapters/12_windows/windows.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::windows {
namespace {

constexpr std::int64_t kRows = 512;
constexpr int kTile = cpu::kKeys;

/// One head.
struct Head {
  const BackwardArgs& args;
  std::int64_t head, Nq, Nk, d;
  Range valid;
  SinkBand band;
  const float *q, *k, *v, *grad_o;  // K, V from the first valid key on
  const float *lse, *delta;

  Head(const BackwardArgs& a, std::int64_t number)
      : args(a),
        head(number),
        Nq(a.shape.Nq),
        Nk(a.shape.Nk),
        d(a.shape.d),
        valid(valid_keys_of(a.extras).of_batch(number / a.shape.H, Nk)),
        band{band_of(a.mask, Nq, valid.size()), a.extras.sink_keys},
        q(a.q + head * Nq * d),
        k(a.k + (head * Nk + valid.begin) * d),
        v(a.v + (head * Nk + valid.begin) * d),
        grad_o(a.grad_o + head * Nq * d),
        lse(a.lse + head * Nq),
        delta(static_cast<const float*>(a.workspace) + head * Nq) {}
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
void add_to_queries(const Head& h, std::int64_t i0, std::int64_t i1) {
  TilePair<kD> tile;
  const Stretches some = h.band.some(i0, i1, kTile);
  for (std::int64_t j0 = some.from(0); j0 < some.end; j0 = some.from(j0 + kTile)) {
    tile.load(h.k + j0 * h.d, h.v + j0 * h.d, h.valid.size() - j0, h.d);
    const TileSinkBand seen = h.band.in_tile(i0, j0, kTile);
    for (std::int64_t i = i0; i < i1; ++i) {
      const int r = static_cast<int>(i - i0);
      if (seen.sees_none(r)) continue;
      float ds[kTile], grad_p[kTile];
      tile.first.scores(h.q + i * h.d, h.d, h.args.scale, ds);
      tile.second.scores(h.grad_o + i * h.d, h.d, 1.0f, grad_p);
      const auto add = [&](int begin, int end) {
        if (begin >= end) return;
        cpu::exponentials(ds + begin, end - begin, h.lse[i]);
        for (int j = begin; j < end; ++j) ds[j] *= grad_p[j] - h.delta[i];
        tile.first.add_weighted(ds, begin, end, 1.0f, h.args.grad_q + (h.head * h.Nq + i) * h.d,
                                h.d);
      };
      add(0, seen.sinks_end(r));
      add(seen.window_begin(r), seen.end_of_row(r));
    }
  }
  cpu::multiply(h.args.grad_q + (h.head * h.Nq + i0) * h.d, (i1 - i0) * h.d, h.args.scale);
}

/// dK and dV of the valid keys [j0, j1), which start as zero.
template <int kD>
void add_to_keys(const Head& h, std::int64_t j0, std::int64_t j1) {
  TilePair<kD> tile;
  const Range some = h.band.rows(j0, j1, h.Nq);
  for (std::int64_t i0 = some.begin / kTile * kTile; !some.empty() && i0 < some.end; i0 += kTile) {
    const TileSinkBand seen = h.band.in_tile(i0, j0, kRows);
    tile.load(h.q + i0 * h.d, h.grad_o + i0 * h.d, h.Nq - i0, h.d);
    const int rows = static_cast<int>(std::min<std::int64_t>(h.Nq - i0, kTile));
    for (std::int64_t j = j0; j < j1; ++j) {
      const int key = static_cast<int>(j - j0);
      const int begin = seen.begin_of_key(key), end = seen.end_of_key(key, rows);
      if (begin >= end) continue;
      float p[kTile], ds[kTile];
      tile.first.scores(h.k + j * h.d, h.d, h.args.scale, p);
      tile.second.scores(h.v + j * h.d, h.d, 1.0f, ds);
      for (int r = begin; r < end; ++r) p[r] -= h.lse[i0 + r];
      cpu::exponentials(p + begin, end - begin, 0.0f);
      for (int r = begin; r < end; ++r) ds[r] = p[r] * (ds[r] - h.delta[i0 + r]);
      const std::int64_t at = (h.head * h.Nk + h.valid.begin + j) * h.d;
      tile.first.add_weighted(ds, begin, end, 1.0f, h.args.grad_k + at, h.d);
      tile.second.add_weighted(p, begin, end, 1.0f, h.args.grad_v + at, h.d);
    }
  }
  const std::int64_t at = (h.head * h.Nk + h.valid.begin + j0) * h.d;
  cpu::multiply(h.args.grad_k + at, (j1 - j0) * h.d, h.args.scale);
}

}  // namespace

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
      add_to_queries<kD>(Head(args, head), i0, i1);
    });
    cpu::for_each_stretch(keys, kRows, [&](std::int64_t head, std::int64_t j0, std::int64_t j1) {
      const Head h(args, head);
      add_to_keys<kD>(h, j0, std::min(j1, h.valid.size()));
    });
  });
}

}  // namespace attn::windows
