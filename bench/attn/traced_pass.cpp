// SPDX-License-Identifier: MIT
#include "bench/attn/traced_pass.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bench/attn/progress.hpp"
#include "common/io/workloads.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

#if ATTN_CAN_TRACE
#include "common/simt/cuda/launch.hpp"
#include "common/simt/machine/options.hpp"
#endif

namespace attn::cli {

#if ATTN_CAN_TRACE

namespace {

constexpr std::uint64_t kSeed = 20260101;
constexpr double kMostAccesses = 2e9;  // about a minute

/// A rough number of memory accesses of an unfused pass: products of a load for each FLOP, and for
/// each query and key (whose four FLOPs have d = 1) the sweeps over S.
double estimated_accesses(const ProblemSizes& sizes, Mask mask, Pass pass) {
  Shape narrow = sizes.shape;
  narrow.d = 1;
  return simt::work_of(sizes.shape, mask, pass, Element::kFloat32, sizes.d_v).flops +
         16 * simt::work_of(narrow, mask, pass).flops;
}

/// Refuses sizes that would run for many minutes, and names some that do not.
void check_size(const ProblemSizes& sizes, Mask mask, Pass pass) {
  const double accesses = estimated_accesses(sizes, mask, pass);
  if (accesses <= kMostAccesses) return;
  const Shape& shape = sizes.shape;
  ProblemSizes fewer{make_shape(1, 1, shape.Nq, shape.Nk, shape.d), sizes.d_v};
  Shape& smaller = fewer.shape;
  while (estimated_accesses(fewer, mask, pass) > kMostAccesses / 4) {
    smaller.Nq = (smaller.Nq + 1) / 2;
    smaller.Nk = (smaller.Nk + 1) / 2;
  }
  throw Error(ErrorKind::kBadArgument,
              fmt::format("--shape {}: about {:.1g} memory accesses, too many for the CPU machine; "
                          "allowed: about {:.1g}, for example --shape B=1,H=1,Nq={},Nk={},d={}{}",
                          to_string(sizes), accesses, kMostAccesses, smaller.Nq, smaller.Nk,
                          smaller.d, sizes.d_v == 0 ? "" : fmt::format(",dv={}", sizes.d_v)));
}

/// The pass that is asked for, or the first one that the step has.
Pass pass_of(const std::string& text, const Chapter& chapter, const Step& step) {
  const Pass pass =
      parse_pass(text).value_or(step.forward != nullptr ? Pass::kForward : Pass::kBackward);
  if (pass == Pass::kForward ? step.forward == nullptr : step.backward == nullptr) {
    throw Error(ErrorKind::kUnsupported, fmt::format("--pass {}: {} has no such pass in step {}",
                                                     to_string(pass), chapter.id, step.id));
  }
  return pass;
}

/// What is done to scores, pages, and a workload's packed sequences, ranges, or mask array.
void add_extras(const Trace& trace, verify::InputSpec& spec) {
  spec.features = trace.scores;
  spec.scores = {.bias = verify::BiasKind::kFinite, .bias_shape = trace.bias};
  if (trace.page_keys > 0) {
    spec.features.add(Feature::kPages);
    spec.page_keys = trace.page_keys;
  }
  if (trace.workload == nullptr) return;
  if (trace.workload->offsets != nullptr) {
    spec.features.add(Feature::kPacked);
    spec.q_offsets = spec.k_offsets = trace.workload->offsets();
  }
  if (trace.workload->ranges != nullptr) {
    spec.features.add(Feature::kRanges);
    spec.ranges = trace.workload->ranges();
    spec.ranges_per_row = 1;
  }
  if (trace.workload->mask_array != nullptr) {
    spec.features.add(Feature::kMaskArray);
    spec.mask_array = trace.workload->mask_array(spec.shape.Nq);
    spec.mask_shape = {1, 1, spec.shape.Nq, spec.shape.Nk};
    spec.mask_name = trace.workload->name;
  }
}

/// Which part of the pairs that the mask leaves a workload's ranges, or its mask array, leave.
double visible_part(const io::Workload& workload, const Mask& mask, const Shape& shape) {
  std::vector<std::int64_t> ranges;
  std::vector<std::uint8_t> array;
  if (workload.ranges != nullptr) ranges = workload.ranges();
  if (workload.mask_array != nullptr) array = workload.mask_array(shape.Nq);
  std::int64_t pairs = 0, allowed = 0;
  const std::int64_t rows =
      ranges.empty() ? shape.Nq : static_cast<std::int64_t>(ranges.size()) / 2;
  for (std::int64_t row = 0; row < rows; ++row) {
    Range keys = keys_of_row(mask, row % shape.Nq, shape.Nq, shape.Nk);
    allowed += keys.size();
    if (!ranges.empty()) {
      const auto at = static_cast<std::size_t>(2 * row);
      keys = {std::max(keys.begin, ranges[at]), std::min(keys.end, ranges[at + 1])};
    }
    if (array.empty()) {
      pairs += keys.size();
    } else if (!keys.empty()) {
      const auto its = array.begin() + row % shape.Nq * shape.Nk;
      pairs += keys.size() - std::count(its + keys.begin, its + keys.end, 0);
    }
  }
  return allowed > 0 ? static_cast<double>(pairs) / static_cast<double>(allowed) : 1.0;
}

void run_checked(Trace& trace) {
  const Shape& shape = trace.sizes.shape;
  verify::InputSpec spec{.shape = shape,
                         .mask = trace.mask,
                         .scale = default_scale(shape.d),
                         .seed = kSeed,
                         .element = trace.element,
                         .d_v = trace.sizes.d_v};
  add_extras(trace, spec);
  const Problem problem = verify::make_problem(spec, trace.pass);
  verify::Truth truth;
  if (trace.pass == Pass::kBackward)
    truth = verify::truth_of(problem, trace.pass);  // for O and LSE
  const Run run(*trace.chapter, *trace.step, trace.pass, problem, truth.o, truth.lse, {});
  simt::options().detectors = true;
  simt::options().tracer = true;
  simt::take_launches();
  try {
    const ShowRun show(fmt::format("{} {}", trace.chapter->id, trace.step->id));
    run.call();
  } catch (const Error& error) {
    // A detector that stops a launch has said more than the error does.
    if (error.kind() != ErrorKind::kDeviceFailure) throw;
    trace.detections = trace.chapter->memory().take_detections();
    if (trace.detections.empty()) throw;
    trace.stopped = true;
  }
  trace.launches = simt::take_launches();
  Outputs outputs = run.collect();
  trace.damage = std::move(outputs.damage);
  trace.detections.insert(trace.detections.end(), outputs.detections.begin(),
                          outputs.detections.end());
}

}  // namespace

const Step& traced_step(const Chapter& chapter, const std::string& step, const std::string& pass) {
  if (!step.empty()) return *select_steps(chapter, step).front();
  const Step* last = default_step(chapter, parse_pass(pass).value_or(Pass::kForward));
  return last != nullptr ? *last : chapter.steps.back();
}

Trace make_trace(const Chapter& chapter, const Step& step, const std::string& pass,
                 const ProblemOptions& problem, const Shape& fallback) {
  Trace trace;
  trace.chapter = &chapter;
  trace.step = &step;
  trace.mask = mask_of(problem, false);
  if (&memory_of(chapter, step) == &host_memory()) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{} {}: plain C++; allowed: a chapter with kernels, for example 02",
                            chapter.id, step.id));
  }
  trace.pass = pass_of(pass, chapter, step);
  trace.element = element_of(problem).value_or(verify::elements_of(step, trace.pass).front());
  trace.sizes = problem_sizes(problem, false, fallback);
  trace.scores = scores_of(problem);
  trace.page_keys = page_keys_of(problem);
  const Shape& shape = trace.sizes.shape;
  trace.bias = {shape.B, shape.H, shape.Nq, shape.Nk};
  if (!problem.workload.empty()) {
    const io::Workload& workload = io::find_workload(problem.workload);
    trace.workload = &workload;
    if (workload.bias) {
      trace.scores.add(Feature::kBias);
      trace.bias = *workload.bias;
    }
    if (workload.alibi) trace.scores.add(Feature::kAlibi);
    if (workload.sink_logits) trace.scores.add(Feature::kSinkLogits);
    if (workload.has_twin()) {
      trace.scaled =
          fmt::format("{}, scaled down for the CPU machine: {}", workload.name, workload.scaled);
    }
  }
  check_memory(trace.sizes);
  check_size(trace.sizes, trace.mask, trace.pass);
  return trace;
}

simt::PassWork work_of(const Trace& trace, std::int64_t times_heads) {
  Shape shape = trace.sizes.shape;
  shape.B *= times_heads;
  const auto of = [&](const Shape& heads) {
    return simt::work_of(heads, trace.mask, trace.pass, trace.element, trace.sizes.d_v);
  };
  simt::PassWork sum;
  if (trace.workload != nullptr && trace.workload->offsets != nullptr) {
    const std::vector<std::int64_t> offsets = trace.workload->offsets();
    shape.B = times_heads;
    for (std::size_t b = 1; b < offsets.size(); ++b) {
      shape.Nq = shape.Nk = offsets[b] - offsets[b - 1];
      const simt::PassWork one = of(shape);
      sum.bytes += one.bytes;
      sum.flops += one.flops;
    }
    return sum;
  }
  sum = of(shape);
  if (trace.scores.has(Feature::kBias)) {  // read, and of a backward pass its gradient is written
    const auto numbers = static_cast<double>(trace.bias.elements());
    sum.bytes += (trace.pass == Pass::kForward ? 1 : 2) * sizeof(float) * numbers *
                 static_cast<double>(times_heads);
  }
  if (trace.workload != nullptr) sum.flops *= visible_part(*trace.workload, trace.mask, shape);
  return sum;
}

void run_traced(Trace& trace, const ProblemOptions& problem) {
  name_sources(sources_of(problem), [&] { run_checked(trace); });
}

#else

void refuse_to_trace(std::string_view command) {
#ifdef ATTN_USE_CUDA
  const char* const why =
      "a GPU does not count its accesses; `attn {0}` does, on the CPU machine, and "
      "bench/ncu_check.py sets the counts of `attn trace` beside those of the profiler ncu";
#elif defined(__SANITIZE_ADDRESS__)
  const char* const why = "this build checks addresses (ATTN_SANITIZE) and cannot count accesses";
#else
  const char* const why =
      "this build has no CPU machine; install Boost.Context and configure again";
#endif
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{0}: {1}", command, fmt::format(fmt::runtime(why), command)));
}

#endif

}  // namespace attn::cli
