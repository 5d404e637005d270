// SPDX-License-Identifier: MIT
//
// Step 4 as plain C++: chapter 07's loops over the keys that a stretch of Q sees. Where something
// is done to the scores it is done between the products and the maximum, and a row goes through the
// runs of keys that the bias does not hide.
#include "chapters/15_scores/cpu.hpp"

#include <type_traits>

#include "chapters/15_scores/scores.hpp"
#include "common/columns.hpp"

namespace attn::scores {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kRows = 512;  // O of a stretch: 128 KiB at d = 64, within an L2 cache

/// Queries [i0, i1) of one head, at most kRows.
template <int kD, bool kPlain>
void rows(const ForwardArgs& args, const Head& h, std::int64_t i0, std::int64_t i1) {
  const std::int64_t d = h.d;
  const float* k = args.k + h.head * h.Nk * d;
  const float* v = args.v + h.head * h.Nk * d;
  float row_max[kRows];
  float row_sum[kRows];
  std::fill_n(row_max, kRows, h.sink);
  std::fill_n(row_sum, kRows, 1.0f);  // of the sink; without one it is forgotten at the first key
  float acc_o[kRows][kD] = {};

  cpu::KeyTile<kD> tile;
  // Row i meets the keys begin .. end - 1 of the tile from j0 on, more than none, with logits s.
  const auto update = [&](std::int64_t i, std::int64_t j0, float(&s)[cpu::kKeys], auto begin,
                          auto end) {
    const float old_max = row_max[i - i0];
    const float new_max = std::max(old_max, cpu::maximum(s + begin, end - begin));
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const bool same = new_max == old_max && new_max != -kInfinity;
    const float rescale = same ? 1.0f : std::exp(old_max - reference);
    row_sum[i - i0] =
        row_sum[i - i0] * rescale + cpu::exponentials(s + begin, end - begin, reference);
    if constexpr (!kPlain) {
      for (int j = begin; h.threshold != 0 && j < end; ++j) s[j] *= h.factor(i, j0 + j);
    }
    tile.add_weighted(s, begin, end, rescale, acc_o[i - i0], kD);
    row_max[i - i0] = new_max;
  };
  // The same from scratch, with what is done to its scores.
  const auto update_row = [&](std::int64_t i, std::int64_t j0, auto begin, auto end) {
    float s[cpu::kKeys];
    tile.scores(args.q + (h.head * h.Nq + i) * d, d, args.scale, s);
    if constexpr (kPlain) {
      update(i, j0, s, begin, end);
    } else {
      std::uint64_t seen = 0;
      for (int j = begin; j < end; ++j) {
        const Logit logit = h.logit(i, j0 + j, s[j]);
        s[j] = logit.value;
        seen |= std::uint64_t{logit.seen} << j;
      }
      for_each_run(seen, [&](int from, int to) { update(i, j0, s, from, to); });
    }
  };
  const Range some = h.band.some(i0, i1);
  const int last_row = static_cast<int>(i1 - 1 - i0);
  for (std::int64_t j0 = some.begin / cpu::kKeys * cpu::kKeys; j0 < some.end; j0 += cpu::kKeys) {
    tile.load_k(k + j0 * d, h.Nk - j0, d);
    tile.load_v(v + j0 * d, h.Nk - j0, d);
    const device::TileBand seen = h.band.in_tile(i0, j0, cpu::kKeys);
    // Not by comparing with j0: g++ would split the loop there, and vectorize only half of it.
    const bool whole = seen.begin_of_row(last_row) == 0 && seen.end_of_row(0) == cpu::kKeys;
    for (std::int64_t i = i0; i < i1; ++i) {
      if (whole) {  // no mask here: constant bounds
        update_row(i, j0, std::integral_constant<int, 0>(),
                   std::integral_constant<int, cpu::kKeys>());
        continue;
      }
      const int r = static_cast<int>(i - i0);
      const int begin = seen.begin_of_row(r), end = seen.end_of_row(r);
      if (begin < end) update_row(i, j0, begin, end);
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const float sum = row_sum[i - i0];
    float* o = args.o + (h.head * h.Nq + i) * d;
    for (std::int64_t c = 0; c < d; ++c) o[c] = acc_o[i - i0][c] / sum;
    args.lse[h.head * h.Nq + i] = sum == 0.0f ? -kInfinity : row_max[i - i0] + std::log(sum);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  const bool plain = is_plain(args.extras);
  with_columns(args.shape.d, [&]<int kD>() {
    cpu::for_each_stretch(args.shape, kRows,
                          [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
                            const Head h(args, head);
                            if (plain) {
                              rows<kD, true>(args, h, i0, i1);
                            } else {
                              rows<kD, false>(args, h, i0, i1);
                            }
                          });
  });
}

}  // namespace attn::scores
