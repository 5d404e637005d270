// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/13_packed/packed.hpp"
#include "chapters/13_packed/ranges.hpp"
#include "chapters/13_packed/sequences.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("13_packed: forward is right on the case table") {
  require_right(chapters::ch13_packed(), Pass::kForward);
}

TEST_CASE("13_packed: backward is right on the case table") {
  require_right(chapters::ch13_packed(), Pass::kBackward);
}

TEST_CASE("13_packed: forward needs no workspace, backward one number per row") {
  const Chapter& chapter = chapters::ch13_packed();
  const Shape shape = make_shape(3, 5, 7, 11, 64);
  const auto check = [&](const Step& step) {
    if (step.forward != nullptr) CHECK(step.forward_workspace_bytes(shape) == 0);
    if (step.backward != nullptr) {
      CHECK(step.backward_workspace_bytes(shape) == std::size_t{3 * 5 * 7} * sizeof(float));
    }
  };
  for (const Step& step : chapter.steps) check(step);
  check(*chapter.twin);
}

TEST_CASE("13_packed: the tiles are chapter 07's, of 32 keys at most") {
  for (int d = 1; d <= 128; ++d) {
    INFO("d=" << d);
    const packed::Tiles tiles = packed::tiles_for(d);
    const v2_loop_order::Tiles before = v2_loop_order::tiles_for(d);
    CHECK(tiles.D == before.D);
    CHECK(tiles.Br == before.Br);
    CHECK(tiles.Bc == std::min(before.Bc, 32));
    CHECK(packed::backward_tiles_for(d).Br == (d <= 64 ? 32 : 16));
    CHECK(packed::backward_tiles_for(d).Bc == (d <= 64 ? 32 : 16));
  }
}

/// Which blocks own each row of each head, and how many blocks own none.
struct Owners {
  std::vector<int> of_row;
  std::int64_t idle = 0;
};

Owners owners(const packed::Sequences& sequences, int T, std::int64_t rows) {
  Owners result{std::vector<int>(static_cast<std::size_t>(sequences.H * rows), 0)};
  for (std::int64_t block = 0; block < sequences.H * sequences.tiles(T); ++block) {
    const packed::BlockTile tile = sequences.tile_of_block(block, T);
    result.idle += tile.first_row >= tile.rows.size() ? 1 : 0;
    for (std::int64_t i = tile.first_row; i < std::min(tile.first_row + T, tile.rows.size()); ++i) {
      ++result.of_row.at(static_cast<std::size_t>(sequences.place(tile.rows, tile.h) + i));
    }
  }
  return result;
}

TEST_CASE("13_packed: every row of every sequence has one block, and a sequence at most one idle") {
  constexpr int T = 4;
  const std::vector<std::int64_t> lengths[] = {{1, 0, T + 1, 0, T, 3},
                                               {0, 0, 0},
                                               {0, 9, 0},
                                               {T, T, T},
                                               {2 * T - 1},
                                               {1, 1, 1, 1, 1, 1, 1},
                                               {0, T - 1, T + 1, 0, 0, 3 * T}};
  for (const std::vector<std::int64_t>& each : lengths) {
    std::vector<std::int64_t> offsets{0};
    for (const std::int64_t length : each) offsets.push_back(offsets.back() + length);
    const auto B = static_cast<std::int64_t>(each.size());
    INFO(B << " sequences, " << offsets.back() << " rows");
    for (const std::int64_t H : {1, 3}) {
      const Owners found =
          owners(packed::sequences_of({.host = offsets, .device = offsets.data()}, B, H, 99), T,
                 offsets.back());
      CHECK(std::count(found.of_row.begin(), found.of_row.end(), 1) == H * offsets.back());
      CHECK(found.idle <= H * B);
    }
  }
  const Owners whole = owners(packed::sequences_of({}, 3, 2, 2 * T + 1), T, 3 * (2 * T + 1));
  CHECK(std::count(whole.of_row.begin(), whole.of_row.end(), 1) == 2 * 3 * (2 * T + 1));
  CHECK(whole.idle == 0);
}

TEST_CASE("13_packed: two ranges are what either of them has, in tiles, too") {
  constexpr int kKeys = 9, kTile = 4;
  bool right = true;
  const auto check = [&](const Range& a, const Range& b) {
    const packed::RowKeys row = packed::union_of(a, b);
    std::array<bool, kKeys + kTile> seen{};
    for (int j = 0; j < kKeys; ++j) {
      seen[static_cast<std::size_t>(j)] =
          (j >= a.begin && j < a.end) || (j >= b.begin && j < b.end);
      right = right && row.has(j) == seen[static_cast<std::size_t>(j)];
      right = right && (!row.has(j) || (row.hull().begin <= j && j < row.hull().end));
    }
    right = right && row.empty() == (std::count(seen.begin(), seen.end(), true) == 0);
    right = right && (row.second.empty() || row.first.end < row.second.begin);
    for (int j0 = 0; j0 < kKeys; j0 += kTile) {
      const unsigned word = row.word(j0, kTile);
      int count = 0;
      for (int j = 0; j < kTile; ++j) {
        const bool sees = seen[static_cast<std::size_t>(j0 + j)];
        right = right && (word >> j & 1u) == (sees ? 1u : 0u);
        count += sees ? 1 : 0;
      }
      right = right && word >> kTile == 0;
      right = right && row.meets({j0, j0 + kTile}) == (count > 0);
      right = right && row.covers({j0, j0 + kTile}) == (count == kTile);
    }
  };
  for (std::int64_t a = 0; a <= kKeys; ++a) {
    for (std::int64_t a_end = 0; a_end <= kKeys; ++a_end) {
      for (std::int64_t b = 0; b <= kKeys; ++b) {
        for (std::int64_t b_end = 0; b_end <= kKeys; ++b_end) check({a, a_end}, {b, b_end});
      }
    }
  }
  CHECK(right);
}

TEST_CASE("13_packed: a word has all 32 bits") {
  const auto word = [](std::int64_t begin, std::int64_t end) {
    return packed::word_of({begin, end}, 64, 32);
  };
  CHECK(word(0, 64) == 0);
  CHECK(word(0, 65) == 1);
  CHECK(word(0, 95) == 0x7FFFFFFF);
  CHECK(word(0, 96) == 0xFFFFFFFF);
  CHECK(word(95, 1000) == 0x80000000);
  CHECK(word(96, 1000) == 0);
  CHECK(word(70, 70) == 0);
  CHECK(word(90, 70) == 0);
}

TEST_CASE("13_packed: a step refuses by name what only other steps take") {
  const Chapter& chapter = chapters::ch13_packed();
  const std::int64_t offsets[] = {0, 4}, bounds[] = {0, 1, 0, 1, 0, 1, 0, 1};
  Extras packed, ranges;
  packed.q_offsets.host = packed.k_offsets.host = offsets;
  ranges.ranges_per_row = 1;
  ranges.ranges.host = bounds;
  const auto why = [&](std::string_view step, const Extras& extras) {
    return why_unsupported(Element::kFloat32, make_shape(1, 1, 4, 4, 4), {.before = 2}, extras,
                           support_of(chapter, find_step(chapter, step)));
  };
  CHECK(why("step1_ranges", packed) ==
        "q_offsets: given; this step does not take packed sequences");
  CHECK(why("step2_packed", ranges) == "ranges: given; this step does not take ranges of keys");
  CHECK(why("step1_ranges", ranges).empty());
  CHECK(why("step2_packed", packed).empty());
  for (const std::string_view step : {"step3_both", "step4_backward"}) {
    CHECK(why(step, packed).empty());
    CHECK(why(step, ranges).empty());
  }
  CHECK(why("step3_both", {.sink_keys = 2}) ==
        "sink_keys = 2: given; this chapter does not take sink keys");
}

}  // namespace
}  // namespace attn::testing
