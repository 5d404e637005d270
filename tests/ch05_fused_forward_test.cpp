// SPDX-License-Identifier: MIT
#include "chapters/05_fused_forward/fused_forward.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

using attn::Pass;

TEST_CASE("05_fused_forward: forward is right on the case table") {
  attn::testing::require_right(attn::chapters::ch05_fused_forward(), Pass::kForward);
}

TEST_CASE("05_fused_forward: the workspace is two numbers per row, whatever Nk is") {
  const attn::Chapter& chapter = attn::chapters::ch05_fused_forward();
  for (const attn::Step* step : {&attn::find_step(chapter, ""), chapter.twin}) {
    CHECK(step->forward_workspace_bytes(attn::make_shape(3, 5, 7, 11, 64)) ==
          std::size_t{3 * 5 * 7} * 2 * 4);
    CHECK(step->forward_workspace_bytes(attn::make_shape(1, 1, 8192, 8192, 64)) == 64 * 1024);
  }
}

TEST_CASE("05_fused_forward: every set of tiles fits 48 KiB and holds d") {
  for (int d = 1; d <= 128; ++d) {
    const attn::fused_forward::Tiles tiles = attn::fused_forward::tiles_for(d);
    INFO("d=" << d);
    CHECK(tiles.floats() * 4 <= 48 * 1024);
    CHECK(tiles.D >= d);
    // The rule of the lesson: Bc is the largest power of two up to M/(4 D), M = 48 KiB in floats,
    // and Br the largest one that then fits.
    CHECK(tiles.Bc <= 12288 / (4 * tiles.D));
    CHECK(2 * tiles.Bc > 12288 / (4 * tiles.D));
    const attn::fused_forward::Tiles taller{.D = tiles.D, .Br = 2 * tiles.Br, .Bc = tiles.Bc};
    CHECK(taller.floats() * 4 > 48 * 1024);
  }
}
