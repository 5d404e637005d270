// SPDX-License-Identifier: MIT
//
// Chapter 03's idea as plain C++: still three phases with S between them, but the products walk in
// tiles of 64 keys, and what has been brought into the cache serves 64 queries (common/cpu_tiles.hpp).
#include "chapters/03_tiled/tiled.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::tiled {
namespace {

/// S, P and O of queries [i0, i1) of one head.
template <int kD>
void rows(const ForwardArgs& args, std::int64_t head, std::int64_t i0, std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const float* k = args.k + head * Nk * d;                           // (Nk, d)
  const float* v = args.v + head * Nk * d;                           // (Nk, d)
  float* gS = static_cast<float*>(args.workspace) + head * Nq * Nk;  // (Nq, Nk)
  cpu::KeyTile<kD> tile;

  for (std::int64_t j0 = 0; j0 < Nk; j0 += cpu::kKeys) {
    tile.load_k(k + j0 * d, Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      float s[cpu::kKeys];
      tile.scores(args.q + (head * Nq + i) * d, d, args.scale, s);
      std::copy(s, s + std::min<std::int64_t>(cpu::kKeys, Nk - j0), gS + i * Nk + j0);
    }
  }
  for (std::int64_t i = i0; i < i1; ++i) {
    const std::int64_t visible = visible_keys(i, diagonal, Nk);
    float* p = gS + i * Nk;  // (visible)
    const float row_max = cpu::maximum(p, visible);
    const float row_sum = cpu::exponentials(p, visible, row_max);
    for (std::int64_t j = 0; j < visible; ++j) p[j] /= row_sum;
    args.lse[head * Nq + i] = visible > 0 ? row_max + std::log(row_sum) : row_max;
    std::fill_n(args.o + (head * Nq + i) * d, d, 0.0f);
  }
  for (std::int64_t j0 = 0; j0 < Nk; j0 += cpu::kKeys) {
    tile.load_v(v + j0 * d, Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const std::int64_t keys =
          std::clamp<std::int64_t>(visible_keys(i, diagonal, Nk) - j0, 0, cpu::kKeys);
      tile.add_weighted(gS + i * Nk + j0, keys, 1.0f, args.o + (head * Nq + i) * d, d);
    }
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  cpu::with_columns(args.shape.d, [&]<int kD>() {
    cpu::for_each_stretch(args.shape, 64, [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
      rows<kD>(args, head, i0, i1);
    });
  });
}

}  // namespace attn::tiled
