// SPDX-License-Identifier: MIT
//
// attn trace: one pass on the CPU machine, every memory access of its kernels counted.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/trace_report.hpp"
#include "bench/attn/traced_pass.hpp"
#include "chapters/chapters.hpp"

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

ExitStatus trace(TraceArguments arguments) {
  // `trace --json 02`: CHAPTER, not the optional FILE of --json.
  if (arguments.chapter.empty()) arguments.chapter.swap(arguments.json.path);
  const Chapter& chapter = chapters::find(arguments.chapter);
  check_json(arguments.json);
  const Step& step = traced_step(chapter, arguments.step, arguments.pass);
  if (!arguments.device.empty()) {
    naming("--device", [&] { simt::set_current_device(simt::find_device(arguments.device)); });
  }
  Trace trace =
      make_trace(chapter, step, arguments.pass, arguments.problem, make_shape(1, 1, 512, 512, 64));
  if (arguments.times_heads != 1 && !chapters::heads_are_alike(chapter)) {
    throw Error(ErrorKind::kBadArgument,
                fmt::format("--times-heads {}: {} shares out its work by how many heads there are; "
                            "allowed: 1, and all heads in --shape",
                            arguments.times_heads, chapter.id));
  }
  trace.times_heads = arguments.times_heads;
  set_completion(arguments.completion, chapter, std::array{&step});

  run_traced(trace, arguments.problem);
  if (!trace.stopped) {
    naming("--times-heads", [&] {
      const auto launches = simt::times_heads(trace.launches, arguments.times_heads);
      trace.bound =
          bound_of(launches, work_of(trace, arguments.times_heads), simt::current_device());
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
  refuse_to_trace("trace");
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
  add_scores_option(*command, arguments->problem);
  add_page_keys_option(*command, arguments->problem);
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
