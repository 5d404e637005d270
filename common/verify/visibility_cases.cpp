// SPDX-License-Identifier: MIT
#include "common/verify/visibility_cases.hpp"

#include <algorithm>
#include <array>

namespace attn::verify {
namespace {

/// Masks for tiles that end at multiples of T: without a window, and windows of one key, with and
/// without keys behind the row's own, a key less than a tile, as many and more, beyond both ends,
/// without an end, and from the top left.
std::vector<Mask> masks_around(std::int64_t T, std::int64_t beyond, bool windows) {
  std::vector<Mask> masks{Mask::kFull, Mask::kCausal};
  if (!windows) return masks;
  masks.insert(masks.end(), {{.before = 0, .after = 0},
                             {.before = 1, .after = 0},
                             {.before = T - 1, .after = 0},
                             {.before = T, .after = 0},
                             {.before = T + 1, .after = 3},
                             {.before = beyond, .after = 0},
                             {.before = beyond, .after = beyond},
                             {.before = 1, .after = kUnbounded},
                             {.before = T, .after = 0, .top_left = true}});
  return masks;
}

/// Valid keys of two sequences, the first time those of no array: none, one, a tile, one more, all;
/// from the first key on or not; and with only one of the two arrays.
std::vector<VisibleKeys> lengths_around(std::int64_t T, std::int64_t Nk, bool lengths) {
  if (!lengths) return {{}};
  return {{},
          {.count = {0, Nk}},
          {.count = {T, 1}},
          {.begin = {1, T}},
          {.begin = {2, 0}, .count = {T + 1, T}},
          {.begin = {Nk - 1, T - 1}, .count = {1, 2}}};
}

/// Masks, valid keys and sink keys, each by itself, for every T, and every two of their values
/// together, on several tiles of queries and of keys. The own key of a tile's first row begins a
/// tile, so that windows end at the edges of tiles. In every fifth case there are more queries than
/// keys, and the first tiles of rows are empty. Mostly with NaN and Inf in the keys that no row
/// sees. A thin table has one T, and every third pair.
void add_key_ranges(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  const Features& taken = builder.support().features;
  const bool windows = taken.has(Feature::kWindows), lengths = taken.has(Feature::kKeyCounts),
             sinks = taken.has(Feature::kSinkKeys);
  if (!windows && !lengths && !sinks) return;
  const std::vector<int>& edges = builder.edges();
  const std::int64_t most = *std::max_element(edges.begin(), edges.end());
  constexpr std::int64_t kDims[] = {16, 40, 8};  // for other d a chapter may take other tiles
  std::size_t turn = 0;
  const auto add = [&](std::size_t w, std::size_t l, std::size_t s) {
    const std::int64_t T = edges[turn % edges.size()];
    Shape shape = make_shape(1, 1, most + 7, 2 * most + 7, kDims[turn / 2 % std::size(kDims)]);
    if (turn % 5 == 4) std::swap(shape.Nq, shape.Nk);
    const Mask mask = masks_around(T, shape.Nq + shape.Nk, windows)[w];
    VisibleKeys keys = lengths_around(T, shape.Nk, lengths)[l];
    Features features;
    if (l > 0) {
      shape.B = 2;
      features.add(Feature::kKeyCounts);
    }
    if (s > 0) {
      keys.sink_keys = std::array<std::int64_t, 4>{0, 1, T, T + 3}[s];
      features.add(Feature::kSinkKeys);
    }
    const InputKind kind =
        turn % 2 == 0 && l == 0 && s == 0 ? InputKind::kNormal : InputKind::kHiddenPoison;
    builder.add(shape, only_mask.value_or(mask), kind, 0, features, keys);
    ++turn;
  };
  const std::size_t counts[] = {masks_around(1, 1, windows).size(),
                                lengths_around(1, 1, lengths).size(), sinks ? 4u : 1u};
  std::size_t pairs = 0;
  for (std::size_t w = 0; w < counts[0]; ++w) {
    for (std::size_t l = 0; l < counts[1]; ++l) {
      for (std::size_t s = 0; s < counts[2]; ++s) {
        const int there = (w > 1 ? 1 : 0) + (l > 0 ? 1 : 0) + (s > 0 ? 1 : 0);
        const bool third_follows = counts[0] > 2 && counts[1] > 1 && counts[2] > 1;
        if (there == 1 && w != 1) {
          for (std::size_t n = 0; n < (thin ? 1 : edges.size()); ++n) add(w, l, s);
        } else if (there > 0 && (!third_follows || (w + l) % counts[2] == s)) {
          if (!thin || pairs++ % 3 == 0) add(w, l, s);
        }
      }
    }
  }
}

/// Windows so wide that there are tiles in which only the last row, or only the first, of a tile of
/// queries misses a key; and windows that end one key before and behind there. A thin table has
/// every second one.
void add_aligned_windows(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  if (!builder.support().features.has(Feature::kWindows)) return;
  const std::int64_t T = *std::max_element(builder.edges().begin(), builder.edges().end());
  for (const std::int64_t d : {16, 40}) {  // for which a chapter may take other tiles
    for (const std::int64_t bound : {2 * T - 2, 2 * T - 1, 2 * T}) {
      const Shape shape = make_shape(1, 1, 2 * T, 2 * T, d);
      const auto add = [&](const Mask& mask) {
        builder.add(shape, only_mask.value_or(mask), InputKind::kNormal, 0);
      };
      add({.before = bound, .after = 0});
      if (!thin) add({.before = 0, .after = bound});
    }
  }
}

/// Sink keys that fill a tile, and that end in the second one, each with a tile of hidden keys
/// behind them before the window begins.
void add_distant_sinks(CaseBuilder& builder, const std::optional<Mask>& only_mask) {
  const Features& taken = builder.support().features;
  if (!taken.has(Feature::kSinkKeys) || !taken.has(Feature::kWindows)) return;
  for (const std::int64_t T : builder.edges()) {
    for (const std::int64_t d : {16, 40}) {  // for which a chapter may take other tiles
      for (const std::int64_t sinks : {T, T + 3}) {
        builder.add(make_shape(1, 1, 7, 4 * T + 5, d),
                    only_mask.value_or(Mask{.before = 1, .after = 0}), InputKind::kNormal, 0,
                    {Feature::kSinkKeys}, {.sink_keys = sinks});
      }
    }
  }
}

/// How many queries and keys each of some packed sequences has.
struct Lengths {
  std::vector<std::int64_t> queries, keys;
};

/// None, one, a tile, one more, in every order; nothing first and last; only queries, only keys;
/// nothing at all. Where there are no queries, a neighbour's keys may be NaN.
std::vector<Lengths> sequences_around(std::int64_t T) {
  const std::vector<std::int64_t> all{1, 0, T + 1, 0, T, 3};
  return {{all, all},
          {{5, 0, T + 1, 0}, {T - 1, 7, T + 1, 9}},
          {{0, 3, T, 0}, {0, T + 1, 2 * T, 0}},
          {{T - 1, 2 * T + 1, 1}, {2 * T + 1, T, 1}},
          {{2, T + 2}, {0, 0}},
          {{0, 2}, {T + 1, 0}},
          {{0, 0, 0}, {0, 0, 0}},
          {{T + 1}, {2 * T + 1}}};
}

std::vector<std::int64_t> offsets_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> offsets{0};
  for (const std::int64_t length : lengths) offsets.push_back(offsets.back() + length);
  return offsets;
}

/// One range or two for each of Nq rows, of Nk keys.
struct RangePattern {
  std::string_view name;
  int per_row;
  std::array<Range, 2> (*row)(std::int64_t i, std::int64_t Nk, std::int64_t T);
};

/// What people put into one row of tokens, and what a kernel may not take for granted: that ranges
/// grow from row to row, that the second lies behind the first, that there are any.
constexpr RangePattern kRangePatterns[] = {
    {"documents", 1,
     [](std::int64_t i, std::int64_t Nk, std::int64_t T) {  // two, and the rest
       const std::int64_t first = std::min(T - 1, Nk), second = std::min(T + 4, Nk);
       return std::array{i < 3   ? Range{0, first}
                         : i < T ? Range{first, second}
                                 : Range{second, Nk},
                         Range{}};
     }},
    {"prefixes", 1,  // of blocks of five rows
     [](std::int64_t i, std::int64_t Nk, std::int64_t) {
       return std::array{Range{0, std::min(i / 5 * 9 + 2, Nk)}, Range{}};
     }},
    {"single keys", 1,  // on either side of an edge, the later one first; and none
     [](std::int64_t i, std::int64_t Nk, std::int64_t T) {
       const std::int64_t key = std::min(i % 3 == 0 ? T : T - 1, Nk - 1);
       return std::array{i % 3 == 2 ? Range{key, key} : Range{key, key + 1}, Range{}};
     }},
    {"none", 1,
     [](std::int64_t, std::int64_t Nk, std::int64_t) {
       return std::array{Range{Nk, Nk}, Range{}};
     }},
    {"falling", 1,  // the first rows see the last keys
     [](std::int64_t i, std::int64_t Nk, std::int64_t) {
       const std::int64_t begin = std::max<std::int64_t>(Nk - 2 * i - 9, 0);
       return std::array{Range{begin, std::min(begin + 7, Nk)}, Range{}};
     }},
    {"two ends", 2,
     [](std::int64_t i, std::int64_t Nk, std::int64_t) {
       return std::array{Range{0, 3}, Range{Nk - 5 + i % 3, Nk}};
     }},
    {"second first", 2,
     [](std::int64_t, std::int64_t Nk, std::int64_t T) {
       return std::array{Range{std::min(T + 1, Nk), Nk}, Range{2, 4}};
     }},
    {"overlapping", 2,  // equal, one in the other, partly, side by side
     [](std::int64_t i, std::int64_t Nk, std::int64_t T) {
       const std::int64_t most = std::min(T + 9, Nk);
       const Range second[] = {{1, most}, {3, 5}, {most - 2, Nk}, {most, Nk}};
       return std::array{Range{1, most}, second[i % 4]};
     }},
    {"one of two", 2,  // the other empty, in turn; a tile in the middle that no row sees
     [](std::int64_t i, std::int64_t Nk, std::int64_t) {
       const Range range = i % 2 == 0 ? Range{0, 2} : Range{Nk - 2, Nk};
       return i % 3 == 0 ? std::array{range, Range{}} : std::array{Range{Nk, Nk}, range};
     }},
};

std::vector<std::int64_t> rows_of(const RangePattern& pattern, const Shape& shape, std::int64_t T) {
  std::vector<std::int64_t> bounds;
  for (std::int64_t b = 0; b < shape.B; ++b) {
    for (std::int64_t i = 0; i < shape.Nq; ++i) {
      const std::array<Range, 2> row = pattern.row(i + 2 * b, shape.Nk, T);
      for (int n = 0; n < pattern.per_row; ++n) {
        bounds.insert(bounds.end(), {row[n].begin, row[n].end});
      }
    }
  }
  return bounds;
}

/// Packed sequences, and ranges of keys, each by itself and with every mask; mostly with NaN and
/// Inf in the keys that no row sees. A thin table has every third mask.
void add_sequences_and_ranges(CaseBuilder& builder, const std::optional<Mask>& only_mask,
                              bool thin) {
  const Features& taken = builder.support().features;
  const std::vector<int>& edges = builder.edges();
  const std::int64_t most = *std::max_element(edges.begin(), edges.end());
  constexpr std::int64_t kDims[] = {16, 40, 8};  // for other d a chapter may take other tiles
  std::size_t turn = 0;
  const auto add = [&](Shape shape, Feature feature, const Mask& mask, const VisibleKeys& keys) {
    shape.d = kDims[turn / 2 % std::size(kDims)];
    const InputKind kind = turn % 5 == 0 ? InputKind::kNormal : InputKind::kHiddenPoison;
    builder.add(shape, mask, kind, 0, {feature}, keys);
  };
  const auto with_masks = [&](auto make, bool given) {
    if (!given) return;
    const std::size_t masks = masks_around(1, 1, taken.has(Feature::kWindows)).size();
    for (std::size_t m = 0; m < masks; ++m, ++turn) {
      if (thin && m > 1 && turn % 3 != 0) continue;
      const std::int64_t T = edges[turn / 3 % edges.size()];
      const Mask mask = masks_around(T, 6 * most, taken.has(Feature::kWindows))[m];
      make(T, only_mask.value_or(mask));
    }
    ++turn;  // so that a pattern does not always meet the same mask
  };
  for (std::size_t n = 0; n < sequences_around(1).size(); ++n) {
    const auto packed = [&](std::int64_t T, const Mask& mask) {
      const Lengths lengths = sequences_around(T)[n];
      const auto longest = [](const std::vector<std::int64_t>& of) {
        return *std::max_element(of.begin(), of.end());
      };
      add(make_shape(static_cast<std::int64_t>(lengths.keys.size()), 2, longest(lengths.queries),
                     longest(lengths.keys), 0),
          Feature::kPacked, mask,
          {.q_offsets = offsets_of(lengths.queries), .k_offsets = offsets_of(lengths.keys)});
    };
    with_masks(packed, taken.has(Feature::kPacked));
  }
  for (const RangePattern& pattern : kRangePatterns) {
    const auto ranges = [&](std::int64_t T, const Mask& mask) {
      Shape shape = make_shape(turn % 4 == 3 ? 2 : 1, 1, most + 7, 2 * most + 5, 0);
      if (turn % 5 == 4) std::swap(shape.Nq, shape.Nk);
      add(shape, Feature::kRanges, mask,
          {.ranges = rows_of(pattern, shape, T),
           .ranges_per_row = pattern.per_row,
           .ranges_name = pattern.name});
    };
    with_masks(ranges, taken.has(Feature::kRanges));
  }
}

/// Which pairs a mask array shows, of Nk keys.
struct PairPattern {
  std::string_view name;
  bool (*sees)(std::int64_t i, std::int64_t j, std::int64_t Nk, std::int64_t T);
};

/// No order at all, the same with every standard library: `of_16` of 16 pairs are visible.
bool by_chance(std::int64_t i, std::int64_t j, unsigned of_16) {
  const auto pair = static_cast<std::uint64_t>(i) << 32 | static_cast<std::uint64_t>(j);
  const std::uint64_t mixed = (pair ^ pair >> 29) * 0xBF58476D1CE4E5B9u;
  return (mixed ^ mixed >> 32) * 0x94D049BB133111EBu >> 60 < of_16;
}

/// Where words and lists of tiles go wrong: rows, keys and tiles that are empty, full, or neither
/// but for one pair in a corner.
constexpr PairPattern kPairPatterns[] = {
    {"random",
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t) { return by_chance(i, j, 8); }},
    {"few",
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t) { return by_chance(i, j, 1); }},
    {"checkerboard",
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t) { return (i + j) % 2 == 0; }},
    {"tiles in turn",  // empty and full ones, and what is left at the edges
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t T) {
       return (i / T + j / T) % 2 == 1;
     }},
    {"empty rows",  // among them a tile's first and last, and all of a tile
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t T) {
       return i % T % 7 != 0 && i % T != T - 1 && i / T != 1 && (i + j) % 5 != 0;
     }},
    {"last corners",  // one pair of a tile
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t T) {
       return i % T == T - 1 && j % T == T - 1;
     }},
    {"first corners",  // of every second tile, the others empty
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t T) {
       return i % T == 0 && j % T == 0 && (i / T + j / T) % 2 == 0;
     }},
    {"all but corners",  // all but the first pair of a tile, or the last, or none
     [](std::int64_t i, std::int64_t j, std::int64_t, std::int64_t T) {
       const std::int64_t tile = (i / T + j / T) % 3, corner = tile == 0 ? 0 : T - 1;
       return tile == 2 || i % T != corner || j % T != corner;
     }},
    {"last keys",
     [](std::int64_t, std::int64_t j, std::int64_t Nk, std::int64_t) { return j >= Nk - 2; }},
    {"all", [](std::int64_t, std::int64_t, std::int64_t, std::int64_t) { return true; }},
    {"none", [](std::int64_t, std::int64_t, std::int64_t, std::int64_t) { return false; }},
};

/// The array, another one in each batch and head. What is not 0 sees.
std::vector<std::uint8_t> mask_of(const PairPattern& pattern, const PairShape& size,
                                  std::int64_t Nk, std::int64_t T) {
  constexpr std::uint8_t kSees[] = {1, 2, 0x80, 0xFF};
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(size.elements()), 0);
  for (std::int64_t b = 0; b < size.B; ++b) {
    for (std::int64_t h = 0; h < size.H; ++h) {
      for (std::int64_t i = 0; i < size.Nq; ++i) {
        for (std::int64_t j = 0; j < size.Nk; ++j) {
          if (!pattern.sees(i + 3 * b, j + 5 * h, Nk, T)) continue;
          mask[static_cast<std::size_t>(size.index(b, h, i, j))] = kSees[(i + j) % 4];
        }
      }
    }
  }
  return mask;
}

/// Mask arrays of every pattern, each by itself, with causal, and with a window; and of every size
/// that is broadcast. Mostly with NaN and Inf in the keys that no row sees, or NaN in one that some
/// rows see. A thin table has every pattern with one mask, and every second size.
void add_mask_arrays(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  const Features& taken = builder.support().features;
  if (!taken.has(Feature::kMaskArray)) return;
  const std::vector<int>& edges = builder.edges();
  const std::int64_t most = *std::max_element(edges.begin(), edges.end());
  std::size_t turn = 0;
  const auto add = [&](const Shape& shape, const PairShape& size, const PairPattern& pattern,
                       std::int64_t T, const Mask& mask) {
    constexpr InputKind kKinds[] = {InputKind::kHiddenPoison, InputKind::kNormal,
                                    InputKind::kNanInSharedK, InputKind::kHiddenPoison,
                                    InputKind::kNanInSharedV};
    builder.add(shape, only_mask.value_or(mask), kKinds[turn % std::size(kKinds)], 0,
                {Feature::kMaskArray},
                {.mask = mask_of(pattern, size, shape.Nk, T),
                 .mask_shape = size,
                 .mask_name = pattern.name});
    ++turn;
  };
  for (std::size_t p = 0; p < std::size(kPairPatterns); ++p) {
    for (std::size_t m = 0; m < 3; ++m) {
      if (thin && m != p % 3) continue;
      constexpr std::int64_t kDims[] = {16, 72, 40};  // for other d a chapter may take other tiles
      const std::int64_t d = std::min(kDims[turn / 2 % 3], builder.support().max_d);
      const std::int64_t T = edges[d > 64 ? 0 : p % edges.size()];
      const std::int64_t rows = d > 64 ? most / 2 : most;  // smaller tiles, and products cost more
      Shape shape = make_shape(1, 1, rows + 7, 2 * rows + 5, d);
      if (turn % 5 == 4) std::swap(shape.Nq, shape.Nk);
      const std::vector<Mask> masks = masks_around(T, 6 * most, taken.has(Feature::kWindows));
      add(shape, {1, 1, shape.Nq, shape.Nk}, kPairPatterns[p], T,
          masks[m < 2 || masks.size() == 2 ? m % 2 : 2 + p % (masks.size() - 2)]);
    }
  }
  const auto find = [](std::string_view name) {
    return *std::find_if(std::begin(kPairPatterns), std::end(kPairPatterns),
                         [&](const PairPattern& its) { return its.name == name; });
  };
  for (std::size_t n = 0; n < 16; ++n) {  // a bit for each size that is the problem's
    if (thin && (n + n / 4) % 2 == 0) continue;
    const std::int64_t T = edges.front();
    const Shape shape = make_shape(3, 2, T + 3, 2 * T + 5, turn % 2 == 0 ? 16 : 40);
    const PairShape size{n & 1 ? shape.B : 1, n & 2 ? shape.H : 1, n & 4 ? shape.Nq : 1,
                         n & 8 ? shape.Nk : 1};
    add(shape, size, find(n < 4 ? "checkerboard" : "random"), T,
        n % 3 == 2 ? Mask(Mask::kCausal) : Mask(Mask::kFull));
  }
}

}  // namespace

void add_visibility(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  add_aligned_windows(builder, only_mask, thin);
  add_distant_sinks(builder, only_mask);
  add_key_ranges(builder, only_mask, thin);
  add_sequences_and_ranges(builder, only_mask, thin);
  add_mask_arrays(builder, only_mask, thin);
}

}  // namespace attn::verify
