// SPDX-License-Identifier: MIT
#include "common/verify/cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "common/verify/case_builder.hpp"
#include "common/verify/head_cases.hpp"
#include "common/verify/page_cases.hpp"
#include "common/verify/score_cases.hpp"
#include "common/verify/visibility_cases.hpp"

namespace attn::verify {
namespace {

constexpr std::int64_t kHeadDimensions[] = {16, 1, 64, 8, 40, 32, 80, 128, 192, 256};
constexpr std::pair<std::int64_t, std::int64_t> kBatchAndHeads[] = {{1, 1}, {1, 3}, {1, 1},
                                                                    {3, 1}, {1, 1}, {3, 3}};
constexpr std::pair<std::int64_t, std::int64_t> kAwkwardPairs[] = {
    {113, 203}, {203, 113}, {37, 50}, {53, 42}, {1, 239}, {127, 513}};

/// Multiply-adds of Q K^T that one case of the covering array may cost; the CPU machine with its
/// detectors on does a few million of them per second.
constexpr std::int64_t kWork = 160'000;

std::vector<std::int64_t> sizes_around(std::span<const int> tile_edges) {
  std::set<std::int64_t> sizes{0, 1, 2, 17};
  for (const std::int64_t T : tile_edges) {
    sizes.insert({T - 1, T, T + 1, 2 * T + 1, 3 * T + 5});
  }
  return {sizes.begin(), sizes.end()};
}

/// Each once, in this order: the nearest that the chapter takes. Where its rows must be aligned the
/// narrowest element decides.
std::vector<std::int64_t> head_dimensions(const Support& support,
                                          std::span<const Element> elements) {
  const Element narrowest =
      *std::min_element(elements.begin(), elements.end(),
                        [](Element a, Element b) { return bytes_of(a) < bytes_of(b); });
  std::vector<std::int64_t> result;
  for (const std::int64_t wanted : kHeadDimensions) {
    const std::int64_t d = supported_d(support, narrowest, wanted);
    const bool is_new = std::find(result.begin(), result.end(), d) == result.end();
    if (wanted <= support.max_d && is_new) result.push_back(d);
  }
  return result;
}

/// Every (Nq, Nk) once per mask; in a thin table every second one, once, with the masks taken in
/// turn; d, B and H cycle, as large
/// as kWork allows.
void add_covering_array(CaseBuilder& builder, const std::vector<std::int64_t>& sizes,
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
void add_large_d(CaseBuilder& builder, const std::vector<std::int64_t>& dims) {
  for (const std::int64_t d : dims) {
    if (d <= 64) continue;
    for (const Mask& mask : builder.masks()) {
      builder.add(make_shape(1, 1, 21, 38, d), mask, InputKind::kNormal, 0);
    }
  }
}

/// Rows of many tiles, of which the covering array has few.
void add_long_rows(CaseBuilder& builder) {
  for (const Mask& mask : builder.masks()) {
    builder.add(make_shape(1, 1, 5, 1100, 8), mask, InputKind::kNormal, 0);
  }
}

void add_full_product(CaseBuilder& builder, const std::vector<std::int64_t>& sizes,
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
void add_starters(CaseBuilder& builder) {
  for (const Mask& mask : builder.masks()) {
    builder.add(make_shape(1, 1, 2, 3, 4), mask, InputKind::kNormal, 0);
  }
}

/// These input distributions with every mask, with more keys than queries, fewer and as many (in a
/// thin table each of these with another mask), at a d whose default scale is a power of two.
void add_distributions(CaseBuilder& builder, std::span<const InputKind> kinds, bool thin) {
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
void add_features(CaseBuilder& builder, bool thin) {
  const Features& taken = builder.support().features;
  std::vector<Features> sets;
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    const bool in_shape_or_mask = feature == Feature::kGroupedHeads || feature == Feature::kWindows;
    if (taken.has(feature) && !in_shape_or_mask) sets.push_back({feature});
  }
  const bool grouped = taken.has(Feature::kGroupedHeads);
  if (sets.size() > 1) {
    // Packed sequences exclude arrays over all pairs, and another layout; pages exclude both.
    Features pairs = taken, packed = taken;
    pairs.remove(Feature::kPacked);
    if (taken.has(Feature::kStrides)) pairs.remove(Feature::kPages);
    for (const Feature feature : {Feature::kStrides, Feature::kRanges, Feature::kMaskArray,
                                  Feature::kBias, Feature::kPages}) {
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

void add_scores(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  for (const ScoreCase& one : score_cases(builder.support().features, builder.edges(), thin)) {
    builder.add(one.shape, only_mask.value_or(one.mask), one.kind, 0, one.features, {}, one.scores);
  }
}

void add_heads(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  for (const HeadCase& one : head_cases(builder.support(), builder.edges(), thin)) {
    builder.add(one.shape, only_mask.value_or(one.mask), one.kind, 0, one.features);
    builder.lay_out_last(one.d_v, one.gap);
  }
}

/// Where a NaN may pass through hidden pairs, as far as that is allowed and further: rows that do
/// not see the key, or keys that the row does not see, on both sides of the reach.
void add_reach(CaseBuilder& builder, Pass pass, const std::optional<Mask>& only_mask) {
  const std::int64_t reach = builder.support().reach;
  if (reach == 0) return;
  const std::int64_t N = 2 * reach + 12;
  std::vector<InputKind> kinds{InputKind::kNanInSharedK, InputKind::kNanInSharedV,
                               InputKind::kNanInQuery};
  if (pass == Pass::kBackward) kinds.push_back(InputKind::kNanInGradO);
  for (const InputKind kind : kinds) {
    builder.add(make_shape(1, 1, N, N, 16), only_mask.value_or(Mask::kCausal), kind, 0);
  }
}

/// No batch, no heads, and, where there is time for them, more heads than the second and third grid
/// dimension can count; without keys where one key costs a whole tile of products.
void add_extremes(CaseBuilder& builder, bool thin) {
  const Mask mask = builder.masks().front();
  builder.add(make_shape(0, 2, 5, 5, 8), mask, InputKind::kNormal, 0);
  builder.add(make_shape(2, 0, 5, 5, 8), mask, InputKind::kNormal, 0);
  const std::int64_t Nk = builder.support().reach > 0 ? 0 : 1;
  if (!thin) builder.add(make_shape(kManyHeads, 1, 1, Nk, 1), mask, InputKind::kNormal, 0);
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
  if (!spec.mask_name.empty()) {
    const auto& [B, H, Nq, Nk] = spec.mask_shape;
    text += fmt::format(", mask [{},{},{},{}]: {}", B, H, Nq, Nk, spec.mask_name);
  }
  if (spec.page_keys > 0) text += fmt::format(", pages of {} keys", spec.page_keys);
  if (spec.shared_keys > 0) text += fmt::format(", the first {} shared", spec.shared_keys);
  for (int number = 0; number < kFeatures; ++number) {
    const auto feature = static_cast<Feature>(number);
    if (feature == Feature::kMaskArray && !spec.mask_name.empty()) continue;
    if (feature == Feature::kPages) continue;
    if (feature == Feature::kValueWidth) continue;  // dv, in the shape
    if (feature == Feature::kSinkKeys && spec.sink_keys) continue;
    if (feature == Feature::kKeyCounts && !(spec.key_begin.empty() && spec.key_count.empty())) {
      continue;
    }
    const bool of_scores = feature >= Feature::kBias && feature <= Feature::kDropout;
    if (spec.features.has(feature) && !of_scores) {
      text += fmt::format(", {}", to_string(feature));
    }
  }
  if (spec.gap > 0) text += fmt::format(", gaps of {} and more", spec.gap);
  return text + to_string(spec.scores, spec.features);
}

std::vector<Case> case_table(const Support& support, std::span<const Element> elements,
                             std::span<const int> tile_edges, Pass pass, Extent extent,
                             std::uint64_t seed, const std::optional<Mask>& only_mask) {
  CaseBuilder builder(support, elements, tile_edges, pass, seed, only_mask);
  const std::vector<std::int64_t> sizes = sizes_around(builder.edges());
  const std::vector<std::int64_t> dims = head_dimensions(support, elements);
  add_starters(builder);
  const bool thin = extent == Extent::kThin;
  add_distributions(builder, builder.kinds(), thin);
  // What takes all features spends its time on several together, at the end; each by itself is the
  // subject of a chapter with kernels of its own.
  const bool few_alone = thin || support.features == Features::of_arrays();
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
  add_visibility(builder, only_mask, few_alone);
  add_scores(builder, only_mask, few_alone);
  add_heads(builder, only_mask, thin);
  add_pages(builder, only_mask, thin);
  add_reach(builder, pass, only_mask);
  return builder.take();
}

}  // namespace attn::verify
