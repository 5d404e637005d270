// SPDX-License-Identifier: MIT
//
// One new token of Llama 3 8B by chapter 17's twin, or four that see the same keys, with more and
// more keys in the cache. Beside a copy by all cores (cpu_copy.cpp): what limits one token should
// be memory. PyTorch at the same sizes: bench/peers/pytorch_token.py.
#include "chapters/chapters.hpp"

#if ATTN_HAS_DEVICE
#include <benchmark/benchmark.h>

#include "bench/benchmarks/timer.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

namespace attn::bench {
namespace {

constexpr std::uint64_t kSeed = 20260101;

/// Timed only if it is right.
void token(benchmark::State& state) {
  const Chapter& chapter = chapters::ch17_decode();
  const Step& twin = *chapter.twin;
  const Shape shape{
      .B = 1, .H = 32, .Hkv = 8, .Nq = state.range(0), .Nk = state.range(1), .d = 128};
  const attn::Problem problem = verify::make_problem({.shape = shape,
                                                      .scale = default_scale(shape.d),
                                                      .seed = kSeed,
                                                      .features = {Feature::kGroupedHeads}},
                                                     Pass::kForward);
  const verify::Verdict verdict =
      verify::judge(verify::truth_of(problem, Pass::kForward), run_forward(chapter, twin, problem));
  if (!verdict.passed) {
    state.SkipWithError("wrong, so not timed");
    return;
  }
  const Run run(chapter, twin, Pass::kForward, problem, {}, {}, {});
  Timer timer;
  for (auto _ : state) {
    state.SetIterationTime(
        timer.seconds([&] { forward(chapter, twin, run.element(), run.forward_args()); }));
  }
  state.counters["bytes/s"] = benchmark::Counter(  // of K and V
      2.0 * sizeof(float) * static_cast<double>(shape.Hkv * shape.Nk * shape.d),
      benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(token)
    ->Name("17_decode/cpu/decode")
    ->ArgNames({"Nq", "Nk"})
    ->ArgsProduct({{1, 4}, {4096, 32768}})
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime();

}  // namespace
}  // namespace attn::bench
#endif
