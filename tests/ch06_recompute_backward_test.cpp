// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

TEST_CASE("06_recompute_backward: backward is right on the whole case table") {
  attn::testing::require_right(attn::chapters::ch06_recompute_backward(), attn::Pass::kBackward);
}
