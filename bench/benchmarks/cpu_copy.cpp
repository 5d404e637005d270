// SPDX-License-Identifier: MIT
//
// What all cores of this computer can bring from memory and to it: a copy of what no cache holds.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace attn::bench {
namespace {

void copy(benchmark::State& state) {
  constexpr std::int64_t kFloats = std::int64_t{32} << 20;  // 128 MiB
  constexpr std::int64_t kPart = std::int64_t{1} << 16;     // of a core, at a time
  std::vector<float> from(kFloats, 1.0f), to(kFloats);
  for (auto _ : state) {
#pragma omp parallel for schedule(static)
    for (std::int64_t at = 0; at < kFloats; at += kPart) {
      std::memcpy(to.data() + at, from.data() + at, kPart * sizeof(float));
    }
    benchmark::ClobberMemory();
  }
  state.counters["bytes/s"] =  // read and written
      benchmark::Counter(2.0 * sizeof(float) * kFloats,
                         benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(copy)->Name("cpu/copy")->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace attn::bench
