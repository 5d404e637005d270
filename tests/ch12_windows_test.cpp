// SPDX-License-Identifier: MIT
#include <algorithm>
#include <string>
#include <vector>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/12_windows/sinks.hpp"
#include "chapters/12_windows/windows.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("12_windows: forward is right on the case table") {
  require_right(chapters::ch12_windows(), Pass::kForward);
}

TEST_CASE("12_windows: backward is right on the case table") {
  require_right(chapters::ch12_windows(), Pass::kBackward);
}

TEST_CASE("12_windows: forward needs no workspace, backward one number per row") {
  const Chapter& chapter = chapters::ch12_windows();
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

TEST_CASE("12_windows: the tiles are chapter 07's") {
  for (int d = 1; d <= 128; ++d) {
    INFO("d=" << d);
    const windows::Tiles tiles = windows::tiles_for(d);
    const v2_loop_order::Tiles before = v2_loop_order::tiles_for(d);
    CHECK(tiles.D == before.D);
    CHECK(tiles.Br == before.Br);
    CHECK(tiles.Bc == before.Bc);
    CHECK(tiles.floats() == before.floats());
    CHECK(windows::backward_tiles_for(d).Br == (d <= 64 ? 32 : 16));
    CHECK(windows::backward_tiles_for(d).Bc == (d <= 32 ? 64 : d <= 64 ? 32 : 16));
  }
}

/// A small S with its mask, and the definition of what is visible in it.
struct Pairs {
  Mask mask;
  std::int64_t Nq, Nk, sinks;

  windows::SinkBand band() const { return {windows::band_of(mask, Nq, Nk), sinks}; }
  bool sees(std::int64_t i, std::int64_t j) const {
    const std::int64_t own = i + (mask.top_left ? 0 : Nk - Nq);
    if (i < 0 || i >= Nq || j < 0 || j >= Nk) return false;
    if (mask.after != kUnbounded && j > own + mask.after) return false;
    return mask.before == kUnbounded || j >= own - mask.before || j < sinks;
  }
  /// How many of the pairs of a tile are visible.
  int visible(Range rows, Range keys) const {
    int sum = 0;
    for (std::int64_t i = rows.begin; i < rows.end; ++i) {
      for (std::int64_t j = keys.begin; j < keys.end; ++j) sum += sees(i, j) ? 1 : 0;
    }
    return sum;
  }
};

template <class Check>
void for_all_pairs(Check check) {
  for (const std::int64_t Nq : {1, 5, 12}) {
    for (const std::int64_t Nk : {0, 1, 7, 13}) {
      for (const std::int64_t before : {std::int64_t{0}, std::int64_t{1}, std::int64_t{4},
                                        std::int64_t{20}, kUnbounded / 2, kUnbounded}) {
        for (const std::int64_t after : {std::int64_t{0}, std::int64_t{3}, kUnbounded}) {
          for (const std::int64_t sinks : {0, 1, 4, 30}) {
            for (const bool top_left : {false, true}) {
              const Pairs pairs{{before, after, top_left}, Nq, Nk, sinks};
              INFO(to_string(pairs.mask) << ", Nq=" << Nq << " Nk=" << Nk << " sinks=" << sinks);
              check(pairs);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("12_windows: a band's rows are those of the mask, and its tiles' those of the band") {
  constexpr int kTile = 4;
  for_all_pairs([&](const Pairs& pairs) {
    const windows::SinkBand band = pairs.band();
    bool right = true;
    for (std::int64_t i = 0; i < pairs.Nq; ++i) {
      const Range row = band.row(i);
      right =
          right && (row.empty() ? Range{} : row) == keys_of_row(pairs.mask, i, pairs.Nq, pairs.Nk);
      right = right && band.sees_none(i) == (pairs.visible({i, i + 1}, {0, pairs.Nk}) == 0);
    }
    for (std::int64_t i0 = 0; i0 < pairs.Nq; i0 += kTile) {
      const int rows = static_cast<int>(std::min<std::int64_t>(kTile, pairs.Nq - i0));
      for (std::int64_t j0 = 0; j0 < pairs.Nk + kTile; j0 += kTile) {
        const windows::TileSinkBand tile = band.in_tile(i0, j0, kTile);
        for (int r = 0; r < rows; ++r) {
          bool any = false;
          for (int j = 0; j < kTile; ++j) {
            const bool sees = pairs.sees(i0 + r, j0 + j);
            const bool in_ranges =
                j < tile.sinks_end(r) || (j >= tile.window_begin(r) && j < tile.end_of_row(r));
            const bool in_rows = r >= tile.begin_of_key(j) && r < tile.end_of_key(j, rows);
            const bool in_hull = j >= tile.begin() && j < tile.end(rows);
            any = any || sees;
            right = right && tile.sees(r, j) == sees && in_ranges == sees && in_rows == sees &&
                    (in_hull || !sees);
          }
          right = right && tile.sees_none(r) == !any;
        }
      }
    }
    CHECK(right);
  });
}

TEST_CASE("12_windows: the tiles to load are those with a visible pair, from either side") {
  constexpr int kBr = 5, kBc = 3;
  for_all_pairs([&](const Pairs& pairs) {
    const windows::SinkBand band = pairs.band();
    bool right = true;
    for (std::int64_t i0 = 0; i0 < pairs.Nq; i0 += kBr) {
      const std::int64_t i1 = std::min(i0 + kBr, pairs.Nq);
      const windows::Stretches some = band.some(i0, i1, kBc);
      std::vector<std::int64_t> loaded, wanted;
      for (std::int64_t j0 = some.from(0); j0 < some.end; j0 = some.from(j0 + kBc)) {
        loaded.push_back(j0);
      }
      for (std::int64_t j0 = 0; j0 < pairs.Nk; j0 += kBc) {
        const int visible = pairs.visible({i0, i1}, {j0, j0 + kBc});
        if (visible > 0) wanted.push_back(j0);
        const bool all = visible == kBc * static_cast<int>(i1 - i0);
        const bool needs_both_ranges = all && !band.every(i0, i1, j0, j0 + kBc);
        right = right && (all || !band.every(i0, i1, j0, j0 + kBc)) &&
                (!needs_both_ranges || (j0 < pairs.sinks && j0 + kBc > pairs.sinks));
      }
      right = right && loaded == wanted;
    }
    for (std::int64_t j0 = 0; j0 < pairs.Nk + kBc; j0 += kBc) {
      const Range rows = band.rows(j0, j0 + kBc, pairs.Nq);
      for (std::int64_t i = 0; i < pairs.Nq; ++i) {
        const bool inside = i >= rows.begin && i < rows.end;
        right = right && inside == (pairs.visible({i, i + 1}, {j0, j0 + kBc}) > 0);
      }
    }
    CHECK(right);
  });
}

TEST_CASE("12_windows: rows and keys far apart keep their place in a tile") {
  constexpr std::int64_t kFar = std::int64_t{1} << 40;
  const windows::SinkBand causal{windows::band_of(Mask::kCausal, kFar, kFar), 0};
  CHECK(causal.in_tile(kFar - 64, 0, 32).sees(0, 31));
  CHECK_FALSE(causal.in_tile(0, kFar - 32, 32).sees(63, 0));
  const Mask window{.before = std::int64_t{1} << 33, .after = 0};
  const windows::SinkBand band{windows::band_of(window, kFar, kFar), 0};
  const std::int64_t edge = kFar - 64 - window.before;  // the first key of row kFar - 64
  CHECK(band.in_tile(kFar - 64, edge, 32).sees(0, 0));
  CHECK_FALSE(band.in_tile(kFar - 64, edge, 32).sees(1, 0));
}

TEST_CASE("12_windows: a step refuses by name what only later steps take") {
  const Chapter& chapter = chapters::ch12_windows();
  const auto why = [&](std::string_view step, const Extras& extras) {
    return why_unsupported(Element::kFloat32, make_shape(1, 1, 4, 4, 4), {.before = 2}, extras,
                           support_of(chapter, find_step(chapter, step)));
  };
  const std::int64_t count[] = {3};
  const Extras padded{.key_count = {count, nullptr}}, sinks{.sink_keys = 2};
  for (const Step& step : chapter.steps) CHECK(why(step.id, {}).empty());
  for (const std::string_view step : {"step1_range", "step2_skip"}) {
    CHECK(why(step, padded) == "key_count: given; this step does not take key counts");
  }
  for (const std::string_view step : {"step1_range", "step2_skip", "step3_lengths"}) {
    CHECK(why(step, sinks) == "sink_keys = 2: given; this step does not take sink keys");
  }
  CHECK(why("step3_lengths", padded).empty());
  for (const std::string_view step : {"step4_sinks", "step5_backward"}) {
    CHECK(why(step, padded).empty());
    CHECK(why(step, sinks).empty());
  }
  CHECK(why("step4_sinks", {.softcap = 2}) ==
        "softcap = 2: given; this chapter does not take a softcap");
}

}  // namespace
}  // namespace attn::testing
