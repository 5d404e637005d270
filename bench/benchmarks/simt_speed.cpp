// SPDX-License-Identifier: MIT
//
// The speed of the CPU machine, a simulator: it decides how long tests take, and it says nothing
// about a GPU. How many memory accesses of kernels one core handles in a second: untraced, with the
// tracer, with the detectors, and with both. CPU time, so that a busy computer does not count.
#include "chapters/chapters.hpp"

#if ATTN_HAS_DEVICE
#include <benchmark/benchmark.h>

#include <cstdint>

#include "common/attention.hpp"
#include "common/io/workloads.hpp"
#include "common/run/run.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/counters.hpp"
#include "common/verify/inputs.hpp"

namespace attn {
namespace {

/// Accesses of one call, each of one thread: chapter 02's are 4 bytes wide.
std::int64_t count_accesses(const Run& run) {
  simt::options().tracer = true;
  simt::take_launches();
  run.call();
  std::uint64_t bytes = 0;
  for (const simt::LaunchRecord& launch : simt::take_launches()) {
    bytes += launch.traffic.global_load_bytes + launch.traffic.global_store_bytes;
  }
  return static_cast<std::int64_t>(bytes / sizeof(float));
}

void accesses(benchmark::State& state, bool tracer, bool detectors) {
  const Chapter& chapter = chapters::ch02_naive_gpu();
  const Shape shape = make_shape(1, 1, 256, 256, 64);
  const attn::Problem problem = verify::make_problem(
      {.shape = shape, .scale = default_scale(shape.d), .seed = 20260101}, Pass::kForward);
  const Run run(chapter, chapter.steps.back(), Pass::kForward, problem, {}, {}, {});

  const simt::Options before = simt::options();
  simt::options() = {.workers = 1};
  const std::int64_t accesses = count_accesses(run);
  simt::options() = {.detectors = detectors, .tracer = tracer, .workers = 1};
  for (auto _ : state) run.call();
  simt::options() = before;
  simt::take_launches();
  state.SetItemsProcessed(state.iterations() * accesses);
}

/// A whole workload on one core.
void workload(benchmark::State& state) {
  const Chapter& chapter = chapters::ch02_naive_gpu();
  const Shape shape = io::find_workload("vit_b16_224").shape;
  const attn::Problem problem = verify::make_problem(
      {.shape = shape, .scale = default_scale(shape.d), .seed = 20260101}, Pass::kForward);
  const Run run(chapter, chapter.steps.back(), Pass::kForward, problem, {}, {}, {});
  const simt::Options before = simt::options();
  simt::options().workers = 1;
  for (auto _ : state) run.call();
  simt::options() = before;
}

void untraced(benchmark::State& state) { accesses(state, false, false); }
void traced(benchmark::State& state) { accesses(state, true, false); }
void detected(benchmark::State& state) { accesses(state, false, true); }
void traced_and_detected(benchmark::State& state) { accesses(state, true, true); }

BENCHMARK(workload)
    ->Name("speed_of_the_CPU_machine_not_of_a_GPU/02_naive_gpu/vit_b16_224/one_core")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK(untraced)->Name("accesses/untraced")->MeasureProcessCPUTime();
BENCHMARK(traced)->Name("accesses/tracer")->MeasureProcessCPUTime();
BENCHMARK(detected)->Name("accesses/detectors")->MeasureProcessCPUTime();
BENCHMARK(traced_and_detected)->Name("accesses/tracer_and_detectors")->MeasureProcessCPUTime();

}  // namespace
}  // namespace attn
#endif
