// SPDX-License-Identifier: MIT
#include <array>
#include <cstdint>
#include <string>
#include <vector>

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

/// No tile, one and several, of 128 keys and of 128 queries, whole and ragged; rows that see
/// nothing; both d.
constexpr std::array kCases = {
    Case{1, 1, 64},
    Case{128, 128, 64},
    Case{127, 130, 64},
    Case{129, 300, 64},
    Case{64, 129, 128},
    Case{200, 33, 128},
    Case{256, 256, 128},
    Case{130, 130, 64, Mask::kCausal},
    Case{33, 200, 128, Mask::kCausal},
    Case{200, 70, 64, Mask::kCausal},
    Case{140, 140, 128, Mask::kCausalTopLeft},
    Case{10, 0, 64},
};

/// On these cases, under the options that are in force, the elements in turn: every step of the
/// chapter, or the last. ATTN_THIN=1: a third of the cases.
void require_right_on_cases(bool every_step) {
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
    for (const Step& step : chapter.steps) {
      if (!every_step && &step != default_step(chapter, Pass::kForward)) continue;
      INFO(step.id << " " << to_string(element) << " Nq=" << one.Nq << " Nk=" << one.Nk
                   << " d=" << one.d << ", mask " << to_string(one.mask));
      const verify::Verdict verdict = verify::judge(
          truth, run_step(chapter, step, Pass::kForward, problem, truth.o, truth.lse, {}));
      INFO(verdict.text);
      CHECK(verdict.passed);
    }
  }
}

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

TEST_CASE("11_hopper: right whenever a product is done") {
  const Watched watched;
  SECTION("at once") { simt::options().completion = simt::Completion::kEager; }
  SECTION("at random") { simt::options().completion = simt::Completion::kRandom; }
  SECTION("at random, otherwise") {
    simt::options().completion = simt::Completion::kRandom;
    simt::options().shuffle_seed = 7;
  }
  require_right_on_cases(true);
}

TEST_CASE("11_hopper: right in whatever order warps take turns") {
  const Watched watched;
  SECTION("reversed") { simt::options().order = simt::Order::kReversed; }
  SECTION("shuffled") { simt::options().order = simt::Order::kShuffled; }
  SECTION("shuffled, and products are done at random") {
    simt::options().order = simt::Order::kShuffled;
    simt::options().completion = simt::Completion::kRandom;
  }
  require_right_on_cases(false);
}

TEST_CASE("11_hopper: right if products are added up as GPUs do") {
  const Watched watched;
  SECTION("A100") { simt::options().accumulation = simt::Accumulation::kA100; }
  SECTION("H100") { simt::options().accumulation = simt::Accumulation::kH100; }
  require_right_on_cases(false);
}

#else

TEST_CASE("11_hopper: right for every number of tiles") { require_right_on_cases(true); }

#endif  // ATTN_USE_CUDA

TEST_CASE("11_hopper: a forward pass needs no workspace") {
  const Chapter& chapter = chapters::ch11_hopper();
  const Shape shape = make_shape(3, 5, 7, 11, 64);
  for (const Step& step : chapter.steps) CHECK(step.forward_workspace_bytes(shape) == 0);
}

TEST_CASE("11_hopper: what it does not take is refused") {
  const Chapter& chapter = chapters::ch11_hopper();
  const Support& support = chapter.support;
  const auto refusal = [&](Element element, std::int64_t d) {
    return why_unsupported(element, make_shape(1, 1, 4, 4, d), Mask::kFull, {}, support);
  };
  for (const std::int64_t d : {64, 128}) CHECK(refusal(Element::kBfloat16, d).empty());
  for (const std::int64_t d : {1, 8, 63, 72, 129, 136}) {
    INFO("d=" << d);
    CHECK_FALSE(refusal(Element::kBfloat16, d).empty());
  }
  CHECK(support.min_compute == 90);
  for (const Step& step : chapter.steps) CHECK_FALSE(step.forward.takes(Element::kFloat32));
}

}  // namespace
}  // namespace attn::testing
