// SPDX-License-Identifier: MIT
//
// FlashAttention-2's loop order as plain C++: stretches of Q are shared out among the cores; for
// each, all tiles of K and V stream by, and O, row_max and row_sum stay in the core's own cache
// until they are divided, once, and stored (common/cpu_tiles.hpp).
#include <type_traits>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::v2_loop_order {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kRows = 512;  // O of a stretch: 128 KiB at d = 64, within an L2 cache

/// Queries [i0, i1) of one head, at most kRows.
template <int kD>
void rows(const ForwardArgs& args, std::int64_t head, std::int64_t i0, std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float row_max[kRows];
  float row_sum[kRows] = {};
  std::fill_n(row_max, kRows, -kInfinity);
  float acc_o[kRows][kD] = {};

  cpu::KeyTile<kD> tile;
  // Row i meets the tile's first `keys` keys, more than none.
  const auto update_row = [&](std::int64_t i, auto keys) {
    float s[cpu::kKeys];
    tile.scores(args.q + (head * Nq + i) * d, d, args.scale, s);
    const float old_max = row_max[i - i0];
    const float new_max = std::max(old_max, cpu::maximum(s, keys));
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const float rescale = new_max == old_max ? 1.0f : std::exp(old_max - reference);
    row_sum[i - i0] = row_sum[i - i0] * rescale + cpu::exponentials(s, keys, reference);
    tile.add_weighted(s, 0, keys, rescale, acc_o[i - i0], kD);
    row_max[i - i0] = new_max;
  };
  const std::int64_t least = visible_keys(i0, diagonal, Nk);     // what every row sees
  const std::int64_t most = visible_keys(i1 - 1, diagonal, Nk);  // what some row sees
  for (std::int64_t j0 = 0; j0 < most; j0 += cpu::kKeys) {
    const std::int64_t at = (head * Nk + j0) * d;
    tile.load_k(args.k + at, Nk - j0, d);
    tile.load_v(args.v + at, Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const std::int64_t keys = visible_keys(i, diagonal, Nk) - j0;
      if (j0 + cpu::kKeys <= least) {  // no mask here: a constant number of keys
        update_row(i, std::integral_constant<std::int64_t, cpu::kKeys>());
      } else if (keys > 0) {
        update_row(i, std::min<std::int64_t>(keys, cpu::kKeys));
      }
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const bool empty = visible_keys(i, diagonal, Nk) == 0;
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

}  // namespace attn::v2_loop_order
