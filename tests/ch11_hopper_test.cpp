// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <span>

#include "chapters/11_hopper/hopper.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/battery.hpp"
#include "tests/catch.hpp"
#ifndef ATTN_USE_CUDA
#include "common/simt/machine/options.hpp"
#endif

namespace attn::testing {
namespace {

TEST_CASE("11_hopper: forward is right on the case table") {
  require_right(chapters::ch11_hopper(), Pass::kForward);
}

struct Case {
  std::int64_t Nq, Nk, d;
  Mask mask = Mask::kFull;
};

/// No tile, one, two, three and more of them, of 128 keys and of 128 or 192 queries, whole and
/// ragged; warpgroups without a row; rows that see nothing.
constexpr std::array kCases = {
    Case{1, 1, 64},
    Case{128, 128, 128},
    Case{193, 300, 64},
    Case{100, 385, 128},
    Case{192, 512, 64},
    Case{129, 129, 128, Mask::kCausal},
    Case{60, 400, 64, Mask::kCausal},
    Case{300, 140, 128, Mask::kCausal},
    Case{200, 260, 64, Mask::kCausalTopLeft},
    Case{10, 0, 128},
};

/// These steps on these cases, under the options that are in force, the elements in turn.
/// ATTN_THIN=1: a third of the cases.
void require_right_on_cases(std::span<const Step> steps) {
  const Chapter& chapter = chapters::ch11_hopper();
  const bool thin = verify::options_from_environment().extent == verify::Extent::kThin;
  std::size_t number = 0;
  for (const Case& one : kCases) {
    const std::size_t its = number++;
    if (thin && its % 3 != 0) continue;
    const Element element = its % 2 == 0 ? Element::kBfloat16 : Element::kFloat16;
    const Problem problem = verify::make_problem({.shape = make_shape(1, 2, one.Nq, one.Nk, one.d),
                                                  .mask = one.mask,
                                                  .scale = default_scale(one.d),
                                                  .seed = 20260101,
                                                  .element = element},
                                                 Pass::kForward);
    const verify::Truth truth = verify::truth_of(problem, Pass::kForward);
    for (const Step& step : steps) {
      INFO(step.id << " " << to_string(element) << " Nq=" << one.Nq << " Nk=" << one.Nk
                   << " d=" << one.d << ", mask " << to_string(one.mask));
      const verify::Verdict verdict =
          verify::judge(truth, run_step(chapter, step, Pass::kForward, problem, {}, {}, {}));
      INFO(verdict.text);
      CHECK(verdict.passed);
    }
  }
}

std::span<const Step> every_step() { return chapters::ch11_hopper().steps; }

template <class T>
void forward_on_two_blocks(const ForwardArgsOf<T>& args) {
  hopper::forward_on_blocks(args, 2);
}
/// The last step on so few blocks that each takes several tiles of these small problems.
constexpr Step kTwoBlocks[] = {
    {.id = "step6_persistent, two blocks",
     .idea = "",
     .forward = {forward_on_two_blocks<bfloat16>, forward_on_two_blocks<float16>},
     .forward_workspace_bytes = hopper::no_workspace_bytes}};

#ifndef ATTN_USE_CUDA

/// The options for the length of a test, with the detectors on.
class Watched {
 public:
  Watched() { simt::options().detectors = true; }
  ~Watched() { simt::options() = before_; }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  simt::Options before_ = simt::options();
};

TEST_CASE("11_hopper: right whenever copies and products are done") {
  const Watched watched;
  SECTION("at once") { simt::options().completion = simt::Completion::kEager; }
  SECTION("at random") { simt::options().completion = simt::Completion::kRandom; }
  require_right_on_cases(every_step());
  require_right_on_cases(kTwoBlocks);
}

TEST_CASE("11_hopper: right in whatever order warps take turns") {
  const Watched watched;
  SECTION("reversed") { simt::options().order = simt::Order::kReversed; }
  SECTION("shuffled") { simt::options().order = simt::Order::kShuffled; }
  SECTION("shuffled, and copies and products are done at random") {
    simt::options().order = simt::Order::kShuffled;
    simt::options().completion = simt::Completion::kRandom;
  }
  require_right_on_cases(every_step().last(1));
  require_right_on_cases(kTwoBlocks);
}

#else

TEST_CASE("11_hopper: right for every number of tiles") {
  require_right_on_cases(every_step());
  require_right_on_cases(kTwoBlocks);
}

#endif  // ATTN_USE_CUDA

TEST_CASE("11_hopper: what it does not take is refused") {
  const Support& support = chapters::ch11_hopper().support;
  const auto refusal = [&](std::int64_t d) {
    return why_unsupported(Element::kBfloat16, make_shape(1, 1, 4, 4, d), Mask::kFull, {}, support);
  };
  for (const std::int64_t d : {64, 128}) CHECK(refusal(d).empty());
  for (const std::int64_t d : {8, 63, 72, 96, 136, 256}) {
    INFO("d=" << d);
    CHECK_FALSE(refusal(d).empty());
  }
  for (const Step& step : every_step()) {
    CHECK_FALSE(step.forward.takes(Element::kFloat32));
    CHECK(step.forward_workspace_bytes(make_shape(3, 5, 7, 11, 64)) == 0);
  }
}

}  // namespace
}  // namespace attn::testing
