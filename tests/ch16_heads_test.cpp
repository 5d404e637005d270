// SPDX-License-Identifier: MIT
#include "chapters/16_heads/heads.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("16_heads: forward is right on the case table") {
  require_right(chapters::ch16_heads(), Pass::kForward);
}

TEST_CASE("16_heads: backward is right on the case table") {
  require_right(chapters::ch16_heads(), Pass::kBackward);
}

}  // namespace
}  // namespace attn::testing
