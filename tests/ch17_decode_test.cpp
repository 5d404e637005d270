// SPDX-License-Identifier: MIT
#include "chapters/17_decode/append.hpp"
#include "chapters/17_decode/cache.hpp"
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("17_decode: forward is right on the case table") {
  require_right(chapters::ch17_decode(), Pass::kForward);
}

}  // namespace
}  // namespace attn::testing
