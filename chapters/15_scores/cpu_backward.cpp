// SPDX-License-Identifier: MIT
//
// Step 5 as plain C++. Its kernels for dQ and for dK, dV are one loop with the roles exchanged:
// rows on one side stay and add up what tiles of 64 from the other side give them.
//   dQ:      rows of Q and dO stay;  tiles of K and V:   S, dP = K Q^T, V dO^T;  dQ += dS K
//   dK, dV:  rows of K and V stay;   tiles of Q and dO:  S, dP = Q K^T, dO V^T;  dK += dS^T Q,
//                                                                                dV += P^T dO
// The gradient of the bias is a third pass, like that for dQ, over all pairs that share a number.
#include "chapters/15_scores/cpu.hpp"
#include "chapters/15_scores/scores.hpp"
#include "common/columns.hpp"

namespace attn::scores {
namespace {

constexpr std::int64_t kRows = 512;
constexpr int kTile = cpu::kKeys;

/// One head, and where its arrays begin.
struct BackwardHead : Head {
  const BackwardArgs& args;
  const float *q, *k, *v, *grad_o, *lse, *delta;

  BackwardHead(const BackwardArgs& a, std::int64_t number)
      : Head(a, number),
        args(a),
        q(a.q + head * Nq * d),
        k(a.k + head * Nk * d),
        v(a.v + head * Nk * d),
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

/// 64 neighbours of a row of S or of a column.
struct Pairs {
  float weight[kTile];      // comes as scale * q . k, becomes what V was multiplied by
  float grad_score[kTile];  // comes as dO . v, becomes the gradient by scale * q . k
  float grad_logit[kTile];  // the gradient by what the exponential is taken of; not if plain
};

/// Turns the pairs begin .. end - 1, of which number n is row row(n) and key key(n), into gradients
/// and calls work(from, to) for each run of them that the bias does not hide.
template <bool kPlain, class RowOf, class KeyOf, class Work>
void differentiate(const BackwardHead& h, Pairs& pairs, int begin, int end, RowOf row, KeyOf key,
                   Work work) {
  float slope[kTile];
  std::uint64_t seen = 0;
  if constexpr (!kPlain) {
    for (int n = begin; n < end; ++n) {
      const Logit logit = h.logit(row(n), key(n), pairs.weight[n]);
      pairs.weight[n] = logit.value;
      slope[n] = logit.slope;
      seen |= std::uint64_t{logit.seen} << n;
    }
  }
  const auto run = [&](int from, int to) {
    for (int n = from; n < to; ++n) pairs.weight[n] -= h.lse[row(n)];
    cpu::exponentials(pairs.weight + from, to - from, 0.0f);
    for (int n = from; n < to; ++n) {
      const float p = pairs.weight[n];
      if constexpr (kPlain) {
        pairs.grad_score[n] = p * (pairs.grad_score[n] - h.delta[row(n)]);
      } else {
        const float factor = h.factor(row(n), key(n));
        pairs.weight[n] = factor * p;
        pairs.grad_logit[n] = p * (factor * pairs.grad_score[n] - h.delta[row(n)]);
        pairs.grad_score[n] = slope[n] * pairs.grad_logit[n];
      }
    }
    work(from, to);
  };
  if constexpr (kPlain) {
    run(begin, end);
  } else {
    for_each_run(seen, run);
  }
}

/// Calls work(i, j0, from, to, pairs, tile) for every run of pairs of the queries [i0, i1).
template <int kD, bool kPlain, class Work>
void for_each_query(const BackwardHead& h, std::int64_t i0, std::int64_t i1, Work work) {
  TilePair<kD> tile;
  Pairs pairs;
  const Range some = h.band.some(i0, i1);
  for (std::int64_t j0 = some.begin / kTile * kTile; j0 < some.end; j0 += kTile) {
    tile.load(h.k + j0 * h.d, h.v + j0 * h.d, h.Nk - j0, h.d);
    const device::TileBand seen = h.band.in_tile(i0, j0, kTile);
    for (std::int64_t i = i0; i < i1; ++i) {
      const int r = static_cast<int>(i - i0);
      if (seen.sees_none(r)) continue;
      tile.first.scores(h.q + i * h.d, h.d, h.args.scale, pairs.weight);
      tile.second.scores(h.grad_o + i * h.d, h.d, 1.0f, pairs.grad_score);
      differentiate<kPlain>(
          h, pairs, seen.begin_of_row(r), seen.end_of_row(r), [i](int) { return i; },
          [j0](int n) { return j0 + n; },
          [&](int from, int to) { work(i, j0, from, to, pairs, tile); });
    }
  }
}

/// dQ of the queries [i0, i1), which starts as zero.
template <int kD, bool kPlain>
void add_to_queries(const BackwardHead& h, std::int64_t i0, std::int64_t i1) {
  for_each_query<kD, kPlain>(h, i0, i1,
                             [&h](std::int64_t i, std::int64_t, int from, int to,
                                  const Pairs& pairs, const TilePair<kD>& tile) {
                               tile.first.add_weighted(pairs.grad_score, from, to, 1.0f,
                                                       h.args.grad_q + (h.head * h.Nq + i) * h.d,
                                                       h.d);
                             });
  cpu::multiply(h.args.grad_q + (h.head * h.Nq + i0) * h.d, (i1 - i0) * h.d, h.args.scale);
}

/// dK and dV of the keys [j0, j1), which start as zero.
template <int kD, bool kPlain>
void add_to_keys(const BackwardHead& h, std::int64_t j0, std::int64_t j1) {
  TilePair<kD> tile;
  Pairs pairs;
  const Range some = h.band.rows(j0, j1, h.Nq);
  for (std::int64_t i0 = some.begin / kTile * kTile; i0 < some.end; i0 += kTile) {
    tile.load(h.q + i0 * h.d, h.grad_o + i0 * h.d, h.Nq - i0, h.d);
    for (std::int64_t j = j0; j < j1; ++j) {
      const Range rows = h.band.rows(j, j + 1, h.Nq);
      const int begin = static_cast<int>(std::max<std::int64_t>(rows.begin - i0, 0));
      const int end = static_cast<int>(std::min<std::int64_t>(rows.end - i0, kTile));
      if (begin >= end) continue;
      tile.first.scores(h.k + j * h.d, h.d, h.args.scale, pairs.weight);
      tile.second.scores(h.v + j * h.d, h.d, 1.0f, pairs.grad_score);
      differentiate<kPlain>(
          h, pairs, begin, end, [i0](int n) { return i0 + n; }, [j](int) { return j; },
          [&](int from, int to) {
            const std::int64_t at = (h.head * h.Nk + j) * h.d;
            tile.first.add_weighted(pairs.grad_score, from, to, 1.0f, h.args.grad_k + at, h.d);
            tile.second.add_weighted(pairs.weight, from, to, 1.0f, h.args.grad_v + at, h.d);
          });
    }
  }
  cpu::multiply(h.args.grad_k + (h.head * h.Nk + j0) * h.d, (j1 - j0) * h.d, h.args.scale);
}

/// The gradient of the bias, which starts as zero: its batches, heads and stretches of rows are
/// shared out; whoever has one goes through all batches, heads and rows that share its numbers.
template <int kD>
void add_to_bias(const BackwardArgs& args) {
  const PairShape of = args.extras.bias_shape;
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  Shape owned = args.shape;
  owned.B = of.B;
  owned.H = of.H;
  const std::int64_t stretch = of.Nq == 1 ? Nq : kRows;  // rows that share numbers stay together
  cpu::for_each_stretch(owned, stretch, [&](std::int64_t plane, std::int64_t i0, std::int64_t i1) {
    for (std::int64_t head = 0; head < B * H; ++head) {
      const BackwardHead h(args, head);
      if ((of.B == 1 ? 0 : h.b) * of.H + (of.H == 1 ? 0 : h.h) != plane) continue;
      for_each_query<kD, false>(h, i0, i1,
                                [&](std::int64_t i, std::int64_t j0, int from, int to,
                                    const Pairs& pairs, const TilePair<kD>&) {
                                  for (int n = from; n < to; ++n) {
                                    args.extras.grad_bias[of.index(h.b, h.h, i, j0 + n)] +=
                                        pairs.grad_logit[n];
                                  }
                                });
    }
  });
}

/// The gradient of every head's sink logit.
void sinks(const BackwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const float* delta = static_cast<const float*>(args.workspace);
  for (std::int64_t h = 0; h < H; ++h) {
    const float sink = args.extras.sink_logits[h];
    double sum = 0;
    for (std::int64_t n = 0; n < B * Nq; ++n) {
      const std::int64_t row = (n / Nq * H + h) * Nq + n % Nq;
      // -inf is no sink, and then LSE may be -inf, too.
      if (sink != -std::numeric_limits<float>::infinity())
        sum -= std::exp(sink - args.lse[row]) * delta[row];
    }
    args.extras.grad_sink_logits[h] = static_cast<float>(sum);
  }
}

}  // namespace

void backward_cpu(const BackwardArgs& args) {
  const Shape& shape = args.shape;
  const Extras& extras = args.extras;
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
  const auto for_queries_and_keys = [&]<int kD, bool kPlain>() {
    cpu::for_each_stretch(shape, kRows, [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
      add_to_queries<kD, kPlain>(BackwardHead(args, head), i0, i1);
    });
    cpu::for_each_stretch(keys, kRows, [&](std::int64_t head, std::int64_t j0, std::int64_t j1) {
      add_to_keys<kD, kPlain>(BackwardHead(args, head), j0, j1);
    });
  };
  with_columns(shape.d, [&]<int kD>() {
    if (is_plain(extras)) {
      for_queries_and_keys.template operator()<kD, true>();
    } else {
      for_queries_and_keys.template operator()<kD, false>();
    }
    if (extras.grad_bias == nullptr) return;
    std::fill_n(extras.grad_bias, extras.bias_shape.elements(), 0.0f);
    add_to_bias<kD>(args);
  });
  if (extras.grad_sink_logits != nullptr) sinks(args);
}

}  // namespace attn::scores
