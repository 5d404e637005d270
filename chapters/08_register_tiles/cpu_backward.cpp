// SPDX-License-Identifier: MIT
//
// FlashAttention-2's backward pass with register tiles on a core. A tile of queries stays, and all
// keys stream by, as in the forward pass: dQ is made where its queries are, and added to memory is
// what the tile gives to dK and dV.
//   1. S^T = scale * K Q^T,  dP^T = V dO^T     register tiles of keys x queries, over d
//   2. P = exp(S - LSE),  dS = P * (dP - delta)
//   3. dV += P^T dO,  dK += dS^T Q             register tiles of keys x columns, over the queries
//   4. dQ += dS K                              register tiles of queries x columns, over the keys
//   5. dQ *= scale;  dK *= scale when all tiles have been: a large scale meets finished sums only
// Nothing hides S and dS behind the mask: steps 3 and 4 leave out what no row sees.
//
// Who is written must have one owner. A thread takes a whole head where there are enough heads;
// else a share of its query tiles, with sums of dK and dV of its own, which are added up in the
// order of the shares at the end.
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>

#include "chapters/08_register_tiles/cpu.hpp"
#include "chapters/08_register_tiles/cpu_tiles.hpp"

namespace attn::register_tiles {
namespace {

constexpr int kTileKeys = 8 * kRows;  // 48, or 96
constexpr int kMostPanels = 4;
constexpr int kTileQueries = kMostPanels * kPanel;
static_assert(kTileKeys >= kLeastRows && kTileKeys % kRows == 0);

/// A core's own memory. Of it, 170 KiB are in use at d = 64 with 8 lanes, which leaves room in a
/// second cache of 512 KiB for the tiles of K, V, dK and dV.
struct Scratch {
  alignas(64) float qt[kMostPanels][kMaxColumns * kPanel];  // panels: (d, queries)
  alignas(64) float grad_ot[kMostPanels][kMaxColumns * kPanel];
  alignas(64) float q[kTileQueries * kMaxColumns];  // blocks of columns
  alignas(64) float grad_o[kTileQueries * kMaxColumns];
  alignas(64) float k[kTileKeys * kMaxColumns];
  alignas(64) float p[kTileKeys][kTileQueries];          // (keys, queries): S, then P
  alignas(64) float ds[kTileKeys][kTileQueries];         // dP, then dS
  alignas(64) float grad_q[kTileQueries * kMaxColumns];  // (queries, padded_columns(d))
  alignas(64) float lse[kTileQueries];
  alignas(64) float delta[kTileQueries];  // rowsum(dO * O)
};

/// How the work is split, by the shape and the number of threads alone.
struct Plan {
  explicit Plan(const Shape& shape) {
    const std::int64_t heads = std::max<std::int64_t>(shape.heads(), 1);
    const std::int64_t panels = (shape.Nq + kPanel - 1) / kPanel;
    if (heads < 4 * cores()) {
      shares = std::clamp<std::int64_t>(cores() / std::gcd(cores(), heads), 1,
                                        std::max<std::int64_t>(panels, 1));
    }
    height = panels_per_task(1, panels, shares, 2, kMostPanels) * kPanel;
    tiles = (shape.Nq + height - 1) / height;
    columns = padded_columns(shape.d);
    in_place = columns == shape.d ? 1 : 0;
  }
  std::int64_t height;      // queries in a tile
  std::int64_t tiles;       // of a head
  std::int64_t shares = 1;  // of a head
  std::int64_t columns;
  std::int64_t in_place;  // shares whose sums are made in dK and dV themselves
};

/// (Nk, columns), each.
struct Sums {
  float* k;
  float* v;
};

Sums sums_of(const BackwardArgs& args, const Plan& plan, std::int64_t n, std::int64_t share) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  if (share < plan.in_place) return {args.grad_k + n * Nk * d, args.grad_v + n * Nk * d};
  const std::int64_t index = n * (plan.shares - plan.in_place) + share - plan.in_place;
  float* k = static_cast<float*>(args.workspace) + index * 2 * Nk * plan.columns;
  return {k, k + Nk * plan.columns};
}

/// Takes a tile of queries, rows [i0, i1) of head n, into the core's own memory.
void load_queries(const BackwardArgs& args, std::int64_t n, std::int64_t i0, std::int64_t i1,
                  Scratch& scratch) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  const float* q = args.q + (n * Nq + i0) * d;
  const float* o = args.o + (n * Nq + i0) * d;
  const float* grad_o = args.grad_o + (n * Nq + i0) * d;
  const std::int64_t count = i1 - i0;
  pack_columns<kTileQueries>(q, count, d, scratch.q);
  pack_columns<kTileQueries>(grad_o, count, d, scratch.grad_o);
  for (std::int64_t r = 0; r < count; r += kPanel) {
    const std::int64_t some = std::min<std::int64_t>(kPanel, count - r);
    transpose(q + r * d, some, d, scratch.qt[r / kPanel]);
    transpose(grad_o + r * d, some, d, scratch.grad_ot[r / kPanel]);
  }
  for (std::int64_t r = 0; r < count; ++r) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t c = 0; c < d; ++c) sum += grad_o[r * d + c] * o[r * d + c];
    scratch.delta[r] = sum;
    scratch.lse[r] = args.lse[n * Nq + i0 + r];
  }
  std::fill_n(scratch.grad_q, padded_rows(count) * padded_columns(d), 0.0f);
}

/// P and dS of a panel, `first` its first row in the tile, and `keys` keys: rows of K and V. Where
/// a row sees the key P is at most 1, up to rounding.
template <int kVectors>
void weigh(const float* k, const float* v, std::int64_t keys, std::int64_t d, float scale,
           std::int64_t first, Scratch& scratch) {
  float* p = scratch.p[0] + first;
  float* ds = scratch.ds[0] + first;
  products<kVectors>(k, keys, d, scratch.qt[first / kPanel], scale, p, kTileQueries);
  products<kVectors>(v, keys, d, scratch.grad_ot[first / kPanel], 1.0f, ds, kTileQueries);
  Vector lse[kVectors], delta[kVectors];
  for (int x = 0; x < kVectors; ++x) {
    lse[x] = load(scratch.lse + first + x * kLanes);
    delta[x] = load(scratch.delta + first + x * kLanes);
  }
  for (std::int64_t j = 0; j < keys; ++j) {
    Vector weight[kVectors];
    for (int x = 0; x < kVectors; ++x) weight[x] = load(p + x * kLanes) - lse[x];
    exponentials(weight);
    for (int x = 0; x < kVectors; ++x) {
      const Vector difference = load(ds + x * kLanes) - delta[x];
      store(p + x * kLanes, weight[x]);
      store(ds + x * kLanes, weight[x] * difference);
    }
    p += kTileQueries;
    ds += kTileQueries;
  }
}

/// Rows [i0, i1) of head n: their dQ, and what they add to dK and dV.
void query_tile(const BackwardArgs& args, std::int64_t n, std::int64_t i0, std::int64_t i1,
                const Sums& sums, Scratch& scratch) {
  const std::int64_t Nq = args.shape.Nq, Nk = args.shape.Nk, d = args.shape.d;
  const std::int64_t diagonal = attn::diagonal(args.mask, Nq, Nk);
  const std::int64_t columns = padded_columns(d);
  const std::int64_t count = i1 - i0;
  load_queries(args, n, i0, i1, scratch);
  const std::int64_t most = visible_keys(i1 - 1, diagonal, Nk);
  for (std::int64_t j0 = 0; j0 < most; j0 += kTileKeys) {
    const std::int64_t keys = std::min<std::int64_t>(kTileKeys, most - j0);
    // Of these, the ones that row i0 + r sees; and the rows that see key j0 + r.
    const auto keys_of = [&](std::int64_t r) {
      const std::int64_t i = i0 + std::min(r, count - 1);
      return Range{0, std::clamp<std::int64_t>(visible_keys(i, diagonal, Nk) - j0, 0, keys)};
    };
    const auto rows_of = [&](std::int64_t r) {
      return Range{std::clamp<std::int64_t>(first_query(j0 + r, diagonal, Nq) - i0, 0, count),
                   count};
    };
    const float* k = args.k + (n * Nk + j0) * d;
    const float* v = args.v + (n * Nk + j0) * d;
    for (std::int64_t first = 0; first < count; first += kPanel) {
      const std::int64_t some = std::min<std::int64_t>(kPanel, count - first);
      with_vectors(some, [&]<int kVectors>() {
        weigh<kVectors>(k, v, keys_of(first + some - 1).end, d, args.scale, first, scratch);
      });
    }
    pack_columns<kTileKeys>(k, keys, d, scratch.k);
    add_product<kTileQueries, 1, kTileQueries>(sums.v + j0 * columns, keys, columns, scratch.p[0],
                                               scratch.grad_o, rows_of);
    add_product<kTileQueries, 1, kTileQueries>(sums.k + j0 * columns, keys, columns, scratch.ds[0],
                                               scratch.q, rows_of);
    add_product<1, kTileQueries, kTileKeys>(scratch.grad_q, padded_rows(count), columns,
                                            scratch.ds[0], scratch.k, keys_of);
  }
  for (std::int64_t r = 0; r < count; ++r) {
    float* grad_q = args.grad_q + (n * Nq + i0 + r) * d;
    for (std::int64_t c = 0; c < d; ++c) grad_q[c] = args.scale * scratch.grad_q[r * columns + c];
  }
}

/// One share of head n: every plan.shares-th of its query tiles, there and back, so that all shares
/// have about as many keys under a causal mask.
void share_of_head(const BackwardArgs& args, const Plan& plan, std::int64_t n, std::int64_t share,
                   Scratch& scratch) {
  const Sums sums = sums_of(args, plan, n, share);
  std::fill_n(sums.k, args.shape.Nk * plan.columns, 0.0f);
  std::fill_n(sums.v, args.shape.Nk * plan.columns, 0.0f);
  for (std::int64_t tile = 0; tile < plan.tiles; ++tile) {
    const std::int64_t turn = tile / plan.shares, place = tile % plan.shares;
    if ((turn % 2 == 0 ? place : plan.shares - 1 - place) != share) continue;
    const std::int64_t i0 = tile * plan.height;
    query_tile(args, n, i0, std::min(i0 + plan.height, args.shape.Nq), sums, scratch);
  }
  if (plan.shares > plan.in_place) return;  // add_shares scales
  const std::int64_t numbers = args.shape.Nk * plan.columns;
  for (std::int64_t x = 0; x < numbers; ++x) sums.k[x] *= args.scale;
}

/// dK and dV of key j of head n: the sum of the shares.
void add_shares(const BackwardArgs& args, const Plan& plan, std::int64_t n, std::int64_t j) {
  const auto [B, H, Hkv, Nq, Nk, d] = args.shape;
  for (std::int64_t c = 0; c < d; ++c) {
    float k = 0.0f, v = 0.0f;
    for (std::int64_t share = 0; share < plan.shares; ++share) {
      const Sums sums = sums_of(args, plan, n, share);
      k += sums.k[j * plan.columns + c];
      v += sums.v[j * plan.columns + c];
    }
    args.grad_k[(n * Nk + j) * d + c] = args.scale * k;
    args.grad_v[(n * Nk + j) * d + c] = v;
  }
}

}  // namespace

std::size_t cpu_backward_workspace_bytes(const Shape& shape) {
  const Plan plan(shape);
  return static_cast<std::size_t>(shape.heads() * (plan.shares - plan.in_place) * 2 * shape.Nk *
                                  plan.columns) *
         sizeof(float);
}

void backward_cpu(const BackwardArgs& args) {
  const Plan plan(args.shape);
  const std::int64_t heads = args.shape.heads(), Nk = args.shape.Nk;
#pragma omp parallel
  {
    const auto scratch = std::make_unique_for_overwrite<Scratch>();
#pragma omp for schedule(dynamic)
    for (std::int64_t task = 0; task < heads * plan.shares; ++task) {
      share_of_head(args, plan, task / plan.shares, task % plan.shares, *scratch);
    }
    if (plan.shares > plan.in_place) {
#pragma omp for
      for (std::int64_t row = 0; row < heads * Nk; ++row) {
        add_shares(args, plan, row / Nk, row % Nk);
      }
    }
  }
}

}  // namespace attn::register_tiles
