// SPDX-License-Identifier: MIT
//
// The reader's own attention goes through the whole battery, as shipped and after every change.
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn {
namespace {

TEST_CASE("my attention is right in every case", "[ch00]") {
  testing::require_right(chapters::ch00_playground(), Pass::kForward);
}

}  // namespace
}  // namespace attn
