// SPDX-License-Identifier: MIT
#include <cstdint>
#include <vector>

#include "chapters/07_v2_loop_order/v2_loop_order.hpp"
#include "chapters/14_masks/cpu.hpp"
#include "chapters/14_masks/lists.hpp"
#include "chapters/14_masks/mask_array.hpp"
#include "chapters/14_masks/masks.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("14_masks: forward is right on the case table") {
  require_right(chapters::ch14_masks(), Pass::kForward);
}

TEST_CASE("14_masks: backward is right on the case table") {
  require_right(chapters::ch14_masks(), Pass::kBackward);
}

TEST_CASE("14_masks: a workspace has room for a mask of every head") {
  const Chapter& chapter = chapters::ch14_masks();
  const auto bytes = [&](std::string_view step, const Shape& shape) {
    const Step& found = step == "cpu" ? *chapter.twin : find_step(chapter, step);
    return found.forward ? found.forward_workspace_bytes(shape)
                         : found.backward_workspace_bytes(shape);
  };
  // 15 heads; 3 tiles of 64 rows and 5 of 32, 4 tiles of 32 keys; a list's count, and its tiles.
  const Shape shape = make_shape(3, 5, 130, 100, 64);
  const std::size_t words = 15 * 130 * 4 * 4;
  CHECK(bytes("step1_bytes", shape) == 0);
  CHECK(bytes("step2_bits", shape) == words);
  CHECK(bytes("step3_tiles", shape) == words + 15 * 3 * (1 + 4) * 4 + 15 * 3 * 4);
  CHECK(bytes("step4_backward", shape) ==
        words + 15 * 130 * 4 + 15 * 5 * (1 + 4) * 4 + 15 * 4 * (1 + 5) * 4 + 15 * 5 * 4);
  CHECK(bytes("cpu", shape) == 0);
  CHECK(chapter.twin->backward_workspace_bytes(shape) == 15 * 130 * 4);
  // 1 head; 5 tiles of 32 rows and 9 of 16, 7 tiles of 16 keys, whose words have 2 bytes.
  const Shape wide = make_shape(1, 1, 130, 100, 65);
  const std::size_t short_words = 130 * 7 * 2;
  CHECK(bytes("step2_bits", wide) == short_words);
  CHECK(bytes("step3_tiles", wide) == short_words + 5 * (1 + 7) * 4 + 5 * 7);
  CHECK(bytes("step4_backward", wide) ==
        short_words + 130 * 4 + 9 * (1 + 7) * 4 + 7 * (1 + 9) * 4 + 9 * 7);
}

TEST_CASE("14_masks: a tile has no more keys than a word, and as many in both passes") {
  for (int d = 1; d <= 128; ++d) {
    INFO("d=" << d);
    const masks::Tiles tiles = masks::tiles_for(d);
    const v2_loop_order::Tiles before = v2_loop_order::tiles_for(d);
    CHECK(tiles.D == before.D);
    CHECK(tiles.Br == before.Br);
    CHECK(tiles.Bc == (before.Bc < 32 ? before.Bc : 32));
    CHECK(masks::backward_tiles_for(d).D == tiles.D);
    CHECK(masks::backward_tiles_for(d).Br == (d <= 64 ? 32 : 16));
    CHECK(masks::backward_tiles_for(d).Bc == tiles.Bc);
  }
}

/// A byte that is 0 for about half of all numbers, and one of several others for the rest.
std::uint8_t some_byte(std::size_t number) {
  const std::size_t mixed = (number + 1) * 2654435761u >> 7;
  return mixed % 2 == 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(mixed % 255 + 1);
}

TEST_CASE("14_masks: a tile's pairs are the array's and the band's, however it is broadcast") {
  constexpr std::int64_t B = 2, H = 3, Nq = 21, Nk = 90;
  constexpr int kBr = 4, kBc = 8;
  const Mask bands[] = {Mask::kFull, Mask::kCausal, {.before = 5, .after = 2}};
  std::int64_t wrong = 0;
  for (int form = 0; form < 17; ++form) {
    Extras extras;
    extras.mask_shape = {(form & 1) != 0 ? B : 1, (form & 2) != 0 ? H : 1, (form & 4) != 0 ? Nq : 1,
                         (form & 8) != 0 ? Nk : 1};
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(extras.mask_shape.elements()));
    for (std::size_t n = 0; n < bytes.size(); ++n) bytes[n] = some_byte(n);
    if (form < 16) extras.mask = bytes.data();  // and once there is none
    for (const Mask& band : bands) {
      const ForwardArgs args{.shape = make_shape(B, H, Nq, Nk, 1), .mask = band, .extras = extras};
      const masks::Pairs pairs = masks::pairs_of(args);
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t h = 0; h < H; ++h) {
          const auto sees = [&](std::int64_t i, std::int64_t j) {
            const Range keys = keys_of_row(band, i, Nq, Nk);
            if (i >= Nq || j < keys.begin || j >= keys.end) return false;
            if (extras.mask == nullptr) return true;
            return bytes[static_cast<std::size_t>(extras.mask_shape.index(b, h, i, j))] != 0;
          };
          const masks::Head twin(args, b * H + h);
          for (std::int64_t i0 = 0; i0 < Nq; i0 += kBr) {
            for (std::int64_t j0 = 0; j0 < Nk; j0 += kBc) {
              const masks::TilePairs tile =
                  pairs.in_tile(pairs.array.head_of(b, h), i0, j0, kBr, kBc);
              for (int r = 0; r < kBr; ++r) {
                for (int j = 0; j < kBc; ++j) {
                  wrong += tile.sees(r, j) != sees(i0 + r, j0 + j) ? 1 : 0;
                }
              }
            }
          }
          for (std::int64_t j = 0; j < Nk; ++j) {
            for (std::int64_t i = 0; i < Nq; ++i) {
              const int place = static_cast<int>(j % 64);
              wrong += twin.keys(i, j - place).has(place) != sees(i, j) ? 1 : 0;
              wrong += twin.rows(j, 0).has(static_cast<int>(i)) != sees(i, j) ? 1 : 0;
            }
          }
        }
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("14_masks: what a list says of a tile") {
  for (const std::int64_t number :
       {std::int64_t{0}, std::int64_t{5}, (std::int64_t{1} << 31) - 1}) {
    for (const bool whole : {false, true}) {
      const masks::ListedTile tile = masks::ListedTile::of(number, whole);
      CHECK(tile.number() == number);
      CHECK(tile.whole() == whole);
    }
  }
}

TEST_CASE("14_masks: what the twin sees has a first, a last, and gaps") {
  const masks::Seen run{0b0111000}, gap{0b0101000}, all{~std::uint64_t{0}}, last{1ull << 63};
  CHECK((run.begin() == 3 && run.end() == 6 && !run.has_gaps()));
  CHECK((gap.begin() == 3 && gap.end() == 6 && gap.has_gaps()));
  CHECK((all.begin() == 0 && all.end() == 64 && all.all() && !all.has_gaps()));
  CHECK((last.begin() == 63 && last.end() == 64 && !last.has_gaps() && !last.all()));
  CHECK(masks::Seen{}.none());
}

TEST_CASE("14_masks: a mask array, but no other extra") {
  const Chapter& chapter = chapters::ch14_masks();
  const std::uint8_t bytes[16] = {};
  Extras array;
  array.mask = bytes;
  array.mask_shape = {1, 1, 4, 4};
  const auto why = [&](const Extras& extras) {
    return why_unsupported(Element::kFloat32, make_shape(1, 1, 4, 4, 4), {.before = 2}, extras,
                           chapter.support);
  };
  CHECK(why(array).empty());
  CHECK(why({.sink_keys = 2}) == "sink_keys = 2: given; this chapter does not take sink keys");
}

}  // namespace
}  // namespace attn::testing
