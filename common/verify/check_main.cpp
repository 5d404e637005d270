// SPDX-License-Identifier: MIT
//
// Checks every step and pass of one Chapter record, or only the one named on the command line, and
// says what is wrong. Built once per exercise and once per mutant. Exit status: 0 everything right,
// 1 something wrong.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "common/verify/check.hpp"

namespace attn::chapters {
const Chapter& ATTN_CHAPTER();
}  // namespace attn::chapters

namespace {

using attn::Chapter;
using attn::Pass;
using attn::Step;

/// A line on the terminal that is rewritten while the cases run.
void show_progress(int done, int total) {
  fmt::print(stderr, "\r  case {} of {}{}", done, total, done == total ? "\r\033[K" : "");
}

bool check_pass(const Chapter& chapter, const Step& step, Pass pass) {
  attn::verify::CheckOptions options = attn::verify::options_from_environment();
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) options.progress = show_progress;
  const attn::verify::CheckReport report = attn::verify::check(chapter, step, pass, options);
  if (terminal && !report.passed()) fmt::print(stderr, "\r\033[K");

  const attn::Shape shape = attn::make_shape(1, 1, 1024, 1024, 64);
  const auto workspace =
      pass == Pass::kForward ? step.forward_workspace_bytes : step.backward_workspace_bytes;
  fmt::print("{} {} {}: ", chapter.id, step.id, to_string(pass));
  if (report.passed()) {
    fmt::print("right in all {} cases; largest error {:.0f} % of what is allowed;\n", report.cases,
               100 * report.worst);
  } else if (report.right()) {
    fmt::print("right in all {} cases, but the goal is not met;\n", report.cases);
  } else {
    fmt::print("WRONG in {} of the {} cases run;\n", report.failed, report.cases);
  }
  fmt::print("  workspace at N = 1024, d = 64: {} bytes per head\n", workspace(shape));
  fmt::print("{}", describe(report));
  std::fflush(stdout);
  return report.passed();
}

bool check_step(const Chapter& chapter, const Step& step) {
  bool passed = step.forward == nullptr || check_pass(chapter, step, Pass::kForward);
  if (!passed && attn::verify::options_from_environment().scattered) return false;
  if (step.backward != nullptr) passed &= check_pass(chapter, step, Pass::kBackward);
  return passed;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Chapter& chapter = attn::chapters::ATTN_CHAPTER();
    if (argc > 1) {
      for (const Step* twin : attn::twins_of(chapter)) {
        if (twin->id == argv[1]) return check_step(chapter, *twin) ? 0 : 1;
      }
      return check_step(chapter, attn::find_step(chapter, argv[1])) ? 0 : 1;
    }
    std::vector<const Step*> steps;
    for (const Step& step : chapter.steps) steps.push_back(&step);
    for (const Step* twin : attn::twins_of(chapter)) steps.push_back(twin);
    std::string right, wrong;
    for (const Step* step : steps) {
      if (!wrong.empty() && attn::verify::options_from_environment().scattered) break;
      std::string& list = check_step(chapter, *step) ? right : wrong;
      list += fmt::format("{}{}", list.empty() ? "" : ", ", step->id);
    }
    if (!wrong.empty() && steps.size() > 1) {
      fmt::print("\nNot passed: {}. Passed: {}.\n", wrong, right.empty() ? "none" : right);
    }
    return wrong.empty() ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 2;
  }
}
