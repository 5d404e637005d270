// SPDX-License-Identifier: MIT
//
// Step 4 as plain C++: a core takes a run of the cache of one K/V head, and a dot product for each
// of its keys and each row. Memory is read once, from the first key to the last; a tile of keys
// stays in the L1 cache for all rows.
#include <thread>

#include "chapters/17_decode/cache.hpp"
#include "common/columns.hpp"
#include "common/cpu_tiles.hpp"
#include "common/device/group.hpp"

namespace attn::decoding {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Rows of K, V and O have d floats: a constant where d is kD.
template <int kD, bool kWhole>
struct Width {
  static constexpr bool kIsWhole = kWhole;
  std::int64_t d;
  std::int64_t operator()() const { return kWhole ? kD : d; }
};

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
/// One register of floats; they lie in memory at any address.
using Vector [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;
Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }

/// The sum of its lanes: first of every fourth.
float sum_of(const Vector& x) {
  using Four [[gnu::vector_size(16), gnu::aligned(4), gnu::may_alias]] = float;
  const Four* parts = reinterpret_cast<const Four*>(&x);
  Four sum = parts[0];
  for (int n = 1; n < kLanes / 4; ++n) sum += parts[n];
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/// A row's part of the tile of K and V that comes next, to be fetched on the way: so many floats
/// for each key of this one. Otherwise memory would wait for the core, then the core for memory.
struct Next {
  const float *k, *v;
  std::int64_t per_key;
};
void prefetch(const float* from, std::int64_t floats) {
  constexpr std::int64_t kLine = 16;
  for (std::int64_t c = 0; c < floats; c += kLine) __builtin_prefetch(from + c, 0, 2);  // to L2
}

/// s[j] = scale * q . k_j for kKeys keys: as many sums under way, so that a multiply-add need not
/// wait for the one before.
template <int kKeys, class W>
void scores(const float* q, const float* k, float scale, float* s, W width) {
  Vector sums[kKeys] = {};
  const std::int64_t whole = width() / kLanes * kLanes;
  for (std::int64_t c = 0; c < whole; c += kLanes) {
    const Vector of_q = load(q + c);
    for (int j = 0; j < kKeys; ++j) sums[j] += of_q * load(k + j * width() + c);
  }
  for (int j = 0; j < kKeys; ++j) {
    float dot = sum_of(sums[j]);
    for (std::int64_t c = whole; c < width(); ++c) dot += q[c] * k[j * width() + c];
    s[j] = scale * dot;
  }
}

/// o = rescale * o + sum over n keys of p[j] * v_j.
// Apart from its caller: an array indexed by constants only stays in registers.
template <int kD, class W>
[[gnu::noinline]] void add_weighted(const float* p, const float* v, std::int64_t n, float rescale,
                                    float* o, const Next& next, W width) {
  if constexpr (W::kIsWhole) {
    Vector sums[kD / kLanes] = {};
    for (std::int64_t j = 0; j < n; ++j) {
      prefetch(next.v + j * next.per_key, next.per_key);
      for (int c = 0; c < kD / kLanes; ++c) sums[c] += p[j] * load(v + j * kD + c * kLanes);
    }
    for (int c = 0; c < kD / kLanes; ++c) {
      Vector* of_o = reinterpret_cast<Vector*>(o + c * kLanes);
      *of_o = rescale * *of_o + sums[c];
    }
  } else {
    float sum[kD] = {};
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t c = 0; c < width(); ++c) sum[c] += p[j] * v[j * width() + c];
    }
    for (std::int64_t c = 0; c < width(); ++c) o[c] = rescale * o[c] + sum[c];
  }
}

/// Turns the scores of a row's tile into weights relative to the larger of their maximum and `max`,
/// which it becomes, and adds them to `sum`. Returns what the row's weights so far are to be
/// multiplied by.
// Apart from its caller: in a longer function g++ 12 calls expf for one number at a time.
[[gnu::noinline]] float softmax(float* s, std::int64_t n, float& max, float& sum) {
  const float new_max = std::max(max, cpu::maximum(s, n));
  const float reference = new_max == -kInfinity ? 0.0f : new_max;
  const float rescale = max == new_max ? 1.0f : std::exp(max - reference);
  sum = sum * rescale + cpu::exponentials(s, n, reference);
  max = new_max;
  return rescale;
}

/// One row of a tile and what a run leaves of it.
template <int kD>
struct Row {
  const float* q;
  float max = -kInfinity, sum = 0.0f;
  float acc_o[kD] = {};

  /// These keys join.
  template <class W>
  void update(const float* k, const float* v, const Range& keys, float scale, const Next& next,
              W width) {
    if (keys.empty()) return;
    constexpr int kAtOnce = 4;
    k += keys.begin * width();
    v += keys.begin * width();
    const std::int64_t n = keys.size(), fours = n / kAtOnce * kAtOnce;
    float s[kBc];
    for (std::int64_t j = 0; j < fours; j += kAtOnce) {
      prefetch(next.k + j * next.per_key, kAtOnce * next.per_key);
      scores<kAtOnce>(q, k + j * width(), scale, s + j, width);
    }
    for (std::int64_t j = fours; j < n; ++j) scores<1>(q, k + j * width(), scale, s + j, width);
    const float rescale = softmax(s, n, max, sum);
    add_weighted<kD>(s, v, n, rescale, acc_o, next, width);
  }
};

Range common(const Range& a, const Range& b) {
  return {std::max(a.begin, b.begin), std::min(a.end, b.end)};
}

/// One run for the rows from R0 on of a K/V head of all batches.
template <int kD, class W>
void forward_run(const ForwardArgs& args, const Request& request, const Partials& partials,
                 std::int64_t kv_head, std::int64_t R0, int split, W width) {
  const device::RowTile tile = device::row_tile(R0, kBr, request.Nq, kv_head, request.group());
  const Range valid = request.valid(kv_head / request.Hkv);
  const SeenKeys seen = request.seen(valid);
  const float* k = args.k + (kv_head * request.Nk + valid.begin) * width();
  const float* v = args.v + (kv_head * request.Nk + valid.begin) * width();
  const auto place = [&](int r) { return tile.head(r) * request.Nq + tile.i0 + tile.token(r); };
  Row<kD> rows[kBr];
  for (int r = 0; r < tile.rows; ++r) rows[r].q = args.q + place(r) * width();

  const SeenTiles tiles = seen.tiles(tile.tokens());
  const Range run = run_of(tiles.count(), split, partials.splits);
  const std::int64_t per_key = (width() + tile.rows - 1) / tile.rows;  // to be fetched by a row
  for (std::int64_t n = run.begin; n < run.end; ++n) {
    const std::int64_t j0 = tiles.tile(n) * kBc;
    const Range keys{j0, std::min<std::int64_t>(j0 + kBc, valid.size())};
    const std::int64_t next = tiles.tile(n + 1 < run.end ? n + 1 : n) * kBc * width();
    for (int r = 0; r < tile.rows; ++r) {
      const std::int64_t part = next + r * per_key * kBc;
      const Next row_next{k + part, v + part, per_key};
      const Range window = seen.band.row(tile.i0 + tile.token(r));
      const Range sinks{0, std::min({seen.sinks, window.begin, window.end})};
      rows[r].update(k, v, common(keys, sinks), request.scale, row_next, width);
      rows[r].update(k, v, common(keys, window), request.scale, row_next, width);
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
void merge_row(const ForwardArgs& args, const Request& request, const Partials& partials,
               std::int64_t row) {
  const float* maxima = partials.gMax + row * partials.splits;
  const float* sums = partials.gSum + row * partials.splits;
  const float row_max = cpu::maximum(maxima, partials.splits);
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

}  // namespace

void forward_cpu(const ForwardArgs& args) {
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
                      static_cast<int>(n % splits), width);
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

}  // namespace attn::decoding
