// SPDX-License-Identifier: MIT
#include "common/verify/case_builder.hpp"

#include <algorithm>

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

/// Keys of a page.
constexpr std::int64_t kPageKeys[] = {16, 32, 64, 17};

/// With no edge of its own a chapter still gets sizes in the usual places.
constexpr int kDefaultEdge = 16;

std::vector<int> edges_or_default(std::span<const int> tile_edges) {
  if (tile_edges.empty()) return {kDefaultEdge};
  return {tile_edges.begin(), tile_edges.end()};
}

}  // namespace

std::int64_t work(const Shape& s) { return s.heads() * s.Nq * s.Nk * s.d; }

CaseBuilder::CaseBuilder(const Support& support, std::span<const Element> elements,
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
    // These have cases of their own, at the table's end.
    if (kind == InputKind::kHuge || kind == InputKind::kNanInGradO) continue;
    if (pass == Pass::kForward || !has_visible_infinity(kind)) kinds_.push_back(kind);
  }
  if (pass == Pass::kForward) {
    arrays_ = {"q", "k", "v", "o"};
  } else {
    arrays_ = {"q", "k", "v", "o", "dO", "dq", "dk", "dv"};
  }
}

std::span<const Mask> CaseBuilder::masks(std::size_t turn, bool thin) const {
  const std::size_t count = thin ? 1 : std::min(std::size(kMasks), masks_.size());
  return masks().subspan(turn % (masks_.size() / count) * count, count);
}

void CaseBuilder::add(Shape shape, const Mask& mask, InputKind kind, std::size_t scale_turn,
                      const Features& features, const VisibleKeys& keys,
                      const ScoreValues& scores) {
  const std::uint64_t number = cases_.size();
  const Element element = elements_[number / 3 % elements_.size()];
  shape.d = supported_d(support_, element, shape.d);
  const float standard = default_scale(shape.d);
  float scale = scale_turn == 0 ? standard : scale_turn == 1 ? -standard : 0.0f;
  if (has_prescribed_logits(kind)) scale = kPrescribedScale;
  std::int64_t page_keys = keys.page_keys;
  if (features.has(Feature::kPages) && page_keys == 0) {
    page_keys = kPageKeys[number % std::size(kPageKeys)];
  }
  cases_.push_back(
      {.spec = {.shape = shape,
                .mask = mask,
                .scale = scale,
                .kind = kind,
                .tile_edge = edges_[number % edges_.size()],
                .seed = seed_ + number,
                .element = element,
                .d_v = features.has(Feature::kValueWidth) ? other_width(element, shape.d) : 0,
                .features = features,
                .sink_keys = keys.sink_keys,
                .key_begin = keys.begin,
                .key_count = keys.count,
                .q_offsets = keys.q_offsets,
                .k_offsets = keys.k_offsets,
                .ranges = keys.ranges,
                .ranges_per_row = keys.ranges_per_row,
                .ranges_name = keys.ranges_name,
                .mask_array = keys.mask,
                .mask_shape = keys.mask_shape,
                .mask_name = keys.mask_name,
                .page_keys = page_keys,
                .shared_keys = keys.shared_keys,
                .scores = scores},
       .offset = number % 5 == 4 ? offset(element) : 0,
       .only = number % 10 == 9 ? arrays_[number / 10 % arrays_.size()] : "",
       .repeat = number % 8 == 3,
       .watched = shape.heads() < kManyHeads});
}

void CaseBuilder::lay_out_last(std::int64_t d_v, int gap) {
  InputSpec& spec = cases_.back().spec;
  if (d_v != 0) spec.d_v = supported_d(support_, spec.element, d_v);
  if (offset(spec.element) == 1) spec.gap = gap;
}

void CaseBuilder::add(const Shape& shape, const Mask& mask, InputKind kind) {
  static constexpr std::size_t kTurns[] = {0, 0, 1, 0, 1, 0, 2};
  add(shape, mask, kind, kTurns[scale_++ % std::size(kTurns)]);
}

std::vector<Case> CaseBuilder::take() {
  const auto order = [](const Case& one) { return std::pair(one.spec.kind, work(one.spec.shape)); };
  std::stable_sort(cases_.begin(), cases_.end(),
                   [&](const Case& a, const Case& b) { return order(a) < order(b); });
  return std::move(cases_);
}

std::int64_t CaseBuilder::other_width(Element element, std::int64_t d) const {
  return supported_d(support_, element, d > 8 ? d / 2 + 3 : d + 3);
}

int CaseBuilder::offset(Element element) const {
  const std::size_t each = bytes_of(element);
  return static_cast<int>(std::max<std::size_t>(support_.alignment / each, 1));
}

}  // namespace attn::verify
