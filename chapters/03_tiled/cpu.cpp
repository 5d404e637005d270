// SPDX-License-Identifier: MIT
//
// Chapter 03's three kernels as plain C++: three walks over all of S, which lies in memory between
// them. The products go in tiles of 64 keys, and what has been brought into the cache serves 128
// queries (common/cpu_tiles.hpp).
#include "chapters/03_tiled/tiled.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"

namespace attn::tiled {
namespace {

constexpr std::int64_t kRows = 128;

/// S = scale * Q K^T for queries [i0, i1) of one head: gS (Nq, Nk).
template <int kD>
void scores(const ForwardArgs& args, float* gS, std::int64_t head, std::int64_t i0,
            std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  cpu::KeyTile<kD> tile;
  for (std::int64_t j0 = 0; j0 < Nk; j0 += cpu::kKeys) {
    tile.load_k(args.k + (head * Nk + j0) * d, Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      float s[cpu::kKeys];
      tile.scores(args.q + (head * Nq + i) * d, d, args.scale, s);
      std::copy(s, s + std::min<std::int64_t>(cpu::kKeys, Nk - j0), gS + i * Nk + j0);
    }
  }
}

/// Turns one row of S into P, as far as it sees keys, and returns LSE.
float softmax(float* p, std::int64_t visible) {
  const float row_max = cpu::maximum(p, visible);
  const float row_sum = cpu::exponentials(p, visible, row_max);
  const float inverse = 1.0f / row_sum;
  for (std::int64_t j = 0; j < visible; ++j) p[j] *= inverse;
  return visible > 0 ? row_max + std::log(row_sum) : row_max;
}

/// O = P V for queries [i0, i1) of one head.
template <int kD>
void outputs(const ForwardArgs& args, const float* gP, std::int64_t head, std::int64_t i0,
             std::int64_t i1) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* o = args.o + head * Nq * d;  // (Nq, d)
  std::fill(o + i0 * d, o + i1 * d, 0.0f);
  cpu::KeyTile<kD> tile;
  for (std::int64_t j0 = 0; j0 < Nk; j0 += cpu::kKeys) {
    tile.load_v(args.v + (head * Nk + j0) * d, Nk - j0, d);
    for (std::int64_t i = i0; i < i1; ++i) {
      const std::int64_t keys =
          std::clamp<std::int64_t>(visible_keys(i, diagonal, Nk) - j0, 0, cpu::kKeys);
      tile.add_weighted(gP + i * Nk + j0, 0, keys, 1.0f, o + i * d, d);
    }
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  float* gS = static_cast<float*>(args.workspace);  // (B*H, Nq, Nk)
  const std::int64_t matrix = Nq * Nk;
  with_columns(d, [&]<int kD>() {
    cpu::for_each_stretch(args.shape, kRows,
                          [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
                            scores<kD>(args, gS + head * matrix, head, i0, i1);
                          });
    cpu::for_each_stretch(
        args.shape, kRows, [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
          for (std::int64_t i = i0; i < i1; ++i) {
            args.lse[head * Nq + i] =
                softmax(gS + head * matrix + i * Nk, visible_keys(i, diagonal, Nk));
          }
        });
    cpu::for_each_stretch(args.shape, kRows,
                          [&](std::int64_t head, std::int64_t i0, std::int64_t i1) {
                            outputs<kD>(args, gS + head * matrix, head, i0, i1);
                          });
  });
}

}  // namespace attn::tiled
