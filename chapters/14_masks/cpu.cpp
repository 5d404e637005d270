// SPDX-License-Identifier: MIT
//
// Step 3 as plain C++: chapter 07's loops, with a word of 64 bits per row and tile. Tiles that no
// row of a stretch sees are passed over; a row that sees all of one has constant bounds.
#include "chapters/14_masks/cpu.hpp"

#include <type_traits>

#include "chapters/14_masks/masks.hpp"
#include "common/columns.hpp"

namespace attn::masks {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kRows = 512;  // O of a stretch: 128 KiB at d = 64, within an L2 cache

/// Queries [i0, i1) of one head, at most kRows.
template <int kD>
void rows(const ForwardArgs& args, const Head& h, std::int64_t i0, std::int64_t i1) {
  const std::int64_t d = args.shape.d;
  float row_max[kRows];
  float row_sum[kRows] = {};
  bool not_empty[kRows] = {};
  std::fill_n(row_max, kRows, -kInfinity);
  float acc_o[kRows][kD] = {};

  cpu::KeyTile<kD> tile;
  // Row i meets the tile's keys begin .. end - 1, more than none, but for those in gaps.
  const auto update_row = [&](std::int64_t i, auto begin, auto end, const Seen& seen) {
    float s[cpu::kKeys];
    tile.scores(args.q + (h.number * h.Nq + i) * d, d, args.scale, s);
    const bool gaps = seen.has_gaps();
    if (gaps) hide(s, seen, -kInfinity);
    const float old_max = row_max[i - i0];
    const float new_max = std::max(old_max, cpu::maximum(s + begin, end - begin));
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const float rescale = new_max == old_max ? 1.0f : std::exp(old_max - reference);
    row_sum[i - i0] =
        row_sum[i - i0] * rescale + cpu::exponentials(s + begin, end - begin, reference);
    if (gaps) {
      add_weighted(tile, s, seen, rescale, acc_o[i - i0], kD);
    } else {
      tile.add_weighted(s, begin, end, rescale, acc_o[i - i0], kD);
    }
    row_max[i - i0] = new_max;
    not_empty[i - i0] = true;
  };
  const Range some = h.pairs.band.some(i0, i1);
  for (std::int64_t j0 = some.begin / cpu::kKeys * cpu::kKeys; j0 < some.end; j0 += cpu::kKeys) {
    Seen seen[kRows];
    bool is_empty = true;
    for (std::int64_t i = i0; i < i1; ++i) {
      seen[i - i0] = h.keys(i, j0);
      is_empty = is_empty && seen[i - i0].none();
    }
    if (is_empty) continue;
    tile.load_k(args.k + (h.number * h.Nk + j0) * d, h.Nk - j0, d);
    tile.load_v(args.v + (h.number * h.Nk + j0) * d, h.Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const Seen& of_row = seen[i - i0];
      if (of_row.all()) {
        update_row(i, std::integral_constant<int, 0>(), std::integral_constant<int, cpu::kKeys>(),
                   Seen{~std::uint64_t{0}});
      } else if (!of_row.none()) {
        update_row(i, of_row.begin(), of_row.end(), of_row);
      }
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const bool empty = !not_empty[i - i0];
    const std::int64_t row = h.number * h.Nq + i;
    for (std::int64_t c = 0; c < d; ++c) {
      args.o[row * d + c] = empty ? 0.0f : acc_o[i - i0][c] / row_sum[i - i0];
    }
    args.lse[row] = empty ? -kInfinity : row_max[i - i0] + std::log(row_sum[i - i0]);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() {
    cpu::for_each_stretch(args.shape, kRows,
                          [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
                            rows<kD>(args, Head(args, head), i0, i1);
                          });
  });
}

}  // namespace attn::masks
