// SPDX-License-Identifier: MIT
//
// Taught in chapter 17, its last step as plain C++: a core takes a run of the cache of one K/V
// head, and a dot product for each of its keys and each row. Memory is read once, from first key to
// last; a tile of keys stays in the L1 cache for all rows. Where a key lies is up to the twin.
#pragma once

#include <thread>

#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"
#include "common/device/cache.hpp"
#include "common/device/group.hpp"
#include "common/device/splits.hpp"

namespace attn::decoding::cpu {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Rows of K, V and O have d floats: a constant where d is kD.
template <int kD, bool kWhole>
struct Width {
  static constexpr bool kIsWhole = kWhole;
  std::int64_t d;
  std::int64_t operator()() const { return kWhole ? kD : d; }
};

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif
/// One register of floats; they lie in memory at any address.
using Vector [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;
inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

/// The sum of its lanes: first of every fourth.
inline float sum_of(const Vector& x) {
  using Four [[gnu::vector_size(16), gnu::aligned(4), gnu::may_alias]] = float;
  const Four* parts = reinterpret_cast<const Four*>(&x);
  Four sum = parts[0];
  for (int n = 1; n < kLanes / 4; ++n) sum += parts[n];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// A tile of keys: that of key j lies at(j) floats behind the begin of K or V.
template <class At>
struct Keys {
  const float *k, *v;
  At at;

  const float* k_row(std::int64_t j) const { return k + at(j); }
  const float* v_row(std::int64_t j) const { return v + at(j); }
};

/// A row's part of the tile that comes next, to be fetched on the way: `floats` from a column on,
/// of each key. Otherwise memory would wait for the core, then the core for memory.
template <class At>
struct Next {
  const Keys<At>& keys;
  std::int64_t column, floats;
};
inline void prefetch(const float* from, std::int64_t floats) {
  constexpr std::int64_t kLine = 16;
  for (std::int64_t c = 0; c < floats; c += kLine) __builtin_prefetch(from + c, 0, 2);  // to L2
}

/// s[j] = scale * q . k for kKeys rows of K: as many sums under way, so that a multiply-add need
/// not wait for the one before.
template <int kKeys, class W>
void scores(const float* q, const float* const (&k)[kKeys], float scale, float* s, W width) {
  Vector sums[kKeys] = {};
  const std::int64_t whole = width() / kLanes * kLanes;
  for (std::int64_t c = 0; c < whole; c += kLanes) {
    const Vector of_q = load(q + c);
    for (int j = 0; j < kKeys; ++j) sums[j] += of_q * load(k[j] + c);
  }
  for (int j = 0; j < kKeys; ++j) {
    float dot = sum_of(sums[j]);
    for (std::int64_t c = whole; c < width(); ++c) dot += q[c] * k[j][c];
    s[j] = scale * dot;
  }
}

/// o = rescale * o + sum over some keys of a tile of p * v, p of the first of them in p[0].
// Apart from its caller: an array indexed by constants only stays in registers.
template <int kD, class At, class W>
[[gnu::noinline]] void add_weighted(const float* p, const Keys<At>& keys, const Range& some,
                                    float rescale, float* o, const Next<At>& next, W width) {
  if constexpr (W::kIsWhole) {
    Vector sums[kD / kLanes] = {};
    for (std::int64_t j = some.begin; j < some.end; ++j) {
      prefetch(next.keys.v_row(j) + next.column, next.floats);
      const float* v = keys.v_row(j);
      const float weight = p[j - some.begin];
      for (int c = 0; c < kD / kLanes; ++c) sums[c] += weight * load(v + c * kLanes);
    }
    for (int c = 0; c < kD / kLanes; ++c) {
      Vector* of_o = reinterpret_cast<Vector*>(o + c * kLanes);
      *of_o = rescale * *of_o + sums[c];
    }
  } else {
    float sum[kD] = {};
    for (std::int64_t j = some.begin; j < some.end; ++j) {
      const float* v = keys.v_row(j);
      const float weight = p[j - some.begin];
      for (std::int64_t c = 0; c < width(); ++c) sum[c] += weight * v[c];
    }
    for (std::int64_t c = 0; c < width(); ++c) o[c] = rescale * o[c] + sum[c];
  }
}

/// Turns the scores of a row's tile into weights relative to the larger of their maximum and `max`,
/// which it becomes, and adds them to `sum`. Returns what the row's weights so far are to be
/// multiplied by.
// Apart from its caller: in a longer function g++ 12 calls expf for one number at a time.
[[gnu::noinline]] inline float softmax(float* s, std::int64_t n, float& max, float& sum) {
  const float new_max = std::max(max, attn::cpu::maximum(s, n));
  const float reference = new_max == -kInfinity ? 0.0f : new_max;
  const float rescale = max == new_max ? 1.0f : std::exp(max - reference);
  sum = sum * rescale + attn::cpu::exponentials(s, n, reference);
  max = new_max;
  return rescale;
}

/// One row of a tile and what a run leaves of it.
template <int kD>
struct Row {
  const float* q;
  float max = -kInfinity, sum = 0.0f;
  float acc_o[kD] = {};

  /// Some keys of a tile join.
  template <class At, class W>
  void update(const Keys<At>& keys, const Range& some, float scale, const Next<At>& next, W width) {
    if (some.empty()) return;
    float s[kBc];
    std::int64_t j = some.begin;
    for (; j + 4 <= some.end; j += 4) {
      for (int n = 0; n < 4; ++n) prefetch(next.keys.k_row(j + n) + next.column, next.floats);
      scores<4>(q, {keys.k_row(j), keys.k_row(j + 1), keys.k_row(j + 2), keys.k_row(j + 3)}, scale,
                s + j - some.begin, width);
    }
    for (; j < some.end; ++j) scores<1>(q, {keys.k_row(j)}, scale, s + j - some.begin, width);
    const float rescale = softmax(s, some.size(), max, sum);
    add_weighted<kD>(s, keys, some, rescale, acc_o, next, width);
  }
};

/// What of `keys` lies in a tile of kBc from j0 on, counted from there.
inline Range in_tile(const Range& keys, std::int64_t j0) {
  return {std::max<std::int64_t>(keys.begin - j0, 0), std::min<std::int64_t>(keys.end - j0, kBc)};
}

/// One run for the rows from R0 on of a K/V head of all batches. tile_at(kv_head, valid keys,
/// width) is a function that makes the At of a tile from its first key.
template <int kD, class TileAt, class W>
void forward_run(const ForwardArgs& args, const Request& request, const Partials& partials,
                 std::int64_t kv_head, std::int64_t R0, int split, const TileAt& tile_at, W width) {
  const device::RowTile tile = device::row_tile(R0, kBr, request.Nq, kv_head, request.group());
  const Range valid = request.valid(kv_head / request.Hkv);
  const SeenKeys seen = request.seen(valid);
  const auto at = tile_at(kv_head, valid, width);
  const auto place = [&](int r) { return tile.head(r) * request.Nq + tile.i0 + tile.token(r); };
  Row<kD> rows[kBr];
  for (int r = 0; r < tile.rows; ++r) rows[r].q = args.q + place(r) * width();

  const SeenTiles tiles = seen.tiles(tile.tokens());
  const Range run = run_of(tiles.count(), split, partials.splits);
  const std::int64_t part = (width() + tile.rows - 1) / tile.rows;  // of a key, fetched by a row
  using TileKeys = Keys<decltype(at(0))>;
  for (std::int64_t n = run.begin; n < run.end; ++n) {
    const std::int64_t j0 = tiles.tile(n) * kBc;
    const TileKeys keys{args.k, args.v, at(j0)};
    const std::int64_t next_j0 = tiles.tile(n + 1 < run.end ? n + 1 : n) * kBc;
    const TileKeys next_keys{args.k, args.v, at(next_j0)};
    for (int r = 0; r < tile.rows; ++r) {
      const Next<decltype(at(0))> next{next_keys, r * part, part};
      const Range window = seen.band.row(tile.i0 + tile.token(r));
      const Range sinks{0, std::min({seen.sinks, window.begin, window.end})};
      rows[r].update(keys, in_tile(sinks, j0), request.scale, next, width);
      rows[r].update(keys, in_tile(window, j0), request.scale, next, width);
    }
  }
  for (int r = 0; r < tile.rows; ++r) {
    const std::int64_t row = place(r) * partials.splits + split;
    std::copy_n(rows[r].acc_o, width(), partials.gO + row * width());
    partials.gMax[row] = rows[r].max;
    partials.gSum[row] = rows[r].sum;
  }
}

/// What the runs have left of a row, as one.
inline void merge_row(const ForwardArgs& args, const Request& request, const Partials& partials,
                      std::int64_t row) {
  const float* maxima = partials.gMax + row * partials.splits;
  const float* sums = partials.gSum + row * partials.splits;
  const float row_max = attn::cpu::maximum(maxima, partials.splits);
  float* o = args.o + row * request.d;
  std::fill_n(o, request.d, 0.0f);
  float row_sum = 0.0f;
  for (int split = 0; split < partials.splits; ++split) {
    const float weight = std::exp(maxima[split] - (row_max == -kInfinity ? 0.0f : row_max));
    const float* part = partials.gO + (row * partials.splits + split) * request.d;
    row_sum += weight * sums[split];
    for (std::int64_t c = 0; c < request.d; ++c) o[c] += weight * part[c];
  }
  const SeenKeys seen = request.seen(request.valid(row / (request.H * request.Nq)));
  if (!seen.sees_none(row % request.Nq)) {
    for (std::int64_t c = 0; c < request.d; ++c) o[c] /= row_sum;
  }
  args.lse[row] = row_sum == 0.0f ? -kInfinity : row_max + std::log(row_sum);
}

/// All runs and their merge.
template <class TileAt>
void forward(const ForwardArgs& args, const TileAt& tile_at) {
  const Request request = request_of(args);
  const std::int64_t tiles = group_tiles(args.shape);
  const std::int64_t row_tiles = tiles_of(request.Nq * request.group(), kBr);  // of a K/V head
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  const int splits = splits_for(tiles, cores, most_tiles(args));
  const Partials partials = partials_in(args.workspace, args.shape, splits);
  const auto run_all = [&]<int kD>(auto width) {
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t n = 0; n < tiles * splits; ++n) {
      const std::int64_t row_tile = n / splits;
      forward_run<kD>(args, request, partials, row_tile / row_tiles, row_tile % row_tiles * kBr,
                      static_cast<int>(n % splits), tile_at, width);
    }
  };
  with_columns(request.d, [&]<int kD>() {
    if (request.d == kD) return run_all.template operator()<kD>(Width<kD, true>{kD});
    run_all.template operator()<kD>(Width<kD, false>{request.d});
  });
#pragma omp parallel for
  for (std::int64_t row = 0; row < args.shape.rows(); ++row) {
    merge_row(args, request, partials, row);
  }
}

}  // namespace attn::decoding::cpu
