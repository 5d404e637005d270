// SPDX-License-Identifier: MIT
//
// What all cores of this computer can do at most: multiply-adds on registers, and nothing else.
#include <benchmark/benchmark.h>

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace attn::bench {
namespace {

#if defined(__AVX512F__)
constexpr int kFloats = 16;  // of a vector register
#elif defined(__AVX__)
constexpr int kFloats = 8;
#else
constexpr int kFloats = 4;
#endif
typedef float Vector __attribute__((vector_size(kFloats * sizeof(float))));

// Multiply-adds that do not wait for each other: 2 units times 4 to 5 clocks each are 8 to 10.
constexpr int kChains = 12;

/// kChains multiply-adds of a vector, `turns` times over.
float multiply_and_add(std::int64_t turns) {
  const Vector factor = Vector{} + 0.999f;
  const Vector summand = Vector{} + 0.001f;
  Vector chain[kChains] = {};
  for (std::int64_t turn = 0; turn < turns; ++turn) {
    for (Vector& x : chain) x = x * factor + summand;
  }
  Vector sum{};
  for (const Vector& x : chain) sum += x;
  return sum[0];
}

void peak(benchmark::State& state) {
  constexpr std::int64_t kTurns = 4'000'000;  // some 10 ms
  int cores = 1;
#ifdef _OPENMP
  cores = omp_get_max_threads();
#endif
  for (auto _ : state) {
    float result = 0.0f;
#pragma omp parallel reduction(+ : result)
    result += multiply_and_add(kTurns);
    benchmark::DoNotOptimize(result);
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * kFloats * kChains * static_cast<double>(kTurns * cores),
                         benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(peak)->Name("cpu/peak")->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace attn::bench
