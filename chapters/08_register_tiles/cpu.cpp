// SPDX-License-Identifier: MIT
//
// FlashAttention-2's forward pass with register tiles on a core. Queries are shared out in panels;
// for each panel all keys stream by, and its O, row_max and row_sum stay in the core's first two
// caches.
//   1. S^T = scale * K Q^T        register tiles of keys x queries, over d
//   2. row_max, P = exp(S - row_max), row_sum; O *= exp(old row_max - row_max)
//   3. O += P V                   register tiles of queries x columns, over the keys
#include "chapters/08_register_tiles/cpu.hpp"

#include <cmath>
#include <limits>
#include <memory>

#include "chapters/08_register_tiles/cpu_tiles.hpp"

namespace attn::register_tiles {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kTileKeys = 128;
static_assert(kTileKeys >= kLeastRows);
constexpr int kMostPanels = 8;  // that meet a tile of K and V while it is in the second cache

/// Queries side by side, and what becomes of them.
struct Panel {
  alignas(64) float qt[kMaxColumns][kPanel];      // (d, queries)
  alignas(64) float acc_o[kPanel * kMaxColumns];  // (queries, padded_columns(d))
  alignas(64) float row_max[kPanel];
  alignas(64) float row_sum[kPanel];
};

/// A core's own memory.
struct Scratch {
  Panel panels[kMostPanels];
  alignas(64) float s[kTileKeys][kPanel];        // (keys, queries): S, then P
  alignas(64) float v[kTileKeys * kMaxColumns];  // V in blocks of columns
};

/// One head's K and V, and where its diagonal lies.
struct Head {
  const float* k;  // (Nk, d)
  const float* v;  // (Nk, d)
  std::int64_t Nk, d, columns, diagonal;
  float scale;
};

/// Keys that row i sees among `keys` from key j0 on: always the first ones.
std::int64_t visible(const Head& head, std::int64_t i, std::int64_t j0, std::int64_t keys) {
  return std::clamp<std::int64_t>(visible_keys(i, head.diagonal, head.Nk) - j0, 0, keys);
}

/// S = -inf where row i0 + lane does not see key j0 + j.
template <int kVectors>
void hide(const Head& head, std::int64_t i0, std::int64_t j0, std::int64_t keys,
          float (*s)[kPanel]) {
  std::int32_t seen[kPanel];
  for (int lane = 0; lane < kPanel; ++lane) {
    seen[lane] = static_cast<std::int32_t>(visible(head, i0 + lane, j0, keys));
  }
  for (std::int32_t j = 0; j < keys; ++j) {
    for (int lane = 0; lane < kVectors * kLanes; ++lane) {
      s[j][lane] = j < seen[lane] ? s[j][lane] : -kInfinity;
    }
  }
}

/// Replaces S by P, and rescales what the panel has so far, where a maximum has grown.
template <int kVectors>
void softmax(std::int64_t keys, std::int64_t columns, float (*s)[kPanel], Panel& panel) {
  Vector old_max[kVectors], new_max[kVectors], sum[kVectors];
  for (int n = 0; n < kVectors; ++n) new_max[n] = old_max[n] = load(panel.row_max + n * kLanes);
  for (std::int64_t j = 0; j < keys; ++j) {
    for (int n = 0; n < kVectors; ++n) {
      const Vector x = load(s[j] + n * kLanes);
      new_max[n] = x > new_max[n] ? x : new_max[n];
    }
  }
  Vector reference[kVectors], factor[kVectors];
  for (int n = 0; n < kVectors; ++n) {
    const Vector zero = {};
    reference[n] = new_max[n] == zero - kInfinity ? zero : new_max[n];  // no -inf - -inf below
    factor[n] = old_max[n] - reference[n];
  }
  exponentials(factor);
  for (int n = 0; n < kVectors; ++n) sum[n] = load(panel.row_sum + n * kLanes) * factor[n];
  for (std::int64_t j = 0; j < keys; ++j) {
    Vector p[kVectors];
    for (int n = 0; n < kVectors; ++n) p[n] = load(s[j] + n * kLanes) - reference[n];
    exponentials(p);
    for (int n = 0; n < kVectors; ++n) {
      store(s[j] + n * kLanes, p[n]);
      sum[n] += p[n];
    }
  }
  float rescale[kPanel];
  bool grown = false;
  for (int n = 0; n < kVectors; ++n) {
    store(panel.row_max + n * kLanes, new_max[n]);
    store(panel.row_sum + n * kLanes, sum[n]);
    store(rescale + n * kLanes, factor[n]);
    for (int lane = 0; lane < kLanes; ++lane) grown |= rescale[n * kLanes + lane] != 1.0f;
  }
  if (!grown) return;
  for (int r = 0; r < kVectors * kLanes; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) panel.acc_o[r * columns + c] *= rescale[r];
  }
}

/// The panel of rows [i0, i1) meets the tile of `keys` keys from j0 on; v is packed.
template <int kVectors>
void meet(const Head& head, std::int64_t i0, std::int64_t i1, std::int64_t j0, std::int64_t keys,
          const float* v, float (*s)[kPanel], Panel& panel) {
  products<kVectors>(head.k + j0 * head.d, keys, head.d, panel.qt[0], head.scale, s[0], kPanel);
  const bool full = visible(head, i0, j0, keys) == keys;
  if (!full) hide<kVectors>(head, i0, j0, keys, s);
  softmax<kVectors>(keys, head.columns, s, panel);
  // Whole register tiles of rows: those beyond the panel's last row repeat it, and are not stored.
  add_product<1, kPanel, kTileKeys>(
      panel.acc_o, padded_rows(i1 - i0), head.columns, s[0], v, [&](std::int64_t r) {
        return Range{0, full ? keys : visible(head, std::min(i0 + r, i1 - 1), j0, keys)};
      });
}

/// O and LSE of the panel's rows.
void finish(const ForwardArgs& args, const Head& head, std::int64_t n, std::int64_t i0,
            std::int64_t i1, const Panel& panel) {
  for (std::int64_t i = i0; i < i1; ++i) {
    const std::int64_t r = i - i0;
    const bool empty = visible_keys(i, head.diagonal, head.Nk) == 0;
    float* o = args.o + (n * args.shape.Nq + i) * head.d;
    const float inverse = 1.0f / panel.row_sum[r];
    for (std::int64_t c = 0; c < head.d; ++c) {
      o[c] = empty ? 0.0f : panel.acc_o[r * head.columns + c] * inverse;
    }
    args.lse[n * args.shape.Nq + i] =
        empty ? -kInfinity : panel.row_max[r] + std::log(panel.row_sum[r]);
  }
}

/// Queries [i0, i1) of head n, at most kMostPanels panels.
void rows(const ForwardArgs& args, std::int64_t n, std::int64_t i0, std::int64_t i1,
          Scratch& scratch) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const Head head{.k = args.k + n * Nk * d,
                  .v = args.v + n * Nk * d,
                  .Nk = Nk,
                  .d = d,
                  .columns = padded_columns(d),
                  .diagonal = diagonal(args.mask, Nq, Nk),
                  .scale = args.scale};
  for (std::int64_t p0 = i0; p0 < i1; p0 += kPanel) {
    Panel& panel = scratch.panels[(p0 - i0) / kPanel];
    transpose(args.q + (n * Nq + p0) * d, std::min<std::int64_t>(kPanel, i1 - p0), d, panel.qt[0]);
    std::fill_n(panel.acc_o, kPanel * head.columns, 0.0f);
    std::fill_n(panel.row_max, kPanel, -kInfinity);
    std::fill_n(panel.row_sum, kPanel, 0.0f);
  }
  const std::int64_t most = visible_keys(i1 - 1, head.diagonal, Nk);
  for (std::int64_t j0 = 0; j0 < most; j0 += kTileKeys) {
    pack_columns<kTileKeys>(head.v + j0 * d, std::min<std::int64_t>(kTileKeys, Nk - j0), d,
                            scratch.v);
    for (std::int64_t p0 = i0; p0 < i1; p0 += kPanel) {
      const std::int64_t p1 = std::min(p0 + kPanel, i1);
      const std::int64_t keys = visible(head, p1 - 1, j0, kTileKeys);
      if (keys == 0) continue;
      with_vectors(p1 - p0, [&]<int kVectors>() {
        meet<kVectors>(head, p0, p1, j0, keys, scratch.v, scratch.s,
                       scratch.panels[(p0 - i0) / kPanel]);
      });
    }
  }
  for (std::int64_t p0 = i0; p0 < i1; p0 += kPanel) {
    finish(args, head, n, p0, std::min(p0 + kPanel, i1), scratch.panels[(p0 - i0) / kPanel]);
  }
}

}  // namespace

void forward_cpu(const ForwardArgs& args) {
  const std::int64_t panels = (args.shape.Nq + kPanel - 1) / kPanel;
  const std::int64_t height =
      panels_per_task(args.shape.heads(), panels, cores(), 2, kMostPanels) * kPanel;
  const std::int64_t parts = (args.shape.Nq + height - 1) / height;
#pragma omp parallel
  {
    const auto scratch = std::make_unique_for_overwrite<Scratch>();
#pragma omp for schedule(dynamic)
    for (std::int64_t task = 0; task < args.shape.heads() * parts; ++task) {
      // The last rows see the most keys under a causal mask: they go first.
      const std::int64_t i0 = (parts - 1 - task / args.shape.heads()) * height;
      rows(args, task % args.shape.heads(), i0, std::min(i0 + height, args.shape.Nq), *scratch);
    }
  }
}

}  // namespace attn::register_tiles
