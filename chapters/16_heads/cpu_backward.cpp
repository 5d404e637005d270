// SPDX-License-Identifier: MIT
//
// Step 5 as plain C++. Its kernels for dQ and for dK, dV are one loop with the roles exchanged:
// rows on one side stay and add up what tiles of 64 from the other side give them.
//   dQ:      rows of Q and dO stay;  tiles of K and V:   S, dP = K Q^T, V dO^T;  dQ += dS K
//   dK, dV:  rows of K and V stay;   tiles of Q and dO:  S, dP = Q K^T, dO V^T;  dK += dS^T Q,
//                                                                                dV += P^T dO
// Rows are those of a group. The gradient of the bias is a third pass, like that for dQ, over all
// pairs that share a number, head by head.
#include "chapters/16_heads/cpu.hpp"
#include "chapters/16_heads/heads.hpp"
#include "common/columns.hpp"

namespace attn::heads {
namespace {

constexpr int kTile = cpu::kKeys;

/// What all loops read, and what they write.
struct Pass {
  const BackwardArgs& args;
  Request request;

  explicit Pass(const BackwardArgs& a) : args(a), request(request_of(a)) {}
  const float* delta() const { return static_cast<const float*>(args.workspace); }
};

/// 64 rows of two matrices, for products with a row of each.
template <int kD>
struct TilePair {
  cpu::KeyTile<kD> first, second;

  template <class RowOfFirst, class RowOfSecond>
  void load(RowOfFirst a, std::int64_t width_a, RowOfSecond b, std::int64_t width_b,
            std::int64_t rows) {
    first.load_k(a, rows, width_a);
    first.load_v(a, rows, width_a);
    second.load_k(b, rows, width_b);
    second.load_v(b, rows, width_b);
  }
};

/// 64 neighbours of a row of S or of a column.
struct Pairs {
  float weight[kTile];      // comes as scale * q . k, becomes what V was multiplied by
  float grad_score[kTile];  // comes as dO . v, becomes the gradient by scale * q . k
  float grad_logit[kTile];  // the gradient by what the exponential is taken of, if it is asked for
};

/// Turns the pairs of `seen` into gradients, of which number n is row row(n), with lse(n) and
/// delta(n), and key key(n). Calls work(from, to) for each run of them.
template <class RowOf, class KeyOf, class Lse, class Delta, class Work>
void differentiate(const Group& group, Pairs& pairs, std::uint64_t seen, RowOf row, KeyOf key,
                   Lse lse, Delta delta, Work work) {
  const bool changes = group.changes(), drops = group.request.dropout.threshold != 0;
  for_each_run(seen, [&](int from, int to) {
    float derivative[kTile];
    if (changes) {
      for (int n = from; n < to; ++n) {
        derivative[n] = group.change(row(n), key(n), pairs.weight[n]);
      }
    }
    for (int n = from; n < to; ++n) pairs.weight[n] -= lse(n);
    cpu::exponentials(pairs.weight + from, to - from, 0.0f);
    if (!changes && !drops) {
      for (int n = from; n < to; ++n) {
        pairs.grad_score[n] = pairs.weight[n] * (pairs.grad_score[n] - delta(n));
      }
    } else {
      for (int n = from; n < to; ++n) {
        const float p = pairs.weight[n], factor = drops ? group.factor(row(n), key(n)) : 1.0f;
        pairs.weight[n] = factor * p;
        pairs.grad_logit[n] = p * (factor * pairs.grad_score[n] - delta(n));
        pairs.grad_score[n] = (changes ? derivative[n] : 1.0f) * pairs.grad_logit[n];
      }
    }
    work(from, to);
  });
}

/// Calls work(row, j0, from, to, pairs, tile) for every run of pairs of the rows [R0, R1), at most
/// kRows.
template <int kD, class Work>
void for_each_run_of_rows(const Pass& pass, const Group& group, std::int64_t R0, std::int64_t R1,
                          Work work) {
  const Request& request = pass.request;
  const Layouts& layouts = request.layouts;
  const std::vector<Row> rows = group.rows(R0, R1);
  const Range tokens = group.tokens(R0, R1);
  TilePair<kD> tile;
  Pairs pairs;
  const Range some = request.keys_of(group.at, tokens);
  for (std::int64_t j0 = some.begin / kTile * kTile; j0 < some.end; j0 += kTile) {
    std::uint64_t words[kRows<kD>];
    if (!group.words(rows, tokens, j0, words)) continue;
    tile.load([&](std::int64_t j) { return pass.args.k + group.key_place(layouts.k, j0 + j); },
              request.d,
              [&](std::int64_t j) { return pass.args.v + group.key_place(layouts.v, j0 + j); },
              request.d_v, group.at.Nk - j0);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      if (words[n] == 0) continue;
      const Row& row = rows[n];
      tile.first.scores(pass.args.q + group.place(layouts.q, row), request.d, request.scale,
                        pairs.weight);
      tile.second.scores(pass.args.grad_o + group.place(layouts.o, row), request.d_v, 1.0f,
                         pairs.grad_score);
      const float lse = pass.args.lse[group.place(layouts.lse, row)];
      const float delta = pass.delta()[group.place(layouts.lse, row)];
      differentiate(
          group, pairs, words[n], [&](int) -> const Row& { return row; },
          [j0](int j) { return j0 + j; }, [lse](int) { return lse; },
          [delta](int) { return delta; },
          [&](int from, int to) { work(row, j0, from, to, pairs, tile); });
    }
  }
}

/// dQ of the rows [R0, R1).
template <int kD>
void grad_queries(const Pass& pass, const Group& group, std::int64_t R0, std::int64_t R1) {
  const Request& request = pass.request;
  const auto grad_q = [&](const Row& row) {
    return pass.args.grad_q + group.place(request.layouts.q, row);
  };
  for (const Row& row : group.rows(R0, R1)) std::fill_n(grad_q(row), request.d, 0.0f);
  for_each_run_of_rows<kD>(pass, group, R0, R1,
                           [&](const Row& row, std::int64_t, int from, int to, const Pairs& pairs,
                               const TilePair<kD>& tile) {
                             tile.first.add_weighted(pairs.grad_score, from, to, 1.0f, grad_q(row),
                                                     request.d);
                           });
  for (const Row& row : group.rows(R0, R1)) cpu::multiply(grad_q(row), request.d, request.scale);
}

/// dK and dV of the keys [j0, j1), from all rows of the group.
template <int kD>
void grad_keys(const Pass& pass, const Group& group, std::int64_t j0, std::int64_t j1) {
  const Request& request = pass.request;
  const Layouts& layouts = request.layouts;
  for (std::int64_t j = j0; j < j1; ++j) {
    std::fill_n(pass.args.grad_k + group.key_place(layouts.k, j), request.d, 0.0f);
    std::fill_n(pass.args.grad_v + group.key_place(layouts.v, j), request.d_v, 0.0f);
  }
  TilePair<kD> tile;
  Pairs pairs;
  const Range some = request.rows_of(group.at, j0, j1);
  for (std::int64_t R0 = some.begin * group.heads; R0 < some.end * group.heads; R0 += kTile) {
    const std::int64_t R1 = std::min(R0 + kTile, some.end * group.heads);
    const std::vector<Row> rows = group.rows(R0, R1);
    const auto row_of = [&](std::int64_t n) -> const Row& {
      return rows[static_cast<std::size_t>(n)];
    };
    bool is_loaded = false;
    float lse[kTile], delta[kTile];
    for (std::int64_t block = j0; block < j1; block += kTile) {
      std::uint64_t words[kTile];
      if (!group.words(rows, group.tokens(R0, R1), block, words)) continue;
      if (!is_loaded) {
        tile.load(
            [&](std::int64_t n) { return pass.args.q + group.place(layouts.q, row_of(n)); },
            request.d,
            [&](std::int64_t n) { return pass.args.grad_o + group.place(layouts.o, row_of(n)); },
            request.d_v, R1 - R0);
        for (std::int64_t n = 0; n < R1 - R0; ++n) {
          lse[n] = pass.args.lse[group.place(layouts.lse, row_of(n))];
          delta[n] = pass.delta()[group.place(layouts.lse, row_of(n))];
        }
        is_loaded = true;
      }
      for (std::int64_t j = block; j < std::min(block + kTile, j1); ++j) {
        std::uint64_t seen_by = 0;
        for (std::size_t n = 0; n < rows.size(); ++n) seen_by |= (words[n] >> (j - block) & 1) << n;
        if (seen_by == 0) continue;
        tile.first.scores(pass.args.k + group.key_place(layouts.k, j), request.d, request.scale,
                          pairs.weight);
        tile.second.scores(pass.args.v + group.key_place(layouts.v, j), request.d_v, 1.0f,
                           pairs.grad_score);
        differentiate(
            group, pairs, seen_by, row_of, [j](int) { return j; }, [&lse](int n) { return lse[n]; },
            [&delta](int n) { return delta[n]; },
            [&](int from, int to) {
              tile.first.add_weighted(pairs.grad_score, from, to, 1.0f,
                                      pass.args.grad_k + group.key_place(layouts.k, j), request.d);
              tile.second.add_weighted(pairs.weight, from, to, 1.0f,
                                       pass.args.grad_v + group.key_place(layouts.v, j),
                                       request.d_v);
            });
      }
    }
  }
  for (std::int64_t j = j0; j < j1; ++j) {
    cpu::multiply(pass.args.grad_k + group.key_place(layouts.k, j), request.d, request.scale);
  }
}

/// The gradient of the bias: its batches, heads and stretches of rows are shared out; whoever has
/// one goes through all batches, heads and rows that share its numbers.
template <int kD>
void grad_bias(const Pass& pass) {
  const Request& request = pass.request;
  const PairShape shape = pass.args.extras.bias_shape;
  float* grad = pass.args.extras.grad_bias;
  std::fill_n(grad, shape.elements(), 0.0f);
  const Shape owned{.B = shape.B, .H = shape.H, .Hkv = shape.H, .Nq = request.Nq, .Nk = 0, .d = 0};
  // Rows that share numbers stay together.
  const std::int64_t stretch = shape.Nq == 1 ? request.Nq : kRows<kD>;
  cpu::for_each_stretch(owned, stretch, [&](std::int64_t plane, std::int64_t i0, std::int64_t i1) {
    for (std::int64_t head = 0; head < request.B * request.H; ++head) {
      const std::int64_t b = head / request.H, h = head % request.H;
      if ((shape.B == 1 ? 0 : b) * shape.H + (shape.H == 1 ? 0 : h) != plane) continue;
      const Group alone(request, b, h);
      for (std::int64_t R0 = i0; R0 < i1; R0 += kRows<kD>) {
        for_each_run_of_rows<kD>(pass, alone, R0, std::min(R0 + kRows<kD>, i1),
                                 [&](const Row& row, std::int64_t j0, int from, int to,
                                     const Pairs& pairs, const TilePair<kD>&) {
                                   for (int n = from; n < to; ++n) {
                                     grad[shape.index(b, h, row.i, j0 + n)] += pairs.grad_logit[n];
                                   }
                                 });
      }
    }
  });
}

/// delta = dO . O - dLSE of every row.
void deltas(const Pass& pass) {
  const Request& request = pass.request;
  float* delta = static_cast<float*>(pass.args.workspace);
#pragma omp parallel for
  for (std::int64_t n = 0; n < request.B * request.H; ++n) {
    const Group group(request, n / request.H, n % request.H);
    for (const Row& row : group.rows(0, group.size())) {
      const std::int64_t o = group.place(request.layouts.o, row);
      const std::int64_t lse = group.place(request.layouts.lse, row);
      float sum = 0.0f;
      for (std::int64_t c = 0; c < request.d_v; ++c) {
        sum += pass.args.grad_o[o + c] * pass.args.o[o + c];
      }
      const float* grad_lse = pass.args.extras.grad_lse;
      delta[lse] = sum - (grad_lse == nullptr ? 0.0f : grad_lse[lse]);
    }
  }
}

/// The gradient of every head's sink logit.
void grad_sinks(const Pass& pass) {
  const Request& request = pass.request;
  for (std::int64_t h = 0; h < request.H; ++h) {
    const float sink = request.sink_logits[h];
    double sum = 0;
    for (std::int64_t b = 0; b < request.B; ++b) {
      const Group group(request, b, h);
      for (const Row& row : group.rows(0, group.size())) {
        const std::int64_t at = group.place(request.layouts.lse, row);
        // -inf is no sink, and then LSE may be -inf, too.
        if (std::isfinite(sink)) sum -= std::exp(sink - pass.args.lse[at]) * pass.delta()[at];
      }
    }
    pass.args.extras.grad_sink_logits[h] = static_cast<float>(sum);
  }
}

}  // namespace

void backward_cpu(const BackwardArgs& args) {
  const Pass pass(args);
  const Request& request = pass.request;
  deltas(pass);
  with_columns<kMaxColumns>(std::max(request.d, request.d_v), [&]<int kD>() {
    cpu::for_each_stretch(kv_heads_with(request, request.Nq * request.group()), kRows<kD>,
                          [&](std::int64_t number, std::int64_t R0, std::int64_t R1) {
                            const Group group(request, number);
                            R1 = std::min(R1, group.size());
                            if (R0 < R1) grad_queries<kD>(pass, group, R0, R1);
                          });
    cpu::for_each_stretch(kv_heads_with(request, request.Nk), kRows<kD>,
                          [&](std::int64_t number, std::int64_t j0, std::int64_t j1) {
                            const Group group(request, number);
                            j1 = std::min(j1, group.at.Nk);
                            if (j0 < j1) grad_keys<kD>(pass, group, j0, j1);
                          });
    if (args.extras.grad_bias != nullptr) grad_bias<kD>(pass);
  });
  if (args.extras.grad_sink_logits != nullptr) grad_sinks(pass);
}

}  // namespace attn::heads
