// SPDX-License-Identifier: MIT
#include "bench/attn/compare_row.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/trace_report.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#if ATTN_CAN_TRACE
#include "common/simt/cuda/launch.hpp"
#include "common/simt/machine/options.hpp"
#include "common/simt/watch/bound.hpp"
#include "common/simt/watch/launch_report.hpp"
#endif

namespace attn::cli {
namespace {

/// Wall-clock seconds of `launches` runs, one after the other, and the wait for the last.
double seconds_of(const Run& run, const Row& row, Pass pass, int launches) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < launches; ++i) {
    if (pass == Pass::kForward) {
      forward(*row.chapter, *row.step, run.element(), run.forward_args());
    } else {
      backward(*row.chapter, *row.step, run.element(), run.backward_args());
    }
  }
  memory_of(*row.chapter, *row.step).synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The best of at least three runs and half a second of them.
double best_time(const std::function<double(int)>& seconds) {
  double best = seconds(1);
  double total = best;
  for (int done = 1; done < 3 || total < 0.5; ++done) {
    const double once = seconds(1);
    best = std::min(best, once);
    total += once;
  }
  return best;
}

/// The median of ten groups of launches, each group long enough (10 ms) to hide the host's part.
double median_time(const std::function<double(int)>& seconds) {
  seconds(1);  // the first launch loads the kernel
  const int launches = std::clamp(static_cast<int>(0.01 / std::max(seconds(1), 1e-7)), 1, 1000);
  std::vector<double> times;
  for (int group = 0; group < 10; ++group) times.push_back(seconds(launches) / launches);
  std::nth_element(times.begin(), times.begin() + 5, times.end());
  return times[5];
}

void measure(Row& row, Pass pass, const Subject& subject) {
  const bool on_gpu = runs_on_gpu(*row.chapter, *row.step);
  if (!on_host(row) && !on_gpu) return;
  const Run run(*row.chapter, *row.step, pass, subject.problem, subject.truth.o, subject.truth.lse,
                {});
  const auto seconds = [&](int launches) { return seconds_of(run, row, pass, launches); };
  (on_gpu ? row.gpu_seconds : row.cpu_seconds) = on_gpu ? median_time(seconds) : best_time(seconds);
}

#if ATTN_CAN_TRACE
/// The first head of K and V, and the heads of Q that read it.
Problem first_group(const Problem& problem) {
  Problem one = problem;
  one.shape.B = one.shape.Hkv = 1;
  one.shape.H = problem.shape.H / problem.shape.Hkv;
  const Sizes sizes = sizes_of(one.shape, one.extras.on_host());
  one.q.resize(static_cast<std::size_t>(sizes.q));
  one.k.resize(static_cast<std::size_t>(sizes.k));
  one.v.resize(static_cast<std::size_t>(sizes.v));
  if (!one.grad_o.empty()) one.grad_o.resize(static_cast<std::size_t>(sizes.o));
  return one;
}

/// What the kernels ask of global memory, and the lower bound that follows. Counted on one head of
/// K and V and the heads of Q that read it, since groups share no byte; on all, where a head moves
/// something else if it is alone.
void count(Row& row, Pass pass, const Subject& subject) {
  const Shape& whole = subject.problem.shape;
  const bool alike = chapters::heads_are_alike(*row.chapter);
  const std::int64_t counted_heads = alike ? 1 : whole.heads();
  if (on_host(row) || whole.heads() == 0 ||
      counted_heads * whole.Nq * whole.Nk * whole.d > kCountedWork) {
    return;
  }
  const Problem group = alike ? first_group(subject.problem) : subject.problem;
  const auto first = [](std::vector<float> array, std::int64_t elements) {
    if (!array.empty()) array.resize(static_cast<std::size_t>(elements));
    return array;
  };
  const Sizes sizes = sizes_of(group.shape, group.extras.on_host());
  const std::vector<float> o = first(subject.truth.o, sizes.o);
  const std::vector<float> lse = first(subject.truth.lse, sizes.rows);
  const Run run(*row.chapter, *row.step, pass, group, o, lse, {});
  simt::take_launches();
  simt::options().tracer = true;
  seconds_of(run, row, pass, 1);
  simt::options().tracer = false;
  const auto launches =
      simt::times_heads(simt::take_launches(), alike ? row.shape.B * row.shape.Hkv : 1);
  simt::Traffic total;
  for (const simt::LaunchRecord& launch : launches) total += launch.traffic;
  row.requested_bytes = static_cast<double>(simt::requested_bytes(total));
  row.compulsory_bytes =
      static_cast<double>(total.global_read_bytes_compulsory + total.global_write_bytes_compulsory);
  const simt::PassWork work =
      simt::work_of(row.shape, group.mask, pass, group.element, group.extras.d_v);
  const simt::Bound bound = bound_of(launches, work, simt::current_device());
  row.bound_seconds = bound.seconds;
  row.bound_limit = bound.limit;
  row.shared_load_wavefronts = static_cast<double>(total.shared_load_wavefronts);
  row.shared_store_wavefronts = static_cast<double>(total.shared_store_wavefronts);
  row.multiply_adds = work.flops / 2;
}
#else
void count(Row&, Pass, const Subject&) {}
#endif

/// The largest difference from the oracle and the largest one measured in its tolerance, over all
/// elements; NaN if any element is not a number.
void measure_errors(Row& row, const verify::Truth& truth, const Outputs& outputs) {
  const auto raise = [](double& largest, double value) {
    if (!(value <= largest) && !std::isnan(largest)) largest = value;
  };
  for (const verify::Expected& expected : truth.arrays) {
    const std::vector<float>& got = verify::array_of(outputs, expected.name);
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (expected.values[i] == static_cast<double>(got[i])) continue;  // -inf in LSE, too
      const double error = std::abs(static_cast<double>(got[i]) - expected.values[i]);
      raise(row.max_error, error);
      raise(row.error_over_tolerance, error / expected.tolerance[i]);
    }
  }
}

}  // namespace

Subject subject_of(const ProblemSizes& sizes, const Mask& mask, Element element, Pass pass) {
  const Shape& shape = sizes.shape;
  Subject subject{.shape = shape, .problem = {}, .truth = {}};
  subject.problem = verify::make_problem({.shape = shape,
                                          .mask = mask,
                                          .scale = default_scale(shape.d),
                                          .seed = kCompareSeed,
                                          .element = element,
                                          .d_v = sizes.d_v},
                                         pass);
  subject.truth = verify::truth_of(subject.problem, pass);
  return subject;
}

void repeat_heads(Subject& subject) {
  const std::int64_t times = subject.shape.heads() / subject.problem.shape.heads();
  const auto repeat = [times](auto& array) {
    const std::size_t one = array.size();
    array.reserve(one * static_cast<std::size_t>(times));
    for (std::int64_t copy = 1; copy < times; ++copy) {
      array.insert(array.end(), array.begin(), array.begin() + static_cast<std::ptrdiff_t>(one));
    }
  };
  Problem& problem = subject.problem;
  for (auto* array : {&problem.q, &problem.k, &problem.v, &problem.grad_o, &subject.truth.o,
                      &subject.truth.lse}) {
    repeat(*array);
  }
  for (verify::Expected& expected : subject.truth.arrays) {
    repeat(expected.values);
    repeat(expected.tolerance);
    expected.sizes[0] = subject.shape.B;
    expected.sizes[1] = subject.shape.H;
  }
  problem.shape = subject.shape;
}

bool on_host(const Chapter& chapter, const Step& step) {
  return &memory_of(chapter, step) == &host_memory();
}

bool on_host(const Row& row) { return on_host(*row.chapter, *row.step); }

Row compare_one(const Chapter& chapter, const Step& step, Pass pass, const Subject& subject) {
  const Problem& problem = subject.problem;
  const verify::Truth& truth = subject.truth;
  Row row;
  row.chapter = &chapter;
  row.step = &step;
  row.element = problem.element;
  row.where = runs_on_gpu(chapter, step) ? "GPU" : "CPU";
  row.shape = subject.shape;
  try {
    row.workspace_bytes = workspace_bytes(step, pass, row.shape);
    row.where = memory_of(chapter, step).name();
    if (!runs_on_gpu(chapter, step) &&
        static_cast<double>(workspace_bytes(step, pass, problem.shape)) > physical_memory()) {
      row.supported = false;
      row.problem = "workspace larger than this computer's memory";
      return row;
    }
    const Outputs outputs = run_step(chapter, step, pass, problem, truth.o, truth.lse, {});
    const verify::Verdict verdict = verify::judge(truth, outputs);
    row.right = verdict.passed;
    measure_errors(row, truth, outputs);
    if (!row.right) {
      fmt::print(stderr, "{} {} is wrong (seed {}):\n{}\n", chapter.id, step.id, kCompareSeed,
                 verdict.text);
    } else {
      measure(row, pass, subject);
      count(row, pass, subject);
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kBadArgument) throw;
    row.supported = error.kind() != ErrorKind::kUnsupported;
    row.problem = error.what();
  }
  return row;
}

}  // namespace attn::cli
