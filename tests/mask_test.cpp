// SPDX-License-Identifier: MIT
//
// Which keys a mask shows, by enumeration, and where an array over all pairs has a pair's element.
#include <fmt/format.h>

#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "common/attention.hpp"
#include "tests/catch.hpp"

namespace {

using attn::kUnbounded;
using attn::Mask;
using attn::Range;

using Wide = __int128;  // no sum of two bounds overflows it

/// The definition: j lies in [own - before, own + after].
bool sees(const Mask& mask, std::int64_t i, std::int64_t j, std::int64_t Nq, std::int64_t Nk) {
  const Wide own = Wide{i} + (mask.top_left ? 0 : Wide{Nk} - Nq);
  const bool above = mask.before == kUnbounded || j >= own - mask.before;
  return above && (mask.after == kUnbounded || j <= own + mask.after);
}

/// The numbers from 0 to `count - 1` for which `visible` is true, which must be neighbours.
template <class F>
Range range_of(std::int64_t count, F visible) {
  Range range;
  for (std::int64_t n = 0; n < count; ++n) {
    if (!visible(n)) continue;
    if (range.empty()) range = {n, n};
    REQUIRE(range.end == n);
    range.end = n + 1;
  }
  return range;
}

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
static_assert(kUnbounded == kMost);

std::vector<Mask> masks_with(std::initializer_list<std::int64_t> bounds) {
  std::vector<Mask> masks;
  for (const std::int64_t before : bounds) {
    for (const std::int64_t after : bounds) {
      for (const bool top_left : {false, true}) masks.push_back({before, after, top_left});
    }
  }
  return masks;
}

const std::initializer_list<std::int64_t> kBounds = {0, 1, 2, 5, kMost - 8, kMost - 1, kUnbounded};

std::string describe(const Mask& mask, std::int64_t Nq, std::int64_t Nk) {
  return fmt::format("{}, Nq={} Nk={}", to_string(mask), Nq, Nk);
}

std::string describe(const Range& range) { return fmt::format("[{}, {})", range.begin, range.end); }

}  // namespace

TEST_CASE("a mask's keys of a row and rows of a key are those of its definition") {
  for (const Mask& mask : masks_with(kBounds)) {
    for (std::int64_t Nq = 0; Nq <= 7; ++Nq) {
      for (std::int64_t Nk = 0; Nk <= 7; ++Nk) {
        INFO(describe(mask, Nq, Nk));
        for (std::int64_t i = 0; i < Nq; ++i) {
          const Range keys = range_of(Nk, [&](auto j) { return sees(mask, i, j, Nq, Nk); });
          if (keys_of_row(mask, i, Nq, Nk) == keys) continue;
          FAIL("row " << i << ": " << describe(keys_of_row(mask, i, Nq, Nk)) << ", not "
                      << describe(keys));
        }
        for (std::int64_t j = 0; j < Nk; ++j) {
          const Range rows = range_of(Nq, [&](auto i) { return sees(mask, i, j, Nq, Nk); });
          if (rows_of_key(mask, j, Nq, Nk) == rows) continue;
          FAIL("key " << j << ": " << describe(rows_of_key(mask, j, Nq, Nk)) << ", not "
                      << describe(rows));
        }
      }
    }
  }
}

TEST_CASE("a mask without a lower bound is one diagonal") {
  int prefixes = 0;
  for (const Mask& mask : masks_with(kBounds)) {
    REQUIRE(mask.is_prefix() == (mask.before == kUnbounded));
    if (!mask.is_prefix()) continue;
    ++prefixes;
    for (std::int64_t Nq = 0; Nq <= 7; ++Nq) {
      for (std::int64_t Nk = 0; Nk <= 7; ++Nk) {
        INFO(describe(mask, Nq, Nk));
        const std::int64_t diagonal = attn::diagonal(mask, Nq, Nk);
        for (std::int64_t i = 0; i < Nq; ++i) {
          const Range keys = range_of(Nk, [&](auto j) { return sees(mask, i, j, Nq, Nk); });
          for (std::int64_t j = 0; j < Nk; ++j) {
            REQUIRE((j <= i + diagonal) == sees(mask, i, j, Nq, Nk));
          }
          REQUIRE(attn::visible_keys(i, diagonal, Nk) == keys.end);
          REQUIRE(keys.begin == 0);
        }
        for (std::int64_t j = 0; j < Nk; ++j) {
          const Range rows = range_of(Nq, [&](auto i) { return sees(mask, i, j, Nq, Nk); });
          REQUIRE(attn::first_query(j, diagonal, Nq) == (rows.empty() ? Nq : rows.begin));
        }
      }
    }
  }
  CHECK(prefixes == 14);
}

TEST_CASE("sizes and bounds near the ends of 64 bits do not overflow a mask") {
  constexpr std::int64_t kHuge = (std::int64_t{1} << 61) - 1;  // the most elements of an array
  const auto clamped = [](Wide x, std::int64_t most) {
    return static_cast<std::int64_t>(x < 0 ? Wide{0} : x > most ? Wide{most} : x);
  };
  const auto between = [&](Wide own, Wide down, Wide up, std::int64_t most) {
    const Range range{clamped(own - down, most), clamped(own + up + 1, most)};
    return range.empty() ? Range{} : range;
  };
  for (const Mask& mask : masks_with({0, 1, kHuge - 1, kHuge, kMost - 1, kUnbounded})) {
    for (const auto& [Nq, Nk] : {std::pair{std::int64_t{1}, kHuge}, std::pair{kHuge, kHuge},
                                 std::pair{kHuge, std::int64_t{1}}}) {
      INFO(describe(mask, Nq, Nk));
      const Wide shift = mask.top_left ? 0 : Wide{Nk} - Nq;
      const Wide before = mask.before == kUnbounded ? Wide{kMost} * 4 : Wide{mask.before};
      const Wide after = mask.after == kUnbounded ? Wide{kMost} * 4 : Wide{mask.after};
      for (const std::int64_t i : {std::int64_t{0}, Nq / 2, Nq - 1}) {
        CHECK(keys_of_row(mask, i, Nq, Nk) == between(i + shift, before, after, Nk));
      }
      for (const std::int64_t j : {std::int64_t{0}, Nk / 2, Nk - 1}) {
        CHECK(rows_of_key(mask, j, Nq, Nk) == between(j - shift, after, before, Nq));
      }
    }
  }
  // A compiler that evaluates a constant refuses an overflow.
  static_assert(attn::keys_of_row({.before = kMost - 1, .after = kMost - 1}, 0, kHuge, 1) ==
                Range{0, 1});
  static_assert(attn::rows_of_key({.before = kMost - 1, .after = kMost - 1}, 0, 1, kHuge) ==
                Range{0, 1});
  static_assert(attn::diagonal({.after = kMost - 1}, kHuge, kHuge) == kHuge);
}

TEST_CASE("the named masks, and what masks are called") {
  CHECK(Mask{} == Mask::kFull);
  CHECK(keys_of_row(Mask::kFull, 0, 3, 5) == Range{0, 5});
  CHECK(keys_of_row(Mask::kCausal, 0, 3, 5) == Range{0, 3});
  CHECK(keys_of_row(Mask::kCausalTopLeft, 0, 3, 5) == Range{0, 1});
  CHECK(attn::keys_of_row({.before = 1, .after = 0}, 2, 3, 5) ==
        Range{3, 5});  // W = 2 keys, Mistral's
  CHECK(attn::diagonal(Mask::kFull, 3, 5) == 5);
  CHECK(attn::diagonal(Mask::kCausal, 5, 3) == -2);
  CHECK(attn::diagonal(Mask::kCausalTopLeft, 5, 3) == 0);

  CHECK(to_string(Mask::kFull) == "full");
  CHECK(to_string(Mask::kCausal) == "causal");
  CHECK(to_string(Mask::kCausalTopLeft) == "causal top-left");
  CHECK(to_string(Mask{.before = 128, .after = 0}) == "window 128,0");
  CHECK(to_string(Mask{.before = 128, .top_left = true}) == "window 128,-1 top-left");
  CHECK(to_string(Mask{.after = 3}) == "window -1,3");
}
TEST_CASE("a pair's element in an array that is broadcast as NumPy does it") {
  constexpr std::int64_t kB = 2, kH = 3, kNq = 4, kNk = 5;
  for (int ones = 0; ones < 16; ++ones) {  // bit n set: axis n has size 1
    const attn::PairShape shape{ones & 1 ? 1 : kB, ones & 2 ? 1 : kH, ones & 4 ? 1 : kNq,
                                ones & 8 ? 1 : kNk};
    CHECK(shape.elements() == shape.B * shape.H * shape.Nq * shape.Nk);
    const std::int64_t strides[] = {ones & 1 ? 0 : shape.H * shape.Nq * shape.Nk,
                                    ones & 2 ? 0 : shape.Nq * shape.Nk, ones & 4 ? 0 : shape.Nk,
                                    ones & 8 ? 0 : 1};
    for (std::int64_t b = 0; b < kB; ++b) {
      for (std::int64_t h = 0; h < kH; ++h) {
        for (std::int64_t i = 0; i < kNq; ++i) {
          for (std::int64_t j = 0; j < kNk; ++j) {
            REQUIRE(shape.index(b, h, i, j) ==
                    b * strides[0] + h * strides[1] + i * strides[2] + j * strides[3]);
          }
        }
      }
    }
  }
}
