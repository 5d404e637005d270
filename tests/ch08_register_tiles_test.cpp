// SPDX-License-Identifier: MIT
#include <array>
#include <vector>

#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("08_register_tiles: forward is right on the case table") {
  require_right(chapters::ch08_register_tiles(), Pass::kForward);
}

TEST_CASE("08_register_tiles: backward is right on the case table") {
  require_right(chapters::ch08_register_tiles(), Pass::kBackward);
}

/// Whole tiles of 128 queries and of 64 keys, and one row or key more or less: every step and the
/// twin against the oracle.
TEST_CASE("08_register_tiles: right at the edges of a tile of 128 queries") {
  if (device_is_missing()) return;
  const Chapter& chapter = chapters::ch08_register_tiles();
  std::vector<const Step*> steps{chapter.twin};
  for (const Step& step : chapter.steps) steps.push_back(&step);
  for (const auto& [Nq, Nk, d] : {std::array{128, 128, 64}, {256, 64, 128}, {127, 192, 32}}) {
    for (const Mask& mask : {Mask::kFull, Mask::kCausal}) {
      for (const Step* step : steps) {
        const Pass pass = step->forward != nullptr ? Pass::kForward : Pass::kBackward;
        const Problem problem = verify::make_problem({.shape = make_shape(1, 1, Nq, Nk, d),
                                                      .mask = mask,
                                                      .scale = default_scale(d),
                                                      .seed = 20260101},
                                                     pass);
        INFO(step->id << " Nq=" << Nq << " Nk=" << Nk << " d=" << d);
        const verify::Truth truth = verify::truth_of(problem, pass);
        const Outputs outputs = pass == Pass::kForward
                                    ? run_forward(chapter, *step, problem)
                                    : run_backward(chapter, *step, problem, truth.o, truth.lse);
        const verify::Verdict verdict = verify::judge(truth, outputs);
        INFO(verdict.text);
        CHECK(verdict.passed);
      }
    }
  }
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
