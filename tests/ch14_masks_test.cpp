// SPDX-License-Identifier: MIT
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

}  // namespace
}  // namespace attn::testing
