// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

using attn::Pass;

TEST_CASE("02_naive_gpu: forward is right on the case table") {
  attn::testing::require_right(attn::chapters::ch02_naive_gpu(), Pass::kForward);
}

TEST_CASE("02_naive_gpu: stores S for all heads") {
  const attn::Step& step = attn::find_step(attn::chapters::ch02_naive_gpu(), "");
  const attn::Shape shape = attn::make_shape(4, 8, 1024, 512, 64);
  CHECK(step.forward_workspace_bytes(shape) == std::size_t{4 * 8} * 1024 * 512 * 4);
}
