// SPDX-License-Identifier: MIT
//
// The peer cuBLAS + softmax on the CPU machine, with plain loops in cuBLAS's place (cublas_stub/):
// is what surrounds the matrix products right?
#include "bench/benchmarks/implementations.hpp"
#include "bench/peers/sgemm.hpp"
#include "common/run/run.hpp"
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
  const Problem problem = verify::make_problem(
      {.shape = shape, .mask = mask, .scale = scale, .kind = kind, .seed = kSeed}, Pass::kForward);
  const Outputs outputs = run_forward(cublas, cublas.steps.back(), problem);
  CHECK(verify::judge(verify::truth_of(problem, Pass::kForward), outputs).text == "");
}

TEST_CASE("cuBLAS's matrix product is checked before it is timed") {
  const auto [m, n, k] = GENERATE(table<int, int, int>({{1, 1, 1}, {37, 53, 8}, {64, 64, 64}}));
  peers::Sgemm product(m, n, k);
  CHECK_FALSE(product.is_right());  // nothing has been computed yet
  product.run();
  CHECK(product.is_right());
  CHECK(product.flops() == 2.0 * m * n * k);
}

}  // namespace
}  // namespace attn::bench
