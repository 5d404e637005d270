// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("12_windows: forward is right on the whole case table") {
  require_right(chapters::ch12_windows(), Pass::kForward);
}

}  // namespace
}  // namespace attn::testing
