// SPDX-License-Identifier: MIT
//
// The peer cuBLAS + softmax on the CPU machine, with plain loops in cuBLAS's place (cublas_stub/):
// is what surrounds the matrix products right?
#include "bench/benchmarks/implementations.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"
#include "tests/catch.hpp"

namespace attn::bench {
namespace {

constexpr std::uint64_t kSeed = 20260101;

TEST_CASE("cuBLAS and a softmax give attention") {
  REQUIRE(implementations().size() == 1);
  const Chapter& cublas = *implementations().front();
  const auto [Nq, Nk, d] = GENERATE(
      table<int, int, int>({{1, 1, 1}, {17, 17, 8}, {300, 300, 40}, {64, 37, 16}, {53, 257, 64}}));
  const Mask mask = GENERATE(Mask::kFull, Mask::kCausal, Mask::kCausalTopLeft);
  const auto kind = GENERATE(verify::InputKind::kNormal, verify::InputKind::kRising);
  const Shape shape = make_shape(2, 3, Nq, Nk, d);
  const float scale =
      verify::has_prescribed_logits(kind) ? verify::kPrescribedScale : default_scale(d);
  INFO(to_string(shape) << ", mask " << to_string(mask) << ", seed " << kSeed);
  const verify::Problem problem = verify::make_problem(
      {.shape = shape, .mask = mask, .scale = scale, .kind = kind, .seed = kSeed}, Pass::kForward);
  const verify::Outputs outputs = verify::run_forward(cublas, cublas.steps.back(), problem);
  CHECK(judge(truth_of(problem, Pass::kForward), outputs).text == "");
}

}  // namespace
}  // namespace attn::bench
