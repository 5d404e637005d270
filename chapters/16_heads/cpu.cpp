// SPDX-License-Identifier: MIT
//
// Step 4 as plain C++: chapter 07's loops over the rows of a group. A row has a word of 64 bits for
// each tile of keys; one that sees all of it has constant bounds, another goes through its runs.
#include "chapters/16_heads/cpu.hpp"

#include <type_traits>

#include "chapters/16_heads/heads.hpp"
#include "common/columns.hpp"

namespace attn::heads {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Rows [R0, R1) of a group, at most kRows.
template <int kD>
void forward_rows(const ForwardArgs& args, const Group& group, std::int64_t R0, std::int64_t R1) {
  const Request& request = group.request;
  const Layouts& layouts = request.layouts;
  const std::vector<Row> rows = group.rows(R0, R1);
  const Range tokens = group.tokens(R0, R1);
  float row_max[kRows<kD>];
  float row_sum[kRows<kD>];
  float acc_o[kRows<kD>][kD] = {};
  for (std::size_t n = 0; n < rows.size(); ++n) {
    row_max[n] = request.sink_logits == nullptr ? -kInfinity : request.sink_logits[rows[n].h];
    row_sum[n] = 1.0f;  // of the sink; without one it is forgotten at the first key
  }

  cpu::KeyTile<kD> tile;
  // Row n meets the tile from key j0 on; for_each_part has the runs of keys of `word`, one or more.
  const auto update_row = [&](std::size_t n, std::int64_t j0, std::uint64_t word,
                              auto for_each_part) {
    const Row& row = rows[n];
    float s[cpu::kKeys];
    tile.scores(args.q + group.place(layouts.q, row), request.d, request.scale, s);
    if (group.changes()) {
      for_each_run(word, [&](int from, int to) {
        for (int j = from; j < to; ++j) group.change(row, j0 + j, s[j]);
      });
    }
    const float old_max = row_max[n];
    float new_max = old_max;
    for_each_part([&](auto from, auto to) {
      new_max = std::max(new_max, cpu::maximum(s + from, to - from));
    });
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const bool same = new_max == old_max && new_max != -kInfinity;
    float rescale = same ? 1.0f : std::exp(old_max - reference);
    row_sum[n] *= rescale;
    for_each_part([&](auto from, auto to) {
      row_sum[n] += cpu::exponentials(s + from, to - from, reference);
      if (request.dropout.threshold != 0) {
        for (int j = from; j < to; ++j) s[j] *= group.factor(row, j0 + j);
      }
      tile.add_weighted(s, from, to, rescale, acc_o[n], kD);
      rescale = 1.0f;  // once
    });
    row_max[n] = new_max;
  };
  const Range some = request.keys_of(group.at, tokens);
  for (std::int64_t j0 = some.begin / cpu::kKeys * cpu::kKeys; j0 < some.end; j0 += cpu::kKeys) {
    std::uint64_t words[kRows<kD>];
    if (!group.words(rows, tokens, j0, words)) continue;
    tile.load_k([&](std::int64_t j) { return args.k + group.key_place(layouts.k, j0 + j); },
                group.at.Nk - j0, request.d);
    tile.load_v([&](std::int64_t j) { return args.v + group.key_place(layouts.v, j0 + j); },
                group.at.Nk - j0, request.d_v);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      if (words[n] == kWholeTile) {
        update_row(n, j0, words[n], [](auto work) {
          work(std::integral_constant<int, 0>(), std::integral_constant<int, cpu::kKeys>());
        });
      } else if (words[n] != 0) {
        update_row(n, j0, words[n], [&](auto work) { for_each_run(words[n], work); });
      }
    }
  }
  for (std::size_t n = 0; n < rows.size(); ++n) {
    const float sum = row_sum[n];
    float* o = args.o + group.place(layouts.o, rows[n]);
    for (std::int64_t c = 0; c < request.d_v; ++c) o[c] = acc_o[n][c] / sum;
    args.lse[group.place(layouts.lse, rows[n])] =
        sum == 0.0f ? -kInfinity : row_max[n] + std::log(sum);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  const Request request = request_of(args);
  with_columns<kMaxColumns>(std::max(request.d, request.d_v), [&]<int kD>() {
    cpu::for_each_stretch(kv_heads_with(request, request.Nq * request.group()), kRows<kD>,
                          [&](std::int64_t number, std::int64_t R0, std::int64_t R1) {
                            const Group group(request, number);
                            R1 = std::min(R1, group.size());
                            if (R0 < R1) forward_rows<kD>(args, group, R0, R1);
                          });
  });
}

}  // namespace attn::heads
