// SPDX-License-Identifier: MIT
//
// FlashAttention-1 as plain C++: tiles of K and V outside, rows of Q inside; row_max, row_sum and O
// live in memory between the visits, S is 64 scores on the stack (common/cpu_tiles.hpp).
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::fused_forward {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Queries [i0, i1) of one head: every tile of K and V once, and for each, every row.
template <int kD>
void rows(const ForwardArgs& args, std::int64_t head, std::int64_t i0, std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* row_max = static_cast<float*>(args.workspace) + head * Nq;  // (Nq)
  float* row_sum = row_max + B * H * Nq;                             // (Nq)
  float* o = args.o + head * Nq * d;                                 // (Nq, d), not yet divided
  std::fill(row_max + i0, row_max + i1, -kInfinity);
  std::fill(row_sum + i0, row_sum + i1, 0.0f);
  std::fill(o + i0 * d, o + i1 * d, 0.0f);

  cpu::KeyTile<kD> tile;
  for (std::int64_t j0 = 0; j0 < Nk; j0 += cpu::kKeys) {
    const std::int64_t at = (head * Nk + j0) * d;
    tile.load_k(args.k + at, Nk - j0, d);
    tile.load_v(args.v + at, Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const std::int64_t keys =
          std::clamp<std::int64_t>(visible_keys(i, diagonal, Nk) - j0, 0, cpu::kKeys);
      if (keys == 0) continue;
      float s[cpu::kKeys];
      tile.scores(args.q + (head * Nq + i) * d, d, args.scale, s);
      const float new_max = std::max(row_max[i], cpu::maximum(s, keys));
      const float reference = new_max == -kInfinity ? 0.0f : new_max;
      const float rescale = new_max == row_max[i] ? 1.0f : std::exp(row_max[i] - reference);
      row_sum[i] = row_sum[i] * rescale + cpu::exponentials(s, keys, reference);
      tile.add_weighted(s, 0, keys, rescale, o + i * d, d);
      row_max[i] = new_max;
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    if (visible_keys(i, diagonal, Nk) == 0) {
      args.lse[head * Nq + i] = -kInfinity;
      continue;
    }
    for (std::int64_t c = 0; c < d; ++c) o[i * d + c] /= row_sum[i];
    args.lse[head * Nq + i] = row_max[i] + std::log(row_sum[i]);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  with_columns(args.shape.d, [&]<int kD>() {
    cpu::for_each_stretch(
        args.shape, 512,
        [&](std::int64_t head, std::int64_t i0, std::int64_t i1) { rows<kD>(args, head, i0, i1); });
  });
}

}  // namespace attn::fused_forward
