// SPDX-License-Identifier: MIT
//
// Chapters 17 and 18: what a few queries of a long cache move, from what the oracle says that each
// row sees, which keys of the cache are valid, and which share a page.
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
/// runs, and whether tiles of it that no row sees are left out. And how many threads ask the table
/// of a paged cache for the page of a key that a block loads.
struct Plan {
  bool packs = false, splits = false, skips = false;
  std::int64_t lookups = 0;
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
  /// The tiles' rows of a head of K, each by where it lies, into `rows`; the entries of the table
  /// that say so, into `entries`.
  void add(std::int64_t b, const std::set<std::int64_t>& tiles, std::set<std::int64_t>& rows,
           std::set<std::int64_t>& entries) const {
    const std::int64_t P = values_.page_keys;
    const Range keys = valid(b);
    for (const std::int64_t tile : tiles) {
      const std::int64_t end = std::min((tile + 1) * kKeys, keys.size());
      for (std::int64_t j = keys.begin + tile * kKeys; j < keys.begin + end; ++j) {
        if (P == 0) {
          rows.insert(b * problem_.shape.Nk + j);
          continue;
        }
        const std::int64_t entry = b * ceil_div(problem_.shape.Nk, P) + j / P;
        entries.insert(entry);
        rows.insert(values_.block_table[static_cast<std::size_t>(entry)] * P + j % P);
      }
    }
  }
  bool paged() const { return values_.page_keys > 0; }
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

  std::int64_t loads = 0;                     // of rows of K and V
  std::set<std::int64_t> rows_read, entries;  // distinct ones, of a head of K and V; of the table
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
    cache.add(b, distinct, rows_read, entries);
  }
  const auto size = [](const std::set<std::int64_t>& of) {
    return static_cast<std::int64_t>(of.size());
  };
  const std::int64_t reads = shape.Hkv * size(rows_read);
  const Io table{.loads = cache.paged() ? kInteger * plan.lookups * loads : 0,
                 .reads = kInteger * size(entries)};
  const std::int64_t rows = shape.rows(), out = rows * (d + 1);
  const Io walk = Io{.loads = S * rows * d + 2 * loads * d, .reads = rows * d + 2 * reads * d} +
                  cache.lookups(S * blocks * kThreads, shape.B) + table;
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
Io lookup_forward(const Problem& problem) {  // each lane of a warp that loads a row, of K and V
  return decode(problem, {.packs = true, .splits = true, .skips = true, .lookups = 2 * 32});
}
Io pages_forward(const Problem& problem) {  // one lane of each warp, for K and V together
  return decode(problem, {.packs = true, .splits = true, .skips = true, .lookups = kThreads / 32});
}

}  // namespace attn::testing
