// SPDX-License-Identifier: MIT
#include "chapters/15_scores/scores.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("15_scores: forward is right on the case table") {
  require_right(chapters::ch15_scores(), Pass::kForward);
}

TEST_CASE("15_scores: backward is right on the case table") {
  require_right(chapters::ch15_scores(), Pass::kBackward);
}

}  // namespace
}  // namespace attn::testing
