// SPDX-License-Identifier: MIT
//
// attn_benchmarks: how fast this computer's CPU runs plain C++ chapters, and how fast the CPU machine
// runs kernels. The latter is the speed of a simulator: it decides how long tests take, and it says
// nothing about a GPU. Debian's library warns that it was built as DEBUG: that is the library's own
// timing code, not what is measured.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "chapters/chapters.hpp"
#include "common/attention.hpp"
#include "common/io/workloads.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/run.hpp"
#if ATTN_HAS_DEVICE
#include "common/simt/options.hpp"
#endif

namespace attn {
namespace {

/// Runs one pass of a step again and again.
void run_step(benchmark::State& state, const Chapter& chapter, const Step& step, Pass pass,
              const Shape& shape) {
  const verify::Problem problem = verify::make_problem(
      {.shape = shape, .scale = default_scale(shape.d), .seed = 20260101}, pass);
  const verify::Outputs forward =
      pass == Pass::kBackward ? run_forward(chapter, step, problem) : verify::Outputs{};
  const verify::Run run(chapter, step, pass, problem, forward.o, forward.lse, {});
  for (auto _ : state) run.call();
  // Two matrix products forward, five backward, of 2 B H Nq Nk d operations each.
  const double flops = 2.0 * (pass == Pass::kForward ? 2 : 5) *
                       static_cast<double>(shape.rows() * shape.Nk * shape.d);
  state.counters["FLOP/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void add(const std::string& name, const Chapter& chapter, const Step& step, Pass pass,
         const Shape& shape) {
  benchmark::RegisterBenchmark(name.c_str(),
                               [&chapter, &step, pass, shape](benchmark::State& state) {
                                 run_step(state, chapter, step, pass, shape);
                               })
      ->Unit(benchmark::kMillisecond)
      ->UseRealTime();
}

/// Plain C++ chapters and twins: true times of this computer. Compare them by their ratios.
void add_plain_cpp(const Chapter& chapter, const Step& step) {
  for (const std::int64_t N : {512, 4096, 16384}) {
    const Shape shape = make_shape(1, 1, N, N, 64);
    const std::string name = fmt::format("{}/{}/N:{}/d:64", chapter.id, step.id, N);
    add(name + "/forward", chapter, step, Pass::kForward, shape);
    if (step.backward != nullptr && N == 512) {
      add(name + "/backward", chapter, step, Pass::kBackward, shape);
    }
  }
}

void add_plain_cpp() {
  for (const Chapter* chapter : chapters::all()) {
    for (const Step& step : chapter->steps) {
      if (chapter->memory == host_memory) add_plain_cpp(*chapter, step);
    }
    if (chapter->twin != nullptr) add_plain_cpp(*chapter, *chapter->twin);
  }
}

#if ATTN_HAS_DEVICE
/// One worker, so that the figure is that of one core.
void add_cpu_machine() {
  simt::options().workers = 1;
  const Chapter& chapter = chapters::ch02_naive_gpu();
  add(fmt::format("speed_of_the_CPU_machine_not_of_a_GPU/{}/vit_b16_224/one_core", chapter.id),
      chapter, chapter.steps.back(), Pass::kForward, io::find_workload("vit_b16_224").shape);
}
#endif

}  // namespace
}  // namespace attn

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  attn::add_plain_cpp();
#if ATTN_HAS_DEVICE
  attn::add_cpu_machine();
#endif
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
