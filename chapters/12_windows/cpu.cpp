// SPDX-License-Identifier: MIT
//
// Chapter 07's loops over the keys that a stretch of Q sees, as plain C++: tiles of K and V that no
// row of it sees are passed over, and only the tiles that not every row sees whole ask row by row.
#include <type_traits>

#include "chapters/12_windows/sinks.hpp"
#include "chapters/12_windows/windows.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::windows {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kRows = 512;  // O of a stretch: 128 KiB at d = 64, within an L2 cache

/// Queries [i0, i1) of one head, at most kRows.
template <int kD>
void rows(const ForwardArgs& args, std::int64_t head, std::int64_t i0, std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Range valid = valid_keys_of(args.extras).of_batch(head / H, Nk);
  const SinkBand band{band_of(args.mask, Nq, valid.size()), args.extras.sink_keys};
  const std::int64_t k_start = (head * Nk + valid.begin) * d;  // of K, V
  float row_max[kRows];
  float row_sum[kRows] = {};
  std::fill_n(row_max, kRows, -kInfinity);
  float acc_o[kRows][kD] = {};

  cpu::KeyTile<kD> tile;
  // Row i meets the tile's keys begin .. end - 1, more than none.
  const auto update_row = [&](std::int64_t i, auto begin, auto end) {
    float s[cpu::kKeys];
    tile.scores(args.q + (head * Nq + i) * d, d, args.scale, s);
    const float old_max = row_max[i - i0];
    const float new_max = std::max(old_max, cpu::maximum(s + begin, end - begin));
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const float rescale = new_max == old_max ? 1.0f : std::exp(old_max - reference);
    row_sum[i - i0] =
        row_sum[i - i0] * rescale + cpu::exponentials(s + begin, end - begin, reference);
    tile.add_weighted(s, begin, end, rescale, acc_o[i - i0], kD);
    row_max[i - i0] = new_max;
  };
  const Stretches some = band.some(i0, i1, cpu::kKeys);
  for (std::int64_t j0 = some.from(0); j0 < some.end; j0 = some.from(j0 + cpu::kKeys)) {
    tile.load_k(args.k + k_start + j0 * d, valid.size() - j0, d);
    tile.load_v(args.v + k_start + j0 * d, valid.size() - j0, d);
    const TileSinkBand seen = band.in_tile(i0, j0, cpu::kKeys);
    const bool whole = band.every(i0, i1, j0, j0 + cpu::kKeys);
    for (std::int64_t i = i0; i < i1; ++i) {
      if (whole) {  // no mask here: constant bounds
        update_row(i, std::integral_constant<int, 0>(), std::integral_constant<int, cpu::kKeys>());
        continue;
      }
      const int r = static_cast<int>(i - i0);
      const int sinks = seen.sinks_end(r), begin = seen.window_begin(r), end = seen.end_of_row(r);
      if (sinks > 0) update_row(i, 0, sinks);
      if (begin < end) update_row(i, begin, end);
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const bool empty = band.sees_none(i);
    float* o = args.o + (head * Nq + i) * d;
    for (std::int64_t c = 0; c < d; ++c) o[c] = empty ? 0.0f : acc_o[i - i0][c] / row_sum[i - i0];
    args.lse[head * Nq + i] = empty ? -kInfinity : row_max[i - i0] + std::log(row_sum[i - i0]);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() {
    cpu::for_each_stretch(
        args.shape, kRows,
        [&](std::int64_t head, std::int64_t i0, std::int64_t i1) { rows<kD>(args, head, i0, i1); });
  });
}

}  // namespace attn::windows
