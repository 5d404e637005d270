// SPDX-License-Identifier: MIT
//
// Chapter against chapter: what one computes, every other one computes too.
#include "chapters/chapters.hpp"

#include <fmt/format.h>

#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/catch.hpp"

namespace attn::testing {
namespace {

TEST_CASE("all chapters and their twins agree, within the tolerance of both") {
  for (const Mask mask : {Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft}) {
    const verify::Problem problem = verify::make_problem({.shape = make_shape(2, 1, 113, 203, 40),
                                                          .mask = mask,
                                                          .scale = default_scale(40),
                                                          .seed = 20260101},
                                                         Pass::kForward);
    std::vector<verify::Expected> others = verify::truth_of(problem, Pass::kForward).arrays;
    for (verify::Expected& array : others) {
      for (double& tolerance : array.tolerance) tolerance *= 2;
    }
    const auto agree = [&](const Chapter& chapter, const Step& step) {
      const verify::Outputs outputs = verify::run_forward(chapter, step, problem);
      for (const verify::Expected& array : others) {
        INFO(fmt::format("{} {} against {}, {}", chapter.id, step.id, chapters::all().front()->id,
                         to_string(mask)));
        const verify::Comparison result =
            verify::compare(array, verify::array_of(outputs, array.name));
        INFO(result.text);
        CHECK(result.passed);
      }
      return outputs;
    };
    // The first chapter is compared with the oracle, all others with the first chapter.
    const Chapter& first = *chapters::all().front();
    const verify::Outputs outputs = agree(first, find_step(first, ""));
    for (verify::Expected& array : others) {
      const std::vector<float>& values = verify::array_of(outputs, array.name);
      array.values.assign(values.begin(), values.end());
    }
    for (const Chapter* chapter : chapters::all().subspan(1)) {
      for (const Step& step : chapter->steps) {
        if (step.forward != nullptr) agree(*chapter, step);
      }
      if (chapter->twin != nullptr) agree(*chapter, *chapter->twin);
    }
  }
}

}  // namespace
}  // namespace attn::testing
