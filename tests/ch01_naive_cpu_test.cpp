// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

using attn::Pass;

TEST_CASE("01_naive_cpu: forward is right on the case table") {
  attn::testing::require_right(attn::chapters::ch01_naive_cpu(), Pass::kForward);
}

TEST_CASE("01_naive_cpu: backward is right on the case table") {
  attn::testing::require_right(attn::chapters::ch01_naive_cpu(), Pass::kBackward);
}

TEST_CASE("01_naive_cpu: stores S for one head, and P with dP in the backward pass") {
  const attn::Step& step = attn::find_step(attn::chapters::ch01_naive_cpu(), "");
  const attn::Shape shape = attn::make_shape(4, 8, 1024, 512, 64);
  CHECK(step.forward_workspace_bytes(shape) == 1024 * 512 * 4);
  CHECK(step.backward_workspace_bytes(shape) == 2 * 1024 * 512 * 4);
}
