// SPDX-License-Identifier: MIT
#include "common/verify/page_cases.hpp"

namespace attn::verify {
namespace {

/// Shorter than a tile of keys, as long, longer; and one that no tile ends with.
constexpr std::int64_t kPageKeys[] = {16, 17, 32, 64, 128, 256};

/// Valid keys of three sequences in pages of P keys, with room for Nk.
struct Valid {
  std::vector<std::int64_t> begin, count;
  std::int64_t shared_keys = 0;
};

std::vector<Valid> valid_around(std::int64_t P, std::int64_t Nk) {
  return {{{}, {}},
          {{}, {P + 1, P, P - 1}},
          {{3, P, P - 1}, {P, 5, 2}},
          {{}, {Nk, P + 5, 2 * P}, P},
          {{0, 2, 0}, {0, Nk - 2, 2 * P + 1}, 2 * P}};
}

}  // namespace

void add_pages(CaseBuilder& builder, const std::optional<Mask>& only_mask, bool thin) {
  const Features& taken = builder.support().features;
  if (!taken.has(Feature::kPages)) return;
  constexpr InputKind kKinds[] = {InputKind::kHiddenPoison, InputKind::kNormal,
                                  InputKind::kHiddenPoison, InputKind::kNanInSharedV,
                                  InputKind::kRising};
  constexpr std::int64_t kDims[] = {16, 40, 8, 72};
  std::size_t turn = 0;
  for (const std::int64_t P : kPageKeys) {
    const std::int64_t Nk = 2 * P + P / 2 + 3;  // the room ends within a page, too
    for (const Valid& valid : valid_around(P, Nk)) {
      const std::size_t n = turn++;
      if (thin && n % 3 != 0) continue;
      Features features{Feature::kPages};
      VisibleKeys keys{.page_keys = P, .shared_keys = valid.shared_keys};
      if (taken.has(Feature::kKeyCounts) && !valid.count.empty()) {
        features.add(Feature::kKeyCounts);
        keys.begin = valid.begin;
        keys.count = valid.count;
      }
      Shape shape = make_shape(3, 2, n % 2 == 0 ? 1 : 5, Nk, P > 64 ? 16 : kDims[n % 4]);
      if (taken.has(Feature::kGroupedHeads) && n % 4 != 3) shape.H = 6;
      Mask mask = n % 3 == 1 ? Mask::kFull : Mask::kCausal;
      if (taken.has(Feature::kWindows) && n % 4 == 2) mask = {.before = P + 3, .after = 0};
      if (taken.has(Feature::kSinkKeys) && n % 4 == 2) {
        features.add(Feature::kSinkKeys);
        keys.sink_keys = 5;
      }
      builder.add(shape, only_mask.value_or(mask), kKinds[n % std::size(kKinds)], 0, features,
                  keys);
    }
  }
}

}  // namespace attn::verify
