// SPDX-License-Identifier: MIT
//
// attn check: the battery of tests on one chapter.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/attn/arguments.hpp"
#include "bench/attn/commands.hpp"
#include "bench/attn/progress.hpp"
#include "chapters/chapters.hpp"
#include "common/run/run.hpp"
#include "common/verify/check.hpp"

namespace attn::cli {
namespace {

struct CheckArguments {
  std::string chapter;
  std::string step;
  std::string pass;
  std::string completion;
  std::string accumulation;
  ProblemOptions problem;  // --dtype and a mask
};

std::string name_of(const Chapter& chapter, const Step& step, Pass pass) {
  return fmt::format("{} {} {}", chapter.id, step.id, to_string(pass));
}

void print_verdict(const Chapter& chapter, const Step& step, Pass pass,
                   const std::optional<Mask>& mask, const verify::CheckReport& report) {
  fmt::print("{}", describe(report));
  const std::string verdict = report.passed()
                                  ? fmt::format("worst error / tolerance {:.3g}", report.worst)
                                  : fmt::format("{} failed", report.failed);
  fmt::print("{}  {}  on {}{}: {} cases, {}\n", report.passed() ? "right" : "WRONG",
             name_of(chapter, step, pass), memory_of(chapter, step).name(),
             mask ? fmt::format(", mask {}", to_string(*mask)) : "", report.cases, verdict);
  std::fflush(stdout);
}

/// Checks one step and one pass, prints the verdict, and returns whether it is right.
bool check_one(const Chapter& chapter, const Step& step, Pass pass,
               const std::optional<Element>& element, const std::optional<Mask>& mask) {
  const std::string name = name_of(chapter, step, pass);
  Progress progress;
  verify::CheckOptions options;
  options.extent = verify::options_from_environment().extent;
  options.element = element;
  options.mask = mask;
  options.progress = [&](int done, int total) {
    progress.show(fmt::format("{}: case {} of {}", name, done, total));
  };
  const verify::CheckReport report = verify::check(chapter, step, pass, options);
  progress.clear();
  print_verdict(chapter, step, pass, mask, report);
  return report.passed();
}

ExitStatus check(const CheckArguments& arguments) {
  const Chapter& chapter = chapters::find(arguments.chapter);
  const std::optional<Pass> only = parse_pass(arguments.pass);
  const std::optional<Element> element = element_of(arguments.problem);
  const std::optional<Mask> mask = mask_if_given(arguments.problem);
  const std::vector<const Step*> steps = select_steps(chapter, arguments.step);
  set_completion(arguments.completion, chapter, steps);
  set_accumulation(arguments.accumulation, chapter, steps);
  std::optional<verify::Endless> endless;
  name_sources(sources_of(arguments.problem),
               [&] { endless = verify::find_endless(chapter, steps, only, mask); });
  if (endless) {
    print_verdict(chapter, *endless->step, endless->pass, mask, endless->report);
    if (steps.size() > 1) fmt::print("Nothing else was checked.\n");
    return kFailedVerification;
  }
  bool ran = false;
  bool right = true;
  for (const Step* step : steps) {
    for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
      const std::vector<Element> elements = verify::elements_of(*step, pass);
      const bool has = element
                           ? std::find(elements.begin(), elements.end(), *element) != elements.end()
                           : !elements.empty();
      if (!has || (only && *only != pass)) continue;
      right = check_one(chapter, *step, pass, element, mask) && right;
      ran = true;
    }
  }
  if (!ran && element) {
    throw Error(
        ErrorKind::kUnsupported,
        fmt::format("--dtype {}: no pass of {}{} takes it", arguments.problem.dtype, chapter.id,
                    arguments.step.empty() ? "" : " in step " + arguments.step));
  }
  if (!ran) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("--pass {}: {} has no such pass{}", arguments.pass, chapter.id,
                            arguments.step.empty() ? "" : " in step " + arguments.step));
  }
  return right ? kSuccess : kFailedVerification;
}

}  // namespace

void add_check_command(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "check", "Random and adversarial inputs, detectors on: right or wrong, and where");
  const auto arguments = std::make_shared<CheckArguments>();
  command->add_option("CHAPTER", arguments->chapter, "id or number")->required();
  command->add_option("--step", arguments->step,
                      "this step only: its id, its number, or a part of the id");
  command->add_option("--pass", arguments->pass, "forward or backward only");
  add_mask_options(*command, arguments->problem);
  add_dtype_option(*command, arguments->problem);
  add_completion_option(*command, arguments->completion);
  add_accumulation_option(*command, arguments->accumulation);
  command->footer(
      "ATTN_FULL=1 in the environment runs every combination of the case table. A mask is that of "
      "every case;\nwithout one all that the chapter takes have their turn.");
  command->callback([arguments, &chosen] { chosen = [arguments] { return check(*arguments); }; });
}

}  // namespace attn::cli
