// SPDX-License-Identifier: MIT
#include "common/verify/score_cases.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace attn::verify {
namespace {

/// One of the 16 shapes that are broadcast to [B, H, Nq, Nk].
PairShape broadcast(const Shape& shape, std::size_t form) {
  return {(form & 1) != 0 ? shape.B : 1, (form & 2) != 0 ? shape.H : 1,
          (form & 4) != 0 ? shape.Nq : 1, (form & 8) != 0 ? shape.Nk : 1};
}

/// With NaN and Inf where a bias hides a key from all rows; with exact logits where the bias would
/// drown any error of theirs.
InputKind inputs_for(BiasKind bias) {
  return bias == BiasKind::kLowest ? InputKind::kIntegers : InputKind::kHiddenPoison;
}

/// Not those that all batches and heads share, so that a stride too many or too few shows.
Shape several_heads(std::int64_t d) { return make_shape(2, 3, 19, 35, d); }

std::vector<ScoreCase> one_by_one(const Features& taken, std::int64_t T) {
  std::vector<ScoreCase> cases;
  const auto add = [&](Feature feature, const Shape& shape, const Mask& mask, InputKind kind,
                       const ScoreValues& scores) {
    if (taken.has(feature)) cases.push_back({shape, mask, kind, {feature}, scores});
  };
  constexpr std::array kMasks{Mask::kFull, Mask::kCausal, Mask::kFull, Mask::kCausalTopLeft};
  for (std::size_t form = 0; form < 16; ++form) {
    const BiasKind bias = form % 4 == 1 ? BiasKind::kLowest : BiasKind::kHoles;
    const Shape shape = several_heads(form % 4 == 3 ? 64 : 16);
    add(Feature::kBias, shape, kMasks[form / 2 % kMasks.size()], inputs_for(bias),
        {.bias = bias, .bias_shape = broadcast(shape, form)});
  }
  // The distance counts from the row's own key, which lies elsewhere in each of these.
  add(Feature::kAlibi, make_shape(1, 3, 19, T + 9, 16), Mask::kFull, InputKind::kNormal,
      {.alibi = 3.0f});
  add(Feature::kAlibi, make_shape(1, 2, T + 9, 19, 16), Mask::kFull, InputKind::kNormal,
      {.alibi = 0.3f});
  add(Feature::kAlibi, make_shape(1, 1, 9, 2 * T + 3, 40), Mask::kCausal, InputKind::kIntegers, {});
  add(Feature::kAlibi, make_shape(2, 3, 19, 35, 80), {.top_left = true}, InputKind::kNormal, {});
  // All scores alike, and none moved; where tanh is 1 to the last bit, and where it is nearly x,
  // which 1 - 2 / (exp(2 x) + 1) does not see.
  add(Feature::kSoftcap, several_heads(16), Mask::kFull, InputKind::kNormal, {.softcap = 0.01f});
  add(Feature::kSoftcap, several_heads(16), Mask::kCausal, InputKind::kNormal, {.softcap = 1e4f});
  add(Feature::kSoftcap, several_heads(40), Mask::kFull, InputKind::kLarge, {.softcap = 50.0f});
  add(Feature::kSoftcap, several_heads(80), Mask::kCausal, InputKind::kSaw, {.softcap = 30.0f});
  // Far above and far below the scores, which themselves may be far from 0; and rows without keys.
  add(Feature::kSinkLogits, several_heads(16), Mask::kFull, InputKind::kNormal, {.sink = 200.0f});
  add(Feature::kSinkLogits, make_shape(1, 2, T + 9, 9, 16), Mask::kCausal, InputKind::kHiddenPoison,
      {.sink = 1.0f});
  add(Feature::kSinkLogits, several_heads(40), Mask::kCausal, InputKind::kVeryNegative,
      {.sink = 3.0f});
  add(Feature::kSinkLogits, several_heads(80), Mask::kFull, InputKind::kSaw, {.sink = 1e4f});
  const std::array kRates{0.0f, 0.1f, 0.9f, 0.5f};
  for (std::size_t n = 0; n < kRates.size(); ++n) {
    const Shape shape = n % 2 == 0 ? several_heads(40) : make_shape(2, 1, T + 9, T + 6, 16);
    add(Feature::kDropout, shape, n == 1 ? Mask::kCausal : Mask::kFull, InputKind::kNormal,
        {.dropout = kRates[n]});
  }
  return cases;
}

/// Every two of three values, of up to six things: row (a, b, c) of 27 gives each of them the value
/// of a linear form modulo 3, no two of them alike. Up to four need the 9 rows of c = 0. A thin
/// table has 9 of 27, in which each thing still has all its values.
std::vector<std::array<int, 6>> every_two_together(std::size_t things, bool thin) {
  constexpr int kForms[6][3] = {{1, 0, 0}, {0, 1, 0}, {1, 1, 0}, {1, 2, 0}, {0, 0, 1}, {1, 0, 1}};
  std::vector<std::array<int, 6>> rows;
  for (int n = 0; n < (things > 4 ? 27 : 9); ++n) {
    const int a = n % 3, b = n / 3 % 3, c = n / 9;
    if (thin && things > 4 && (a + b + 2 * c) % 3 != 1) continue;
    std::array<int, 6> row{};
    for (std::size_t thing = 0; thing < things; ++thing) {
      const auto& form = kForms[thing];
      row[thing] = (form[0] * a + form[1] * b + form[2] * c) % 3;
    }
    rows.push_back(row);
  }
  return rows;
}

std::vector<ScoreCase> pairs(const Features& taken, std::int64_t T, bool thin) {
  std::vector<Feature> present;
  for (const Feature feature : {Feature::kBias, Feature::kAlibi, Feature::kSoftcap,
                                Feature::kSinkLogits, Feature::kDropout}) {
    if (taken.has(feature)) present.push_back(feature);
  }
  if (present.empty()) return {};
  constexpr float kAlibi[] = {0, 0.5f, 0.3f}, kSoftcap[] = {0, 0.5f, 30.0f},
                  kSink[] = {0, 1.0f, 200.0f}, kDropout[] = {0, 0.1f, 0.9f};
  constexpr BiasKind kBias[] = {BiasKind::kNormal, BiasKind::kHoles, BiasKind::kLowest};
  const Mask masks[] = {
      Mask::kFull, Mask::kCausal,
      taken.has(Feature::kWindows) ? Mask{.before = T - 1, .after = 3} : Mask::kCausalTopLeft};
  std::vector<ScoreCase> cases;
  for (const std::array<int, 6>& row : every_two_together(present.size() + 1, thin)) {
    const std::size_t turn = cases.size();
    ScoreCase one{.shape = {},
                  .mask = masks[row[present.size()]],
                  .kind = InputKind::kNormal,
                  .features = {},
                  .scores = {}};
    for (std::size_t n = 0; n < present.size(); ++n) {
      const int level = row[n];
      if (level == 0) continue;
      one.features.add(present[n]);
      if (present[n] == Feature::kBias) one.scores.bias = kBias[level];
      if (present[n] == Feature::kAlibi) one.scores.alibi = kAlibi[level];
      if (present[n] == Feature::kSoftcap) one.scores.softcap = kSoftcap[level];
      if (present[n] == Feature::kSinkLogits) one.scores.sink = kSink[level];
      if (present[n] == Feature::kDropout) one.scores.dropout = kDropout[level];
    }
    if (one.features.empty()) continue;
    // On several tiles, which are smaller where d is large. A scale is exact at 16, not at 80.
    const bool large_d = turn % 3 == 2 && one.scores.bias != BiasKind::kLowest;
    const std::int64_t edge = large_d ? T / 2 : T;
    one.shape = make_shape(1, 2, edge + 7, edge + 13, large_d ? 80 : 16);
    if (turn % 5 == 4) std::swap(one.shape.Nq, one.shape.Nk);
    if (one.features.has(Feature::kBias)) {
      one.kind = inputs_for(one.scores.bias);
      one.scores.bias_shape = broadcast(one.shape, turn % 2 == 0 ? 15 : turn);
    }
    cases.push_back(one);
  }
  return cases;
}

}  // namespace

std::vector<ScoreCase> score_cases(const Features& taken, std::span<const int> tile_edges,
                                   bool thin) {
  const std::int64_t T = *std::max_element(tile_edges.begin(), tile_edges.end());
  std::vector<ScoreCase> cases;
  std::size_t turn = 0;
  for (const ScoreCase& one : one_by_one(taken, T)) {
    if (!thin || turn++ % 3 == 0) cases.push_back(one);
  }
  for (const ScoreCase& one : pairs(taken, T, thin)) cases.push_back(one);
  return cases;
}

std::string to_string(const ScoreValues& scores, const Features& features) {
  std::string text;
  if (features.has(Feature::kBias)) {
    constexpr std::string_view kNames[] = {"a bias", "a finite bias", "a bias with holes",
                                           "a bias of the lowest"};
    text += fmt::format(", {}", kNames[static_cast<std::size_t>(scores.bias)]);
    if (const auto& of = scores.bias_shape) {
      text += fmt::format(" [{},{},{},{}]", of->B, of->H, of->Nq, of->Nk);
    }
  }
  if (features.has(Feature::kAlibi)) text += fmt::format(", alibi={}", scores.alibi);
  if (features.has(Feature::kSoftcap)) text += fmt::format(", softcap={}", scores.softcap);
  if (features.has(Feature::kSinkLogits)) {
    text += scores.sink ? fmt::format(", sink_logits={}", *scores.sink) : ", sink logits";
  }
  if (features.has(Feature::kDropout)) text += fmt::format(", dropout={}", scores.dropout);
  return text;
}

}  // namespace attn::verify
