// SPDX-License-Identifier: MIT
//
// Step 3 as plain C++: chapter 07's loops over the keys that a stretch of Q sees. Tiles of K and V
// that no row of it sees are passed over; a row that sees all of one has constant bounds.
#include "chapters/13_packed/cpu.hpp"

#include <type_traits>

#include "chapters/13_packed/packed.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::packed {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kRows = 512;  // O of a stretch: 128 KiB at d = 64, within an L2 cache

/// Queries [i0, i1) of one head, at most kRows.
template <int kD>
void rows(const ForwardArgs& args, const Head& h, std::int64_t i0, std::int64_t i1) {
  const std::int64_t d = args.shape.d;
  const std::vector<RowKeys> seen = h.rows(i0, i1);
  float row_max[kRows];
  float row_sum[kRows] = {};
  std::fill_n(row_max, kRows, -kInfinity);
  float acc_o[kRows][kD] = {};

  cpu::KeyTile<kD> tile;
  // Row i meets the tile's keys begin .. end - 1, more than none.
  const auto update_row = [&](std::int64_t i, auto begin, auto end) {
    float s[cpu::kKeys];
    tile.scores(args.q + (h.q_row + i) * d, d, args.scale, s);
    const float old_max = row_max[i - i0];
    const float new_max = std::max(old_max, cpu::maximum(s + begin, end - begin));
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const float rescale = new_max == old_max ? 1.0f : std::exp(old_max - reference);
    row_sum[i - i0] =
        row_sum[i - i0] * rescale + cpu::exponentials(s + begin, end - begin, reference);
    tile.add_weighted(s, begin, end, rescale, acc_o[i - i0], kD);
    row_max[i - i0] = new_max;
  };
  const Range some = hull(seen);
  for (std::int64_t j0 = some.begin / cpu::kKeys * cpu::kKeys; j0 < some.end; j0 += cpu::kKeys) {
    const Range keys{j0, j0 + cpu::kKeys};
    if (!some_meets(seen, keys)) continue;
    tile.load_k(args.k + (h.k_row + j0) * d, h.Nk - j0, d);
    tile.load_v(args.v + (h.k_row + j0) * d, h.Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const RowKeys& row = seen[static_cast<std::size_t>(i - i0)];
      if (row.covers(keys)) {
        update_row(i, std::integral_constant<int, 0>(), std::integral_constant<int, cpu::kKeys>());
        continue;
      }
      for (const Range& range : {row.first, row.second}) {
        const TileKeys of = in_tile(range, j0, cpu::kKeys);
        if (!of.empty()) update_row(i, of.begin, of.end);
      }
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const bool empty = seen[static_cast<std::size_t>(i - i0)].empty();
    float* o = args.o + (h.q_row + i) * d;
    for (std::int64_t c = 0; c < d; ++c) o[c] = empty ? 0.0f : acc_o[i - i0][c] / row_sum[i - i0];
    args.lse[h.q_row + i] = empty ? -kInfinity : row_max[i - i0] + std::log(row_sum[i - i0]);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() {
    cpu::for_each_stretch(args.shape, kRows,
                          [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
                            const Head h(args, head);
                            i1 = std::min(i1, h.Nq);
                            if (i0 < i1) rows<kD>(args, h, i0, i1);
                          });
  });
}

}  // namespace attn::packed
