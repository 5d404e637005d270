// SPDX-License-Identifier: MIT
//
// Views that share a byte and views that do not, against lists of all their bytes.
#include "common/overlap.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <random>
#include <set>
#include <string>

#include "tests/catch.hpp"

namespace {

using attn::View;

constexpr std::uintptr_t kBase = 1 << 20;

View view(std::int64_t at, std::size_t row_bytes, View::Axis x, View::Axis y = {},
          View::Axis z = {}) {
  return {
      reinterpret_cast<const void*>(kBase + static_cast<std::uintptr_t>(at)), row_bytes, {x, y, z}};
}

std::set<std::int64_t> bytes_of(const View& of) {
  std::set<std::int64_t> bytes;
  const auto first = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(of.pointer));
  for (std::int64_t x = 0; x < of.axes[0].count; ++x) {
    for (std::int64_t y = 0; y < of.axes[1].count; ++y) {
      for (std::int64_t z = 0; z < of.axes[2].count; ++z) {
        const std::int64_t row =
            first + x * of.axes[0].stride + y * of.axes[1].stride + z * of.axes[2].stride;
        for (std::size_t n = 0; n < of.row_bytes; ++n) {
          bytes.insert(row + static_cast<std::int64_t>(n));
        }
      }
    }
  }
  return bytes;
}

bool meet(const std::set<std::int64_t>& a, const std::set<std::int64_t>& b) {
  for (const std::int64_t byte : a) {
    if (b.contains(byte)) return true;
  }
  return false;
}

std::string describe(const View& of) {
  std::string text =
      fmt::format("at {}, rows of {}",
                  static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(of.pointer)) -
                      static_cast<std::int64_t>(kBase),
                  of.row_bytes);
  for (const auto& [stride, count] : of.axes) text += fmt::format(", {} x {}", count, stride);
  return text;
}

/// Draws a view whose rows lie apart, mostly with gaps, axes in any order; or any view at all.
View random_view(std::mt19937& engine) {
  const auto draw = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(engine() % static_cast<std::uint64_t>(high - low + 1));
  };
  View result = view(draw(-40, 40), static_cast<std::size_t>(draw(0, 6)), {});
  auto reach = static_cast<std::int64_t>(result.row_bytes);
  const bool nested = draw(0, 3) > 0;
  for (View::Axis& axis : result.axes) {
    axis = {nested ? reach + draw(0, 5) : draw(0, 20), draw(1, 4)};
    reach = axis.stride * axis.count;
  }
  std::swap(result.axes[0], result.axes[static_cast<std::size_t>(draw(0, 2))]);
  return result;
}

TEST_CASE("views share a byte if and only if one is in both lists") {
  std::mt19937 engine(1);
  int sharing = 0, between = 0;
  constexpr int kPairs = 40'000;
  for (int pair = 0; pair < kPairs; ++pair) {
    const View a = random_view(engine);
    View b = random_view(engine);
    if (pair % 2 == 0) {  // equal strides, other counts
      for (std::size_t n = 0; n < 3; ++n) b.axes[n].stride = a.axes[n].stride;
    }
    const std::set<std::int64_t> of_a = bytes_of(a), of_b = bytes_of(b);
    const bool share = meet(of_a, of_b);
    sharing += share ? 1 : 0;
    between += !share && !of_a.empty() && !of_b.empty() && *of_a.begin() <= *of_b.rbegin() &&
                       *of_b.begin() <= *of_a.rbegin()
                   ? 1
                   : 0;
    if (share_bytes(a, b) == share && share_bytes(b, a) == share) continue;
    FAIL(describe(a) << "; " << describe(b) << ": " << (share ? "they share" : "none is shared"));
  }
  CHECK(sharing > kPairs / 10);
  CHECK(between > kPairs / 40);  // whose ranges of addresses meet
}

TEST_CASE("views near the ends of 64 bits, and views that would take too many trials") {
  constexpr std::int64_t kFar = std::int64_t{1} << 61;
  CHECK_FALSE(share_bytes(view(0, 8, {kFar, 3}), view(8, 8, {kFar, 3})));
  CHECK(share_bytes(view(0, 8, {kFar, 3}), view(7, 8, {kFar, 3})));
  // A million heads of a million rows, interleaved, are two multiples.
  constexpr std::int64_t kMany = 1'000'000;
  const View::Axis rows{3 * 64 * kMany, kMany}, heads{64, kMany};
  CHECK_FALSE(share_bytes(view(0, 64, rows, heads), view(64 * kMany, 64, rows, heads)));
  CHECK(share_bytes(view(0, 64, rows, heads), view(64 * kMany - 1, 64, rows, heads)));
  // All even multiples of 7 and of 11 against odd ones of 2: nothing shared, and no end of trials.
  CHECK(share_bytes(view(0, 1, {14, kMany}, {22, kMany}), view(1, 1, {2, kMany})));
  CHECK_FALSE(share_bytes(view(0, 1, {14, 10}, {22, 10}), view(1, 1, {2, 10})));
}

}  // namespace
