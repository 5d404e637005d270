// SPDX-License-Identifier: MIT
//
// Chapter 17: what a few queries of a long cache move, from what the oracle says that each row sees
// and which keys of the cache are valid.
#include <algorithm>
#include <set>
#include <vector>

#include "common/reference/extra_values.hpp"
#include "common/simt/machine/device.hpp"
#include "tests/io_formulas.hpp"

namespace attn::testing {
namespace {

constexpr std::int64_t kRows = 16, kKeys = 32;  // of a tile
constexpr std::int64_t kThreads = 128;
constexpr std::int64_t kInteger = 2;  // of 64 bits, in elements

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// How a step shares out its work: heads whose rows are one tile's, whether a cache is divided into
/// runs, and whether tiles of it that no row sees are left out.
struct Plan {
  bool packs = false, splits = false, skips = false;
};

class Cache {
 public:
  explicit Cache(const Problem& problem)
      : problem_(problem), values_(problem.extras.as<double>()), seen_(problem.mask, values_) {}

  /// The valid keys of sequence b.
  Range valid(std::int64_t b) const {
    const auto at = static_cast<std::size_t>(b);
    const std::int64_t begin = values_.key_begin.empty() ? 0 : values_.key_begin[at];
    return {begin, values_.key_count.empty() ? problem_.shape.Nk : begin + values_.key_count[at]};
  }
  /// The tiles, counted from the first valid key, of which some of these tokens sees a key.
  std::set<std::int64_t> tiles(std::int64_t b, std::int64_t begin, std::int64_t end) const {
    const reference::HeadRows head = reference::rows_of_head(problem_.shape, values_, b, 0);
    std::set<std::int64_t> result;
    std::vector<std::int64_t> keys;
    for (std::int64_t i = begin; i < end; ++i) {
      seen_.keys_of(head, i, keys);
      for (const std::int64_t j : keys) result.insert((j - valid(b).begin) / kKeys);
    }
    return result;
  }
  /// What `threads` threads ask for to find the valid keys; of `sequences` ones.
  Io lookups(std::int64_t threads, std::int64_t sequences) const {
    const std::int64_t arrays =
        (values_.key_begin.empty() ? 0 : 1) + (values_.key_count.empty() ? 0 : 1);
    return {.loads = kInteger * arrays * threads, .reads = kInteger * arrays * sequences};
  }

 private:
  const Problem& problem_;
  reference::ExtraValues<double> values_;
  reference::Visibility seen_;
};

/// As many runs as give every multiprocessor two blocks, at most a lane of a warp for each, and no
/// more than there are tiles.
std::int64_t runs(std::int64_t blocks, std::int64_t tiles) {
  const std::int64_t wanted = 2 * simt::current_device().multiprocessors / blocks;
  return std::max<std::int64_t>(1, std::min({wanted, tiles, std::int64_t{32}}));
}

/// One query, one group of G heads, d columns, S runs: without packing 2 G N d, with it 2 N d
/// elements of K and V; S G d of Q; S G (d + 2) left by the runs and read again; G (d + 1) written.
Io decode(const Problem& problem, const Plan& plan) {
  const Shape& shape = problem.shape;
  const Cache cache(problem);
  const std::int64_t d = shape.d, heads = plan.packs ? shape.H / shape.Hkv : 1;
  const std::int64_t row_tiles = ceil_div(shape.Nq * heads, kRows);
  const std::int64_t blocks = shape.B * shape.H / heads * row_tiles;
  std::int64_t most = plan.skips ? 0 : ceil_div(shape.Nk, kKeys);
  for (std::int64_t b = 0; plan.skips && b < shape.B; ++b) {
    most = std::max(most, static_cast<std::int64_t>(cache.tiles(b, 0, shape.Nq).size()));
  }
  const std::int64_t S = plan.splits ? runs(blocks, most) : 1;

  std::int64_t loads = 0, reads = 0;  // of rows of K and V
  for (std::int64_t b = 0; b < shape.B; ++b) {
    const Range valid = cache.valid(b);
    std::set<std::int64_t> distinct;
    for (std::int64_t R0 = 0; R0 < shape.Nq * heads; R0 += kRows) {
      const std::int64_t R1 = std::min(R0 + kRows, shape.Nq * heads);
      std::set<std::int64_t> tiles;
      for (std::int64_t j = 0; j < valid.size(); ++j) tiles.insert(j / kKeys);
      if (plan.skips) tiles = cache.tiles(b, R0 / heads, (R1 - 1) / heads + 1);
      for (const std::int64_t tile : tiles) {
        loads += shape.H / heads * std::min(kKeys, valid.size() - tile * kKeys);
      }
      distinct.insert(tiles.begin(), tiles.end());
    }
    for (const std::int64_t tile : distinct) {
      reads += shape.Hkv * std::min(kKeys, valid.size() - tile * kKeys);
    }
  }
  const std::int64_t rows = shape.rows(), out = rows * (d + 1);
  const Io walk = Io{.loads = S * rows * d + 2 * loads * d, .reads = rows * d + 2 * reads * d} +
                  cache.lookups(S * blocks * kThreads, shape.B);
  if (!plan.splits) return walk + Io{.stores = out, .writes = out};
  const std::int64_t left = S * rows * (d + 2);
  return walk + Io{.stores = left, .writes = left} +
         Io{.loads = left, .stores = out, .reads = left, .writes = out} +
         cache.lookups(32 * rows, shape.B);
}

}  // namespace

Io one_query_forward(const Problem& problem) { return decode(problem, {}); }
Io split_forward(const Problem& problem) { return decode(problem, {.splits = true}); }
Io group_forward(const Problem& problem) {
  return decode(problem, {.packs = true, .splits = true});
}
Io cache_forward(const Problem& problem) {
  return decode(problem, {.packs = true, .splits = true, .skips = true});
}

}  // namespace attn::testing
