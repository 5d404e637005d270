// SPDX-License-Identifier: MIT
//
// What the benchmarks check before they time (bench/benchmarks/sample.hpp): right results of large
// problems pass, and results with one bug each do not.
#include <cmath>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "bench/benchmarks/sample.hpp"
#include "bench/benchmarks/shapes.hpp"
#include "bench/benchmarks/timer.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "tests/catch.hpp"

namespace attn::bench {
namespace {

constexpr std::uint64_t kSeed = 20260101;

/// A problem too large for the oracle, with what chapter 01 computes for it.
struct Solved {
  attn::Problem problem;
  Outputs forward, backward;
};

Solved solve(Mask mask) {
  const Shape shape = make_shape(1, 3, 1030, 1030, 16);
  const verify::InputSpec spec{
      .shape = shape, .mask = mask, .scale = default_scale(shape.d), .seed = kSeed};
  const Chapter& chapter = chapters::ch01_naive_cpu();
  Solved solved{verify::make_problem(spec, Pass::kBackward), {}, {}};
  solved.forward = run_forward(chapter, chapter.steps.back(), solved.problem);
  solved.backward = run_backward(chapter, chapter.steps.back(), solved.problem, solved.forward.o,
                                 solved.forward.lse);
  return solved;
}

std::string errors_of(const Solved& solved, Pass pass) {
  return find_errors(solved.problem, pass,
                     pass == Pass::kForward ? solved.forward : solved.backward, solved.forward.o,
                     solved.forward.lse);
}

TEST_CASE("the sample of a large problem accepts right results and no wrong ones") {
  const Mask mask = GENERATE(Mask::kFull, Mask::kCausal);
  INFO("mask " << to_string(mask) << ", seed " << kSeed);
  Solved solved = solve(mask);
  REQUIRE_FALSE(is_small(solved.problem.shape));
  CHECK(errors_of(solved, Pass::kForward) == "");
  CHECK(errors_of(solved, Pass::kBackward) == "");

  const auto refuses = [&](Pass pass, std::vector<float>& array, std::size_t element,
                           float factor) {
    const float before = array[element];
    array[element] *= factor;
    const bool refused = !errors_of(solved, pass).empty();
    array[element] = before;
    return refused;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::size_t last_o = solved.forward.o.size() - 1;
  CHECK(refuses(Pass::kForward, solved.forward.o, last_o, 1.5f));
  CHECK(refuses(Pass::kForward, solved.forward.o, last_o / 2 - 999, nan));  // outside the sample
  CHECK(refuses(Pass::kForward, solved.forward.lse, 0, 1.01f));
  CHECK(refuses(Pass::kBackward, solved.backward.grad_q, last_o, 1.5f));
  CHECK(refuses(Pass::kBackward, solved.backward.grad_k, 0, 1.5f));
  CHECK(refuses(Pass::kBackward, solved.backward.grad_v, 0, 1.5f));

  solved.forward.damage.push_back("a guard band was overwritten");
  CHECK(errors_of(solved, Pass::kForward) != "");
}

TEST_CASE("the sample takes results that were rounded to 16 bits for what they are") {
  const attn::Problem exact = solve(Mask::kCausal).problem;
  for (const Element element : {Element::kBfloat16, Element::kFloat16}) {
    INFO(to_string(element));
    Solved solved;
    solved.problem = exact;
    solved.problem.element = element;
    round_to_element(solved.problem);
    attn::Problem in_float32 = solved.problem;
    in_float32.element = Element::kFloat32;
    const Chapter& chapter = chapters::ch01_naive_cpu();
    const auto round = [element](std::vector<float>& array) {
      for (float& x : array) x = rounded_to(element, x);
    };
    solved.forward = run_forward(chapter, chapter.steps.back(), in_float32);
    round(solved.forward.o);
    solved.backward = run_backward(chapter, chapter.steps.back(), in_float32, solved.forward.o,
                                   solved.forward.lse);
    for (auto* array :
         {&solved.backward.grad_q, &solved.backward.grad_k, &solved.backward.grad_v}) {
      round(*array);
    }
    CHECK(errors_of(solved, Pass::kForward) == "");
    CHECK(errors_of(solved, Pass::kBackward) == "");
    solved.problem.element = Element::kFloat32;
    CHECK(errors_of(solved, Pass::kForward) != "");
    CHECK(errors_of(solved, Pass::kBackward) != "");
    solved.problem.element = element;
    for (std::vector<float>* array : {&solved.forward.o, &solved.backward.grad_k}) {
      array->front() *= 1.25f;
    }
    CHECK(errors_of(solved, Pass::kForward) != "");
    CHECK(errors_of(solved, Pass::kBackward) != "");
  }
}

TEST_CASE("outputs of zeros, and of the other mask, are refused") {
  Solved solved = solve(Mask::kFull);
  const Solved causal = solve(Mask::kCausal);
  for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
    Outputs& outputs = pass == Pass::kForward ? solved.forward : solved.backward;
    outputs = pass == Pass::kForward ? causal.forward : causal.backward;
    CHECK(errors_of(solved, pass) != "");
    for (auto* array : {&outputs.o, &outputs.grad_q, &outputs.grad_k, &outputs.grad_v}) {
      array->assign(array->size(), 0.0f);
    }
    CHECK(errors_of(solved, pass) != "");
  }
}

TEST_CASE("a size is written as it is read") {
  std::set<std::string> of_cpu;
  for (const auto problems : {default_problems(true), default_problems(false), peer_problems()}) {
    for (const Problem& problem : problems) {
      const Problem again = parse_problem(to_string(problem));
      CHECK(again.shape == problem.shape);
      CHECK(again.mask == problem.mask);
    }
  }
  for (const auto problems : {default_problems(false), peer_problems()}) {
    for (const Problem& problem : problems) CHECK(of_cpu.insert(to_string(problem)).second);
  }
  for (const char* text : {"", "B:1/H:1/N:0/d:64/full", "B:1/H:1/N:8/d:64/half", "B:1/H:1/N:8/full",
                           "B:1/H:1/N:8/d:64/full/x", "B:1/H:1/N:99999999999999999999/d:64/full"}) {
    CHECK_THROWS_AS(parse_problem(text), Error);
  }
  CHECK(flops(parse_problem("B:2/H:3/N:8/d:4/full"), Pass::kForward) == 4.0 * 6 * 64 * 4);
  CHECK(flops(parse_problem("B:2/H:3/N:8/d:4/causal"), Pass::kBackward) == 5.0 * 6 * 64 * 4);
}

TEST_CASE("the GPU is busy until the host has queued a call") {
  const double flush = 40e-6;
  CHECK(flushes_before(0, flush) == 1);       // the first call: nothing is known yet
  CHECK(flushes_before(15e-6, flush) == 1);   // a kernel or two
  CHECK(flushes_before(100e-6, flush) == 5);  // twice as long as the host took
  CHECK(flushes_before(10.0, flush) == 64);   // a call that waits for the GPU
}

TEST_CASE("a case that cannot be timed in what is left is not begun") {
  CHECK_FALSE(is_too_long(1.0, 8.5));
  CHECK(is_too_long(1.0, 7.5));
  CHECK(is_too_long(1e-3, -1.0));
}

}  // namespace
}  // namespace attn::bench
