// SPDX-License-Identifier: MIT
#include "common/verify/cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "common/verify/head_cases.hpp"

namespace attn::verify {
namespace {

constexpr Mask kMasks[] = {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft};
/// With bounds that end inside tiles, at their edges, and beyond both ends.
constexpr Mask kWindows[] = {{.before = 3, .after = 0},
                             {.before = 0, .after = 0, .top_left = true},
                             {.before = 16, .after = 5},
                             {.before = 31, .after = kUnbounded},
                             {.before = 7, .after = 40, .top_left = true},
                             {.before = kUnbounded, .after = 2}};
constexpr std::int64_t kHeadDimensions[] = {16, 1, 64, 8, 40, 32, 80, 128, 192, 256};
constexpr std::pair<std::int64_t, std::int64_t> kBatchAndHeads[] = {{1, 1}, {1, 3}, {1, 1},
                                                                    {3, 1}, {1, 1}, {3, 3}};
constexpr std::pair<std::int64_t, std::int64_t> kAwkwardPairs[] = {
    {113, 203}, {203, 113}, {37, 50}, {53, 42}, {1, 239}, {127, 513}};

/// Multiply-adds of Q K^T that one case of the covering array may cost; the CPU machine with its
/// detectors on does a few million of them per second.
constexpr std::int64_t kWork = 160'000;
/// More heads than the second or third dimension of a grid can count (65,535).
constexpr std::int64_t kManyHeads = 70'000;
/// With no edge of its own a chapter still gets sizes in the usual places.
constexpr int kDefaultEdge = 16;

std::int64_t work(const Shape& s) { return s.heads() * s.Nq * s.Nk * s.d; }

std::vector<std::int64_t> sizes_around(std::span<const int> tile_edges) {
  std::set<std::int64_t> sizes{0, 1, 2, 17};
  for (const std::int64_t T : tile_edges) {
    sizes.insert({T - 1, T, T + 1, 2 * T + 1, 3 * T + 5});
  }
  return {sizes.begin(), sizes.end()};
}

std::vector<std::int64_t> head_dimensions(const Support& support) {
  std::vector<std::int64_t> result;
  for (const std::int64_t d : kHeadDimensions) {
    if (d <= support.max_d) result.push_back(d);
  }
  return result;
}

std::vector<int> edges_or_default(std::span<const int> tile_edges) {
  if (tile_edges.empty()) return {kDefaultEdge};
  return {tile_edges.begin(), tile_edges.end()};
}

/// Keys that are visible beside what a mask says, in place of random ones.
struct KeyRanges {
  std::optional<std::int64_t> sink_keys = {};
  std::vector<std::int64_t> begin = {}, count = {};          // of each batch
  std::vector<std::int64_t> q_offsets = {}, k_offsets = {};  // of packed sequences
  std::vector<std::int64_t> ranges = {};
  int ranges_per_row = 0;
  std::string_view ranges_name = {};
};

/// Cycles through inputs, scales, offsets and repeats with periods that share no factor.
class Builder {
 public:
  Builder(const Support& support, std::span<const Element> elements,
          std::span<const int> tile_edges, Pass pass, std::uint64_t seed,
          const std::optional<Mask>& only_mask)
      : support_(support),
        elements_(elements.begin(), elements.end()),
        edges_(edges_or_default(tile_edges)),
        seed_(seed),
        masks_(std::begin(kMasks), std::end(kMasks)) {
    if (only_mask) {
      masks_ = {*only_mask};
    } else if (support.features.has(Feature::kWindows)) {
      masks_.insert(masks_.end(), std::begin(kWindows), std::end(kWindows));
    }
    for (const InputKind kind : kAllInputKinds) {
      if (kind == InputKind::kHuge) continue;  // has cases of its own, at the table's end
      if (pass == Pass::kForward || !has_visible_infinity(kind)) kinds_.push_back(kind);
    }
    if (pass == Pass::kForward) {
      arrays_ = {"q", "k", "v", "o"};
    } else {
      arrays_ = {"q", "k", "v", "o", "dO", "dq", "dk", "dv"};
    }
  }

  const std::vector<int>& edges() const { return edges_; }
  const Support& support() const { return support_; }
  /// Those that the chapter takes.
  std::span<const Mask> masks() const { return masks_; }
  /// Three of them in turn, or in a thin table the one whose turn it is.
  std::span<const Mask> masks(std::size_t turn, bool thin) const {
    const std::size_t count = thin ? 1 : std::min(std::size(kMasks), masks_.size());
    return masks().subspan(turn % (masks_.size() / count) * count, count);
  }
  const std::vector<InputKind>& kinds() const { return kinds_; }
  InputKind next_kind() { return kinds_[kind_++ % kinds_.size()]; }

  /// `scale_turn`: 0 default, 1 negative, 2 zero; ignored where the inputs prescribe their scale.
  void add(Shape shape, const Mask& mask, InputKind kind, std::size_t scale_turn,
           const Features& features = {}, const KeyRanges& keys = {}) {
    shape.d = supported_d(support_, elements_.front(), shape.d);
    const std::uint64_t number = cases_.size();
    const float standard = default_scale(shape.d);
    float scale = scale_turn == 0 ? standard : scale_turn == 1 ? -standard : 0.0f;
    if (has_prescribed_logits(kind)) scale = kPrescribedScale;
    cases_.push_back({.spec = {.shape = shape,
                               .mask = mask,
                               .scale = scale,
                               .kind = kind,
                               .tile_edge = edges_[number % edges_.size()],
                               .seed = seed_ + number,
                               .element = elements_[number / 3 % elements_.size()],
                               .d_v = features.has(Feature::kValueWidth) ? other_width(shape.d) : 0,
                               .features = features,
                               .sink_keys = keys.sink_keys,
                               .key_begin = keys.begin,
                               .key_count = keys.count,
                               .q_offsets = keys.q_offsets,
                               .k_offsets = keys.k_offsets,
                               .ranges = keys.ranges,
                               .ranges_per_row = keys.ranges_per_row,
                               .ranges_name = keys.ranges_name},
                      .offset = number % 5 == 4 ? offset() : 0,
                      .only = number % 10 == 9 ? arrays_[number / 10 % arrays_.size()] : "",
                      .repeat = number % 8 == 3,
                      .watched = shape.heads() < kManyHeads});
  }

  /// Gives the case that was added last another width of V's rows, if d_v is not 0, and gaps where
  /// rows may begin anywhere.
  void lay_out_last(std::int64_t d_v, int gap) {
    InputSpec& spec = cases_.back().spec;
    if (d_v != 0) spec.d_v = supported_d(support_, elements_.front(), d_v);
    if (offset() == 1) spec.gap = gap;
  }

  /// Default scale mostly, negative often, zero now and then.
  void add(const Shape& shape, const Mask& mask, InputKind kind) {
    static constexpr std::size_t kTurns[] = {0, 0, 1, 0, 1, 0, 2};
    add(shape, mask, kind, kTurns[scale_++ % std::size(kTurns)]);
  }

  /// The plainest inputs first, and among them the smallest problem.
  std::vector<Case> take() {
    const auto order = [](const Case& one) {
      return std::pair(one.spec.kind, work(one.spec.shape));
    };
    std::stable_sort(cases_.begin(), cases_.end(),
                     [&](const Case& a, const Case& b) { return order(a) < order(b); });
    return std::move(cases_);
  }

 private:
  /// A width of V's rows that is not d, if the chapter takes another one.
  std::int64_t other_width(std::int64_t d) const {
    return supported_d(support_, elements_.front(), d > 8 ? d / 2 + 3 : d + 3);
  }
  /// The least misalignment that the chapter must bear, in elements.
  int offset() const {
    const std::size_t each = bytes_of(elements_.front());
    return static_cast<int>(std::max<std::size_t>(support_.alignment / each, 1));
  }
  Support support_;
  std::vector<Element> elements_;
  std::vector<int> edges_;
  std::uint64_t seed_;
  std::vector<Mask> masks_;
  std::vector<InputKind> kinds_;
  std::vector<std::string_view> arrays_;  // whose rows a kernel may want to move 16 bytes at a time
  std::vector<Case> cases_;
  std::size_t kind_ = 0;
  std::size_t scale_ = 0;
};

/// Every (Nq, Nk) once per mask; in a thin table every second one, once, with the masks taken in
/// turn; d, B and H cycle, as large
/// as kWork allows.
void add_covering_array(Builder& builder, const std::vector<std::int64_t>& sizes,
                        const std::vector<std::int64_t>& dims, bool thin) {
  std::size_t turn = 0, pair = 0;
  const auto add = [&](std::int64_t Nq, std::int64_t Nk) {
    for (const Mask& mask : builder.masks(pair++, thin)) {
      const auto [B, H] = kBatchAndHeads[turn % std::size(kBatchAndHeads)];
      Shape shape = make_shape(B, H, Nq, Nk, dims[turn % dims.size()]);
      if (work(shape) > kWork) shape = make_shape(1, 1, Nq, Nk, shape.d);
      if (work(shape) > kWork) shape.d = std::min<std::int64_t>(shape.d, 16);
      if (work(shape) > kWork) shape.d = Nq * Nk > kWork ? 1 : 8;
      builder.add(shape, mask, builder.next_kind());
      ++turn;
    }
    ++turn;  // so that a mask does not always meet the same d
  };
  for (std::size_t q = 0; q < sizes.size(); ++q) {
    for (std::size_t k = 0; k < sizes.size(); ++k) {
      if (!thin || (q + k) % 2 == 0) add(sizes[q], sizes[k]);
    }
  }
  for (const auto& [Nq, Nk] : kAwkwardPairs) add(Nq, Nk);
}

/// The largest d with masks that cut tiles where no row or column of threads ends. The covering
/// array keeps d small wherever there are many pairs.
void add_large_d(Builder& builder, const std::vector<std::int64_t>& dims) {
  for (const std::int64_t d : dims) {
    if (d <= 64) continue;
    for (const Mask& mask : builder.masks()) {
      builder.add(make_shape(1, 1, 21, 38, d), mask, InputKind::kNormal, 0);
    }
  }
}

/// Rows of many tiles, of which the covering array has few.
void add_long_rows(Builder& builder) {
  for (const Mask& mask : builder.masks()) {
    builder.add(make_shape(1, 1, 5, 1100, 8), mask, InputKind::kNormal, 0);
  }
}

void add_full_product(Builder& builder, const std::vector<std::int64_t>& sizes,
                      const std::vector<std::int64_t>& dims) {
  const auto add = [&](std::int64_t Nq, std::int64_t Nk) {
    for (const Mask& mask : builder.masks()) {
      for (const std::int64_t d : dims) {
        for (const std::int64_t B : {1, 3}) {
          for (const std::int64_t H : {1, 3}) {
            for (const std::size_t scale : {0u, 1u, 2u}) {
              builder.add(make_shape(B, H, Nq, Nk, d), mask, builder.next_kind(), scale);
            }
          }
        }
      }
    }
  };
  for (const std::int64_t Nq : sizes) {
    for (const std::int64_t Nk : sizes) add(Nq, Nk);
  }
  for (const auto& [Nq, Nk] : kAwkwardPairs) add(Nq, Nk);
}

/// Small enough to follow by hand: what a wrong kernel fails first.
void add_starters(Builder& builder) {
  for (const Mask& mask : builder.masks()) {
    builder.add(make_shape(1, 1, 2, 3, 4), mask, InputKind::kNormal, 0);
  }
}

/// These input distributions with every mask, with more keys than queries, fewer and as many (in a
/// thin table each of these with another mask), at a d whose default scale is a power of two.
void add_distributions(Builder& builder, std::span<const InputKind> kinds, bool thin) {
  const std::int64_t T = builder.edges().back();
  const Shape shapes[] = {make_shape(1, 1, 7, T + 3, 16), make_shape(1, 1, T + 2, 5, 16),
                          make_shape(1, 2, 12, 12, 64)};
  std::size_t turn = 0;
  for (const InputKind kind : kinds) {
    for (const Shape& shape : shapes) {
      for (const Mask& mask : builder.masks(turn++, thin)) builder.add(shape, mask, kind, 0);
    }
    ++turn;  // so that a shape does not always meet the same mask
  }
}

/// Each extra that the chapter takes by itself, and all of them at once, with masks in turn, NaN
/// and Inf in the keys that are hidden, and with grouped heads where it takes them: six heads on
/// two, which h % Hkv and h / group tell apart.
void add_features(Builder& builder, bool thin) {
  const Features& taken = builder.support().features;
  std::vector<Features> sets;
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    const bool in_shape_or_mask = feature == Feature::kGroupedHeads || feature == Feature::kWindows;
    if (taken.has(feature) && !in_shape_or_mask) sets.push_back({feature});
  }
  const bool grouped = taken.has(Feature::kGroupedHeads);
  if (sets.size() > 1) {
    // Packed sequences exclude arrays over all pairs, and another layout.
    Features pairs = taken, packed = taken;
    pairs.remove(Feature::kPacked);
    for (const Feature feature :
         {Feature::kStrides, Feature::kRanges, Feature::kMaskArray, Feature::kBias}) {
      packed.remove(feature);
    }
    sets.push_back(pairs);
    if (taken.has(Feature::kPacked)) sets.push_back(packed);
  }
  if (sets.empty() && grouped) sets.push_back({});
  std::size_t turn = 0;
  for (const Features& set : sets) {
    for (const Mask& mask : builder.masks(turn++, thin)) {
      for (const InputKind kind : {InputKind::kNormal, InputKind::kHiddenPoison}) {
        Shape shape = make_shape(3, grouped ? 6 : 2, 19, 35, 16);
        if (grouped) shape.Hkv = 2;
        builder.add(shape, mask, kind, 0, set);
      }
    }
  }
}

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
std::vector<KeyRanges> lengths_around(std::int64_t T, std::int64_t Nk, bool lengths) {
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
void add_key_ranges(Builder& builder, const std::optional<Mask>& only_mask, bool thin) {
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
    KeyRanges keys = lengths_around(T, shape.Nk, lengths)[l];
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
void add_aligned_windows(Builder& builder, const std::optional<Mask>& only_mask, bool thin) {
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
void add_distant_sinks(Builder& builder, const std::optional<Mask>& only_mask) {
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
void add_sequences_and_ranges(Builder& builder, const std::optional<Mask>& only_mask, bool thin) {
  const Features& taken = builder.support().features;
  const std::vector<int>& edges = builder.edges();
  const std::int64_t most = *std::max_element(edges.begin(), edges.end());
  constexpr std::int64_t kDims[] = {16, 40, 8};  // for other d a chapter may take other tiles
  std::size_t turn = 0;
  const auto add = [&](Shape shape, Feature feature, const Mask& mask, const KeyRanges& keys) {
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

void add_heads(Builder& builder, const std::optional<Mask>& only_mask, bool thin) {
  for (const HeadCase& one : head_cases(builder.support(), builder.edges(), thin)) {
    builder.add(one.shape, only_mask.value_or(one.mask), one.kind, 0, one.features);
    builder.lay_out_last(one.d_v, one.gap);
  }
}

/// No batch, no heads, and, where there is time for them, more heads than the second and third grid
/// dimension can count.
void add_extremes(Builder& builder, bool thin) {
  const Mask mask = builder.masks().front();
  builder.add(make_shape(0, 2, 5, 5, 8), mask, InputKind::kNormal, 0);
  builder.add(make_shape(2, 0, 5, 5, 8), mask, InputKind::kNormal, 0);
  if (!thin) builder.add(make_shape(kManyHeads, 1, 1, 1, 1), mask, InputKind::kNormal, 0);
}

}  // namespace

bool is_crowded(const Case& one) { return one.spec.shape.heads() >= kManyHeads; }

std::int64_t supported_d(const Support& support, Element element, std::int64_t d) {
  for (const std::int64_t other : support.only_d) {  // rising
    if (other >= d) return other;
  }
  if (!support.only_d.empty()) return support.only_d.back();
  const std::size_t elements = support.alignment / bytes_of(element);
  const auto multiple = static_cast<std::int64_t>(std::max<std::size_t>(elements, 1));
  return (d + multiple - 1) / multiple * multiple;
}

std::string to_string(const Case& one) {
  const InputSpec& spec = one.spec;
  std::string text =
      fmt::format("{}, {}, scale={:.4g}, {} inputs, seed={}{}", to_string(spec.shape, spec.d_v),
                  to_string(spec.mask), spec.scale, to_string(spec.kind), spec.seed,
                  one.offset == 0 ? "" : ", unaligned");
  if (!one.only.empty()) text += fmt::format(" {}", one.only);
  if (spec.element != Element::kFloat32) text += fmt::format(", {}", to_string(spec.element));
  const auto of_each_batch = [&text](std::string_view name, const std::vector<std::int64_t>& all) {
    if (!all.empty()) text += fmt::format(", {}={}", name, fmt::join(all, ","));
  };
  of_each_batch("key_begin", spec.key_begin);
  of_each_batch("key_count", spec.key_count);
  of_each_batch("q_offsets", spec.q_offsets);
  of_each_batch("k_offsets", spec.k_offsets);
  if (spec.sink_keys) text += fmt::format(", sink_keys={}", *spec.sink_keys);
  if (spec.ranges_per_row > 0) {
    text += fmt::format(", {} per row: {}", spec.ranges_per_row, spec.ranges_name);
  }
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    if (feature == Feature::kValueWidth) continue;  // dv, in the shape
    if (feature == Feature::kSinkKeys && spec.sink_keys) continue;
    if (feature == Feature::kKeyCounts && !(spec.key_begin.empty() && spec.key_count.empty())) {
      continue;
    }
    if (spec.features.has(feature)) text += fmt::format(", {}", to_string(feature));
  }
  if (spec.gap > 0) text += fmt::format(", gaps of {} and more", spec.gap);
  return text;
}

std::vector<Case> case_table(const Support& support, std::span<const Element> elements,
                             std::span<const int> tile_edges, Pass pass, Extent extent,
                             std::uint64_t seed, const std::optional<Mask>& only_mask) {
  Builder builder(support, elements, tile_edges, pass, seed, only_mask);
  const std::vector<std::int64_t> sizes = sizes_around(builder.edges());
  const std::vector<std::int64_t> dims = head_dimensions(support);
  add_starters(builder);
  const bool thin = extent == Extent::kThin;
  add_distributions(builder, builder.kinds(), thin);
  // What takes all features spends its time on several together, at the end; each by itself is the
  // subject of a chapter with kernels of its own.
  const bool few_alone = thin || support.features == Features::all();
  add_features(builder, few_alone);
  add_extremes(builder, thin);
  if (extent == Extent::kFull) {
    add_full_product(builder, sizes, dims);
  } else {
    // Where a chapter's subject are masks, the table spends its time on them, further down.
    const bool about_masks = support.features.has(Feature::kWindows);
    add_covering_array(builder, sizes, dims, thin || about_masks);
    add_large_d(builder, dims);
    add_long_rows(builder);
  }
  add_distributions(builder, std::array{InputKind::kHuge}, thin);
  // Last: chapters without them keep their seeds.
  add_aligned_windows(builder, only_mask, thin);
  add_distant_sinks(builder, only_mask);
  add_key_ranges(builder, only_mask, few_alone);
  add_sequences_and_ranges(builder, only_mask, few_alone);
  add_heads(builder, only_mask, thin);
  return builder.take();
}

}  // namespace attn::verify
