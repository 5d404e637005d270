// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("13_packed: forward is right on the whole case table") {
  require_right(chapters::ch13_packed(), Pass::kForward);
}

TEST_CASE("13_packed: backward is right on the whole case table") {
  require_right(chapters::ch13_packed(), Pass::kBackward);
}

}  // namespace
}  // namespace attn::testing
