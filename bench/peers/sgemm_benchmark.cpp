// SPDX-License-Identifier: MIT
//
// How fast one large fp32 matrix product is: what kernels without tensor cores are measured by.
// 8192 x 8192 with a long sum, the best cuBLAS can do, and with sums as long as d, as Q K^T of 8192
// tokens has them.
#include <benchmark/benchmark.h>

#include <exception>

#include "bench/benchmarks/timer.hpp"
#include "bench/peers/sgemm.hpp"

namespace attn::peers {
namespace {

void sgemm(benchmark::State& state) {
  try {
    Sgemm product(state.range(0), state.range(1), state.range(2));
    bench::Timer timer;
    const auto seconds = [&] { return timer.seconds([&product] { product.run(); }); };
    seconds();
    if (!product.is_right()) {
      state.SkipWithError("wrong, so not timed");
      return;
    }
    for (int warm = 0; warm < 3; ++warm) seconds();
    for (auto _ : state) state.SetIterationTime(seconds());
    state.counters["FLOP/s"] =
        benchmark::Counter(product.flops(), benchmark::Counter::kIsIterationInvariantRate);
  } catch (const std::exception& error) {  // not enough memory, say
    state.SkipWithError(error.what());
  }
}

BENCHMARK(sgemm)
    ->Name("cublas/sgemm")
    ->ArgNames({"M", "N", "K"})
    ->Args({8192, 8192, 8192})
    ->Args({8192, 8192, 64})
    ->Args({8192, 8192, 128})
    ->Unit(benchmark::kMillisecond)
    ->UseManualTime();

}  // namespace
}  // namespace attn::peers
