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
  std::int64_t d;
  std::int64_t operator()() const { return kWhole ? kD : d; }
};

template <class W>
float dot(const float* q, const float* k, W width) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t c = 0; c < width(); ++c) sum += q[c] * k[c];
  return sum;
}

/// o = rescale * o + sum over n keys of p[j] * v_j.
// Apart from its caller: an array indexed by constants only stays in registers.
template <int kD, class W>
[[gnu::noinline]] void add_weighted(const float* p, const float* v, std::int64_t n, float rescale,
                                    float* o, W width) {
  float sum[kD] = {};
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t c = 0; c < width(); ++c) sum[c] += p[j] * v[j * width() + c];
  }
  for (std::int64_t c = 0; c < width(); ++c) o[c] = rescale * o[c] + sum[c];
}

/// One row of a tile and what a run leaves of it.
template <int kD>
struct Row {
  const float* q;
  float max = -kInfinity, sum = 0.0f;
  float acc_o[kD] = {};

  /// Keys begin .. end - 1 of K and V join.
  template <class W>
  void update(const float* k, const float* v, const Range& keys, float scale, W width) {
    if (keys.empty()) return;
    float s[kBc];
    for (std::int64_t j = keys.begin; j < keys.end; ++j) {
      s[j - keys.begin] = scale * dot(q, k + j * width(), width);
    }
    const float new_max = std::max(max, cpu::maximum(s, keys.size()));
    const float reference = new_max == -kInfinity ? 0.0f : new_max;
    const float rescale = std::exp(max - reference);
    sum = sum * rescale + cpu::exponentials(s, keys.size(), reference);
    add_weighted<kD>(s, v + keys.begin * width(), keys.size(), rescale, acc_o, width);
    max = new_max;
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
  for (std::int64_t n = run.begin; n < run.end; ++n) {
    const std::int64_t j0 = tiles.tile(n) * kBc;
    const Range keys{j0, std::min<std::int64_t>(j0 + kBc, valid.size())};
    for (int r = 0; r < tile.rows; ++r) {
      const Range window = seen.band.row(tile.i0 + tile.token(r));
      const Range sinks{0, std::min({seen.sinks, window.begin, window.end})};
      rows[r].update(k, v, common(keys, sinks), request.scale, width);
      rows[r].update(k, v, common(keys, window), request.scale, width);
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
