// SPDX-License-Identifier: MIT
//
// A row of `a` and one of `b` meet if the second begins less than a row away from the first. How
// far it begins from there is the distance of the two pointers and, for each axis, a multiple of
// its stride. So the question is whether a sum of multiples, each from a range, falls into an
// interval; the largest stride is tried first, and leaves a smaller interval for the others.
#include "common/overlap.hpp"

#include <algorithm>
#include <span>
#include <vector>

namespace attn {
namespace {

using Wide = __int128;  // no sum of multiples overflows it

/// Multiples of a stride, from `least` to `most` times.
struct Multiples {
  std::int64_t stride;
  Wide least, most;
};

/// Trials before the answer is a cautious yes. Nested axes, each stride at least as large as what
/// lies within, need at most three for each axis.
constexpr int kMostTrials = 4096;

class Search {
 public:
  explicit Search(std::vector<Multiples> terms) : terms_(std::move(terms)) {
    std::sort(terms_.begin(), terms_.end(),
              [](const Multiples& a, const Multiples& b) { return a.stride > b.stride; });
  }

  /// Whether a sum of one multiple of each term lies in [low, high].
  bool reaches(Wide low, Wide high) { return reaches(terms_, low, high); }

 private:
  bool reaches(std::span<const Multiples> terms, Wide low, Wide high) {
    Wide least = 0, most = 0;
    for (const Multiples& term : terms) {
      least += term.least * term.stride;
      most += term.most * term.stride;
    }
    if (most < low || high < least) return false;
    if (terms.empty() || ++trials_ > kMostTrials) return true;
    const Multiples& first = terms.front();
    // What the others add at least and at most, and the times that this leaves.
    const Wide rest_least = least - first.least * first.stride;
    const Wide rest_most = most - first.most * first.stride;
    const Wide from = std::max(first.least, quotient_up(low - rest_most, first.stride));
    const Wide to = std::min(first.most, -quotient_up(rest_least - high, first.stride));
    for (Wide times = from; times <= to; ++times) {
      const Wide here = times * first.stride;
      if (reaches(terms.subspan(1), low - here, high - here)) return true;
    }
    return false;
  }

  /// value / stride, rounded towards plus infinity.
  static Wide quotient_up(Wide value, std::int64_t stride) {
    return value / stride + (value % stride > 0 ? 1 : 0);
  }

  std::vector<Multiples> terms_;
  int trials_ = 0;
};

}  // namespace

bool share_bytes(const View& a, const View& b) {
  if (a.row_bytes == 0 || b.row_bytes == 0) return false;
  std::vector<Multiples> terms;
  const auto add = [&terms](const View::Axis& axis, bool forwards) {
    if (axis.stride == 0 || axis.count == 1) return;
    const auto found = std::find_if(terms.begin(), terms.end(), [&](const Multiples& term) {
      return term.stride == axis.stride;
    });
    // Two axes of one stride are one, with all differences of their places.
    Multiples& term = found != terms.end() ? *found : terms.emplace_back(axis.stride, 0, 0);
    (forwards ? term.most : term.least) += forwards ? axis.count - 1 : 1 - axis.count;
  };
  for (const View::Axis& axis : a.axes) add(axis, /*forwards=*/false);
  for (const View::Axis& axis : b.axes) add(axis, /*forwards=*/true);
  const Wide distance = static_cast<Wide>(reinterpret_cast<std::uintptr_t>(b.pointer)) -
                        static_cast<Wide>(reinterpret_cast<std::uintptr_t>(a.pointer));
  const Wide low = 1 - static_cast<Wide>(b.row_bytes), high = static_cast<Wide>(a.row_bytes) - 1;
  return Search(std::move(terms)).reaches(low - distance, high - distance);
}

}  // namespace attn
