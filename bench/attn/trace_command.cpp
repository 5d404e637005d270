// SPDX-License-Identifier: MIT
//
// attn trace: one pass on the CPU machine, every memory access of its kernels counted.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/progress.hpp"
#include "bench/attn/trace_report.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/inputs.hpp"
#include "common/verify/oracle.hpp"

#if ATTN_CAN_TRACE
#include "common/simt/cuda/launch.hpp"
#include "common/simt/machine/options.hpp"
#endif

namespace attn::cli {
namespace {

struct TraceArguments {
  std::string chapter, step, pass, device, completion;
  ProblemOptions problem;
  std::int64_t times_heads = 1;
  bool lines = false;
  JsonOptions json;
};

#if ATTN_CAN_TRACE

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

/// Runs the pass with tracer and detectors on.
void run_traced(Trace& trace) {
  const Shape& shape = trace.sizes.shape;
  const Problem problem = verify::make_problem({.shape = shape,
                                                .mask = trace.mask,
                                                .scale = default_scale(shape.d),
                                                .seed = kSeed,
                                                .element = trace.element,
                                                .d_v = trace.sizes.d_v},
                                               trace.pass);
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

/// The step that is asked for, or the last one that has the pass that is asked for.
const Step& step_of(const TraceArguments& arguments, const Chapter& chapter) {
  if (!arguments.step.empty()) return *select_steps(chapter, arguments.step).front();
  const Step* step = default_step(chapter, parse_pass(arguments.pass).value_or(Pass::kForward));
  return step != nullptr ? *step : chapter.steps.back();
}

/// The pass that is asked for, or the first one that the step has.
Pass pass_of(const TraceArguments& arguments, const Chapter& chapter, const Step& step) {
  const Pass pass = parse_pass(arguments.pass)
                        .value_or(step.forward != nullptr ? Pass::kForward : Pass::kBackward);
  if (pass == Pass::kForward ? step.forward == nullptr : step.backward == nullptr) {
    throw Error(ErrorKind::kUnsupported, fmt::format("--pass {}: {} has no such pass in step {}",
                                                     to_string(pass), chapter.id, step.id));
  }
  return pass;
}

ExitStatus trace(TraceArguments arguments) {
  // `trace --json 02`: CHAPTER, not the optional FILE of --json.
  if (arguments.chapter.empty()) arguments.chapter.swap(arguments.json.path);
  const Chapter& chapter = chapters::find(arguments.chapter);
  check_json(arguments.json);
  const Step& step = step_of(arguments, chapter);
  if (!arguments.device.empty()) {
    naming("--device", [&] { simt::set_current_device(simt::find_device(arguments.device)); });
  }
  Trace trace;
  trace.chapter = &chapter;
  trace.step = &step;
  trace.times_heads = arguments.times_heads;
  trace.mask = mask_of(arguments.problem);
  trace.element = element_of(arguments.problem).value_or(Element::kFloat32);
  if (&memory_of(chapter, step) == &host_memory()) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{} {}: plain C++; allowed: a chapter with kernels, for example 02",
                            chapter.id, step.id));
  }
  set_completion(arguments.completion, chapter, std::array{&step});
  trace.pass = pass_of(arguments, chapter, step);
  trace.sizes = problem_sizes(arguments.problem, false, make_shape(1, 1, 512, 512, 64));
  if (!arguments.problem.workload.empty()) {
    const io::Workload& workload = io::find_workload(arguments.problem.workload);
    if (workload.has_twin()) {
      trace.scaled =
          fmt::format("{}, scaled down for the CPU machine: {}", workload.name, workload.scaled);
    }
  }
  check_memory(trace.sizes);
  check_size(trace.sizes, trace.mask, trace.pass);

  name_sources(sources_of(arguments.problem), [&] { run_traced(trace); });
  if (!trace.stopped) {
    naming("--times-heads", [&] {
      const auto launches = simt::times_heads(trace.launches, arguments.times_heads);
      Shape many = trace.sizes.shape;
      many.B *= arguments.times_heads;
      const simt::PassWork work =
          simt::work_of(many, trace.mask, trace.pass, trace.element, trace.sizes.d_v);
      trace.bound = bound_of(launches, work, simt::current_device());
    });
  }
  write_json(arguments.json, to_json(trace, arguments.lines).dump(2));
  if (!arguments.json.on_stdout()) {
    const bool styled = ::isatty(STDOUT_FILENO) != 0;
    print_trace(trace, styled);
    if (arguments.lines) print_lines(trace, styled);
  }
  return trace.clean() ? kSuccess : kFailedVerification;
}

#else

ExitStatus trace(const TraceArguments& arguments) {
  chapters::find(arguments.chapter.empty() ? arguments.json.path : arguments.chapter);
#ifdef ATTN_USE_CUDA
  throw Error(
      ErrorKind::kUnsupported,
      "trace: a GPU does not count its accesses; `attn trace` does, on the CPU machine, and "
      "bench/ncu_check.py sets its counts beside those of the profiler ncu");
#elif defined(__SANITIZE_ADDRESS__)
  throw Error(ErrorKind::kUnsupported,
              "trace: this build checks addresses (ATTN_SANITIZE) and cannot count accesses");
#else
  throw Error(ErrorKind::kUnsupported,
              "trace: this build has no CPU machine; install Boost.Context and configure again");
#endif
}

#endif

}  // namespace

void add_trace_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "trace", "Memory traffic of a chapter's kernels, counted access by access");
  const auto arguments = std::make_shared<TraceArguments>();
  command->add_option("CHAPTER", arguments->chapter, "id or number");
  command->add_option("--step", arguments->step,
                      "a step other than the last: its id, its number, or a part of the id");
  command->add_option("--pass", arguments->pass, "forward (default) or backward");
  add_shape_options(*command, arguments->problem);
  add_mask_options(*command, arguments->problem);
  add_dtype_option(*command, arguments->problem);
  command->add_flag("--lines", arguments->lines, "traffic by source line, too");
  command->add_option("--device", arguments->device,
                      "limits and lower bound of H200 (default), H100, A100, RTX4090, RTX3090, T4");
  command->add_option("--times-heads", arguments->times_heads,
                      "the bound for so many times as many heads: one of them leaves most\n"
                      "of a GPU idle. The counts stay those of the shape");
  add_completion_option(*command, arguments->completion);
  add_json_option(*command, arguments->json);
  command->callback([arguments, &chosen] { chosen = [arguments] { return trace(*arguments); }; });
}

}  // namespace attn::cli
