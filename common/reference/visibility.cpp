// SPDX-License-Identifier: MIT
#include <algorithm>
#include <limits>

#include "common/reference/extra_values.hpp"

namespace attn::reference {

Visibility::Visibility(const Mask& mask, const ExtraValues<double>& extras)
    : mask_(mask),
      extras_(extras),
      by_pairs_(extras.ranges_per_row > 0 || !extras.mask.empty() || !extras.bias.empty()) {}

Range Visibility::valid_keys(const HeadRows& head) const {
  const auto b = static_cast<std::size_t>(head.b);
  const std::int64_t begin = extras_.key_begin.empty() ? 0 : extras_.key_begin[b];
  if (extras_.key_count.empty()) return {begin, head.Nk};
  return {begin, begin + extras_.key_count[b]};
}

std::int64_t Visibility::own_key(const HeadRows& head, std::int64_t i) const {
  const Range valid = valid_keys(head);
  return valid.begin + i + own_key_of_first_row(mask_, head.Nq, valid.end - valid.begin);
}

bool Visibility::pair_is_visible(const HeadRows& head, std::int64_t i, std::int64_t j) const {
  const auto at = [&](const PairShape& shape) {
    return static_cast<std::size_t>(shape.index(head.b, head.h, i, j));
  };
  if (!extras_.mask.empty() && extras_.mask[at(extras_.mask_shape)] == 0) return false;
  if (!extras_.bias.empty() &&
      extras_.bias[at(extras_.bias_shape)] == -std::numeric_limits<double>::infinity()) {
    return false;
  }
  const auto ranges = static_cast<std::size_t>(extras_.ranges_per_row);
  if (ranges == 0) return true;
  const std::int64_t* bounds =
      extras_.ranges.data() + static_cast<std::size_t>(head.b * head.Nq + i) * 2 * ranges;
  for (std::size_t n = 0; n < ranges; ++n) {
    if (bounds[2 * n] <= j && j < bounds[2 * n + 1]) return true;
  }
  return false;
}

void Visibility::keys_of(const HeadRows& head, std::int64_t i,
                         std::vector<std::int64_t>& keys) const {
  keys.clear();
  const Range valid = valid_keys(head);
  const std::int64_t count = valid.end - valid.begin;
  const Mask unbounded_below{.after = mask_.after, .top_left = mask_.top_left};
  const Range seen = keys_of_row(mask_, i, head.Nq, count);
  const std::int64_t sinks =
      std::min(extras_.sink_keys, keys_of_row(unbounded_below, i, head.Nq, count).end);
  const auto add = [&](std::int64_t from, std::int64_t to) {
    for (std::int64_t j = valid.begin + from; j < valid.begin + to; ++j) {
      if (!by_pairs_ || pair_is_visible(head, i, j)) keys.push_back(j);
    }
  };
  add(0, sinks);
  add(std::max(seen.begin, sinks), seen.end);
}

}  // namespace attn::reference
