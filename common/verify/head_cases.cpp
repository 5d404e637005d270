// SPDX-License-Identifier: MIT
#include "common/verify/head_cases.hpp"

#include <algorithm>
#include <bit>
#include <iterator>
#include <tuple>
#include <utility>

namespace attn::verify {
namespace {

/// Neither h % Hkv nor a group of Hkv heads is right by chance for any of these.
constexpr std::pair<std::int64_t, std::int64_t> kGroups[] = {{6, 2}, {12, 3}, {6, 1}};

/// NaN in one row of Q or V must not reach rows of the other heads in a tile.
constexpr InputKind kKinds[] = {InputKind::kNormal, InputKind::kHiddenPoison,
                                InputKind::kNanInQuery, InputKind::kIntegers,
                                InputKind::kNanInSharedV};

Shape grouped(Shape shape, std::size_t turn) {
  std::tie(shape.H, shape.Hkv) = kGroups[turn % std::size(kGroups)];
  return shape;
}

std::vector<HeadCase> groups(const Features& taken, std::int64_t T) {
  std::vector<HeadCase> cases;
  const Mask masks[] = {
      Mask::kCausal, Mask::kFull,
      taken.has(Feature::kWindows) ? Mask{.before = T / 2, .after = 1} : Mask::kCausalTopLeft};
  constexpr std::int64_t kDims[] = {16, 40, 8, 80};
  std::size_t turn = 0;
  for (std::size_t group = 0; group < std::size(kGroups); ++group) {
    const std::int64_t G = kGroups[group].first / kGroups[group].second;
    // One query; rows that just fill a tile, or do not; several tiles, more queries than keys.
    const std::pair<std::int64_t, std::int64_t> sizes[] = {
        {1, 2 * T + 3}, {T / G, T + 1}, {T / G + 1, 19}, {T + 5, 37}};
    for (const auto& [Nq, Nk] : sizes) {
      const std::int64_t B = turn % 2 + 1;
      cases.push_back({grouped(make_shape(B, 1, Nq, Nk, kDims[turn % std::size(kDims)]), group),
                       masks[turn % std::size(masks)],
                       kKinds[turn % std::size(kKinds)],
                       {}});
      ++turn;
    }
  }
  return cases;
}

std::vector<HeadCase> widths(const Support& support) {
  constexpr std::pair<std::int64_t, std::int64_t> kWidths[] = {
      {1, 8},     {8, 1},     {16, 33},  {33, 16},  {64, 65},   {65, 64},   {32, 128}, {128, 32},
      {100, 129}, {129, 100}, {192, 80}, {80, 192}, {256, 192}, {192, 256}, {1, 256}};
  std::vector<HeadCase> cases;
  for (const auto& [d, d_v] : kWidths) {
    if (std::max(d, d_v) > support.max_d) continue;
    const std::size_t turn = cases.size();
    cases.push_back({make_shape(1, 2, 21, 38, d),
                     turn % 2 == 0 ? Mask::kCausal : Mask::kFull,
                     kKinds[turn % std::size(kKinds)],
                     {Feature::kValueWidth},
                     d_v});
  }
  return cases;
}

std::vector<HeadCase> strides(const Features& taken, std::int64_t T) {
  std::vector<HeadCase> cases;
  for (const int gap : {0, 1, 5}) {
    for (const std::int64_t d : {16, 40}) {
      const std::size_t turn = cases.size();
      HeadCase one{make_shape(2, 3, T / 2 + 5, T + 7, d),
                   turn % 2 == 0 ? Mask::kFull : Mask::kCausal,
                   kKinds[turn % std::size(kKinds)],
                   {Feature::kStrides},
                   0,
                   gap};
      if (taken.has(Feature::kGroupedHeads) && turn > 0) one.shape = grouped(one.shape, turn);
      if (taken.has(Feature::kValueWidth) && turn % 3 == 2) {
        one.features.add(Feature::kValueWidth);
        one.d_v = d + 7;
      }
      cases.push_back(one);
    }
  }
  return cases;
}

/// Rows of zeros and ones, as bits, such that any three columns (at `strength` 2: any two) have all
/// eight (four) combinations equally often. Up to 16 columns need 32 rows, up to 8 of them 16; at
/// strength 2 up to 15 need 16. Column c of row r is the parity of r's bits that its number, c with
/// a bit of its own in front (c + 1), selects: no three (two) of these numbers cancel.
std::vector<unsigned> orthogonal_rows(std::size_t columns, int strength) {
  const unsigned front = strength == 2 ? 0 : columns > 8 ? 16 : 8;
  const unsigned rows = front == 0 ? 16 : 2 * front;
  std::vector<unsigned> result;
  for (unsigned row = 0; row < rows; ++row) {
    unsigned bits = 0;
    for (unsigned column = 0; column < columns; ++column) {
      const unsigned number = front == 0 ? column + 1 : front + column;
      if (std::popcount(row & number) % 2 == 1) bits |= 1u << column;
    }
    result.push_back(bits);
  }
  return result;
}

/// A case with these features, on several tiles where d is small.
HeadCase with_features(const Features& features, const Support& support, std::int64_t T,
                       std::size_t turn) {
  constexpr std::int64_t kDims[] = {16, 40, 80, 16, 192};
  const std::int64_t wanted = kDims[turn % std::size(kDims)];
  const std::int64_t d = wanted + 9 > support.max_d ? 16 : wanted;
  const std::pair<std::int64_t, std::int64_t> sizes[] = {
      {19, 35}, {T / 3, T + 13}, {35, 19}, {1, 2 * T + 3}};
  HeadCase one{make_shape(2, 2, 9, 21, d), Mask::kFull,
               turn % 2 == 0 ? InputKind::kHiddenPoison : InputKind::kNormal, features};
  if (d <= 40) std::tie(one.shape.Nq, one.shape.Nk) = sizes[turn % std::size(sizes)];
  if (features.has(Feature::kGroupedHeads)) one.shape = grouped(one.shape, turn);
  if (features.has(Feature::kValueWidth)) one.d_v = turn % 3 == 0 ? d / 2 + 1 : d + 9;
  if (features.has(Feature::kStrides)) one.gap = turn % 3 == 1 ? 0 : 3;
  const Mask windows[] = {{.before = 3, .after = 0},
                          {.before = T / 2, .after = 5},
                          {.before = 7, .after = kUnbounded, .top_left = true}};
  constexpr Mask kOthers[] = {Mask::kCausal, Mask::kFull, Mask::kCausalTopLeft};
  one.mask = features.has(Feature::kWindows) ? windows[turn % 3] : kOthers[turn % 3];
  return one;
}

/// Every feature there and not there, with every other one, `always` in all of them.
std::vector<HeadCase> together(const Features& all, const Features& always, int strength,
                               const Support& support, std::int64_t T) {
  std::vector<Feature> columns;
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    if (all.has(feature) && !always.has(feature)) columns.push_back(feature);
  }
  std::vector<HeadCase> cases;
  for (const unsigned row : orthogonal_rows(columns.size(), strength)) {
    Features features = always;
    for (std::size_t column = 0; column < columns.size(); ++column) {
      if ((row >> column & 1) != 0) features.add(columns[column]);
    }
    cases.push_back(with_features(features, support, T, cases.size()));
  }
  return cases;
}

}  // namespace

std::vector<HeadCase> head_cases(const Support& support, std::span<const int> tile_edges,
                                 bool thin) {
  const Features& taken = support.features;
  const std::int64_t T = *std::max_element(tile_edges.begin(), tile_edges.end());
  std::vector<HeadCase> cases;
  std::size_t turn = 0;
  const auto add = [&](const std::vector<HeadCase>& more) {
    for (const HeadCase& one : more) {
      if (!thin || turn++ % 2 == 0) cases.push_back(one);
    }
  };
  if (taken.has(Feature::kGroupedHeads)) add(groups(taken, T));
  if (taken.has(Feature::kValueWidth)) add(widths(support));
  if (taken.has(Feature::kStrides)) add(strides(taken, T));
  if (cases.empty()) return cases;
  Features pairs = taken, packed = taken;
  pairs.remove(Feature::kPacked);
  if (taken.has(Feature::kStrides)) pairs.remove(Feature::kPages);
  for (const Feature feature : {Feature::kStrides, Feature::kRanges, Feature::kMaskArray,
                                Feature::kBias, Feature::kPages}) {
    packed.remove(feature);  // attn::validate() refuses these together
  }
  const auto append = [&cases](const std::vector<HeadCase>& more) {
    cases.insert(cases.end(), more.begin(), more.end());
  };
  append(together(pairs, {}, thin ? 2 : 3, support, T));
  if (taken.has(Feature::kPacked)) append(together(packed, {Feature::kPacked}, 2, support, T));
  return cases;
}

}  // namespace attn::verify
