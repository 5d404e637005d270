// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("09_tensor_cores: forward is right on the case table") {
  require_right(chapters::ch09_tensor_cores(), Pass::kForward);
}

TEST_CASE("09_tensor_cores: backward is right on the case table") {
  require_right(chapters::ch09_tensor_cores(), Pass::kBackward);
}

}  // namespace
}  // namespace attn::testing
