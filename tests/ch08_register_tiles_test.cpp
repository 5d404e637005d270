// SPDX-License-Identifier: MIT
#include "chapters/chapters.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("08_register_tiles: forward is right on the whole case table") {
  require_right(chapters::ch08_register_tiles(), Pass::kForward);
}

TEST_CASE("08_register_tiles: backward is right on the whole case table") {
  require_right(chapters::ch08_register_tiles(), Pass::kBackward);
}

TEST_CASE("08_register_tiles: workspace is S where it is unfused, else one number per row") {
  const Chapter& chapter = chapters::ch08_register_tiles();
  const Shape shape = make_shape(3, 5, 7, 11, 64);
  CHECK(find_step(chapter, "step1_unfused").forward_workspace_bytes(shape) ==
        std::size_t{3 * 5 * 7 * 11} * sizeof(float));
  for (const Step& step : chapter.steps) {
    if (step.forward != nullptr && step.id != "step1_unfused") {
      CHECK(step.forward_workspace_bytes(shape) == 0);
    }
    if (step.backward != nullptr) {
      CHECK(step.backward_workspace_bytes(shape) == std::size_t{3 * 5 * 7} * sizeof(float));
    }
  }
}

}  // namespace
}  // namespace attn::testing
