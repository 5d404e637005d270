// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

TEST_CASE("07_v2_loop_order: forward is right on the whole case table") {
  attn::testing::require_right(attn::chapters::ch07_v2_loop_order(), attn::Pass::kForward);
}

TEST_CASE("07_v2_loop_order: backward is right on the whole case table") {
  attn::testing::require_right(attn::chapters::ch07_v2_loop_order(), attn::Pass::kBackward);
}
